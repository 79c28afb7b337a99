"""Timeouts as points of time: a deadline is a moment of the monotonic clock, NEVER where there is no timeout.

A timeout that limits the time without progress, not the total time, takes a new deadline at each progress.
"""

from __future__ import annotations

from geventstreams._constants import NEVER
from geventstreams._core.clock import CLOCK


def deadline_after(timeout: float) -> float:
    """Return the moment that is `timeout` seconds from now."""
    return timeout if timeout == NEVER else CLOCK.now() + timeout


def seconds_until(deadline: float) -> float:
    """Return the seconds left until a deadline; 0 or less once it has passed."""
    return deadline if deadline == NEVER else deadline - CLOCK.now()
