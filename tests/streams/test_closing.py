"""End, reset and close: received and accepted data gets where it belongs, and the descriptor is always closed."""

import contextlib
import errno
import gc
import io
import socket
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from kit.conditions import until
from kit.leftovers import descriptors_in_use, open_descriptor
from kit.network import reset
from kit.pairs import Pairs

from geventstreams._core.linger import LONGEST_LOOK
from geventstreams._streams.lisp import LispStream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import StreamClosed, StreamError, StreamReset, WriteTimeout
from geventstreams.testing import TransportOver, VirtualClock, memory_pair
from geventstreams.testing.claims import beside, outcome, sample, started, stuffed
from geventstreams.waiting import wait_for_input_streams

TWO_MEGABYTES = 2 * 2**20


# Ends and resets.


def test_the_end_is_sticky(pairs: Pairs, kind: str) -> None:
    """Lines, then the peer's end: the lines, then b"" ten times, and at_eof is true once all was taken."""
    stream, peer = pairs.streams(kind)
    peer.sendall(b"one\ntwo")
    peer.close()
    assert (stream.readline(), stream.at_eof) == (b"one\n", False)
    assert stream.readline() == b"two"
    assert [stream.read(10) for _ in range(10)] == [b""] * 10
    assert stream.at_eof


@pytest.mark.parametrize("size", [5001, 100_000])
def test_all_that_came_before_a_reset_is_read_first(pairs: Pairs, size: int) -> None:
    """Bytes, then a reset, read later: all of them, then StreamReset each time, in every way of reading."""
    stream, far = pairs.stream()
    far.sendall(sample(size))
    until(lambda: stream.socket.recv(size, socket.MSG_PEEK | socket.MSG_DONTWAIT) and stream.listen())
    reset(far)
    assert stream.read(size) == sample(size)
    for call, *args in ((stream.read, 1), (stream.read,), (stream.readline,), (stream.read_char,), (stream.read_line,)) * 2:
        with pytest.raises(StreamReset) as caught:
            call(*args)
        assert caught.value.errno == errno.ECONNRESET
    assert not stream.at_eof


def test_a_reset_that_a_write_notices_first(pairs: Pairs) -> None:
    """A write that meets the reset raises it; reads still give all that had arrived, then StreamReset each time."""
    stream, far = pairs.stream()
    far.sendall(sample(5001))
    until(lambda: len(stream.peek()) and stream.listen())
    reset(far)
    stream.write(b"x")
    with pytest.raises(StreamReset) as caught:
        until(stream.flush)
    assert caught.value.unsent == 1
    assert stream.read(9999) == sample(5001)
    for _ in range(3):
        with pytest.raises(StreamReset):
            stream.read(1)


def test_a_reset_with_unread_bytes_that_a_write_notices_first(pairs: Pairs) -> None:
    """Bytes that are unread in the system when a write notices a reset are read first, then StreamReset."""
    stream, far = pairs.stream()
    far.sendall(sample(5001))
    reset(far)
    stream.write(b"x")
    with pytest.raises(StreamReset):
        until(stream.flush)
    assert stream.read(5001) == sample(5001)
    for _ in range(3):
        with pytest.raises(StreamReset):
            stream.read(1)


def test_a_broken_pipe_after_an_orderly_end_leaves_the_end(pairs: Pairs, kind: str) -> None:
    """The peer ended in order and is gone: a write fails, and reading goes on to be at the end of file."""
    stream, peer = pairs.streams(kind)
    peer.sendall(b"last words")
    peer.close()
    assert stream.read(10) == b"last words"
    assert stream.read(1) == b""
    assert isinstance(until(lambda: outcome(stream.sendall, b"anybody?")), StreamError)
    assert stream.read(1) == b""
    assert stream.read() == b""
    assert stream.at_eof is True


def test_the_peers_half_close_leaves_ours_open(pairs: Pairs, kind: str) -> None:
    """After the peer's end a megabyte still goes to it, and after ours one still comes; a second end does nothing."""
    stream, peer = pairs.streams(kind)
    data = sample(2**20)
    peer.send_eof()
    assert stream.read() == b""
    with beside(stream.sendall, data):
        assert peer.read_exactly(2**20) == data
    stream, peer = pairs.streams(kind)
    stream.write(b"before")
    stream.send_eof()
    stream.send_eof()
    assert peer.read() == b"before"
    with beside(peer.sendall, data):
        assert stream.read_exactly(2**20) == data
    for call, *args in ((stream.write, b"x"), (stream.write, b""), (stream.terpri,)):
        with pytest.raises(StreamClosed):
            call(*args)


