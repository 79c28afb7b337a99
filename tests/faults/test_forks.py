"""A process that forks while greenlets wait: in the child they get StreamError, no byte is taken or sent, and the parent goes on."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import gevent.socket
import pytest
from kit.callbacks import Calls, Endpoints, rounds
from kit.conditions import reported, until
from kit.forking import CHILDREN
from kit.loops import ON_LIBUV
from kit.pairs import Pairs
from kit.tls import TLSKit

from geventstreams import (
    SocketStream,
    SocketStreamServer,
    StreamError,
    WaitSet,
    makefile,
    noticed_socket_stream,
    process_wait,
    tcp_server,
    wait_for_input_streams,
    write_socket_data,
)
from geventstreams._core.fairness import yield_to_hub
from geventstreams._core.hub_hold import hold_of
from geventstreams.relay import relay
from geventstreams.testing.claims import outcome, sample, started

SOCKETS = pytest.mark.parametrize("kind", ["tcp", "unix", "TLSv1.2", "TLSv1.3"])
FORKS = pytest.mark.parametrize("fork", CHILDREN)
SMALL = 4096
LONG = 2**20


def noticed(stream: Any) -> Any:
    """Wait for a condition that the input of the stream makes true."""
    with noticed_socket_stream(stream):
        process_wait("for input", stream.listen)
    return stream.readline()


WAITING: dict[str, Callable[[Any], Any]] = {
    "readline": lambda stream: stream.readline(),
    "read_exactly": lambda stream: stream.read_exactly(15),
    "read_line": lambda stream: stream.read_line()[0].encode() + b"\n",
    "read_sequence": lambda stream: (buffer := bytearray(15)) and stream.read_sequence(buffer) and bytes(buffer),
    "wait_for_input_streams": lambda stream: wait_for_input_streams([stream])[0].readline(),
    "WaitSet.wait": lambda stream: WaitSet([stream]).wait()[0].readline(),
    "process_wait": noticed,
}


def has_failed(greenlet: gevent.Greenlet) -> None:
    """Wait until a greenlet has ended in StreamError, in a forked child."""
    until(greenlet.ready, what="the end of a greenlet that waited in the parent")
    assert isinstance(greenlet.value, StreamError), greenlet.value
    assert "fork" in str(greenlet.value)


def idle(descriptor: int) -> None:
    """Return when the loop of a forked child has seen that a descriptor is ready, and then assert that it rests."""
    gevent.socket.wait(gevent.get_hub().loop.io(descriptor, 3), timeout=5)
    rounds()
    before = time.process_time()
    gevent.sleep(0.2)
    assert time.process_time() - before < 0.1, "the hub does not rest"


@SOCKETS
@FORKS
@pytest.mark.parametrize("name", WAITING)
def test_a_reader_that_waits_takes_nothing_in_the_child(pairs: Pairs, kind: str, fork: str, name: str) -> None:
    """A greenlet that waits for input when the process forks gets StreamError in the child, and in the parent all that comes."""
    stream, peer = pairs.streams(kind)
    reader = started(WAITING[name], stream)
    peer.write(b"for the parent\n")
    peer.flush()

    def check() -> None:
        has_failed(reader)
        if name not in ("wait_for_input_streams", "WaitSet.wait", "process_wait"):
            assert reader.value.stream is stream
        idle(stream.fileno())

    CHILDREN[fork](check)
    assert reader.get(timeout=10) == b"for the parent\n"


@FORKS
def test_a_greenlet_that_lets_others_run_ends_in_the_child(fork: str) -> None:
    """A greenlet that has let others run for a round of the hub when the process forks gets StreamError in the child, and goes on here."""
    letting = started(yield_to_hub, gevent.get_hub())
    assert not letting.ready()
    CHILDREN[fork](lambda: has_failed(letting))
    assert letting.get(timeout=10) is None


@FORKS
def test_what_a_thread_left_to_do_is_done_in_the_child(fork: str) -> None:
    """A call that another thread has left for the hub's thread, and that was not made before a fork, is made in the child, too."""
    calls: list[int] = []
    hold = hold_of(gevent.get_hub())
    leaving = threading.Thread(target=hold.run_there, args=[partial(calls.append, 1)])
    leaving.start()
    leaving.join()
    assert not calls
    CHILDREN[fork](lambda: until(lambda: calls == [1]))
    until(lambda: calls == [1])


