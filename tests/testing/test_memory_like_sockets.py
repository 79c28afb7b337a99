"""Servers and clients meet on a memory network what they meet on the system's: each test runs on both, with the same outcome."""

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from kit.conditions import until
from kit.pairs import Pairs
from kit.tls import NAME, TLSKit
from servers import Certificates

from geventstreams import (
    TCPEOF,
    AsyncServer,
    ConnectError,
    ReadTimeout,
    SocketStream,
    SocketStreamServer,
    StreamBusy,
    StreamClosed,
    StreamError,
    StreamReset,
    TCPReset,
    TLSVerificationError,
    WaitSet,
    WriteTimeout,
    open_tcp_stream,
    server_terminate,
    start_up_server,
    tcp_connect,
    tcp_server,
    wait_for_input_streams,
)
from geventstreams.relay import RelayHandler, Upstream
from geventstreams.testing import MemoryNetwork
from geventstreams.testing.claims import outcome, sample, settle, started

HOST = "127.0.0.1"
Connect = Callable[..., SocketStream]


@pytest.fixture(params=["system", "memory"])
def where(request: pytest.FixtureRequest) -> Iterator[str]:
    """The network in use: the system's, then one in memory."""
    with MemoryNetwork(seed=1) if request.param == "memory" else contextlib.nullcontext():
        yield request.param


@pytest.fixture
def served(where: str) -> Iterator[Callable[..., SocketStreamServer]]:
    """Start servers, and stop them after the test."""
    with contextlib.ExitStack() as stack:

        def serve(handle: Any, listener: Any = (HOST, 0), **options: Any) -> SocketStreamServer:
            server = SocketStreamServer(listener, handle, **options)
            stack.callback(server.stop, 0)
            server.start()
            return server

        yield serve


@pytest.fixture
def ends(served: Callable[..., SocketStreamServer]) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """Connect a client to a server, and give both streams; the options are the client's."""
    with contextlib.ExitStack() as stack:

        def connect(**options: Any) -> tuple[Any, Any]:
            accepted: list[SocketStream] = []
            done = gevent.event.Event()
            stack.callback(done.set)

            def handle(stream: SocketStream, _address: Any) -> None:
                accepted.append(stream)
                done.wait()

            server = served(handle)
            client = open_tcp_stream(HOST, server.port, **options)
            stack.callback(client.abort)
            until(lambda: accepted)
            return client, accepted[0]

        yield connect


def shout(stream: SocketStream, _address: Any) -> None:
    """Answer each line in capitals."""
    for line in stream:
        stream.write(line.upper())


def kinds(*outcomes: Any) -> list[Any]:
    """Return outcomes with exceptions as their classes and error numbers."""
    return [(type(one), one.errno) if isinstance(one, OSError) else one for one in outcomes]


def test_a_server_answers_its_clients(served: Callable[..., SocketStreamServer]) -> None:
    """Several clients at the same time get their own answers, and both ends agree about the addresses."""
    seen = []

    def handle(stream: SocketStream, address: Any) -> None:
        seen.append((address, stream.peer_address, stream.address))
        shout(stream, address)

    server = served(handle)
    clients = [open_tcp_stream(HOST, server.port) for _ in range(3)]
    for number, client in enumerate(clients):
        client.write_line(f"line {number}")
        client.flush()
    assert [client.read_line() for client in clients] == [(f"LINE {number}", False) for number in range(3)]
    assert sorted(seen) == sorted((client.address, client.address, client.peer_address) for client in clients)
    assert server.address == clients[0].peer_address == (HOST, server.port)
    for client in clients:
        client.close()


def test_a_client_that_is_refused(where: str) -> None:
    """Where nothing listens, a ConnectError has the system's error number and names each address."""
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        port = unused.getsockname()[1]
        error = outcome(open_tcp_stream, HOST, port)
        assert kinds(error) == [(ConnectError, errno.ECONNREFUSED)]
        assert str(error) == f"[Errno {errno.ECONNREFUSED}] cannot connect to {HOST}:{port}: Connection refused"
        assert [address for address, _ in error.errors] == [(HOST, port)]


def test_an_address_is_in_use_once(served: Callable[..., SocketStreamServer]) -> None:
    """A second server on the same port cannot listen; when the first has closed, it can."""
    first = served(shout)
    second = SocketStreamServer((HOST, first.port), shout)
    assert kinds(outcome(second.start)) == [(StreamError, errno.EADDRINUSE)]
    first.stop()
    served(shout, (HOST, first.port))


