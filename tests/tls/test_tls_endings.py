"""The ends of a TLS connection are told apart: close_notify, truncation, reset, broken records, alerts; and a close loses no data."""

import contextlib
import errno
import fcntl
import gc
import os
import socket
import ssl
import struct
import termios
import weakref

import gevent
import pytest
from kit.conditions import until
from kit.leftovers import open_descriptor
from kit.network import reset
from kit.tls import HandMade, TLSKit, other, read_forever, write_forever

from geventstreams import (
    IncompleteRead,
    SocketStream,
    StreamClosed,
    StreamReset,
    StreamTruncated,
    TLSError,
    WaitSet,
    WriteTimeout,
    wait_for_input_streams,
)

MIB = 2**20


def unread(stream: SocketStream) -> int:
    """Bytes that wait in the system for a stream."""
    return int(struct.unpack("i", fcntl.ioctl(stream.fileno(), termios.FIONREAD, b"\0\0\0\0"))[0])


def flipped(data: bytes, at: int) -> bytes:
    """Return the bytes with one bit flipped."""
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


# The peer's end.


def test_close_notify_is_the_end(tls: TLSKit, side: str) -> None:
    """After close_notify reading gives the rest and then the end of file, as often as it is asked."""
    stream, peer = tls.stream(side)
    peer.send(peer.encrypted(b"12345") + peer.close_notify())
    peer.close()
    assert stream.read(3) == b"123"
    assert stream.read() == b"45"
    assert [stream.read(1), stream.read(), stream.readline()] * 3 == [b""] * 9
    assert stream.at_eof


def test_what_follows_close_notify_is_ignored(tls: TLSKit, side: str) -> None:
    """Bytes behind the peer's close_notify are not returned, plain or not."""
    stream, peer = tls.stream(side)
    peer.send(peer.encrypted(b"12345") + peer.close_notify() + b"INJECTED\n")
    assert stream.read() == b"12345"
    assert stream.read_available() == b""


def test_a_connection_that_just_ends_is_truncated(tls: TLSKit, side: str) -> None:
    """Without close_notify the good bytes come first, then StreamTruncated again and again; at_eof stays false."""
    stream, peer = tls.stream(side)
    peer.write(b"12345")
    peer.end()
    assert stream.read(100) == b"12345"
    for call in (lambda: stream.read(1), stream.read, stream.readline, stream.read_char, lambda: stream.read_exactly(1)) * 2:
        with pytest.raises(StreamTruncated) as caught:
            call()
        assert caught.value.stream is stream
        assert isinstance(caught.value, EOFError)
    assert not stream.at_eof


def test_a_read_to_the_end_of_a_cut_connection_raises_and_keeps(tls: TLSKit, side: str) -> None:
    """`read()` means the end, so it raises at once where the connection was cut, and what arrived stays readable."""
    stream, peer = tls.stream(side)
    peer.write(b"12345")
    peer.end()
    with pytest.raises(StreamTruncated):
        stream.read()
    assert stream.read(5) == b"12345"


@pytest.mark.parametrize("cut", [1, 5, 6, 20, -1])
def test_a_record_cut_in_two_is_truncated(tls: TLSKit, side: str, cut: int) -> None:
    """An end in the middle of a record, or of its header, is a truncation too, after the good bytes before it."""
    stream, peer = tls.stream(side)
    good, half = peer.encrypted(b"good\n"), peer.encrypted(b"half\n")
    peer.send(good + half[:cut])
    peer.end()
    assert stream.readline() == b"good\n"
    with pytest.raises(StreamTruncated):
        stream.readline()


def test_truncation_can_be_allowed(tls: TLSKit, side: str) -> None:
    """With allow_truncation a connection that just ends is at its end of file."""
    stream, peer = tls.stream(side, allow_truncation=True)
    peer.write(b"12345")
    peer.end()
    assert stream.read() == b"12345"
    assert stream.read() == b""
    assert stream.at_eof


def test_a_reset_is_a_reset(tls: TLSKit, side: str) -> None:
    """After a reset the good bytes come first, then StreamReset each time, allow_truncation or not."""
    for options, size in (({}, 5001), ({"allow_truncation": True}, 5001), ({}, 5)):
        stream, peer = tls.stream(side, **options)
        data = b"x" * size
        peer.write(data)
        until(lambda stream=stream, size=size: stream.listen() and stream.buffered == size, what="the arrival")
        reset(peer.socket)
        assert stream.read(9000) == data
        for _ in range(3):
            with pytest.raises(StreamReset):
                stream.read(1)


