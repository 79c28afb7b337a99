"""Native threads with hubs of their own: what they may share, what is refused, and what is left when one of them has ended."""

import gc
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gevent
import gevent.event
import gevent.socket
import pytest
from kit import conditions
from kit.leftovers import descriptors_in_use, open_descriptor
from kit.loops import ON_LIBUV
from kit.pairs import Pairs

import geventstreams
from geventstreams import (
    SocketStream,
    SocketStreamServer,
    StreamError,
    WaitSet,
    makefile,
    noticed_socket_stream,
    process_wait,
    wait_for_input_streams,
    wait_for_input_streams_returning_first,
)
from geventstreams._core.fair_lock import fair_lock_between
from geventstreams._core.hub_hold import hold_of
from geventstreams.callbacks.api import tcp_connect, tcp_server
from geventstreams.testing.claims import ATTEMPTS, outcome

LONG = 20


class Native(threading.Thread):
    """A thread that runs a function, with a hub of its own where the function waits."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        super().__init__(daemon=True)
        self._call: Any = (function, args)
        self.result: Any = None
        self.error: BaseException | None = None
        self.began = threading.Event()
        self.start()

    def run(self) -> None:
        function, args = self._call
        self._call = None
        self.began.set()
        try:
            self.result = function(*args)
        except BaseException as error:  # noqa: BLE001  # the test is told
            self.error = error.with_traceback(None)
        del function, args

    def get(self, seconds: float = LONG) -> Any:
        """What the function returned, or raised."""
        self.join(seconds)
        assert not self.is_alive(), f"the thread waits for more than {seconds} s"
        if self.error is not None:
            raise self.error
        return self.result


@pytest.fixture(autouse=True)
def often() -> Iterator[None]:
    """Threads interrupt each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


until = partial(conditions.until, sleep=time.sleep)


def waiting(function: Callable[..., Any], *args: Any) -> Native:
    """A thread that runs a function, and waits in it by now: its hub has run others twice."""
    waits = threading.Event()

    def run() -> Any:
        gevent.spawn(lambda: (gevent.sleep(0), waits.set()))
        return function(*args)

    thread = Native(run)
    assert waits.wait(LONG)
    return thread


# One file between threads.


@pytest.mark.skipif(not geventstreams.compiled, reason="in plain Python no other thread runs within a step of a lock")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the collector runs between two bytecodes only")
def test_a_lock_that_is_released_while_a_waiter_queues_is_acquired() -> None:
    """The collector runs other threads wherever memory is asked for: no release is missed by a thread that begins to wait."""
    released = []

    def release(phase: str, _info: object) -> None:
        if phase == "start" and not released:
            released.append(None)
            lock.release()

    threshold = gc.get_threshold()
    for allocations in range(1, 60):
        lock = fair_lock_between(True)
        assert lock.acquire(None, LONG)
        gc.collect()
        released.clear()
        gc.callbacks.append(release)
        gc.set_threshold(allocations)
        try:
            acquired = lock.acquire(None, 0.02)
        finally:
            gc.set_threshold(*threshold)
            gc.callbacks.remove(release)
        assert acquired or not released, allocations


@pytest.mark.parametrize("mode", ["rb", "r"])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_readers_of_one_file_queue(pairs: Pairs, kind: str, mode: str) -> None:
    """Eight threads that read a line each from one file get a line each, whole, whenever it comes."""
    near, far = pairs.sockets(kind)
    file = pairs.keep(makefile(near, mode))
    threads = [Native(file.readline) for _ in range(8)]
    for number in range(8):
        far.sendall(f"line {number}\n".encode())
        time.sleep(0.01)
    lines = sorted(thread.get() for thread in threads)
    expected = [f"line {number}\n" for number in range(8)]
    assert lines == (expected if mode == "r" else [line.encode() for line in expected])


