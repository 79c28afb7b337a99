"""Clients and servers that call back: the order of it, the cases of cl-async's own tests, and refusals."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import tempfile
from functools import partial

import gevent
import gevent.event
import gevent.socket
import pytest
from kit.callbacks import Calls, end_server, in_greenlet, received, rest_of, rounds, settled
from kit.conditions import until
from kit.leftovers import nothing_left
from kit.network import HOST, black_hole, unused_port
from servers import require_name

from geventstreams import (
    TCPEOF,
    AsyncIOStream,
    AsyncServer,
    DNSError,
    StreamClosed,
    StreamError,
    TCPError,
    TCPRefused,
    TCPReset,
    TCPTimeout,
    close_socket,
    close_tcp_server,
    pipe_connect,
    pipe_server,
    set_socket_timeouts,
    socket_data,
    tcp_connect,
    tcp_server,
    write_socket_data,
)


@pytest.fixture
def path():
    with tempfile.TemporaryDirectory() as folder:
        yield os.path.join(folder, "pipe")


class Way:
    """TCP or a Unix socket: how servers and clients are made."""

    def __init__(self, kind, path, stack):
        self.kind, self.path, self._stack = kind, path, stack

    def server(self, *callbacks, **options):
        made = tcp_server(HOST, 0, *callbacks, **options) if self.kind == "tcp" else pipe_server(self.path, *callbacks, **options)
        self._stack.callback(end_server, made)
        return made

    def client(self, server, *callbacks, host=HOST, **options):
        if self.kind == "tcp":
            made = tcp_connect(host, server.port, *callbacks, **options)
        else:
            made = pipe_connect(self.path, *callbacks, **options)
        self._stack.callback(made.close, True)
        return made


@pytest.fixture(params=["tcp", "unix"])
def way(request, path, reports):
    with contextlib.ExitStack() as stack:
        yield Way(request.param, path, stack)


# The order.


def test_an_exchange_calls_back_in_its_order(way):
    """Connecting, then data, then one event, on both sides; nothing comes after the event."""
    near, far = Calls(), Calls()

    def answer(socket, data):
        far.read(socket, data)
        socket.write(b"answer")

    def enough(socket, data):
        near.read(socket, data)
        socket.close()

    server = way.server(answer, far.event, connect_cb=far.connect)
    client = way.client(server, enough, near.event, connect_cb=near.connect, data=b"question")
    settled(far)
    rounds()
    assert near.names == ["connect", "read"]
    assert near.connected == [client] == near.sockets
    assert far.names == ["connect", "read", "event"]
    assert far.kinds == [TCPEOF]
    assert far.events[0].socket is far.connected[0] is far.sockets[0]
    assert str(far.events[0]).startswith("end of file from ")
    assert (near.data, far.data) == (b"answer", b"question")


def test_a_stream_is_given_where_it_is_asked_for(way):
    """With `stream` the connect callback and the result are the stream, the read callback gets the socket and then the stream."""
    near, far = Calls(), Calls()
    server = way.server(far.read, far.event, connect_cb=far.connect, stream=True)
    client = way.client(server, near.read, connect_cb=near.connect, stream=True)
    assert isinstance(client, AsyncIOStream)
    client.write_string("hello")
    until(lambda: far.data == b"hello")
    assert near.connected == [client]
    assert far.connected == far.streams
    assert far.sockets == [far.streams[0].socket]
    assert far.sockets[0].stream is far.streams[0]


def test_draining_can_be_asked_for_beside_a_stream(way):
    """With `stream=True` and `dont_drain_read_buffer=False` a stream is returned and bytes are called back."""
    near = Calls()
    server = way.server(None, connect_cb=lambda socket: socket.write(b"greeting"))
    client = way.client(server, near.read, connect_cb=near.connect, stream=True, dont_drain_read_buffer=False)
    until(lambda: near.data == b"greeting")
    assert near.streams == []
    assert near.sockets[0].stream is client


def test_it_returns_before_it_is_connected(way, calls):
    """A client comes back at once, not connected, without addresses, and nothing was called back."""
    server = way.server(None)
    client = way.client(server, calls.read, calls.event, connect_cb=calls.connect)
    assert client.closed is False
    assert client.address is None
    assert client.peer_address is None
    assert client.fileno() == -1
    assert calls.names == []
    until(lambda: calls.names)
    assert client.fileno() >= 0
    assert "connecting" not in repr(client)


def test_early_output_leaves_in_one_packet(way, calls):
    """`data`, what is written early, and what the connect callback writes arrive in this order and at once."""
    server = way.server(calls.read)
    client = way.client(server, None, data="one ", connect_cb=lambda socket: socket.write("four"))
    client.write(b"two ")
    client.write("three ")
    until(lambda: calls.data)
    assert calls.pieces == [b"one two three four"]


def test_text_is_utf_8(way, calls):
    """Strings, as `data` and in writes, leave as UTF-8."""
    server = way.server(calls.read)
    client = way.client(server, None, data="grüße ")
    client.write("ß")
    until(lambda: calls.data == "grüße ß".encode())


# The cases of cl-async's own tests.


def test_two_clients_by_address_and_by_name(endpoints, reports):
    """A request split between `data` and a write right after connecting arrives whole and once, from each of two clients."""
    far, near = Calls(), Calls()

    def thank(socket, data):
        far.read(socket, data)
        socket.write("thxlol ")

    def close(socket, data):
        near.read(socket, data)
        if not socket.closed:
            socket.close()

    server = endpoints.server(thank, connect_cb=far.connect)
    require_name("localhost")
    for host in (HOST, "localhost"):
        client = endpoints.client(server.port, close, near.event, host=host, data="ha")
        client.write("i ")
    until(lambda: len(near.pieces) == 2)
    assert far.pieces == [b"hai ", b"hai "]
    assert len(far.connected) == 2
    assert near.pieces == [b"thxlol ", b"thxlol "]
    assert near.events == []


def test_two_clients_of_a_unix_socket(path, reports):
    """Two clients of a Unix socket never see each other's bytes."""
    far, near = Calls(), Calls()

    def thank(socket, data):
        far.read(socket, data)
        socket.write("thxlol ")

    def close(socket, data):
        near.read(socket, data)
        socket.close()

    with pipe_server(path, thank, connect_cb=far.connect) as server:
        for _ in range(2):
            write_socket_data(pipe_connect(path, close, near.event, data="ha"), "i ")
        until(lambda: len(near.pieces) == 2 and not server.connections)
    assert far.pieces == [b"hai ", b"hai "]
    assert near.pieces == [b"thxlol ", b"thxlol "]
    assert not os.path.exists(path)


