"""TLS attached to streams that run, and detached from them: nothing is lost, injected, or sent in plain text."""

import contextlib
import errno
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import pytest
from kit.conditions import until
from kit.leftovers import open_descriptor
from kit.network import reset
from kit.tls import SIDES, HandMade, TLSKit, Wire, other, records

from geventstreams import (
    HandshakeTimeout,
    SocketStream,
    StreamBusy,
    StreamClosed,
    StreamError,
    TLSError,
    WriteTimeout,
    wait_for_input_streams,
)
from geventstreams._streams.socket_stream import UpgradableStream
from geventstreams.errors import in_bytes
from geventstreams.testing import FailingTransport, VirtualClock, memory_pair
from geventstreams.testing.claims import outcome


def attached(kit: TLSKit, side: str, **options: Any) -> tuple[SocketStream, SocketStream]:
    """Two streams that were plain at first."""
    stream, peer = kit.pairs.streams()
    shaking = gevent.spawn(peer.attach_ssl, **kit.arguments(other(side)))
    stream.attach_ssl(**kit.arguments(side), **options)
    shaking.get()
    return stream, peer


# Attaching.


def test_a_dialogue_goes_on_under_tls(tls: TLSKit, side: str) -> None:
    """Lines in plain text, then STARTTLS, then lines under TLS, with the same streams."""
    stream, peer = tls.pairs.streams()
    peer.write(b"220 ready\r\n")
    peer.flush()
    assert stream.readline() == b"220 ready\r\n"
    stream.write(b"STARTTLS\r\n")
    stream.flush()
    assert peer.readline() == b"STARTTLS\r\n"
    shaking = gevent.spawn(peer.attach_ssl, **tls.arguments(other(side)))
    assert stream.attach_ssl(**tls.arguments(side)) is None
    shaking.get()
    stream.write(b"EHLO\r\n")
    stream.flush()
    assert peer.readline() == b"EHLO\r\n"
    assert stream.ssl.version() == peer.ssl.version() == tls.version


def test_pending_output_leaves_in_plain_text_first(tls: TLSKit) -> None:
    """What was written before attach_ssl is sent in plain text before the hello."""
    near, far = tls.pairs.sockets()
    server = tls.pairs.keep(SocketStream(near))
    server.write(b"220 go ahead\r\n")
    attaching = gevent.spawn(server.attach_ssl, **tls.arguments("server"))
    plain = tls.pairs.far(far)
    assert plain.recv(100) == b"220 go ahead\r\n"
    peer = HandMade(plain, tls.context("client"), "client")
    peer.shake_hands()
    attaching.get()


def test_a_flush_that_times_out_changes_nothing(tls13: TLSKit) -> None:
    """Where the pending output cannot be sent, attach_ssl is a WriteTimeout, and the stream stays as it was, in plain text."""
    stream, far = tls13.pairs.stream(buffers=16384, write_timeout=0.1)
    with pytest.raises(WriteTimeout):
        stream.sendall(b"x" * 3_000_000)
    with pytest.raises(WriteTimeout):
        stream.attach_ssl(**tls13.arguments("server"))
    assert stream.ssl is None
    assert stream.unsent
    flushing = gevent.spawn(stream.flush)
    got = bytearray()
    while len(got) < 3_000_000:
        got += far.recv(65536)
    flushing.get()
    assert got == b"x" * 3_000_000


@pytest.mark.parametrize("attack", [b"250 INJECTED\r\n", b"\x16\x03\x01\x00\x05hello", b"x"])
def test_injected_plain_text_is_refused(tls: TLSKit, side: str, attack: bytes) -> None:
    """Bytes that came in one segment with the answer to STARTTLS are a TLSError; the stream is closed and never returns them."""
    stream, far = tls.pairs.stream()
    number = stream.fileno()
    far.sendall(b"220 go\r\n" + attack)
    assert stream.readline() == b"220 go\r\n"
    until(stream.listen, what="the arrival")
    with pytest.raises(TLSError, match=f"{in_bytes(len(attack))} from "):
        stream.attach_ssl(**tls.arguments(side))
    assert stream.closed
    assert not open_descriptor(number)
    with pytest.raises(StreamClosed):
        stream.read(1)
    assert far.recv(100) == b""


