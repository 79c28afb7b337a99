"""TLS under faults: interrupted anywhere, attacked, hurried and starved, it loses no byte and leaves no descriptor."""

import contextlib
import gc
import itertools
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from types import FrameType
from typing import Any

import gevent
import gevent.socket
import pytest
from kit.bytecodes import Handler, looks_for_signals
from kit.conditions import until
from kit.engines import engine_below
from kit.leftovers import descriptors_in_use, open_descriptor
from kit.network import HOST, reset
from kit.pairs import Pairs
from kit.tls import NAME, HandMade, Interrupt, Struck, TLSKit, other, records
from kit.vocabulary import many
from servers import s_client
from servers.certificates import Certificates

import geventstreams
from geventstreams import LineTooLong, SocketStream, StreamBusy, StreamClosed, StreamError, StreamReset, TLSError
from geventstreams._core.fairness import yield_to_hub
from geventstreams._core.tls_records import PATTERN, Records
from geventstreams._core.tls_transport import TLSTransport
from geventstreams._core.transport import SocketDouble, SocketTransport
from geventstreams.testing.claims import outcome, settle, started

SEED = 20_40
KIB = 1024
MIB = 2**20


ENDINGS: tuple[Callable[[], BaseException], ...] = (Interrupt, gevent.GreenletExit, gevent.Timeout)


def data_of(count: int, seed: int = SEED) -> bytes:
    """Bytes in an order that never repeats, with a newline now and then."""
    return Random(seed).randbytes(count)


# Interrupted in the middle.


def filled(stream: SocketStream, size: int) -> bytes:
    """readinto, large enough to go past the buffer."""
    space = bytearray(size + 9000)
    return bytes(space[: stream.readinto(space)])


READS: tuple[Callable[[SocketStream, int], bytes], ...] = (
    lambda stream, size: stream.read(size),
    lambda stream, size: stream.read1(size),
    lambda stream, size: stream.read_exactly(size),
    lambda stream, size: stream.readline(),
    lambda stream, size: stream.read_string(size).encode("latin-1"),
    filled,
)


@pytest.mark.parametrize("seed", [1, 2])
def test_interrupted_reads_lose_nothing(tls: TLSKit, side: str, seed: int) -> None:
    """Timeouts, kills and errors thrown into every kind of read, at every byte of the ciphertext: each byte is read once, in order."""
    random = Random(seed)
    stream, peer = tls.stream(side)
    wanted = many(2000)
    data, got, ciphertext, interrupted = bytearray(), bytearray(), b"", 0

    def take() -> None:
        while True:
            got.extend(random.choice(READS)(stream, random.choice((1, 10, 300))))

    reader = started(take)
    while interrupted < wanted:
        if not ciphertext:
            piece = random.randbytes(random.choice((1, 20, 300, 20_000)))
            data += piece
            ciphertext = peer.encrypted(piece)
        count = random.choice((1, 5, 30, 500, 30_000))
        peer.send(ciphertext[:count])
        ciphertext = ciphertext[count:]
        for _ in range(random.randint(1, 3)):
            gevent.sleep(0)
        reader.kill(random.choice(ENDINGS)())
        interrupted += 1
        reader = started(take)
    reader.kill()
    peer.send(ciphertext + peer.encrypted(b"the end") + peer.close_notify())
    print(f"seed {seed}: {interrupted} interruptions in {len(data)} bytes")
    got += stream.read()
    assert got == data + b"the end"


@pytest.mark.parametrize("seed", [1, 2])
def test_interrupted_writes_lose_nothing(tls: TLSKit, side: str, seed: int) -> None:
    """Writes and flushes that are interrupted in the middle of records: what was accepted arrives once and whole, the rest never."""
    random = Random(seed)
    stream, peer = tls.stream(side, buffers=4096)
    wanted = many(500)
    hub = gevent.get_hub()
    data, got, interrupted = bytearray(), bytearray(), 0

    def receive() -> None:
        while piece := peer.read(random.choice((100, 5000, 70_000))):
            got.extend(piece)
            gevent.sleep(0 if random.random() < 0.9 else 0.001)

    receiver = gevent.spawn(receive)
    while interrupted < wanted:
        message = random.randbytes(random.choice((1, 100, 5000, 66_000, 150_000)))
        flushes = random.random() < 0.3
        writer = started(stream.flush) if flushes else started(stream.write, message)
        for _ in range(random.choice((0, 0, 1, 5, 20))):
            yield_to_hub(hub)
        writer.kill(random.choice(ENDINGS)())
        ended = not isinstance(writer.value, BaseException)  # it may do so while its end is on its way
        interrupted += not ended
        if not flushes:
            assert ended or stream.accepted in (0, len(message))
            data += message if ended or stream.accepted else b""
    stream.close()
    receiver.get()
    print(f"seed {seed}: {interrupted} interruptions in {len(data)} bytes")
    assert got == data


