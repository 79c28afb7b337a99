"""SocketStreamServer: handlers and their streams, every spawn mode, limits, handshakes, counts, and what is told."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import socket
import ssl
import weakref
from pathlib import Path

import gevent
import gevent.socket
import pytest
from gevent import get_hub
from gevent.event import Event
from gevent.pool import Pool
from kit.conditions import until
from kit.leftovers import descriptors, greenlets, nothing_left
from kit.network import HOST, listener
from kit.server import SPAWNS

from geventstreams._core.transport import address_name
from geventstreams._net.connect import open_tcp_stream, open_unix_stream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import ConnectError, StreamClosed, StreamError, StreamReset
from geventstreams.server.server import SocketStreamServer
from geventstreams.waiting import WaitSet, wait_for_input_streams


@pytest.fixture
def errors(monkeypatch):
    """What the hub was told of, in place of its being printed."""
    told = []
    monkeypatch.setattr(get_hub(), "handle_error", lambda context, kind, error, trace: told.append(kind))
    return told


@pytest.fixture
def lines():
    """The log records of servers."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("geventstreams.server")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def echo(stream, _address):
    for line in stream:
        stream.write(line)


def dial(server, **options):
    return open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10, **options)


# Handlers and streams.


@pytest.mark.parametrize("part", ["emit", "filter"])
def test_a_log_that_fails_decides_over_no_connection(part, serve, lines, errors):
    """What a handler or a filter of the user's raises costs the record, which is counted: connections end as ever."""

    class Broken(logging.Handler):
        def emit(self, record):
            raise RuntimeError("no log")

    def refuse(record):
        raise RuntimeError("no log")

    logger = logging.getLogger("geventstreams.server")
    broken = Broken()
    (logger.addFilter(refuse) if part == "filter" else logger.addHandler(broken))
    try:
        server = serve(echo, read_timeout=0.05)
        for _ in range(3):
            with dial(server) as client, pytest.raises(StreamReset):
                client.read()
        until(lambda: not server.connections)
    finally:
        logger.removeFilter(refuse)
        logger.removeHandler(broken)
    assert (server.stats.timeouts, server.stats.accepted) == (3, 3)
    told = len(lines)
    with dial(server) as client, pytest.raises(StreamReset):
        client.read()
    until(lambda: len(lines) > told)
    assert lines[-1].suppressed == 3
    assert errors == []


@pytest.mark.parametrize("spawn", SPAWNS.values(), ids=SPAWNS)
def test_every_spawn_mode_serves(spawn, serve):
    """In every spawn mode each connection has a handler with a stream, and all of them run side by side."""
    server = serve(echo, spawn=spawn())
    streams = [dial(server) for _ in range(20)]
    for number, stream in enumerate(streams):
        stream.write_line(f"line {number}")
        stream.flush()
    assert [stream.read_line()[0] for stream in streams] == [f"line {number}" for number in range(20)]
    assert len(server.connections) == 20
    for stream in streams:
        stream.close()
    until(lambda: not server.connections)


def test_a_handler_gets_stream_and_address(serve):
    """The handler's arguments are a stream with the server's options on it, and the client's address."""
    seen = []

    def handle(stream, address):
        seen.append((stream, address, stream.peer_address))

    server = serve(
        handle, element_type="unsigned-byte-8", encoding="utf-8", direction="output", read_timeout=3, write_timeout=4,
        line_limit=99, linger_timeout=1,
    )
    with dial(server) as client:
        assert client.read() == b""
    [(stream, address, peer)] = seen
    assert address == peer == client.address
    assert type(stream) is SocketStream
    assert stream.direction == "output"
    assert (stream.element_type.value, stream.encoding) == ("unsigned-byte-8", "utf-8")
    assert stream.read_timeout == 3
    assert stream.write_timeout == 4
    assert stream.line_limit == 99
    assert stream.linger_timeout == 1