def test_plain_text_behind_our_back_is_no_handshake(tls: TLSKit, side: str) -> None:
    """Plain text that is still with the system when attach_ssl begins fails the handshake, and is never returned."""
    stream, far = tls.pairs.stream()
    far.sendall(b"250 INJECTED\r\n")
    until(lambda: wait_for_input_streams([stream], timeout=0), what="the arrival")
    with pytest.raises(TLSError) as caught:
        stream.attach_ssl(**tls.arguments(side))
    assert caught.value.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")
    assert stream.closed


def test_a_hello_behind_a_proxy_header_is_taken(tls: TLSKit) -> None:
    """With prefetched="handshake" a PROXY header and a client's hello in one segment work."""
    near, far = tls.pairs.sockets()
    peer = HandMade(tls.pairs.far(far), tls.context("client"), "client")
    peer.send(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + peer.hello())
    server = tls.pairs.keep(SocketStream(near))
    assert server.readline().startswith(b"PROXY")
    assert server.buffered > 100
    shaking = gevent.spawn(peer.shake_hands)
    server.attach_ssl(**tls.arguments("server"), prefetched="handshake")
    shaking.get()
    assert server.buffered == 0
    peer.write(b"hello\n")
    assert server.readline() == b"hello\n"


def test_every_cut_of_a_hello_behind_a_header_is_taken(tls13: TLSKit) -> None:
    """Wherever the segment ends, inside the hello too, the handshake with prefetched="handshake" is the same."""
    for held in (0, 1, 4, 5, 6, 100, 200):
        near, far = tls13.pairs.sockets()
        peer = HandMade(tls13.pairs.far(far), tls13.context("client"), "client")
        hello = peer.hello()
        peer.send(b"header\n" + hello[:held])
        server = tls13.pairs.keep(SocketStream(near))
        assert server.readline() == b"header\n"
        until(lambda server=server, held=held: server.listen() or not held, what="the arrival")
        attaching = gevent.spawn(server.attach_ssl, **tls13.arguments("server"), prefetched="handshake")
        peer.send(hello[held:])
        peer.shake_hands()
        attaching.get()


def test_prefetched_is_checked(tls13: TLSKit) -> None:
    """Any other word for `prefetched` is a ValueError, and changes nothing."""
    stream, peer = tls13.pairs.streams()
    with pytest.raises(ValueError, match="drop"):
        stream.attach_ssl(**tls13.arguments("server"), prefetched="drop")
    stream.sendall(b"x")
    assert peer.read(1) == b"x"


def test_attaching_twice_is_refused(tls: TLSKit, side: str) -> None:
    """A second attach_ssl is a TLSError, and the TLS that is there goes on."""
    stream, peer = attached(tls, side)
    for again in SIDES:
        with pytest.raises(TLSError, match="attached already"):
            stream.attach_ssl(**tls.arguments(again))
    stream.sendall(b"on\n")
    assert peer.readline() == b"on\n"


def test_attaching_needs_a_socket(tls13: TLSKit) -> None:
    """A stream whose socket was taken away cannot have TLS; it stays open."""
    stream, _ = tls13.pairs.streams()
    stream.replace_socket(None).close()
    with pytest.raises(StreamError, match="socket"):
        stream.attach_ssl(**tls13.arguments("client"))
    assert not stream.closed


def test_both_is_attached_without_a_handshake(tls: TLSKit, side: str) -> None:
    """attach_ssl for both sides returns at once and sends nothing; `handshake` decides later."""
    stream, peer = tls.pairs.streams()
    stream.attach_ssl(tls.context(side), "both", tlsext_host_name="localhost")
    with pytest.raises(TLSError, match="handshake"):
        stream.write(b"x")
    shaking = gevent.spawn(peer.attach_ssl, **tls.arguments(other(side)))
    assert stream.handshake(side=side, timeout=5)
    shaking.get()
    stream.sendall(b"x")
    assert peer.read(1) == b"x"