def test_a_reset_noticed_by_a_write(tls: TLSKit, side: str) -> None:
    """A reset that a write meets first ends later reads in StreamReset too, after what had arrived."""
    stream, peer = tls.stream(side)
    peer.write(b"arrived")
    until(lambda: wait_for_input_streams([stream], timeout=0), what="the arrival")
    reset(peer.socket)
    with pytest.raises(StreamReset):
        write_forever(stream)
    assert stream.read(100) == b"arrived"
    for _ in range(3):
        with pytest.raises(StreamReset):
            stream.read(1)


def test_the_end_inside_a_call(tls: TLSKit, side: str) -> None:
    """close_notify within read_exactly is IncompleteRead; the bytes before it stay readable."""
    stream, peer = tls.stream(side)
    peer.send(peer.encrypted(b"0123456789") + peer.close_notify())
    with pytest.raises(IncompleteRead) as caught:
        stream.read_exactly(20)
    assert caught.value.partial == b"0123456789"
    assert stream.read() == b"0123456789"


# Broken records.


@pytest.mark.parametrize("at", [7, 20, -1])
def test_a_flipped_bit_ends_reading(tls: TLSKit, side: str, at: int) -> None:
    """A record changed on its way is TLSError each time, after the good bytes before it; the record's are never returned."""
    stream, peer = tls.stream(side)
    good, bad = peer.encrypted(b"good\n"), peer.encrypted(b"bad!\n")
    peer.send(good + flipped(bad, at % len(bad)) + peer.encrypted(b"later\n"))
    assert stream.readline() == b"good\n"
    for call in (stream.readline, stream.read, lambda: stream.read(1), stream.read_line):
        with pytest.raises(TLSError) as caught:
            call()
        assert caught.value.reason in ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "RECORD_LAYER_FAILURE")  # OpenSSL 3.5 tells the latter
        assert caught.value.stream is stream
        assert "127.0.0.1" in str(caught.value)


def test_the_peer_is_told_by_an_alert(tls: TLSKit, side: str) -> None:
    """A record that cannot be read is answered by an alert."""
    stream, peer = tls.stream(side)
    peer.send(flipped(peer.encrypted(b"bad"), 9))
    with pytest.raises(TLSError):
        stream.read(1)
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
        peer.read(1)


@pytest.mark.parametrize(
    "data", [b"INJECTED\n", b"GET / HTTP/1.1\r\n\r\n", b"\x17\x03\x03\x00\x05hello", b"\x17\x03\x03\xff\xff" + b"x" * 100]
)
def test_injected_plain_text_ends_reading(tls: TLSKit, side: str, data: bytes) -> None:
    """Plain text in the middle of TLS is TLSError after the good bytes, and never returned."""
    stream, peer = tls.stream(side)
    peer.send(peer.encrypted(b"good\n") + data)
    assert stream.readline() == b"good\n"
    with pytest.raises(TLSError):
        stream.readline()
    assert stream.buffered == 0


def test_after_a_broken_record_nothing_is_sent(tls: TLSKit, side: str) -> None:
    """When TLS has failed, a flush is a TLSError, and closing closes."""
    stream, peer = tls.stream(side)
    number = stream.fileno()
    peer.send(flipped(peer.encrypted(b"bad"), 9))
    with pytest.raises(TLSError):
        stream.read(1)
    stream.write(b"x")
    with pytest.raises(TLSError, match=r"bad record mac|record layer failure"):
        stream.flush()
    stream.close()
    assert not open_descriptor(number)


@pytest.mark.parametrize("size", [0, 1, 16384])
def test_records_of_all_sizes(tls: TLSKit, side: str, size: int) -> None:
    """Records of one byte and of the largest size are read, and those that hold nothing for us are no end."""
    stream, peer = tls.stream(side)
    data = b"x" * size
    peer.send(peer.encrypted(data) + peer.encrypted(b"y"))
    assert stream.read(size + 1) == data + b"y"


def test_records_in_single_bytes(tls: TLSKit, side: str) -> None:
    """A record that comes byte by byte is read when it is whole."""
    stream, peer = tls.stream(side)
    reading = gevent.spawn(stream.readline)
    for byte in peer.encrypted(b"hello\n"):
        assert not reading.ready()
        peer.send(bytes((byte,)))
        gevent.sleep(0)
        gevent.sleep(0)
    assert reading.get() == b"hello\n"


