"""More than one process on a port: sharing, replacing, dying, draining; listeners that come from outside."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest
from kit.command_line import GEVENTSTREAMS, LIMIT, geventstreams, refused, relaying, run, serving, started
from kit.conditions import until
from kit.network import HOST, listener, unused_port
from servers import find_program, free_port
from servers.processes import is_running

from geventstreams import workers
from geventstreams._net.connect import open_tcp_stream
from geventstreams.cli.statuses import Status
from geventstreams.cli.supervision import command
from geventstreams.errors import StreamError
from geventstreams.workers import Supervisor, descriptors_given, shared_listeners

WHO = "exec:echo $PPID"
"""Tells the process that serves: the shell's parent."""

COUNT = 3


def ask(port: int, **options) -> bytes:
    """All that a server says to a client that says nothing."""
    with open_tcp_stream(HOST, port, timeout=20, read_timeout=20, **options) as client:
        client.send_eof()
        return client.read()


def seen(port: int, count: int = COUNT) -> set[int]:
    """The processes that serve a port, found by asking until there are so many."""
    found: set[int] = set()
    deadline = time.monotonic() + 30
    while len(found) < count:
        assert time.monotonic() < deadline, found
        found.add(int(ask(port)))
    return found


def said(server, line: str) -> None:
    """Wait until the server has said a line with this in it on standard error."""
    while line not in (told := server.process.stderr.readline().decode()):
        assert told, f"it has not said {line!r}"


def test_workers_share_a_port() -> None:
    """`--workers 3` is three processes, none of them the one that was started, and each of them serves the port."""
    with serving(WHO, "--workers", COUNT) as server:
        found = seen(server.port)
        assert len(found) == COUNT
        assert server.process.pid not in found
        outcome = server.end()
        assert outcome.status == Status.DONE
        assert outcome.errors.count("drained: ") == COUNT
        assert not any(is_running(pid) for pid in found)


@pytest.mark.slow
def test_a_dead_worker_is_replaced() -> None:
    """A worker that dies is reported and replaced by one that takes over its listener: clients in the queue are served."""
    with serving(WHO, "--workers", COUNT) as server:
        victim, *others = seen(server.port)
        os.kill(victim, signal.SIGSTOP)
        asking = [gevent.spawn(ask, server.port) for _ in range(60)]  # a third of them wait for the victim
        until(lambda: sum(each.ready() for each in asking) >= 10, 20)
        os.kill(victim, signal.SIGKILL)
        gevent.joinall(asking, raise_error=True, timeout=30)
        answers = {int(each.get()) for each in asking}
        assert victim not in answers
        assert len(answers - set(others)) == 1
        said(server, f"worker {victim} ended with status -9; the next one starts in 0.1 s")
        assert server.end().status == Status.DONE


@pytest.mark.slow
def test_replacing_loses_no_client() -> None:
    """Workers are replaced one by one on SIGHUP, three times under load: of all connections not one is lost."""
    with serving("echo", "--workers", COUNT) as server:
        over: list[bool] = []
        counts = [0] * 10

        def client(number: int) -> None:
            while not over:
                with open_tcp_stream(HOST, server.port, timeout=20, read_timeout=20) as stream:
                    stream.write_line(f"{number}.{counts[number]}")
                    stream.send_eof()
                    assert stream.read() == b"%d.%d\n" % (number, counts[number])
                counts[number] += 1

        clients = [gevent.spawn(client, number) for number in range(10)]

        def failed() -> bool:
            return any(each.ready() for each in clients)

        for _ in range(3):
            before, asked = set(children(server.process.pid)), sum(counts)
            assert len(before) == COUNT
            server.process.send_signal(signal.SIGHUP)
            until(lambda before=before: failed() or replaced(server.process.pid, before), 60)
            until(lambda asked=asked: failed() or sum(counts) > asked + 100, 60)
        over.append(True)
        gevent.joinall(clients, raise_error=True)
        outcome = server.end()
        assert (outcome.status, outcome.errors.count("drained: ")) == (Status.DONE, 4 * COUNT)
        assert outcome.errors.count(", 0 killed") == 4 * COUNT


def replaced(supervisor: int, before: set[int]) -> bool:
    """Return whether there are as many other workers, and none of those."""
    now = children(supervisor)
    return len(now) == len(before) and not before & set(now)


@pytest.mark.slow
def test_all_drain_and_serve_who_is_queued() -> None:
    """On SIGTERM each worker first serves the clients in its listener's queue; then no client can connect."""
    with serving("exec:read line && echo $line", "--workers", 2) as server:
        stopped = children(server.process.pid)
        assert len(stopped) == 2
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        until(lambda: all(state(pid) == "T" for pid in stopped), 20)
        queued = [socket.create_connection((HOST, server.port), timeout=20) for _ in range(40)]
        for number, client in enumerate(queued):
            client.sendall(b"%d\n" % number)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: all(has_pending(pid, signal.SIGTERM) for pid in stopped), 20)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        for number, client in enumerate(queued):
            with client, client.makefile("rb") as answers:
                assert answers.read() == b"%d\n" % number
        outcome = server.ended()
        assert outcome.status == Status.DONE
        assert outcome.errors.count(" 0 killed") == 2
        with socket.socket() as late:
            assert late.connect_ex((HOST, server.port)) != 0


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def state(pid: int) -> str:
    """R, S, T …"""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0]