def test_a_read_and_a_write_at_once_are_interrupted_apart(tls: TLSKit, side: str) -> None:
    """A kill of the reader leaves a blocked writer alone, and the reverse; both finish."""
    stream, peer = tls.stream(side, buffers=4096)
    data = data_of(MIB)
    writer = started(stream.sendall, data)
    reader = started(stream.read_exactly, 10_000)
    settle(stream)
    reader.kill()
    reader = started(stream.read_exactly, 5)
    assert not writer.ready()
    peer.write(b"12345")
    assert reader.get() == b"12345"
    assert peer.read_exactly(MIB) == data
    writer.get()


# Handshakes that do not come to an end.


HANDSHAKE_ENDS: dict[str, Callable[[TLSKit, Any, Any], None]] = {
    "timeout": lambda tls, greenlet, far: greenlet.kill(gevent.Timeout()),
    "kill": lambda tls, greenlet, far: greenlet.kill(),
    "end": lambda tls, greenlet, far: far.close(),
    "reset": lambda tls, greenlet, far: reset(far),
    "garbage": lambda tls, greenlet, far: far.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "alert": lambda tls, greenlet, far: far.sendall(b"\x15\x03\x03\x00\x02\x02\x28"),
}


@pytest.mark.slow
@pytest.mark.parametrize("end", HANDSHAKE_ENDS)
def test_ended_handshakes_leave_no_descriptor(tls: TLSKit, side: str, end: str) -> None:
    """Two hundred handshakes ended in the middle, with every exception kept: no descriptor is left, without the collector."""
    gc.disable()
    try:
        kept: list[Any] = []
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(200):
            near, far = tls.pairs.sockets()
            tls.pairs.made.clear()
            greenlet = gevent.spawn(SocketStream, near, **tls.arguments(side))
            gevent.sleep(0)
            HANDSHAKE_ENDS[end](tls, greenlet, far)
            greenlet.join()
            far.close()
            kept.append(greenlet.exception or greenlet.value)
        assert all(isinstance(one, (StreamError, gevent.Timeout, gevent.GreenletExit)) for one in kept), kept[0]
        assert all(one.__traceback__ is not None for one in kept)
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()


def test_refused_certificates_leave_no_descriptor(tls: TLSKit) -> None:
    """Two hundred refused certificates, the errors of both sides kept: no descriptor is left, without the collector."""
    context = tls.context("server", tls.certificates.wrong_name)
    gc.disable()
    try:
        kept: list[Any] = []
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(200):
            near, far = tls.pairs.sockets()
            tls.pairs.made.clear()
            server = gevent.spawn(outcome, partial(SocketStream, far, ssl_ctx=context))
            kept.append(outcome(partial(SocketStream, near, **tls.arguments("client"))))
            server.join()
            kept.append(server.value)
            if isinstance(server.value, SocketStream):
                kept.append(outcome(server.value.read))
                server.value.abort()
        assert sum(isinstance(one, TLSError) for one in kept) == 400
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()


@pytest.mark.parametrize("call", ["handshake", "read", "write", "detach"])
@pytest.mark.parametrize("how", ["close", "abort"])
def test_closing_wakes_every_waiter(tls: TLSKit, side: str, call: str, how: str) -> None:
    """close and abort while a greenlet shakes hands, reads, writes or detaches: it gets StreamClosed within 5 ms."""
    late = 0.0
    for _ in range(5):
        stream, waiter = waiting(tls, side, call)
        began = time.monotonic()
        woken: list[float] = []
        waiter.link(lambda _, woken=woken: woken.append(time.monotonic()))
        closing = gevent.spawn(outcome, partial(stream.close, abort=how == "abort"))
        assert isinstance(waiter.get(timeout=5), StreamClosed)
        gevent.sleep(0)
        late = woken[0] - began
        stream.abort()
        closing.get()
        if late <= 0.005:
            return
    pytest.fail(f"five times too late, at last after {late * 1000:.1f} ms")


def waiting(tls: TLSKit, side: str, call: str) -> tuple[SocketStream, Any]:
    """A stream, and a greenlet that waits in one of its calls."""
    if call == "handshake":
        stream, _ = tls.pairs.stream()
    else:
        stream, _ = tls.stream(side, buffers=4096, linger_timeout=0.05)
    calls: dict[str, Callable[[], Any]] = {
        "handshake": lambda: stream.attach_ssl(**tls.arguments(side)),
        "read": stream.readline,
        "write": lambda: stream.write(b"x" * MIB),
        "detach": lambda: stream.detach_ssl(50, 0.1),
    }
    return stream, started(calls[call])