def test_socket_options(serve):
    """`nodelay` and `keepalive` are what the accepted sockets have."""
    for nodelay, keepalive in ((True, False), (False, True)):
        seen = []

        def handle(stream, _address, seen=seen):
            seen.append(bool(stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
            seen.append(bool(stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)))

        with dial(serve(handle, nodelay=nodelay, keepalive=keepalive)) as client:
            client.read()
        assert seen == [nodelay, keepalive]


def test_the_stream_is_flushed_and_closed_when_the_handler_returns(serve):
    """What a handler wrote last arrives whole without a flush, and then an orderly end."""
    data = os.urandom(3_000_000)
    server = serve(lambda stream, _address: stream.write(data))
    with dial(server) as client:
        assert client.read() == data
        assert client.at_eof


def test_the_stream_is_aborted_when_the_handler_raises(serve, errors):
    """A handler that raises resets its connection, unsent output is dropped, and the hub is told the exception."""

    def handle(stream, _address):
        stream.write(b"never sent")
        raise LookupError("on purpose")

    server = serve(handle)
    with dial(server) as client, pytest.raises(StreamReset):
        client.read()
    until(lambda: errors)
    assert errors == [LookupError]
    with dial(server) as client, pytest.raises(StreamReset):
        client.read()


@pytest.mark.parametrize("spawn", SPAWNS.values(), ids=SPAWNS)
def test_handlers_that_raise_do_no_harm(spawn, serve, errors):
    """A thousand handlers that raise leave no descriptor, no place taken, and a server that serves on."""

    def handle(stream, _address):
        if stream.readline() == b"raise\n":
            raise LookupError("on purpose")
        stream.write(b"fine\n")

    server = serve(handle, spawn=spawn())
    with nothing_left(greenlets_too=False):
        for _ in range(1000):
            with dial(server) as client:
                client.write(b"raise\n")
                client.flush()
                with contextlib.suppress(StreamReset):
                    client.read()
    until(lambda: len(errors) == 1000)
    assert set(errors) == {LookupError}
    assert not server.connections
    with dial(server) as client:
        client.write(b"speak\n")
        client.flush()
        assert client.readline() == b"fine\n"


def test_a_subclass_may_have_the_handler(serve):
    """`handle` may be a method, as with gevent's servers."""

    class Greeter(SocketStreamServer):
        def handle(self, stream, _address):
            stream.write_line("hello from " + type(self).__name__)

    server = Greeter((HOST, 0))
    server.start()
    with dial(server) as client:
        assert client.read_line() == ("hello from Greeter", False)
    server.stop()


def test_stream_class(serve):
    """The streams are of the class that was asked for; one whose constructor fails costs its connection only."""
    made = []

    class Mine(SocketStream):
        def __init__(self, *args, **options):
            if not made:
                made.append(None)
                raise ConnectionError("the first one fails")
            super().__init__(*args, **options)
            made.append(self)

    server = serve(lambda stream, _address: stream.write(type(stream).__name__.encode()), stream_class=Mine)
    with dial(server) as client, contextlib.suppress(StreamReset):
        assert client.read() == b""
    with dial(server) as client:
        assert client.read() == b"Mine"
    assert server.stats.refused == 1


@pytest.mark.parametrize("spawn", SPAWNS.values(), ids=SPAWNS)
@pytest.mark.parametrize("limits", [{}, {"max_connections": 1}], ids=["", "limited"])
def test_a_stopped_server_starts_again(spawn, limits):
    """A server that was stopped listens on its port again, and serves with the same handler in the same way."""
    server = SocketStreamServer((HOST, 0), echo, spawn=spawn(), **limits)
    ports = set()
    for _ in range(3):
        server.start()
        ports.add(server.port)
        with dial(server) as first, dial(server) as second:
            first.write_line("hello")
            assert first.read_line() == ("hello", False)
            second.write_line("hello again")
            second.flush()
            until(lambda: len(server.connections) == (1 if limits else 2))
            first.close()
            assert second.read_line() == ("hello again", False)
        assert server.stop(5).killed == 0
    assert len(ports) == 1
    assert server.stats.accepted == 6


@pytest.mark.parametrize("address", [(HOST, "0"), ("", "0"), ("localhost", "0"), (HOST, "http-alt"), ("localhost", "http-alt")])
def test_a_port_may_be_digits_or_a_name(address, monkeypatch):
    """The port of a listener's address may be digits or the name of a service, beside a host of every form."""
    bound = []

    def listen(_family, address, _backlog):
        bound.append(address)
        return listener()

    monkeypatch.setattr("geventstreams.server.server.listening_socket", listen)
    server = SocketStreamServer(address, echo)
    server.start()
    assert bound[0][1] == (8080 if address[1] == "http-alt" else 0)
    server.stop()


def test_one_text():
    """`str` of a server is its `repr`: where it listens and what it has to do; gevent's has the handler."""
    server = SocketStreamServer((HOST, 0), echo)
    assert str(server) == repr(server) == "<SocketStreamServer closed>"
    with server:
        server.start()
        assert str(server) == repr(server)
        assert f"address={HOST}:{server.port} accepting connections=0" in str(server)


def test_a_class_that_names_its_streams():
    """`SocketStreamServer[Stream]`, by which type checkers know the class of the streams, can be called and derived from."""

    class Mine(SocketStream):
        pass

    def answer(stream, _address):
        stream.write(type(stream).__name__.encode())

    class Served(SocketStreamServer[Mine]):
        handle = staticmethod(answer)

    for server in (Served((HOST, 0), stream_class=Mine), SocketStreamServer[Mine]((HOST, 0), answer, stream_class=Mine)):
        server.start()
        with dial(server) as client:
            assert client.read() == b"Mine"
        server.stop()


def test_listeners_may_be_sockets(serve, tmp_path):
    """A listening socket that was given is served: a standard-library one that blocks, gevent's, and a Unix one."""
    with socket.socket() as plain, gevent.socket.socket() as cooperative:
        for made in (plain, cooperative):
            made.bind((HOST, 0))
            made.listen()
            server = serve(echo, made)
            assert server.port == made.getsockname()[1]
            with dial(server) as client:
                client.write_line("hello")
                assert client.read_line() == ("hello", False)
            server.stop()
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "server"))
        unix.listen()
        server = serve(echo, unix)
        assert server.port is None
        with open_unix_stream(tmp_path / "server", read_timeout=10) as client:
            client.write_line("hello")
            assert client.read_line() == ("hello", False)
        server.stop()


