"""A lock for readers and writers: first come, first served, and no greenlet overtakes one that was promised the lock.

Rule for the next editor: greenlets of several threads may queue for one lock, that of a file of `makefile`. So what looks at `holder` and
the queue and then changes them is one step: `_seize`, `_withdraw`, `release`, `cancel_waiters`. Compiled, no other thread runs within a
step, because nothing in it runs Python code; plain, a `SharedFairLock` takes care of that. A waiter is fired in its own hub's thread, and
so never before its greenlet waits there.
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


class FairLock:
    """A lock whose waiters queue. It is held from `acquire` to `release`; `cancel_waiters` sends all waiters away."""

    def __init__(self) -> None:
        self.holder: object = None
        self._queue: deque[Wakeup] | None = None
        self._progress = 0.0

    def acquire(self, hub: Hub, limit: float) -> bool:
        """Waits for the turn: False when it was refused, or when the holders made no progress for `limit` seconds."""
        if self._seize(None):
            return True
        waiter = Wakeup(hub)
        try:
            if self._seize(waiter):
                return True
            self._wait(waiter, limit)
        except BaseException:
            if self._withdraw(waiter):
                self.release()
            raise
        finally:
            waiter.close()
        return self._withdraw(waiter)

    def _seize(self, waiter: Wakeup | None) -> bool:
        """Take the turn if nobody holds it, else put the waiter into the queue: whether it was taken."""
        if self.holder is None:
            self.holder = self if waiter is None else waiter
            return True
        if waiter is not None:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(waiter)
        return False

    def _withdraw(self, waiter: Wakeup) -> bool:
        """End the waiting of a waiter: whether it has the turn."""
        if self.holder is waiter:
            return True
        if self._queue and waiter in self._queue:
            self._queue.remove(waiter)
        return False

    def _wait(self, waiter: Wakeup, limit: float) -> None:
        since = _system.monotonic()
        left = limit
        while not waiter.wait(left) and limit != NEVER:
            left = max(since, self._progress) + limit - _system.monotonic()
            if left <= 0:
                return

    def progressed(self) -> None:
        """The holder got on: whoever waits for the turn waits anew."""
        if self._queue:
            self._progress = _system.monotonic()

    def release(self) -> None:
        """Ends the holder's turn: the next in the queue has it from now on, even before it runs."""
        if self._queue:
            waiter = self._queue.popleft()
            self.holder = waiter
            waiter.fire()
        else:
            self.holder = None

    def cancel_waiters(self) -> None:
        """Empties the queue; those who waited find that the turn is not theirs."""
        queue, self._queue = self._queue, None
        for waiter in queue or ():
            waiter.fire()


def fair_lock_between(threads: bool) -> FairLock:
    """A turn for the greenlets of one thread, or of several `threads`."""
    return SharedFairLock() if threads and not _system.compiled() else FairLock()


class SharedFairLock(FairLock):
    """A turn for the greenlets of several threads, where these may interrupt each other between any two bytecodes."""

    def __init__(self) -> None:
        FairLock.__init__(self)
        self._step: Any = _RLock()  # not a plain lock: a signal handler may write to the same file within a step

    def _seize(self, waiter: Wakeup | None) -> bool:
        with self._step:
            return FairLock._seize(self, waiter)

    def _withdraw(self, waiter: Wakeup) -> bool:
        with self._step:
            return FairLock._withdraw(self, waiter)

    def release(self) -> None:
        with self._step:
            FairLock.release(self)

    def cancel_waiters(self) -> None:
        with self._step:
            FairLock.cancel_waiters(self)
