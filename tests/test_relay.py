"""Relaying: bytes and ends both ways, no deadlock, nothing lost; TLS and PROXY headers on either side; the command."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import os
import random
import re
import signal
import socket
import ssl
import sys
import time

import gevent
import gevent.socket
import pytest
from kit.command_line import GEVENTSTREAMS, LIMIT, refused, relaying, run, serving, started
from kit.conditions import until
from kit.leftovers import descriptors, nothing_left
from kit.network import HOST, reset, unused_port
from kit.pairs import pairs
from kit.tls import tls
from kit.vocabulary import many
from servers import curl

from geventstreams._net.connect import open_tcp_stream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli.statuses import Status, error_of
from geventstreams.errors import ConnectError, ReadTimeout, StreamError, StreamReset, StreamTruncated, TLSError
from geventstreams.relay import RelayHandler, Upstream, relay
from geventstreams.server.server import SocketStreamServer
from geventstreams.testing import virtual_time

__all__ = ["pairs", "tls"]  # fixtures

MIB = 1 << 20


class Chain:
    """A client's socket, two streams that are relayed, and a server's socket."""

    def __init__(self, pairs, buffers=None, **options) -> None:
        self.one, self.client = pairs.stream("tcp", buffers=buffers, **options)
        self.other, self.server = pairs.stream("tcp", buffers=buffers, **options)
        self.relaying = gevent.spawn(relay, self.one, self.other)


@pytest.fixture
def chain(pairs):
    return Chain(pairs)


def received(plain) -> bytes:
    """All that comes up to the end."""
    parts = []
    while data := plain.recv(65536):
        parts.append(data)
    return b"".join(parts)


def fails_with(relaying, kind) -> StreamError:
    """The error that ended the relaying."""
    with pytest.raises(kind) as caught:
        relaying.get(timeout=20)
    return caught.value


class Failing(SocketStream):
    """A stream on which every read fails for a reason that has nothing to do with the connection."""

    def readinto1(self, space):
        raise MemoryError("no room")


@pytest.mark.parametrize("failing", [0, 1], ids=["client", "server"])
def test_an_error_of_either_way_is_raised_and_resets_both(pairs, failing: int) -> None:
    """The exception that ends one of the two greenlets of a pair is raised by `relay`, and neither peer takes a part for the whole."""
    (near, client), (far, server) = (pairs.sockets("tcp") for _ in range(2))
    one, other = (pairs.keep((Failing if number == failing else SocketStream)(sock)) for number, sock in enumerate((near, far)))
    outcome = gevent.spawn(error_of, lambda: relay(one, other)).get(timeout=20)
    assert isinstance(outcome, MemoryError)
    for peer in (client, server):
        with pytest.raises(ConnectionResetError):
            received(peer)


@pytest.mark.parametrize("first", ["client", "server"])
def test_half_close_is_carried_through(chain, first: str) -> None:
    """Either side may end its half: the other hears of it, and can still say all it wants; then the relaying ends."""
    near, far = (chain.client, chain.server) if first == "client" else (chain.server, chain.client)
    near.sendall(b"my last words")
    near.shutdown(socket.SHUT_WR)
    assert received(far) == b"my last words"
    for number in range(3):
        far.sendall(b"and another thing %d" % number)
        assert near.recv(65536) == b"and another thing %d" % number
    assert not chain.relaying.ready()
    far.shutdown(socket.SHUT_WR)
    assert received(near) == b""
    assert chain.relaying.get(timeout=20) is None
    assert not chain.one.closed
    assert not chain.other.closed


@pytest.mark.parametrize("kind", ["tcp", "TLS"])
def test_both_sides_write_before_they_read(pairs, tls, kind: str) -> None:
    """Both ends write 24 MiB before they read a byte: a relay holds a bounded part of it, and no deadlock comes of that."""
    sent = [random.Random(seed).randbytes(24 * MIB) for seed in (1, 2)]
    if kind == "tcp":
        (one, client), (other, server) = pairs.streams(), pairs.streams()
    else:
        (one, client), (other, server) = tls.streams("server"), tls.streams("client")
    relaying = gevent.spawn(relay, one, other)

    def talk(stream, data) -> bytes:
        writing = gevent.spawn(stream.write, data)
        taken = -1
        while taken != stream.octets_out:  # until nothing takes more of it
            taken = stream.octets_out
            gevent.sleep(0.3)
        answer = stream.read_exactly(24 * MIB)
        writing.get()
        stream.send_eof()
        assert stream.read() == b""
        return answer

    talking = [gevent.spawn(talk, stream, data) for stream, data in zip((client, server), sent, strict=True)]
    gevent.joinall(talking, raise_error=True)
    relaying.get(timeout=20)
    assert [each.get() for each in talking] == sent[::-1]


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_reset_is_carried_through(chain, first: str) -> None:
    """A connection that breaks on one side is broken on the other: its peer sees a reset, and not the end of file."""
    near, far = (chain.client, chain.server) if first == "client" else (chain.server, chain.client)
    far.sendall(b"hello")
    assert near.recv(5) == b"hello"
    reset(near)
    error = fails_with(chain.relaying, StreamReset)
    assert error.stream is (chain.one if first == "client" else chain.other)
    with pytest.raises(ConnectionResetError):
        far.recv(1)
    assert chain.one.closed
    assert chain.other.closed


def test_a_reset_while_the_other_side_is_silent(chain) -> None:
    """A server that breaks the connection ends the relaying also where the client says nothing, and never will."""
    chain.server.sendall(b"hello")
    assert chain.client.recv(5) == b"hello"
    reset(chain.server)
    fails_with(chain.relaying, StreamReset)
    with pytest.raises(ConnectionResetError):
        chain.client.recv(1)


def test_a_truncated_connection_is_no_end(pairs, tls) -> None:
    """TLS that ends without close_notify is an error, and a reset for the other side, not the end of file."""
    one, peer = tls.stream("server")
    other, server = pairs.stream("tcp")
    relaying = gevent.spawn(relay, one, other)
    peer.socket.shutdown(socket.SHUT_WR)
    fails_with(relaying, StreamTruncated)
    with pytest.raises(ConnectionResetError):
        server.recv(1)


def test_a_read_timeout_counts_both_ways(pairs) -> None:
    """A side that only listens is not timed out while the other speaks; when both are silent the connection is."""
    with virtual_time(threshold=0.001) as clock:
        chain = Chain(pairs, read_timeout=3)
        while clock.now < 10:
            chain.server.sendall(b"tick")
            assert chain.client.recv(4) == b"tick"
            gevent.sleep(0.5)
        assert not chain.relaying.ready()
        fails_with(chain.relaying, ReadTimeout)


def test_a_relay_that_is_killed_ends_both(chain) -> None:
    """Killing the greenlet that relays breaks both connections, and leaves no greenlet behind."""
    with nothing_left(greenlets_too=True):
        chain.client.sendall(b"hello")
        assert chain.server.recv(5) == b"hello"
        chain.relaying.kill()
        for plain in (chain.client, chain.server):
            with pytest.raises(ConnectionResetError):
                plain.recv(1)


def test_what_a_relay_holds_is_bounded(pairs) -> None:
    """A peer that does not read holds up the other: nothing piles up in the relay."""
    chain = Chain(pairs, buffers=8192)
    chain.client.setblocking(False)
    block = bytes(65536)
    stuck = time.monotonic()
    while time.monotonic() - stuck < 0.5:
        with contextlib.suppress(BlockingIOError):
            chain.client.send(block)
            stuck = time.monotonic()
        gevent.sleep(0.001)
    assert chain.one.octets_in - chain.other.octets_out <= 2 * 65536
    chain.relaying.kill()


# As a handler of servers.


@contextlib.contextmanager
def relay_server(upstream: Upstream, **options):
    server = SocketStreamServer((HOST, 0), RelayHandler(upstream), **options)
    server.start()
    try:
        yield server
    finally:
        server.stop(0)


def test_an_upstream_that_is_not_there(caplog) -> None:
    """A client whose upstream cannot be reached is reset, and one line says why."""
    port = unused_port()
    with relay_server(Upstream(HOST, port)) as server:
        with open_tcp_stream(HOST, server.port, read_timeout=20) as client, pytest.raises(StreamReset):
            client.read()
        until(lambda: caplog.records)
    [record] = caplog.records
    assert record.event == "failed"
    assert record.reason == f"relaying to {HOST}:{port}: cannot connect to it: Connection refused"
    assert record.exc_info is None


def test_an_upstream_that_breaks(caplog) -> None:
    """A failure upstream is the failure of the client's connection, told in one line; nothing is left open."""

    def break_off(stream, _address) -> None:
        stream.readline()
        stream.abort()

    upstream = SocketStreamServer((HOST, 0), break_off)
    upstream.start()
    with relay_server(Upstream(HOST, upstream.port)) as server:
        before = descriptors()
        for _ in range(20):
            with open_tcp_stream(HOST, server.port, read_timeout=20) as client:
                client.write(b"break\n")
                with pytest.raises(StreamReset):
                    client.read()
        until(lambda: not server.connections)
        until(lambda: descriptors() <= before)
    assert {record.event for record in caplog.records} == {"failed"}
    upstream.stop(0)