def test_the_port_can_be_bound_again_at_once(serve):
    """A server that ended while connections lived leaves its port to the next one."""
    server = serve(echo)
    with dial(server) as client:
        client.write_line("one")
        client.read_line()
        server.close()
        again = serve(lambda stream, _address: stream.write(b"two\n"), (HOST, server.port))
        client.write_line("still served")
        assert client.read_line() == ("still served", False)
        with dial(again) as other:
            assert other.readline() == b"two\n"


def test_connections_go_on_when_the_listener_ends(serve):
    """`close()` ends the listener and nothing else."""
    server = serve(echo)
    with dial(server) as client:
        client.write_line("one")
        client.read_line()
        port = server.port
        server.close()
        with pytest.raises(ConnectError):
            open_tcp_stream(HOST, port, timeout=5)
        client.write_line("two")
        assert client.read_line() == ("two", False)
        assert len(server.connections) == 1


def test_connections_is_a_set_of_streams(serve):
    """`connections` is a live view: length, membership, iteration over what is there, and set operations."""
    server = serve(echo)
    view = server.connections
    assert len(view) == 0
    clients = [dial(server) for _ in range(3)]
    until(lambda: len(view) == 3)
    streams = set(view)
    assert {stream.peer_address for stream in streams} == {client.address for client in clients}
    assert all(stream in view for stream in streams)
    assert clients[0] not in view
    assert view & streams == streams
    assert view == streams
    for stream in view:
        stream.close(abort=True)
        gevent.sleep(0)  # the view changes while it is looked at
    until(lambda: not view)
    for client in clients:
        client.close(abort=True)


def test_serve_forever_ends_with_stop(serve):
    """`serve_forever` starts, and returns when another greenlet stops the server."""
    server = SocketStreamServer((HOST, 0), echo)
    serving = gevent.spawn(server.serve_forever)
    until(lambda: server.started)
    with dial(server) as client:
        client.write_line("hello")
        assert client.read_line() == ("hello", False)
        assert server.stop() == (0, 1, 0)
        serving.get(timeout=5)
        assert client.read() == b""


# Limits.


@pytest.mark.parametrize(
    "limit", [{"max_connections": 3}, {"spawn": 3}, {"max_connections": 3, "spawn": gevent.spawn_raw}], ids=["connections", "spawn", "both"]
)
def test_surplus_clients_wait_in_the_queue(limit, serve):
    """While all places are taken no client is accepted; each place that becomes free goes to the next one in the queue."""
    most, running = [], []
    go_on = Event()

    def handle(stream, _address):
        running.append(stream)
        most.append(len(running))
        stream.write(b"your turn\n")
        stream.flush()
        go_on.wait()
        running.remove(stream)

    server = serve(handle, **limit)
    clients = [dial(server) for _ in range(10)]
    until(lambda: len(running) == 3)
    assert wait_for_input_streams(clients[3:], timeout=0.05) == []
    assert server.stats.accepted == 3
    go_on.set()
    assert [client.readline() for client in clients] == [b"your turn\n"] * 10
    assert max(most) == 3
    assert server.stats.accepted == 10
    for client in clients:
        client.close()


def test_a_shared_pool_that_others_fill(serve):
    """A pool with members of other code counts them, and the server notices when they leave it."""
    pool = Pool(1)
    leave = Event()
    pool.spawn(leave.wait)
    server = serve(echo, spawn=pool)
    with dial(server) as client:
        client.write_line("hello")
        assert wait_for_input_streams([client], timeout=0.05) == []
        leave.set()
        assert client.read_line() == ("hello", False)


