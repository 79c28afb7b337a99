"""What `serve` and `relay` tell and obey: --log, --idle-timeout, SIGUSR1, systemd's messages, the rates of a relay, `doctor`."""

import json
import os
import pty
import re
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from kit.command_line import GEVENTSTREAMS, LIMIT, geventstreams, relaying, run, serving, started

from geventstreams.cli.progress import size
from geventstreams.cli.statuses import Status
from geventstreams.testing.claims import ATTEMPTS


def talk(port: int, data: bytes) -> None:
    """Send bytes, read them back, and end in order."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: client.recv(65536), b"")) == data


def reset(port: int) -> None:
    """Reset a connection after an answer."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as client:
        client.sendall(b"x")
        client.recv(1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# The log.


def test_a_log_of_json_is_json_in_every_line() -> None:
    """With --log json each line on standard error is an object: connections, warnings and notices."""
    with serving("echo", "--log", "json") as server:
        talk(server.port, b"x" * 5000)
        reset(server.port)
        lines = [json.loads(line) for line in server.end().errors.splitlines()]
    ended = [line for line in lines if line["event"] == "ended"]
    first = ended[0]
    assert (first["received"], first["sent"], first["end"], first["server"]) == (5000, 5000, "closed", f"127.0.0.1:{server.port}")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", first["peer"])
    assert 0 <= first["seconds"] < LIMIT
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert ended[1]["end"] == "reset"
    assert [line["event"] for line in lines if line["event"] != "ended"] == ["failed", "notice"]
    assert lines[-1]["text"].startswith("drained: ")


def test_a_log_of_text_is_one_line_for_each_connection() -> None:
    """With --log text a line has the time and key=value pairs."""
    with serving("discard", "--log", "text") as server:
        with socket.create_connection(("127.0.0.1", server.port), LIMIT) as client:
            client.sendall(b"12345")
        done = server.end()
    (line,) = [line for line in done.errors.splitlines() if "event=ended" in line]
    pattern = r"\S+Z event=ended server=127\.0\.0\.1:\d+ peer=127\.0\.0\.1:\d+ received=5 sent=0 seconds=\d+\.\d{3} end=closed"
    assert re.fullmatch(pattern, line)


def test_bytes_that_were_still_held_are_in_the_log() -> None:
    """What a handler wrote last counts, too."""
    with serving("time", "--log", "json") as server:
        with socket.create_connection(("127.0.0.1", server.port), LIMIT) as client:
            answer = b"".join(iter(lambda: client.recv(100), b""))
        line = json.loads(server.end().errors.splitlines()[0])
    assert line["sent"] == len(answer)


def test_workers_log_json_too() -> None:
    """The log of several workers is JSON in every line, each with the number of its process."""
    with serving("echo", "--log", "json", "--workers", 2, says="serving ") as server:
        for _ in range(10):
            talk(server.port, b"x")
        lines = [json.loads(line) for line in server.end().errors.splitlines()]
    ended = [line for line in lines if line["event"] == "ended"]
    assert len(ended) == 10
    assert {line["pid"] for line in ended} <= {line["pid"] for line in lines}


# Unix sockets.


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[], ["--workers", 2]], ids=["one process", "workers"])
@pytest.mark.parametrize("kind", ["path", "name"])
def test_unix_sockets_are_served(tmp_path: Path, kind: str, workers: list[object]) -> None:
    """`--listen unix:PATH` and `@NAME` serve a Unix socket, which is announced as `connect` takes it; its file is gone at the end."""
    path = tmp_path / "sock"
    listen = f"unix:{path}" if kind == "path" else f"@geventstreams-{os.getpid()}-{len(workers)}"
    with started(*GEVENTSTREAMS, "serve", "echo", "--listen", listen, "--log", "text", *workers) as process:
        assert process.stdout is not None
        assert process.stdout.readline().decode().endswith(f" on {listen}\n")
        done = geventstreams("connect", listen, given=b"hello")
        assert (done.status, done.output) == (0, b"hello")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert b"received=5 sent=5" in errors
    assert not path.exists()


def test_a_path_that_exists_is_not_taken(tmp_path: Path) -> None:
    """A file in the place of the socket is one line, status 4, and stays."""
    (tmp_path / "file").write_text("mine")
    line = geventstreams("serve", "echo", "--listen", f"unix:{tmp_path}/file").refused(Status.CANNOT_LISTEN)
    assert line == f"geventstreams: cannot listen on unix:{tmp_path}/file: Address already in use"
    assert (tmp_path / "file").read_text() == "mine"


