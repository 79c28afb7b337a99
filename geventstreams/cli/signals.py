"""Ctrl-C and SIGTERM in a program with a hub: delivered while it waits, and without a traceback."""

# Invariants: an event loop's own watcher reports two signals that come before the loop runs again as one, and the second one, which ends
# everything at once, would be lost. So Python's handler counts, and its wake-up descriptor only wakes the loop.

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import gevent
from gevent.event import Event
from gevent.socket import wait_read

from geventstreams._core.wakeup import READ


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise SIGINT as a KeyboardInterrupt in this greenlet, where it waits; Python's own is raised in the hub."""
    watcher = gevent.signal_handler(signal.SIGINT, gevent.kill, gevent.getcurrent(), KeyboardInterrupt)
    try:
        yield
    finally:
        watcher.cancel()


class Signals:
    """Handlers that the hub calls once for each signal, however long it was busy before."""

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[], object]] = {}
        self._loop = gevent.get_hub().loop
        self._woken, waking = os.pipe()
        for descriptor in (self._woken, waking):
            os.set_blocking(descriptor, False)
        self._watcher = self._loop.io(self._woken, READ)
        self._watcher.start(self._drain)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        atexit.register(self._ignore)

    def handle(self, number: int, handler: Callable[[], object]) -> None:
        """Call `handler()` for each signal of this number from now on. It must not wait."""
        self._handlers[number] = handler
        signal.signal(number, self._come)

    def _ignore(self) -> None:
        """Ignore the signals from now on: one that comes while the interpreter ends must not change the exit status."""
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)

    def _come(self, number: int, _frame: Any) -> None:
        self._loop.run_callback(self._handlers[number])

    def _drain(self) -> None:
        """Empty the pipe. A forked child may have written into it, too: only calls of the handler count."""
        os.read(self._woken, 4096)


class Stops:
    """SIGINT, SIGTERM and, unless it is ignored as under `nohup`, SIGHUP as events: the first one, and the second."""

    def __init__(self) -> None:
        self.first: Event = Event()
        self.second: Event = Event()
        self.signals: Signals = Signals()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self.signals.handle(number, self.come)

    def come(self) -> None:
        """Count a signal, or an event that counts as one."""
        (self.second if self.first.is_set() else self.first).set()

    def drained(self, drain: Callable[..., object], *arguments: Any) -> Any:
        """Return the greenlet in which `drain(*arguments)` ended after the first one, or None if a second one came before that."""
        self.first.wait()
        draining = gevent.spawn(drain, *arguments)
        gevent.wait([draining, self.second], count=1)
        return None if self.second.is_set() else draining


class WorkerStops(Stops):
    """The events of a worker: SIGTERM and the end of its standard input are the two signals; Ctrl-C is handled by its supervisor.

    Each counts once, in either order. SIGTERM may come from the supervisor and from a service manager, which sends it to all
    processes of a service. The input ends with the supervisor, or when the supervisor has a second signal to pass on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._came: set[str] = set()
        for number in (signal.SIGINT, signal.SIGHUP):
            self.signals.handle(number, _nothing)
        self.signals.handle(signal.SIGTERM, partial(self._come_once, "SIGTERM"))
        gevent.spawn(self._wait_for_end)

    def _come_once(self, what: str) -> None:
        if what not in self._came:
            self._came.add(what)
            self.come()

    def _wait_for_end(self) -> None:
        wait_read(0)  # nothing is ever written there: this is the end
        self._come_once("end of input")


def _nothing() -> None:
    """Ignore a signal that is meant for the supervisor."""
