"""gevent's hooks round a wait: `switch_out()` of the greenlet that leaves, and its own `switch()` when it is resumed."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest
from greenlet import greenlet
from kit.conditions import until
from kit.pairs import Pairs

from geventstreams import WaitSet, makefile, noticed_socket_stream, process_wait, wait_for_input_streams
from geventstreams.callbacks.api import tcp_connect, tcp_server

log: list[str] = []


class Hooked(gevent.Greenlet):
    """Notes when it is switched to and away from; `throw` is another way in."""

    def switch(self, *args: Any, **options: Any) -> Any:
        log.append("in")
        return gevent.Greenlet.switch(self, *args, **options)

    def throw(self, *args: Any, **options: Any) -> Any:
        log.append("in")
        return gevent.Greenlet.throw(self, *args, **options)

    def switch_out(self) -> None:
        log.append("out")


class HookedRaw(greenlet):
    """A greenlet without gevent's class that logs its hooks."""

    def switch(self, *args: Any, **options: Any) -> Any:
        log.append("in")
        return greenlet.switch(self, *args, **options)

    def switch_out(self) -> None:
        log.append("out")


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    log.clear()


def hooked(function: Callable[..., Any], *args: Any) -> Hooked:
    """A greenlet with hooks that runs `function` and has begun to wait in it."""
    running = Hooked(function, *args)
    running.start()
    gevent.sleep(0)
    assert not running.ready(), "it did not wait"
    return running


BULK = b"x" * 2**21


def reads_a_stream(pairs: Pairs) -> tuple[Any, Any]:
    near, far = pairs.stream()
    return near.readline, lambda: far.sendall(b"x\n")


def writes_to_a_stream(pairs: Pairs) -> tuple[Any, Any]:
    near, far = pairs.stream(buffers=4096)
    return lambda: (near.write(BULK), near.flush()), lambda: [far.recv(65536) for _ in iter(lambda: near.unsent, 0)]


def reads_a_file(pairs: Pairs) -> tuple[Any, Any]:
    near, far = map(pairs.far, pairs.sockets())
    return pairs.keep(makefile(near, "rb")).readline, lambda: far.sendall(b"x\n")


def reads_a_text_file(pairs: Pairs) -> tuple[Any, Any]:
    near, far = map(pairs.far, pairs.sockets())
    return pairs.keep(makefile(near)).readline, lambda: far.sendall(b"x\n")


def reads_a_raw_file(pairs: Pairs) -> tuple[Any, Any]:
    near, far = map(pairs.far, pairs.sockets())
    file = pairs.keep(makefile(near, "rb", 0))
    return lambda: file.read(2), lambda: far.sendall(b"x\n")


def waits_for_its_turn(pairs: Pairs) -> tuple[Any, Any]:
    near, far = map(pairs.far, pairs.sockets())
    file = pairs.keep(makefile(near, "rb"))
    gevent.spawn(file.readline)
    gevent.sleep(0)
    return file.readline, lambda: far.sendall(b"x\ny\n")


def waits_for_streams(pairs: Pairs) -> tuple[Any, Any]:
    near, far = pairs.stream()
    return lambda: wait_for_input_streams([near]), lambda: far.sendall(b"x")


def waits_for_a_set(pairs: Pairs) -> tuple[Any, Any]:
    near, far = pairs.stream()
    return WaitSet([near]).wait, lambda: far.sendall(b"x")


def waits_for_a_condition(pairs: Pairs) -> tuple[Any, Any]:
    near, far = pairs.stream()

    def wait() -> None:
        with noticed_socket_stream(near):
            process_wait("a line", near.listen)

    return wait, lambda: far.sendall(b"x")


def drains_a_connection(pairs: Pairs) -> tuple[Any, Any]:
    near, far = pairs.sockets(buffers=4096)
    near.close()
    far.close()
    taken = gevent.event.Event()
    server = pairs.keep(tcp_server("127.0.0.1", 0, lambda socket, data: taken.wait()))
    connection = pairs.keep(tcp_connect("127.0.0.1", server.port, None))
    connection.write(b"x" * 2**24)
    return connection.drain, taken.set


WAITS = [reads_a_stream, writes_to_a_stream, reads_a_file, reads_a_text_file, reads_a_raw_file, waits_for_its_turn, waits_for_streams,
         waits_for_a_set, waits_for_a_condition, drains_a_connection]


