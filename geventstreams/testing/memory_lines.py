"""One direction of a connection in memory, with its delays and faults."""

# Invariants:
# * A line delivers in order: nothing arrives before what was sent earlier. What is due now, with nothing before it, arrives within `put`.
# * `window` bounds the bytes that were sent and not received yet, on their way or arrived.

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from gevent import get_hub

from geventstreams._constants import BLOCK, NEVER, WOULD_WAIT
from geventstreams._core import arguments
from geventstreams._core.clock import CLOCK
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
        self.joins: bool = self.chunks is not None and self.latency == (0.0, 0.0) and self.bandwidth == NEVER
        """Whether bytes that wait for their turn, and for nothing else, arrive together."""
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
        self._open = 0
        """Bytes that may join the last chunk in flight. Else pieces would be cut smaller with each full window, down to single bytes."""
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

    def put(self, data: bytes | memoryview, start: int, stop: int) -> int:
        """Take what there is room for of `data[start:stop]`. Return the number of bytes, or WOULD_WAIT."""
        count = min(stop - start, self.room())
        if count <= 0:
            return WOULD_WAIT
        at = start
        while at < start + count:
            room = self._open or self._chunk()
            size = min(start + count - at, room)
            if self._faults:
                size = min(size, self._faults[0][0] - self._sent)
            piece = bytes(data[at : at + size])
            if self._open:
                self._join(piece)
            else:
                self._ship(piece)
            self._open = room - size if self._options.joins else 0
            at += size
            self._sent += size
            self._ship_faults()
        self._deliver_unless_pending()
        return count

    def _chunk(self) -> int:
        chunks = self._options.chunks
        return BLOCK if chunks is None else self._random.randint(*chunks)

    def _join(self, data: bytes) -> None:
        last = self._flight[-1]
        self._flight[-1] = last._replace(data=last.data + data)
        self._in_flight += len(data)

    def _ship(self, data: bytes, event: str = "") -> None:
        self._open = 0
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
            self._open = self._open if self._flight else 0
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
            self._answer(self.drained.fire)
        elif arrival.event == STALL:
            self.stall(self._options.stall_seconds)
        elif arrival.event in (END, CUT):
            self._end(arrival.event)
        elif arrival.event == RESET:
            self._fail()
        elif self.deserted:
            self._answer(self.drained.fire)
            self._answer(self.opposite.send_event, RESET)
        else:
            self.data += arrival.data
            self.filled.fire()

    def _answer(self, call: Callable[..., object], *args: Any) -> None:
        """Have the sender know, but not within its own call: what listens to it there would send in the middle of that."""
        if self._hub.loop is not None:  # the hub was not destroyed
            self._hub.loop.run_callback(call, *args)

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
