"""The system's monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable

monotonic: Callable[[], float] = time.monotonic
"""Return the time, in seconds."""
