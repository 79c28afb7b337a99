"""The servers' log: one line for each connection that was refused, failed or timed out, with a limit on the rate of lines."""

# Invariant: a line has the same `key=value` pairs for people as the log record has attributes for programs.

from __future__ import annotations

import json
import logging
from typing import Any

from geventstreams._core.clock import CLOCK

BURST = 10
"""Lines of one event that may be logged at once. After them it is one line a second, which says how many were suppressed."""


class RateLimitedLog:
    """Writes to the logger `geventstreams.server`, at a limited rate for each kind of event.

    The attributes of a record are `event`, `server`, `peer`, `reason`, and `suppressed`: how many records of this event were not logged
    since the last one. If a handler or filter of the user raises, the record counts as suppressed.
    """

    def __init__(self, server: str) -> None:
        self.server = server
        self._logger = logging.getLogger("geventstreams.server")
        self._buckets: dict[str, TokenBucket] = {}

    def write(self, event: str, peer: str | None, reason: Any, level: int = logging.WARNING, burst: int = BURST) -> None:
        """Log a line, unless there were too many of this event."""
        bucket = self._buckets.get(event)
        if bucket is None:
            bucket = self._buckets[event] = TokenBucket(burst)
        if not bucket.take():
            return
        suppressed, bucket.refused = bucket.refused, 0
        attributes = {"event": event, "server": self.server, "peer": peer, "reason": str(reason), "suppressed": suppressed}
        line = " ".join(f"{key}={_plain(value)}" for key, value in attributes.items() if value or value == "")
        try:
            self._logger.log(level, "%s", line, extra=attributes)
        except Exception:  # noqa: BLE001  # a log that cannot be written must not end a connection
            bucket.refused += suppressed + 1


class TokenBucket:
    """Grants `burst` tokens at once, and one more each second."""

    def __init__(self, burst: int) -> None:
        self._burst = burst
        self._left = float(burst)
        self._since = CLOCK.now()
        self.refused = 0
        """How many tokens were refused, or belong to a line that could not be written, since a line reported them."""

    def take(self) -> bool:
        """Take a token. Return whether there was one."""
        now = CLOCK.now()
        self._left = min(self._burst, self._left + now - self._since)
        self._since = now
        if self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        return True


def _plain(value: Any) -> str:
    """Return the text of a value, quoted if it has spaces, quotes or control characters."""
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=\\') else json.dumps(text)
