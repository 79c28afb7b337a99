"""Virtual time: a clock of the hub that jumps to the next timer as soon as nothing else can run.

An hour of time-outs, pauses and keep-alives then takes milliseconds, and every run has the same order of events.

    with virtual_time() as clock:
        gevent.sleep(3600)
        assert clock.now == 3600
"""

# Invariants:
# * While virtual time runs, `hub.loop` is a `_VirtualLoop`. Everything but timers is the real loop's.
# * A timer fires only when the hub is idle: each one alone, so that all that follows from it happens before the next one.
# * The idle watcher of the real loop is active exactly while a timer is: the loop must not block while there is a time to jump to.
# * What a timer is started with is kept in its `_Entry`; one that is stopped leaves a dead entry in the heap.

from __future__ import annotations

import heapq
import itertools
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent import monkey

from geventstreams._core.clock import CLOCK
from geventstreams._core.hub_hold import hold_of
from geventstreams.testing.handshakes import handshake_with_another_process, handshakes_of_gevent

_running: VirtualClock | None = None
"""The clock that runs: the process has one clock of the streams, so there is one virtual time in it."""


class _Entry:
    """A start of a timer: when it is due, and its place among those that are due together."""

    __slots__ = ("due", "number", "timer")

    def __init__(self, due: float, number: int, timer: _VirtualTimer) -> None:
        self.due = due
        self.number = number
        self.timer: _VirtualTimer | None = timer

    def __lt__(self, other: _Entry) -> bool:
        return (self.due, self.number) < (other.due, other.number)