def test_a_greenlet_killed_before_it_runs_leaves_nothing(serve):
    """A connection whose greenlet never ran is closed, and its place is free again."""

    def spawn_and_kill(*args):
        gevent.spawn(*args).kill(block=False)

    server = serve(echo, spawn=spawn_and_kill, max_connections=2)
    with nothing_left():
        for _ in range(5):
            with dial(server) as client, contextlib.suppress(StreamReset):
                assert client.read() == b""
    assert server.stats.accepted == 5


def test_read_timeout_ends_slow_clients(serve, lines):
    """A handler that lets a read timeout out is counted and logged as a timeout, without a traceback."""
    server = serve(echo, read_timeout=0.05)
    with dial(server) as client, pytest.raises(StreamReset):
        client.read()
    until(lambda: server.stats.timeouts == 1)
    assert [record.event for record in lines] == ["timed_out"]


def test_a_timeout_in_the_lisp_vocabulary_counts_too(serve, lines):
    """A handler that takes a read timeout for the end, as that vocabulary does, is a timeout all the same."""
    server = serve(lambda stream, _address: stream.read_line(eof_error=False), read_timeout=0.05)
    with dial(server) as client:
        assert client.read() == b""
    until(lambda: server.stats.timeouts == 1)
    assert [record.event for record in lines] == ["timed_out"]


# TLS.


@pytest.fixture
def contexts(certificates):
    """A server's context and a client's that accepts it."""
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(certificates.server.chain, certificates.server.key)
    return ours, ssl.create_default_context(cafile=str(certificates.ca))


@pytest.mark.parametrize("spawn", SPAWNS.values(), ids=SPAWNS)
def test_tls(spawn, serve, contexts):
    """With `ssl_ctx` the handler's stream is TLS's server side, its handshake done, in every spawn mode."""
    ours, theirs = contexts
    server = serve(echo, spawn=spawn(), ssl_ctx=ours)
    for _ in range(5):
        with dial(server, ssl_ctx=theirs) as client:
            client.write_line("hello")
            assert client.read_line() == ("hello", False)
            [stream] = server.connections
            assert stream.ssl is not None
        until(lambda: not server.connections)


def test_a_context_is_made_once(serve, certificates, contexts):
    """With `ssl_ctx=True` the server makes and configures one context, before it listens."""
    made = []

    def configure(context):
        made.append(context)
        context.load_cert_chain(certificates.server.chain, certificates.server.key)

    server = serve(echo, ssl_ctx=True, ctx_configure_callback=configure)
    for _ in range(3):
        with dial(server, ssl_ctx=contexts[1]) as client:
            client.write_line("hello")
            assert client.read_line() == ("hello", False)
    assert len(made) == 1


def test_silent_clients_take_no_place(serve, contexts):
    """Two silent clients of a TLS server with two places do not keep an honest third from being served."""
    ours, theirs = contexts
    for limit in ({"max_connections": 2}, {"spawn": 2}):
        server = serve(echo, ssl_ctx=ours, **limit)
        with socket.create_connection((HOST, server.port)), socket.create_connection((HOST, server.port)):
            until(lambda server=server: server.stats.accepted == 2)
            with dial(server, ssl_ctx=theirs) as client:
                client.write_line("hello")
                assert client.read_line() == ("hello", False)
        server.stop(0)


def test_handshakes_wait_for_a_place_when_they_are_done(serve, contexts):
    """No more handlers run than there are places, however many handshakes were made at once."""
    ours, theirs = contexts
    for limit in ({"max_connections": 2}, {"spawn": 2}):
        running, most = [], []
        go_on = Event()

        def handle(stream, _address, running=running, most=most, go_on=go_on):
            running.append(stream)
            most.append(len(running))
            go_on.wait()
            stream.write(b"your turn\n")
            running.remove(stream)

        server = serve(handle, ssl_ctx=ours, **limit)
        sockets = [gevent.socket.create_connection((HOST, server.port)) for _ in range(8)]
        until(lambda server=server: server.stats.accepted == 8)
        secure = {"ssl_ctx": theirs, "ssl_side": "client", "tlsext_host_name": HOST}
        clients = [gevent.spawn(SocketStream, made, read_timeout=10, **secure) for made in sockets]
        gevent.joinall(clients, raise_error=True)
        until(lambda most=most: most == [1, 2])
        go_on.set()
        assert [client.get().readline() for client in clients] == [b"your turn\n"] * 8
        assert len(most) == 8
        assert max(most) == 2
        for client in clients:
            client.get().close()