@pytest.mark.parametrize(("wrong", "kind"), [(5, TypeError), (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), TLSError)], ids=["number", "server"])
@pytest.mark.parametrize("to", [{"host": HOST, "service": 1}, {"path": "sock"}], ids=["TCP", "Unix"])
def test_what_is_no_context_of_a_client_is_refused(to: dict, wrong: object, kind: type[Exception]) -> None:
    """A wrong `ssl_ctx` is refused when the handler is made, and not with its first client."""
    with pytest.raises(kind, match="ssl_ctx"):
        RelayHandler(Upstream(**to, ssl_ctx=wrong))


def test_what_is_no_upstream_is_refused() -> None:
    """Another argument is a TypeError that names it."""
    with pytest.raises(TypeError, match=r"upstream must be an Upstream, not str '127\.0\.0\.1:80'"):
        RelayHandler("127.0.0.1:80")


def test_a_wrong_version_is_refused() -> None:
    """There are versions 1 and 2 of the PROXY protocol."""
    with pytest.raises(ValueError, match="proxy_version"):
        RelayHandler(Upstream(HOST, 1, proxy_version=3))


@pytest.mark.parametrize(
    ("named", "to"),
    [
        ("server_name", {"server_name": "a..b"}), ("server_name", {"server_name": ""}), ("host", {"host": "x" * 64}),
        ("host", {"host": ""}),
    ],
    ids=str,
)
def test_a_name_that_can_be_none_is_refused(named: str, to: dict) -> None:
    """A name for which no certificate can be is refused when the handler is made, and not with its first client."""
    with pytest.raises(ValueError, match=named):
        RelayHandler(Upstream(**{"host": HOST, "service": 1, "ssl_ctx": ssl.create_default_context(), **to}))