@pytest.mark.parametrize("mode", ["rb", "r"])
def test_lines_of_one_file_are_whole_in_every_thread(pairs: Pairs, mode: str) -> None:
    """Four threads that read 20,000 lines of one file get each line once and whole, in the order of the file."""
    near, far = pairs.sockets()
    file = pairs.keep(makefile(near, mode))
    numbers = range(20_000)

    def feed() -> None:
        far.sendall(b"".join(b"%d %s\n" % (number, b"x" * (number % 97)) for number in numbers))
        far.shutdown(socket.SHUT_WR)

    def read() -> list[Any]:
        return list(iter(file.readline, "" if "b" not in mode else b""))

    threads = [Native(read) for _ in range(4)]
    Native(feed).get()
    found: list[int] = []
    for thread in threads:
        words = [line.split() for line in thread.get(60)]
        mine = [int(words[0]) for words in words]
        assert mine == sorted(mine)
        assert all(len(words[1]) == int(words[0]) % 97 for words in words if len(words) == 2)
        found += mine
    assert sorted(found) == list(numbers)


def test_threads_that_begin_to_read_a_text_file_at_once(pairs: Pairs) -> None:
    """Threads whose first reads of a text file coincide share what is decoded: a hundred times, no line is torn."""
    for _ in range(100):
        near, far = socket.socketpair()
        with near, far, makefile(near) as file:
            far.sendall(b"x y\n" * 400)
            far.shutdown(socket.SHUT_WR)
            together = threading.Barrier(4)

            def read(file: Any = file, together: Any = together) -> list[str]:
                together.wait()
                return list(iter(file.readline, ""))

            threads = [Native(read) for _ in range(4)]
            assert [line for thread in threads for line in thread.get()] == ["x y\n"] * 400


def test_writers_of_one_file_queue(pairs: Pairs) -> None:
    """Four threads write 500 messages each, larger than the buffer now and then, to a slow peer: all come whole, each thread's in order."""
    near, far = pairs.sockets(buffers=4096)
    file = pairs.keep(makefile(near, "wb", 1024))

    def write(name: int) -> None:
        for number in range(500):
            size = 3000 if number % 50 == 0 else number % 60
            file.write(b"%d %d %s\n" % (name, number, b"x" * size))
            if number % 7 == 0:
                file.flush()
        file.flush()

    threads = [Native(write, name) for name in range(4)]
    received: list[int] = [0] * 4
    with far.makefile("rb") as lines:
        for _ in range(2000):
            name, number, *filling = lines.readline().split()
            assert int(number) == received[int(name)]
            assert len(filling[0] if filling else b"") == (3000 if int(number) % 50 == 0 else int(number) % 60)
            received[int(name)] += 1
    for thread in threads:
        thread.get()
    assert received == [500] * 4


def test_a_reader_and_a_writer_of_one_file(pairs: Pairs) -> None:
    """One thread reads what another writes, through one file and an echoing peer: 2 MiB come back."""
    near, far = pairs.sockets(buffers=16384)
    file = pairs.keep(makefile(near, "rwb"))
    data = os.urandom(2**21)

    def echo() -> None:
        while piece := far.recv(65536):
            far.sendall(piece)

    def write() -> None:
        file.write(data)
        file.flush()

    echoing = Native(echo)
    reading = Native(file.read, len(data))
    Native(write).get()
    assert reading.get() == data
    near.shutdown(socket.SHUT_WR)
    echoing.get()


@pytest.mark.parametrize("how", ["timeout", "kill"])
def test_a_reader_that_leaves_the_queue_takes_no_turn_with_it(pairs: Pairs, how: str) -> None:
    """A thread that is ended by a `gevent.Timeout` or a kill while it waits for its turn leaves the queue as it was: the one before it and
    the one behind it read on."""
    near, far = pairs.sockets()
    file = pairs.keep(makefile(near, "rb"))

    def read_in_time() -> Any:
        with gevent.Timeout(0.05, False):
            return file.readline()
        return None

    def read_and_be_killed() -> Any:
        running = gevent.spawn(file.readline)
        gevent.sleep(0.05)
        running.kill()
        return None

    first = waiting(file.readline)
    leaving = waiting(read_in_time if how == "timeout" else read_and_be_killed)
    last = waiting(file.readline)
    assert leaving.get() is None
    far.sendall(b"one\ntwo\n")
    assert (first.get(), last.get()) == (b"one\n", b"two\n")