def test_a_refused_connection_is_one_event(calls, reports):
    """A refused connection ends in exactly one event; the socket is closed by then, and nothing else is called back."""
    client = tcp_connect(HOST, unused_port(), calls.read, calls.event, data="hai", read_timeout=1, connect_cb=calls.connect)
    settled(calls)
    rounds()
    assert calls.names == ["event"]
    assert calls.kinds == [TCPRefused]
    assert calls.events[0].code == errno.ECONNREFUSED
    assert calls.events[0].socket is client
    assert client.closed


def test_no_answer_is_one_event(calls, reports):
    """A connection that is not answered ends in one timeout, after `read_timeout` seconds by default."""
    with black_hole() as (host, port), nothing_left():
        tcp_connect(host, port, calls.read, calls.event, data="hai", read_timeout=0.1, connect_cb=calls.connect)
        settled(calls)
        rounds()
        assert calls.names == ["event"]
        assert calls.kinds == [TCPTimeout]
        calls.events.clear()


def test_a_unix_socket_that_is_not_there_is_one_event(path, calls, reports):
    """A path that does not exist ends in one event with the system's number."""
    pipe_connect(path, calls.read, calls.event, data="hai", read_timeout=1)
    settled(calls)
    rounds()
    assert calls.kinds == [TCPError]
    assert calls.events[0].code == errno.ENOENT