# Attacks.


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"x", b"\x16\x03\x01", b"\x17\x03\x03\x00\x05hello"])
def test_plain_text_and_an_end_before_the_handshake(tls: TLSKit, side: str, said: bytes) -> None:
    """A peer that sends plain text and closes before the handshake (CVE-2023-40217): TLSError, and nothing of it is ever read."""
    near, far = tls.pairs.sockets()
    far.sendall(said)
    far.close()
    plain = SocketStream(near)
    with pytest.raises(StreamError) as caught:
        plain.attach_ssl(**tls.arguments(side))
    assert isinstance(caught.value, (TLSError, ConnectionResetError))
    with pytest.raises(StreamClosed):
        plain.read()


def test_http_to_the_tls_port(tls: TLSKit) -> None:
    """A thousand requests in plain text: each is TLSError, promptly, and nothing is left behind."""
    context = tls.context("server")
    before = descriptors_in_use()
    for _ in range(many(1000)):
        near, far = tls.pairs.sockets()
        far.sendall(b"GET / HTTP/1.0\r\n\r\n")
        error = outcome(partial(SocketStream, near, ssl_ctx=context))
        assert isinstance(error, TLSError)
        assert error.reason == "HTTP_REQUEST"
        records(far.recv(100))
        tls.pairs.close()
    assert descriptors_in_use() == before


def test_tls_to_the_plain_port(tls: TLSKit) -> None:
    """A thousand clients that meet a server without TLS: each is TLSError, promptly, and nothing is left behind."""
    arguments = tls.arguments("client")
    before = descriptors_in_use()
    for _ in range(many(1000)):
        near, far = tls.pairs.sockets()
        far.sendall(b"220 mail.test ESMTP\r\n")
        error = outcome(partial(SocketStream, near, **arguments))
        assert isinstance(error, TLSError)
        assert error.reason == "WRONG_VERSION_NUMBER"
        tls.pairs.close()
    assert descriptors_in_use() == before


