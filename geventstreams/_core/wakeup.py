"""Waiting for an event of the hub's loop.

One `Wakeup` serves many waits: its watcher and its timer are started when they are first needed and then left running, because starting
and stopping them costs more than the rest of a wait.
"""

# Invariants:
# * A watcher is armed for one event, which stops it. Exception: on libev it stays armed while a greenlet waits again and again, because
#   an armed watcher with `ref=False` does not keep that loop running. On libuv it would, so it is stopped after each wait.
# * The timer outlives the wait that started it, and looks at `deadline` when it fires: many waits with a timeout start one timer.
# * Only the hub's thread starts and stops watchers (see `hub_hold`).
# * In a forked child every wait that began in the parent ends in StreamError.
# * `close` may be called by a signal handler, which interrupts any other method in the same greenlet. Then the method itself releases what
#   it uses, before the loop runs again: a watcher that is started late never sees a descriptor that belongs to other code by then.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent import get_hub
from gevent.exceptions import BlockingSwitchOutError
from gevent.hub import Hub

import geventstreams._native.greenlets as _greenlets
from geventstreams._constants import EXPIRED, FIRED, NEVER, WAITS
from geventstreams._core.clock import CLOCK
from geventstreams._core.fork import FORK, inherited
from geventstreams._core.hub_hold import DESTROYED, OTHER_THREAD, EventHandler, HubHold, Wait, hold_of
from geventstreams.errors import StreamError

READ = 1
WRITE = 2
"""The events of a descriptor, as libev and libuv number them."""