def test_a_name_that_is_not_known_is_one_event(calls, reports, monkeypatch):
    """A failed look-up is a DNSError with the resolver's number."""
    def getaddrinfo(*_arguments):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(gevent.socket, "getaddrinfo", getaddrinfo)
    tcp_connect("nowhere.invalid", 80, calls.read, calls.event)
    settled(calls)
    assert calls.kinds == [DNSError]
    assert calls.events[0].code == socket.EAI_NONAME


def test_closing_the_listener_leaves_connections_alone(way):
    """After the server's `close` no client is accepted, and a connection goes on as before."""
    near, far = Calls(), Calls()
    server = way.server(lambda socket, data: socket.write(data), far.event, connect_cb=far.connect)
    client = way.client(server, near.read, near.event, connect_cb=near.connect)
    until(lambda: near.connected and far.connected)
    assert list(server.connections) == far.connected
    close_tcp_server(server)
    server.close()
    assert server.closed
    late = Calls()
    way.client(server, late.read, late.event)
    settled(late)
    client.write(b"still there")
    until(lambda: near.data == b"still there")
    assert near.events == far.events == []


def test_a_server_reads_its_stream_by_pieces(way):
    """A server with streams gets all by a loop of `read_sequence` into 1,024 bytes until nothing comes."""
    got = bytearray()
    sizes = []

    def read(_socket, stream):
        space = bytearray(1024)
        while (count := stream.read_sequence(space)) > 0:
            got.extend(space[:count])
            sizes.append(count)

    server = way.server(read, stream=True)
    sent = os.urandom(5000)
    way.client(server, None, data=sent)
    until(lambda: len(got) == 5000)
    assert bytes(got) == sent
    assert max(sizes) == 1024


def test_a_port_in_use_is_raised(endpoints, path):
    """A port or a path that another server listens on is the caller's OSError."""
    server = endpoints.server(None)
    with nothing_left(), pytest.raises(OSError, match="in use") as caught:
        tcp_server(HOST, server.port, None)
    assert caught.value.errno == errno.EADDRINUSE
    with pipe_server(path, None), pytest.raises(OSError, match="in use"):
        pipe_server(path, None)


def test_four_clients_never_see_each_others_bytes(way):
    """Four clients send 64 KiB + 20,000 bytes each and get 500,000 of their own kind back."""
    count, answer = 65536 + 20000, 500000

    def read(socket, data):
        assert set(data) == {data[0]}
        number, before = socket.data or (data[0], 0)
        assert data[0] == number
        socket.data = (number, before + len(data))
        if before + len(data) == count:
            socket.write(bytes([number]) * answer)

    server = way.server(read)
    clients = []
    for number in range(4):
        calls = Calls()
        way.client(server, calls.read, calls.event, data=bytes([number]) * count)
        clients.append(calls)
    until(lambda: all(len(calls.data) == answer for calls in clients))
    for number, calls in enumerate(clients):
        assert set(calls.data) == {number}
        assert calls.events == []


def test_parts_of_data_arrive_in_order(way, calls):
    """Writes with `start` and `end` send that part, of bytes and of characters, in the order of the writes."""
    server = way.server(calls.read)
    client = way.client(server, None)
    assert client.write(b"0123456789", 2, 5)
    assert client.write(bytearray(b"abcdef"), start=3)
    assert client.write("äöü", 1, 2)
    assert write_socket_data(client, memoryview(b"UVWXYZ"), end=2)
    until(lambda: calls.data == b"234def" + "ö".encode() + b"UV")


def test_a_client_writes_before_and_reads_by_sequence(way):
    """A client writes by `write_sequence` before it is connected and reads the answer by `read_sequence` into 8,096 bytes."""
    got = []

    def read(_socket, stream):
        space = bytearray(8096)
        got.append(bytes(space[: stream.read_sequence(space)]))

    server = way.server(lambda socket, data: socket.write(b"re: " + data))
    stream = way.client(server, read, stream=True)
    assert stream.write_sequence(b"hello") == b"hello"
    until(lambda: got == [b"re: hello"])


# What a callback may do.