def has_pending(pid: int, number: int) -> bool:
    """Return whether a signal waits until the process goes on."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        pending = next(line for line in file if line.startswith("ShdPnd:"))
    return bool(int(pending.split()[1], 16) >> (number - 1) & 1)


def test_workers_do_not_outlive_their_supervisor() -> None:
    """When the supervisor is killed, its workers drain by themselves."""
    with serving(WHO, "--workers", 2) as server:
        found = seen(server.port, 2)
        server.process.kill()
        until(lambda: not any(is_running(pid) for pid in found), 20)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once(number: signal.Signals) -> None:
    """A second signal ends all workers, and the programs that they run, without their drain."""
    with serving("exec:echo $$; sleep 1000", "--workers", 2, "--drain", 1000) as server:
        clients = [open_tcp_stream(HOST, server.port, timeout=20, read_timeout=20) for _ in range(4)]
        programs = [int(client.read_line()[0]) for client in clients]
        server.process.send_signal(number)
        until(lambda: is_closed(server.port), 20)
        outcome = server.end(number)
        assert outcome.status == Status.INTERRUPTED
        until(lambda: not any(is_running(pid) for pid in programs), 20)
        for client in clients:
            client.abort()


def is_closed(port: int) -> bool:
    """Return whether there is no listener; it connects, and sends nothing."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


@pytest.mark.slow
def test_the_port_can_be_had_again_at_once() -> None:
    """After the end of all workers, with connections, the same port is bound again at once."""
    port = 0
    for _ in range(3):
        with serving("echo", "--workers", 2, listen=f"{HOST}:{port}") as server:
            port = server.port
            with open_tcp_stream(HOST, port, timeout=20, read_timeout=20) as client:
                client.write_line("hello")
                assert client.read_line() == ("hello", False)
                assert server.end().status == Status.DONE


def test_a_relay_has_workers_too() -> None:
    """`relay --workers` is the same."""
    with serving("echo") as echo, relaying(echo.port, "--workers", 2) as middle:
        for number in range(10):
            with open_tcp_stream(HOST, middle.port, timeout=20, read_timeout=20) as client:
                client.write_line(str(number))
                assert client.read_line() == (str(number), False)
        assert middle.end().status == Status.DONE


# The supervisor by itself.


@pytest.fixture
def supervise():
    """Make supervisors of shell commands, and kill what is left of them."""
    made = []

    def make(command: str, count: int = 1, **options) -> tuple[Supervisor, list[str]]:
        told: list[str] = []
        groups = [[each] for each in shared_listeners(HOST, 0, count)]
        supervisor = Supervisor(lambda _: ["sh", "-c", command], groups, **{"tell": told.append, **options})
        made.append(supervisor)
        return supervisor, told

    yield make
    for each in made:
        each.kill()


def test_those_who_keep_dying_are_restarted_with_pauses(supervise: Callable[..., tuple[Supervisor, list[str]]]) -> None:
    """A worker that dies right after its start is started again after 0.1 s, 0.2 s, 0.4 s and so on."""
    supervisor, told = supervise("echo ready; exit 3")
    began = time.monotonic()
    assert supervisor.start()
    until(lambda: len(told) >= 4, 20)
    assert time.monotonic() - began >= 0.7
    assert [line.partition("; ")[2] for line in told[:4]] == [f"the next one starts in {pause} s" for pause in (0.1, 0.2, 0.4, 0.8)]
    assert all("ended with status 3" in line for line in told)