def test_readers_that_come_and_go_at_any_time(pairs: Pairs) -> None:
    """Readers of four threads whose waits end by timeouts as lines come, hundreds of times: no line is lost, and no waiter."""
    near, far = pairs.sockets()
    file = pairs.keep(makefile(near, "rb"))
    lines: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            with gevent.Timeout(0.002, False):
                lines.append(file.readline())

    threads = [Native(read) for _ in range(4)]
    for number in range(300):
        far.sendall(b"%d\n" % number)
        time.sleep(0.001)
    until(lambda: len(lines) == 300)
    done.set()
    for thread in threads:
        thread.get()
    assert sorted(map(int, lines)) == list(range(300))


@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "raw"])
def test_closing_wakes_those_who_wait_in_other_threads(pairs: Pairs, buffering: int) -> None:
    """A file that one thread closes ends the reads that wait in others, and those that wait for their turn, with ValueError in 0.2 s."""
    for _ in range(ATTEMPTS):
        near, _far = pairs.sockets()
        file = pairs.keep(makefile(near, "rb", buffering))
        threads = [waiting(file.read, 1) for _ in range(3)]
        started = time.monotonic()
        Native(file.close).get()
        for thread in threads:
            with pytest.raises(ValueError, match="closed file"):
                thread.get()
        took = time.monotonic() - started
        if took < 0.2:
            return
    pytest.fail(f"{ATTEMPTS} times too late, at last after {took:.1f} s")


def test_readers_of_one_raw_file(pairs: Pairs) -> None:
    """Two threads that wait in one unbuffered file wait there without disturbing each other, and get a byte each."""
    near, far = pairs.sockets()
    file = pairs.keep(makefile(near, "rb", 0))
    threads = [waiting(file.read, 1) for _ in range(2)]
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.1, "they keep the processor busy"
    far.sendall(b"a")
    time.sleep(0.02)
    far.sendall(b"b")
    assert sorted(thread.get() for thread in threads) == [b"a", b"b"]


# What belongs to another thread.


def waits_for(thing: Any) -> dict[str, Callable[[], Any]]:
    """Every way to wait for a stream or a server."""

    def noticed() -> None:
        with noticed_socket_stream(thing):
            process_wait("anything", lambda: False, timeout=LONG)

    return {
        "list": lambda: wait_for_input_streams([thing], timeout=LONG),
        "poll": lambda: wait_for_input_streams([thing], timeout=0),
        "first": lambda: wait_for_input_streams_returning_first([thing], timeout=LONG),
        "set": lambda: WaitSet([thing]).wait(LONG),
        "add": lambda: WaitSet().add(thing),
        "noticed": noticed,
    }


@pytest.mark.parametrize("way", waits_for(None))
@pytest.mark.parametrize("ready", [False, True], ids=["quiet", "ready"])
@pytest.mark.parametrize("what", ["stream", "server"])
def test_waiting_for_what_is_another_threads_is_refused(pairs: Pairs, what: str, way: str, ready: bool) -> None:
    """To wait for another thread's stream or server is StreamError at once, whether it is ready or not, and sends and arms nothing; its own
    thread goes on with it."""
    near, far = pairs.stream()
    server = SocketStreamServer(("127.0.0.1", 0), lambda stream, address: None)
    server.start()
    gevent.sleep(0)
    thing = near if what == "stream" else server
    near.write(b"unsent")
    if ready:
        far.sendall(b"x")
        client = pairs.keep(socket.create_connection(("127.0.0.1", server.port)))
    started = time.monotonic()
    with pytest.raises(StreamError, match="another thread"):
        Native(waits_for(thing)[way]).get()
    assert time.monotonic() - started < LONG / 4, "it waited"
    assert near.unsent == 6
    assert not near._is_idle()
    near.flush()
    if not ready:
        far.sendall(b"x")
        client = pairs.keep(socket.create_connection(("127.0.0.1", server.port)))
    assert wait_for_input_streams([near], timeout=5) == [near]
    gevent.socket.wait_read(client.fileno(), timeout=5)  # the server is this thread's: it accepts, and closes, meanwhile
    assert client.recv(1) == b""
    server.stop()