def test_callbacks_of_a_connection_never_overlap(endpoints, calls, reports):
    """While a callback waits, no other one of its connection is called, and the others' are."""
    running, most = [0], [0]
    release = gevent.event.Event()

    def read(socket, data):
        running[0] += 1
        most[0] = max(most[0], running[0])
        release.wait()
        running[0] -= 1
        calls.read(socket, data)

    _client, peer = endpoints.joined(read)
    _other, other_peer = endpoints.joined(calls.read)
    peer.sendall(b"1")
    until(lambda: running[0])
    peer.sendall(b"2")
    other_peer.sendall(b"x")
    until(lambda: calls.data == b"x")
    rounds()
    release.set()
    until(lambda: calls.data == b"x12")
    assert most == [1]


def test_a_callback_may_connect_elsewhere_and_wait(endpoints, reports):
    """A read callback may make another connection, write there, and wait for its answer by blocking-looking calls."""
    behind = endpoints.server(lambda socket, data: socket.write(data.upper()))

    def ask(socket, data):
        answered = gevent.event.AsyncResult()
        other = endpoints.client(behind.port, lambda _socket, answer: answered.set(answer), data=data)
        socket.write(answered.get(timeout=10))
        other.close()

    front = endpoints.server(ask)
    peer = endpoints.peer(front.port)
    peer.sendall(b"question")
    assert received(peer, 8) == b"QUESTION"


@pytest.mark.parametrize("where", ["connect", "read", "event", "write"])
def test_an_exception_ends_its_connection_only(endpoints, reports, where):
    """What a callback raises reaches the hub's `handle_error` and closes that connection; another one goes on."""
    reports.expect(ZeroDivisionError)

    def fail(*_arguments):
        raise ZeroDivisionError(where)

    callbacks = {f"{name}_cb": fail if name == where else None for name in ("connect", "write")}
    server = endpoints.server(fail if where == "read" else lambda socket, data: socket.write(data), fail if where == "event" else None,
                          **callbacks)
    fine = endpoints.server(lambda socket, data: socket.write(data))
    good, bad = endpoints.peer(fine.port), endpoints.peer(server.port)
    bad.sendall(b"x")
    if where == "event":
        bad.shutdown(socket.SHUT_WR)
    assert rest_of(bad) in (b"", b"x")
    until(lambda: not server.connections)
    assert [str(error) for error in reports.errors] == [where]
    good.sendall(b"fine")
    assert received(good, 4) == b"fine"


def test_a_callback_may_kill_its_own_greenlet(endpoints, calls, reports):
    """A callback that kills its own greenlet ends its connection, which is no error."""
    def kill(_socket, _data):
        gevent.getcurrent().kill()

    server = endpoints.server(kill, calls.event)
    peer = endpoints.peer(server.port)
    peer.sendall(b"x")
    assert rest_of(peer) == b""
    until(lambda: not server.connections)
    assert reports.errors == []


def test_closing_in_a_callback_ends_the_calling(endpoints, calls, reports):
    """After a callback has closed its socket nothing is called any more, though bytes and an end have come."""
    def close(socket, data):
        calls.read(socket, data)
        socket.close()

    client, peer = endpoints.joined(close, calls.event)
    peer.sendall(b"1")
    until(lambda: calls.names)
    with contextlib.suppress(OSError):
        peer.sendall(b"2")
        peer.close()
    rounds()
    assert calls.names == ["read"]
    assert client.closed


def test_unread_bytes_stay_and_more_are_called_back(endpoints, calls, reports):
    """What a callback leaves in the stream stays there, and it is called again only when more arrives."""
    client, peer = endpoints.joined(calls.leave, stream=True)
    peer.sendall(b"abc")
    until(lambda: calls.names == ["read"])
    rounds()
    assert calls.names == ["read"]
    peer.sendall(b"def")
    until(lambda: calls.names == ["read", "read"])
    assert client.read_available() == b"abcdef"


# Streams for sockets.