def test_those_who_have_run_for_long_are_restarted_at_once(supervise, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies after it has run for a while is started again without a pause."""
    monkeypatch.setattr(workers, "STEADY", 0.0)
    supervisor, told = supervise("echo ready; read line")
    assert supervisor.start()
    supervisor.workers[0]._signal(signal.SIGKILL)
    until(lambda: told, 20)
    assert "starts in 0 s" in told[0]
    until(lambda: supervisor.workers, 20)


def test_those_who_never_serve_are_given_up(supervise) -> None:
    """Where a worker ends before it was ready, starting fails and leaves none."""
    supervisor, _ = supervise("exit 7")
    assert not supervisor.start()
    assert supervisor.workers == [] or all(not is_running(worker.pid) for worker in supervisor.workers)


def test_a_successor_that_does_not_serve_replaces_no_worker(supervise, tmp_path) -> None:
    """Where the new worker fails, the old one stays, and that is told."""
    flag = tmp_path / "flag"
    supervisor, told = supervise(f"test -e {flag} && exit 9; echo ready; read line")
    assert supervisor.start()
    [old] = supervisor.workers
    flag.touch()
    supervisor.replace_all()
    until(lambda: told, 20)
    assert told[0].endswith(f"does not serve, status 9; worker {old.pid} stays")
    assert supervisor.workers == [old]
    assert is_running(old.pid)


@pytest.fixture
def ours() -> Callable[[], list[int]]:
    """Report the processes that this one has started since the test began."""
    before = set(children(os.getpid()))
    return lambda: [pid for pid in children(os.getpid()) if pid not in before]


@pytest.mark.parametrize("pause", [0.01, 0.3])
def test_a_worker_that_dies_while_its_successor_starts(supervise, ours, tmp_path, monkeypatch: pytest.MonkeyPatch, pause: float) -> None:
    """Where the old worker dies before the new one serves, one is left in the end, also where a third one was started."""
    monkeypatch.setattr(workers, "FIRST_PAUSE", pause)
    flag = tmp_path / "flag"
    flag.touch()
    supervisor, told = supervise(f"while ! test -e {flag}; do sleep 0.01; done; echo ready; read line")
    assert supervisor.start()
    [old] = supervisor.workers
    flag.unlink()
    supervisor.replace_all()
    until(lambda: len(ours()) == 2, 20)
    os.kill(old.pid, signal.SIGKILL)
    until(lambda: told, 20)
    until(lambda: len(ours()) == (2 if pause < 0.1 else 1), 20)  # with a third one, or without
    flag.touch()

    def has_one() -> bool:
        return len(supervisor.workers) == 1 and ours() == [supervisor.workers[0].pid]

    until(has_one, 20)
    gevent.sleep(0.4)  # whatever was to come has come
    until(has_one, 20)


def test_two_that_start_at_once_for_the_same_listeners(supervise, ours, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a successor takes the place while another worker is being started for it, that one leaves again."""
    supervisor, _ = supervise("echo ready; read line")
    start = Supervisor.started
    [slot] = supervisor._slots
    with monkeypatch.context() as patched:

        def started_late(supervisor: Supervisor, slot: workers.Slot) -> workers.Worker:
            patched.undo()
            first = slot.begin()
            assert first.is_ready()
            return start(supervisor, slot)

        patched.setattr(Supervisor, "started", started_late)
        late = slot.begin()
    [worker] = supervisor.workers
    assert worker is not late
    until(lambda: ours() == [worker.pid], 20)


def test_a_stop_while_a_successor_starts(supervise, ours, tmp_path) -> None:
    """A worker that is to replace another one when all are stopped is not killed: it leaves when it serves."""
    flag, left = tmp_path / "flag", tmp_path / "left"
    flag.touch()
    supervisor, told = supervise(
        f"trap 'echo $$ >>{left}; exit' TERM; while ! test -e {flag}; do sleep 0.01; done; echo ready; while :; do sleep 0.01; done"
    )
    assert supervisor.start()
    flag.unlink()
    supervisor.replace_all()
    until(lambda: len(ours()) == 2, 20)
    pids = ours()
    stopping = gevent.spawn(supervisor.stop)
    until(lambda: len(ours()) == 1, 20)
    flag.touch()
    stopping.get(timeout=20)
    assert sorted(map(int, left.read_text().split())) == sorted(pids)
    assert told == []


class Answering:
    """A supervisor of real workers, which answer a line."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._groups = [[each] for each in shared_listeners(HOST, 0, 1)]
        self._address = self._groups[0][0].getsockname()
        words = ["serve", "exec:read line && echo $line"]
        self.supervisor = Supervisor(lambda listeners: command(words, listeners), self._groups, tell=self.told.append)

    def asked(self) -> list[socket.socket]:
        """Clients that have connected and sent something."""
        clients = [socket.create_connection(self._address, timeout=20) for _ in range(10)]
        for number, client in enumerate(clients):
            client.sendall(b"%d\n" % number)
        return clients


def answers(clients: list[socket.socket]) -> list[bytes]:
    """What they hear."""
    heard = []
    for client in clients:
        with client, client.makefile("rb") as answer:
            heard.append(answer.read())
    return heard


def test_who_waits_for_a_dead_worker_is_served_by_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients in the queue of a worker that has died, whose successor is not due yet, are served when all are stopped."""
    monkeypatch.setattr(workers, "FIRST_PAUSE", 1000)
    monkeypatch.setattr(workers, "LONGEST_PAUSE", 1000)
    one = Answering()
    assert one.supervisor.start()
    one.supervisor.workers[0].kill()
    one.supervisor.workers[0].is_leaving = False
    until(lambda: one.told, 20)
    clients = one.asked()
    one.supervisor.stop()
    assert answers(clients) == [b"%d\n" % number for number in range(10)]


def test_who_waits_for_a_worker_that_starts_is_served_by_a_stop() -> None:
    """A worker that is told to stop while it is starting serves first whom it finds in its queue."""
    one = Answering()
    starting = gevent.spawn(one.supervisor.start)
    until(lambda: one.supervisor.workers, 20)
    clients = one.asked()
    one.supervisor.stop()
    assert answers(clients) == [b"%d\n" % number for number in range(10)]
    assert starting.get(timeout=20)


def test_a_second_stop_does_not_wait_for_one_that_starts(supervise) -> None:
    """A worker that never serves is ended by a second stop."""
    supervisor, _ = supervise("exec sleep 1000")
    starting = gevent.spawn(supervisor.start)
    until(lambda: supervisor.workers, 20)
    stopping = gevent.spawn(supervisor.stop)
    gevent.sleep(0.1)
    assert not stopping.ready()
    supervisor.stop()
    stopping.get(timeout=20)
    assert not starting.get(timeout=20)


@pytest.mark.parametrize(
    ("error", "named", "arguments"),
    [
        (TypeError, "host", (5.0, 0, 1)),
        (TypeError, "port", (HOST, None, 1)),
        (ValueError, "port", (HOST, 65536, 1)),
        (ValueError, "count", (HOST, 0, 0)),
        (TypeError, "count", (HOST, 0, "2")),
    ],
)
def test_wrong_addresses_to_share_are_named(error: type[Exception], named: str, arguments) -> None:
    """An argument of shared_listeners that cannot be is refused by its name."""
    with pytest.raises(error, match=f"^{named} must"):
        shared_listeners(*arguments)


def test_all_addresses_of_a_machine_can_be_shared() -> None:
    """Without a host the listeners share a port on all addresses of this machine."""
    shared = shared_listeners(None, 0, 2)
    [port] = {each.getsockname()[1] for each in shared}
    socket.create_connection((HOST, port)).close()
    for each in shared:
        each.close()


def test_a_port_in_use_cannot_be_shared() -> None:
    """Sharing a port is for the workers of one supervisor: of a port with another listener they report that it is in use."""
    [first] = shared_listeners(HOST, 0, 1)
    port = first.getsockname()[1]
    with pytest.raises(StreamError, match="Address already in use"):
        shared_listeners(HOST, port, 2)
    first.close()
    again = shared_listeners(HOST, port, 2)
    assert {each.getsockname() for each in again} == {(HOST, port)}
    for each in again:
        each.close()


# Listeners from outside.

LAUNCHER = """
import os, sys
numbers = [int(number) for number in sys.argv[1].split(",")]
spare = [os.dup(number) for number in numbers]
spare = [os.dup2(number, 100 + place) for place, number in enumerate(spare)]
for place, number in enumerate(spare):
    os.dup2(number, 3 + place)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[2], "LISTEN_FDNAMES": "a:b"}
os.execv(sys.executable, [sys.executable, "-m", "geventstreams", *sys.argv[3:]])
"""


def launched(*words: object, listeners: list[socket.socket], count: object = None) -> list[str]:
    """A command line that passes listeners on as sd_listen_fds(3) has it."""
    numbers = ",".join(str(each.fileno()) for each in listeners)
    return [sys.executable, "-c", LAUNCHER, numbers, str(len(listeners) if count is None else count), *map(str, words)]


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "workers"])
def test_listeners_of_a_service_manager(options: list[str]) -> None:
    """All listeners that LISTEN_FDS tells of are served; the variables are not passed on to programs."""
    listeners = [listener(), listener()]
    command = launched("serve", "exec:echo $LISTEN_FDS$LISTEN_PID.", *options, listeners=listeners)
    with subprocess.Popen(
        command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[each.fileno() for each in listeners]
    ) as process:
        ports = [each.getsockname()[1] for each in listeners]
        for each in listeners:
            each.close()
        assert process.stdout.readline().decode().endswith(f" on {HOST}:{ports[0]}, {HOST}:{ports[1]}\n")
        for port in ports:
            for _ in range(4):
                assert ask(port) == b".\n"
        process.terminate()
        _, errors = process.communicate(timeout=LIMIT)
        assert (process.returncode, errors.count(b"drained")) == (Status.DONE, len(options) or 1)


