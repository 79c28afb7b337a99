"""Letting other greenlets run: those that are ready, those whose timer is due, and those whose input has arrived.

`gevent.sleep(0)` is not enough for that: the loop runs its callbacks fifty at a time before it looks at its timers and descriptors again,
and a greenlet that calls it after each slice of work is one callback of those.
"""

from __future__ import annotations

from functools import partial

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub, Waiter, get_hub

import geventstreams._native.clock as _clock
import geventstreams._native.greenlets as _greenlets
import geventstreams._native.interpreter as _interpreter
from geventstreams._constants import FRESH, SLICE
from geventstreams._core.fork import FORK, inherited
from geventstreams._core.hub_hold import hold_of
from geventstreams._core.wakeup import Wakeup

_SECOND = 1
_RUNNING = 2


class Fairness:
    """The time for which one user of the hub (a stream, a file, a callback connection) has not waited.

    The slice begins with the second call after a wait: nearly always there is none, and the clock need not be looked at. A user that has
    waited sets `state` to FRESH, which begins a new one.
    """

    def __init__(self) -> None:
        self.state = FRESH
        self._since = 0.0

    def is_overdue(self, hub: Hub) -> bool:
        """Return whether the slice is over, and begin a new one if it is: the caller lets the hub run now.

        Nothing can be let run from within the hub itself, nor from another thread than the hub's.
        """
        now = _clock.monotonic()
        if self.state != _RUNNING:
            self.state = _RUNNING
            self._since = now
        if now - self._since <= SLICE or _greenlets.current() is hub or hub.thread_ident != _interpreter.thread_id():
            return False
        self.state = FRESH
        return True

    def is_due(self, hub: Hub | None) -> bool:
        """Return what `is_overdue` does, without a look at the clock for the first call after a wait. A hub of None is this thread's."""
        if self.state == FRESH:
            self.state = _SECOND
            return False
        if hub is None:
            hub = get_hub_if_exists()
        return hub is not None and self.is_overdue(hub)

    def let_others_run(self, hub: Hub | None) -> bool:
        """Let the hub go round once if the slice is over. Return whether it did."""
        if not self.is_due(hub):
            return False
        yield_to_hub(get_hub() if hub is None else hub)
        return True


def yield_to_hub(hub: Hub) -> None:
    """Wait until the loop has gone round once. Return at once where the hub was destroyed or has died.

    Raises:
        StreamError: in a forked child of the process in which the wait began.
    """
    if hub.loop is None or hub.dead:
        return
    process = FORK.generation
    # Not a `Wakeup`: a signal handler that waits may let the loop go round before this does, and gevent's object keeps what comes then.
    waiter: Waiter[None] = Waiter(hub)
    hold = hold_of(hub)
    hub.loop.run_callback(hold.run_there, partial(waiter.switch, None))
    hold.enter()
    try:
        waiter.get()
    finally:
        hold.leave()
    if process != FORK.generation:
        raise inherited("stream")


def let_ready_run(hub: Hub) -> None:
    """Wait until the greenlets that are ready now have run.

    Raises:
        StreamError: where the hub has died, and in a forked child.
    """
    process = FORK.generation
    if hub.dead:
        Wakeup(hub).refuse()
    gevent.sleep(0)
    if process != FORK.generation:
        raise inherited("stream")


def pause(seconds: float) -> None:
    """Wait this long.

    Raises:
        StreamError: where the hub has died, and in a forked child.
    """
    wakeup = Wakeup(get_hub())
    try:
        wakeup.wait(seconds)
    finally:
        wakeup.close()  # a pause that is killed leaves no timer