def test_many_clients_at_once_shake_hands(serve, contexts, monkeypatch):
    """Where more clients begin a handshake at once than may be in progress, the others wait in the queue, and none is sent away."""
    monkeypatch.setattr("geventstreams.server.server.UNDISTURBED", 60)  # a slow machine drops none, either
    ours, theirs = contexts
    server = serve(echo, ssl_ctx=ours, max_connections=3)
    in_progress = server._connections.handshakes
    may_speak = Event()
    seen = []

    def ask(number):
        with gevent.socket.create_connection((HOST, server.port)) as connected:
            may_speak.wait()  # a client far away
            seen.append(len(in_progress))
            with SocketStream(connected, ssl_ctx=theirs, ssl_side="client", tlsext_host_name=HOST, read_timeout=20) as client:
                client.write_line(str(number))
                return client.read_line()

    clients = [gevent.spawn(ask, number) for number in range(100)]
    until(lambda: len(in_progress) >= 12)
    may_speak.set()
    gevent.joinall(clients, raise_error=True)
    assert [client.value for client in clients] == [(str(number), False) for number in range(100)]
    assert (server.stats.refused, server.stats.handshake_failures) == (0, 0)
    assert max(seen) <= 12 + 2


def test_a_silent_handshake_is_dropped_for_a_newer_one(serve, contexts, lines, virtual_clock):
    """Where the handshakes in progress are silent, the oldest is dropped for a new client when it has had half a second."""
    ours, theirs = contexts
    server = serve(echo, ssl_ctx=ours, max_connections=1)
    began = virtual_clock.now
    with contextlib.ExitStack() as silent:
        for _ in range(4):
            silent.enter_context(socket.create_connection((HOST, server.port)))
        until(lambda: server.stats.accepted == 4)
        for number in range(2):
            with dial(server, ssl_ctx=theirs) as client:
                client.write_line("hello")
                assert client.read_line() == ("hello", False)
            assert server.stats.refused == 1, number  # the second one finds a free place
    assert [record.event for record in lines][:1] == ["refused"]
    assert 0.45 < virtual_clock.now - began < 2


def test_silent_handshakes_end(serve, contexts, lines):
    """A client that says nothing is sent away after `handshake_timeout`, counted and logged."""
    server = serve(echo, ssl_ctx=contexts[0], handshake_timeout=0.1)
    with socket.create_connection((HOST, server.port)):
        until(lambda: server.stats.handshake_failures == 1)
    assert server.stats.timeouts == 1
    assert [record.event for record in lines] == ["handshake_timed_out"]


def test_failed_handshakes_are_told(serve, contexts, lines):
    """What is no TLS is counted and logged with the peer's address, and the server serves on."""
    ours, theirs = contexts
    server = serve(echo, ssl_ctx=ours)
    with socket.create_connection((HOST, server.port)) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        until(lambda: server.stats.handshake_failures == 1)
        peer = address_name(client.getsockname())
        assert [(record.event, record.peer) for record in lines] == [("handshake_failed", peer)]
    with dial(server, ssl_ctx=theirs) as client:
        client.write_line("hello")
        assert client.read_line() == ("hello", False)


def test_the_oldest_handshake_makes_room(serve, contexts, lines):
    """Handshakes in progress are at most four for each place; a newer client drops the oldest."""
    server = serve(echo, ssl_ctx=contexts[0], max_connections=1)
    with contextlib.ExitStack() as stack:
        silent = []
        for number in range(1, 6):
            silent.append(stack.enter_context(socket.create_connection((HOST, server.port))))
            until(lambda number=number: server.stats.accepted == number)
        until(lambda: server.stats.refused == 1)
        silent[0].settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert silent[0].recv(1) == b""
        for other in silent[1:]:
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                other.recv(1)
        assert [record.event for record in lines] == ["refused"]


# Counting and telling.


def test_stats(serve):
    """`stats` counts connections and the bytes of both directions, of those that are served and of those that were."""
    server = serve(echo)
    assert server.stats == (0, 0, 0, 0, 0, 0, 0)
    with dial(server) as client:
        client.write(b"x" * 100_000 + b"\n")
        client.readline()
        stats = server.stats
        assert stats.accepted == 1
        assert stats.active == 1
        assert stats.octets_in == 100_001
        assert stats.octets_out == 100_001
    until(lambda: not server.connections)
    with dial(server) as client:
        client.write(b"hello\n")
        client.readline()
    until(lambda: server.stats.active == 0)
    assert server.stats == (2, 0, 0, 0, 0, 100_007, 100_007)
    assert all(type(count) is int for count in server.stats)