def test_systemd_activates_it() -> None:
    """systemd's own program for trying out socket activation starts `serve` with its first client, who is served."""
    port = free_port()
    command = [find_program("systemd-socket-activate"), "-l", f"{HOST}:{port}"]
    names = [f"--setenv={name}" for name in ("PYTHONPATH", "PURE_PYTHON", "GEVENT_LOOP") if name in os.environ]
    with started(*command, *names, *GEVENTSTREAMS, "serve", "echo") as process:
        until(lambda: f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text(encoding="ascii"), 20)
        with open_tcp_stream(HOST, port, timeout=20, read_timeout=LIMIT) as client:
            client.write_line("wake up")
            assert client.read_line() == ("wake up", False)
        process.terminate()
        assert process.wait(LIMIT) == Status.DONE


def test_a_listener_by_its_descriptor() -> None:
    """`--listen fd:N` serves a listening socket that was passed on."""
    with listener() as passed:
        os.set_inheritable(passed.fileno(), True)
        command = [*GEVENTSTREAMS, "serve", "echo", "--listen", f"fd:{passed.fileno()}"]
        with subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[passed.fileno()]) as process:
            port = passed.getsockname()[1]
            assert process.stdout.readline().decode() == f"serving echo on {HOST}:{port}\n"
            with open_tcp_stream(HOST, port, timeout=20, read_timeout=20) as client:
                client.write_line("hello")
                assert client.read_line() == ("hello", False)
            process.terminate()
            assert process.wait(LIMIT) == Status.DONE


STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}