def test_a_host_given_as_a_number(certificates) -> None:
    """A certificate upstream is checked for the address that an integer stands for."""
    with serving("echo", "--tls", certificates.server.chain, certificates.server.key) as echo:
        context = ssl.create_default_context(cafile=certificates.ca)
        with (
            relay_server(Upstream(0x7F000001, echo.port, context)) as middle,
            open_tcp_stream(HOST, middle.port, timeout=20, read_timeout=20) as stream,
        ):
            stream.write_line("hello")
            assert stream.read_line() == ("hello", False)


@contextlib.contextmanager
def unix_server(path: str, handle, **options):
    """A server on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        server = SocketStreamServer(listener, handle, **options)
        server.start()
        try:
            yield server
        finally:
            server.stop(0)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("version", [None, 1, 2], ids=str)
@pytest.mark.parametrize("kind", ["path", "bytes", "abstract"])
def test_an_upstream_on_a_unix_socket(certificates, tmp_path, kind: str, version: int | None, secure: bool) -> None:
    """A Unix socket is a server as any other: PROXY header, TLS, bytes and ends go there, and the client's end does not end the answer."""
    clients = []

    def answer(stream, address) -> None:
        clients.append(address)
        stream.write(stream.read().upper())

    path = f"\0geventstreams-{os.getpid()}" if kind == "abstract" else str(tmp_path / "sock")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server.chain, certificates.server.key)
    tls_out = {"ssl_ctx": ssl.create_default_context(cafile=certificates.ca), "server_name": "localhost"} if secure else {}
    upstream = Upstream(path=os.fsencode(path) if kind == "bytes" else path, proxy_version=version, **tls_out)
    with (
        unix_server(path, answer, proxy_protocol=version is not None, ssl_ctx=context if secure else None),
        relay_server(upstream) as middle,
        open_tcp_stream(HOST, middle.port, timeout=20, read_timeout=20) as stream,
    ):
        stream.write(b"hello" * 100_000)
        stream.send_eof()
        assert stream.read() == b"HELLO" * 100_000
        if version is not None:
            assert clients == [stream.address]


