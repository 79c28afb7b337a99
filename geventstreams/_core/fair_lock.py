"""Whose turn it is to write: first come, first served, and nobody overtakes a greenlet that was promised the turn.

Rule for the next editor: greenlets of several threads may queue in one turn, that of a file of `makefile`. So what looks at `holder` and
the queue and then changes them is one step: `_seize`, `_withdraw`, `give`, `refuse`. Compiled, no other thread runs within a step, because
nothing in it runs Python code; plain, a `SharedTurn` takes care of that. A ticket is fired in its own hub's thread, and so never before
its greenlet waits there.
"""

from __future__ import annotations

import _thread
from collections import deque
from typing import Any

from gevent.hub import Hub

import geventstreams._native.syscalls as _system
from geventstreams._constants import NEVER
from geventstreams._core.transport import Wakeup

_RLock = _system.original(_thread, "RLock")


class Turn:
    """A lock whose waiters queue. It is held from `take` to `give`; `refuse` sends all who wait away."""

    def __init__(self) -> None:
        self.holder: object = None
        self._queue: deque[Wakeup] | None = None
        self._progress = 0.0

    def take(self, hub: Hub, limit: float) -> bool:
        """Waits for the turn: False when it was refused, or when the holders made no progress for `limit` seconds."""
        if self._seize(None):
            return True
        ticket = Wakeup(hub)
        try:
            if self._seize(ticket):
                return True
            self._wait(ticket, limit)
        except BaseException:
            if self._withdraw(ticket):
                self.give()
            raise
        finally:
            ticket.close()
        return self._withdraw(ticket)

    def _seize(self, ticket: Wakeup | None) -> bool:
        """Take the turn if nobody holds it, else put the ticket into the queue: whether it was taken."""
        if self.holder is None:
            self.holder = self if ticket is None else ticket
            return True
        if ticket is not None:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(ticket)
        return False

    def _withdraw(self, ticket: Wakeup) -> bool:
        """End the waiting of a ticket: whether it has the turn."""
        if self.holder is ticket:
            return True
        if self._queue and ticket in self._queue:
            self._queue.remove(ticket)
        return False

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


def turn_between(threads: bool) -> Turn:
    """A turn for the greenlets of one thread, or of several `threads`."""
    return SharedTurn() if threads and not _system.compiled() else Turn()


class SharedTurn(Turn):
    """A turn for the greenlets of several threads, where these may interrupt each other between any two bytecodes."""

    def __init__(self) -> None:
        Turn.__init__(self)
        self._step: Any = _RLock()  # not a plain lock: a signal handler may write to the same file within a step

    def _seize(self, ticket: Wakeup | None) -> bool:
        with self._step:
            return Turn._seize(self, ticket)

    def _withdraw(self, ticket: Wakeup) -> bool:
        with self._step:
            return Turn._withdraw(self, ticket)

    def give(self) -> None:
        with self._step:
            Turn.give(self)

    def refuse(self) -> None:
        with self._step:
            Turn.refuse(self)
