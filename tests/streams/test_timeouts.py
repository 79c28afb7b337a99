"""Timeouts: they count from the last receive call or progress, fire in time and never early, and lose no data."""

import array
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import gevent
import pytest
from kit.conditions import until
from kit.pairs import Pairs
from servers import c_compiler

from geventstreams._streams.lisp import LispStream
from geventstreams.errors import EndOfFile, ReadTimeout, StreamError, WriteTimeout
from geventstreams.testing import HostileTransport, StallingTransport, TransportOver, memory_pair
from geventstreams.testing.claims import ATTEMPTS, beside, fires_in_time, outcome, raises, same, sample, send, started

T = 0.06
CHARACTERS = "w" if sys.version_info >= (3, 13) else "u"


def resumed(ends: tuple[Any, Any], halves: tuple[bytes, bytes], call: Callable[[], Any], *, end: bool = False) -> Any:
    """What a call gives that is made while the second half comes, after it had timed out with the first half only."""
    stream, peer = ends
    first, second = halves
    send(peer, first)
    stream.read_timeout = 0.02
    with pytest.raises(ReadTimeout):
        call()
    assert stream.timed_out
    stream.read_timeout = None
    with beside(lambda: (send(peer, second), peer.send_eof() if end else None)):
        said = call()
    assert not stream.timed_out
    return said