# Our own end.


def test_close_sends_close_notify(tls: TLSKit, side: str) -> None:
    """The peer of a stream that closes gets all bytes and close_notify."""
    stream, peer = tls.stream(side)
    stream.write(b"12345")
    stream.close()
    assert peer.read_exactly(5) == b"12345"
    assert peer.read(1) == b""
    assert peer.socket.recv(1) == b""


def test_send_eof_sends_close_notify_and_reads_on(tls: TLSKit, side: str) -> None:
    """send_eof ends our half by close_notify, twice is once, writing is refused, and a mebibyte is still decrypted."""
    stream, peer = tls.stream(side)
    stream.write(b"12345")
    stream.send_eof()
    stream.send_eof()
    with pytest.raises(StreamClosed):
        stream.write(b"x")
    assert peer.read_exactly(5) == b"12345"
    assert peer.read(1) == b""
    data = bytes(range(256)) * 4096
    sending = gevent.spawn(lambda: (peer.write(data), peer.send(peer.close_notify())))
    assert stream.read() == data
    sending.get()
    assert stream.at_eof


def test_send_eof_keeps_what_was_decrypted(tls: TLSKit, side: str) -> None:
    """Bytes that had arrived, read ahead or half taken, when send_eof sends close_notify are read afterwards."""
    for looked in (False, True):
        stream, peer = tls.stream(side)
        data = bytes(range(256)) * 64
        peer.write(data + b"!")
        peer.write(data)
        if looked:
            assert wait_for_input_streams([stream], timeout=5) == [stream]
        small = memoryview(bytearray(10_000))
        assert stream.readinto(small) == 10_000
        stream.send_eof()
        peer.send(peer.close_notify())
        assert bytes(small) + stream.read() == data + b"!" + data


def test_a_peer_that_answers_close_notify_at_once(tls: TLSKit, side: str) -> None:
    """Both ends close at the same time: both see the end."""
    stream, peer = tls.streams(side)
    closing = gevent.spawn(stream.close)
    peer.close()
    closing.get()


def test_close_after_the_peer_has_gone_is_quiet(tls: TLSKit, side: str) -> None:
    """Nothing to flush and a peer that has gone: closing raises nothing."""
    for gone in (HandMade.close, lambda peer: reset(peer.socket)):
        stream, peer = tls.stream(side)
        gone(peer)
        with contextlib.suppress(OSError):
            stream.read(1)
        stream.close()
        stream.close()