def test_a_flood_of_empty_records_lets_others_run(tls: TLSKit, side: str) -> None:
    """A peer that sends records with nothing in them without end: others run, and the stream can be closed."""
    stream, peer = tls.stream(side)
    # OpenSSL takes at most 32 empty records in a row, so every tenth has a byte.
    flood = b"".join(peer.encrypted(b"" if number % 10 else b"x") for number in range(20_000))
    flooder = gevent.spawn(outcome, peer.send, flood)
    reader = gevent.spawn(outcome, stream.read)
    gaps = []
    while not flooder.ready():
        before, worked = time.monotonic(), time.process_time()
        gevent.sleep(0.001)
        gaps.append(min(time.monotonic() - before, time.process_time() - worked))  # not what the machine gave to others
    assert sorted(gaps)[len(gaps) // 2] <= 0.02
    assert max(gaps) <= 0.2
    stream.abort()
    assert isinstance(reader.get(), StreamClosed)


# Signals.


def gather(results: list[Any], calls: Iterator[Any]) -> None:
    """Make the calls. A handler may raise here at any moment: what a call returns is in `results` before Python looks for signals again."""
    results.extend(calls)


OPENSSL = "OpenSSL"
GATHERING = gather.__code__.co_firstlineno + 2


def is_within_openssl(frame: FrameType) -> bool:
    """Return whether a handler runs within the call that `gather` makes: compiled code runs handlers nowhere but in OpenSSL's calls."""
    return frame.f_code is gather.__code__ and frame.f_lineno == GATHERING and not frame.f_locals["results"]


def may_strike(frame: FrameType) -> bool:
    """Return whether a handler may raise: where gevent waits, and while OpenSSL reads or writes for us, but in the test only in `gather`.

    Nor where gevent's hub passes an earlier error on, nor in the Python code of its loops that are made with cffi: one that strikes
    there stops the hub for good, with whatever waits in it.
    """
    name = str(frame.f_globals.get("__name__"))
    callers: FrameType | None = frame
    while callers is not None:
        module = str(callers.f_globals.get("__name__"))
        if callers.f_code.co_name in ("handle_error", "handle_system_error") or module.startswith(("gevent._ffi", "gevent.lib")):
            return False
        callers = callers.f_back
    return name.partition(".")[0] in ("gevent", "greenlet", "geventstreams") or frame.f_code is gather.__code__


STRIKER = """
import os, random, signal, sys, time
parent = int(sys.argv[1])
while os.getppid() == parent:
    time.sleep(random.uniform(0.0001, 0.0007))
    os.kill(parent, signal.SIGUSR1)
"""


@contextlib.contextmanager
def raising_signals() -> Iterator[list[str]]:
    """Another process sends signals, sometimes several within a millisecond, whose handler raises where it may; the places it struck.

    No alarm: that is how the time limit of a test comes.
    """
    struck: list[str] = []

    def strike(_number: int, frame: FrameType | None) -> None:
        if frame is not None and may_strike(frame):
            struck.append(OPENSSL if is_within_openssl(frame) else str(frame.f_globals["__name__"]))
            raise Interrupt

    previous = signal.signal(signal.SIGUSR1, strike)
    striker = subprocess.Popen([sys.executable, "-S", "-c", STRIKER, str(os.getpid())])
    try:
        yield struck
    finally:
        striker.kill()
        striker.wait()
        signal.signal(signal.SIGUSR1, previous)


def threaded_peer(tls: TLSKit, side: str) -> tuple[SocketStream, HandMade]:
    """A stream, and a peer on a blocking socket, for a thread of its own, which signals leave alone."""
    near, far = tls.pairs.sockets()
    peer = HandMade(far, tls.context(other(side)), other(side))
    shaking = threading.Thread(target=peer.shake_hands)
    shaking.start()
    stream = tls.secure(near, side)
    shaking.join()
    return stream, peer


def struck(tls: TLSKit, side: str) -> tuple[SocketStream, HandMade]:
    """A stream whose SSL object can be struck, and its peer."""
    context = tls.context(side)
    context.sslobject_class = Struck
    return tls.stream(side, ssl_ctx=context)


@pytest.mark.parametrize("strikes", [
    ("before read",), ("after read",), ("after read", "before pending"), ("after read", "before pending", "before pending"),
    ("before pending", "before pending"), ("after read", "after read"),
])
@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("length", [100, 256, 257, 258, 16384])  # the short ones are copied once more
def test_errors_that_strike_in_a_read_cost_no_byte(
    tls: TLSKit, side: str, strikes: tuple[str, ...], length: int, size: int
) -> None:
    """An error that strikes within OpenSSL's calls, and others on its way out, lose and double nothing of a record."""
    stream, peer = struck(tls, side)
    data = data_of(length)
    peer.write(data)
    stream.ssl.strikes = strikes
    got = b""
    while len(got) < length:
        with contextlib.suppress(Interrupt):
            got += stream.read(min(size, length - len(got)))
    assert got == data
    assert stream.ssl.strikes == () or 16 <= length <= 256  # which one call reads, and nothing is pending


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize(("moment", "length"), [
    *itertools.product(["before read", "after read"], [1, 2, 100, 1000]),
    *itertools.product(["before pending"], [1, 2, 1000]),  # 100 bytes are read by one call
])
def test_a_signal_handler_that_reads_within_a_read_costs_no_byte(
    tls: TLSKit, side: str, moment: str, length: int, raises: bool
) -> None:
    """A handler that reads the stream whose read it interrupts within OpenSSL gets StreamBusy, and the interrupted read all bytes."""
    stream, peer = struck(tls, side)
    peer.write(b"first")
    assert stream.read(5) == b"first"  # behind the tickets of TLS 1.3
    data = data_of(length)
    peer.write(data + b"next")
    said: list[object] = []

    def read() -> None:
        said.extend((outcome(stream.read1, 10), outcome(stream.peek, 1), stream.listen()))
        said.append(gevent.spawn(outcome, stream.readline).get())

    stream.ssl.on_strike, stream.ssl.raises, stream.ssl.strikes = read, raises, (moment,)
    got = b""
    while len(got) < length + 4:
        with contextlib.suppress(Interrupt):
            got += stream.read1(50)
    assert got == data + b"next"
    assert [type(each) for each in said] == [StreamBusy, StreamBusy, bool, StreamBusy]


@pytest.mark.parametrize("strikes", [1, 2, 3])
@pytest.mark.parametrize("moment", ["before read", "after read", "before pending"])
def test_a_signal_handler_whose_write_fails_within_a_read_costs_no_byte(tls: TLSKit, side: str, moment: str, strikes: int) -> None:
    """A handler that writes within the read that it interrupts gets the error of a broken connection, and the read what had arrived."""
    stream, peer = struck(tls, side)
    peer.write(b"first")
    assert stream.read(5) == b"first"  # behind the tickets of TLS 1.3
    peer.write(b"second")
    peer.write(b"third")
    said: list[object] = []

    def write() -> None:
        with socket.socket(fileno=os.dup(stream.fileno())) as other:
            other.shutdown(socket.SHUT_WR)
        said.append(outcome(stream.sendall, bytes(2**16)))

    stream.ssl.on_strike, stream.ssl.raises, stream.ssl.strikes = write, False, (moment,) * strikes
    stream.read_timeout = 5
    assert stream.read(11) == b"secondthird"
    assert stream.ssl.strikes or [type(each) for each in said] == [StreamReset]


@pytest.mark.parametrize("moment", ["before read", "after read"])
def test_errors_that_strike_at_the_first_padded_record_cost_nothing(tls13: TLSKit, certificates: Certificates, moment: str) -> None:
    """TLS 1.3 with padding: of a record that is read by one call the plain text is taken, and of those behind it, too."""
    context = tls13.context("server")
    context.sslobject_class = Struck
    data = bytes(byte ^ 1 for byte in PATTERN[:20])  # which differs from what lay there at its end, as of 256 bytes 255 do
    with gevent.socket.create_server((HOST, 0)) as listener:
        accepting = gevent.spawn(listener.accept)
        with s_client(listener.getsockname()[1], certificates.ca, "-record_padding", "64") as client:
            assert client.stdin is not None
            stream = tls13.secure(accepting.get()[0], "server", ssl_ctx=context, read_timeout=10)
            stream.ssl.strikes = (moment,)
            for _ in range(3):
                client.stdin.write(data)
            got = b""
            while len(got) < 60:
                with contextlib.suppress(Interrupt):
                    got += stream.read(min(20, 60 - len(got)))
            assert got == 3 * data
            assert stream.ssl.strikes == ()


class Sparing(ssl.SSLObject):
    """An SSL object that gives at most ten bytes at once."""

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002  # its name in the standard library
        return super().read(min(len, 10), buffer)


def test_an_ssl_object_may_give_less_than_it_is_asked_for(tls: TLSKit, side: str) -> None:
    """A class of its own that hands out a record in small pieces: all of it is read at once, without a further record."""
    context = tls.context(side)
    context.sslobject_class = Sparing
    stream, peer = tls.stream(side, ssl_ctx=context, read_timeout=20)
    for _ in range(2):
        peer.write(b"0123456789" * 10)
        assert stream.read(100) == b"0123456789" * 10


@pytest.mark.parametrize("length", [15, 16, 17, 100, 256, 257])
def test_an_error_that_strikes_at_a_forged_record_gives_none_of_it(tls: TLSKit, side: str, length: int) -> None:
    """After an error that strikes when OpenSSL has just refused a record, the next read reports that, and nothing comes before it."""
    stream, peer = struck(tls, side)
    peer.write(b"first")
    assert stream.read(5) == b"first"  # behind the tickets of TLS 1.3
    record = peer.encrypted(data_of(length))
    peer.send(record[:-1] + bytes((record[-1] ^ 1,)))
    stream.read_timeout = 20
    stream.ssl.strikes = ("after read",)
    with pytest.raises(Interrupt):
        stream.read1(500)
    with pytest.raises(TLSError):
        stream.read1(500)


@pytest.mark.parametrize("strikes", [("after read",), ("before pending",), ("after read", "before pending")])
def test_errors_that_strike_at_a_padded_byte_do_not_cost_it(tls13: TLSKit, certificates: Certificates, strikes: tuple[str, ...]) -> None:
    """TLS 1.3 with padding: a record of one byte, the same as the one before, is not taken for a record without data."""
    context = tls13.context("server")
    context.sslobject_class = Struck
    with gevent.socket.create_server((HOST, 0)) as listener:
        accepting = gevent.spawn(listener.accept)
        with s_client(listener.getsockname()[1], certificates.ca, "-record_padding", "512") as client:
            assert client.stdin is not None
            stream = tls13.secure(accepting.get()[0], "server", ssl_ctx=context, read_timeout=10)
            client.stdin.write(b"1")
            assert stream.read(1) == b"1"
            stream.ssl.strikes = strikes
            client.stdin.write(b"1")
            with pytest.raises(Interrupt):
                stream.read(1)
            client.stdin.write(b"2")
            assert stream.read(2) == b"12"


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("moment", ["before read", "after read", "before pending"])
def test_a_signal_handler_may_abort_the_stream_within_a_read(tls: TLSKit, side: str, moment: str, waits: bool, raises: bool) -> None:
    """A handler that aborts the stream within OpenSSL's calls ends the read, by its own error or by that of a closed stream.

    One that waits afterwards lets the hub drop what the stream held.
    """
    stream, peer = struck(tls, side)
    peer.write(b"123")
    strike_by_abort(stream, stream.ssl, moment, waits, raises)
    with pytest.raises(Interrupt if raises else StreamError):
        stream.read(3)
    with pytest.raises(StreamClosed):
        stream.read(3)


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("moment", ["before write", "after write"])
def test_a_signal_handler_may_abort_the_stream_within_a_write(tls: TLSKit, side: str, moment: str, waits: bool, raises: bool) -> None:
    """A handler that aborts the stream within OpenSSL's write ends the flush, by its own error or by that of a closed stream."""
    stream, _peer = struck(tls, side)
    stream.write(b"1" * 40_000)
    strike_by_abort(stream, stream.ssl, moment, waits, raises)
    with pytest.raises(Interrupt if raises else StreamError):
        stream.flush()
    with pytest.raises(StreamClosed):
        stream.write(b"1")


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("waits", [True, False])
def test_a_signal_handler_may_abort_the_stream_within_a_handshake(tls: TLSKit, side: str, waits: bool, raises: bool) -> None:
    """A handler that aborts the stream within OpenSSL's handshake ends it, by its own error or by that of a closed stream."""
    near, _far = tls.pairs.sockets()
    stream = SocketStream(near)
    context = tls.context(side)
    context.sslobject_class = Struck
    with pytest.raises(Interrupt if raises else StreamClosed):
        stream.attach_ssl(context, side, tlsext_host_name=NAME if side == "client" else None,
                          ssl_configure_callback=lambda made: strike_by_abort(stream, made, "before do_handshake", waits, raises))
    assert stream.closed


def strike_by_abort(stream: SocketStream, ssl_object: Struck, moment: str, waits: bool, raises: bool) -> None:
    """Abort the stream at this moment, wait until the hub has dropped what it held if `waits`, and raise behind that if `raises`."""

    def abort() -> None:
        transport = engine_below(stream).tls
        stream.abort()
        if waits:
            until(lambda: transport.object is None)

    ssl_object.on_strike = abort
    ssl_object.raises = raises
    ssl_object.strikes = (moment,)


@pytest.mark.parametrize("strikes", [("after read",), ("after read", "before read"), ("after read", "after read")])
def test_errors_that_strike_at_close_notify_do_not_hide_it(tls: TLSKit, side: str, strikes: tuple[str, ...]) -> None:
    """After an error that strikes when OpenSSL has just read the peer's close_notify, the next read reports the end at once."""
    stream, peer = struck(tls, side)
    stream.read_timeout = 20
    peer.write(b"1")
    assert stream.read(1) == b"1"
    peer.send(peer.close_notify())
    stream.ssl.strikes = strikes
    for _ in strikes:
        with pytest.raises(Interrupt):
            stream.read(1)
    assert stream.read(1) == b""
    assert stream.at_eof


@pytest.mark.parametrize("strikes", [("before write",), ("after write",), ("after write", "before write"), ("after write", "after write")])
def test_errors_that_strike_in_a_flush_send_all_once(tls: TLSKit, side: str, strikes: tuple[str, ...]) -> None:
    """After an error that struck within OpenSSL's write the next flush sends what is left, and returns when all of it is sent."""
    stream, peer = struck(tls, side)
    data = data_of(50_000)
    stream.write(data)
    stream.ssl.strikes = strikes
    interrupted = 0
    while stream.unsent:
        try:
            stream.flush()
        except Interrupt:
            interrupted += 1
    assert interrupted == len(strikes)
    assert peer.read_exactly(len(data)) == data
    peer.write(b"that was all")
    assert stream.read_exactly(12) == b"that was all"
    stream.close()
    assert peer.read(1) == b""


compiled_only = pytest.mark.skipif(not geventstreams.compiled, reason="the plain build promises less: the documentation says what")


@compiled_only
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a handler that strikes within a destructor
@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 100, 30_000])
def test_signal_handlers_that_raise_cost_no_input(tls: TLSKit, side: str, size: int) -> None:
    """Compiled: a handler that raises at any moment of a read, within OpenSSL too, costs no byte and doubles none."""
    stream, peer = threaded_peer(tls, side)
    data, got = bytearray(), bytearray()
    enough = False

    def send() -> None:
        random = Random(size)
        while not enough:
            piece = random.randbytes(random.choice((1, 10, 100, 200, 1000, 50_000 if size > 1 else 100)))
            data.extend(piece)
            peer.write(piece)
        peer.send(peer.close_notify())

    sending = threading.Thread(target=send)
    sending.start()
    with raising_signals() as struck:
        while not stream.at_eof:
            pieces: list[bytes] = []
            with contextlib.suppress(Interrupt):
                gather(pieces, map(stream.read1 if len(got) % 3 else stream.read, (size,)))
            got += b"".join(pieces)
            enough = enough or struck.count(OPENSSL) >= many(20)
    sending.join()
    print(f"{len(struck)} strikes, {struck.count(OPENSSL)} of them within OpenSSL, in {len(data)} bytes")
    assert got == data