def test_a_broken_connection_is_one_line(serve, lines, errors):
    """A reset that a handler lets out is one structured line with the peer's address, and no traceback."""
    server = serve(echo)
    client = dial(server)
    client.write_line("hello")
    client.read_line()
    address = client.address
    client.abort()
    until(lambda: lines)
    [record] = lines
    assert record.event == "failed"
    assert record.peer == address_name(address)
    assert record.server == f"{HOST}:{server.port}"
    assert record.getMessage().startswith(f"event=failed server={HOST}:{server.port} peer=")
    assert record.reason == "reading from the peer: Connection reset by peer"
    assert record.getMessage().count(address_name(address)) == 1
    assert errors == []


def test_mistakes_of_a_handler_are_no_broken_connections(serve, errors):
    """Using a closed stream is told like any other mistake."""

    def handle(stream, _address):
        stream.close()
        stream.readline()

    server = serve(handle)
    with dial(server) as client:
        client.read()
    until(lambda: errors)
    assert errors == [StreamClosed]


def test_lines_are_rationed(virtual_clock, serve, lines):
    """Many failures at once give few lines; a later line says how many were left out."""
    server = serve(lambda stream, _address: stream.read_exactly(1))
    for _ in range(100):
        dial(server).close()
    until(lambda: server.stats.accepted == 100 and not server.connections)
    assert 0 < len(lines) < 20
    told = len(lines)

    began = virtual_clock.now

    def one_more():
        dial(server).close()
        gevent.sleep(0.1)
        return len(lines) > told

    until(one_more)
    assert virtual_clock.now - began < 2
    assert lines[told].suppressed >= 100 - told


# Waiting for clients.


def test_a_server_is_ready_when_a_client_can_be_accepted(serve):
    """A server in a wait list is ready when a client is in its queue: one that accepts, or rests, or is not started."""
    server = serve(echo)
    assert wait_for_input_streams([server], timeout=0) == []
    waiting = gevent.spawn(wait_for_input_streams, [server], timeout=5)
    gevent.sleep(0)
    with dial(server) as client:
        assert waiting.get() == [server]
        client.write_line("served as well")
        assert client.read_line() == ("served as well", False)
        server.stop_accepting()
        assert wait_for_input_streams([server, client], timeout=0) == []
        with dial(server) as other:
            assert wait_for_input_streams([server, client], timeout=5) == [server]
            assert wait_for_input_streams([client, server], timeout=0) == [server]
            server.start_accepting()
            other.write_line("accepted")
            assert other.read_line() == ("accepted", False)
    with listener() as made:
        unstarted = SocketStreamServer(made, echo)
        assert wait_for_input_streams([unstarted], timeout=0) == []
        with socket.create_connection(made.getsockname()), WaitSet([unstarted]) as members:
            assert members.wait(5) == [unstarted]
        unstarted.close()


def test_a_server_that_is_closed_wakes_who_waits_for_it(serve):
    """Closing a server ends a wait for it, and it is in the answer; a closed one is refused."""
    server = serve(echo)
    waiting = gevent.spawn(wait_for_input_streams, [server], timeout=5)
    gevent.sleep(0)
    server.close()
    assert waiting.get(timeout=1) == [server]
    with pytest.raises(StreamClosed):
        wait_for_input_streams([server])


# Accepting.


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EINTR])
def test_clients_that_go_away_before_they_are_accepted(code, serve, lines):
    """A client that was aborted in the queue is ignored: nothing is reported, and the next one is served."""
    faults = [code] * 5

    class Faulty(SocketStreamServer):
        def do_read(self):
            if faults:
                raise OSError(faults.pop(), "injected")
            return super().do_read()

    server = Faulty((HOST, 0), echo)
    server.start()
    with dial(server) as client:
        client.write_line("hello")
        assert client.read_line() == ("hello", False)
    assert (lines, faults) == ([], [])
    server.stop()


def test_a_stopping_server_tells_that_it_cannot_accept(lines):
    """A failure to accept the clients in the queue is logged also while the server stops, and does not keep it from stopping."""

    class Faulty(SocketStreamServer):
        def do_read(self):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    server = Faulty((HOST, 0), echo)
    server.start()
    assert server.stop(1) == (0, 0, 0)
    assert server.closed
    assert [record.event for record in lines] == ["accept_paused"]


