"""Connections in memory: `Line`, one direction with its delays and faults, and `MemoryTransport`, one end of a connection."""

# Invariants:
# * A line delivers in order: nothing arrives before what was sent earlier. What is due now, with nothing before it, arrives within `put`.
# * `window` bounds the bytes that were sent and not received yet, on their way or arrived.
# * A line refers to no end, so an end that nothing refers to is closed.

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, NamedTuple

from gevent import get_hub

from geventstreams._constants import BLOCK, ENDED, NEVER, WOULD_WAIT
from geventstreams._core import arguments
from geventstreams._core.clock import CLOCK
from geventstreams._core.fork import FORK, inherited
from geventstreams._core.transport import address_name
from geventstreams._core.transport_base import Transport
from geventstreams._core.wakeup import Wakeup

EARLY = 1e-6
"""Seconds that a timer may fire too early by, because of rounding."""

END, CUT, RESET, STALL = "end", "cut", "reset", "stall"
"""What arrives besides bytes: the sender's end of output; faults of the link."""


class _Arrival(NamedTuple):
    """Bytes or an event on their way: when they arrive, when the last of them leaves the sender, and what they are."""

    due: float
    left: float
    data: bytes
    event: str


class LineOptions:
    """How one direction of a link behaves. The arguments are those of `MemoryNetwork`."""

    def __init__(self, *, latency: Any = 0.0, bandwidth: float | None = None, chunks: Any = None, reset_after: int | None = None,
                 cut_after: int | None = None, stall: Any = None, window: int = BLOCK) -> None:
        self.latency: tuple[Any, Any] = _range("latency", latency)
        self.chunks: tuple[Any, Any] | None = None if chunks is None else _range("chunks", chunks, 1)
        self.bandwidth: float = NEVER if bandwidth is None else arguments.seconds("bandwidth", bandwidth)
        self.window: int = arguments.positive("window", window)
        after, seconds = stall if isinstance(stall, tuple) and len(stall) == 2 else (stall, None)
        self.stall_seconds: float = NEVER if seconds is None else arguments.seconds("stall", seconds)
        faults = [(_count(name, count), event) for name, count, event in (
            ("reset_after", reset_after, RESET), ("cut_after", cut_after, CUT), ("stall", after, STALL)) if count is not None]
        self.faults: list[tuple[int, str]] = sorted(faults)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be a number of bytes, not {value!r}")
    return value


def _range(name: str, value: Any, least: float = 0.0) -> tuple[Any, Any]:
    """Return the smallest and the largest value."""
    low, high = value if isinstance(value, tuple) and len(value) == 2 else (value, value)
    for number in (low, high):
        if isinstance(number, bool) or not isinstance(number, int if least else (int, float)) or not least <= number < NEVER:
            raise ValueError(f"{name} must be {'a number of bytes' if least else 'seconds'} or (least, most), not {value!r}")
    if high < low:
        raise ValueError(f"{name} must be (least, most), not {value!r}")
    return low, high


