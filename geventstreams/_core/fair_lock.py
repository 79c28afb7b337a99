"""A lock for readers and writers: first come, first served, and no greenlet overtakes one that waits."""

# Invariants:
# * Greenlets of several threads may queue for one lock, that of a file of `makefile`. So code that looks at `holder` and the queue and then
#   changes them is one step: `_seize`, `_withdraw`, `release`, `cancel_waiters`. Compiled, no other thread runs within a step, because
#   nothing in it runs Python code; in the plain build a `SharedFairLock` takes care of that.
# * A waiter is closed in its own hub's thread, and so never before its greenlet waits there.
# * `release` hands the lock to the first waiter even before that runs. A waiter that an exception ends has to release it then.

from __future__ import annotations

import _thread
from collections import deque
from typing import Any

from gevent.hub import Hub

import geventstreams._native.syscalls as _system
from geventstreams._core.clock import CLOCK
from geventstreams._core.deadline import deadline_after, seconds_until
from geventstreams._core.wakeup import Wakeup

_RLock = _system.original(_thread, "RLock")


class FairLock:
    """A lock whose waiters queue. It is held from `acquire` to `release`; `cancel_waiters` sends all waiters away."""

    def __init__(self) -> None:
        self.holder: object = None
        self._queue: deque[Wakeup] | None = None
        self._progress = 0.0

    def acquire(self, hub: Hub, timeout: float) -> bool:
        """Acquire the lock in FIFO order.

        Return False if the waiters were cancelled, or its holders made no progress for `timeout` seconds.
        """
        if self._seize(None):
            return True
        waiter = Wakeup(hub)
        try:
            if self._seize(waiter):
                return True
            self._wait(waiter, timeout)
        except BaseException:
            if self._withdraw(waiter):
                self.release()
            raise
        finally:
            waiter.close()
        return self._withdraw(waiter)

    def _seize(self, waiter: Wakeup | None) -> bool:
        """Take the lock if it is free, else put the waiter into the queue. Return whether it was taken."""
        if self.holder is None:
            self.holder = self if waiter is None else waiter
            return True
        if waiter is not None:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(waiter)
        return False

    def _withdraw(self, waiter: Wakeup) -> bool:
        """End the waiting of a waiter. Return whether it has the lock."""
        if self.holder is waiter:
            return True
        if self._queue and waiter in self._queue:
            self._queue.remove(waiter)
        return False

    def _wait(self, waiter: Wakeup, timeout: float) -> None:
        deadline = deadline_after(timeout)
        left = timeout
        while not waiter.wait(left):
            deadline = max(deadline, self._progress + timeout)
            left = seconds_until(deadline)
            if left <= 0:
                return

    def progressed(self) -> None:
        """Let the waiters' timeouts begin anew: the holder made progress."""
        if self._queue:
            self._progress = CLOCK.now()

    def release(self) -> None:
        """Hand the lock to the first waiter, or free it."""
        if self._queue:
            waiter = self._queue.popleft()
            self.holder = waiter
            waiter.close()
        else:
            self.holder = None

    def cancel_waiters(self) -> None:
        """Empty the queue. The waiters find that the lock is not theirs."""
        queue, self._queue = self._queue, None
        for waiter in queue or ():
            waiter.close()


def fair_lock_between(threads: bool) -> FairLock:
    """Make a lock for the greenlets of one thread, or of several `threads`."""
    return SharedFairLock() if threads and not _system.compiled() else FairLock()


class SharedFairLock(FairLock):
    """A lock for the greenlets of several threads, where these may interrupt each other between any two bytecodes."""

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
