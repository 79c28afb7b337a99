"""What a server counts and logs of its connections."""

# Invariants: each connection that fails is counted and logged here, in one method for each kind of failure. A line has the same
# `key=value` pairs for people as the log record has attributes for programs.

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, KeysView
from typing import TYPE_CHECKING, Any, NamedTuple

from geventstreams._core.clock import CLOCK
from geventstreams._core.transport import address_name
from geventstreams.errors import EndOfFile, HandshakeTimeout, StreamBusy, StreamClosed, StreamError, without_name

if TYPE_CHECKING:
    from geventstreams._types import SocketStream

BURST = 10
"""Lines of one event that may be logged at once. After them it is one line a second, which says how many were suppressed."""


class ServerStats(NamedTuple):
    """Counts of a server since it was made.

    Attributes:
        accepted: Connections that were accepted.
        active: Connections that have a handler now.
        refused: Connections that were closed without being served.
        handshake_failures: TLS handshakes and PROXY headers that failed or took too long.
        timeouts: Connections that ended because a timeout had passed.
        octets_in: Bytes received, as plain text.
        octets_out: Bytes sent, as plain text.
    """

    accepted: int
    active: int
    refused: int
    handshake_failures: int
    timeouts: int
    octets_in: int
    octets_out: int


class StreamsView(KeysView[Any]):
    """A live view of the streams of a server's connections. They may come and go during an iteration."""

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._mapping))  # type: ignore[attr-defined]  # typeshed leaves it out

    def __repr__(self) -> str:
        return f"<{len(self)} streams: {list(self)!r}>"


class StatsRecorder:
    """The counts of one server, and its log: one line for each connection that was refused, failed or timed out.

    It writes to the logger `geventstreams.server`, at a limited rate for each kind of event. The attributes of a record are `event`,
    `server`, `peer`, `reason`, and `suppressed`: how many records of this event were not logged since the last one. If a handler or filter
    of the user raises, the record counts as suppressed.
    """

    def __init__(self, streams: StreamsView) -> None:
        self.server = ""
        """The server's name in the log."""
        self._logger = logging.getLogger("geventstreams.server")
        self._buckets: dict[str, TokenBucket] = {}
        self._streams = streams
        self.accepted = 0
        """Clients that were accepted."""
        self._refused = 0
        self._handshake_failures = 0
        self._timeouts = 0
        self.octets_in = 0
        self.octets_out = 0
        """Bytes of connections whose handlers have ended."""

    def stats(self) -> ServerStats:
        """Return the counts as they are now."""
        streams = list(self._streams)
        received = self.octets_in + sum(stream.octets_in for stream in streams)
        sent = self.octets_out + sum(stream.octets_out for stream in streams)
        return ServerStats(self.accepted, len(streams), self._refused, self._handshake_failures, self._timeouts, received, sent)

    def accepting_paused(self, error: OSError) -> None:
        """Log that the system has no descriptors or memory left to accept a client."""
        self._write("accept_paused", None, error.strerror, logging.ERROR, burst=1)

    def listener_failed(self, error: OSError) -> None:
        """Log that the listener is unusable."""
        self._write("listener_failed", None, error.strerror, logging.ERROR)

    def refused(self, address: Any, reason: Any) -> None:
        """Count and log a client that was closed without being served."""
        self._refused += 1
        self._log("refused", address, reason)

    def handshake_failed(self, address: Any, error: BaseException) -> None:
        """Count and log a client whose TLS handshake or PROXY header failed."""
        self._handshake_failures += 1
        if isinstance(error, HandshakeTimeout):
            self._timed_out("handshake_timed_out", address, error)
        elif isinstance(error, OSError):
            self._log("handshake_failed", address, error)

    def timed_out(self, address: Any) -> None:
        """Count and log a handler that ended because a read had timed out."""
        self._timed_out("timed_out", address, "nothing arrived in time")

    def failed(self, error: BaseException, address: Any) -> None:
        """Count and log a connection that failed, unlike a mistake in its handler."""
        if isinstance(error, TimeoutError) or (isinstance(error, EndOfFile) and error.timed_out):
            self._timed_out("timed_out", address, error)
        else:
            self._log("failed", address, error)

    def _timed_out(self, event: str, address: Any, reason: Any) -> None:
        self._timeouts += 1
        self._log(event, address, reason)

    def _log(self, event: str, address: Any, reason: Any) -> None:
        """Log a line about a client. Its address has an attribute of its own, so the reason does not repeat it."""
        peer = address_name(address)
        text = getattr(reason, "strerror", None) or str(reason)
        self._write(event, peer, without_name(text, peer, "the peer") if address else text)

    def _write(self, event: str, peer: str | None, reason: Any, level: int = logging.WARNING, burst: int = BURST) -> None:
        """Log a line, unless there were too many of this event."""
        bucket = self._buckets.get(event)
        if bucket is None:
            bucket = self._buckets[event] = TokenBucket(burst)
        if not bucket.take():
            return
        suppressed, bucket.refused = bucket.refused, 0
        attributes = {"event": event, "server": self.server, "peer": peer, "reason": str(reason), "suppressed": suppressed}
        line = " ".join(f"{key}={quoted(value)}" for key, value in attributes.items() if value or value == "")
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


def quoted(value: Any) -> str:
    """Return the text of a value for a line of `key=value` pairs: quoted if it has spaces, quotes or control characters."""
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=\\') else json.dumps(text)


def is_of_connection(error: BaseException, stream: SocketStream) -> bool:
    """Return whether an error that ended a handler is a failure of its connection, not a mistake in the handler."""
    is_mistake = isinstance(error, (StreamBusy, StreamClosed))
    return isinstance(error, (StreamError, EndOfFile)) and error.stream is stream and not is_mistake