SHAKING: dict[str, Callable[[TLSKit, Any, str], Any]] = {
    "constructor": lambda tls, near, side: SocketStream(near, **tls.arguments(side), handshake_timeout=0.2),
    "attach_ssl": lambda tls, near, side: SocketStream(near).attach_ssl(**tls.arguments(side), handshake_timeout=0.2),
    "handshake": lambda tls, near, side: SocketStream(near, **{**tls.arguments(side), "ssl_side": "both"}).handshake(0.2, side),
}


@pytest.mark.parametrize("role", SHAKING)
def test_a_silent_peer_is_a_handshake_timeout(virtual_clock: VirtualClock, tls: TLSKit, side: str, role: str) -> None:
    """A peer that says nothing ends the handshake after the limit, never before it and not much after; the stream is closed."""
    near, _ = tls.pairs.sockets()
    number = near.fileno()
    began = virtual_clock.now
    with pytest.raises(HandshakeTimeout):
        SHAKING[role](tls, near, side)
    assert virtual_clock.now - began == pytest.approx(0.2)
    assert not open_descriptor(number)


def test_a_dripping_peer_is_a_handshake_timeout(virtual_clock: VirtualClock, tls: TLSKit) -> None:
    """The limit is for the whole handshake: a peer that sends a byte of its hello now and then does not prolong it."""
    near, far = tls.pairs.sockets()
    peer = HandMade(tls.pairs.far(far), tls.context("client"), "client")
    hello = peer.hello()

    def drip() -> None:
        with contextlib.suppress(OSError):
            for byte in hello:
                peer.send(bytes((byte,)))
                gevent.sleep(0.02)

    dripping = gevent.spawn(drip)
    began = virtual_clock.now
    with pytest.raises(HandshakeTimeout, match=r"0\.2 s"):
        SocketStream(near, **tls.arguments("server"), handshake_timeout=0.2)
    assert virtual_clock.now - began == pytest.approx(0.2)
    assert near.fileno() == -1
    dripping.get()


def test_a_peer_that_takes_nothing_is_a_handshake_timeout(virtual_clock: VirtualClock, tls13: TLSKit) -> None:
    """The limit holds for sending, too: a peer that reads nothing of a long certificate chain ends the handshake in time."""
    near, far = tls13.pairs.sockets(buffers=2048)
    peer = HandMade(tls13.pairs.far(far), tls13.context("client"), "client")
    peer.send(peer.hello())
    context = tls13.context("server")
    authorities = tls13.certificates.ca.read_text()
    chain = tls13.certificates.server.chain.read_text() + authorities * 200
    path = tls13.certificates.ca.parent / "long-chain.pem"
    path.write_text(chain)
    context.load_cert_chain(path, tls13.certificates.server.key)
    began = virtual_clock.now
    with pytest.raises(HandshakeTimeout):
        SocketStream(near, ssl_ctx=context, handshake_timeout=0.2)
    assert virtual_clock.now - began == pytest.approx(0.2)


def test_an_error_that_ends_the_handshake_from_outside(tls13: TLSKit, side: str) -> None:
    """An OSError that a `gevent.Timeout` raises in the handshake's wait comes out itself."""
    stream, _peer = tls13.pairs.streams()
    mine = TimeoutError("mine")
    with pytest.raises(TimeoutError) as caught, gevent.Timeout(0.01, mine):
        stream.attach_ssl(**tls13.arguments(side))
    assert caught.value is mine
    assert stream.closed