@pytest.mark.parametrize("kind", ["accents", "abstract", "no name"])
def test_the_server_is_told_any_client_on_a_unix_socket(tmp_path, kind: str) -> None:
    """A client's path need not be ASCII, and may be the name of an abstract socket: the PROXY header says it."""
    clients = []

    def answer(stream, address) -> None:
        clients.append(address)
        stream.write(stream.read())

    upstream = Upstream(path=str(tmp_path / "up"), proxy_version=2)
    with (
        unix_server(str(tmp_path / "up"), answer, proxy_protocol=True),
        unix_server(str(tmp_path / "middle"), RelayHandler(upstream)),
        gevent.socket.socket(socket.AF_UNIX) as client,
    ):
        if kind != "no name":
            client.bind(str(tmp_path / "é") if kind == "accents" else f"\0geventstreams-client-{os.getpid()}")
        client.connect(str(tmp_path / "middle"))
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b"hello"
        assert clients == [client.getsockname()]


@pytest.mark.parametrize(("path", "name"), [("/no/such/sock", "unix:/no/such/sock"), ("\0no such", "@no such")])
def test_a_unix_socket_that_is_not_there(caplog, path: str, name: str) -> None:
    """The line about a Unix socket that cannot be connected to names it once, as the command line does."""
    assert str(Upstream(path=path)) == str(Upstream(path=os.fsencode(path))) == name
    with relay_server(Upstream(path=path)) as server:
        with open_tcp_stream(HOST, server.port, read_timeout=20) as client, pytest.raises(StreamReset):
            client.read()
        until(lambda: caplog.records)
    cause = "(Connection refused|No such file or directory)"
    assert re.fullmatch(f"relaying to {name}: cannot connect to it: {cause}", caplog.records[0].reason)


@pytest.mark.parametrize(
    ("named", "to"),
    [
        ("host and path", {"host": HOST, "service": 1, "path": "sock"}), ("path", {"path": ""}), ("path", {"path": "a\0b"}),
        ("server_name", {"path": "sock", "ssl_ctx": ssl.create_default_context()}),
    ],
    ids=["two kinds", "empty", "NUL", "no name for TLS"],
)
def test_a_unix_socket_that_can_be_none_is_refused(named: str, to: dict) -> None:
    """A path that no socket can have, an upstream of two kinds, and TLS without a name are refused when the handler is made."""
    with pytest.raises((TypeError, ValueError), match=named):
        RelayHandler(Upstream(**to))


