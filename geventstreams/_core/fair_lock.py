"""A lock for readers and writers: first come, first served, and no greenlet overtakes one that waits."""

# Invariants:
# * Greenlets of several threads may queue for one lock, that of a file of `makefile`. So code that looks at `holder` and the queue and then
#   changes them is one step: `_seize`, `_withdraw`, `release`, `cancel_waiters`. Compiled, no other thread runs within a step, because
#   nothing in it runs Python code; in the plain build a `SharedFairLock` takes care of that.
# * A waiter is closed in its own hub's thread, and so never before its greenlet waits there.
# * In a forked child no wait goes on that began in the parent, and of its threads only the one that forked is there. The first step in the
#   child, whatever thread it is in, ends the waits of that thread, and forgets those of others and a holder in another thread.
# * `release` hands the lock to the first waiter even before that runs. A waiter that an exception ends has to release it then.

from __future__ import annotations

import _thread
import os
from collections import deque
from typing import Any

from gevent.hub import Hub

import geventstreams._native.interpreter as _interpreter
from geventstreams._core.clock import CLOCK, deadline_after, seconds_until
from geventstreams._core.fork import FORK
from geventstreams._core.hub_hold import hub_of_thread
from geventstreams._core.wakeup import Wakeup

_STEP: Any = _interpreter.original(_thread, "RLock")()
"""Held in each step of a `SharedFairLock`. Not a plain lock: a signal handler may write to the same file within a step."""

os.register_at_fork(before=_STEP.acquire, after_in_parent=_STEP.release, after_in_child=_STEP.release)


class FairLock:
    """A lock whose waiters queue. It is held from `acquire` to `release`; `cancel_waiters` sends all waiters away."""

    def __init__(self) -> None:
        self.holder: object = None
        self._queue: deque[Wakeup] | None = None
        self._progress = 0.0
        self._thread = 0
        self._generation = FORK.generation

    def acquire(self, hub: Hub | None, timeout: float) -> bool:
        """Acquire the lock in FIFO order. A hub of None is this thread's.

        Return False if the waiters were cancelled, or its holders made no progress for `timeout` seconds.
        """
        if self._seize(None):
            return True
        waiter = Wakeup(hub_of_thread() if hub is None else hub)
        try:
            if self._seize(waiter):
                return True
            deadline, left = deadline_after(timeout), timeout
            while left > 0 and not waiter.wait(left):
                deadline = max(deadline, self._progress + timeout)
                left = seconds_until(deadline)
        except BaseException:
            if self._withdraw(waiter):
                self.release()
            raise
        finally:
            waiter.close()
        return self._withdraw(waiter)

    def _seize(self, waiter: Wakeup | None) -> bool:
        """Take the lock if it is free, else put the waiter into the queue. Return whether it was taken."""
        if self._generation != FORK.generation:
            self._forget_parent()
        if waiter is not None and self._queue is None:
            queue: deque[Wakeup] = deque()  # may run the collector, and that other threads: the step itself begins behind it
            self._queue = queue if self._queue is None else self._queue
        if self.holder is None:
            self.holder = self if waiter is None else waiter
            self._thread = _interpreter.thread_id()
            return True
        if waiter is not None:
            self._queue.append(waiter)  # type: ignore[union-attr]  # made above
        return False

    def _forget_parent(self) -> None:
        """In a forked child, end the waits of the thread that forked, and forget those of others, and a holder in another one."""
        self._generation = FORK.generation
        queue, self._queue = self._queue, None
        if self._thread != FORK.thread:  # not this thread: it may be a new one, that even has the number of one that is gone
            self.holder = None
        for waiter in queue or ():
            if waiter.hold.thread == FORK.thread:
                waiter.close()

    def _withdraw(self, waiter: Wakeup) -> bool:
        """End the waiting of a waiter. Return whether it has the lock."""
        if self.holder is waiter:
            return True
        if self._queue and waiter in self._queue:
            self._queue.remove(waiter)
        return False

    def progressed(self) -> None:
        """Let the waiters' timeouts begin anew: the holder made progress."""
        if self._queue:
            self._progress = CLOCK.now()

    def release(self) -> None:
        """Hand the lock to the first waiter, or free it."""
        if self._generation != FORK.generation:
            self._forget_parent()
        if self._queue:
            waiter = self._queue.popleft()
            self.holder = waiter
            self._thread = waiter.hold.thread
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
    return SharedFairLock() if threads and not _interpreter.compiled() else FairLock()


class SharedFairLock(FairLock):
    """A lock for the greenlets of several threads, where these may interrupt each other between any two bytecodes."""

    def _seize(self, waiter: Wakeup | None) -> bool:
        with _STEP:
            return FairLock._seize(self, waiter)

    def _withdraw(self, waiter: Wakeup) -> bool:
        with _STEP:
            return FairLock._withdraw(self, waiter)

    def release(self) -> None:
        with _STEP:
            FairLock.release(self)

    def cancel_waiters(self) -> None:
        with _STEP:
            FairLock.cancel_waiters(self)