def test_a_system_call_that_fails_in_the_handshake(tls13: TLSKit, side: str) -> None:
    """An error of the system in a handshake is a StreamError that names the peer, and closes the stream."""
    near, _far = memory_pair()
    stream = UpgradableStream(FailingTransport(near, 1, OSError(errno.ENOBUFS, "no memory")))
    with pytest.raises(StreamError, match=f"the TLS handshake with {near.peer}: no memory") as caught:
        stream.attach_ssl(**tls13.arguments(side))
    assert caught.value.errno == errno.ENOBUFS
    assert caught.value.stream is stream
    assert stream.closed


# Detaching.


def test_both_go_on_in_plain_text(tls: TLSKit, side: str) -> None:
    """After detach_ssl at both ends lines go on in plain text, and the wire shows them."""
    wire = Wire(tls.pairs)
    shaking = gevent.spawn(tls.secure, wire.far, other(side))
    stream = tls.secure(wire.near, side)
    peer = shaking.get()
    stream.write(b"last secret\n")
    parting = gevent.spawn(peer.detach_ssl)
    assert stream.detach_ssl() is None
    parting.get()
    assert stream.ssl is None
    assert stream.ssl_ctx is None
    stream.sendall(b"in the open\n")
    assert peer.readline() == b"last secret\n"
    assert peer.readline() == b"in the open\n"
    peer.sendall(b"here too\n")
    assert stream.readline() == b"here too\n"
    assert b"secret" not in wire.there
    assert wire.there.endswith(b"in the open\n")
    assert wire.back.endswith(b"here too\n")


def test_what_came_encrypted_and_behind_it_is_kept(tls: TLSKit, side: str) -> None:
    """Bytes under TLS, the peer's close_notify and plain text in one segment: after detach_ssl all are there, in order, and counted."""
    stream, peer = tls.stream(side)
    secret = b"s" * 50_000
    peer.send(peer.encrypted(secret) + peer.close_notify() + b"plain text\n")
    stream.detach_ssl()
    assert stream.octets_in == len(secret) + 11
    assert stream.read_exactly(len(secret)) == secret
    assert stream.readline() == b"plain text\n"
    stream.sendall(b"ours\n")
    assert peer.read(100) == b""  # our close_notify
    assert peer.read_plain(5) == b"ours\n"


def test_detaching_after_the_peers_close_notify(tls: TLSKit, side: str) -> None:
    """A stream that has read the peer's close_notify as an end can detach at once, and reads on in plain text."""
    stream, peer = tls.stream(side)
    peer.send(peer.encrypted(b"bye\n") + peer.close_notify())
    assert stream.read() == b"bye\n"
    assert stream.at_eof
    stream.detach_ssl()
    assert not stream.at_eof
    peer.send(b"plain\n")
    assert stream.readline() == b"plain\n"


@pytest.mark.usefixtures("virtual_clock")
def test_detaching_waits_for_a_slow_close_notify(tls: TLSKit, side: str) -> None:
    """The peer's close_notify may come late, up to the timeout, and more bytes may come before it."""
    stream, peer = tls.stream(side)
    parting = gevent.spawn(stream.detach_ssl, 10, 0.2)
    assert peer.read(10) == b""
    for _ in range(5):
        gevent.sleep(0.02)
        peer.write(b"more\n")
    peer.send(peer.close_notify() + b"plain\n")
    parting.get()
    assert [stream.readline() for _ in range(6)] == [b"more\n"] * 5 + [b"plain\n"]


@pytest.mark.parametrize("peer_does", ["nothing", "end", "reset", "drip"])
def test_no_close_notify_is_an_error(virtual_clock: VirtualClock, tls: TLSKit, side: str, peer_does: str) -> None:
    """Without the peer's close_notify detach_ssl is a TLSError after retry_count times retry_timeout, or at the peer's end or reset, and
    closes."""
    stream, peer = tls.stream(side)
    number = stream.fileno()
    dripping = gevent.spawn(_drip, peer) if peer_does == "drip" else None
    if peer_does == "end":
        peer.socket.shutdown(1)
    elif peer_does == "reset":
        reset(peer.socket)
    began = virtual_clock.now
    with pytest.raises(TLSError, match="close_notify"):
        stream.detach_ssl(2, 0.1)
    took = virtual_clock.now - began
    assert stream.closed
    assert not open_descriptor(number)
    assert took == pytest.approx(0 if peer_does in {"end", "reset"} else 0.2)
    if dripping is not None:
        dripping.kill()