def under(listener: socket.socket, names: list[str]) -> dict[str, object]:
    """Options of Popen: the listener stands for these of the standard streams, the null device for the others."""
    return {name: listener if name in names else subprocess.DEVNULL for name in STANDARD}


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "workers"])
@pytest.mark.parametrize(
    "names", [["stdin"], ["stdout"], ["stderr"], ["stdin", "stdout"], ["stdin", "stdout", "stderr"]], ids=" ".join
)
def test_a_listener_in_place_of_a_standard_stream(names: list[str], options: list[str]) -> None:
    """The listener may be one of descriptors 0 to 2, or several, as inetd's "wait" has it: served, and nothing printed into it."""
    with listener() as given:
        words = ["serve", "echo", "-v", "--listen", f"fd:{STANDARD[names[0]]}", *options]
        with started(*GEVENTSTREAMS, *words, **under(given, names)) as process:
            port = given.getsockname()[1]
            given.close()
            for _ in range(5):
                with open_tcp_stream(HOST, port, timeout=20, read_timeout=20) as client:
                    client.write_line("hello")
                    assert client.read_line() == ("hello", False)
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT) == Status.DONE
            assert is_closed(port)


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "workers"])
def test_closed_standard_streams_are_no_place_for_listeners(options: list[str]) -> None:
    """Where the shell has closed descriptors 0 to 2, what a server opens gets other numbers, and programs find the null device there."""
    port = unused_port()
    words = [*GEVENTSTREAMS, "serve", "exec:readlink /proc/self/fd/2", "--listen", f"{HOST}:{port}", *options]
    with started("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words) as process:
        until(lambda: not is_closed(port), 20)
        assert ask(port) == b"/dev/null\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == Status.DONE


def test_a_supervisor_refuses_listeners_that_workers_cannot_have() -> None:
    """Descriptors 0 to 2 are a worker's pipes: a listener there is an error before anything starts."""

    class Low:
        def fileno(self) -> int:
            return 2

    with pytest.raises(ValueError, match="descriptor must be 3 or more"):
        Supervisor(lambda _: ["true"], [[Low()]])


@pytest.mark.parametrize(
    ("name", "wrong"), [("command", 5), ("command", None), ("tell", None), ("tell", "log"), ("ended", 5),
                        ("groups", 5), ("groups", [5]), ("groups", [[5]]), ("groups", [["127.0.0.1:80"]])],
)
def test_a_supervisor_refuses_other_arguments(name: str, wrong: object) -> None:
    """A wrong argument is a TypeError that names it and its value, before anything starts."""
    arguments: dict[str, object] = {"command": lambda _: ["true"], "groups": [], name: wrong}
    with pytest.raises(TypeError, match=re.escape(f"{name} must be ") + ".*" + re.escape(repr(wrong))):
        Supervisor(**arguments)  # type: ignore[arg-type]


def test_groups_may_come_from_a_generator() -> None:
    """The groups are asked for once."""
    with listener() as one:
        supervisor = Supervisor(lambda _: ["sh", "-c", "echo ready; exec sleep 60"], (iter([each]) for each in [one]))  # type: ignore[arg-type]
        assert supervisor.start()
        assert len(supervisor.workers) == 1
        supervisor.kill()


def test_variables_for_another_process_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """LISTEN_FDS counts only together with our own number in LISTEN_PID; both are gone afterwards in any case."""
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert descriptors_given() == []
    assert "LISTEN_FDS" not in os.environ
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    assert descriptors_given() == [3, 4]
    assert descriptors_given() == []


def complaint_about(count: str) -> str:
    """What `serve` says on standard error of a LISTEN_FDS, after which it ends with status 2."""
    words = launched("serve", "echo", listeners=[], count=count)
    words[3] = "0"
    done = subprocess.run(words, capture_output=True, cwd="/", timeout=LIMIT, check=False)
    assert (done.returncode, done.stdout) == (Status.USAGE, b"")
    return done.stderr.decode()


@pytest.mark.parametrize("count", ["", "-1", "two", "1.5", "²"])
def test_malformed_variables_are_one_line(count: str) -> None:
    """A LISTEN_FDS that is no number is one line, and status 2."""
    assert complaint_about(count) == f"geventstreams: LISTEN_FDS is {count!r}, not a number\n"


@pytest.mark.parametrize("count", ["99999999999", "9" * 1000])
def test_more_listeners_than_there_can_be_are_one_line(count: str) -> None:
    """A LISTEN_FDS that is a number, and too large for any process, is one line, and status 2."""
    assert complaint_about(count) == f"geventstreams: LISTEN_FDS is {count!r}, more descriptors than a process can have\n"


def test_what_is_no_listener_is_one_line() -> None:
    """A descriptor that is closed, a file, or a socket that does not listen is one line, and status 4."""
    with socket.socket() as plain:
        for number in (0, 99, plain.fileno()):
            done = subprocess.run(
                [*GEVENTSTREAMS, "serve", "echo", "--listen", f"fd:{number}"],
                capture_output=True, cwd="/", timeout=LIMIT, check=False, stdin=subprocess.DEVNULL, pass_fds=[plain.fileno()],
            )
            assert (done.returncode, done.stdout) == (Status.CANNOT_LISTEN, b"")
            assert done.stderr.decode() == f"geventstreams: descriptor {number} is not a listening stream socket\n"
    command = launched("serve", "echo", listeners=[], count=1)
    command[3] = "0"
    done = subprocess.run(command, capture_output=True, cwd="/", timeout=LIMIT, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (Status.CANNOT_LISTEN, b"geventstreams: descriptor 3 is not a listening stream socket\n")


# What cannot be.


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "two", ""])
def test_a_wrong_number_of_workers_is_one_line(count: str) -> None:
    """`--workers` takes whole numbers above zero."""
    assert "is not a whole number above zero" in refused("serve", "echo", f"--workers={count}")


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["one process", "workers"])
def test_a_port_in_use_is_one_line(workers: list[str]) -> None:
    """A port that is in use is one line, and status 4, with workers as well."""
    with listener() as taken:
        where = f"{HOST}:{taken.getsockname()[1]}"
        line = geventstreams("serve", "echo", *workers, "--listen", where).refused(Status.CANNOT_LISTEN)
        assert line == f"geventstreams: cannot listen on {where}: Address already in use"
        line = geventstreams("serve", "echo", *workers, "--metrics", where).refused(Status.CANNOT_LISTEN)
        assert line == f"geventstreams: cannot listen on {where}: Address already in use"


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["one process", "workers"])
def test_a_port_without_permission_is_one_line(workers: list[str]) -> None:
    """A port that the user may not listen on is one line, and status 4."""
    command = [find_program("setpriv"), "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service", "--"]
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="ascii")) < 2:
        # Every port is free for all here. In a network of its own, which begins with the system's settings, it is not.
        own = [find_program("unshare"), "--map-root-user", "--net"]
        if run(*own, "true").status:
            address = "192.0.2.1:80"  # nor may we have one: then an address that is not ours at all
            line = geventstreams("serve", "echo", *workers, "--listen", address).refused(Status.CANNOT_LISTEN)
            assert line == f"geventstreams: cannot listen on {address}: Cannot assign requested address"
            return
        command = [*own, *command]
    done = run(*command, *GEVENTSTREAMS, "serve", "echo", *workers, "--listen", "0.0.0.0:1")
    assert done.refused(Status.CANNOT_LISTEN) == "geventstreams: cannot listen on 0.0.0.0:1: Permission denied"


