"""Ctrl-C and SIGTERM, as a program with a hub has to take them: delivered while it waits, and without a traceback."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from gevent.event import Event


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
            gevent.signal_handler(number, self._came)

    def _came(self) -> None:
        (self.second if self.first.is_set() else self.first).set()