class _VirtualTimer:
    """A timer of the virtual loop, with the interface of gevent's. Where virtual time ends before it fires, a real one takes its place."""

    def __init__(self, clock: VirtualClock, after: float, repeat: float, ref: bool, priority: int | None) -> None:
        if repeat < 0.0:
            raise ValueError(f"repeat must be positive or zero: {repeat!r}")
        self._clock = clock
        self._after = max(after, 0.0)
        self._repeat = repeat
        self._ref = bool(ref)
        self.priority = priority
        self.callback: Callable[..., object] | None = None
        self.args: tuple[Any, ...] | None = None
        self._entry: _Entry | None = None
        self._real: Any = None

    def __repr__(self) -> str:
        state = f"due at {self._entry.due:g} s" if self._entry else "active" if self.active else "stopped"
        return f"<virtual timer {state}, callback={self.callback!r}>"

    def __enter__(self) -> _VirtualTimer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def active(self) -> bool:
        return self._entry is not None or (self._real is not None and bool(self._real.active))

    @property
    def pending(self) -> bool:
        return self._real is not None and bool(self._real.pending)

    @property
    def ref(self) -> bool:
        return self._ref

    @ref.setter
    def ref(self, value: bool) -> None:
        if self._entry is not None:
            self._clock._count_references(bool(value) - self._ref)
        self._ref = bool(value)
        if self._real is not None:
            self._real.ref = value

    def start(self, callback: Callable[..., object], *args: Any, update: bool | None = None) -> None:
        """Fire after the timer's seconds. `update` is of no use here: virtual time is always up to date."""
        if not callable(callback):
            raise TypeError(f"Expected callable, not {callback!r}")
        if self.active:
            return
        self._arm(self._after, callback, args)

    def again(self, callback: Callable[..., object], *args: Any, update: bool | None = None) -> None:
        """Start anew with the repeat seconds; without them, stop."""
        self.stop()
        if self._repeat:
            self._arm(self._repeat, callback, args)

    def _arm(self, seconds: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.callback, self.args = callback, args
        if self._clock.is_running:
            self._entry = self._clock._schedule(self._clock.now + seconds, self)
        else:
            self._go_on_in_real_time(seconds)

    def stop(self) -> None:
        self.callback = self.args = None
        if self._entry is not None:
            self._clock._unschedule(self._entry)
            self._entry = None
        if self._real is not None:
            self._real.stop()

    def close(self) -> None:
        self.stop()
        if self._real is not None:
            self._real.close()
            self._real = None

    def _fire(self) -> None:
        callback, args = self.callback, self.args
        self._entry = None
        if self._repeat:
            self._entry = self._clock._schedule(self._clock.now + self._repeat, self)
        else:
            self.callback = self.args = None
        assert callback is not None
        assert args is not None
        callback(*args)

    def _leave(self) -> None:
        """Go on in real time: the virtual one ends."""
        if self._entry is not None:
            left = max(self._entry.due - self._clock.now, 0.0)
            self._entry = None
            self._go_on_in_real_time(left)

    def _go_on_in_real_time(self, seconds: float) -> None:
        callback, args = self.callback, self.args
        assert callback is not None
        assert args is not None
        if self._real is not None:
            self._real.close()
        self._real = self._clock._loop.timer(max(seconds, self._clock._loop.approx_timer_resolution), self._repeat, self._ref)
        self._real.start(callback, *args)


class _VirtualLoop:
    """The loop that a hub has in virtual time: the real one with other timers."""

    approx_timer_resolution = 0.0

    def __init__(self, clock: VirtualClock, loop: Any) -> None:
        self._clock = clock
        self._loop = self.real_loop = loop
        self.run_callback = loop.run_callback
        self.io = loop.io

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("_clock", "_loop", "real_loop", "run_callback", "io"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._loop, name, value)

    def __repr__(self) -> str:
        return f"<virtual time {self._clock.now:g} s over {self._loop!r}>"

    def timer(self, after: float, repeat: float = 0.0, ref: bool = True, priority: int | None = None) -> _VirtualTimer:
        return _VirtualTimer(self._clock, after, repeat, ref, priority)

    def async_(self, ref: bool = True, priority: int | None = None) -> Any:
        self._clock._begun += 1
        return self._loop.async_(ref, priority)

    def now(self) -> float:
        return self._clock.now

    def update_now(self) -> None:
        """Virtual time passes by jumps alone."""


class VirtualClock:
    """The clock of `virtual_time`."""

    def __init__(self, threshold: float, autojump: bool) -> None:
        self.threshold = threshold
        self.autojump = autojump
        self.jumps: list[float] = []
        """The seconds of each jump, in their order."""
        self.is_running: bool = False
        self._now = 0.0
        self._heap: list[_Entry] = []
        self._numbers = itertools.count()
        self._thread = threading.get_ident()
        self._owner: Any = None
        self._hub: Any = None
        self._loop: Any = None
        self._idle: Any = None
        self._base = 0.0
        self._references = 0
        self._begun = 0
        """How many receivers of threads' results were made."""
        self._begun_before = -1
        """How many there were when the hub was idle before; -1 where that does not matter, since a thread was at work."""

    def __repr__(self) -> str:
        return f"<VirtualClock {self._now:g} s, {len(self.jumps)} jumps{'' if self.is_running else ', ended'}>"

    @property
    def now(self) -> float:
        """The seconds of virtual time that have passed."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass without a jump: timers that are due by then fire, in their order, as soon as the hub runs.

        Raises:
            ValueError: `seconds` is negative.
            RuntimeError: Virtual time has ended, or this is another thread than the clock's.
        """
        if threading.get_ident() != self._thread:
            raise RuntimeError("virtual time belongs to the hub of another thread")
        if not self.is_running:
            raise RuntimeError("virtual time has ended")
        if not seconds >= 0:
            raise ValueError(f"time cannot go back: {seconds!r} seconds")
        self._set(self._now + seconds)
        self._loop.run_callback(self._fire_due)

    # Beginning and end.

    def _begin(self) -> None:
        self._owner = gevent.getcurrent()
        self._hub = gevent.get_hub()
        self._loop = self._hub.loop
        self._idle = self._loop.idle()
        hold = hold_of(self._hub)  # made before: what keeps the loop running is no timer to jump to
        self._hub.loop = hold.loop = _VirtualLoop(self, self._loop)
        self.is_running = True
        self._base = CLOCK.stop()

    def _end(self) -> None:
        self.is_running = False
        self._hub.loop = hold_of(self._hub).loop = self._loop
        self._idle.stop()
        self._idle.close()
        CLOCK.resume()
        heap, self._heap = self._heap, []
        for entry in sorted(heap):
            if entry.timer is not None:
                entry.timer._leave()

    # Timers.

    def _schedule(self, due: float, timer: _VirtualTimer) -> _Entry:
        entry = _Entry(due, next(self._numbers), timer)
        heapq.heappush(self._heap, entry)
        if not self._idle.active:
            self._idle.start(self._on_idle)
        self._count_references(timer.ref)
        return entry

    def _unschedule(self, entry: _Entry) -> None:
        assert entry.timer is not None
        self._count_references(-entry.timer.ref)
        entry.timer = None
        if self._next() is None:
            self._idle.stop()

    def _count_references(self, change: int) -> None:
        """The loop goes on for timers that are referenced, as it does for gevent's."""
        self._references += change
        self._idle.ref = self._references > 0

    def _next(self) -> _Entry | None:
        while self._heap and self._heap[0].timer is None:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def _on_idle(self) -> None:
        """Fire the next timer, unless something else can run."""
        entry = self._next()
        if entry is None or self._can_run():
            return
        if entry.due > self._now:
            if not self.autojump or self._waits_for_others():
                return
            words = handshake_with_another_process()
            if words is not None:
                self._refuse_jump(entry.due - self._now, words)
                return
            self.jumps.append(entry.due - self._now)
            self._set(entry.due)
        self._fire(entry)

    def _refuse_jump(self, seconds: float, words: str) -> None:
        """Raise an error in the greenlet that began virtual time, which waits; in the main greenlet if that has ended."""
        error = RuntimeError(
            f"virtual time would jump by {seconds:g} s while {words}, which is in another process, is under way: "
            "complete it before, or give it real time by virtual_time(threshold=…)"
        )
        if self._owner.dead:
            self._hub.handle_system_error(RuntimeError, error)
        else:
            self._owner.throw(error)

    def _fire_due(self) -> None:
        """Fire all timers whose time `advance` has brought."""
        while (entry := self._next()) is not None and entry.due <= self._now:
            self._fire(entry)

    def _fire(self, entry: _Entry) -> None:
        timer = entry.timer
        assert timer is not None
        self._unschedule(entry)
        try:
            timer._fire()
        except BaseException:  # noqa: BLE001 - as of every watcher: the hub decides what becomes of it
            self._loop.handle_error(timer, *sys.exc_info())

    def _set(self, now: float) -> None:
        self._now = now
        CLOCK.set(self._base + now)

    # What else can run.

    def _can_run(self) -> bool:
        """Whether callbacks wait to be run, or a watched descriptor is ready."""
        waiting = getattr(self._loop, "_callbacks", ())  # libuv's idle watchers run before them, libev's after them
        return len(waiting) > 0 or self._ready(0.0)

    def _waits_for_others(self) -> bool:
        """Whether something of another thread or process arrives in the time that it is given."""
        pool = getattr(self._hub, "_threadpool", None)
        if pool is not None:
            if len(pool):
                self._ready(0.001)  # libev's threads may not wake this
                self._begun_before = -1
                return True
            if self._begun != self._begun_before:  # a thread may have sent a result since the loop looked: it looks once more
                self._begun_before = self._begun
                return True
        return self.threshold > 0 and self._ready(self.threshold)

    def _ready(self, seconds: float) -> bool:
        poll = monkey.get_original("select", "poll")()
        poll.register(self._loop.fileno(), select.POLLIN)
        watchers = getattr(self._loop, "_io_watchers", None)  # libuv: its idle watchers run before new watchers are with the system
        for descriptor, watcher in (watchers or {}).items():
            if watcher.active:
                poll.register(descriptor, (select.POLLIN if watcher.events & 1 else 0) | (select.POLLOUT if watcher.events & 2 else 0))
        return bool(poll.poll(seconds * 1000))


def _end_without_thread() -> None:
    """Called in a forked child: end virtual time there, if it was another thread's, which is gone."""
    global _running  # noqa: PLW0603 - as below
    if _running is not None and _running._thread != threading.get_ident():
        _running._thread = 0  # a new thread may get its number
        _running = None
        CLOCK.resume()


os.register_at_fork(after_in_child=_end_without_thread)


@contextmanager
def virtual_time(*, threshold: float = 0.0, autojump: bool = True) -> Iterator[VirtualClock]:
    """Run the hub of this thread on a clock that jumps to the next timer as soon as nothing in it can run.

    Within the block `gevent.sleep`, `gevent.Timeout`, `gevent.spawn_later` and every limit of this package's streams, handshakes, servers
    and wait sets take no real time. Timers fire in the order of their time; those of the same time in the order they were started.
    Whatever follows from a timer happens before the next one fires. Afterwards the hub is as before; timers that are still active go on in
    real time with what is left of theirs.

    Args:
        threshold: Real seconds that the hub has to be idle before the clock jumps: time for what another process or thread answers.
            Work in the hub's own thread pool (name look-ups) always holds the clock back.
        autojump: With False, time passes by `clock.advance` alone.

    Yields:
        The `VirtualClock`: `now` (seconds since the start), `jumps` (the seconds of each jump), `advance(seconds)`.

    Raises:
        RuntimeError: Virtual time already runs in this process. In the block: the clock would have to jump while a connect or a TLS
            handshake with another process is under way, which would end by a timeout that has no meaning.
    """
    global _running  # noqa: PLW0603 - one for the process, as the clock is
    if not threshold >= 0:
        raise ValueError(f"threshold must be positive or zero: {threshold!r}")
    if _running is not None:
        raise RuntimeError("virtual time runs already" + (", in another thread" if _running._thread != threading.get_ident() else ""))
    clock = VirtualClock(threshold, autojump)
    clock._begin()
    _running = clock
    try:
        with _guarded_sleep(clock), handshakes_of_gevent():
            yield clock
    finally:
        _running = None
        clock._end()


@contextmanager
def _guarded_sleep(clock: VirtualClock) -> Iterator[None]:
    """Within it the real `time.sleep` is an error in the clock's thread: it would stop the hub, and virtual time would not pass.

    It is replaced in each module that has it as `sleep`: in `time` unless gevent has patched that, and in those that imported it.
    """
    real = monkey.get_original("time", "sleep")

    def sleep(seconds: Any, /) -> None:
        if threading.get_ident() == clock._thread:
            raise RuntimeError("time.sleep would block the hub in virtual time: use gevent.sleep, or gevent.monkey.patch_time()")
        real(seconds)

    names = (getattr(module, "__dict__", {}) for module in list(sys.modules.values()))
    holders = [there for there in names if there.get("sleep") is real]
    for there in holders:
        there["sleep"] = sleep
    try:
        yield
    finally:
        for there in holders:
            there["sleep"] = real