@pytest.mark.parametrize(
    ("named", "to"),
    [
        ("host", {"service": 80}), ("service", {"host": HOST}), ("service", {"host": HOST, "service": 70_000}),
        ("^timeout", {"host": HOST, "service": 80, "timeout": 0}), ("read_timeout", {"path": "sock", "read_timeout": "5"}),
        ("write_timeout", {"host": HOST, "service": 80, "write_timeout": -1}),
    ],
    ids=["no host", "no service", "no port", "no time", "text", "negative"],
)
def test_what_no_connection_could_be_made_with_is_refused(named: str, to: dict) -> None:
    """Wrong arguments are errors when the handler is made, not with its first client."""
    with pytest.raises((TypeError, ValueError), match=named):
        RelayHandler(Upstream(**to))


# What is left of connections.

HEADER = b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n"


def work(stream, _address) -> None:
    """An upstream that does what the first byte says."""
    if stream.read(1) == b"r":
        stream.abort()
        return
    while data := stream.read1():
        stream.write(data)


class Customers:
    """Clients of a relay that come one after the other, each in another way."""

    def __init__(self, port: int, greeting: bytes = b"", **options) -> None:
        self._port = port
        self._greeting = greeting
        self._options = options
        self.ways = (self.speak, self.reset, self.be_reset, self.be_cut_off, self.say_nonsense)

    def _dial(self, task: bytes):
        stream = open_tcp_stream(HOST, self._port, timeout=20, read_timeout=20, linger_timeout=20, **self._options)
        stream.write(self._greeting + task)
        return stream

    def speak(self) -> None:
        """Hears its echo, and ends in order."""
        with self._dial(b"e" + 5_000 * b"echo") as stream:
            stream.send_eof()
            assert stream.read() == 5_000 * b"echo"

    def reset(self) -> None:
        """Break the connection in the middle of its words."""
        stream = self._dial(b"echo")
        assert stream.read_exactly(3) == b"cho"
        stream.abort()

    def be_reset(self) -> None:
        """Have its connection broken by the upstream."""
        with self._dial(b"reset") as stream, pytest.raises(StreamReset):
            stream.read()

    def be_cut_off(self) -> None:
        """End the connection below TLS, if there is TLS."""
        stream = self._dial(b"echo")
        assert stream.read_exactly(3) == b"cho"
        with socket.socket(fileno=os.dup(stream.fileno())) as below:
            below.shutdown(socket.SHUT_WR)
        with contextlib.suppress(StreamReset):
            assert stream.read() == b""
        stream.abort()

    def say_nonsense(self) -> None:
        """Say neither a hello nor a header, nor what to do."""
        with gevent.socket.create_connection((HOST, self._port)) as plain, contextlib.suppress(ConnectionResetError):
            plain.sendall(b"nonsense\r\n" * 20)
            plain.shutdown(socket.SHUT_WR)
            received(plain)


class Allocations(ctypes.Structure):
    """What the C library tells of its memory."""

    _fields_ = [(name, ctypes.c_size_t) for name in
                ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]


def in_use() -> tuple[int, int]:
    """The blocks of memory that Python's objects have, and the bytes that all others in this process have."""
    gc.collect()  # which empties Python's free lists, too
    told = c_library.mallinfo2()
    return sys.getallocatedblocks(), told.uordblks + told.hblkhd


