"""The greenlets in which connections are served: one for all connections of a hub, and one more for each whose callback waits."""

# Theory:
#
# The hub reports events; it must not run callbacks, which may wait. A pump collects the connections that have something to do, and one
# greenlet, the pump's, serves them one after another: two switches for all of them. Where a callback waits, that greenlet switches to the
# hub in the middle of `Task._serve`, and `Pump._run`, from which the hub had switched to it, goes on there. So it is known at once that a
# callback waits, and which: from then on the greenlet is that connection's only, and another one serves the rest.
#
# Invariants:
# * `Task._greenlet` is the one that serves it now; while there is one, no other does, so callbacks of one connection never overlap.
# * `Pump._serving` is the task of the pump's greenlet, as long as its callback has not waited.
# * `tasks` are those that have begun and not finished: they stay alive, and while there are any, the greenlets do.
# * A task that waits for an event is counted in `hold.waiting`, which keeps the loop running; one whose callback waits is not.

from __future__ import annotations

import contextvars
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from gevent import GreenletExit
from gevent.hub import Hub

import geventstreams._native.greenlets as _greenlets
from geventstreams._constants import BLOCK
from geventstreams._core.hub_hold import EventHandler, HubHold, hold_of

SPARE = 64
"""How many greenlets are kept for callbacks that wait, while there are connections."""


class Task(EventHandler):
    """What a pump serves: `_serve` is called when there is something to do. It runs in one greenlet at a time, and may wait."""

    def __init__(self, hub: Hub) -> None:
        self._pump: Pump = pump_of(hub)
        self._greenlet: Any = None
        self._context: contextvars.Context = contextvars.Context()
        self._queued: bool = False
        self._resting: bool = False
        self._finished: bool = False
        self._killed: bool = False
        self._counted: bool = False

    def _on_event(self) -> None:
        if self._greenlet is not None or self._resting or self._finished:
            self._disarm()
        elif not self._queued:
            self._pump.add(self)

    def _serve(self) -> None:
        """Do what there is to do; return when an event has to come first. Set `_finished` if none will, `_killed` if GreenletExit came."""
        raise NotImplementedError

    def _disarm(self) -> None:
        """Report no more events until `_serve` waits for one."""
        raise NotImplementedError

    def _flush(self) -> None:
        """Called in the hub when a callback waits for the first time: do what else is done at its end."""
        raise NotImplementedError

    def _wake_up(self) -> None:
        """Have it served, unless it is being served: then it sees by itself what has changed."""
        if self._greenlet is None and not (self._queued or self._finished or self._pump.hold.ended):
            self._pump.add(self)

    def _start(self) -> None:
        """Have it served for the first time."""
        self._pump.tasks.add(self)
        self._pump.add(self)


class Pump:
    """Serves the tasks of a hub."""

    def __init__(self, hub: Hub) -> None:
        self.tasks: set[Task] = set()
        self.block = memoryview(bytearray(BLOCK))
        """Memory for what a task receives and takes at once: it does not stay in it over a switch."""
        self.hold: HubHold = hold_of(hub)
        self._ready: list[Any] = []
        self._batch: list[Any] = []
        self._next = 0
        self._scheduled = False
        self._serving: Task | None = None
        self._greenlet: Any = None
        self._spare: list[Any] = []

    def add(self, task: Task) -> None:
        """Serve a task in this turn of the hub."""
        task._queued = True
        self._ready.append(task)
        if not self._scheduled:
            self._schedule()

    def add_later(self, task: Task) -> None:
        """Serve a task after the loop has gone round once: others come first."""
        self.hold.loop.run_callback(self.hold.run_there, task._on_event)

    def settle(self, task: Task) -> None:
        """Keep the loop running for a task that waits for an event; let go of one that is finished."""
        if task._finished:
            self._discount(task)
            self.tasks.discard(task)
            if not self.tasks:
                self._schedule()
        elif not task._counted:
            task._counted = True
            self.hold.enter()

    def _discount(self, task: Task) -> None:
        if task._counted:
            task._counted = False
            self.hold.leave()

    # In the hub.

    def _schedule(self) -> None:
        if not self._scheduled and self.hold.loop.ptr and not self.hold.ended:
            self._scheduled = True
            self.hold.loop.run_callback(self._run)

    def _run(self) -> None:
        """Have the tasks served that are ready now. Called by the loop."""
        self._scheduled = False
        self._batch, self._ready = self._ready, self._batch
        self._next = 0
        try:
            while self._next < len(self._batch):
                while self._greenlet is None or _greenlets.has_died(self._greenlet):
                    self._greenlet = self._spare.pop() if self._spare else gevent.Greenlet(self._serve)
                _greenlets.resume(self._greenlet)
                if self._serving is not None:
                    self._leave_to(self._serving)
        finally:
            self._ready.extend(self._batch[self._next :])
            self._batch.clear()
            if self._ready:
                self._schedule()
        if not self.tasks:
            self._end()

    def _leave_to(self, task: Task) -> None:
        """Leave the pump's greenlet to a task whose callback waits in it."""
        self._serving = self._greenlet = None
        self._discount(task)
        if not self.hold.stays_armed:
            task._disarm()
        task._flush()

    def _end(self) -> None:
        """End the greenlets that have nothing to serve."""
        pump, self._greenlet = self._greenlet, None
        if pump is not None:
            self._spare.append(pump)
        while self._spare:
            _greenlets.resume(self._spare.pop())  # from one that has died it comes back at once

    # In a greenlet.

    def _serve(self) -> None:
        """Serve what is ready, wait for more, and so on. In a greenlet that a callback has waited in, end or become a spare one."""
        current = _greenlets.current()
        hub = gevent.get_hub()
        try:
            while self._greenlet is current:
                while self._next < len(self._batch) and self._greenlet is current:
                    self._serve_task(self._batch[self._next], current)
                if self._greenlet is not current:
                    if not self.tasks or len(self._spare) >= SPARE:
                        return
                    self._spare.append(current)
                    current.gr_context = None
                _greenlets.leave(current, hub)
        finally:
            if self._greenlet is current:
                self._greenlet = None

    def _serve_task(self, task: Task, current: Any) -> None:
        self._next += 1
        task._queued = False
        task._greenlet = current
        _greenlets.enter_context(current, task._context)
        self._serving = task
        try:
            task._serve()
        finally:
            task._greenlet = None
            _greenlets.leave_context(task._context)
            if self._serving is task:
                self._serving = None
            if task._finished or not task._counted:
                self.settle(task)
        if task._killed:
            raise GreenletExit  # who killed this greenlet may wait for its end


_pumps: WeakKeyDictionary[Any, Pump] = WeakKeyDictionary()


def pump_of(hub: Hub) -> Pump:
    """Return the one pump of a hub."""
    pump = _pumps.get(hub)
    if pump is None:
        pump = _pumps[hub] = Pump(hub)
    return pump