def test_a_stream_for_a_socket_that_does_not_drain(endpoints, calls, reports):
    """The first program of cl-async's page: a socket whose buffer is not drained, and a stream made for it."""
    server = endpoints.server(lambda socket, data: socket.write(data))
    socket = endpoints.client(server.port, calls.leave, dont_drain_read_buffer=True)
    stream = AsyncIOStream(socket=socket)
    assert socket.stream is stream
    stream.write_line("hello")
    until(lambda: calls.streams)
    assert calls.streams == [stream]
    assert stream.read_line() == ("hello", False)


def test_the_stream_is_made_when_it_is_needed(endpoints, calls, reports):
    """Without one, a socket that does not drain hands out the same stream ever after."""
    client, peer = endpoints.joined(calls.leave, dont_drain_read_buffer=True)
    peer.sendall(b"one")
    until(lambda: calls.streams)
    peer.sendall(b"two")
    until(lambda: len(calls.streams) == 2)
    assert calls.streams == [client.stream] * 2
    assert client.stream.read_available() == b"onetwo"
    with pytest.raises(StreamError, match="has a stream already"):
        AsyncIOStream(socket=client)


def test_a_stream_ends_the_draining(endpoints, calls, reports):
    """From the making of a stream for a draining socket on, bytes stay in it; nothing is lost in between."""
    client, peer = endpoints.joined(calls.read, calls.event)
    assert client.stream is None
    peer.sendall(b"drained")
    until(lambda: calls.data == b"drained")
    assert calls.streams == []
    client.write(b"un")
    stream = AsyncIOStream(socket=client)
    client.write(b"broken")
    assert received(peer, 8) == b"unbroken"
    peer.sendall(b"kept")
    until(lambda: calls.data == b"drainedkept")
    assert calls.streams == [stream]


def test_a_second_stream_is_refused(endpoints, reports):
    """One socket has one stream, made by the library or by the program; a closed socket gets none."""
    client, _peer = endpoints.joined(stream=True)
    with pytest.raises(StreamError, match="has a stream already"):
        AsyncIOStream(socket=client.socket)
    plain, _peer = endpoints.joined(lambda _socket, _data: None)
    AsyncIOStream(socket=plain)
    with pytest.raises(StreamError, match="has a stream already"):
        AsyncIOStream(socket=plain)
    plain.close()
    with pytest.raises(StreamClosed):
        AsyncIOStream(socket=plain)
    unused, _peer = endpoints.joined(lambda _socket, _data: None)
    unused.close(force=True)
    with pytest.raises(StreamClosed):
        AsyncIOStream(socket=unused)


# Refusals.


def NOTHING(_socket, _data):  # noqa: N802  # a constant of the cases below
    """A callback that does nothing."""


@pytest.mark.parametrize(("arguments", "options", "error", "says"), [
    (("", 80, NOTHING), {}, ValueError, "host must not be empty"),
    ((None, 80, NOTHING), {}, TypeError, "host"),
    ((HOST, 65536, NOTHING), {}, ValueError, "port must be within"),
    ((HOST, None, NOTHING), {}, TypeError, "port"),
    ((HOST, 80, "read"), {}, TypeError, "read_cb must be callable or None, not str 'read'"),
    ((HOST, 80, NOTHING, 1), {}, TypeError, "event_cb must be callable or None, not int 1"),
    ((HOST, 80, NOTHING), {"connect_cb": 1}, TypeError, "connect_cb"),
    ((HOST, 80, NOTHING), {"write_cb": []}, TypeError, "write_cb"),
    ((HOST, 80, NOTHING), {"data": 1}, TypeError, "data must be bytes-like, not int"),
    ((HOST, 80, NOTHING), {"data": [1, 2]}, TypeError, "data must be bytes-like, not list"),
    ((HOST, 80, NOTHING), {"read_timeout": -1}, ValueError, "read_timeout must be positive or None, not -1"),
    ((HOST, 80, NOTHING), {"write_timeout": 0}, ValueError, "write_timeout must be positive or None, not 0"),
    ((HOST, 80, NOTHING), {"read_timeout": "5"}, TypeError, "read_timeout must be None or a number of seconds, not str '5'"),
    ((HOST, 80, NOTHING), {"timeout": -1}, ValueError, "timeout"),
    ((HOST, 80, NOTHING), {"high_water": 0}, ValueError, "high_water"),
    ((HOST, 80, NOTHING), {"low_water": 300000}, ValueError, "low_water must not be above high_water"),
    ((HOST, 80, NOTHING), {"encoding": "rot13"}, ValueError, "encoding"),
    ((HOST, 80, NOTHING), {"element_type": "word"}, ValueError, "element_type"),
    ((HOST, 80, NOTHING), {"ssl_ctx": 1}, TypeError, "ssl_ctx"),
    ((HOST, 80, NOTHING), {"ipv6": "maybe"}, ValueError, "ipv6"),
    ((HOST, 80, None), {"dont_drain_read_buffer": False}, ValueError, "read_cb must not be None"),
])
def test_bad_arguments_of_a_client_open_nothing(arguments, options, error, says):
    """What cannot be meant is refused at once, by the argument's name and value, before anything is opened."""
    with nothing_left(), pytest.raises(error, match=says):
        tcp_connect(*arguments, **options)