c_library = ctypes.CDLL("libc.so.6")
c_library.mallinfo2.restype = Allocations


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "TLS in and out", "PROXY headers in and out"])
def test_connections_leave_nothing(certificates, caplog, kind: str) -> None:
    """Of thousands of connections that ended in all ways nothing is left: no descriptor, no greenlet, no cycle, no memory.

    Measured is the memory in use, in three rounds: what grows with the connections grows in each of them. What a process
    has from the system depends on the most connections that it had at a time: the C library keeps it for the next ones,
    in pieces (35 MiB after 200 at once), and gives it back if it is told to.
    """
    caplog.set_level("CRITICAL")  # pytest keeps what is told
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=certificates.ca)
    server.load_cert_chain(certificates.server.chain, certificates.server.key)
    is_secure, is_proxied = kind == "TLS in and out", kind == "PROXY headers in and out"
    secure = {"ssl_ctx": server} if is_secure else {}
    upstream = SocketStreamServer((HOST, 0), work, proxy_protocol=is_proxied, **secure)
    upstream.start()
    to = Upstream(HOST, upstream.port, client if is_secure else None, "localhost", 2 if is_proxied else None)
    with relay_server(to, proxy_protocol=is_proxied, **secure) as middle:
        options = {"ssl_ctx": client, "tlsext_host_name": "localhost"} if is_secure else {}
        customers = Customers(middle.port, HEADER if is_proxied else b"", **options)

        def come(rounds: int) -> int:
            for _ in range(rounds):
                for way in customers.ways:
                    way()
            until(lambda: not middle.connections and not upstream.connections, 20)
            return len(customers.ways) * rounds

        come(20)
        more = []
        with nothing_left():
            for _ in range(3):
                before = in_use()
                count = come(many(60))
                assert gc.collect() < count / 10  # unreachable ones, in cycles
                after = in_use()
                more.append([now - then for now, then in zip(after, before, strict=True)])
        print(f"for {count} connections more blocks and bytes are in use, three times: {more}")
        blocks, data = map(min, zip(*more, strict=True))
        assert blocks < count / 2
        assert data < 64 * count
    upstream.stop(0)


# The command.


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("outwards", ["plain out", "TLS out"])
@pytest.mark.parametrize("inwards", ["plain in", "TLS in"])
def test_plain_and_tls_on_either_side(certificates, inwards: str, outwards: str) -> None:
    """TLS is ended or begun on either side; 8 MiB come back through `relay` and `serve echo` unharmed, and so do the ends."""
    chain = [certificates.server.chain, certificates.server.key]
    secure_in, secure_out = inwards == "TLS in", outwards == "TLS out"
    sent = random.Random(3).randbytes(8 * MIB)
    context = ssl.create_default_context(cafile=certificates.ca)
    options = {"ssl_ctx": context, "tlsext_host_name": "localhost"} if secure_in else {}
    with (
        serving("echo", *(["--tls", *chain] if secure_out else [])) as echo,
        relaying(
            echo.port,
            *(["--tls-in", *chain] if secure_in else []),
            *(["--tls-out", "--ca", certificates.ca, "--server-name", "localhost"] if secure_out else []),
        ) as middle,
        open_tcp_stream(HOST, middle.port, timeout=20, read_timeout=LIMIT, **options) as stream,
    ):
        def send() -> None:
            stream.write(sent)
            stream.send_eof()

        sending = gevent.spawn(send)
        assert digest(stream.read()) == digest(sent)
        sending.get()


def test_a_certificate_upstream_is_checked(certificates) -> None:
    """With --tls-out a server whose certificate is not accepted is not talked to, unless --insecure says so."""
    wrong = certificates.unknown_ca
    with serving("echo", "--tls", wrong.chain, wrong.key) as echo:
        with relaying(echo.port, "--tls-out", "--ca", certificates.ca) as middle:
            with (
                pytest.raises((StreamReset, ConnectError), match="reset"),  # it may come before the connection is noticed
                open_tcp_stream(HOST, middle.port, timeout=20, read_timeout=20) as stream,
            ):
                stream.read()
            assert "was not accepted" in middle.end().errors
        with relaying(echo.port, "--tls-out", "--insecure") as middle, \
                open_tcp_stream(HOST, middle.port, timeout=20, read_timeout=20) as stream:
            stream.write_line("hello")
            assert stream.read_line() == ("hello", False)


@pytest.mark.parametrize("version", [1, 2])
def test_proxy_headers_go_through_a_chain(version: int) -> None:
    """A relay takes a PROXY header, and passes the client's address on by another one; a second relay does so again."""
    told = "exec:echo $REMOTE_HOST:$REMOTE_PORT"
    with (
        serving(told, "--proxy-protocol") as server,
        relaying(server.port, "--proxy-from", HOST, "--send-proxy", version) as inner,
        relaying(inner.port, "--send-proxy", 3 - version) as outer,
    ):
        with open_tcp_stream(HOST, outer.port, timeout=20, read_timeout=20) as stream:
            host, port = stream.address
            assert stream.read_line() == (f"{host}:{port}", False)
        for destination in (b"198.51.100.2 1234 443", b"unix:/run/front 1234 0"):  # the second one as nginx says its own
            with open_tcp_stream(HOST, inner.port, timeout=20, read_timeout=20) as stream:
                stream.write(b"PROXY TCP4 192.0.2.1 %b\r\n" % destination)
                assert stream.read_line() == ("192.0.2.1:1234", False)