@pytest.mark.parametrize("unread", ["before", "later", "never"])
def test_a_close_loses_nothing_to_unread_input(tls: TLSKit, side: str, unread: str) -> None:
    """Two mebibytes to a slow peer and a close: all arrive, also where a byte lies unread on our side or comes while we linger."""
    stream, peer = tls.stream(side, buffers=65536, linger_timeout=5)
    data = bytes(range(256)) * (2 * MIB // 256)
    if unread == "before":
        peer.write(b"x")
    closing = gevent.spawn(lambda: (stream.write(data), stream.close()))
    if unread == "later":
        gevent.sleep(0.2)
        peer.write(b"x")
    got = bytearray()
    while piece := peer.read(65536):
        got += piece
        gevent.sleep(0.001)
    assert got == data
    closing.get()


def test_a_write_only_client_loses_nothing_to_tickets(tls13: TLSKit) -> None:
    """A client that only writes and closes leaves the server's session tickets unread; the slow server still gets all."""
    context = tls13.context("server")
    context.num_tickets = 10
    near, far = tls13.pairs.sockets(buffers=65536)
    data = bytes(range(256)) * (2 * MIB // 256)

    def write_all() -> None:
        stream = tls13.secure(near, "client", linger_timeout=5)
        stream.write(data)
        stream.close()

    writing = gevent.spawn(write_all)
    server = tls13.secure(far, "server", ssl_ctx=context)
    got = bytearray()
    while piece := server.read(65536):
        got += piece
        gevent.sleep(0.001)
    assert got == data
    writing.get()


def test_an_abort_is_a_reset(tls: TLSKit, side: str) -> None:
    """The peer of an aborted stream sees a reset, without close_notify."""
    stream, peer = tls.streams(side)
    stream.write(b"x")
    stream.abort()
    with pytest.raises(StreamReset):
        peer.read()


def test_a_dropped_stream_sends_no_close_notify(tls: TLSKit, side: str) -> None:
    """A stream that was not closed frees its descriptor at once, with a ResourceWarning, and its peer sees a truncation."""
    near, far = tls.pairs.sockets()
    number = near.fileno()
    shaking = gevent.spawn(tls.secure, far, other(side))
    stream = SocketStream(near, **tls.arguments(side))
    peer = shaking.get()
    shaking = None
    gc.disable()
    try:
        with pytest.warns(ResourceWarning, match="unclosed"):
            del stream
        assert not open_descriptor(number)
    finally:
        gc.enable()
    with pytest.raises((StreamTruncated, StreamReset)):  # reset where it had not read the tickets of TLS 1.3
        peer.read()


def test_streams_are_in_no_cycle(tls: TLSKit, side: str) -> None:
    """A closed TLS stream dies by its reference count, after reads, writes and errors too."""
    gc.disable()
    try:
        near, far = tls.pairs.sockets()
        shaking = gevent.spawn(tls.secure, far, other(side))
        stream = SocketStream(near, **tls.arguments(side))
        peer = shaking.get()
        peer.sendall(b"line\nrest")
        assert stream.readline() == b"line\n"
        peer.abort()
        with contextlib.suppress(OSError):
            stream.read()
        with contextlib.suppress(OSError):
            stream.sendall(b"x")
        gone = weakref.ref(stream)
        stream.close()
        del stream
        assert gone() is None
    finally:
        gc.enable()


def test_closing_with_a_stopped_peer_is_bounded(tls: TLSKit, side: str) -> None:
    """A mebibyte unsent and a peer that takes nothing: close raises WriteTimeout once, with what was unsent, and closes."""
    stream, _ = tls.stream(side, buffers=16384, write_timeout=0.1)
    number = stream.fileno()
    with pytest.raises(WriteTimeout):
        stream.sendall(b"x" * MIB)
    with pytest.raises(WriteTimeout) as caught:
        stream.close()
    assert caught.value.unsent
    assert not open_descriptor(number)
    stream.close()


# Alerts.


@pytest.mark.parametrize("first", ["read", "write"])
def test_an_alert_wins_over_a_broken_connection(tls: TLSKit, side: str, first: str) -> None:
    """A peer that sends a fatal alert and closes is told by the alert, although sending fails at the same time."""
    stream, peer = tls.stream(side)
    peer.fail()
    until(lambda: wait_for_input_streams([stream], timeout=0), what="the alert")
    reset(peer.socket) if first == "write" else peer.close()
    with pytest.raises(TLSError) as caught:
        stream.read(1) if first == "read" else write_forever(stream)
    assert caught.value.reason in ("SSLV3_ALERT_BAD_RECORD_MAC", "TLSV1_ALERT_DECRYPT_ERROR")
    with pytest.raises(TLSError):
        stream.read(1)


def test_bytes_before_an_alert_are_kept(tls: TLSKit, side: str) -> None:
    """What arrived before the alert that a failed send reports is read first, then the alert."""
    stream, peer = tls.stream(side)
    peer.write(b"!")
    assert stream.read(1) == b"!"  # and the tickets of TLS 1.3 before it
    data = b"x" * 50_000
    ciphertext = peer.encrypted(data)
    peer.send(ciphertext)
    peer.fail()
    until(lambda: unread(stream) > len(ciphertext), what="the arrival of the alert")
    reset(peer.socket)
    with pytest.raises(TLSError):
        write_forever(stream)
    got = bytearray()
    with pytest.raises(TLSError):
        read_forever(stream, got)
    assert got == data


# Readiness.


def test_ciphertext_is_not_readiness(tls: TLSKit, side: str) -> None:
    """Half a record makes no stream ready, its other half does; a WaitSet sees the same."""
    stream, peer = tls.stream(side)
    with contextlib.suppress(gevent.Timeout), gevent.Timeout(0.02):
        stream.read(1)  # the tickets of TLS 1.3
    record = peer.encrypted(b"hello")
    peer.send(record[:-1])
    with WaitSet([stream]) as members:
        assert wait_for_input_streams([stream], timeout=0.05) == []
        assert members.wait(0.05) == []
        assert not stream.listen()
        peer.send(record[-1:])
        assert wait_for_input_streams([stream], timeout=5) == [stream]
        assert members.wait(5) == [stream]
    assert stream.listen()
    assert stream.read_available() == b"hello"


def test_a_ticket_is_not_readiness(tls13: TLSKit) -> None:
    """The session tickets that a server sends after its handshake make no client ready."""
    context = tls13.context("server")
    context.num_tickets = 2
    stream, peer = tls13.streams("client", peer={"ssl_ctx": context})
    assert wait_for_input_streams([stream], timeout=0.05) == []
    peer.sendall(b"x")
    assert wait_for_input_streams([stream], timeout=5) == [stream]


@pytest.mark.parametrize("end", ["close_notify", "cut", "reset", "broken"])
def test_ends_are_readiness(tls: TLSKit, side: str, end: str) -> None:
    """close_notify, a truncation, a reset and a broken record make a stream ready: the read then reports which."""
    stream, peer = tls.stream(side)
    waiting = gevent.spawn(wait_for_input_streams, [stream], timeout=5)
    gevent.sleep(0)
    if end == "close_notify":
        peer.send(peer.close_notify())
    elif end == "cut":
        peer.end()
    elif end == "reset":
        reset(peer.socket)
    else:
        peer.send(flipped(peer.encrypted(b"x"), 9))
    assert waiting.get() == [stream]
    expected = {"cut": StreamTruncated, "reset": StreamReset, "broken": TLSError}
    if end == "close_notify":
        assert stream.read(1) == b""
    else:
        with pytest.raises(expected[end]):
            stream.read(1)


def test_decrypted_bytes_are_ready_at_once(tls: TLSKit, side: str) -> None:
    """What was decrypted and not taken makes a stream ready although its socket has nothing."""
    stream, peer = tls.stream(side)
    peer.write(b"x" * 16_000)
    small = bytearray(9000)
    assert stream.readinto(small) == 9000
    for _ in range(3):
        assert wait_for_input_streams([stream], timeout=0) == [stream]
    assert stream.read_available() == b"x" * 7000


def test_waiting_takes_nothing_from_a_reader(tls: TLSKit, side: str) -> None:
    """While a greenlet waits in a read, another may wait for the same stream: the reader gets the bytes, at once."""
    stream, peer = tls.stream(side)
    reading = gevent.spawn(stream.readline)
    gevent.sleep(0)
    lines = 50
    got = []
    for number in range(lines):
        record = peer.encrypted(b"line %d\n" % number)
        peer.send(record[:9])
        wait_for_input_streams([stream], timeout=0)
        peer.send(record[9:])
        for _ in range(3):
            wait_for_input_streams([stream], timeout=0)
        got.append(reading.get(timeout=5))
        reading = gevent.spawn(stream.readline)
        gevent.sleep(0)
    assert got == [b"line %d\n" % number for number in range(lines)]
    reading.kill()


# What TLS says in between.


@pytest.mark.usefixtures("virtual_clock")
def test_read_timeouts_count_from_ciphertext(tls: TLSKit, side: str) -> None:
    """A peer that sends a record byte by byte, each within read_timeout, is no timeout; one that stops is."""
    stream, peer = tls.stream(side, read_timeout=0.15)
    record = peer.encrypted(b"hello\n")

    def drip() -> None:
        for byte in record:
            gevent.sleep(0.02)
            peer.send(bytes((byte,)))

    dripping = gevent.spawn(drip)
    assert stream.readline() == b"hello\n"
    dripping.get()
    peer.send(peer.encrypted(b"never whole\n")[:-1])
    assert stream.read_line(eof_error=False) == ("", True)
    assert stream.timed_out


def test_a_closed_descriptor_is_no_surprise(tls13: TLSKit) -> None:
    """Errors of the system other than those of a broken connection come out as what they are."""
    stream, _ = tls13.stream("client")
    spare = socket.socket()
    os.dup2(spare.fileno(), stream.fileno())
    spare.close()
    with pytest.raises(OSError, match=r"127\.0\.0\.1") as caught:
        stream.sendall(b"x")
    assert caught.value.errno in (errno.ENOTCONN, errno.EPIPE)


@pytest.mark.usefixtures("virtual_clock")
def test_others_run_while_a_close_lingers_behind_close_notify(tls: TLSKit) -> None:
    """The peer has sent close_notify, keeps the connection and reads nothing: the close that waits for it keeps no other greenlet."""
    stream, peer = tls.stream("server", buffers=4096, linger_timeout=0.2)
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
    stream.sendall(bytes(200_000))
    peer.send(peer.close_notify())
    assert stream.read() == b""
    closing = gevent.spawn(stream.close)
    rounds = 0
    while not closing.ready():
        gevent.sleep(0.001)
        rounds += 1
    closing.get()
    assert rounds > 10
