"""Whose turn it is to write: first come, first served, and nobody overtakes a greenlet that was promised the turn."""

from __future__ import annotations

from collections import deque

from gevent.hub import Hub

import geventstreams._system as _system
from geventstreams.limits import NEVER
from geventstreams.transport import Wakeup


class Turn:
    """A lock whose waiters queue. It is held from `take` to `give`; `refuse` sends all who wait away."""

    def __init__(self) -> None:
        self.holder: object = None
        self._queue: deque[Wakeup] | None = None
        self._progress = 0.0

    def take(self, hub: Hub, limit: float) -> bool:
        """Waits for the turn: False when it was refused, or when the holders made no progress for `limit` seconds."""
        if self.holder is None:
            self.holder = self
            return True
        ticket = Wakeup(hub)
        if self._queue is None:
            self._queue = deque()
        self._queue.append(ticket)
        try:
            self._wait(ticket, limit)
        except BaseException:
            if self.holder is ticket:
                self.give()
            raise
        finally:
            if self._queue and ticket in self._queue:
                self._queue.remove(ticket)
            ticket.close()
        return self.holder is ticket

    def _wait(self, ticket: Wakeup, limit: float) -> None:
        since = _system.monotonic()
        left = limit
        while not ticket.wait(left) and limit != NEVER:
            left = max(since, self._progress) + limit - _system.monotonic()
            if left <= 0:
                return

    def progressed(self) -> None:
        """The holder got on: whoever waits for the turn waits anew."""
        if self._queue:
            self._progress = _system.monotonic()

    def give(self) -> None:
        """Ends the holder's turn: the next in the queue has it from now on, even before it runs."""
        if self._queue:
            ticket = self._queue.popleft()
            self.holder = ticket
            ticket.fire()
        else:
            self.holder = None

    def refuse(self) -> None:
        """Empties the queue; those who waited find that the turn is not theirs."""
        queue, self._queue = self._queue, None
        for ticket in queue or ():
            ticket.fire()