class Wakeup(Wait):
    """An event to wait for: a descriptor becomes ready, or (without a descriptor) a call of `fire()`.

    At most one greenlet waits in it directly; a second one waits beside it, as a listener, and so does one where there is an
    `EventHandler`, whose time `deadline` is then. Any number of listeners, callables without arguments that must not wait, are called at
    each event. The handler is called while no greenlet waits directly.
    """

    def __init__(self, hub: Hub, descriptor: int = -1, events: int = 0, hold: HubHold | None = None) -> None:
        self._init_wakeup(hub, descriptor, events, hold)

    def _init_wakeup(self, hub: Hub, descriptor: int, events: int, hold: HubHold | None) -> None:
        if hub.loop is None:
            raise StreamError(DESTROYED)
        self.hub = hub
        self.hold: HubHold = hold_of(hub) if hold is None else hold
        self.process: int = FORK.generation
        if _greenlets.has_died(hub):
            self.refuse()
        # The event, and who is there for it.
        self.descriptor: int = descriptor
        self.events = events
        self.watcher: Any = None
        self.armed: bool = False
        self.arming: bool = False
        self.closed: bool = False
        self.waiter: Any = None
        self.listeners: list[Callable[[], object]] | None = None
        self.handler: EventHandler | None = None
        # How the wait of `waiter` ends.
        self.outcome: int = WAITS
        self.deadline: float = NEVER
        self.timer: Any = None
        self.timer_loop: Any = None
        self.timer_due: float = NEVER

    # Waiting.

    def wait(self, timeout: float) -> bool:  # noqa: PLR0912  # a method more would be a frame more to copy at each switch
        """Wait for the next event, at most `timeout` seconds. Return whether it came. Other switches to this greenlet are ignored.

        Raises:
            StreamError: in a forked child of the process that made this, and where the hub cannot wake anything any more.
        """
        if self.waiter is not None or self.handler is not None:
            return self._wait_beside(timeout)
        current, hub, hold = _greenlets.current(), self.hub, self.hold
        if current is hub:
            raise BlockingSwitchOutError("a stream cannot wait in the hub's own greenlet")
        self.waiter = current
        hold.waiting += 1  # as `enter` and `leave` of the hold count, without a call of these in each wait
        try:
            if not self.armed or self.process != FORK.generation or _greenlets.loop_of(hub) is not hold.loop or hold.ended:
                self.arm()
            if not hold.is_held:
                hold.begin()
            self.outcome = WAITS
            if self.closed:
                self.outcome = FIRED
            if timeout != NEVER:
                self._set_deadline(timeout)
            while not self.outcome:
                if hold.ready and not _greenlets.has_hook(current, "switch_out"):
                    other = hold.ready.pop()
                    following = other.waiter if other.outcome == FIRED else None  # as `next_ready` of the hold, without a call
                    other = None  # type: ignore[assignment]  # it need not outlive its stream while this greenlet waits
                    if following is not None:
                        _greenlets.resume(following)
                else:
                    if _greenlets.has_died(hub):
                        self.refuse()
                    _greenlets.leave(current, hub)
                if self.process != FORK.generation:
                    self.refuse()
        finally:
            self.deadline = NEVER
            hold.waiting = waiting = hold.waiting - 1
            try:
                if not waiting:
                    hold.end()
                if not hold.stays_armed and self.armed and self.listeners is None:
                    self.disarm()
            finally:  # a signal handler may raise in these: libuv's watchers are in Python
                self.waiter = None
                if self.closed:
                    self._release()
        return self.outcome == FIRED

    def watch(self, handler: EventHandler, timeout: float) -> bool:
        """Call `handler._on_event()` at each event from now on, and once after `timeout` seconds without another `watch`. Never waits.

        Returns:
            False if this is closed: nothing will be called.

        Raises:
            StreamError: As `wait`.
        """
        if not self.armed or self.process != FORK.generation or _greenlets.loop_of(self.hub) is not self.hold.loop or self.hold.ended:
            self.arm()
        elif not self.hold.stays_armed:
            self.watcher.start(self)  # libuv stops by itself at an error of the descriptor, as a reset is
        self.handler = handler
        self.deadline = NEVER
        if timeout != NEVER:
            self._set_deadline(timeout)
        return not self.closed

    def refuse(self) -> None:
        """Raise StreamError where no wait is possible.

        That is in a forked child, where the hub was destroyed (its loop may live on) or its greenlet has died, and in another thread
        than the hub's, which must not touch its loop.
        """
        if self.process != FORK.generation:
            raise inherited("stream")
        if _greenlets.loop_of(self.hub) is not self.hold.loop:
            raise StreamError(DESTROYED)
        if not self.hold.is_here():
            raise StreamError(OTHER_THREAD)
        if _greenlets.has_died(self.hub):
            raise StreamError("the hub of this stream has died")

    def _wait_beside(self, timeout: float) -> bool:
        """Wait although another greenlet waits here already, or a handler is called here."""
        beside = Wakeup(self.hub)
        listener = beside.close
        self.listen(listener)
        try:
            self.arm()
            return beside.wait(timeout)
        finally:
            self.unlisten(listener)
            beside.close()

    def fire(self) -> None:
        """Call the listeners now, and the handler, or wake the waiter soon, from the hub. In another thread the hub's thread does it."""
        if not self.hold.may_use_loop():
            self.hold.run_there(self.fire)
            return
        self._call_listeners()
        if self.waiter is not None and self.outcome != FIRED:
            self.outcome = FIRED
            # A greenlet of a hub that was destroyed cannot go on, even if its loop runs in another hub.
            if _greenlets.loop_of(self.hub) is self.hold.loop and self.hold.loop.ptr and not self.hold.ended:
                self.hold.loop.run_callback(self._resume)
        elif self.handler is not None:
            self.handler._on_event()

    def __call__(self) -> None:
        """Take an event of the descriptor. The loop calls it."""
        # One event is enough for listeners; a greenlet that waits will nearly always wait again, and finds the watcher armed.
        if self.listeners is not None or (self.waiter is None and self.handler is None):
            self.disarm()
            self._call_listeners()
        if self.waiter is not None:
            if self.outcome != FIRED:
                self.outcome = FIRED
                hold = self.hold
                if hold.ready:
                    hold.ready.append(self)
                elif hold.has_batches and hold.loop.pendingcnt:
                    hold.ready.append(self)
                    hold.loop.run_callback(hold.resume_ready)
                else:  # the only event of this turn
                    _greenlets.resume(self.waiter)
        elif self.handler is not None:
            self.handler._on_event()

    def _call_listeners(self) -> None:
        if self.listeners is not None:
            for listener in self.listeners.copy():
                listener()

    def _resume(self) -> None:
        if self.waiter is not None:
            _greenlets.resume(self.waiter)

    # The watcher.

    def arm(self) -> None:
        """Watch for the next event of the descriptor."""
        self.refuse()
        if self.armed:
            return
        self.arming = True
        try:
            if self.descriptor >= 0 and not self.closed:
                if self.watcher is None:
                    self.watcher = self.hold.loop.io(self.descriptor, self.events, ref=False)
                self.watcher.start(self)  # an idle stream holds no bound method
                self.armed = True
            self.arming = False
        finally:
            if self.arming:  # a signal handler raised: libuv's watchers are in Python
                self.arming = False
                self.armed = self.watcher is not None
                self.disarm()
            if self.closed:
                self._release()
                self.fire()

    def disarm(self) -> None:
        """Watch the descriptor no longer. In another thread the hub's thread does it."""
        if self.armed:
            if not self.hold.may_use_loop():
                self.hold.run_there(self.disarm)
                return
            watcher = self.watcher if self.hold.has_loop() else None  # a loop that was destroyed took its watchers with it
            try:
                self.armed = False
                if watcher is not None:
                    watcher.stop()
            except BaseException:  # a signal handler raised, see `arm`: only a watcher that was started is stopped as a whole
                if watcher is not None:
                    watcher.start(self)
                    watcher.stop()
                raise

    def listen(self, listener: Callable[[], object]) -> None:
        """Call `listener` at every event from now on. Events of the descriptor come only after `arm`, one for each call of it."""
        if self.listeners is None:
            self.listeners = [listener]
        else:
            self.listeners.append(listener)

    def unlisten(self, listener: Callable[[], object]) -> None:
        """Call `listener` no longer, if it listens."""
        if self.listeners is None:
            return
        self.listeners = [other for other in self.listeners if other is not listener] or None
        if self.listeners is None and not self.hold.stays_armed and self.waiter is None and self.handler is None:
            self.disarm()

    # The timeout.

    def _set_deadline(self, timeout: float) -> None:
        self.deadline = CLOCK.now() + timeout
        if self.deadline < self.timer_due or self.timer_loop is not self.hold.loop:
            self._start_timer(timeout)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        loop = self.hold.loop
        self.timer_loop = loop
        self.timer = loop.timer(max(seconds, loop.approx_timer_resolution), ref=False)
        self.timer.start(self._on_timer, update=True)
        self.timer_due = CLOCK.now() + seconds

    def _stop_timer(self) -> None:
        timer, self.timer = self.timer, None
        self.timer_due = NEVER
        if timer is not None and self.hold.has_loop():
            try:
                timer.stop()
            except BaseException:
                timer.start(self._on_timer)  # see `disarm`
                raise
            finally:
                timer.close()

    def _on_timer(self) -> None:
        self._stop_timer()
        if self.deadline == NEVER or (self.waiter is None and self.handler is None):
            return
        left = self.deadline - CLOCK.now()
        if left > 0:
            self._start_timer(left)
        else:
            if self.outcome != FIRED:
                self.outcome = EXPIRED
            if self.waiter is not None:
                _greenlets.resume(self.waiter)
            else:
                self.handler._on_event()  # type: ignore[union-attr]  # see above

    def close(self) -> None:
        """Let go of the descriptor and the loop, and end the wait, or the next one at once. In another thread the hub's thread does it."""
        if not self.hold.may_use_loop():
            self.hold.run_there(self.close)
            return
        self.closed = True
        try:
            if not (self.arming or (self.waiter is not None and self.waiter is _greenlets.current())):
                self._release()
        finally:
            # A wait that was interrupted between its last look and its switch to the hub is resumed now, if not before.
            self.outcome = WAITS
            self.fire()
            self.handler = None

    def _release(self) -> None:
        try:
            self.disarm()
        finally:  # a signal handler may raise in each of these: libuv's watchers are in Python
            self.descriptor = -1
            watcher, self.watcher = self.watcher, None
            try:
                self._stop_timer()
            finally:
                if watcher is not None and self.hold.has_loop():
                    watcher.close()


class ReusableWakeup(Wakeup):
    """A wakeup without a descriptor, for one wait after the other: `end_wait` ends the wait, or the next one at once.

    Its timer outlives a wait, until `stop_timer`.
    """

    def end_wait(self) -> None:
        """End the wait, or the next one at once. A signal handler may call it at any time."""
        self.closed = True
        self.fire()

    def stop_timer(self) -> None:
        """Let go of the loop, between two waits. In another thread the hub's thread does it."""
        if self.hold.may_use_loop():
            self._stop_timer()
        else:
            self.hold.run_there(self._stop_timer)

    def arm(self) -> None:
        self.refuse()

    def _release(self) -> None:
        self.closed = False  # the wait that was to end has ended


def refuse_dead_hub() -> None:
    """Raise StreamError where this thread's hub was destroyed or has died, before anything is made that would be left in it."""
    Wakeup(get_hub())
