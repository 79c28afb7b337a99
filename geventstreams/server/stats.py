"""What a server counts and tells of its connections.

Rule for the next editor: every connection that goes wrong is counted and told here, in one place for each kind.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Set
from typing import Any, NamedTuple

from geventstreams._core.transport import address_name
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import EndOfFile, HandshakeTimeout, StreamBusy, StreamClosed, StreamError, without_name
from geventstreams.server.log import RateLimitedLog


class ServerStats(NamedTuple):
    """What a server has done since it was made; `active` is what it does now. Octets are those of plain text."""

    accepted: int
    active: int
    refused: int
    handshake_failures: int
    timeouts: int
    octets_in: int
    octets_out: int


class StreamsView(Set[SocketStream]):
    """The streams of a server's connections, as they are at each moment. They may come and go while one looks."""

    def __init__(self, streams: Mapping[SocketStream, Any]) -> None:
        self._streams = streams

    def __contains__(self, stream: object) -> bool:
        return stream in self._streams

    def __iter__(self) -> Iterator[SocketStream]:
        return iter(list(self._streams))

    def __len__(self) -> int:
        return len(self._streams)

    def __repr__(self) -> str:
        return f"<{len(self)} streams: {list(self)!r}>"

    @classmethod
    def _from_iterable(cls, streams: Any) -> Any:
        return frozenset(streams)


class StatsRecorder:
    """The counts of one server, and the log of what went wrong."""

    def __init__(self, streams: StreamsView) -> None:
        self.log = RateLimitedLog("")
        self._streams = streams
        self._accepted = 0
        self._refused = 0
        self._handshake_failures = 0
        self._timeouts = 0
        self._octets_in = 0
        self._octets_out = 0

    def stats(self) -> ServerStats:
        """The counts as they are now."""
        streams = list(self._streams)
        return ServerStats(
            self._accepted, len(streams), self._refused, self._handshake_failures, self._timeouts,
            self._octets_in + sum(stream.octets_in for stream in streams),
            self._octets_out + sum(stream.octets_out for stream in streams),
        )

    def accepted(self) -> None:
        """A client was accepted."""
        self._accepted += 1

    def accepting_paused(self, error: OSError) -> None:
        """The system has nothing left to accept with."""
        self.log.tell("accept_paused", None, error.strerror, logging.ERROR, burst=1)

    def listener_failed(self, error: OSError) -> None:
        """The listener is of no use any more."""
        self.log.tell("listener_failed", None, error.strerror, logging.ERROR)

    def refused(self, address: Any, reason: Any) -> None:
        """A client was sent away without having been served."""
        self._refused += 1
        self._tell("refused", address, reason)

    def handshake_failed(self, address: Any, error: BaseException) -> None:
        """A client could not be served because no handshake was made with it."""
        self._handshake_failures += 1
        if isinstance(error, HandshakeTimeout):
            self._timed_out("handshake_timed_out", address, error)
        elif isinstance(error, OSError):
            self._tell("handshake_failed", address, error)

    def ended(self, stream: SocketStream) -> None:
        """A connection has been served."""
        self._octets_in += stream.octets_in
        self._octets_out += stream.octets_out

    def was_late(self, address: Any) -> None:
        """A handler ended because nothing had arrived in time."""
        self._timed_out("timed_out", address, "nothing arrived in time")

    def failed(self, error: BaseException, address: Any) -> None:
        """A connection, not its handler, failed."""
        if isinstance(error, TimeoutError) or (isinstance(error, EndOfFile) and error.timed_out):
            self._timed_out("timed_out", address, error)
        else:
            self._tell("failed", address, error)

    def _timed_out(self, event: str, address: Any, reason: Any) -> None:
        self._timeouts += 1
        self._tell(event, address, reason)

    def _tell(self, event: str, address: Any, reason: Any) -> None:
        """Writes a line about a client, whose address is told apart from the reason."""
        peer = address_name(address)
        text = getattr(reason, "strerror", None) or str(reason)
        self.log.tell(event, peer, without_name(text, peer, "the peer") if address else text)


def is_of_connection(error: BaseException, stream: SocketStream) -> bool:
    """Whether an error that ended a handler tells of its connection, and not of a mistake in the handler."""
    ours = isinstance(error, (StreamBusy, StreamClosed))
    return isinstance(error, (StreamError, EndOfFile)) and error.stream is stream and not ours