def test_a_server_on_all_addresses(where: str) -> None:
    """A server without a host is reached by every address and name of the machine."""
    server, _ = start_up_server(lambda stream: shout(stream, None))
    assert server is not None
    try:
        for host in (HOST, "localhost"):
            with open_tcp_stream(host, server.port) as client:
                client.write_line("who")
                assert client.read_line() == ("WHO", False)
    finally:
        assert server_terminate(server)


def test_a_server_without_streams(where: str) -> None:
    """A function of a server that makes no streams is given what `SocketStream` takes, and owns it."""
    server, _ = start_up_server(shout_on, create_stream=False, address=HOST)
    assert server is not None
    with open_tcp_stream(HOST, server.port) as client:
        client.write_line("who")
        assert client.read_line() == ("WHO", False)
        client.send_eof()
        assert client.read() == b""
    server_terminate(server)


def shout_on(handle: Any) -> None:
    """Answer each line on a descriptor, or what stands for it."""
    with SocketStream(handle) as stream:
        shout(stream, None)


def test_a_relay_tells_the_client_s_address(served: Callable[..., SocketStreamServer]) -> None:
    """A relay that sends PROXY headers, in front of a server that reads them: the server sees the client's address."""
    pytest.importorskip("proxyprotocol")
    seen: list[Any] = []

    def handle(stream: SocketStream, address: Any) -> None:
        seen.append((address, stream.peer_address))
        shout(stream, address)

    behind = served(handle, proxy_protocol=True)
    relay = served(RelayHandler(Upstream(HOST, behind.port, proxy_version=2)))
    with open_tcp_stream(HOST, relay.port) as client:
        client.write_line("who")
        assert client.read_line() == ("WHO", False)
        assert seen == [(client.address, client.address)]


def test_half_close(ends: Any) -> None:
    """The other direction goes on after `send_eof`, and the end comes behind what was sent."""
    client, server = ends()
    client.sendall(b"question")
    client.send_eof()
    assert server.read() == b"question"
    server.sendall(b"answer")
    assert client.read_exactly(6) == b"answer"
    server.close()
    assert (client.read(), client.read()) == (b"", b"")


def test_an_abort_is_a_reset(ends: Any) -> None:
    """The peer of an abort reads what was sent before, then a reset, in both directions and for ever."""
    client, server = ends()
    server.sendall(b"before")
    until(client.listen)
    server.abort()
    assert client.read_exactly(6) == b"before"
    outcomes = kinds(outcome(client.read, 1), outcome(client.read, 1), outcome(client.sendall, b"x"))
    assert outcomes == [(StreamReset, errno.ECONNRESET), (StreamReset, errno.ECONNRESET), (StreamReset, errno.EPIPE)]
    assert outcome(client.close) is None


def test_writing_to_a_peer_that_has_closed(ends: Any) -> None:
    """The first write is taken, because the peer might still read; then it is a reset, and reading gives the end all the time."""
    client, server = ends()
    server.close()
    assert client.read() == b""
    client.sendall(b"first")
    assert kinds(until(lambda: outcome(client.sendall, b"second"))) == [(StreamReset, errno.EPIPE)]
    assert client.read() == b""


def test_writing_first_to_a_peer_that_has_closed(ends: Any) -> None:
    """A write to a peer that has closed, of which nothing was read: what comes is an end in order."""
    client, server = ends()
    server.close()
    assert wait_for_input_streams([client], timeout=20) == [client]
    client.sendall(b"first")
    gevent.sleep(0.05)
    assert kinds(outcome(client.read), until(lambda: outcome(client.sendall, b"second"))) == [b"", (StreamReset, errno.EPIPE)]


def test_closing_does_not_lose_what_was_written(ends: Any) -> None:
    """An orderly close with unread input in the way: the peer reads everything, then the end."""
    client, server = ends()
    server.sendall(b"unread")
    until(client.listen)
    server.sendall(b"unread as well")
    data = sample(100_000)
    reading = started(server.read)
    client.write(data)
    client.close()
    assert reading.get() == data
    assert outcome(server.sendall, b"x") is None


def test_a_socket_that_is_closed_with_unread_input_resets(ends: Any) -> None:
    """As TCP demands: who closes without reading what came tells the peer, which may have more to say."""
    client, server = ends()
    client.sendall(b"unread")
    until(server.listen)
    client.sendall(b"unread as well")
    gevent.sleep(0.02)
    server.replace_socket(None).close()
    assert kinds(outcome(client.read)) == [(StreamReset, errno.ECONNRESET)]