def test_proxy_header_before_tls(certificates) -> None:
    """With --tls-out the header comes first, in plain text, and the handshake follows."""
    told = "exec:echo $REMOTE_HOST:$REMOTE_PORT"
    with (
        serving(told, "--proxy-protocol", "--tls", certificates.server.chain, certificates.server.key) as server,
        relaying(server.port, "--send-proxy", 2, "--tls-out", "--ca", certificates.ca) as middle,
        open_tcp_stream(HOST, middle.port, timeout=20, read_timeout=20) as stream,
    ):
        host, port = stream.address
        assert stream.read_line() == (f"{host}:{port}", False)


def test_curl_through_a_relay_to_a_real_server(nginx) -> None:
    """curl fetches from nginx through `relay`, by the name of a host, ten times on one connection."""
    with relaying(nginx.ports["http"], host="localhost") as middle:
        (nginx.documents / "relayed").write_bytes(bytes(range(256)) * 4096)
        direct = run(curl(), "--silent", "--fail", nginx.url("/relayed"))
        urls = [f"http://{HOST}:{middle.port}/relayed"] * 10
        through = run(curl(), "--silent", "--fail", *urls)
        assert (direct.status, through.status) == (0, 0)
        assert through.output == 10 * direct.output != b""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("--workers", 2)], ids=["one process", "workers"])
