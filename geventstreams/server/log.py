"""One structured log line for each connection that was refused, failed or timed out, and never a flood of them.

Rule for the next editor: a line is `key=value` pairs for people and, as attributes of the log record, for programs.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import geventstreams._native.syscalls as _system

BURST = 10
"""Lines of one event that may come at once; after them one a second, which says how many it stands for."""


class RateLimitedLog:
    """What a server tells about its connections, by the logger `geventstreams.server`.

    A record's attributes are `event`, `server`, `peer`, `reason`, and `suppressed`: how many of the same event were not
    logged since the last line. Where a handler or a filter of the user's raises, the record is dropped, and counts there.
    """

    def __init__(self, server: str) -> None:
        self.server = server
        self._logger = logging.getLogger("geventstreams.server")
        self._buckets: dict[str, TokenBucket] = {}

    def tell(self, event: str, peer: str | None, reason: Any, level: int = logging.WARNING, burst: int = BURST) -> None:
        """Writes a line, unless there were too many of this event."""
        allowance = self._buckets.get(event)
        if allowance is None:
            allowance = self._buckets[event] = TokenBucket(burst)
        if not allowance.grants():
            return
        suppressed = allowance.take_refused()
        facts = {"event": event, "server": self.server, "peer": peer, "reason": str(reason), "suppressed": suppressed}
        line = " ".join(f"{key}={_plain(value)}" for key, value in facts.items() if value or value == "")
        try:
            self._logger.log(level, "%s", line, extra=facts)
        except Exception:  # noqa: BLE001  # a log that cannot be written must not decide over a connection
            allowance.give_back(suppressed + 1)


class TokenBucket:
    """So many at once, and one a second."""

    def __init__(self, burst: int) -> None:
        self._burst = burst
        self._left = float(burst)
        self._since = _system.monotonic()
        self._refused = 0

    def grants(self) -> bool:
        """Whether one more is within the allowance."""
        now = _system.monotonic()
        self._left = min(self._burst, self._left + now - self._since)
        self._since = now
        if self._left < 1:
            self._refused += 1
            return False
        self._left -= 1
        return True

    def take_refused(self) -> int:
        """How many were refused since this was asked last."""
        refused, self._refused = self._refused, 0
        return refused

    def give_back(self, count: int) -> None:
        """Count so many again: what would have told of them was not written."""
        self._refused += count


def _plain(value: Any) -> str:
    """A value as it stands in a line: quoted where it has spaces, quotes or control characters in it."""
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=\\') else json.dumps(text)