CALLS: dict[str, Callable[[Any], Any]] = {
    "read": lambda stream: stream.read(1),
    "flush": lambda stream: stream.flush(),
    "large write": lambda stream: stream.write(b"x" * 100_000),
    "force_output": lambda stream: stream.force_output(),
    "read_available": lambda stream: stream.read_available(),
    "listen": lambda stream: stream.listen(),
    "send_eof": lambda stream: stream.send_eof(),
    "shutdown": lambda stream: stream.shutdown("input"),
    "replace_socket": lambda stream: stream.replace_socket(None),
    "socket": lambda stream: setattr(stream, "socket", None),
    "attach_ssl": lambda stream: stream.attach_ssl(ssl_side="client"),
    "detach_ssl": lambda stream: stream.detach_ssl(),
    "close": lambda stream: stream.close(),
    "abort": lambda stream: stream.abort(),
    "makefile": lambda stream: stream.makefile("rb").read(1),
}


@pytest.mark.parametrize("call", CALLS)
def test_calls_on_another_threads_stream_are_refused(pairs: Pairs, call: str) -> None:
    """What would wait, send, or touch the loop of a stream's own thread is StreamError in another, and the stream goes on as it was."""
    near, far = pairs.stream()
    near.write(b"unsent")
    with pytest.raises(StreamError, match="another thread"):
        Native(CALLS[call], near).get()
    assert (near.closed, near.unsent) == (False, 6)
    near.flush()
    assert far.recv(100) == b"unsent"
    far.sendall(b"x\n")
    assert near.readline() == b"x\n"


SERVER_CALLS: dict[str, Callable[[Any], Any]] = {
    "stop": lambda server: server.stop(1),
    "close": lambda server: server.close(),
    "stop_accepting": lambda server: server.stop_accepting(),
    "start_accepting": lambda server: server.start_accepting(),
}


@pytest.mark.parametrize("call", SERVER_CALLS)
def test_calls_on_another_threads_server_are_refused(call: str) -> None:
    """What would touch the loop that a server accepts in is StreamError in another thread, and the server goes on."""
    server = SocketStreamServer(("127.0.0.1", 0), lambda stream, address: stream.write(b"served"))
    server.start()
    with pytest.raises(StreamError, match="another thread"):
        Native(SERVER_CALLS[call], server).get()
    with gevent.socket.create_connection(("127.0.0.1", server.port)) as client:
        assert client.recv(100) == b"served"
    server.stop()


SOCKET_CALLS: dict[str, Callable[[Any], Any]] = {
    "write": lambda connection: connection.write(b"x"),
    "close": lambda connection: connection.close(),
    "force": lambda connection: connection.close(force=True),
    "drain": lambda connection: connection.drain(),
    "pause": lambda connection: connection.pause(),
    "resume": lambda connection: connection.resume(),
    "set_timeouts": lambda connection: connection.set_timeouts(1, 1),
    "stream": lambda connection: connection.stream.close(),
    "stream write": lambda connection: connection.stream.write(b"x"),
    "stream end": lambda connection: connection.stream.send_eof(),
}


@pytest.mark.parametrize("call", SOCKET_CALLS)
def test_calls_on_another_threads_connection_are_refused(call: str) -> None:
    """A call on another thread's callback connection is a StreamError, and the connection goes on."""
    echoed: list[bytes] = []
    server = tcp_server("127.0.0.1", 0, lambda connection, data: connection.write(data))
    connection = tcp_connect(
        "127.0.0.1", server.port, lambda _, stream: echoed.append(stream.read_available()), dont_drain_read_buffer=True
    )
    with pytest.raises(StreamError, match="another thread"):
        Native(SOCKET_CALLS[call], connection).get()
    connection.write(b"hello")
    conditions.until(lambda: b"".join(echoed) == b"hello", what="the echo")
    connection.close()
    server.close()
    conditions.until(lambda: not server.connections, what="the end of the server's connection")


def test_another_threads_callback_server_is_refused() -> None:
    """Closing a callback server in another thread is StreamError, and it goes on accepting."""
    server = tcp_server("127.0.0.1", 0, lambda connection, data: connection.write(data))
    with pytest.raises(StreamError, match="another thread"):
        Native(server.close).get()
    with gevent.socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
    server.close()
    conditions.until(lambda: not server.connections, what="the end of the server's connection")


