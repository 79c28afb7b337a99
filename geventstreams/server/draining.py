"""The end of a server's connections: idle ones see the end of their input, busy ones have time, the rest is killed.

Rules for the next editor: a drain belongs to nobody. Everyone who waits for it drives it, so it goes on when one of
them is interrupted. A connection is asked, never told, until the time is over.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, NamedTuple

import gevent
from gevent import get_hub, getcurrent

import geventstreams._native.syscalls as _system
from geventstreams._core.fairness import let_ready_run, pause
from geventstreams._streams.socket_stream import SocketStream

PULSE = 0.01
"""Seconds between two looks at the connections that are left."""

FIRST_WORD = 0.5
"""Seconds for which a client that has not said anything yet is left alone: its first words may be on their way."""

HANDSHAKE_GRACE = 1.0
"""Seconds that handshakes have to be completed."""

KILL_GRACE = 1.0
"""Seconds that killed handlers have to clean up; after them their streams are closed under them."""


class DrainReport(NamedTuple):
    """How the connections of a server ended: busy ones by themselves, idle ones because they were, the rest killed."""

    finished: int
    idle: int
    killed: int


class Connections:
    """The connections of a server, each with the greenlet that it runs in, by how far they have come."""

    def __init__(self) -> None:
        self.handshakes: MutableMapping[Any, Any] = {}
        """Greenlets whose TLS handshake is in progress, oldest first, and their addresses."""
        self.queued: MutableMapping[SocketStream, Any] = {}
        """Streams that wait for a handler's place."""
        self.served: MutableMapping[SocketStream, Any] = {}
        """Streams that have a handler."""
        self._departed: list[tuple[SocketStream, Any]] | None = None

    def leave(self, stream: SocketStream) -> None:
        """The handler of a stream has ended."""
        greenlet = self.served.pop(stream)
        if self._departed is not None:
            self._departed.append((stream, greenlet))

    def departed(self) -> list[tuple[SocketStream, Any]]:
        """Who has left since this was asked last, or begun to be asked, each with the greenlet that it ran in."""
        known, self._departed = self._departed or [], []
        return known

    def forget(self) -> None:
        """Nobody asks who leaves any more."""
        self._departed = None


class Drain:
    """One stop of a server."""

    def __init__(self, connections: Connections, timeout: float) -> None:
        self.report: DrainReport | None = None
        self._connections = connections
        self._began = _system.monotonic()
        self._deadline = self._began + timeout
        self._first_word_due = self._began + min(FIRST_WORD, timeout / 4)
        self._excused: set[Any] = set()
        self._idle_at_first: dict[SocketStream, int] | None = None
        self._asked: dict[SocketStream, bool] = {}
        self._finished = 0
        self._idle = 0
        self._killed = 0
        self._killed_at = 0.0
        connections.departed()  # from now on nobody leaves unseen, however short a visit is

    def hurry(self, timeout: float) -> None:
        """Ends it after so many seconds, if it would last longer."""
        self._deadline = min(self._deadline, _system.monotonic() + timeout)

    def wait(self) -> DrainReport:
        """Drives it to its end. The connection of a handler that calls this goes on, and is not in the report."""
        self._excused.add(getcurrent())
        let_ready_run(get_hub())  # the greenlets of those who were just accepted begin
        while self.report is None:
            self._step()
            if self.report is None:
                pause(get_hub(), PULSE)
        return self.report

    def _step(self) -> None:
        self._count_departed()
        left = self._left()
        if self._idle_at_first is None:
            self._idle_at_first = {stream: stream.octets_in for stream in left if stream.is_idle()}
        now = _system.monotonic()
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
            self._give_up()

    def _left(self) -> dict[SocketStream, Any]:
        """The streams that are still to end, with their greenlets."""
        return {stream: greenlet for stream, greenlet in self._connections.served.items() if greenlet not in self._excused}

    def _count_departed(self) -> None:
        for stream, greenlet in self._connections.departed():
            was_idle = self._asked.pop(stream, False)
            if not self._killed_at and greenlet not in self._excused:
                self._idle += was_idle
                self._finished += not was_idle

    def _end_idle(self, now: float) -> None:
        assert self._idle_at_first is not None  # counted before
        for stream in self._left():
            if stream not in self._asked and stream.is_idle() and (stream.octets_in or now >= self._first_word_due):
                self._asked[stream] = self._idle_at_first.get(stream) == stream.octets_in
                stream.end_reads()

    def _kill(self, greenlets: Any) -> None:
        for greenlet in list(greenlets):
            gevent.kill(greenlet)

    def _give_up(self) -> None:
        """Closes the streams of handlers that do not let themselves be killed."""
        for stream in self._left():
            stream.abort()
        self._finish()

    def _finish(self) -> None:
        self._connections.forget()
        self.report = DrainReport(self._finished, self._idle, self._killed)