# Lingering.


def fill(stream: Any) -> None:
    """Return the system all that it takes, so that it cannot send all of it to a peer that does not read."""
    with contextlib.suppress(BlockingIOError):
        while True:
            stream.socket.send(bytes(2**14), socket.MSG_DONTWAIT)


def slowly(far: Any, total: int, speak_after: int, piece: int = 65536) -> bytes:
    """What a peer receives that takes its time, and says something once it has so much."""
    got = bytearray()
    while len(got) < total and (data := far.recv(piece)):
        if len(got) < speak_after <= len(got) + len(data):
            far.sendall(b"!")
        got += data
        gevent.sleep(0.002)
    return bytes(got)


@pytest.mark.parametrize("speaks_after", [0, 65536, 10**6], ids=["unread at once", "a little later", "much later"])
def test_unread_input_does_not_cost_our_output(pairs: Pairs, speaks_after: int) -> None:
    """2 MiB to a slow peer, close() with a byte of its unread, or one that comes later: all 2,097,152 arrive."""
    stream, far = pairs.stream(buffers=2**18)
    if not speaks_after:
        far.sendall(b"?")
        until(stream.listen)
        far.sendall(b"?")
    data = sample(TWO_MEGABYTES)
    slow = gevent.spawn(slowly, far, TWO_MEGABYTES, speaks_after)
    stream.write(data)
    stream.close()
    got = slow.get()
    assert len(got) == TWO_MEGABYTES
    assert got == data
    assert far.recv(1) == b""


@pytest.mark.parametrize("direction", ["input", "io"])
def test_an_input_that_was_shut_down_does_not_cost_our_output(pairs: Pairs, direction: str) -> None:
    """shutdown of the input with a byte of it unread, and a close, while the peer goes on talking: all that was written arrives."""
    stream, peer = pairs.streams("tcp")
    data = sample(300_000)
    peer.sendall(b"?")
    until(stream.listen)
    peer.sendall(b"?")
    stream.sendall(data)
    stream.shutdown(direction)
    closing = started(stream.close)
    got = b""
    while len(got) < len(data):
        with contextlib.suppress(StreamError):  # once the stream is closed
            peer.sendall(b"!")
        got += peer.read_exactly(min(10_000, len(data) - len(got)))
    closing.get()
    assert got == data
    assert peer.read() == b""


def test_unread_input_of_a_unix_socket_is_drained(pairs: Pairs) -> None:
    """A Unix socket that is closed with unread input does not turn our last words into an error at the peer."""
    stream, far = pairs.stream("unix")
    far.sendall(sample(50_000))
    stream.write(b"last words")
    stream.close()
    assert (far.recv(100), far.recv(100)) == (b"last words", b"")


def test_an_ordinary_close_does_not_wait(pairs: Pairs, kind: str) -> None:
    """close with nothing unread, and all that was written with the system, does not switch to another greenlet."""
    stream, peer = pairs.streams(kind)
    stream.sendall(b"all said")
    assert peer.read(8) == b"all said"
    stream.write(b"more")
    ran = started(lambda: None)
    ran.join()
    ran = gevent.spawn(lambda: None)
    stream.close()
    assert not ran.started or not ran.ready()
    assert peer.read() == b"more"


@pytest.mark.usefixtures("unsent_is_told")
def test_lingering_ends_without_progress(virtual_clock: VirtualClock, pairs: Pairs) -> None:
    """A peer that takes nothing keeps a close no longer than linger_timeout, which raises nothing: all was with the system."""
    stream, far = pairs.stream(buffers=2**16, linger_timeout=0.1)
    fill(stream)
    before = virtual_clock.now
    stream.close()
    assert 0.1 <= virtual_clock.now - before <= 0.1 + LONGEST_LOOK
    assert far.fileno() >= 0