def test_back_pressure(ends: Any) -> None:
    """A writer waits for a reader that does not read; the timeout tells exactly what was accepted, and nothing is lost."""
    client, server = ends(write_timeout=0.05)
    accepted = bytearray()
    error = None
    while error is None:
        piece = sample(2**20, len(accepted))
        said = outcome(client.write, piece)
        accepted += piece
        error = said if isinstance(said, WriteTimeout) else None
        assert len(accepted) < 64 * 2**20
    assert error.accepted == 2**20
    client.write_timeout = None
    closing = gevent.spawn(client.close)
    assert server.read() == accepted
    closing.get()


def test_a_reader_that_is_killed_loses_nothing(ends: Any) -> None:
    """Kills, timeouts and a second reader in the middle of a read: the same call gives all of it later."""
    client, server = ends()
    server.sendall(b"half a ")
    reading = started(client.readline)
    busy = outcome(client.readline)
    reading.kill()
    client.read_timeout = 0.02
    late = outcome(client.readline)
    server.sendall(b"line\n")
    assert [type(busy), type(late), client.readline()] == [StreamBusy, ReadTimeout, b"half a line\n"]


def test_closing_in_the_middle(ends: Any) -> None:
    """A close by another greenlet ends a read and a write that wait, with StreamClosed."""
    client, server = ends()
    reading = started(server.readline)
    writing = started(server.write, bytes(64 * 2**20))
    settle(server)
    server.abort()
    assert [type(one.get()) for one in (reading, writing)] == [StreamClosed, StreamClosed]
    assert type(outcome(client.read)) is StreamReset


def test_the_sockets_can_be_exchanged(ends: Any) -> None:
    """`replace_socket` hands the connection to another stream, with its options and its addresses."""
    client, server = ends()
    address, peer_address = client.address, client.peer_address
    plain = client.replace_socket(None)
    assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert (plain.getsockname(), plain.getpeername(), plain.family) == (address, peer_address, socket.AF_INET)
    other = SocketStream(plain)
    other.sendall(b"line\n")
    assert server.readline() == b"line\n"
    other.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.replace_socket(None).close()
    assert kinds(outcome(server.read)) == [(StreamReset, errno.ECONNRESET)]
    other.close()


def test_waiting_for_several(ends: Any, served: Callable[..., SocketStreamServer]) -> None:
    """`wait_for_input_streams` and a `WaitSet` find the streams, and the server, that have something."""
    (one, its_peer), (two, _) = ends(), ends()
    assert wait_for_input_streams([one, two], timeout=0.01) == []
    gevent.spawn_later(0.01, its_peer.sendall, b"x")
    assert wait_for_input_streams([one, two], timeout=5) == [one]
    server = SocketStreamServer((HOST, 0), shout)
    server.init_socket()
    members = WaitSet([two, server])
    assert members.wait(timeout=0.01) == []
    connecting = gevent.spawn(open_tcp_stream, HOST, server.port)
    assert members.wait(timeout=5) == [server]
    connecting.get().abort()
    server.close()


def test_a_stop_drains(served: Callable[..., SocketStreamServer]) -> None:
    """A client in the queue is still served, an idle connection ends in order, a busy one gets its time."""
    server = served(shout)
    idle = open_tcp_stream(HOST, server.port)
    idle.write_line("first")
    assert idle.read_line() == ("FIRST", False)
    queued = open_tcp_stream(HOST, server.port)
    queued.write_line("queued")
    queued.flush()
    stopping = gevent.spawn(server.stop, 5)
    assert queued.read_line() == ("QUEUED", False)
    assert (idle.read(), queued.read()) == (b"", b"")
    report = stopping.get()
    assert (report.idle, report.killed) == (2, 0), report
    idle.close()
    queued.close()


