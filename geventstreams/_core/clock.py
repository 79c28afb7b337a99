"""The clock of all timeouts in this package, and timeouts as points of its time.

It is the system's monotonic clock, unless a test stops it: `geventstreams.testing.virtual_time` does, and nothing else.

A deadline is a moment of the clock, NEVER where there is no timeout. A timeout that limits the time without progress, not the total time,
takes a new deadline at each progress.
"""

from __future__ import annotations

import geventstreams._native.clock as _clock
from geventstreams._constants import NEVER


class Clock:
    """A clock that never goes back: `rate` times the system's, plus `shift`."""

    def __init__(self) -> None:
        self.rate = 1.0
        self.shift = 0.0
        _clock.shorten(self)

    def now(self) -> float:
        """Return the time, in seconds."""
        return _clock.monotonic() * self.rate + self.shift

    def stop(self) -> float:
        """Stop the clock. Return its time."""
        now = self.now()
        _clock.lengthen(self)
        self.rate = 0.0
        self.shift = now
        return now

    def set(self, now: float) -> None:
        """Set the time of a stopped clock."""
        self.shift = now

    def resume(self) -> None:
        """Let a stopped clock run, from the time that it shows."""
        self.rate = 1.0
        self.shift -= _clock.monotonic()


CLOCK = _CLOCK = Clock()  # the second name is one that C knows


def deadline_after(timeout: float) -> float:
    """Return the moment that is `timeout` seconds from now."""
    return timeout if timeout == NEVER else _CLOCK.now() + timeout


def seconds_until(deadline: float) -> float:
    """Return the seconds left until a deadline; 0 or less once it has passed."""
    return deadline if deadline == NEVER else deadline - _CLOCK.now()