@compiled_only
def test_signal_handlers_that_raise_double_no_output(tls: TLSKit, side: str) -> None:
    """Compiled: a handler that raises at any moment of a write doubles no byte, and what was accepted is sent."""
    stream, peer = threaded_peer(tls, side)
    got = bytearray()

    def receive() -> None:
        while piece := peer.read(65536):
            got.extend(piece)

    receiving = threading.Thread(target=receive)
    receiving.start()
    data = bytearray()
    random = Random(SEED)
    with raising_signals() as struck:
        while struck.count(OPENSSL) < many(20):
            message = random.randbytes(random.choice((1, 1000, 40_000, 200_000)))
            with contextlib.suppress(Interrupt):
                stream.write(b"")  # `accepted` is 0 from now on
            counts: list[int] = []
            with contextlib.suppress(Interrupt):
                gather(counts, map(stream.write, (message,)))
            data += message if counts or stream.accepted else b""
            with contextlib.suppress(Interrupt):
                gather([], map(SocketStream.flush, (stream,)))
    stream.close()
    receiving.join()
    print(f"{len(struck)} strikes, {struck.count(OPENSSL)} of them within OpenSSL, in {len(data)} bytes")
    assert got == data


@pytest.mark.skipif(geventstreams.compiled, reason="compiled code runs handlers nowhere but in OpenSSL's calls")
@pytest.mark.parametrize("size", [100, 40_000])
def test_a_handler_that_raises_where_records_are_made_costs_none(tls: TLSKit, side: str, size: int) -> None:
    """Plain: wherever a handler raises while records are made, the next flush sends each once, and `unsent` tells what is left."""
    makers = {TLSTransport.send.__code__, TLSTransport._encrypt.__code__, Records.take.__code__}
    data, number, place = data_of(size), 0, "none yet"

    def interrupt() -> None:
        raise Interrupt

    while place:
        number += 1
        stream, peer = tls.stream(side)
        stream.write(data)
        handler = Handler(number, interrupt, lambda frame: frame.f_code in makers, looks_for_signals)
        with contextlib.suppress(Interrupt), handler:
            stream.flush()
        place = handler.place
        assert stream.unsent in (0, size), place
        stream.flush()
        assert stream.unsent == 0, place
        stream.sendall(b"next")
        got = b""
        while len(got) < size + 4:
            got += peer.read(65536)
        assert got == data + b"next", place
        assert stream.octets_out == size + 4
        stream.abort()
    assert number > 5