def test_a_certificate_that_cannot_be_read_is_one_line(tmp_path) -> None:
    """With workers, too, a certificate that is missing or none at all is one line, and status 2, before anything listens."""
    port = unused_port()
    words = ["serve", "echo", "--workers", "2", "--listen", f"{HOST}:{port}", "--tls"]
    assert "cannot read" in geventstreams(*words, tmp_path / "none", tmp_path / "none").refused(Status.USAGE)
    (tmp_path / "empty").touch()
    assert "no certificate with its key" in geventstreams(*words, tmp_path / "empty", tmp_path / "empty").refused(Status.USAGE)


# Signals.


def has_ended_input(pid: int) -> bool:
    """Return whether the writing end of a process's standard input, a pipe, is closed."""
    descriptor = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK)
    try:
        poll = select.poll()
        poll.register(descriptor, 0)
        return bool(poll.poll(0))
    finally:
        os.close(descriptor)


@pytest.mark.slow
def test_two_signals_that_the_system_reports_as_one_to_a_worker() -> None:
    """A second signal ends a worker at once that could not yet take the first one: the system keeps one of two equal signals."""
    with serving("exec:echo $$; sleep 1000", "--workers", 1, "--drain", 1000) as server:
        client = open_tcp_stream(HOST, server.port, timeout=20, read_timeout=20)
        program = int(client.read_line()[0])
        [worker] = children(server.process.pid)
        os.kill(worker, signal.SIGSTOP)
        until(lambda: state(worker) == "T", 20)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: has_pending(worker, signal.SIGTERM), 20)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: has_ended_input(worker), 20)
        os.kill(worker, signal.SIGCONT)
        assert server.ended().status == Status.INTERRUPTED
        assert not is_running(worker)
        until(lambda: not is_running(program), 20)
        client.abort()


@pytest.mark.slow
def test_a_draining_worker_does_not_outlive_its_supervisor() -> None:
    """A worker that drains ends at once when its supervisor is killed, and its programs with it."""
    with serving("exec:echo $$; sleep 1000", "--workers", 1, "--drain", 1000) as server:
        client = open_tcp_stream(HOST, server.port, timeout=20, read_timeout=20)
        program = int(client.read_line()[0])
        [worker] = children(server.process.pid)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: is_closed(server.port), 20)
        server.process.kill()
        until(lambda: not is_running(worker) and not is_running(program), 20)
        client.abort()


def test_ctrl_c_of_a_terminal_drains_workers() -> None:
    """Ctrl-C reaches the supervisor and all workers at once: for the workers it is one signal, the supervisor's, and they drain."""
    with serving("echo", "--workers", 2, start_new_session=True) as server:
        with open_tcp_stream(HOST, server.port, timeout=20, read_timeout=20) as client:
            client.write_line("hello")
            assert client.read_line() == ("hello", False)
            os.killpg(server.process.pid, signal.SIGINT)
            assert client.read() == b""
        outcome = server.ended()
        assert (outcome.status, outcome.errors.count("drained: ")) == (Status.DONE, 2), outcome


ENDING = """
import os, signal, sys
from geventstreams.cli.signals import Stops

class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
        kill(pid, number)

sys.modules["late"] = Late()  # dropped when the interpreter has forgotten the handlers of signals
stops = Stops()
raise SystemExit(130)
"""


def test_a_signal_at_the_very_end_leaves_the_exit_status() -> None:
    """A signal that comes while the interpreter ends, behind the one that ended the command, does not kill it."""
    assert run(sys.executable, "-c", ENDING).status == Status.INTERRUPTED


COUNTING = """
import os, signal, gevent
from geventstreams.cli.signals import Stops
stops = Stops()
for number in (signal.SIGTERM, signal.SIGINT):
    os.kill(os.getpid(), number)
gevent.sleep(0)
assert stops.second.wait(20)
"""
TWICE = COUNTING.replace("(signal.SIGTERM, signal.SIGINT)", "2 * (signal.SIGTERM,)")