@pytest.mark.usefixtures("unsent_is_told")
def test_lingering_ends_after_ten_times_the_limit(virtual_clock: VirtualClock, pairs: Pairs) -> None:
    """A peer that never stops talking keeps a close no longer than ten times linger_timeout."""
    stream, far = pairs.stream(buffers=2**16, linger_timeout=0.03)
    fill(stream)
    talk = gevent.spawn(outcome, lambda: [(far.sendall(bytes(1000)), gevent.sleep(0.001)) for _ in range(10**6)])
    until(stream.listen)
    before = virtual_clock.now
    stream.close()
    took = virtual_clock.now - before
    talk.kill()
    assert took == pytest.approx(0.3, abs=0.002)  # it speaks once a millisecond


@pytest.mark.usefixtures("unsent_is_told")
def test_lingering_ends_with_the_peer(virtual_clock: VirtualClock, pairs: Pairs) -> None:
    """A peer that is gone, in order or by reset, ends the lingering at once."""
    for end in (reset, lambda far: far.close()):
        stream, far = pairs.stream(buffers=2**16, linger_timeout=20)
        fill(stream)
        closing = started(stream.close)
        assert not closing.ready()
        before = virtual_clock.now
        end(far)
        closing.get()
        assert virtual_clock.now == before


# Closing.


def test_close_flushes_and_ends(pairs: Pairs, kind: str) -> None:
    """close sends what is buffered, then the end; a second one returns at once, and so does abort."""
    stream, peer = pairs.streams(kind)
    stream.write(b"buffered")
    assert [stream.close(), stream.close(), stream.abort(), stream.close(abort=True)] == [None] * 4
    assert peer.read() == b"buffered"


def test_an_error_in_with_sends_nothing(pairs: Pairs, socket_kind: str) -> None:
    """with, left by an exception, neither flushes nor lingers: the peer sees a reset, over a Unix socket an end."""
    stream, far = pairs.stream(socket_kind)
    far.sendall(b"unread")

    def fail() -> None:
        with stream:
            stream.write(b"never")
            raise KeyError

    assert isinstance(outcome(fail), KeyError)
    assert stream.closed
    said = outcome(far.recv, 100)
    assert isinstance(said, ConnectionResetError) or (socket_kind == "unix" and said == b"")


def test_a_close_after_the_peer_went_raises_nothing(pairs: Pairs, kind: str) -> None:
    """close of a connection that the peer ended or reset is quiet where nothing was left to send."""
    for end in (lambda peer: peer.close(), lambda peer: peer.abort()):
        for look in (lambda stream: outcome(stream.read, 1), lambda stream: outcome(stream.sendall, b"x")):
            stream, peer = pairs.streams(kind)
            end(peer)
            look(stream)
            if not stream.unsent:
                stream.close()
            else:
                assert outcome(stream.flush) is not None
                outcome(stream.close)
            assert stream.closed


def test_a_flush_that_failed_is_told_once(pairs: Pairs, kind: str) -> None:
    """close of unsent bytes to a peer that is gone raises once, with .unsent, and has closed the stream."""
    stream, peer = pairs.streams(kind)
    peer.abort()
    assert wait_for_input_streams([stream], timeout=20) == [stream]
    stream.write(b"unsent")
    with pytest.raises(StreamError) as caught:
        stream.close()
    assert caught.value.unsent == 6
    assert (stream.closed, stream.fileno()) == (True, -1)
    stream.close()


@pytest.mark.parametrize("options", [{"write_timeout": 0.05}, {"linger_timeout": 0.05}], ids=str)
def test_a_close_to_a_stopped_peer_is_bounded(virtual_clock: VirtualClock, pairs: Pairs, kind: str, options: dict[str, float]) -> None:
    """1 MiB unsent: the flush of a close is limited by write_timeout, or by linger_timeout where that is None; told once, closed."""
    stream, _peer = pairs.streams(kind, buffers=4096, **options)
    stream.write_timeout = 0.05
    assert isinstance(outcome(stream.write, bytes(TWO_MEGABYTES)), WriteTimeout)
    assert stream.unsent >= TWO_MEGABYTES // 2
    stream.write_timeout = options.get("write_timeout")
    before = virtual_clock.now
    with pytest.raises(WriteTimeout) as caught:
        stream.close()
    assert virtual_clock.now - before == pytest.approx(0.05)
    assert caught.value.unsent > 0
    assert stream.closed is True
    assert stream.fileno() == -1
    assert stream.close() is None