@pytest.mark.parametrize("form", ["unix:{0}", "@{1}"])
def test_relaying_to_a_unix_socket(tmp_path, form: str, workers: tuple) -> None:
    """`--to unix:PATH` and `--to @NAME` relay to a Unix socket, with a PROXY header; the line says it as `connect` takes it."""
    to = form.format(tmp_path / "sock", f"geventstreams-relay-{os.getpid()}")
    told = "exec:echo $REMOTE_HOST:$REMOTE_PORT && tr a-z A-Z"
    words = (*GEVENTSTREAMS, "serve", told, "--listen", to, "--proxy-protocol")
    with started(*words) as server:
        assert server.stdout.readline().decode().endswith(f" on {to}\n")
        with serving("--to", to, "--send-proxy", 2, *workers, command="relay", says=f"relaying to {to} ") as middle:
            with open_tcp_stream(HOST, middle.port, timeout=20, read_timeout=20) as stream:
                host, port = stream.address
                assert stream.read_line() == (f"{host}:{port}", False)
                stream.write(b"hello")
                stream.send_eof()
                assert stream.read() == b"HELLO"
            outcome = middle.end()
            assert (outcome.status, "0 killed" in outcome.errors) == (Status.DONE, True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["TCP", "Unix"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(tmp_path, number: signal.Signals, kind: str) -> None:
    """A client that waits for nothing is ended in order; one whose server still speaks is served to the end."""
    program = "exec:read go && echo begun && sleep 0.7 && echo late"
    path = f"unix:{tmp_path}/sock"
    with contextlib.ExitStack() as ending_all:
        if kind == "Unix":
            busy_server = ending_all.enter_context(started(*GEVENTSTREAMS, "serve", program, "--listen", path))
            assert busy_server.stdout.readline()
            middle = ending_all.enter_context(serving("--to", path, command="relay", says="relaying "))
        else:
            middle = ending_all.enter_context(relaying(ending_all.enter_context(serving(program)).port))
        idle = open_tcp_stream(HOST, middle.port, timeout=20, read_timeout=20)
        busy = open_tcp_stream(HOST, middle.port, timeout=20, read_timeout=20)
        busy.write(b"go\n")
        busy.flush()
        assert busy.read_line() == ("begun", False)
        ending = gevent.get_hub().threadpool.spawn(middle.end, number)
        assert busy.read_line() == ("late", False)
        assert (busy.read(), idle.read()) == (b"", b"")
        outcome = ending.get()
        assert outcome.status == Status.DONE
        assert "0 killed" in outcome.errors
        idle.close()
        busy.close()


@pytest.mark.slow
def test_a_gibibyte() -> None:
    """1 GiB goes through `relay` unharmed, by its checksum, in one direction while 16 MiB go in the other."""
    block = random.Random(4).randbytes(MIB)
    back = random.Random(5).randbytes(16 * MIB)
    sums = {}

    def sink(stream, _address) -> None:
        answering = gevent.spawn(stream.write, back)
        sum_in = hashlib.sha256()
        space = memoryview(bytearray(MIB))
        while count := stream.readinto1(space):
            sum_in.update(space[:count])
        sums["in"] = sum_in.hexdigest()
        answering.get()

    server = SocketStreamServer((HOST, 0), sink)
    server.start()
    with relaying(server.port) as middle, open_tcp_stream(HOST, middle.port, timeout=20, read_timeout=LIMIT) as stream:
        sent = hashlib.sha256()

        def send() -> None:
            for number in range(1024):
                piece = number.to_bytes(8, "big") + block[8:]
                stream.write(piece)
                sent.update(piece)
            stream.send_eof()

        sending = gevent.spawn(send)
        assert digest(stream.read()) == digest(back)
        sending.get()
        until(lambda: sums, seconds=20)
        assert sums["in"] == sent.hexdigest()
    server.stop(5)


@pytest.mark.slow
def test_five_thousand_pairs() -> None:
    """5,000 pairs at once each carry their own bytes, and all end in order when the relay is drained."""
    with serving("echo") as echo, relaying(echo.port) as middle:
        clients = [open_tcp_stream(HOST, middle.port, timeout=LIMIT, read_timeout=LIMIT) for _ in range(5_000)]
        for turn in range(2):
            for number, client in enumerate(clients):
                client.write_line(f"{number}.{turn}")
                client.flush()
            for number, client in enumerate(clients):
                assert client.read_line() == (f"{number}.{turn}", False)
        ending = gevent.get_hub().threadpool.spawn(middle.end)
        for client in clients:
            assert client.read() == b""
            client.close()
        outcome = ending.get()
        assert (outcome.status, outcome.errors) == (Status.DONE, "drained: 0 finished, 5000 idle, 0 killed\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "required: --to"),
        (["--to", "localhost"], "the port is missing: localhost:PORT"),
        (["--to", "::1:80"], "'::1:80' is neither"),
        (["--to", "localhost:0"], "'0' is not a port"),
        (["--to", "localhost:70000"], "'70000' is not a port"),
        (["--to", ":80"], "'' is neither"),
        (["--to", "localhost:no-such"], "'no-such' is neither a port nor the name of a service"),
        (["--to", "unix:"], "the path must not be empty"),
        (["--to", "unix:/run/app.sock", "--tls-out"], "TLS over a Unix socket needs --server-name"),
        (["--to", "localhost:80", "--drain", "-1"], "'-1' is neither 0 nor a positive number of seconds"),
        (["--to", "a b:80"], "neither a host name nor an IP address"),
        (["--to", "localhost:80", "--send-proxy", "3"], "invalid choice: "),
        (["--to", "localhost:80", "--ca", "/etc/hostname"], "--ca needs --tls-out"),
        (["--to", "localhost:80", "--client-ca", "/etc/hostname"], "--client-ca needs --tls-in"),
        (["--to", "localhost:80", "--tls-in", "/etc/hostname", "/no/such/key"], "cannot read '/no/such/key'"),
        (["--to", "localhost:80", "--tls-in", "/etc/hostname", "/etc/hostname"], "no certificate with its key in"),
    ],
)
def test_bad_options_are_one_line(words: list[str], line: str) -> None:
    """What is wrong with an option is one line, and status 2."""
    assert line in refused("relay", *words)