@pytest.mark.parametrize("program", [COUNTING, TWICE], ids=["two", "the same twice"])
def test_signals_are_counted_while_the_hub_is_busy(program: str) -> None:
    """Two signals that come before the hub runs again are two."""
    assert run(sys.executable, "-c", program).status == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_all_processes_while_workers_start(number: signal.Signals) -> None:
    """Ctrl-C or SIGHUP that reaches supervisor and workers while they start kills none: the supervisor hears it, and does as always."""
    with started(*GEVENTSTREAMS, "serve", "echo", "--workers", 2, "--listen", "127.0.0.1:0", start_new_session=True) as process:
        until(lambda: len(children(process.pid)) == 2, 20)
        first = children(process.pid)
        until(lambda: all(b"--worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in first), 20)
        os.killpg(process.pid, number)
        assert process.stdout.readline().startswith(b"serving echo with 2 workers")
        if number == signal.SIGHUP:
            until(lambda: len(now := children(process.pid)) == 2 and not set(now) & set(first), 20)
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=LIMIT)
        assert (process.returncode, b"Traceback" in errors, b"ended with status" in errors) == (Status.DONE, False, False), errors


def test_replacing_that_is_asked_for_while_workers_are_replaced(supervise, tmp_path) -> None:
    """A second `replace_all` while the first one goes on replaces again, once: what is there now may be older than the call."""
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    leaving = f"until test -e {gate}; do sleep 0.01; done; exit 0"
    supervisor, told = supervise(f"trap '{leaving}' TERM; echo $$ >> {begun}; echo ready; while :; do sleep 0.01; done")
    assert supervisor.start()
    supervisor.replace_all()
    until(lambda: len(begun.read_text().split()) == 2, 20)
    for _ in range(10):
        supervisor.replace_all()
    gate.touch()
    until(lambda: len(begun.read_text().split()) == 3, 20)
    supervisor.stop()
    assert (len(begun.read_text().split()), told) == (3, [])


def test_workers_come_from_where_their_supervisor_does(tmp_path) -> None:
    """A supervisor that does not import from the current folder has workers that do not: a file there hides no library from them."""
    (tmp_path / "gevent.py").write_text("raise SystemExit('the wrong one')")
    program = "import sys; sys.path.remove(''); from geventstreams.__main__ import main; sys.exit(main())"
    words = ["serve", "echo", "--workers", 1, "--listen", "127.0.0.1:0"]
    with started(sys.executable, "-c", program, *words, folder=tmp_path) as process:
        assert process.stdout.readline().startswith(b"serving echo")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == Status.DONE


@pytest.mark.parametrize("before", ["a replacement", "nothing"])
def test_every_worker_drains_after_one_signal(before: str) -> None:
    """SIGTERM to a whole group, as a service manager sends it, lets workers drain, and so those that drain since SIGHUP: for a
    worker that also gets it from its supervisor it is no second signal."""
    with serving("exec:read line; echo $line", "--workers", 1, "--drain", 1000, start_new_session=True) as server:
        [worker] = children(server.process.pid)
        client = open_tcp_stream(HOST, server.port, timeout=20, read_timeout=20)
        until(lambda: children(worker), 20)
        if before == "a replacement":
            server.process.send_signal(signal.SIGHUP)
            until(lambda: len(children(server.process.pid)) == 2, 20)
        os.killpg(server.process.pid, signal.SIGTERM)
        until(lambda: is_closed(server.port), 20)
        for _ in range(5):
            until(lambda: not has_pending(worker, signal.SIGTERM), 20)
            os.kill(worker, signal.SIGTERM)
        client.write_line("hello")
        assert client.read_line() == ("hello", False)
        client.close()
        assert server.ended().status == Status.DONE


@pytest.mark.parametrize("repeated", [1, 3])
def test_a_signal_to_all_processes_is_one_stop(repeated: int) -> None:
    """SIGTERM to a whole group is a stop, also where a worker has drained and ended before its supervisor runs: the supervisor neither says
    that the worker ended nor starts another one."""
    with serving("echo", "--workers", 2, start_new_session=True) as server:
        both = children(server.process.pid)
        server.process.send_signal(signal.SIGSTOP)
        until(lambda: state(server.process.pid) == "T", 20)
        for _ in range(repeated):  # the system keeps one of equal signals
            os.killpg(server.process.pid, signal.SIGTERM)
        until(lambda: {state(worker) for worker in both} == {"Z"}, 20)
        server.process.send_signal(signal.SIGCONT)
        outcome = server.ended()
    drained = {f"worker {worker} drained: 0 finished, 0 idle, 0 killed" for worker in both}
    assert (outcome.status, len(outcome.errors.splitlines()), set(outcome.errors.splitlines())) == (Status.DONE, 2, drained)


def test_a_worker_that_drains_before_a_stop_is_not_told(supervise, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that goes to all processes one after the other may end a worker a moment before it stops the supervisor: no line is
    said that is false by then, and no other worker started."""
    monkeypatch.setattr(workers, "FIRST_PAUSE", 1000)
    monkeypatch.setattr(workers, "LONGEST_PAUSE", 1000)
    supervisor, told = supervise("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done")
    assert supervisor.start()
    supervisor.workers[0]._signal(signal.SIGTERM)
    until(lambda: not supervisor.workers, 20)
    supervisor.stop()
    assert told == []


@pytest.mark.slow
def test_a_worker_that_ends_as_asked_by_its_own_signal_is_replaced() -> None:
    """SIGTERM to one worker lets it drain, and the supervisor says that it ended and starts the next one."""
    with serving("echo", "--workers", 1) as server:
        [worker] = children(server.process.pid)
        os.kill(worker, signal.SIGTERM)
        said(server, f"worker {worker} ended with status 0; the next one starts\n")
        until(lambda: len(children(server.process.pid)) == 1 and children(server.process.pid) != [worker], 20)


STOPS_WORKERS = """
import os, signal, sys
if "--worker" in sys.orig_argv:
    os.kill(os.getpid(), signal.SIGSTOP)
"""
"""What Python runs before a program: a worker stops itself, so that it cannot be ready before it is to go on."""


def test_a_signal_to_all_processes_before_workers_serve(tmp_path: Path) -> None:
    """SIGTERM to a whole group while its workers start, which they do not survive, is a stop and no failure of theirs."""
    (tmp_path / "sitecustomize.py").write_text(STOPS_WORKERS)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))}
    words = ("serve", "echo", "--workers", 2, "--listen", "127.0.0.1:0")
    with started(*GEVENTSTREAMS, *words, start_new_session=True, env=environment) as process:
        until(lambda: [state(pid) for pid in children(process.pid)] == ["T", "T"], 20)
        both = children(process.pid)
        os.killpg(process.pid, signal.SIGTERM)
        for pid in both:
            os.kill(pid, signal.SIGCONT)
        output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (Status.DONE, b""), output


def test_a_second_signal_while_workers_start() -> None:
    """A second signal does not wait for workers that are not ready."""
    with started(*GEVENTSTREAMS, "serve", "echo", "--workers", 1) as process:
        until(lambda: children(process.pid), 20)
        [worker] = children(process.pid)
        until(lambda: b"--worker\0" in Path(f"/proc/{worker}/cmdline").read_bytes(), 20)  # else it is only being forked
        os.kill(worker, signal.SIGSTOP)
        for _ in range(20):  # Python takes two signals for one that come before it looks
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.4)
        assert process.poll() == Status.INTERRUPTED


def test_a_worker_that_does_not_obey_is_killed(supervise, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second stop ends also a worker that hears no signal."""
    monkeypatch.setattr(workers, "OBEY_TIMEOUT", 0.2)
    supervisor, _ = supervise("trap '' TERM; echo ready; while :; do sleep 0.1; done")
    assert supervisor.start()
    [worker] = supervisor.workers
    stopping = gevent.spawn(supervisor.stop)
    gevent.sleep(0.1)
    assert not stopping.ready()
    supervisor.stop()
    stopping.get(timeout=20)
    assert not is_running(worker.pid)


@pytest.fixture(
    params=[BlockingIOError(errno.EAGAIN, "no process"), subprocess.SubprocessError("no process"), KeyError("no process")],
    ids=["system", "subprocess", "command"],
)
def refusing(request, monkeypatch: pytest.MonkeyPatch) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Let no worker be started in a block: the system refuses, or the user's `command` fails."""

    def refuse(*_: object) -> None:
        raise request.param

    @contextlib.contextmanager
    def block() -> Iterator[None]:
        with monkeypatch.context() as patched:
            patched.setattr(workers.Worker, "__init__", refuse)
            yield

    return block


def test_a_worker_that_cannot_be_started_is_tried_again(supervise, refusing) -> None:
    """Where no process can be started for a while, a listener gets its worker afterwards, and the refusals are told."""
    supervisor, told = supervise("echo ready; read line")
    assert supervisor.start()
    with refusing():
        supervisor.workers[0]._signal(signal.SIGKILL)
        until(lambda: len(told) >= 3, 20)
    assert "cannot be started" in told[1]
    assert "no process" in told[1]
    until(lambda: supervisor.workers, 20)


def test_successors_that_cannot_be_started(supervise, refusing) -> None:
    """Where no successor can be started, each worker stays, and that is told."""
    supervisor, told = supervise("echo ready; read line", 2)
    assert supervisor.start()
    old = supervisor.workers
    with refusing():
        supervisor.replace_all()
        until(lambda: len(told) == 2, 20)
    assert [line.rpartition("; ")[2] for line in told] == [f"worker {worker.pid} stays" for worker in old]
    assert supervisor.workers == old


def test_a_last_worker_that_cannot_be_started(supervise, refusing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no worker can be started for the clients of a dead one, a stop tells that, and ends the others."""
    monkeypatch.setattr(workers, "FIRST_PAUSE", 60.0)
    supervisor, told = supervise("echo ready; read line", 2)
    assert supervisor.start()
    dead, other = supervisor.workers
    dead._signal(signal.SIGKILL)
    until(lambda: told, 20)
    [queue] = supervisor._slots[0].listeners
    with contextlib.ExitStack() as clients:
        while not select.select([queue], [], [], 0)[0]:  # the system chooses the queue
            clients.enter_context(socket.create_connection(queue.getsockname(), 20))
        with refusing():
            supervisor.stop()
    assert "for the clients in the queue cannot be started" in told[-1]
    assert not is_running(other.pid)


def test_a_line_that_cannot_be_told_does_not_end_the_supervision(supervise) -> None:
    """If `tell` fails, as `print` does without a reader, a dead worker is replaced all the same."""

    def fail(_: str) -> None:
        raise BrokenPipeError

    supervisor, _ = supervise("echo ready; read line", tell=fail)
    assert supervisor.start()
    [old] = supervisor.workers
    old._signal(signal.SIGKILL)
    until(lambda: supervisor.workers and supervisor.workers != [old], 20)