@pytest.mark.usefixtures("virtual_clock")
@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM, errno.EIO])
def test_accepting_pauses_when_the_system_refuses(code, serve, lines):
    """When the system cannot accept, the server rests, tells it once a second at most, and goes on by itself."""
    calls = []
    broken = True

    class Faulty(SocketStreamServer):
        accept_pause = 0.02

        def do_read(self):
            if broken:
                calls.append(None)
                raise OSError(code, os.strerror(code))
            return super().do_read()

    server = Faulty((HOST, 0), echo)
    server.start()
    with dial(server) as client:
        client.write_line("hello")
        until(lambda: len(calls) == 5)
        assert [record.event for record in lines] == ["accept_paused"]
        assert os.strerror(code) in lines[0].getMessage()
        broken = False
        assert client.read_line() == ("hello", False)
    server.stop()


def test_clients_that_go_away_for_ever_do_not_keep_the_processor_busy(serve, lines):
    """Where every accept fails as if the client had gone, the server pauses too."""
    calls = []

    class Faulty(SocketStreamServer):
        max_accept = 10

        def do_read(self):
            calls.append(None)
            raise OSError(errno.ECONNABORTED, "injected")

    server = Faulty((HOST, 0), echo)
    server.start()
    with dial(server):
        until(lambda: lines)
        assert len(calls) <= 2 * Faulty.max_accept
    server.stop()


def test_a_listener_that_is_gone_ends_the_server(lines):
    """An error that says that the listener is no listener closes the server, and is told once."""

    class Faulty(SocketStreamServer):
        def do_read(self):
            raise OSError(errno.EINVAL, "injected")

    server = Faulty((HOST, 0), echo)
    server.start()
    with socket.create_connection((HOST, server.port)):
        until(lambda: server.closed)
    assert [record.event for record in lines] == ["listener_failed"]


def test_a_mistake_in_do_read_does_not_stop_the_server(errors):
    """An exception of a subclass's own accepting is told to the hub, and accepting goes on after a pause."""
    mistakes = [LookupError]

    class Faulty(SocketStreamServer):
        accept_pause = 0.01

        def do_read(self):
            if mistakes:
                raise mistakes.pop()
            return super().do_read()

    server = Faulty((HOST, 0), echo)
    server.start()
    with dial(server) as client:
        client.write_line("hello")
        assert client.read_line() == ("hello", False)
    assert errors == [LookupError]
    server.stop()


def test_a_spawn_that_fails_costs_one_connection(errors):
    """Where no greenlet can be made the client is sent away, counted, and accepting goes on after a pause."""
    mistakes = [MemoryError]

    def spawn(*args):
        if mistakes:
            raise mistakes.pop()
        return gevent.spawn(*args)

    server = SocketStreamServer((HOST, 0), echo, spawn=spawn, max_connections=1)
    server.accept_pause = 0.01
    server.start()
    with dial(server) as client, contextlib.suppress(StreamReset):
        assert client.read() == b""
    with dial(server) as client:
        client.write_line("hello")
        assert client.read_line() == ("hello", False)
    assert errors == [MemoryError]
    assert server.stats.refused == 1
    server.stop()


# Arguments.


@pytest.mark.parametrize(
    ("kind", "name", "arguments"),
    [
        (TypeError, "handle", {"handle": None}),
        (TypeError, "handle", {"handle": 5}),
        (ValueError, "spawn", {"spawn": None}),
        (ValueError, "spawn", {"spawn": 0}),
        (ValueError, "spawn", {"spawn": -1}),
        (TypeError, "spawn", {"spawn": True}),
        (TypeError, "spawn", {"spawn": "greenlets"}),
        (TypeError, "spawn", {"spawn": 1.5}),
        (ValueError, "backlog", {"backlog": 0}),
        (TypeError, "backlog", {"backlog": "many"}),
        (ValueError, "max_connections", {"max_connections": 0}),
        (TypeError, "max_connections", {"max_connections": 1.5}),
        (ValueError, "handshake_timeout", {"handshake_timeout": 0}),
        (ValueError, "read_timeout", {"read_timeout": 0}),
        (TypeError, "write_timeout", {"write_timeout": "1"}),
        (ValueError, "line_limit", {"line_limit": -1}),
        (ValueError, "direction", {"direction": "out"}),
        (ValueError, "element_type", {"element_type": "bits"}),
        (ValueError, "encoding", {"encoding": "rot13"}),
        (ValueError, "ssl_ctx", {"ssl_ctx": "tls-v1.1"}),
        (TypeError, "ssl_ctx", {"ssl_ctx": 5}),
        (TypeError, "ctx_configure_callback", {"ctx_configure_callback": 5}),
        (TypeError, "stream_class", {"stream_class": None}),
        (TypeError, "listener", {"listener": None}),
        (TypeError, "listener", {"listener": 1.5}),
        (ValueError, "listener", {"listener": (HOST, 65536)}),
        (ValueError, "listener", {"listener": -1}),
    ],
    ids=repr,
)
def test_wrong_arguments_are_refused(kind, name, arguments):
    """A wrong argument is named with its value, before anything is bound."""
    value = next(iter(arguments.values()))
    with pytest.raises(kind) as caught:
        SocketStreamServer(**{"listener": (HOST, 0), "handle": echo, **arguments})
    assert name in str(caught.value)
    if not isinstance(value, tuple):
        assert repr(value) in str(caught.value)