@pytest.mark.parametrize("call", ["wait", "poll", "add", "discard", "close"])
def test_another_threads_wait_set_is_refused(pairs: Pairs, call: str) -> None:
    """A WaitSet belongs to the thread that made it: StreamError in another, and the set goes on."""
    near, far = pairs.stream()
    waiting = WaitSet([near])
    calls = {
        "wait": lambda: waiting.wait(0.3), "poll": lambda: waiting.wait(0), "add": lambda: waiting.add(near),
        "discard": lambda: waiting.discard(near), "close": waiting.close,
    }  # fmt: skip
    with pytest.raises(StreamError, match="another thread"):
        Native(calls[call]).get()
    far.sendall(b"x")
    assert waiting.wait(5) == [near]
    waiting.close()


# Calls that one thread hands to the hub of another.


class WatchedLoop:
    """A loop that records what other threads than its own use of it."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self.used_elsewhere: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if threading.get_ident() != self._thread:
            self.used_elsewhere.add(name)
        return getattr(self._loop, name)


def test_a_call_for_another_threads_hub_leaves_its_loop_alone() -> None:
    """A call for the hub of another thread starts nothing in its loop, which may run meanwhile, and the hub makes the call."""
    loop = gevent.get_hub().loop
    hold = hold_of(gevent.get_hub())
    called = gevent.event.Event()
    watched = hold.loop = WatchedLoop(loop)
    try:
        Native(hold.run_there, called.set).get()
        assert called.wait(5)
    finally:
        hold.loop = loop
    assert watched.used_elsewhere <= {"ptr"}


def test_a_call_that_fails_keeps_no_other_from_being_made(capfd: pytest.CaptureFixture[str]) -> None:
    """Of the calls that wait for a hub each is made, although one fails: a greenlet that lets others run waits for such a call."""
    hold = hold_of(gevent.get_hub())
    called = gevent.event.Event()
    for call in ({}.popitem, [].pop, called.set):
        hold.run_there(call)
    assert called.wait(5)
    assert "KeyError" in capfd.readouterr().err


class Dependent:
    """Something of a thread that wants to know when that has ended."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dependent_that_fails_keeps_no_other_from_being_told() -> None:
    """When a thread has ended, all that depends on it is told, of each of its hubs, although the calls of others fail."""
    told: list[str] = []
    dependents = [Dependent() for _ in range(4)]

    def fail(_: Dependent) -> None:
        raise OSError("this dependent fails")

    def with_a_hub(first: Dependent, second: Dependent, name: str) -> None:
        hub = gevent.hub.Hub()
        hold = hold_of(hub)
        hold.tell_end_to(first, fail)
        hold.tell_end_to(second, lambda _: told.append(name))
        hubs.append(hub)

    def run() -> None:
        with_a_hub(*dependents[:2], "first")
        with_a_hub(*dependents[2:], "second")

    hubs: list[Any] = []
    thread = Native(run)
    thread.get()
    thread.join()
    conditions.until(lambda: sorted(told) == ["first", "second"])


# What an ended thread has left.


def stream_of(pairs: Pairs, plain: socket.socket) -> Any:
    return SocketStream(plain)


def written_stream_of(pairs: Pairs, plain: socket.socket) -> Any:
    stream = SocketStream(plain)
    stream.write(b"last words")
    return stream


def watched_stream_of(pairs: Pairs, plain: socket.socket) -> Any:
    stream = SocketStream(plain)
    assert wait_for_input_streams([stream], timeout=0.01) == []
    return stream


def read_stream_of(pairs: Pairs, plain: socket.socket) -> Any:
    stream = SocketStream(plain, read_timeout=0.01)
    assert stream.read_char(False) is None
    return stream


def file_of(pairs: Pairs, plain: socket.socket) -> Any:
    file = makefile(plain, "rb")
    with gevent.Timeout(0.01, False):
        file.read(1)
    gevent.sleep(0)  # the hub is in the middle of throwing the timeout, whose traceback has the file
    plain.close()
    return file


KINDS = [stream_of, written_stream_of, watched_stream_of, read_stream_of, file_of]


