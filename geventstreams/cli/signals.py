"""Ctrl-C and SIGTERM, as a program with a hub has to take them: delivered while it waits, and without a traceback."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent.event import Event
from gevent.socket import wait_read


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it SIGINT is a KeyboardInterrupt in this greenlet, where it waits; Python's own is raised in the hub."""
    watcher = gevent.signal_handler(signal.SIGINT, gevent.kill, gevent.getcurrent(), KeyboardInterrupt)
    try:
        yield
    finally:
        watcher.cancel()


class Stops:
    """SIGINT and SIGTERM as events: the first one, and the second."""

    def __init__(self) -> None:
        self.first = Event()
        self.second = Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            gevent.signal_handler(number, self.come)

    def come(self) -> None:
        """A signal, or what stands for it."""
        (self.second if self.first.is_set() else self.first).set()

    def drained(self, drain: Callable[..., object], *arguments: Any) -> Any:
        """The greenlet in which `drain(*arguments)` ended after the first one; None where a second one came before that."""
        self.first.wait()
        draining = gevent.spawn(drain, *arguments)
        gevent.wait([draining, self.second], count=1)
        return None if self.second.is_set() else draining


class WorkerStops(Stops):
    """The same for a worker: Ctrl-C is its supervisor's to hear, and a supervisor that is gone stands for a signal."""

    def __init__(self) -> None:
        super().__init__()
        gevent.signal_handler(signal.SIGINT, _nothing)
        gevent.signal_handler(signal.SIGHUP, _nothing)
        gevent.spawn(self._outlive_supervisor)

    def _outlive_supervisor(self) -> None:
        wait_read(0)  # nothing is ever written there: it is the end
        if not self.first.is_set():
            self.come()


def _nothing() -> None:
    """What a signal does that is not for us."""