def test_a_path_that_a_killed_server_has_left(tmp_path: Path) -> None:
    """The line says what to do with the file that a killed server has left; of one that still listens it does not."""
    path = tmp_path / "sock"
    in_use = f"geventstreams: cannot listen on unix:{path}: Address already in use"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert geventstreams("serve", "echo", "--listen", f"unix:{path}").refused(Status.CANNOT_LISTEN) == in_use
    line = geventstreams("serve", "echo", "--listen", f"unix:{path}").refused(Status.CANNOT_LISTEN)
    assert line == f"{in_use} (no server listens there: remove the file)"
    assert path.exists()


# A terminal that is closed.


@pytest.mark.parametrize("ignored", [False, True], ids=["as always", "under nohup"])
def test_a_hangup_drains(tmp_path: Path, ignored: bool) -> None:
    """SIGHUP to a single process is as SIGTERM: connections end in order, the file of a Unix socket is gone. `nohup` is obeyed."""
    disposition = "SIG_IGN" if ignored else "SIG_DFL"  # which the tests may have from their own `nohup`
    start = f"import os, signal, sys; signal.signal(1, signal.{disposition}); os.execv(sys.executable, sys.argv[1:])"
    path = tmp_path / "sock"
    with started(sys.executable, "-c", start, *GEVENTSTREAMS, "serve", "echo", "--listen", f"unix:{path}") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(LIMIT)
            client.connect(str(path))
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            process.send_signal(signal.SIGHUP)
            if ignored:
                client.sendall(b"y")
                assert client.recv(1) == b"y"
                process.send_signal(signal.SIGTERM)
            assert client.recv(1) == b""
        _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (0, b"drained: 0 finished, 1 idle, 0 killed\n")
    assert not path.exists()


# Idle connections.


def test_an_idle_connection_is_ended_in_order() -> None:
    """A client on whose connection nothing happens for --idle-timeout seconds sees an orderly end; one that talks goes on."""

    def talk_to_both(idle: socket.socket, busy: socket.socket) -> Iterator[bytes]:
        idle.settimeout(0.1)
        for _ in range(100):
            busy.sendall(b"x")
            yield busy.recv(1)
            with suppress(TimeoutError):
                assert idle.recv(1) == b""
                break
        busy.sendall(b"still here")
        yield busy.recv(100)

    for _ in range(ATTEMPTS):
        moments, answers = [time.monotonic()], []
        with serving("echo", "--idle-timeout", 0.6, "--log", "json") as server:
            with (
                socket.create_connection(("127.0.0.1", server.port), LIMIT) as idle,
                socket.create_connection(("127.0.0.1", server.port), LIMIT) as busy,
                suppress(ConnectionError),
            ):
                for answer in talk_to_both(idle, busy):
                    answers.append(answer)
                    moments.append(time.monotonic())
            moments.append(time.monotonic())
            lines = [json.loads(line) for line in server.end().errors.splitlines()]
        if max(later - earlier for earlier, later in pairwise(moments)) < 0.5:  # else the one that talks was silent, on a busy machine
            break
    assert set(answers[:-1]) == {b"x"}
    assert (len(answers) <= 100, answers[-1]) == (True, b"still here")
    assert sorted(line["end"] for line in lines if line["event"] == "ended") == ["closed", "idle"]


@pytest.mark.slow
def test_an_idle_program_is_ended() -> None:
    """A program whose connection is idle is ended, and its client sees a reset."""
    with (
        serving("exec:sleep 1000", "--idle-timeout", 0.3) as server,
        socket.create_connection(("127.0.0.1", server.port), LIMIT) as client,
        pytest.raises(ConnectionResetError),
    ):
        client.recv(1)


# Signals.


@pytest.mark.parametrize("words", [[], ["--workers", 1], ["--log", "json"]])
def test_sigusr1_lists_the_open_connections(words: list[object]) -> None:
    """SIGUSR1 prints peers with age and bytes, and the server goes on."""
    with serving("echo", *words) as server, socket.create_connection(("127.0.0.1", server.port), LIMIT) as client:
        client.sendall(bytes(12_345))
        received = 0
        while received < 12_345:
            received += len(client.recv(65536))
        server.process.send_signal(signal.SIGUSR1)
        assert server.process.stderr is not None
        head = server.process.stderr.readline().decode()
        text = (
            json.loads(head)["text"]
            if "json" in words
            else head + server.process.stderr.readline().decode() + (server.process.stderr.readline().decode())
        )
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    peer = "{}:{}".format(*client.getsockname()) if client.fileno() >= 0 else r"127\.0\.0\.1:\d+"
    assert re.search(rf"1 open\n(worker \d+ )?peer +age +received +sent\n{peer} +\d+ s +12\.3 kB +12\.3 kB", text), text


def test_sigusr1_without_connections() -> None:
    """SIGUSR1 says so where no connection is open."""
    with serving("echo") as server:
        server.process.send_signal(signal.SIGUSR1)
        assert server.process.stderr is not None
        assert server.process.stderr.readline() == b"0 open\n"