# Limits.


def test_a_line_without_end_takes_bounded_memory(tls: TLSKit, side: str) -> None:
    """64 MiB without a newline: LineTooLong, memory of two line limits and a quarter of a mebibyte; afterwards the stream is in step."""
    limit = 128 * KIB
    stream, peer = tls.stream(side, line_limit=limit)
    total = 64 * MIB if many(1) > 1 else 4 * MIB

    def send() -> None:
        block = b"x" * MIB
        for _ in range(total // MIB):
            peer.write(block)
            gevent.sleep(0)
        peer.write(b"\nin step\n")

    sending = gevent.spawn(send)
    tracemalloc.start()
    try:
        with pytest.raises(LineTooLong):
            stream.readline()
        before = tracemalloc.get_traced_memory()[0]
        assert stream.buffered <= 2 * limit
        tracemalloc.reset_peak()
        stream.discard_line()
        assert tracemalloc.get_traced_memory()[1] - before <= 2 * limit + 256 * KIB + MIB * 5 // 2  # the peer's own records
    finally:
        tracemalloc.stop()
    assert stream.readline() == b"in step\n"
    sending.get()


@pytest.mark.parametrize("size", [-1, 0, 1])
@pytest.mark.parametrize("piece", [1, 1000])
def test_the_line_limit_is_exact(tls: TLSKit, side: str, size: int, piece: int) -> None:
    """Lines just below, at and above the limit, in single records and in many."""
    limit = 1000
    stream, peer = tls.stream(side, line_limit=limit)
    line = b"x" * (limit + size - 1) + b"\n"
    peer.send(b"".join(peer.encrypted(line[at : at + piece]) for at in range(0, len(line), piece)) + peer.encrypted(b"next\n"))
    if size > 0:
        with pytest.raises(LineTooLong):
            stream.readline()
        stream.discard_line()
    else:
        assert stream.readline() == line
    assert stream.readline() == b"next\n"


def test_a_peer_that_never_reads_costs_little_memory(tls: TLSKit, side: str) -> None:
    """64 MiB written to a peer that never reads: the writer waits, and the stream holds less than a mebibyte."""
    stream, _ = tls.stream(side, buffers=16384)
    data = b"x" * (64 * MIB)
    tracemalloc.start()
    try:
        writer = started(stream.write, data)
        gevent.sleep(0.05)
        assert not writer.ready()
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()
        writer.kill(block=False)
        stream.abort()


class CountingTransport(SocketTransport, SocketDouble):
    """A socket, and its transport, which notes how much each call was to send, and how much the system took."""

    def __init__(self, plain: socket.socket) -> None:
        SocketTransport.__init__(self, plain)
        self.sends: list[tuple[int, int]] = []

    def transport(self) -> SocketTransport:
        return self

    def send_pieces(self, pieces: list[bytes], start: int) -> int:
        count = SocketTransport.send_pieces(self, pieces, start)
        self.sends.append((sum(map(len, pieces)) - start, count))
        return count


def test_a_batch_of_records_grows_while_the_system_takes_all(tls: TLSKit, side: str) -> None:
    """Records for one send: 256 KiB, twice as many after each that was taken whole, up to 1 MiB, and 256 KiB after one that was not."""
    near, far = tls.pairs.sockets()
    counting = CountingTransport(near)
    shaking = gevent.spawn(tls.secure, far, other(side))
    stream = tls.secure(counting, side)
    peer = shaking.get()
    counting.sends.clear()
    data = data_of(16 * MIB)
    reading = gevent.spawn(peer.read_exactly, len(data))
    stream.write(data)
    stream.flush()
    assert reading.get() == data
    batches, sizes, held, left = {256 * KIB}, set(), 0, len(data)
    for offered, count in counting.sends:
        if not held:
            [batch] = {each for each in {*batches, left} if each < offered <= each + each // 100}  # what records add
            assert batch <= max(batches)
            sizes.add(batch)
            left -= batch
            batches = {min(2 * batch, MIB)}
            if count != offered:
                batches.add(256 * KIB)  # unless the next call took the rest at once
        held = offered - max(count, 0)
    assert not left
    assert {256 * KIB, 512 * KIB} <= sizes
    assert max(sizes) <= MIB


def test_idle_streams_hold_no_buffers(certificates: Certificates, pairs: Pairs) -> None:
    """A hundred TLS streams that have moved megabytes and are idle now hold no memory of ours worth mentioning."""
    kit = TLSKit(certificates, pairs, "TLSv1.3")
    client, server = kit.context("client"), kit.context("server")
    made = []
    tracemalloc.start()
    try:
        for _ in range(20):
            stream, peer = kit.streams("client", ssl_ctx=client, peer={"ssl_ctx": server})
            for one, two in ((stream, peer), (peer, stream)):
                sending = gevent.spawn(one.sendall, b"x" * 300_000)
                two.read_exactly(300_000)
                sending.get()
            reader = gevent.spawn(outcome, stream.read, 1)
            gevent.sleep(0)
            made.append((stream, peer, reader))
        gc.collect()
        before = tracemalloc.take_snapshot()
        size = sum(trace.size for trace in before.traces if trace.size >= 4096)
        assert size < MIB, before.statistics("lineno")[:5]
    finally:
        tracemalloc.stop()
        for stream, peer, reader in made:
            stream.abort()
            peer.abort()
            reader.get()


# Processes.


def test_a_forked_child_says_nothing(tls: TLSKit, side: str) -> None:
    """A child with a copy of a stream that holds output can only close it: nothing is sent, and the parent's TLS goes on."""
    stream, peer = tls.stream(side)
    stream.write(b"from the parent")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            refused = isinstance(outcome(stream.write, b"x"), StreamError) and isinstance(outcome(stream.flush), StreamError)
            number = stream.fileno()
            stream.close()
            status = 0 if refused and not open_descriptor(number) else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    stream.flush()
    assert peer.read_exactly(15) == b"from the parent"
    peer.write(b"to the parent\n")
    assert stream.readline() == b"to the parent\n"


# Leaks.


@pytest.mark.slow
@pytest.mark.parametrize("end", ["cut", "reset", "flip", "timeout", "alert"])
def test_error_paths_leave_nothing(tls: TLSKit, side: str, end: str) -> None:
    """Every way a stream can fail, a thousand times over with the exceptions kept: no descriptor is left."""
    kept = []
    before = descriptors_in_use()
    for _ in range(many(20)):
        stream, peer = tls.stream(side, read_timeout=0.01 if end == "timeout" else None)
        if end == "cut":
            peer.end()
        elif end == "reset":
            reset(peer.socket)
        elif end == "flip":
            record = peer.encrypted(b"flip")
            peer.send(record[:-1] + bytes((record[-1] ^ 1,)))
        elif end == "alert":
            peer.fail()
        kept.append(outcome(stream.readline))
        kept.append(outcome(stream.sendall, b"x"))
        stream.close(abort=True)
        peer.close()
        tls.pairs.made.clear()
    assert sum(isinstance(one, StreamError) for one in kept) >= len(kept) // 2
    assert descriptors_in_use() == before


def test_hand_made_peers_are_other(tls13: TLSKit) -> None:
    """The kit's own peer refuses what is not TLS, so a test that uses it can fail."""
    near, far = tls13.pairs.sockets()
    peer = HandMade(tls13.pairs.far(far), tls13.context("server"), other("client"))
    near.sendall(b"no TLS at all")
    with pytest.raises(OSError, match=r"(?i)wrong.version|http|record"):
        peer.shake_hands()