@pytest.mark.usefixtures("virtual_clock")
@pytest.mark.parametrize("size", [11, 9000, 40_000])
def test_what_came_is_kept(pairs: Pairs, kind: str, size: int) -> None:
    """Half of what read, readinto, read_exactly or read() waits for, then silence: kept, and the same call completes."""
    data = sample(size)
    halves = data[: size // 2], data[size // 2 :]
    ends = stream, _ = pairs.streams(kind)
    assert resumed(ends, halves, lambda: stream.read(size)) == data
    assert resumed(ends, halves, lambda: stream.read_exactly(size)) == data
    space = bytearray(size)
    assert resumed(ends, halves, lambda: stream.readinto(space)) == size
    assert space == data
    assert resumed(ends, halves, stream.read, end=True) == data


@pytest.mark.usefixtures("virtual_clock")
def test_half_a_line_is_kept(pairs: Pairs, kind: str) -> None:
    """Half of a line, in readline, read_until, readlines and discard_line: what is kept is the whole line in the end."""
    ends = stream, _ = pairs.streams(kind)
    assert resumed(ends, (b"half a ", b"line\n"), stream.readline) == b"half a line\n"
    assert resumed(ends, (b"half-", b"-end"), lambda: stream.read_until(b"--")) == b"half--"
    assert stream.read(3) == b"end"
    assert resumed(ends, (b"dropped", b" line\nnext"), stream.discard_line) is None
    assert stream.read(4) == b"next"
    assert resumed(ends, (b"one\nt", b"wo\n"), stream.readlines, end=True) == [b"one\n", b"two\n"]


@pytest.mark.usefixtures("virtual_clock")
def test_half_a_character_is_kept(pairs: Pairs, kind: str) -> None:
    """A character arrives in halves: the Lisp vocabulary takes the silence for an end, and then gives it whole."""
    stream, peer = pairs.streams(kind, encoding="utf-8", read_timeout=0.01)
    peer.sendall("€".encode()[:2])
    until(stream.listen)
    for call in (stream.read_char, stream.peek_char):
        with pytest.raises(EndOfFile) as caught:
            call()
        assert caught.value.timed_out
        assert call(eof_error=False, eof_value="late") == "late"
    assert (stream.read_string(5), stream.read_line(False)) == ("", ("", True))
    assert stream.timed_out is True
    assert stream.at_eof is False
    assert stream.buffered == 2
    peer.sendall("€".encode()[2:])
    assert stream.read_char() == "€"
    assert not stream.timed_out


@pytest.mark.usefixtures("virtual_clock")
def test_a_timeout_is_as_an_end_to_lisp(pairs: Pairs, kind: str) -> None:
    """A read timeout gives a short index, a part of a line with True, EndOfFile or eof_value; it is not sticky."""
    stream, peer = pairs.streams(kind, read_timeout=0.01, element_type=bytes)
    for seq in (bytearray(b"...."), [46] * 4, array.array(CHARACTERS, "....")):
        peer.sendall(b"xy")
        until(stream.listen)
        assert stream.read_sequence(seq, 1) == 3
        assert stream.timed_out
        assert stream.read_sequence(seq, 1) == 1
        assert [chr(one) if isinstance(one, int) else one for one in seq] == list(".xy.")
    for call in (stream.read_byte, stream.read_char):
        with pytest.raises(EndOfFile) as caught:
            call()
        assert caught.value.timed_out
        assert call(False, 5) == 5
    peer.sendall(b"half a")
    until(stream.listen)
    assert stream.read_line() == ("half a", True)
    peer.sendall(b" line\n")
    assert stream.read_line() == (" line", False)
    assert not stream.timed_out
    with pytest.raises(EndOfFile) as caught:
        stream.read_line()
    assert caught.value.timed_out
    peer.send_eof()
    with pytest.raises(EndOfFile) as caught:
        stream.read_line()
    assert not caught.value.timed_out


@pytest.mark.usefixtures("virtual_clock")
def test_a_large_sequence_gives_what_came_in_time(pairs: Pairs, kind: str) -> None:
    """read_sequence straight into memory gives a short index at a timeout; what is behind it was never written."""
    stream, peer = pairs.streams(kind, read_timeout=0.02)
    peer.sendall(sample(20_000))
    seq = bytearray(b"\xff" * 50_000)
    assert stream.read_sequence(seq, 5) == 20_005
    assert seq == b"\xff" * 5 + sample(20_000) + b"\xff" * 29_995


WAITS: dict[str, tuple[type[StreamError], Callable[[Any], Any]]] = {
    "read": (ReadTimeout, lambda stream: stream.read(1)),
    "flush": (WriteTimeout, lambda stream: stream.flush()),
    "write": (WriteTimeout, lambda stream: stream.write(b"x")),
    "write in the queue": (WriteTimeout, lambda stream: stream.write(b"x")),
}


def test_every_limit_fires_in_time(pairs: Pairs, kind: str) -> None:
    """Limits of 1 ns to 1 s fire in reads, writes, flushes and in the queue: none early, none later than 1.5 T + 10 ms."""

    def full(name: str) -> Any:
        stream, _ = pairs.streams(kind, buffers=2**16)
        if name != "read":
            stream.write_timeout = 0.3  # the system takes a little more of it for a while
            raises(WriteTimeout, stream.write, bytes(2**20))
            assert stream.unsent > 2**17
        return stream

    def fire(stream: Any, limit: float, name: str) -> None:
        error, call = WAITS[name]
        holder = None
        if name == "write in the queue":
            stream.write_timeout = None
            holder = started(stream.flush)
        stream.read_timeout = stream.write_timeout = limit
        fires_in_time(limit, error, call, stream)
        if holder is not None:
            holder.kill()

    cases = [(limit, name) for limit in (1.0, 1e-9, 1e-6, 1e-4, 0.003, 0.05, 0.2) for name in WAITS]
    streams = [gevent.spawn(full, name) for _, name in cases]
    firing = []
    for stream, (limit, name) in zip(streams, cases, strict=True):
        firing.append(gevent.spawn(fire, stream.get(), limit, name))
        gevent.sleep(0.001)
    gevent.joinall(firing, raise_error=True)


@pytest.mark.usefixtures("virtual_clock")
def test_a_write_timeout_is_exact(pairs: Pairs, kind: str) -> None:
    """4 MiB to a peer that does not read: accepted whole, later flushed exactly; then half a mebibyte more comes whole behind it."""
    stream, peer = pairs.streams(kind, buffers=65536, write_timeout=0.05)
    first, second = sample(2**22, 1), sample(2**19, 2)
    with pytest.raises(WriteTimeout) as caught:
        stream.write(first)
    assert caught.value.accepted == stream.accepted == len(first)
    assert caught.value.unsent == stream.unsent
    assert 0 < stream.unsent < len(first) + 2**16
    with pytest.raises(WriteTimeout) as caught:
        stream.write(b"not now")
    assert caught.value.accepted == stream.accepted == 0
    stream.write_timeout = None
    with beside(lambda: (stream.flush(), stream.write(second), stream.flush())):
        same(peer.read_exactly(len(first)), first)
        same(peer.read_exactly(len(second)), second)
    assert stream.unsent == 0
    assert not peer.listen()


def test_a_limit_may_be_lowered_while_an_older_timer_runs(pairs: Pairs, kind: str) -> None:
    """After waits with a long limit, a short one fires in time; after a short one, a long one is not cut short."""
    stream, peer = pairs.streams(kind)
    for limit in (60, 0.03, 60, 0.02, 0.08, 0.02):
        stream.read_timeout = limit
        if limit == 60:
            reader = started(stream.readline)
            peer.sendall(b"a line\n")
            assert reader.get() == b"a line\n"
        else:
            fires_in_time(limit, ReadTimeout, stream.readline)


@pytest.mark.usefixtures("virtual_clock")
def test_dripping_is_no_timeout(pairs: Pairs, kind: str) -> None:
    """A byte every quarter of the timeout keeps any read going, however long the whole call takes."""
    stream, peer = pairs.streams(kind, read_timeout=4 * T)

    def drip() -> None:
        for byte in b"dripping\n":
            gevent.sleep(T)
            peer.sendall(bytes([byte]))

    with beside(drip):
        assert stream.readline() == b"dripping\n"


@pytest.mark.usefixtures("virtual_clock")
def test_a_peer_that_takes_a_little_is_no_timeout(pairs: Pairs) -> None:
    """The write limit counts from the last progress: a slow peer is no timeout, however long the write takes."""
    stream, peer = pairs.streams("memory", buffers=1000, write_timeout=4 * T)
    stream.write(bytes(9000))
    flushing = started(stream.flush)
    for _ in range(9):
        gevent.sleep(T)
        peer.read(1000)
    assert flushing.get() is None


@pytest.mark.usefixtures("virtual_clock")
def test_those_in_the_queue_see_the_progress_of_others(pairs: Pairs) -> None:
    """A writer that waits for the lock times out only if the one before it makes no progress either."""
    stream, peer = pairs.streams("memory", buffers=1000, write_timeout=4 * T)
    first = started(stream.write, b"a" * 200_000)
    second = started(stream.write, b"b" * 200_000)
    for _ in range(12):
        gevent.sleep(T)
        assert peer.read(1000) == b"a" * 1000
    assert not second.ready()
    error = second.get()
    assert isinstance(error, WriteTimeout)
    assert error.accepted == 0
    assert isinstance(first.get(), WriteTimeout)
    assert first.get().accepted == 200_000


@pytest.mark.usefixtures("virtual_clock")
def test_progress_of_the_background_is_progress(pairs: Pairs) -> None:
    """Bytes that the hub sends while a flush waits count as its progress, and so those that a waiting reader sends."""
    stream, peer = pairs.streams("memory", buffers=1000, write_timeout=4 * T)
    stream.write(bytes(9000))
    reader = started(stream.readline)
    flushing = started(stream.flush)
    for _ in range(9):
        gevent.sleep(T)
        peer.read(1000)
    assert flushing.get() is None
    reader.kill()


class Restless(TransportOver):
    """Wakes for nothing every few milliseconds."""

    def __init__(self, transport: Any, pause: float) -> None:
        super().__init__(transport)
        self.pause = pause

    def wait_input(self, limit: float) -> bool:
        return not self.below.wait_input(min(limit, self.pause)) or True

    def wait_output(self, limit: float) -> bool:
        return not self.below.wait_output(min(limit, self.pause)) or True


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pause", [0.001, 0.9 * T])
def test_wake_ups_for_nothing_do_not_stretch_a_limit(pause: float) -> None:
    """A transport that wakes its waiters without cause does not extend the timeout of a read, write or flush."""
    near, far = memory_pair(1000)
    stream = LispStream(Restless(near, pause), read_timeout=T, write_timeout=T)
    fires_in_time(T, ReadTimeout, stream.read, 1)
    fires_in_time(T, WriteTimeout, stream.write, bytes(100_000))
    fires_in_time(T, WriteTimeout, stream.flush)
    fires_in_time(T, WriteTimeout, stream.write, b"x")
    stream.abort()
    far.close()


@pytest.mark.usefixtures("virtual_clock")
def test_limits_hold_over_a_hostile_transport() -> None:
    """Excuses and vain wake-ups in between: a silent peer is a ReadTimeout in time."""
    near, far = memory_pair()
    stream = LispStream(HostileTransport(near, Random(3), spite=0.5), read_timeout=T)
    far.send(memoryview(b"some"), 0, 4)
    for _ in range(3):
        fires_in_time(T, ReadTimeout, stream.read, 10) if stream.buffered == 4 else outcome(stream.read, 10)
    assert stream.read(4) == b"some"
    stream.abort()


@pytest.mark.usefixtures("virtual_clock")
def test_a_stalled_transport_times_out_and_goes_on() -> None:
    """A transport that is stuck times reads and writes out, and loses no data."""
    near, far = memory_pair()
    stalling = StallingTransport(near)
    stream, peer = LispStream(stalling, read_timeout=0.01, write_timeout=0.01), LispStream(far)
    stalling.stall()
    peer.sendall(b"in")
    assert isinstance(outcome(stream.write, sample(100_000)), WriteTimeout)
    assert isinstance(outcome(stream.read, 2), ReadTimeout)
    stalling.resume()
    reader = started(peer.read, 100_000)
    stream.flush()
    assert (stream.read(2), reader.get()) == (b"in", sample(100_000))
    stream.abort()
    peer.abort()


@pytest.mark.usefixtures("virtual_clock")
def test_nested_timeouts_come_out_as_themselves(pairs: Pairs, kind: str) -> None:
    """Of nested gevent.Timeouts the one whose time came is the object that comes out, and the stream stays usable."""
    stream, peer = pairs.streams(kind, read_timeout=30)
    peer.sendall(b"half")
    with gevent.Timeout(30) as outer, gevent.Timeout(T) as inner:
        assert outcome(stream.read, 8) is inner
    with gevent.Timeout(T) as outer, gevent.Timeout(30) as inner:
        assert outcome(stream.read_exactly, 8) is outer
    assert inner is not outer
    with gevent.Timeout(T, False):
        stream.read_line()
    with gevent.Timeout(T, KeyError("mine")), pytest.raises(KeyError, match="mine"):
        stream.readline()
    peer.sendall(b"half")
    assert stream.read(8) == b"halfhalf"


@pytest.mark.usefixtures("virtual_clock")
def test_a_timeout_that_is_ours_is_no_gevent_timeout(pairs: Pairs) -> None:
    """read_timeout inside a longer gevent.Timeout is ReadTimeout; its time does not touch the outer one."""
    stream, _ = pairs.streams("unix", read_timeout=0.01)
    with gevent.Timeout(30) as outer:
        for _ in range(5):
            with pytest.raises(ReadTimeout):
                stream.read(1)
        assert outer.pending


def test_limits_fire_for_many_streams_at_once(pairs: Pairs) -> None:
    """Five hundred readers with limits of their own are each told in time, none early, as far as the loop's own timers are in time."""
    for _ in range(ATTEMPTS):
        late: list[float] = []
        excuses: list[float] = []

        def wait(stream: Any, limit: float, late: list[float] = late) -> None:
            before = time.monotonic()
            with pytest.raises(ReadTimeout):
                stream.read(1)
            assert time.monotonic() - before >= limit
            late.append(time.monotonic() - before - (1.5 * limit + 0.01))

        def sleep(limit: float, excuses: list[float] = excuses) -> None:
            before = time.monotonic()
            gevent.sleep(limit)
            excuses.append(time.monotonic() - before - limit)

        waiting = []
        for number in range(500):
            limit = 0.02 + 0.0002 * number
            stream, _ = pairs.streams("memory", read_timeout=limit)
            waiting += [gevent.spawn(wait, stream, limit), gevent.spawn(sleep, limit)]
        gevent.joinall(waiting, raise_error=True)
        if max(late) <= max(excuses):
            return
    pytest.fail(f"{ATTEMPTS} times too late, at last by {max(late)} s, beside {max(excuses)} s")


SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
long long step_of_the_wall_clock = 0;
int clock_gettime(clockid_t which, struct timespec *now) {
    int said = (int)syscall(SYS_clock_gettime, which, now);
    if (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE) now->tv_sec += step_of_the_wall_clock;
    return said;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""
STEPPED = """
import ctypes, socket, sys, time
import gevent
from geventstreams.errors import ReadTimeout, WriteTimeout
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.testing.claims import stuffed

step = ctypes.c_longlong.in_dll(ctypes.CDLL(sys.argv[1]), "step_of_the_wall_clock")
for seconds in (3600, -3600):
    real = time.time()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        near = socket.create_connection(listener.getsockname())
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        far, _ = listener.accept()
    stream = SocketStream(near, read_timeout=0.2)
    stuffed(stream)
    stream.write_timeout = 0.2
    for call in (lambda: stream.read(1), stream.flush):
        before = time.monotonic()
        waiting = gevent.spawn(call)
        sleeping = gevent.spawn(lambda: [gevent.sleep(pause) for pause in (0.3, 0, 0, 0)])  # as many rounds as the waiter may need
        gevent.sleep(0.05)
        step.value = seconds
        waiting.join()
        took = time.monotonic() - before
        late = sleeping.ready()  # a busy machine is late for both
        assert isinstance(waiting.exception, (ReadTimeout, WriteTimeout)), waiting.exception
        assert abs(time.time() - real - seconds) < 60, "the clock was not stepped"
        step.value = 0
        print(f"{took:.4f} {late:d}")
    stream.abort()
    far.close()
"""


def test_the_wall_clock_has_no_part_in_it(tmp_path: Path) -> None:
    """A wall clock that is stepped by an hour, forward or back, during a wait neither hastens nor delays its limit."""
    (tmp_path / "shim.c").write_text(SHIM)
    library = tmp_path / "shim.so"
    subprocess.run([*c_compiler(), "-shared", "-fPIC", "-o", library, tmp_path / "shim.c"], check=True, timeout=60)
    for _ in range(ATTEMPTS):
        done = subprocess.run(
            ["/usr/bin/env", f"LD_PRELOAD={library}", sys.executable, "-c", STEPPED, str(library)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = [line.split() for line in done.stdout.splitlines()]
        assert len(told) == 4
        assert min(float(took) for took, _ in told) >= 0.2
        if {late for _, late in told} == {"0"}:
            return
    pytest.fail(f"too late: {told}")