def test_a_full_server_lets_clients_wait(served: Callable[..., SocketStreamServer]) -> None:
    """With `max_connections` the next client is served when a handler ends."""
    server = served(shout, max_connections=1)
    first, second = open_tcp_stream(HOST, server.port), open_tcp_stream(HOST, server.port)
    second.write_line("second")
    second.flush()
    first.write_line("first")
    assert first.read_line() == ("FIRST", False)
    assert not second.listen()
    first.close()
    assert second.read_line() == ("SECOND", False)
    second.close()


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_tls(served: Callable[..., SocketStreamServer], certificates: Certificates, version: str) -> None:
    """TLS with a server: a handshake, a long answer, an end by close_notify, and a name that the certificate does not have."""
    kit = TLSKit(certificates, Pairs(), version)
    data = sample(300_000)

    def handle(stream: SocketStream, _address: Any) -> None:
        stream.write(stream.read_exactly(10) + data)

    server = served(handle, ssl_ctx=kit.context("server"))
    with open_tcp_stream("localhost", server.port, ipv6=False, ssl_ctx=kit.context("client"), tlsext_host_name=NAME) as client:
        assert client.ssl is not None
        assert client.ssl.version() == version
        client.sendall(b"0123456789")
        assert client.read() == b"0123456789" + data
    error = outcome(open_tcp_stream, HOST, server.port, ssl_ctx=kit.context("client"), tlsext_host_name="elsewhere")
    assert isinstance(error, TLSVerificationError)


# The half that calls back.


@pytest.fixture
def calls(where: str) -> Iterator[tuple[AsyncServer, list[Any]]]:
    """A server that sends everything back, and a list for what is called back."""
    seen: list[Any] = []
    server = tcp_server(HOST, 0, lambda connection, data: connection.write(data), lambda event: seen.append(("server", type(event))))
    yield server, seen
    server.close()
    for connection in list(server.connections):
        connection.close(force=True)


@pytest.mark.parametrize("how", ["waits", "is paused", "ends"])
def test_what_arrives_while_nothing_is_received_is_called_back(served: Callable[..., SocketStreamServer], how: str) -> None:
    """What arrives while a read callback waits, or while its socket is paused, and the end of file, come afterwards without anything else
    arriving."""
    arrived: list[Any] = []
    more = gevent.event.Event()

    def greet(stream: SocketStream, _address: Any) -> None:
        stream.sendall(b"first")
        more.wait()
        if how == "ends":
            stream.send_eof()
        else:
            stream.sendall(b"second")
        stream.read()

    def read(connection: Any, data: bytes) -> None:
        arrived.append(data)
        more.set()
        if how == "is paused":
            connection.pause()
        elif len(arrived) == 1:
            gevent.sleep(0.02)

    client = tcp_connect(HOST, served(greet).port, read, lambda event: arrived.append(type(event)))
    try:
        if how == "is paused":
            more.wait()
            gevent.sleep(0.02)
            assert arrived == [b"first"]
            client.resume()
        until(lambda: len(arrived) == 2)
        assert arrived == [b"first", TCPEOF if how == "ends" else b"second"]
    finally:
        client.close(force=True)


def test_connections_that_call_back(calls: tuple[AsyncServer, list[Any]]) -> None:
    """A client's data comes back to its read callback; its close is the end of file at the server."""
    server, seen = calls
    data = sample(2**20)
    got = bytearray()
    client = tcp_connect(HOST, server.port, lambda _, piece: got.extend(piece), data=data, connect_cb=lambda _: seen.append("connected"),
                         write_cb=lambda _: seen.append("sent"))
    until(lambda: len(got) == len(data), 20)
    assert got == data
    assert seen == ["connected", "sent"]
    assert (client.address, client.peer_address) == (next(iter(server.connections)).peer_address, server.address)
    client.close()
    until(lambda: len(seen) == 3)
    assert seen[2] == ("server", TCPEOF)


def test_a_client_that_calls_back_is_refused(where: str) -> None:
    """A refusal is the event of a failed connection."""
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        events: list[Any] = []
        tcp_connect(HOST, unused.getsockname()[1], None, events.append)
        until(lambda: events)
        assert kinds(events[0].error) == [(ConnectError, errno.ECONNREFUSED)]


def test_a_forced_close_is_a_reset(calls: tuple[AsyncServer, list[Any]]) -> None:
    """The server's event callback gets a reset."""
    server, seen = calls
    client = tcp_connect(HOST, server.port, lambda _, data: seen.append(data), data=b"there?")
    until(lambda: seen)
    client.close(force=True)
    until(lambda: len(seen) == 2)
    assert seen == [b"there?", ("server", TCPReset)]


def test_a_stream_of_the_callback_half(calls: tuple[AsyncServer, list[Any]]) -> None:
    """A stream of `tcp_connect` brings and takes bytes, and is closed when all was sent."""
    server, _ = calls
    arrived: list[bytes] = []
    stream = tcp_connect(HOST, server.port, lambda _, given: arrived.append(given.read_available()), stream=True)
    stream.write(b"early")
    until(lambda: b"".join(arrived) == b"early")
    stream.close()
    until(lambda: not server.connections)