@contextmanager
def notify_socket(path: Path) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(LIMIT)
        yield manager


@pytest.mark.parametrize("words", [[], ["--workers", "2"]], ids=["one process", "workers"])
def test_systemd_is_told(tmp_path: Path, words: list[str]) -> None:
    """Type=notify: READY with the process when it listens, STOPPING at the first signal, from the main process only."""
    with notify_socket(tmp_path / "notify") as manager:
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with serving("exec:echo [$NOTIFY_SOCKET]", *words, env=environment) as server:
            assert manager.recv(1000) == f"READY=1\nMAINPID={server.process.pid}".encode()
            with socket.create_connection(("127.0.0.1", server.port), LIMIT) as client:
                assert client.makefile("rb").read() == b"[]\n"
            assert server.end().status == 0
        assert manager.recv(1000) == b"STOPPING=1"
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(1000)


@pytest.mark.parametrize("address", ["/missing/notify", "@no-listener-here"])
def test_a_manager_that_does_not_listen_is_no_error(address: str) -> None:
    """Where the manager's socket is gone the service runs all the same."""
    with serving("echo", env={**os.environ, "NOTIFY_SOCKET": address}) as server:
        talk(server.port, b"hello")
        done = server.end()
    assert (done.status, len(done.errors.splitlines())) == (0, 1)


# The relay.


def test_a_relay_names_each_address_once() -> None:
    """A server that refuses is named once in the line about it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with relaying(port) as relay:
        # The reset may come before connect(2) has told of its success.
        with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", relay.port), LIMIT) as client:
            client.recv(1)
        errors = relay.end().errors
    assert errors.count(f"127.0.0.1:{port}") == 1, errors


@pytest.mark.slow
def test_a_relay_shows_bytes_and_rates_of_both_directions() -> None:
    """On a terminal a relay shows counts and rates from clients and to clients, and how many connections are open."""
    ours, theirs = pty.openpty()
    with serving("echo") as server:
        words = ["relay", "--to", f"127.0.0.1:{server.port}", "--listen", "127.0.0.1:0"]
        with started(*GEVENTSTREAMS, *words, stderr=theirs) as process:
            os.close(theirs)
            assert process.stdout is not None
            port = int(process.stdout.readline().rpartition(b":")[2])
            shown = b""
            with socket.create_connection(("127.0.0.1", port), LIMIT) as client:
                client.sendall(bytes(200_000))
                received = 0
                while received < 200_000:
                    received += len(client.recv(65536))
                text = ""
                while not re.search(r"(?s)from clients +200\.0 kB .*to clients +200\.0 kB .*1 open", text):
                    shown += os.read(ours, 65536)
                    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown.decode(errors="replace"))
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT) == 0
    assert re.search(r"from clients +200\.0 kB +[\d.?]+ ?(\w?B|bytes)?(/s)? ", text), text
    assert re.search(r"to clients +200\.0 kB ", text), text
    os.close(ours)


# What is said in general.


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (5.5e12, "5.5 TB"),
     (2e18, "2,000.0 PB")],
)  # fmt: skip
def test_sizes_have_one_notation(count: float, text: str) -> None:
    """A size has a decimal unit and one digit behind the point, as rich's bars have it."""
    assert size(count) == text


def test_doctor_says_what_a_bug_report_needs() -> None:
    """`doctor` names versions, build, loop, OpenSSL, limits, features and extras, and the environment that matters."""
    done = geventstreams("doctor", GEVENT_LOOP="libev-cext", SECRET="hidden")
    text = done.output.decode()
    assert (done.status, done.errors) == (0, "")
    for pattern in (
        r"^geventstreams \d", r"^build +(compiled|plain Python), ", r"^Python +CPython 3\.", r"^gevent +\d.*greenlet \d",
        r"^event loop +gevent\.",
        r"^OpenSSL +OpenSSL", r"^system +\w+", r"^descriptors +[\d,]+ \(at most", r"^feature +yes IPv6", r"^extra +cli: installed",
        r"^environment +GEVENT_LOOP='libev-cext'$",
    ):  # fmt: skip
        assert re.search(pattern, text, re.MULTILINE), pattern
    assert "hidden" not in text


def test_doctor_names_what_is_missing() -> None:
    """Libraries of extras that are not installed are named."""
    hide = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n in ('rich', 'crc32c') else f(n, *a); "
    code = hide + "import sys; from geventstreams.__main__ import main; sys.exit(main(['doctor']))"
    output = run(sys.executable, "-c", code).output.decode()
    assert re.search(r"^extra +cli: missing rich$", output, re.MULTILINE)
    assert re.search(r"^extra +proxy: missing crc32c$", output, re.MULTILINE)