@pytest.mark.filterwarnings("ignore:unclosed stream:ResourceWarning", "ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("hub", ["left", "destroyed"])
@pytest.mark.parametrize("how", ["dropped", "closed", "aborted"])
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_what_an_ended_thread_left_gives_its_descriptor_back(pairs: Pairs, make: Any, how: str, hub: str) -> None:
    """A stream or file whose thread has ended, its hub destroyed or not, can be dropped or closed by another: the descriptor is closed at
    once, and the peer sees the end, behind what could be sent without waiting."""
    plain, far = pairs.sockets()
    handle = plain.detach()
    made: list[Any] = []

    def begin() -> None:
        made.append(make(pairs, socket.socket(fileno=handle)))
        if hub == "destroyed":
            gevent.get_hub().destroy(destroy_loop=True)

    Native(begin).get()
    assert open_descriptor(handle)
    thing = made.pop()
    if how == "closed":
        thing.close()
    elif how == "aborted" and hasattr(thing, "abort"):
        thing.abort()
    del thing
    if make is file_of:
        gc.collect()
    assert not open_descriptor(handle)
    far.settimeout(5)
    if how == "aborted" and make is not file_of:
        with pytest.raises(ConnectionResetError):
            far.recv(100)
    else:
        assert far.recv(100) == (b"last words" if make is written_stream_of else b"")


@pytest.mark.filterwarnings("ignore:unclosed stream:ResourceWarning")
def test_a_stream_dropped_shortly_before_its_thread_ends(pairs: Pairs) -> None:
    """A stream that another thread drops while its own does not run its hub any more: the descriptor is closed when its own has ended."""
    plain, _far = pairs.sockets()
    handle = plain.detach()
    made: list[Any] = []
    dropped = threading.Event()

    def begin() -> None:
        made.append(watched_stream_of(pairs, socket.socket(fileno=handle)))
        dropped.wait()

    thread = Native(begin)
    until(lambda: made)
    made.clear()
    dropped.set()
    thread.get()
    assert not open_descriptor(handle)


@pytest.mark.filterwarnings("ignore:unclosed stream:ResourceWarning")
def test_a_stream_dropped_while_its_thread_runs(pairs: Pairs) -> None:
    """A stream that another thread drops while its own waits in its hub: the descriptor is closed there, soon."""
    plain, _far = pairs.sockets()
    handle = plain.detach()
    made: list[Any] = []
    done = threading.Event()

    def begin() -> None:
        made.append(watched_stream_of(pairs, socket.socket(fileno=handle)))
        while not done.is_set():
            gevent.sleep(0.001)

    thread = Native(begin)
    until(lambda: made)
    made.clear()
    until(lambda: not open_descriptor(handle))
    done.set()
    thread.get()


@pytest.mark.parametrize("how", ["left", "dropped", "closed"])
def test_a_callback_connection_of_an_ended_thread(how: str) -> None:
    """A callback connection and a callback server whose thread has ended are closed: nothing can ever run them."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    made: list[Any] = []

    def begin() -> None:
        made.append(tcp_connect("127.0.0.1", listener.getsockname()[1], lambda *args: None))
        made.append(tcp_server("127.0.0.1", 0, lambda *args: None))
        conditions.until(lambda: made[0].fileno() >= 0, what="the connection")

    thread = Native(begin)
    client = listener.accept()[0]
    client.settimeout(5)
    thread.get()
    port = made[1].port
    if how == "closed":
        for one in made:
            one.close()
    if how != "left":
        del made[:]
    assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    client.close()
    listener.close()


LEFT_TO_THE_END = """
import socket, sys, threading
import gevent
from geventstreams import SocketStream, SocketStreamServer, WaitSet, tcp_connect, tcp_server
from geventstreams import makefile

listener = socket.create_server(("127.0.0.1", 0))
address = listener.getsockname()
ends = [*socket.socketpair(), *socket.socketpair()]
left = []

def begin():
    stream = SocketStream(ends[0])
    stream.write(b"unsent")
    members = WaitSet([stream])
    members.wait(0.001)
    file = makefile(ends[2], "rwb")
    file.write(b"unsent")
    server = SocketStreamServer(("127.0.0.1", 0), lambda stream, address: None)
    server.start()
    client = tcp_connect(*address, lambda *args: None)
    left.extend([stream, members, file, server, client, tcp_server("127.0.0.1", 0, lambda *args: None)])
    while client.fileno() < 0:
        gevent.sleep(0.001)

thread = threading.Thread(target=begin)
thread.start()
thread.join()
left.append(left)
if sys.argv[1:]:
    del left[:-1], left
"""


@pytest.mark.parametrize("dropped", [[], ["dropped"]])
def test_what_an_ended_thread_left_is_silent_at_exit(dropped: list[str]) -> None:
    """What an ended thread has left, in a cycle that is found at the end of the program, says nothing then."""
    program = subprocess.run([sys.executable, "-c", LEFT_TO_THE_END, *dropped], capture_output=True, text=True, timeout=30, check=False)
    assert (program.returncode, program.stderr) == (0, "")


def test_a_server_of_an_ended_thread() -> None:
    """A server whose thread has ended listens no more, resets its connections, and can be stopped by another thread at once."""
    made: list[Any] = []

    def begin() -> None:
        server = SocketStreamServer(("127.0.0.1", 0), lambda stream, address: stream.read(1))
        server.start()
        made.append(server)
        while not server.connections:
            gevent.sleep(0.001)

    thread = Native(begin)
    until(lambda: made)
    client = socket.create_connection(("127.0.0.1", made[0].port))
    client.settimeout(5)
    thread.get()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", made[0].port))
    started = time.monotonic()
    made[0].stop()
    assert time.monotonic() - started < 1
    client.close()


def test_a_thread_with_the_number_of_an_ended_one(pairs: Pairs) -> None:
    """The system gives the number of an ended thread to a new one: a stream of the first is refused in the second where it would wait."""
    plain, _far = pairs.sockets()
    made: list[Any] = []
    Native(lambda: made.append((threading.get_ident(), SocketStream(plain)))).get()
    number, stream = made.pop()

    # The readers stay until the end, so that the number of the first is the only free one for the next.
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    ending = threading.Event()

    def read() -> None:
        with pytest.raises(StreamError, match="another thread"):
            stream.read(1)
        numbers.put(threading.get_ident())
        ending.wait(LONG)

    readers: list[Native] = []
    try:
        while len(readers) < 20:
            readers.append(Native(read))
            if numbers.get(timeout=LONG) == number:
                break
        else:
            pytest.fail("no thread had the number of the first")
    finally:
        ending.set()
        for reader in readers:
            reader.get()
    stream.close()


@pytest.mark.parametrize("options", [{}, {"buffering": 0}, {"mode": "r"}], ids=["buffered", "raw", "text"])
def test_a_thread_that_waited_in_a_file_leaves_no_descriptor(pairs: Pairs, options: dict[str, Any]) -> None:
    """A thread that waits in a file, or for its turn to read it, has a hub that it did not ask for: that goes when the thread ends."""
    plain, far = pairs.sockets()
    file = pairs.keep(makefile(plain, **{"mode": "rb", **options}))

    def read_by_threads(count: int) -> int:
        for _ in range(count):
            readers = [Native(file.read, 1) for _ in range(3)]
            for _ in readers:
                far.sendall(b"x")
            assert {len(reader.get()) for reader in readers} == {1}
        return descriptors_in_use()

    before = read_by_threads(1)
    assert read_by_threads(20) == before


@pytest.mark.skipif(ON_LIBUV, reason="gevent alone leaves the loop of a dead hub there")
def test_a_thread_whose_hub_died_leaves_no_descriptor() -> None:
    """A thread that used a stream, and whose hub's greenlet was ended, leaves nothing of its loop when it ends."""

    def use() -> None:
        near, far = socket.socketpair()
        with far, SocketStream(near) as stream:
            far.sendall(b"x")
            assert stream.read(1) == b"x"
            gevent.sleep(0)
        hub = gevent.get_hub()
        outcome(hub.switch)
        outcome(hub.throw, KeyError)
        assert hub.dead

    def threads(count: int) -> int:
        for _ in range(count):
            thread = threading.Thread(target=use)
            thread.start()
            thread.join(20)
            assert not thread.is_alive()
        gc.collect()
        return descriptors_in_use()

    before = threads(1)
    assert threads(10) == before