@pytest.mark.parametrize(("arguments", "options", "error", "says"), [
    (("", 0, NOTHING), {}, ValueError, "bind_address must not be empty"),
    ((HOST, -1, NOTHING), {}, ValueError, "port"),
    ((HOST, 0, 1), {}, TypeError, "read_cb"),
    ((HOST, 0, NOTHING), {"backlog": 0}, ValueError, "backlog must be positive, not 0"),
    ((HOST, 0, NOTHING), {"read_timeout": -1}, ValueError, "read_timeout"),
    ((HOST, 0, NOTHING), {"handshake_timeout": -1}, ValueError, "handshake_timeout"),
    ((HOST, 0, NOTHING), {"ssl_ctx": True}, ValueError, "certificate"),
    ((None, 0, NOTHING), {"fd": "3"}, TypeError, "fd"),
    ((None, 0, NOTHING), {"fd": 2**20}, ValueError, "fd 1048576 is not open"),
    ((None, 0, NOTHING), {"fd": 0}, ValueError, "fd 0 is not a listening socket"),
])
def test_bad_arguments_of_a_server_open_nothing(arguments, options, error, says):
    """A server refuses wrong arguments by name before anything is made."""
    with nothing_left(), pytest.raises(error, match=says):
        tcp_server(*arguments, **options)


def test_what_is_no_socket_is_refused(endpoints, reports):
    """Streams and the functions of cl-async's pages refuse objects that are not callback sockets."""
    for wrong in (None, 1, socket.socket):
        with pytest.raises(TypeError, match="AsyncSocket"):
            AsyncIOStream(socket=wrong)
        with pytest.raises(TypeError, match="AsyncSocket"):
            close_socket(wrong)
    with pytest.raises(TypeError, match="AsyncServer"):
        close_tcp_server(None)
    client, _peer = endpoints.joined()
    for wrong in (None, 1, ["x"]):
        with pytest.raises(TypeError, match="data must be bytes-like"):
            client.write(wrong)
    with pytest.raises(IndexError, match="end must be within"):
        client.write(b"abc", 0, 4)
    with pytest.raises(ValueError, match="read must be positive"):
        client.set_timeouts(-1, None)
    with pytest.raises(ValueError, match="write must be positive"):
        client.set_timeouts(None, 0)


# The names of the pages.


def test_the_names_of_the_pages(endpoints, calls, reports):
    """Functions with cl-async's names do what the methods do, on sockets and on their streams."""
    other = Calls()
    client, peer = endpoints.joined(calls.read, calls.event)
    client.data = {"mine": 1}
    assert socket_data(client) == {"mine": 1}
    assert write_socket_data(client, "hello", read_cb=other.read, event_cb=other.event, write_cb=other.write) is True
    assert received(peer, 5) == b"hello"
    until(lambda: other.names == ["write"])
    set_socket_timeouts(client, 5.5, None)
    peer.sendall(b"x")
    until(lambda: other.data == b"x")
    close_socket(client)
    assert rest_of(peer) == b""
    assert calls.names == []
    with pytest.raises(StreamClosed):
        write_socket_data(client, "late")
    with pytest.raises(StreamClosed):
        set_socket_timeouts(client, 1, 1)
    close_socket(client)
    stream, peer = endpoints.joined(stream=True)
    assert stream.read_timeout is None
    set_socket_timeouts(stream, 5.5, 2)
    assert (stream.read_timeout, stream.write_timeout) == (5.5, 2)
    close_socket(stream)
    assert rest_of(peer) == b""