class Later:
    """A call that the hub makes after so many seconds, unless it is stopped."""

    def __init__(self, hub: Any, seconds: float, call: Callable[[], None]) -> None:
        self._call = call
        self._timer: Any = None
        self._callback: Any = None
        if seconds <= EARLY:
            self._callback = hub.loop.run_callback(self._make)
        else:
            self._timer = hub.loop.timer(max(round(seconds, 9), hub.loop.approx_timer_resolution), ref=False)
            self._timer.start(self._make, update=True)

    def _make(self) -> None:
        self.stop()
        self._call()

    def stop(self) -> None:
        """Make no call."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            timer.close()
        callback, self._callback = self._callback, None
        if callback is not None:
            callback.stop()


class Line:
    """One direction of a connection: the bytes on their way, and those that have arrived.

    `note` is added to the errors of its faults. `opposite` is the other direction.
    """

    opposite: Line

    def __init__(self, options: LineOptions, random: Random, note: str = "") -> None:
        self._hub = get_hub()
        self.filled: Wakeup = Wakeup(self._hub)
        """Fires when something has arrived."""
        self.drained: Wakeup = Wakeup(self._hub)
        """Fires when there is room, or the sender has to know of an end."""
        self.data: bytearray = bytearray()
        """What has arrived and was not received."""
        self.ended: bool = False
        """The end of the sender's output has arrived."""
        self.failed: bool = False
        """A reset has arrived."""
        self.finished: bool = False
        """The sender has ended its output."""
        self.deserted: bool = False
        """The receiver has closed: what arrives is answered by a reset."""
        self.is_stalled: bool = False
        self._failure = 0
        self._options = options
        self._random = random
        self._note = note
        self._faults = list(options.faults)
        self._flight: deque[_Arrival] = deque()
        self._in_flight = 0
        self._sent = 0
        self._free_at = 0.0
        self._last_due = 0.0
        self._pending: Later | None = None

    def begin(self) -> None:
        """Have the faults arrive that come before any byte."""
        self._ship_faults()
        self._deliver_unless_pending()

    # The sender's side.

    def room(self) -> int:
        """Return how many bytes may be sent now."""
        return self._options.window - len(self.data) - self._in_flight

    def swallows_all(self) -> bool:
        """Return whether nothing ever arrives."""
        return self._options.stall_seconds == NEVER and (0, STALL) in self._faults

    def put(self, data: memoryview, start: int, stop: int) -> int:
        """Take what there is room for of `data[start:stop]`. Return the number of bytes, or WOULD_WAIT."""
        count = min(stop - start, self.room())
        if count <= 0:
            return WOULD_WAIT
        at = start
        while at < start + count:
            size = min(start + count - at, self._chunk())
            if self._faults:
                size = min(size, self._faults[0][0] - self._sent)
            self._ship(bytes(data[at : at + size]))
            at += size
            self._sent += size
            self._ship_faults()
        self._deliver_unless_pending()
        return count

    def _chunk(self) -> int:
        chunks = self._options.chunks
        return BLOCK if chunks is None else self._random.randint(*chunks)

    def _ship(self, data: bytes, event: str = "") -> None:
        self._free_at = max(self._free_at, CLOCK.now()) + len(data) / self._options.bandwidth
        self._last_due = max(self._last_due, self._free_at + self.draw_latency())
        self._flight.append(_Arrival(self._last_due, self._free_at, data, event))
        self._in_flight += len(data)

    def _ship_faults(self) -> None:
        while self._faults and self._faults[0][0] <= self._sent:
            self._ship(b"", self._faults.pop(0)[1])

    def draw_latency(self) -> float:
        """Return the latency of the next bytes, in seconds."""
        least, most = self._options.latency
        return float(least) if least == most else self._random.uniform(least, most)

    def send_event(self, event: str) -> None:
        """Send an event behind all that was sent."""
        self._ship(b"", event)
        self._deliver_unless_pending()

    def finish(self) -> None:
        """End the output."""
        if not self.finished:
            self.finished = True
            self.send_event(END)

    def reset(self) -> None:
        """Drop what has not left the sender, and send a reset."""
        self.finished = True
        now = CLOCK.now()
        while self._flight and self._flight[-1].left > now:
            self._in_flight -= len(self._flight.pop().data)
        self._free_at = now
        self._last_due = self._flight[-1].due if self._flight else 0.0
        self.send_event(RESET)

    def not_yet_sent(self) -> int:
        """Return how many bytes have not left the sender."""
        now = CLOCK.now()
        return sum(len(arrival.data) for arrival in self._flight if self.is_stalled or arrival.left > now + EARLY)

    # On the way.

    def stall(self, seconds: float = NEVER) -> None:
        """Deliver nothing until `resume`, or for so many seconds."""
        self.is_stalled = True
        self._stop_pending()
        if seconds != NEVER:
            self._call_after(seconds, self.resume)

    def resume(self) -> None:
        """Deliver again."""
        if self.is_stalled:
            self.is_stalled = False
            self._stop_pending()
            self._deliver_unless_pending()

    def _deliver_unless_pending(self) -> None:
        if self._pending is None and not self.is_stalled:
            self._deliver()

    def _deliver(self) -> None:
        self._stop_pending()
        now = CLOCK.now() + EARLY
        delivered = False
        while self._flight and self._flight[0].due <= now and not self.is_stalled:
            if delivered and self._options.chunks is not None:  # each chunk arrives in a turn of its own
                break
            arrival = self._flight.popleft()
            delivered = bool(arrival.data)
            self._arrive(arrival)
        if self._flight and self._pending is None and not self.is_stalled:
            self._call_after(self._flight[0].due - CLOCK.now(), self._deliver)

    def _call_after(self, seconds: float, call: Callable[[], None]) -> None:
        if self._hub.loop is not None:  # the hub was not destroyed
            self._pending = Later(self._hub, seconds, call)

    def _stop_pending(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.stop()

    def _arrive(self, arrival: _Arrival) -> None:
        self._in_flight -= len(arrival.data)
        if self.failed:  # nothing arrives behind a reset
            self.drained.fire()
        elif arrival.event == STALL:
            self.stall(self._options.stall_seconds)
        elif arrival.event in (END, CUT):
            self._end(arrival.event)
        elif arrival.event == RESET:
            self._fail()
        elif self.deserted:
            self.drained.fire()
            self.opposite.send_event(RESET)
        else:
            self.data += arrival.data
            self.filled.fire()

    def _end(self, event: str) -> None:
        if event == CUT and not self.deserted:
            self.deserted = True  # what comes behind finds no connection
            self.opposite.send_event(CUT)
        self.ended = True
        self.filled.fire()

    def _fail(self) -> None:
        """A reset arrives, and travels on to the other end."""
        self.failed = True
        self._failure = errno.EPIPE if self.ended else errno.ECONNRESET
        self.opposite.send_event(RESET)
        self.filled.fire()
        self.opposite.drained.fire()

    # The receiver's side.

    def take(self, count: int) -> None:
        """Take the first `count` bytes that have arrived."""
        del self.data[:count]
        self.drained.fire()

    def raise_failure(self) -> None:
        """Raise the error of a reset, once."""
        if self._failure:
            code, self._failure = self._failure, 0
            raise OSError(code, os.strerror(code) + self._note)

    def leave(self) -> None:
        """Receive nothing more."""
        self.deserted = True
        self.take(len(self.data))
        self.filled.fire()


def join(there: Line, back: Line) -> None:
    """Make two new lines the directions of one connection."""
    there.opposite, back.opposite = back, there
    there.begin()
    back.begin()


class MemoryEnd:
    """One end of a connection in memory, as the system has it for a socket: closed once, at the latest when nothing refers to it.

    `is_tcp` is false for a pair, which ends as Unix sockets do: a peer's close is seen at once, and unread bytes do not reset.
    """

    def __init__(self, incoming: Line, outgoing: Line, addresses: tuple[Any, Any], is_tcp: bool) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        self.addresses = addresses
        self.is_tcp = is_tcp
        self.is_open: bool = True
        self.resets: bool = False
        self.input_shut: bool = False
        self._process = FORK.generation

    def check(self) -> None:
        """Raise an error in a forked child, and where it is closed."""
        if self._process != FORK.generation:
            raise inherited("stream")
        if not self.is_open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def input_state(self) -> int:
        """Return how many bytes can be received, ENDED or WOULD_WAIT."""
        line = self.incoming
        return len(line.data) or (ENDED if line.ended or line.failed or self.input_shut else WOULD_WAIT)

    def is_broken(self) -> bool:
        """Return whether nothing can be sent any more."""
        return self.incoming.failed or self.outgoing.finished or (self.outgoing.deserted and not self.is_tcp)

    def close(self, abort: bool = False) -> None:
        """Close it; the peer sees an end, or with `abort` a reset."""
        if not self.is_open or self._process != FORK.generation:
            return
        self.is_open = False
        hold = self.incoming.filled.hold
        if hold.may_use_loop():
            _close(self.incoming, self.outgoing, abort or self.resets, self.is_tcp)
        else:
            hold.run_there(partial(_close, self.incoming, self.outgoing, abort or self.resets, self.is_tcp))

    def __del__(self) -> None:
        self.close()


def _close(incoming: Line, outgoing: Line, abort: bool, is_tcp: bool) -> None:
    if abort or (is_tcp and incoming.data):
        outgoing.reset()
    else:
        outgoing.finish()
    incoming.leave()
    outgoing.drained.fire()


class MemoryTransport(Transport):
    """One end of a connection in memory: of a `memory_pair`, or of a `MemoryNetwork`."""

    def __init__(self, end: MemoryEnd, socket: Any = None) -> None:
        Transport.__init__(self)
        self._end = end
        self._socket = socket
        self._peer_address = end.addresses[1]
        self._is_open = True

    @property
    def peer(self) -> str:  # type: ignore[override]  # read only here
        return address_name(self._peer_address)

    def _check(self) -> None:
        if not self._is_open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._end.check()

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        self._check()
        line = self._end.incoming
        count = min(len(space) - start, len(line.data))
        if count:
            with memoryview(line.data) as view:
                space[start : start + count] = view[:count]
            counts.append(count)
            line.take(count)
            self.received += count
            self.emptied: bool = not line.data
            return count
        if not line.ended:
            line.raise_failure()
        return self._end.input_state()

    def send(self, data: memoryview, start: int, stop: int) -> int:
        self._check()
        self._end.incoming.raise_failure()
        if self._end.is_broken():
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return self._end.outgoing.put(data, start, stop)

    def readable(self) -> int:
        self._check()
        return self._end.input_state()

    def wait_input(self, timeout: float) -> bool:
        self.emptied = False
        return self.readable() != WOULD_WAIT or self._end.incoming.filled.wait(timeout)

    def wait_output(self, timeout: float) -> bool:
        line = self._end.outgoing
        return line.room() > 0 or self._end.is_broken() or line.drained.wait(timeout)

    def input_wakeup(self) -> Wakeup:
        return self._end.incoming.filled

    def output_wakeup(self) -> Wakeup:
        return self._end.outgoing.drained

    def end_output(self) -> int:
        self._check()
        if self._end.is_tcp and self._end.incoming.failed:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self._end.outgoing.finish()
        return 0

    def end_input(self) -> None:
        self._end.input_shut = True
        self._end.incoming.filled.fire()

    def discard(self) -> int:
        self._check()
        return self.recv_into(memoryview(bytearray(BLOCK)), 0, [])

    def not_yet_sent(self) -> int:
        return self._end.outgoing.not_yet_sent()

    def unread(self) -> int:
        return len(self._end.incoming.data)

    def is_open(self) -> bool:
        return self._is_open and self._end.is_open

    def addresses(self) -> tuple[Any, Any]:
        return self._end.addresses[0], self._peer_address

    def rename_peer(self, address: Any) -> None:
        """Set the address of the peer: that of the client whose connection a proxy forwards."""
        self._peer_address = address

    def socket(self) -> Any:
        """Return the socket that it was made from; None for one of a pair."""
        return self._socket

    def hand_back(self) -> Any:
        """Return the socket, open. This transport is closed."""
        self._is_open = False
        self.wake()
        return self._socket

    def close(self, abort: bool = False) -> None:
        if self._is_open:
            self._is_open = False
            self._end.close(abort)

    def reset_at_end(self) -> None:
        self._end.resets = True

    def close_in_child(self) -> None:
        self._is_open = False

    def __del__(self) -> None:
        self.close()


def memory_pair(capacity: int = BLOCK) -> tuple[Transport, Transport]:
    """Return two connected transports in memory.

    Args:
        capacity: How many sent bytes each direction holds until they are received.

    Raises:
        ValueError: `capacity` is not positive.
    """
    if capacity < 1:
        raise ValueError(f"capacity must be positive, not {capacity!r}")
    there, back = (Line(LineOptions(window=capacity), Random(0)) for _ in range(2))
    join(there, back)
    names = ("memory one", "memory two")
    near, far = MemoryEnd(back, there, names, is_tcp=False), MemoryEnd(there, back, names[::-1], is_tcp=False)
    return MemoryTransport(near), MemoryTransport(far)