WRITING: dict[str, Callable[[Any], Any]] = {
    "write": lambda stream: stream.write(sample(LONG)),
    "flush": lambda stream: (stream.write(sample(60_000)), stream.flush()),
    "send_eof": lambda stream: (stream.write(sample(60_000)), stream.send_eof()),
    "close": lambda stream: (stream.write(sample(60_000)), stream.close()),
}


@SOCKETS
@FORKS
@pytest.mark.parametrize("name", WRITING)
def test_a_writer_that_waits_sends_nothing_in_the_child(pairs: Pairs, kind: str, fork: str, name: str) -> None:
    """A greenlet that waits for room when the process forks gets StreamError in the child; the parent's bytes arrive, each once."""
    stream, peer = pairs.streams(kind, buffers=SMALL)
    writer = started(WRITING[name], stream)
    second = started(lambda: (stream.write(b"behind it"), stream.flush())) if name in ("write", "flush") else None
    got = peer.read_available()

    def check() -> None:
        has_failed(writer)
        if second is not None:
            has_failed(second)

    CHILDREN[fork](check)
    data = sample(LONG if name == "write" else 60_000) + (b"behind it" if second is not None else b"")
    rest = started(lambda: peer.read_exactly(len(data) - len(got)))
    assert got + rest.get(timeout=20) == data
    writer.get(timeout=10)
    stream.close()
    assert peer.read() == b""


@SOCKETS
@FORKS
def test_output_that_the_hub_sends_is_sent_once(pairs: Pairs, kind: str, fork: str) -> None:
    """Output that is being sent in the background when the process forks is sent by the parent alone."""
    stream, peer = pairs.streams(kind, buffers=SMALL)
    data = sample(60_000)
    stream.write(data)
    stream.force_output()
    got = peer.read_available()
    CHILDREN[fork](lambda: idle(stream.fileno()))
    closing = started(stream.close)
    assert got + peer.read() == data
    closing.get(timeout=10)


def test_a_close_that_lingers_is_left_to_the_parent() -> None:
    """A close that waits for the peer when the process forks closes the child's descriptor there, and the peer gets all, and an end."""
    pairs = Pairs()
    near, far = pairs.sockets("tcp", SMALL)
    near.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += near.send(bytes(1000))
    stream, peer = pairs.keep(SocketStream(near, linger_timeout=20)), pairs.keep(SocketStream(far))
    closing = started(stream.close)
    assert not closing.ready()
    CHILDREN["os"](lambda: has_failed(closing))
    assert len(peer.read()) == sent
    assert closing.get(timeout=10) is None
    pairs.close()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@FORKS
def test_a_handshake_belongs_to_the_parent(certificates: Any, fork: str, kind: str) -> None:
    """A handshake that waits when the process forks is StreamError in the child, and completes in the parent."""
    pairs = Pairs()
    stream, peer = pairs.streams(kind)
    kit = TLSKit(certificates, pairs, "TLSv1.3")
    server = started(lambda: stream.attach_ssl(**kit.arguments("server")))
    client = gevent.spawn(lambda: peer.attach_ssl(**kit.arguments("client")))
    gevent.sleep(0)
    CHILDREN[fork](lambda: has_failed(server))
    server.get(timeout=10)
    client.get(timeout=10)
    peer.write(b"hello\n")
    peer.flush()
    assert stream.readline() == b"hello\n"
    pairs.close()


# Files.


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("buffering", [0, -1])
@FORKS
def test_files_take_and_send_nothing_in_the_child(fork: str, kind: str, buffering: int) -> None:
    """A file of makefile that waits when the process forks is StreamError in the child, and the parent's goes on."""
    pairs = Pairs()
    near, far = (pairs.far(one) for one in pairs.sockets(kind, SMALL))
    reading, writing = makefile(near, "rb", buffering), makefile(near, "wb", buffering)
    reader = started(reading.readline)
    data = sample(LONG)
    writer = started(lambda: (writing.write(data), writing.flush()))
    far.sendall(b"for the parent\n")
    far.setblocking(False)
    got = far.recv(LONG)

    def check() -> None:
        has_failed(reader)
        if buffering:
            has_failed(writer)

    CHILDREN[fork](check)
    assert reader.get(timeout=10) == b"for the parent\n"
    far.setblocking(True)
    wanted = len(data) if buffering else len(got)
    while len(got) < wanted:
        got += far.recv(65536)
    assert got == data[: len(got)]
    writer.get(timeout=10)
    pairs.close()


