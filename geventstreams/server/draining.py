"""Draining a server: idle connections see the end of their input, busy ones have time, and the rest is killed."""

# Invariants: any greenlet that waits for a drain drives it, so it survives when one of them is interrupted. Until the time is up a
# connection is only asked to end, by the end of its input.

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent
from gevent import get_hub, getcurrent

from geventstreams._core.clock import CLOCK, deadline_after
from geventstreams._core.fairness import let_ready_run, pause
from geventstreams._streams.idle import end_reads

if TYPE_CHECKING:
    from geventstreams._types import SocketStream

PULSE = 0.01
"""Seconds between two looks at the remaining connections."""

FIRST_REQUEST = 0.5
"""Seconds for which a client that has sent nothing yet is left alone: its first request may be on its way."""

HANDSHAKE_GRACE = 1.0
"""Seconds that a handshake has until it may be dropped for a newer one, or, from the beginning of a drain, for the end."""

KILL_GRACE = 1.0
"""Seconds in which killed handlers may clean up. Then their streams are closed."""


class DrainReport(NamedTuple):
    """How the connections of a server ended.

    Attributes:
        finished: Connections that were busy and ended by themselves.
        idle: Connections that were idle, and ended because their reads saw the end of file.
        killed: Connections whose handlers were killed, and those that waited for one.
    """

    finished: int
    idle: int
    killed: int


class Connections:
    """The connections of a server by state, each with the greenlet that serves it."""

    def __init__(self) -> None:
        self.handshakes: MutableMapping[Any, Any] = {}
        """Greenlets whose TLS handshake is in progress, oldest first, and when each may be dropped for a newer one."""
        self.queued: MutableMapping[SocketStream, Any] = {}
        """Streams that wait for a place for their handler."""
        self.served: MutableMapping[SocketStream, Any] = {}
        """Streams that have a handler."""
        self.departed: list[tuple[SocketStream, Any]] | None = None
        """Streams whose handlers have ended since a drain looked last; None if no drain is in progress."""


class Drain:
    """One drain of a server's connections."""

    def __init__(self, connections: Connections, timeout: float) -> None:
        self.report: DrainReport | None = None
        self._connections = connections
        self._began = CLOCK.now()
        self._deadline = self._began + timeout
        self._first_request_due = self._began + min(FIRST_REQUEST, timeout / 4)
        self._excused: set[Any] = set()
        self._idle_at_first: dict[SocketStream, int] | None = None
        self._asked: dict[SocketStream, bool] = {}
        self._finished = 0
        self._idle = 0
        self._killed = 0
        self._killed_at = 0.0
        connections.departed = []  # from now on each stream that leaves is recorded, however short its connection

    def hurry(self, timeout: float) -> None:
        """End the drain in `timeout` seconds at the latest."""
        self._deadline = min(self._deadline, deadline_after(timeout))

    def wait(self) -> DrainReport:
        """Drive the drain to its end. The connection of a handler that calls this continues, and does not count."""
        self._excused.add(getcurrent())
        let_ready_run(get_hub())  # greenlets of clients that were just accepted start
        while self.report is None:
            self._step()
            if self.report is None:
                pause(PULSE)
        return self.report

    def _step(self) -> None:
        self._count_departed()
        left = self._left()
        if self._idle_at_first is None:
            self._idle_at_first = {stream: stream.octets_in for stream in left if stream._is_idle()}
        now = CLOCK.now()
        if not left and not self._connections.handshakes and not self._connections.queued:
            self._finish()
        elif now < self._deadline:
            self._end_idle(now)
            if now - self._began > HANDSHAKE_GRACE:
                self._kill(self._connections.handshakes)
        elif not self._killed_at:
            self._killed_at = now
            self._killed = len(left) + len(self._connections.queued)
            self._kill(self._connections.handshakes)
            self._kill(self._connections.queued.values())
            self._kill(left.values())
        elif now - self._killed_at > KILL_GRACE:
            for stream in left:  # their handlers survived the kill
                stream.abort()
            self._finish()

    def _left(self) -> dict[SocketStream, Any]:
        """Return the streams that have not ended yet, with their greenlets."""
        return {stream: greenlet for stream, greenlet in self._connections.served.items() if greenlet not in self._excused}

    def _count_departed(self) -> None:
        departed, self._connections.departed = self._connections.departed or [], []
        for stream, greenlet in departed:
            was_idle = self._asked.pop(stream, False)
            if not self._killed_at and greenlet not in self._excused:
                self._idle += was_idle
                self._finished += not was_idle

    def _end_idle(self, now: float) -> None:
        assert self._idle_at_first is not None  # counted before
        for stream in self._left():
            if stream not in self._asked and stream._is_idle() and (stream.octets_in or now >= self._first_request_due):
                self._asked[stream] = self._idle_at_first.get(stream) == stream.octets_in
                end_reads(stream._waitable())

    def _kill(self, greenlets: Any) -> None:
        for greenlet in list(greenlets):
            gevent.kill(greenlet)

    def _finish(self) -> None:
        self._connections.departed = None
        self.report = DrainReport(self._finished, self._idle, self._killed)