def test_callbacks_that_cannot_be_called_are_refused(endpoints, calls, reports):
    """Replacing a callback by what is not one is a TypeError that names it, and replaces none."""
    client, peer = endpoints.joined(calls.read, calls.event)
    for name in ("read_cb", "event_cb", "write_cb"):
        wrong = {"read_cb": print, name: 5}
        for replace in (client.set_callbacks, partial(write_socket_data, client, b"")):
            with pytest.raises(TypeError, match=f"{name} must be callable or None, not int 5"):
                replace(**wrong)
    peer.sendall(b"x")
    until(lambda: calls.data == b"x")


def test_a_server_tells_what_it_is(endpoints, path, calls, reports):
    """A server knows its port, its address and its connections, as a live view."""
    server = endpoints.server(calls.read)
    assert isinstance(server, AsyncServer)
    assert server.address == (HOST, server.port)
    view = server.connections
    assert len(view) == 0
    peer = endpoints.peer(server.port)
    until(lambda: len(view) == 1)
    assert next(iter(view)).peer_address == peer.getsockname()
    peer.close()
    until(lambda: len(view) == 0)
    assert str(server.port) in repr(server)
    with pipe_server(path, calls.read) as pipe:
        assert (pipe.port, pipe.address) == (None, path)


def test_a_listener_can_be_handed_over(calls, reports, path):
    """`fd` is a listening socket's descriptor, of TCP or a Unix socket, which the server owns from then on."""
    for family, address in ((socket.AF_INET, (HOST, 0)), (socket.AF_UNIX, path)):
        listener = socket.socket(family)
        listener.bind(address)
        listener.listen()
        where = listener.getsockname()
        descriptor = listener.detach()
        with tcp_server(None, 0, calls.read, fd=descriptor) as server:
            assert server.address == where
            with socket.socket(family) as peer:
                peer.connect(where)
                peer.sendall(b"x")
                until(lambda: calls.data == b"x")
            until(lambda server=server: not server.connections)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
        calls.data = b""


def test_a_path_without_a_port_is_a_unix_socket(path, calls, reports):
    """`tcp_server` and `tcp_connect` take a path and no port for a Unix socket."""
    with tcp_server(path, None, calls.read) as server:
        tcp_connect(path, None, None, data="x").close()
        until(lambda: calls.data == b"x" and not server.connections)


def test_all_addresses_are_served_without_a_bind_address(calls, reports):
    """Without an address a server is reached by IPv4."""
    with tcp_server(None, 0, calls.read) as server:
        tcp_connect(HOST, server.port, None, data="x").close()
        until(lambda: calls.data == b"x" and not server.connections)


def test_a_reset_is_told(endpoints, calls, reports):
    """A reset is one event, after what arrived before it."""
    client, peer = endpoints.joined(calls.read, calls.event)
    peer.sendall(b"last words")
    until(lambda: calls.data == b"last words")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    settled(calls)
    rounds()
    assert calls.kinds == [TCPReset]
    assert calls.events[0].code == errno.ECONNRESET
    assert client.closed


def test_a_program_ends_with_its_last_connection():
    """`gevent.wait()` returns when the last connection is over and the listener closed, not before."""
    def program():
        calls = Calls()
        server = tcp_server(HOST, 0, lambda socket, data: socket.write(data))
        client = tcp_connect(HOST, server.port, lambda socket, data: (calls.read(socket, data), socket.close()), data="x")
        until(lambda: client.closed)
        server.close()
        until(lambda: not server.connections)
        return calls.data

    assert in_greenlet(program) == b"x"