@pytest.mark.parametrize("end", ["close", "flush", "drop", "write"])
def test_what_a_file_holds_is_its_writers(end: str) -> None:
    """What the parent wrote to a file is sent by the parent alone, although the child uses its copy; what the child writes is sent."""
    pairs = Pairs()
    near, far = (pairs.far(one) for one in pairs.sockets("tcp"))
    files = [makefile(near, "wb")]
    files[0].write(b"parent")

    def use() -> None:
        if end == "drop":
            files.clear()
            rounds()
        elif end == "write":
            files[0].write(b"child")
            files[0].flush()
        else:
            getattr(files[0], end)()

    CHILDREN["os"](use)
    files[0].close()
    near.close()
    got = b""
    while piece := far.recv(100):
        got += piece
    assert got == (b"child" if end == "write" else b"") + b"parent"
    pairs.close()


def test_a_file_goes_on_in_the_child() -> None:
    """A new call on a file in a forked child is served, as by the standard library's: the program hands its connection over."""
    pairs = Pairs()
    near, far = (pairs.far(one) for one in pairs.sockets("tcp"))
    file = makefile(near, "rwb")
    far.sendall(b"one\n")
    assert file.readline() == b"one\n"
    near.settimeout(0.01)
    with pytest.raises(TimeoutError):
        file.readline()
    near.settimeout(None)

    def serve() -> None:
        gevent.spawn_later(0.05, far.sendall, b"two\n")
        assert file.readline() == b"two\n"
        file.write(b"three\n")
        file.close()

    CHILDREN["gevent"](serve)
    assert far.recv(100) == b"three\n"
    pairs.close()


def waiting_thread(call: Callable[[], object]) -> threading.Thread:
    """A thread that makes a call, which waits by now."""
    waits = threading.Event()

    def run() -> None:
        gevent.spawn(waits.set)  # it runs when the call switches to the hub
        call()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert waits.wait(20)
    return thread


@pytest.mark.parametrize("mode", ["rwb", "r"])
@pytest.mark.parametrize("queue", ["one", "two in turn"])
@FORKS
def test_a_file_that_another_thread_uses_at_the_fork_is_free_in_the_child(fork: str, mode: str, queue: str) -> None:
    """A file that another native thread reads and writes when the process forks, while others wait for it, is free in the child, which has
    no such threads: a call there waits for the socket only, and the parent's go on."""
    pairs = Pairs()
    plain, far = pairs.sockets("unix", SMALL)
    file = makefile(plain, mode)
    lines: list[Any] = []
    readers = [waiting_thread(lambda: lines.append(file.readline())) for _ in range(1 if queue == "one" else 2)]
    writers = [waiting_thread(lambda: (file.write(bytes(LONG)), file.flush()))] if mode == "rwb" else []

    def use() -> None:
        plain.settimeout(0.05)  # for the socket, and not for a lock
        with gevent.Timeout(10), pytest.raises(TimeoutError):
            file.readline()
        if writers:
            with gevent.Timeout(10), pytest.raises(TimeoutError):
                file.write(bytes(LONG))

    CHILDREN[fork](use)
    plain.settimeout(None)
    far.sendall(len(readers) * b"for the parent\n")
    while writers and writers[0].is_alive():
        reported(far.fileno(), select.POLLIN, 10) and far.recv(65536)
    for thread in readers:
        thread.join(10)
    assert len(lines) == len(readers)
    pairs.close()


# Servers and callbacks.