def test_closing_is_true_from_the_first_moment(pairs: Pairs, kind: str) -> None:
    """While close still flushes, the stream is closed to everybody else; what was accepted arrives all the same."""
    stream, peer = pairs.streams(kind)
    data, _ = stuffed(stream)
    stream.write_timeout = None
    closing = started(stream.close)
    assert closing.ready() is False
    assert stream.closed is True
    assert stream.fileno() == -1
    assert stream.buffered == 0
    for call, *args in ((stream.write, b"x"), (stream.read, 1), (stream.flush,), (stream.readline,)):
        with pytest.raises(StreamClosed):
            call(*args)
    assert stream.close() is None
    assert peer.read() == data
    assert closing.get() is None


def test_a_begun_write_is_taken_over_and_queued_ones_are_refused(pairs: Pairs, kind: str) -> None:
    """close while writers wait: the begun message arrives whole, the writers get StreamClosed, the queued are not sent."""
    stream, peer = pairs.streams(kind)
    data = sample(2**24)
    begun = started(stream.write, data)
    queued = [started(stream.write, b"queued") for _ in range(3)]
    reader = started(stream.readline)
    assert not begun.ready()
    closing = started(stream.close)
    for greenlet in (begun, *queued, reader):
        assert isinstance(greenlet.get(), StreamClosed)
    assert stream.accepted in (0, len(data))
    assert peer.read() == data
    assert closing.get() is None


def test_what_a_begun_write_left_may_be_changed_by_its_caller(pairs: Pairs) -> None:
    """Once the writer has its StreamClosed, its memory is its own again, though the close still sends."""
    stream, peer = pairs.streams("memory")
    data = bytearray(sample(500_000))
    wanted = bytes(data)
    begun = started(stream.write, data)
    closing = started(stream.close)
    assert isinstance(begun.get(), StreamClosed)
    data[:] = bytes(len(data))
    data.clear()
    assert peer.read() == wanted
    closing.get()


@pytest.mark.parametrize("how", ["abort", "close"])
def test_an_abort_ends_a_close(pairs: Pairs, kind: str, how: str) -> None:
    """close(abort=True) during another close ends that one: it is told what was unsent, and the descriptor is gone."""
    stream, _ = pairs.streams(kind)
    stuffed(stream)
    stream.write_timeout = None
    number = stream.socket.fileno() if kind != "memory" else -1
    closing = started(stream.close)
    assert not closing.ready()
    stream.abort() if how == "abort" else stream.close(abort=True)
    error = closing.get()
    assert isinstance(error, StreamError)
    assert error.unsent
    assert number == -1 or not open_descriptor(number)


@pytest.mark.usefixtures("unsent_is_told")
def test_an_abort_ends_a_lingering_close(pairs: Pairs) -> None:
    """close(abort=True) also ends the lingering of another close, which had nothing left to flush."""
    stream, _ = pairs.stream(buffers=2**16, linger_timeout=30)
    fill(stream)
    number = stream.fileno()
    closing = started(stream.close)
    gevent.sleep(0.01)
    assert not closing.ready()
    stream.abort()
    assert not open_descriptor(number)
    assert closing.get() is None


@pytest.mark.parametrize("ended", [False, True])
def test_an_abort_by_who_is_woken_ends_a_close(pairs: Pairs, kind: str, ended: bool) -> None:
    """A reader that a close wakes may abort the stream: the close, which had nothing to send, returns."""
    stream, _ = pairs.streams(kind)

    def read() -> None:
        with pytest.raises(StreamClosed):
            stream.readline()
        stream.abort()

    reading = started(read)
    if ended:
        stream.send_eof()
    assert outcome(stream.close) is None
    assert reading.get() is None
    assert stream.fileno() == -1


def test_leaving_a_with_block_does_not_end_a_close(pairs: Pairs, kind: str) -> None:
    """A reader whose `with` block another greenlet ends by closing the stream leaves that close alone: all that was written arrives."""
    stream, peer = pairs.streams(kind)

    def read() -> None:
        with stream:
            stream.readline()

    reading = started(read)
    data, _ = stuffed(stream)
    closing = started(stream.close)
    assert isinstance(reading.get(), StreamClosed)
    assert peer.read() == data
    assert closing.get() is None


