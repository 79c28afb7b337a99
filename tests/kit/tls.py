"""What the tests of TLS share: contexts of each version, pairs of streams, a peer that speaks TLS by hand, a recording middle man."""

# Invariants: everything that is made here is closed after the test (`pairs`), so a test may leave it in any state.

import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
import pytest
from servers.certificates import Certificate, Certificates

from geventstreams import SocketStream
from kit.conditions import until
from kit.pairs import Pairs

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
SIDES = ("client", "server")
NAME = "localhost"
CHUNK = 65536


def other(side: str) -> str:
    """The side of the peer."""
    return "server" if side == "client" else "client"


class TLSKit:
    """Makes contexts and connected ends of one version of TLS."""

    def __init__(self, certificates: Certificates, pairs: Pairs, version: str) -> None:
        self.certificates = certificates
        self.pairs = pairs
        self.version = version

    def context(self, side: str, certificate: Certificate | None = None, **settings: Any) -> ssl.SSLContext:
        """A context for a side: the server's with its certificate, the client's trusting the authority."""
        if side == "server":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            chosen = certificate or self.certificates.server
            context.load_cert_chain(chosen.chain, chosen.key)
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(self.certificates.ca)
            if certificate is not None:
                context.load_cert_chain(certificate.chain, certificate.key)
        context.minimum_version = context.maximum_version = VERSIONS[self.version]
        for name, value in settings.items():
            setattr(context, name, value)
        return context

    def asking_context(self) -> ssl.SSLContext:
        """A server's context that insists on a client's certificate of the authority."""
        context = self.context("server", verify_mode=ssl.CERT_REQUIRED)
        context.load_verify_locations(self.certificates.ca)
        return context

    def arguments(self, side: str, **options: Any) -> dict[str, Any]:
        """The arguments that make a stream this side."""
        made: dict[str, Any] = {"ssl_ctx": options.pop("ssl_ctx", None) or self.context(side), "ssl_side": side}
        if side == "client":
            made["tlsext_host_name"] = NAME
        return {**made, **options}

    def secure(self, plain: Any, side: str, **options: Any) -> SocketStream:
        """A stream that is this side of TLS on a socket; returns when its handshake is complete."""
        stream: SocketStream = self.pairs.keep(SocketStream(plain, **self.arguments(side, **options)))
        return stream

    def streams(self, side: str = "client", *, buffers: int | None = None, peer: dict[str, Any] | None = None,
                **options: Any) -> tuple[SocketStream, SocketStream]:
        """A stream of this side with the given options, and one of the other side at its other end."""
        near, far = self.pairs.sockets("tcp", buffers)
        shaking = gevent.spawn(self.secure, far, other(side), **(peer or {}))
        stream = self.secure(near, side, **options)
        return stream, shaking.get()

    def stream(self, side: str = "client", *, buffers: int | None = None, **options: Any) -> tuple[SocketStream, "HandMade"]:
        """A stream of this side, and a peer that speaks TLS by hand."""
        near, far = self.pairs.sockets("tcp", buffers)
        peer = HandMade(self.pairs.far(far), self.context(other(side)), other(side))
        shaking = gevent.spawn(peer.shake_hands)
        stream = self.secure(near, side, **options)
        shaking.get()
        return stream, peer

    def maker(self, side: str) -> Callable[[], tuple[Any, Any]]:
        """Make pairs of streams, for the test kit."""
        return lambda: self.streams(side)


class TLSPairs(Pairs):
    """Makes connected pairs under TLS in the place of plain ones."""

    def __init__(self, certificates: Certificates) -> None:
        super().__init__()
        self._certificates = certificates

    def streams(self, kind: str = "TLSv1.3", *, buffers: int | None = None, **options: Any) -> tuple[Any, Any]:
        """A client with the given options, and a server at its other end."""
        return TLSKit(self._certificates, self, kind).streams("client", buffers=buffers, **options)


