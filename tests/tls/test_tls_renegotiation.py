"""TLS 1.2 shakes hands again: what a read and a write do within such a handshake, and behind one that chose another cipher."""

import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import gevent.select
import gevent.socket
import pytest
from kit.conditions import until
from kit.tls import CHUNK, Struck, TLSKit, other
from OpenSSL import SSL

from geventstreams import ReadTimeout, SocketStream, StreamClosed, StreamTruncated, TCPEvent, TLSError, tcp_connect

NO_RESUMPTION, CLIENT_MAY = 1 << 16, 1 << 8
"""SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION and SSL_OP_ALLOW_CLIENT_RENEGOTIATION, for which Python has no names."""
AMOUNT = 1 << 20


class Renegotiator:
    """A side of TLS 1.2 that can shake hands again, which Python's own `ssl` cannot."""

    def __init__(self, kit: TLSKit, plain: Any, side: str, cipher: str = "ECDHE+AESGCM") -> None:
        self.socket = plain
        self._certificates = kit.certificates
        self._contexts = [self._context(cipher)]
        self.connection = SSL.Connection(self._contexts[0])
        if side == "server":
            self.connection.set_accept_state()
        else:
            self.connection.set_connect_state()
        self.got = bytearray()

    def _context(self, cipher: str) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(NO_RESUMPTION)
        context.use_certificate_chain_file(str(self._certificates.server.chain))
        context.use_privatekey_file(str(self._certificates.server.key))
        context.set_cipher_list(cipher.encode())
        return context

    def send(self) -> None:
        """Send what OpenSSL has written."""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                self.socket.sendall(self.connection.bio_read(CHUNK))

    def _go_on(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                done = step()
            except SSL.WantReadError:
                self.send()
                data = self.socket.recv(CHUNK)
                assert data, "the stream has ended the connection"
                self.connection.bio_write(data)
            else:
                self.send()
                return done

    def shake_hands(self) -> None:
        """The first handshake."""
        self._go_on(self.connection.do_handshake)

    def begin(self, cipher: str = "") -> None:
        """Ask for another handshake, with another cipher if one is named."""
        if cipher:
            self._contexts.append(self._context(cipher))
            self.connection.set_context(self._contexts[-1])
        if not self.connection.renegotiate():
            pytest.skip("this OpenSSL does not shake hands again")
        with contextlib.suppress(SSL.WantReadError):
            self.connection.do_handshake()
        self.send()

    def await_answer(self) -> None:
        """Wait until the stream has answered."""
        until(lambda: self.socket in gevent.select.select([self.socket], [], [], 0)[0], what="the answer to the request")

    def write(self, data: bytes) -> None:
        """Send plain text."""
        self.connection.sendall(data)
        self.send()

    def read(self, count: int) -> None:
        """Receive until `got` has so many bytes of plain text, and shake hands where that is due."""
        while len(self.got) < count:
            self.got += self._go_on(lambda: self.connection.recv(CHUNK))


class Counting(Struck):
    """An SSL object that counts how often it was asked to write."""

    writes = 0

    def write(self, data: Any) -> int:
        self.writes += 1
        return super().write(data)


Ends = Callable[..., tuple[SocketStream, Renegotiator]]


@pytest.fixture
def ends(tls12: TLSKit) -> Ends:
    """Make a stream of a side, and a peer that can shake hands again; skip where OpenSSL does not."""

    def make(side: str, **options: Any) -> tuple[SocketStream, Renegotiator]:
        near, far = tls12.pairs.sockets()
        context = tls12.context(side)
        context.options |= CLIENT_MAY
        context.options &= ~ssl.OP_NO_RENEGOTIATION
        context.sslobject_class = Counting
        peer = Renegotiator(tls12, tls12.pairs.far(far), other(side))
        shaking = gevent.spawn(peer.shake_hands)
        stream = tls12.secure(near, side, ssl_ctx=context, **options)
        shaking.get()
        return stream, peer

    return make


def shaking_again(ends: Ends, side: str = "client", **options: Any) -> tuple[SocketStream, Renegotiator]:
    """A stream that has answered the peer's request for another handshake, and the peer, which does not go on by itself."""
    stream, peer = ends(side, **options)
    peer.begin()
    assert not stream.listen()
    return stream, peer


def shaking_again_for_a_writer(ends: Ends) -> tuple[SocketStream, Renegotiator, "gevent.Greenlet[..., None]"]:
    """As above, and a greenlet whose write waits for the handshake."""
    stream, peer = shaking_again(ends)
    writing = gevent.spawn(stream.sendall, b"x" * AMOUNT)
    gevent.idle()
    return stream, peer, writing


def test_a_write_completes_a_handshake_that_came_again(ends: Ends, side: str) -> None:
    """A write of more than the system takes, in a stream that no greenlet reads, itself receives what the peer's new handshake needs."""
    stream, peer = shaking_again(ends, side)
    reading = gevent.spawn(peer.read, AMOUNT)
    stream.sendall(b"x" * AMOUNT)
    reading.get()
    assert peer.got == b"x" * AMOUNT
    assert peer.connection.total_renegotiations() == 1


def test_a_write_within_a_handshake_leaves_the_text_to_the_reader(ends: Ends) -> None:
    """What the server sent behind its request for a handshake is read after a write had to get past it, and the write does not spin."""
    stream, peer = shaking_again(ends)
    peer.write(b"in between")
    reading = gevent.spawn(peer.read, AMOUNT)
    stream.sendall(b"x" * AMOUNT)
    reading.get()
    peer.write(b"behind")
    assert stream.read(16) == b"in betweenbehind"


def test_a_write_within_a_handshake_wakes_the_reader(ends: Ends) -> None:
    """A reader that waits gets what a write received in its place, though nothing else arrives."""
    stream, peer = ends("client", read_timeout=5)
    reader = gevent.spawn(stream.read, 10)
    peer.begin()
    peer.await_answer()
    peer.write(b"in between")
    stream.write(b"x" * 100)
    stream.force_output()
    assert reader.get() == b"in between"
    peer.read(100)


def test_output_that_waits_for_a_handshake_keeps_nothing_busy(ends: Ends) -> None:
    """While a read waits, and output for the rest of a handshake, the hub sleeps; what completes the handshake sends the output."""
    stream, peer = shaking_again(ends, "client", read_timeout=0.2)
    stream.write(b"x" * 100)
    with pytest.raises(ReadTimeout):
        stream.read(1)
    assert isinstance(stream.ssl, Counting)
    assert 0 < stream.ssl.writes < 10
    peer.read(100)  # by what the hub sends
    assert bytes(peer.got) == b"x" * 100
    assert stream.unsent == 0


def test_a_read_that_completes_a_handshake_wakes_the_writer(ends: Ends) -> None:
    """A write that waits for a handshake goes on when a read has received the rest of it, whatever the reader does then."""
    stream, peer, writing = shaking_again_for_a_writer(ends)
    while peer.connection.renegotiate_pending():
        peer.connection.bio_write(peer.socket.recv(CHUNK))
        with contextlib.suppress(SSL.WantReadError):
            peer.connection.recv(CHUNK)
        peer.send()
    assert not stream.listen()  # takes what the handshake still lacks
    with gevent.Timeout(10):
        peer.read(AMOUNT)
    writing.get()


@pytest.mark.parametrize("truncation", [False, True])
def test_a_write_ends_with_the_connection_that_ends_within_a_handshake(ends: Ends, side: str, truncation: bool) -> None:
    """Where the peer asks for a handshake and ends the connection, a write raises TLSError at once, another one too, and a read its end."""
    stream, peer = shaking_again(ends, side, allow_truncation=truncation)
    peer.socket.shutdown(gevent.socket.SHUT_WR)
    for _ in range(2):
        with pytest.raises(TLSError, match="within the TLS handshake"):
            stream.sendall(b"x" * AMOUNT)
    if truncation:
        assert stream.read() == b""
    else:
        with pytest.raises(StreamTruncated):
            stream.read()
    stream.abort()


def test_a_write_takes_only_so_much_from_a_peer_that_does_not_complete_its_handshake(ends: Ends) -> None:
    """A server that asks for a handshake, and sends text instead, ends a write by TLSError before it has filled the client's memory."""
    stream, peer = shaking_again(ends)

    sent = 0

    def flood() -> None:
        nonlocal sent
        with contextlib.suppress(OSError):
            while True:
                peer.write(b"y" * CHUNK)
                sent += CHUNK

    flooding = gevent.spawn(flood)
    with pytest.raises(TLSError, match="ever more within a TLS handshake"):
        stream.sendall(b"x" * AMOUNT)
    stream.abort()
    flooding.get()
    assert 16 * AMOUNT < sent < 40 * AMOUNT


def test_another_handshake_may_choose_another_cipher(ends: Ends, side: str) -> None:
    """What is encrypted by another cipher, which a new handshake chose, is read whole, and so is what we send."""
    stream, peer = ends(side, read_timeout=10)

    def chosen() -> str:
        assert stream.ssl is not None
        cipher = stream.ssl.cipher()
        assert cipher is not None
        return cipher[0]

    assert "GCM" in chosen()
    for cipher, name in (("ECDHE+CHACHA20", "CHACHA20"), ("ECDHE+AES128+SHA256:!AESGCM", "AES128-SHA256"), ("ECDHE+AESGCM", "GCM")):
        peer.begin(cipher)
        peer.got.clear()
        reading = gevent.spawn(peer.read, 5)
        assert not stream.listen()
        stream.sendall(b"ready")
        reading.get()
        assert name in chosen()
        for length in (1, 15, 16, 17, 100, 256, 257, 20_000):
            peer.write(b"z" * length)
            assert stream.read(length) == b"z" * length
        peer.got.clear()
        stream.sendall(b"a" * 20_000)
        peer.read(20_000)
        assert peer.got == b"a" * 20_000


def test_a_write_goes_on_behind_a_record_that_was_read_in_part(ends: Ends) -> None:
    """Where a read has left most of a record, and a handshake is in progress, a write is made, and the rest is read behind it."""
    stream, peer = ends("client", read_timeout=10)
    space = bytearray(10)
    peer.begin()
    peer.write(bytes(range(250)) * 60)
    assert stream.readinto(space) == 10
    reading = gevent.spawn(peer.read, AMOUNT)
    stream.sendall(b"x" * AMOUNT)
    reading.get()
    assert bytes(space) + stream.read(14_990) == bytes(range(250)) * 60


def test_a_read_that_finds_tls_broken_wakes_the_writer(ends: Ends) -> None:
    """A write that waits for a handshake ends with the error that a read has found, though the peer keeps the connection."""
    stream, peer, writing = shaking_again_for_a_writer(ends)
    peer.socket.sendall(b"\x17\x03\x03\x00\x30" + bytes(48))
    with pytest.raises(TLSError):
        stream.read(1)  # the hub does not come round before
    with gevent.Timeout(5), pytest.raises(TLSError):
        writing.get()


@pytest.mark.parametrize("strikes", range(1, 4))
def test_a_stream_that_is_closed_while_a_write_looks_for_a_handshake_ends_the_write(ends: Ends, strikes: int) -> None:
    """A signal handler that closes the stream within a write, when the peer's text is decrypted for the reader, ends the write."""
    stream, peer = shaking_again(ends)
    for _ in range(4):
        peer.write(b"in between")
    assert isinstance(stream.ssl, Counting)
    stream.ssl.on_strike, stream.ssl.raises, stream.ssl.strikes = stream.abort, False, ("after read",) * strikes
    with pytest.raises(StreamClosed):
        stream.sendall(b"x" * AMOUNT)


@pytest.mark.parametrize("limits", [(0.1, None), (0.1, 30), (None, 0.1), (30, 0.1)])
def test_a_connection_that_calls_back_keeps_both_timeouts_within_a_handshake(tls12: TLSKit, limits: tuple[Any, Any]) -> None:
    """Where output waits for a handshake that the peer does not continue, the read timeout ends the connection, or the write timeout."""
    listener = tls12.pairs.keep(gevent.socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    context = tls12.context("client")
    context.options &= ~ssl.OP_NO_RENEGOTIATION
    events: list[TCPEvent] = []
    connected = gevent.event.Event()
    client = tls12.pairs.keep(tcp_connect(
        "127.0.0.1", listener.getsockname()[1], None, events.append, connect_cb=lambda _socket: connected.set(), ssl_ctx=context,
        tlsext_host_name="localhost", read_timeout=limits[0], write_timeout=limits[1]))
    peer = Renegotiator(tls12, tls12.pairs.far(listener.accept()[0]), "server")
    peer.shake_hands()
    connected.wait()
    peer.begin()
    peer.await_answer()
    client.write(b"x" * 100)
    until(lambda: events, what="a timeout")
    assert ("nothing arrived" if limits[0] == 0.1 else "took nothing") in str(events[0])