@pytest.mark.parametrize("ending", ["kill", "timeout", "error"])
def test_an_interrupted_close_has_closed(pairs: Pairs, kind: str, ending: str) -> None:
    """A close whose wait is ended by an exception has closed without further sending; the exception comes out."""
    stream, peer = pairs.streams(kind)
    stuffed(stream)
    stream.write_timeout = None
    closing = started(stream.close)
    error = {"kill": gevent.GreenletExit(), "timeout": gevent.Timeout(), "error": KeyError("mine")}[ending]
    closing.kill(error)
    assert closing.get() is error
    assert (stream.closed, stream.fileno()) == (True, -1)
    assert len(peer.read(100)) == 100
    assert isinstance(outcome(peer.readlines), (StreamError, list))  # it is not left waiting; under TLS it hears of the cut


@pytest.mark.parametrize("size", [10, 10**7])
def test_a_close_in_the_hub_never_waits(pairs: Pairs, kind: str, size: int) -> None:
    """In the hub's own greenlet close sends what needs no waiting and aborts the rest."""
    stream, peer = pairs.streams(kind)
    if size > 10:
        stuffed(stream)
    else:
        stream.write(b"x" * size)
    said: list[Any] = []
    gevent.get_hub().loop.run_callback(lambda: said.append(outcome(stream.close)))
    until(lambda: said)
    assert said == [None]
    assert stream.closed is True
    assert stream.fileno() == -1
    if size == 10:
        assert peer.read() == b"x" * 10
    elif kind != "unix":
        with pytest.raises(StreamReset):
            peer.read()


def test_the_rest_works_in_the_hub_or_says_that_it_cannot(pairs: Pairs) -> None:
    """In the hub's greenlet what needs no waiting works, and what would wait is an error at once, not a hang."""
    stream, peer = pairs.streams("tcp")
    peer.sendall(b"line\n")
    until(stream.listen)
    said: list[Any] = []
    calls: list[Callable[[], Any]] = [stream.readline, lambda: stream.write(b"x"), stream.flush, stream.readline]
    gevent.get_hub().loop.run_callback(lambda: said.extend(outcome(call) for call in calls))
    until(lambda: len(said) == 4)
    assert said[:3] == [b"line\n", 1, None]
    assert isinstance(said[3], gevent.exceptions.BlockingSwitchOutError)
    peer.sendall(b"more\n")
    assert stream.readline() == b"more\n"


# Being dropped.


class Kept:
    """Streams that a test drops, by their weak references."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs

    def dropped(self, prepare: Callable[[Any, Any], Any]) -> Any:
        """The far end of a stream that was prepared and then dropped; it must be gone without the collector."""
        near, far = self.pairs.sockets()
        far_end = self.pairs.far(far)
        gc.collect()
        gc.disable()
        try:
            with pytest.warns(ResourceWarning, match="unclosed stream <SocketStream fd="):
                gone = self._prepared(near, far_end, prepare)
            assert gone() is None
        finally:
            gc.enable()
        return far_end

    @staticmethod
    def _prepared(near: Any, far: Any, prepare: Callable[[Any, Any], Any]) -> Any:
        stream = SocketStream(near, read_timeout=20, write_timeout=20)
        prepare(stream, far)
        return Watch(stream)


class Watch:
    """Whether a stream was finalised, though the warning that it gave holds it."""

    def __init__(self, stream: Any) -> None:
        self.transport = weakref.ref(stream._transport) if hasattr(stream, "_transport") else None
        self.number = stream.fileno()

    def __call__(self) -> Any:
        return self.number if open_descriptor(self.number) else None


def pushed_back(stream: Any, far: Any) -> None:
    """A stream with unsent output that the hub sends as room comes."""
    while not stream.unsent:
        stream.write(bytes(2**14))
        stream.force_output()


STATES: dict[str, Callable[[Any, Any], Any]] = {
    "fresh": lambda stream, far: None,
    "used": lambda stream, far: (stream.sendall(b"x"), far.sendall(b"abc\n"), stream.readline()),
    "after a kill": lambda stream, far: started(stream.readline).kill(),
    "after a timeout": lambda stream, far: (stream.__setattr__("read_timeout", 0.01), outcome(stream.read, 1)),
    "sending in the background": pushed_back,
    "socket asked": lambda stream, far: stream.socket,
    "at the end": lambda stream, far: (far.shutdown(socket.SHUT_WR), stream.read()),
    "after an error": lambda stream, far: (outcome(stream.read, -5), outcome(stream.write, "x")),
}


@pytest.mark.parametrize("name", STATES)
def test_a_dropped_stream_is_gone_at_once(pairs: Pairs, name: str) -> None:
    """A stream that is dropped unclosed warns, frees its descriptor by reference count alone, and does not wait."""
    far = Kept(pairs).dropped(STATES[name])
    assert far.fileno() >= 0


def test_a_dropped_stream_sends_what_needs_no_waiting(pairs: Pairs) -> None:
    """What the system takes at once of a dropped stream's output still arrives."""
    far = Kept(pairs).dropped(lambda stream, _: stream.write(b"said"))
    assert (far.recv(100), far.recv(100)) == (b"said", b"")