def test_wrong_arguments_leave_a_given_listener_open(contexts):
    """A listener that was given with wrong arguments is still its owner's, open and as it was."""
    with listener() as made:
        for options in ({"spawn": None}, {"backlog": 5}, {"handle": None}, {"read_timeout": -1}, {"ssl_ctx": True}):
            with pytest.raises((TypeError, ValueError)):
                SocketStreamServer(made, **{"handle": echo, **options})
            assert made.fileno() >= 0
        with contexts[0].wrap_socket(made, server_side=True) as secured, pytest.raises(TypeError, match="ssl_ctx"):
            SocketStreamServer(secured, echo)
    with socket.socket() as unconnected, pytest.raises(ValueError, match="listen"):
        SocketStreamServer(unconnected, echo)


def test_a_port_in_use_is_an_error():
    """Starting on a port that is taken is an OSError, and the server can be forgotten."""
    with listener() as taken:
        server = SocketStreamServer(taken.getsockname(), echo)
        with pytest.raises(OSError, match="in use") as caught:
            server.start()
        assert caught.value.errno == errno.EADDRINUSE
        assert not server.started


# Leaks.


@pytest.mark.parametrize("spawn", SPAWNS.values(), ids=SPAWNS)
def test_nothing_leaks(spawn, serve, errors):
    """Hundreds of connections with the collector off leave no descriptor, no greenlet and nothing for it to find."""
    server = serve(echo, spawn=spawn())

    def once():
        with dial(server) as client:
            client.write_line("hello")
            client.read_line()
        client = dial(server)
        client.abort()

    once()
    until(lambda: not server.connections)
    with nothing_left():
        gc.collect()
        for _ in range(150):
            once()
        until(lambda: not server.connections)
        gevent.sleep(0)
        assert gc.collect() == 0


def test_tls_failures_leak_nothing(serve, contexts):
    """Handshakes that fail, are abandoned, or time out leave no descriptor and no greenlet."""
    server = serve(echo, ssl_ctx=contexts[0], handshake_timeout=0.05, max_connections=1)
    with nothing_left():
        for number in range(100):
            with socket.create_connection((HOST, server.port)) as client:
                if number % 3 == 0:
                    client.sendall(b"no TLS at all\r\n")
                elif number % 3 == 1:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            gevent.sleep(0)
        until(lambda: sum(server.stats[2:4]) == 100)


def test_a_stopped_server_dies():
    """Nothing keeps a server that was stopped, nor its handler, after the collector ran."""

    class Handler:
        def __call__(self, stream, _address):
            stream.readline()

    handler = Handler()
    server = SocketStreamServer((HOST, 0), handler, spawn=5)
    server.start()
    with dial(server) as client:
        client.write_line("hello")
        client.read()
    server.stop()
    gone = weakref.ref(server), weakref.ref(handler)
    del server, handler
    gevent.sleep(0)
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_nothing_of_a_server_runs_after_it_stopped():
    """A server that was stopped leaves no greenlet, no descriptor, and a loop that has nothing to wait for."""
    gevent.sleep(0)  # the loop has opened what it needs
    before, running = descriptors(), greenlets()
    for spawn in SPAWNS.values():
        server = SocketStreamServer((HOST, 0), echo, spawn=spawn())
        server.start()
        with dial(server) as client:
            client.write_line("hello")
            client.read_line()
            server.stop()
    del client, server
    until(lambda: greenlets() <= running)
    assert descriptors() == before
    assert gevent.wait(timeout=5)


def test_proc_is_what_the_tests_count_with():
    """Counting descriptors works here: an open file is one more."""
    before = descriptors()
    with Path("/dev/null").open():
        assert descriptors() == before + 1


def test_errors_are_stream_errors(serve):
    """What clients of a server see are stream errors."""
    server = serve(lambda stream, _address: stream.abort())
    with dial(server) as client, pytest.raises(StreamError):
        client.read()
