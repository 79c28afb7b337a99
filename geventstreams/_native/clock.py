"""The system's monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

monotonic: Callable[[], float] = time.monotonic
"""Return the time, in seconds."""


def shorten(clock: Any) -> None:
    """Let `clock.now` be `monotonic` itself, until `lengthen`: where its method costs more than the look at the time."""
    clock.now = monotonic


def lengthen(clock: Any) -> None:
    """Let `clock.now` be the method of its class."""
    vars(clock).pop("now", None)