@FORKS
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_the_copy_of_a_server_accepts_no_client(certificates: Any, fork: str, secure: bool) -> None:
    """A client that comes when the process forks is served by the parent: the child's copy accepts no client, and does not spin."""
    kit = TLSKit(certificates, Pairs(), "TLSv1.3")
    options = kit.arguments("server") if secure else {}
    server = SocketStreamServer(("127.0.0.1", 0), lambda stream, _address: stream.write(stream.readline()), **options)
    server.start()
    waiter = started(wait_for_input_streams, [server])
    plain = socket.create_connection(("127.0.0.1", server.port))

    def check() -> None:
        has_failed(waiter)
        idle(server.fileno())
        assert server.stats.accepted == 0
        assert server.stop(0) == (0, 0, 0)

    CHILDREN[fork](check)
    assert waiter.get(timeout=10) == [server]
    with SocketStream(plain, **(kit.arguments("client") if secure else {})) as client:
        client.write(b"hello\n")
        assert client.readline() == b"hello\n"
    server.stop(1)


@FORKS
def test_a_client_that_was_accepted_is_the_parents(fork: str) -> None:
    """A client that was accepted when the process forks, and not yet given to its handler, is served by the parent alone."""
    served: list[int] = []

    def handle(stream: Any, _address: Any) -> None:
        served.append(os.getpid())
        stream.write(stream.readline())

    server = SocketStreamServer(("127.0.0.1", 0), handle)
    near, far = socket.socketpair()
    server.init_socket()
    server.do_handle(near, "a client")
    far.sendall(b"hello\n")

    def check() -> None:
        gevent.sleep(0.05)
        assert not served

    CHILDREN[fork](check)
    far.setblocking(False)
    gevent.socket.wait_read(far.fileno(), timeout=10)
    assert (far.recv(100), served) == (b"hello\n", [os.getpid()])
    server.stop(1)
    far.close()