class HandMade:
    """One side of TLS, step by step: what is encrypted, what is sent, what is received and when is the test's to say."""

    def __init__(self, plain: Any, context: ssl.SSLContext, side: str) -> None:
        self.socket = plain
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        name = NAME if side == "client" else None
        self.object = context.wrap_bio(self._incoming, self._outgoing, side == "server", name)

    def shake_hands(self) -> None:
        """The whole handshake; ssl.SSLError when it fails, with the alert sent."""
        self._until_done(self.object.do_handshake)

    def _until_done(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self.send(self._outgoing.read())
                self._receive_some()
            except ssl.SSLError:
                self.send(self._outgoing.read())
                raise
            else:
                self.send(self._outgoing.read())
                return done

    def _receive_some(self) -> None:
        data = self.socket.recv(CHUNK)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def encrypted(self, data: bytes) -> bytes:
        """Records of plain text, not sent."""
        at = 0
        while at < len(data):
            at += self.object.write(data[at:])
        return self._outgoing.read()

    def write(self, data: bytes) -> None:
        """Send plain text."""
        self.send(self.encrypted(data))

    def close_notify(self) -> bytes:
        """close_notify, not sent. Not before what has arrived was read."""
        with contextlib.suppress(ssl.SSLError):
            self.object.unwrap()
        return self._outgoing.read()

    def read(self, size: int) -> bytes:
        """Plain text as it comes; b"" after close_notify."""
        try:
            said = self._until_done(lambda: self.object.read(size))
        except ssl.SSLZeroReturnError:
            return b""
        assert isinstance(said, bytes)
        return said

    def read_exactly(self, count: int) -> bytes:
        """So many bytes of plain text."""
        got = bytearray()
        while len(got) < count:
            piece = self.read(count - len(got))
            assert piece, f"the end after {len(got)} of {count} bytes"
            got += piece
        return bytes(got)

    def end(self) -> None:
        """End the connection's half without a word about TLS."""
        self.socket.shutdown(gevent.socket.SHUT_WR)

    def fail(self) -> None:
        """Receive a record that cannot be decrypted, and send the alert that OpenSSL answers with."""
        self._incoming.write(b"\x17\x03\x03\x00\x20" + b"!" * 32)
        with contextlib.suppress(ssl.SSLError):
            self.object.read(1)
        self.send(self._outgoing.read())

    def hello(self) -> bytes:
        """The first flight of a client, not sent."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.object.do_handshake()
        return self._outgoing.read()

    def read_plain(self, count: int) -> bytes:
        """So many bytes that follow TLS on the connection."""
        got = self._incoming.read()
        while len(got) < count:
            got += self.socket.recv(count - len(got))
        return got

    def close(self) -> None:
        self.socket.close()


class Interrupt(BaseException):
    """What ends a call here."""


class Struck(ssl.SSLObject):
    """An SSL object in whose calls errors strike: `strikes` are those before which calls, or behind which, in their order."""

    strikes: tuple[str, ...] = ()
    on_strike: Callable[[], object] | None = None
    """What a signal handler does at the last strike, before it raises, if it raises."""
    raises = True

    def do_handshake(self) -> None:
        self._strike("before do_handshake")
        super().do_handshake()
        self._strike("after do_handshake")

    def _strike(self, moment: str) -> None:
        if self.strikes[:1] == (moment,):
            self.strikes = self.strikes[1:]
            if self.on_strike is not None and not self.strikes:
                self.on_strike()
            if self.raises:
                raise Interrupt

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002  # its name in the standard library
        self._strike("before read")
        try:
            return super().read(len, buffer)
        finally:
            self._strike("after read")  # in the place of an error, too

    def pending(self) -> int:
        self._strike("before pending")
        return super().pending()

    def write(self, data: Any) -> int:
        self._strike("before write")
        count = super().write(data)
        self._strike("after write")
        return count


class Wire:
    """A middle man between two sockets: it passes bytes on, and records them in `there` (from the first socket) and `back`."""

    def __init__(self, pairs: Pairs) -> None:
        self.near, first = pairs.sockets()
        self.far, second = pairs.sockets()
        self.there = bytearray()
        self.back = bytearray()
        ends = pairs.far(first), pairs.far(second)
        self._pumps = [gevent.spawn(self._pump, *ends, self.there), gevent.spawn(self._pump, *reversed(ends), self.back)]

    def _pump(self, source: Any, target: Any, record: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                record += data
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(gevent.socket.SHUT_WR)

    def wait_until_quiet(self) -> None:
        """Return when both directions have ended."""
        until(lambda: all(pump.ready() for pump in self._pumps), what="the end of both directions")


def write_forever(stream: SocketStream) -> None:
    """Write until an error ends it."""
    while True:
        stream.sendall(b"y" * 100_000)
        gevent.sleep(0.001)


def read_forever(stream: SocketStream, got: bytearray) -> None:
    """Read until an error ends it."""
    while True:
        got += stream.read(1000)


def records(data: bytes | bytearray) -> list[tuple[int, int]]:
    """Type and length of the TLS records that bytes are made of; the last may be cut off. AssertionError for anything else."""
    found = []
    at = 0
    while at < len(data):
        head = data[at : at + 5]
        assert 20 <= head[0] <= 23, f"no record at byte {at}: {bytes(data[at : at + 30])!r}"
        assert len(head) < 2 or head[1] == 3, f"no record at byte {at}: {bytes(data[at : at + 30])!r}"
        if len(head) < 5:
            break
        length = 256 * head[3] + head[4]
        found.append((head[0], length))
        at += 5 + length
    return found


@pytest.fixture(params=VERSIONS)
def tls(request: pytest.FixtureRequest, certificates: Certificates, pairs: Pairs) -> TLSKit:
    """The kit of each version in turn."""
    return TLSKit(certificates, pairs, str(request.param))


@pytest.fixture
def tls13(certificates: Certificates, pairs: Pairs) -> TLSKit:
    """The kit of TLS 1.3."""
    return TLSKit(certificates, pairs, "TLSv1.3")


@pytest.fixture
def tls12(certificates: Certificates, pairs: Pairs) -> TLSKit:
    """The kit of TLS 1.2."""
    return TLSKit(certificates, pairs, "TLSv1.2")


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    """Each side of TLS in turn."""
    return str(request.param)