@pytest.mark.parametrize("what", WAITS, ids=lambda wait: wait.__name__)
def test_hooks_are_called_round_every_wait(pairs: Pairs, what: Any) -> None:
    """In each kind of wait, a greenlet with hooks has `switch_out()` called before it leaves, and is resumed by its own `switch()`."""
    wait, end = what(pairs)
    running = hooked(wait)
    assert log[:2] == ["in", "out"]
    end()
    running.get(timeout=20)
    assert log == ["in", "out"] * (len(log) // 2) + ["in"]


def test_hooks_are_called_over_every_kind(pairs: Pairs, kind: str) -> None:
    """Over each kind of connection, a read calls the hooks once around its one wait."""
    near, far = pairs.streams(kind)
    running = hooked(near.readline)
    far.write(b"x\n")
    far.flush()
    assert running.get(timeout=20) == b"x\n"
    assert log == ["in", "out", "in"]


def test_hooks_of_greenlets_without_gevents_class(pairs: Pairs) -> None:
    """A subclass of greenlet itself has its hooks called too."""
    near, far = pairs.stream()
    lines: list[bytes] = []
    running = HookedRaw(lambda: lines.append(near.readline()), gevent.get_hub())
    gevent.get_hub().loop.run_callback(running.switch)
    gevent.sleep(0)
    far.sendall(b"x\n")
    until(lambda: running.dead)
    assert (lines, log) == ([b"x\n"], ["in", "out", "in"])


@pytest.mark.parametrize("spawn", [gevent.spawn, gevent.spawn_raw])
def test_hooks_that_were_set_on_the_greenlet_itself(pairs: Pairs, spawn: Any) -> None:
    """gevent looks a hook up on the object: one that was set there counts as well."""
    near, far = pairs.stream()
    running = spawn(near.readline)
    plain = running.switch
    running.switch_out = lambda: log.append("out")
    gevent.sleep(0)
    running.switch = lambda *args: (log.append("in"), plain(*args))
    far.sendall(b"x\n")
    until(lambda: running.dead)
    assert log == ["out", "in"]


@pytest.mark.parametrize("end", [gevent.kill, lambda running: gevent.get_hub().loop.run_callback(running.throw, KeyError("mine"))],
                         ids=["kill", "throw"])
def test_a_greenlet_with_hooks_can_be_thrown_into(pairs: Pairs, end: Any) -> None:
    """A kill or an error ends the wait of a greenlet with hooks, by its own `throw()`, and nothing is lost."""
    near, far = pairs.stream()
    caught: list[BaseException] = []

    def read() -> None:
        try:
            near.readline()
        except BaseException as error:  # noqa: BLE001  # any exception can be thrown
            caught.append(error)

    running = hooked(read)
    far.sendall(b"half")
    until(lambda: near.buffered == 4)
    end(running)
    gevent.sleep(0)
    assert isinstance(caught[0], (gevent.GreenletExit, KeyError))
    assert log == ["in", "out"] * (len(log) // 2) + ["in"]
    far.sendall(b" a line\n")
    assert near.readline() == b"half a line\n"


def test_a_hook_that_raises_ends_the_wait(pairs: Pairs) -> None:
    """An error of `switch_out()` comes out of the call that was about to wait; the stream goes on."""

    class Unwilling(gevent.Greenlet):
        def switch_out(self) -> None:
            raise KeyError("not now")

    near, far = pairs.stream()
    running = Unwilling(near.readline)
    running.start()
    with pytest.raises(KeyError, match="not now"):
        running.get(timeout=20)
    far.sendall(b"x\n")
    assert near.readline() == b"x\n"


OWN_HUB = """
import gevent, gevent._hub_local, gevent.hub
from gevent import socket
waits = []
class OwnHub(gevent.hub.Hub):
    def switch(self):
        waits.append(gevent.getcurrent())
        return gevent.hub.Hub.switch(self)
gevent._hub_local.set_default_hub_class(OwnHub)
assert type(gevent.get_hub()) is OwnHub
from geventstreams import SocketStream
pairs = [socket.socketpair() for _ in range(20)]
def read(end):
    stream = SocketStream(end)
    for _ in range(2):
        lines.append(stream.readline())
lines = []
readers = [gevent.spawn(read, near) for near, _ in pairs]
gevent.sleep(0)
for count in (20, 40):
    for _, far in pairs:
        far.sendall(b"line\\n")
    while len(lines) < count:
        gevent.sleep(0.001)
print([waits.count(reader) for reader in readers])
"""


def test_a_hub_with_its_own_switch_is_told_of_every_wait() -> None:
    """Where the hub's class has a `switch` of its own, each of twenty greenlets that read two lines calls it for each wait."""
    done = subprocess.run([sys.executable, "-c", OWN_HUB], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == (f"{[2] * 20}\n", 0), done.stderr[-2000:]


BACKDOOR = """
import gevent
from gevent import socket
from gevent.backdoor import BackdoorServer
from geventstreams.monkey import patch_makefile
patch_makefile()
server = BackdoorServer(("127.0.0.1", 0))
server.start()
client = socket.create_connection(("127.0.0.1", server.server_port))
client.settimeout(20)
got = b""
def expect(what):
    global got
    while what not in got:
        piece = client.recv(4096)
        assert piece, got
        got += piece
expect(b">>> ")
print("mine")
client.sendall(b"6 * 7\\n")
expect(b"42")
print("mine again")
client.sendall(b"print('the client' + chr(39) + 's')\\n")
expect(b"the client's")
assert b"mine" not in got, got
client.close()
server.stop()
"""


def test_the_main_greenlets_print_does_not_go_to_a_client_of_the_backdoor() -> None:
    """With our `makefile` under `gevent.backdoor`, each client sees its own output, and the rest of the program's goes where it went."""
    done = subprocess.run([sys.executable, "-c", BACKDOOR], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("mine\nmine again\n", 0), done.stderr[-2000:]


def test_gevents_own_tests_of_its_backdoor() -> None:
    """gevent's suite for `gevent.backdoor` passes with our `makefile` in place."""
    command = (
        "import unittest; from geventstreams.monkey import patch_makefile; patch_makefile(); unittest.main('gevent.tests.test__backdoor')"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Ran 0 tests" not in done.stderr
    assert "OK" in done.stderr