@FORKS
def test_no_callback_is_called_in_the_child(endpoints: Endpoints, calls: Calls, fork: str) -> None:
    """Connections and servers that call back do so in the parent alone, in every phase: accepting, receiving, sending, closing."""
    theirs = Calls()
    listener = endpoints.listener().detach()
    server = endpoints.server(theirs.read, theirs.event, connect_cb=theirs.connect, fd=listener)
    receiving, peer = endpoints.joined(calls.read, calls.event, receive=SMALL)
    sending, other = endpoints.joined(calls.read, calls.event, receive=SMALL, write_cb=calls.write)
    closing, third = endpoints.joined(calls.read, calls.event, receive=SMALL)
    endpoints.joined(calls.read, calls.event, connect_cb=calls.connect)
    data = sample(LONG)
    until(lambda: calls.connected)
    del calls.names[:]
    for one in (sending, closing):
        with socket.socket(fileno=os.dup(one.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    sending.write(data)
    closing.write(data)
    rounds()
    closing.close()
    receiving.write(b"in this turn")
    peer.sendall(b"for the parent")
    plain = socket.create_connection(("127.0.0.1", server.port))
    other.setblocking(False)
    got = b""
    while not reported(sending.fileno(), select.POLLOUT, 0):
        with contextlib.suppress(BlockingIOError):
            got += other.recv(65536)

    def check() -> None:
        until(lambda: receiving.fileno() == sending.fileno() == -1, what="the end of the copies")
        idle(listener)
        assert calls.names == theirs.names == []

    CHILDREN[fork](check)
    other.setblocking(True)
    until(lambda: calls.data == b"for the parent" and theirs.connected)
    assert peer.recv(100) == b"in this turn"
    with gevent.Timeout(20):
        while len(got) < len(data):
            got += other.recv(65536)
        assert got == data
        rest = b"".join(iter(lambda: third.recv(65536), b""))
    assert rest == data
    plain.close()


SOCKET_CALLS: dict[str, Callable[[Any], Any]] = {
    "write": lambda connection: connection.write(b"x"),
    "write a string": lambda connection: connection.write("x", 0, 1),
    "write_socket_data": lambda connection: write_socket_data(connection, b"x"),
    "drain": lambda connection: connection.drain(),
    "pause": lambda connection: connection.pause(),
    "resume": lambda connection: connection.resume(),
    "set_timeouts": lambda connection: connection.set_timeouts(1, 1),
    "stream.write": lambda connection: connection.stream.write(b"x"),
    "stream.finish_output": lambda connection: connection.stream.finish_output(),
    "stream.read_timeout": lambda connection: setattr(connection.stream, "read_timeout", 1),
}


@FORKS
@pytest.mark.parametrize("call", SOCKET_CALLS)
def test_a_call_on_a_connection_is_refused_in_the_child(endpoints: Endpoints, calls: Calls, fork: str, call: str) -> None:
    """A new call on the parent's callback connection is StreamError in the child, which accepts nothing; the parent's go on."""
    connection, peer = endpoints.joined(calls.read, calls.event, connect_cb=calls.connect, dont_drain_read_buffer=True)
    until(lambda: calls.connected)

    def check() -> None:
        with pytest.raises(StreamError, match="fork"):
            SOCKET_CALLS[call](connection)
        assert connection.unsent == 0

    CHILDREN[fork](check)
    connection.write(b"from the parent")
    connection.drain()
    assert peer.recv(100) == b"from the parent"


class Elsewhere(threading.Thread):
    """A thread with a hub of its own, in which a server, a callback server and a reader wait."""

    def __init__(self, socket: Any) -> None:
        super().__init__(daemon=True)
        self.lines: list[bytes] = []
        self.over = threading.Event()
        self.ready = threading.Event()
        self._socket = socket
        self.start()

    def run(self) -> None:
        self.stream = SocketStream(self._socket)
        self.server = SocketStreamServer(("127.0.0.1", 0), lambda stream, _address: stream.write(stream.readline()))
        self.server.start()
        self.called_back = tcp_server("127.0.0.1", 0, lambda connection, data: connection.write(data))
        gevent.spawn(lambda: self.lines.extend(self.stream))
        rounds()
        self.ready.set()
        process_wait("for the end", self.over.is_set)
        self.called_back.close()
        self.server.stop(0)
        self.stream.close()


@FORKS
def test_what_another_thread_runs_is_the_parents(fork: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A child can close what another thread's hub served in the parent; there that goes on, as does what waits in the thread that forks."""
    pairs = Pairs()
    plain, far = pairs.sockets("tcp")
    elsewhere = Elsewhere(plain)
    assert elsewhere.ready.wait(10)
    stream, peer = pairs.streams("tcp")
    reader = started(stream.readline)

    def close() -> None:
        for one in (elsewhere.server, elsewhere.called_back, elsewhere.stream, stream):
            one.close()
        rounds()

    CHILDREN[fork](close)
    assert capfd.readouterr().err == ""
    peer.write(b"for the parent\n")
    peer.flush()
    assert reader.get(timeout=10) == b"for the parent\n"
    far.sendall(b"for the other\n")
    until(lambda: elsewhere.lines == [b"for the other\n"], what="the line of the other thread's stream")
    for port in (elsewhere.server.port, elsewhere.called_back.port):
        with gevent.socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"hello\n"
    elsewhere.over.set()
    elsewhere.join(10)
    assert not elsewhere.is_alive()
    pairs.close()


@pytest.mark.skipif(not ON_LIBUV, reason="gevent's other loops look for signals in the first thread only")
@pytest.mark.parametrize("fork", ["os", "multiprocessing"])
def test_a_thread_that_forks_handles_signals_in_the_child(fork: str) -> None:
    """A child that a thread with streams forked notices a signal while it waits in a stream to which nothing comes."""
    pairs = Pairs()
    outcomes: list[Any] = []

    def handle() -> None:
        stream, peer = pairs.streams("unix", read_timeout=20)
        signal.signal(signal.SIGALRM, lambda _number, _frame: (peer.write(b"signal\n"), peer.flush()))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        before = time.monotonic()
        assert stream.readline() == b"signal\n"
        assert time.monotonic() - before < 10

    def use() -> None:
        pairs.streams("unix")
        CHILDREN[fork](handle)
        pairs.close()

    thread = threading.Thread(target=lambda: outcomes.append(outcome(use)))
    thread.start()
    thread.join()
    assert outcomes == [None]


@SOCKETS
def test_a_relay_belongs_to_the_parent(pairs: Pairs, kind: str) -> None:
    """A relay that waits when the process forks is StreamError in the child; the parent's passes everything on, once."""
    one, near = pairs.streams(kind)
    other, far = pairs.streams(kind)
    relaying = started(relay, near, far)
    one.write(b"for the parent\n")
    one.flush()
    CHILDREN["gevent"](lambda: has_failed(relaying))
    assert other.readline() == b"for the parent\n"
    other.write(b"and back\n")
    other.flush()
    assert one.readline() == b"and back\n"
    one.send_eof()
    other.send_eof()
    relaying.get(timeout=10)