def test_a_stream_that_was_closed_gives_no_warning(pairs: Pairs) -> None:
    """A closed or aborted stream is dropped without a warning, and so is one whose constructor refused its arguments."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for end in ("close", "abort"):
            stream = SocketStream(pairs.sockets()[0])
            getattr(stream, end)()
            del stream
        for _ in range(2):
            assert isinstance(outcome(SocketStream, pairs.sockets()[0], "wrong"), ValueError)
        gc.collect()


def lived(stream: Any, far: Any, prepare: Callable[[Any, Any], Any]) -> None:
    """Use a stream and close it."""
    prepare(stream, far)
    stream.write_timeout = stream.read_timeout = None
    stream.abort()


@pytest.mark.parametrize("name", STATES)
def test_no_state_of_a_stream_is_a_cycle(pairs: Pairs, name: str) -> None:
    """A stream that was used and closed leaves nothing to the collector: neither itself nor anything of the package."""
    lived(*pairs.stream(), STATES["used"])
    pairs.close()
    gc.collect()
    gc.disable()
    others = gc.get_objects()  # kept alive: what other tests have left, and may end now, is not looked at
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        near, far = pairs.sockets()
        stream = SocketStream(near)
        lived(stream, pairs.far(far), STATES[name])
        gone = weakref.ref(stream)
        del stream, near, far
        pairs.close()
        assert gone() is None
        gc.collect()
        ours = [one for one in gc.garbage if "geventstreams" in type(one).__module__]
        ours += [one for one in gc.garbage if "geventstreams" in type(getattr(one, "__self__", None)).__module__]
        assert ours == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        del others


def test_an_error_that_is_kept_keeps_no_more_than_its_stream(pairs: Pairs) -> None:
    """A thousand errors of every kind that are kept cost no descriptor once their streams are closed."""
    before = descriptors_in_use()
    kept: list[Any] = []
    for _ in range(100):
        stream, far = pairs.stream(read_timeout=1e-6)
        kept += [outcome(stream.read, 1), outcome(stream.read, -5), outcome(stream.read_until, b"")]
        reset(far)
        kept += [outcome(stream.sendall, b"x"), outcome(stream.sendall, b"x"), outcome(stream.read)]
        stream.close()
        kept += [outcome(stream.read), outcome(stream.write, b"")]
        pairs.close()
    assert len(kept) == 800
    assert descriptors_in_use() == before


# Files over it.


class Counting(TransportOver):
    """Counts how often it is closed, and how."""

    def __init__(self, transport: Any) -> None:
        super().__init__(transport)
        self.closings: list[bool] = []

    def close(self, abort: bool = False) -> None:
        self.closings.append(abort)
        super().close(abort)


def test_a_text_file_over_it_closes_it_once() -> None:
    """io.TextIOWrapper, closed or dropped, closes the stream it has, and what was written through it arrives."""
    for end in (lambda text: text.close(), lambda text: None):
        near, far = memory_pair()
        stream, peer = LispStream(Counting(near)), LispStream(far)
        text = io.TextIOWrapper(stream, encoding="utf-8")
        text.write("čeština\n")
        end(text)
        del text
        assert stream.closed
        assert peer.read() == "čeština\n".encode()
        peer.close()
