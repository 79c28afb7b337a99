"""What a server counts and logs of its connections."""

# Invariant: each connection that fails is counted and logged here, in one method for each kind of failure.

from __future__ import annotations

import logging
from collections.abc import Iterator, KeysView
from typing import TYPE_CHECKING, Any, NamedTuple

from geventstreams._core.transport import address_name
from geventstreams.errors import EndOfFile, HandshakeTimeout, StreamBusy, StreamClosed, StreamError, without_name
from geventstreams.server.log import RateLimitedLog

if TYPE_CHECKING:
    from geventstreams._types import SocketStream


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


class StreamsView(KeysView["SocketStream"]):
    """A live view of the streams of a server's connections. They may come and go during an iteration."""

    def __iter__(self) -> Iterator[SocketStream]:
        return iter(list(self._mapping))  # type: ignore[attr-defined]  # typeshed leaves it out

    def __repr__(self) -> str:
        return f"<{len(self)} streams: {list(self)!r}>"


class StatsRecorder:
    """The counts of one server, and its log."""

    def __init__(self, streams: StreamsView) -> None:
        self.log: RateLimitedLog = RateLimitedLog("")
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
        self.log.write("accept_paused", None, error.strerror, logging.ERROR, burst=1)

    def listener_failed(self, error: OSError) -> None:
        """Log that the listener is unusable."""
        self.log.write("listener_failed", None, error.strerror, logging.ERROR)

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
        self.log.write(event, peer, without_name(text, peer, "the peer") if address else text)


def is_of_connection(error: BaseException, stream: SocketStream) -> bool:
    """Return whether an error that ended a handler is a failure of its connection, not a mistake in the handler."""
    is_mistake = isinstance(error, (StreamBusy, StreamClosed))
    return isinstance(error, (StreamError, EndOfFile)) and error.stream is stream and not is_mistake