def _drip(peer: HandMade) -> None:
    with contextlib.suppress(OSError):
        while True:
            peer.write(b"drip\n")
            gevent.sleep(0.02)


def test_a_truncation_is_not_close_notify(tls13: TLSKit) -> None:
    """Even with allow_truncation, plain text cannot follow a connection that just ends."""
    stream, peer = tls13.stream("client", allow_truncation=True)
    peer.close()
    with pytest.raises(TLSError, match="close_notify"):
        stream.detach_ssl()
    assert stream.closed


@pytest.mark.usefixtures("virtual_clock")
def test_detaching_can_be_interrupted_and_made_again(tls: TLSKit, side: str) -> None:
    """A Timeout in detach_ssl leaves the stream open, refuses to write meanwhile, and the next call goes on."""
    stream, peer = tls.stream(side)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        stream.detach_ssl()
    assert not stream.closed
    with pytest.raises(StreamClosed):
        stream.write(b"would be in plain text")
    assert peer.read(10) == b""
    peer.send(peer.encrypted(b"kept\n") + peer.close_notify())
    stream.detach_ssl()
    assert stream.readline() == b"kept\n"
    stream.sendall(b"plain\n")
    assert peer.socket.recv(100) == b"plain\n"


def test_detaching_without_tls_is_refused(tls13: TLSKit) -> None:
    """detach_ssl without TLS is a TLSError and changes nothing."""
    stream, peer = tls13.pairs.streams()
    with pytest.raises(TLSError, match="no TLS"):
        stream.detach_ssl()
    stream.sendall(b"x")
    assert peer.read(1) == b"x"


@pytest.mark.parametrize("bad", [{"retry_count": 0}, {"retry_count": 1.5}, {"retry_timeout": 0}, {"retry_timeout": "1"}])
def test_bad_limits_change_nothing(tls13: TLSKit, bad: dict[str, Any]) -> None:
    """Bad limits of detach_ssl are refused by name, and TLS goes on."""
    stream, peer = tls13.streams()
    with pytest.raises((TypeError, ValueError), match=next(iter(bad))):
        stream.detach_ssl(**bad)
    stream.sendall(b"x")
    assert peer.read(1) == b"x"


def test_both_is_detached_without_a_word(tls13: TLSKit) -> None:
    """TLS that never shook hands is detached without anything sent, and the stream is plain again."""
    stream, peer = tls13.pairs.streams()
    stream.attach_ssl(True, "both")
    stream.detach_ssl()
    stream.sendall(b"plain\n")
    assert peer.readline() == b"plain\n"


def test_tls_comes_and_goes(tls: TLSKit, side: str) -> None:
    """TLS can be attached and detached again and again, with nothing lost in between."""
    stream, peer = tls.pairs.streams()
    for number in range(5):
        stream.sendall(b"plain %d\n" % number)
        assert peer.readline() == b"plain %d\n" % number
        shaking = gevent.spawn(peer.attach_ssl, **tls.arguments(other(side)))
        stream.attach_ssl(**tls.arguments(side))
        shaking.get()
        stream.sendall(b"secret %d\n" % number)
        assert peer.readline() == b"secret %d\n" % number
        parting = gevent.spawn(peer.detach_ssl)
        stream.detach_ssl()
        parting.get()


def test_readers_are_refused_while_detaching(tls13: TLSKit) -> None:
    """A reader during detach_ssl is StreamBusy."""
    stream, peer = tls13.stream()
    parting = gevent.spawn(stream.detach_ssl)
    assert peer.read(10) == b""
    with pytest.raises(StreamBusy):
        stream.readline()
    peer.send(peer.close_notify())
    parting.get()


