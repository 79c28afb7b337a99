"""The clock of all timeouts in this package: the system's monotonic one, unless a test stops it.

Only `geventstreams.testing.virtual_time` stops and sets it.
"""

from __future__ import annotations

import geventstreams._native.clock as _clock


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


CLOCK = Clock()