def test_detaching_after_send_eof(tls: TLSKit, side: str) -> None:
    """After send_eof, which ended the connection's half, detach_ssl reads on in plain text, and writing stays refused."""
    stream, peer = tls.stream(side)
    stream.send_eof()
    peer.send(peer.close_notify() + b"plain\n")
    stream.detach_ssl()
    assert stream.readline() == b"plain\n"
    with pytest.raises(StreamClosed):
        stream.write(b"x")


# The wire.


def test_the_wire_shows_records_only(tls: TLSKit, side: str) -> None:
    """From the hello to the end every byte on the wire belongs to a TLS record."""
    wire = Wire(tls.pairs)
    shaking = gevent.spawn(tls.secure, wire.far, other(side))
    stream = tls.secure(wire.near, side)
    peer = shaking.get()
    stream.write(b"secret" * 10_000)
    stream.send_eof()
    with pytest.raises(StreamClosed):
        stream.write(b"secret")
    assert peer.read() == b"secret" * 10_000
    peer.write(b"secret")
    peer.close()
    assert stream.read() == b"secret"
    stream.close()
    wire.wait_until_quiet()
    for data in (wire.there, wire.back):
        assert len(records(data)) > 3
        assert b"secret" not in data


WAYS: dict[str, Callable[[SocketStream], Any]] = {
    "close": lambda stream: stream.close(),
    "abort": lambda stream: stream.abort(),
    "shutdown": lambda stream: stream.shutdown("io"),
    "shutdown and abort": lambda stream: stream.shutdown("io", abort=True),
    "with": lambda stream: stream.__exit__(KeyError, KeyError(), None),
    "kill": lambda stream: _kill(gevent.spawn(stream.close)),
    "clear": lambda stream: stream.clear_output(),
    "force": lambda stream: stream.force_output(),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_out_shows_plain_text(tls: TLSKit, side: str, way: str) -> None:
    """Whichever way a stream ends that holds output, no byte of it appears on the wire in plain text."""
    wire = Wire(tls.pairs)
    shaking = gevent.spawn(tls.secure, wire.far, other(side))
    stream = tls.secure(wire.near, side)
    peer = shaking.get()
    stream.write(b"secret")
    reading = gevent.spawn(outcome, peer.read)
    WAYS[way](stream)
    stream.close()
    with pytest.raises(StreamClosed):
        stream.write(b"secret")
    peer.abort()
    reading.join()
    wire.wait_until_quiet()
    for data in (wire.there, wire.back):
        assert records(data)
        assert b"secret" not in data


def _kill(greenlet: gevent.Greenlet) -> None:
    gevent.sleep(0)
    greenlet.kill()


@pytest.mark.parametrize("way", ["refused", "timeout", "kill", "close"])
def test_a_handshake_that_fails_shows_no_plain_text(tls: TLSKit, way: str) -> None:
    """A handshake that is refused, timed out, killed or closed sends nothing but records, whatever was to be written next."""
    wire = Wire(tls.pairs)
    stream = tls.pairs.keep(SocketStream(wire.near))
    options = tls.arguments("client", tlsext_host_name="wrong.test" if way == "refused" else "localhost")
    attaching = gevent.spawn(outcome, partial(stream.attach_ssl, **options, handshake_timeout=0.1 if way == "timeout" else None))
    until(lambda: wire.there, what="the hello")
    writing = gevent.spawn(outcome, stream.sendall, b"secret")
    if way == "refused":
        with contextlib.suppress(OSError):
            tls.secure(wire.far, "server").read()
    elif way == "kill":
        attaching.kill()
    elif way == "close":
        stream.close()
    attaching.join()
    writing.join()
    assert stream.closed
    assert isinstance(writing.value, StreamClosed)
    wire.far.close()
    wire.wait_until_quiet()
    assert records(wire.there)
    assert b"secret" not in wire.there
