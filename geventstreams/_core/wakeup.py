"""Waiting for an event of the hub's loop: `Wakeup` for one greenlet or many listeners, `HubHold` for the loop they wait on.

One `Wakeup` serves many waits: its watcher and its timer are started when they are first needed and then left running, because starting
and stopping them costs more than the rest of a wait.
"""

# Invariants:
# * A watcher is armed for one event, which stops it. Exception: on libev it stays armed while a greenlet waits again and again, because
#   an armed watcher with `ref=False` does not keep that loop running. On libuv it would, so it is stopped after each wait.
# * The timer outlives the wait that started it, and looks at `deadline` when it fires: many waits with a timeout start one timer.
# * `hold.waiting` counts the greenlets that wait: while it is not 0, the hold keeps the loop running, which the watchers do not.
# * Only the hub's thread starts and stops watchers. Other threads hand their calls to it by `HubHold.run_there`, which sends to a watcher
#   that is always active: `run_callback_threadsafe` starts one, and counts a reference, while the loop runs without the GIL.
# * An event that is not the last of its turn of the loop only puts its wakeup on `hold.ready`. A greenlet that waits again switches to the
#   next of them, not to the hub and from there to the next: one switch for each wait. An entry counts only while its wait goes on.
# * In a forked child every wait that began in the parent ends in StreamError.
# * `close` may be called by a signal handler, which interrupts any other method in the same greenlet. Then the method itself releases what
#   it uses, before the loop runs again: a watcher that is started late never sees a descriptor that belongs to other code by then.

from __future__ import annotations

import _thread
import os
import sys
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gevent.exceptions import BlockingSwitchOutError
from gevent.hub import Hub

import geventstreams._native.greenlets as _greenlets
import geventstreams._native.syscalls as _system
from geventstreams._constants import NEVER
from geventstreams._core.clock import CLOCK
from geventstreams._core.fork import FORK, inherited
from geventstreams._core.run_info import show_waits_of
from geventstreams.errors import StreamError

OTHER_THREAD = "this stream belongs to the hub of another thread"
DESTROYED = "the hub of this stream was destroyed"

READ = 1
WRITE = 2
"""The events of a descriptor, as libev and libuv number them."""

_AGES = 1e6


def stays_armed(loop: Any) -> bool:
    """Return whether an armed watcher may outlive a wait without keeping the loop alive (libev can do that, libuv cannot)."""
    return "libuv" not in type(loop).__module__


class HubHold:
    """Keeps a hub's loop running while greenlets wait on watchers that do not, and knows which thread may use that loop.

    Only the hub's own thread may. Other threads leave calls for it to make. Once it has ended, nothing runs the loop, and every
    thread may.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub: weakref.ref[Hub] = weakref.ref(hub)
        self.loop: Any = hub.loop
        self.stays_armed: bool = stays_armed(hub.loop)
        self.waiting = 0
        self.ready: list[Wakeup] = []
        self.thread: int = hub.thread_ident
        self.ended: bool = False
        self.inherited: bool = False
        self._calls: deque[Callable[[], object]] = deque()
        self._waker = hub.loop.async_(ref=False)
        self._waker.start(hub.loop.run_callback, _make_calls, self._calls)
        self._dependents: weakref.WeakKeyDictionary[Any, Callable[[Any], object]] = weakref.WeakKeyDictionary()
        self._watcher = hub.loop.timer(_AGES, _AGES)
        if self.thread == _system.thread_id():
            _notice_end_of_thread(self)

    def __del__(self) -> None:
        # The hub is gone, and nothing runs its loop. The waker is active, and would keep the loop and its descriptors.
        with suppress(AttributeError):  # its making failed
            if self.has_loop():
                self._waker.close()

    def use(self, loop: Any) -> None:
        """Use another loop for new watchers: `loop` stands in for the hub's, or is it again (see `geventstreams.testing.virtual_time`)."""
        self.loop = loop

    def begin(self) -> None:
        """Keep the loop running: `waiting` has become 1."""
        self._watcher.start(_nothing)

    def end(self) -> None:
        """Keep the loop running no longer: `waiting` has become 0."""
        if self.loop.ptr:
            self._watcher.stop()

    def resume_later(self, wakeup: Wakeup) -> None:
        """Resume the greenlet of a wakeup whose event has come: now if it is the last event of this turn, else before the next turn."""
        if self.ready:
            self.ready.append(wakeup)
        elif self.loop.pendingcnt:
            self.ready.append(wakeup)
            self.loop.run_callback(self.resume_ready)
        else:
            _greenlets.resume(wakeup.waiter)

    def resume_ready(self) -> None:
        """Resume the greenlets whose events have come. Called in the hub, to which they return when no other one is ready."""
        try:
            while (greenlet := self.next_ready()) is not None:
                _greenlets.resume(greenlet)
        finally:
            if self.ready:  # a greenlet of the user's own ended with an error, which comes out in its parent, the hub
                self.loop.run_callback(self.resume_ready)

    def next_ready(self) -> Any:
        """Return a greenlet whose event has come and that still waits for it, or None."""
        while self.ready:
            wakeup = self.ready.pop()
            if wakeup.fired and wakeup.waiter is not None:
                return wakeup.waiter
        return None

    def is_here(self) -> bool:
        """Return whether the hub is this thread's."""
        return self.thread == _system.thread_id() and not self.ended

    def may_use_loop(self) -> bool:
        """Return whether this thread may start and stop the loop's watchers."""
        return self.thread == _system.thread_id() or self.ended

    def has_loop(self) -> bool:
        """Return whether watchers of the loop can be stopped: it was not destroyed, and no thread of a parent process runs it."""
        return bool(self.loop.ptr) and not self.inherited

    def separate(self) -> None:
        """Give up the loops of the other threads. Called in a forked child, which has only the thread that forked.

        A loop of libuv shares its epoll descriptor with the parent's until `reinit`, which a plain `os.fork` does not call:
        stopping a watcher here would stop it there. libev sees the fork by itself.
        """
        if self.thread != _system.thread_id():
            self.ended = self.inherited = True
        elif not self.stays_armed and self.has_loop():
            self.loop.reinit()

    def run_there(self, call: Callable[[], object]) -> None:
        """Make a call in the hub's thread soon; here and now once that thread has ended, or the loop was destroyed."""
        self._calls.append(call)
        if not self.ended and self.loop.ptr:
            with suppress(Exception):  # the loop was destroyed since the line before
                self._waker.send()
                return
        _make_calls(self._calls)

    def tell_end_to(self, dependent: Any, ended: Callable[[Any], object]) -> None:
        """Call `ended(dependent)` when the hub's thread has ended; keep only a weak reference to it."""
        self._dependents[dependent] = ended

    def thread_has_ended(self) -> None:
        """Make the calls that the loop did not come to, and inform the dependents, which the loop may keep alive for ever.

        Called in the hub's thread when it runs no more Python code but this.
        """
        self.ended = True
        _make_calls(self._calls)
        for dependent, ended in list(self._dependents.items()):
            ended(dependent)


def _make_calls(calls: deque[Callable[[], object]]) -> None:
    while calls:
        try:
            call = calls.popleft()
        except IndexError:  # another thread took the last one
            return
        call()


class _EndOfThread:
    """Dies with its thread."""

    def __init__(self) -> None:
        self.holds: weakref.WeakSet[HubHold] = weakref.WeakSet()
        self._is_finalizing = sys.is_finalizing
        self._process = os.getpid()

    def __del__(self) -> None:
        # The process takes all with it; and a forked child drops the threads of its parent before anything else runs there.
        if not self._is_finalizing() and self._process == os.getpid():
            for hold in list(self.holds):
                hold.thread_has_ended()


_of_this_thread: Any = _system.original(_thread, "_local")()
"""The real thread's own variables, even where gevent has patched `threading`."""


def _notice_end_of_thread(hold: HubHold) -> None:
    if not hasattr(_of_this_thread, "end"):
        _of_this_thread.end = _EndOfThread()
    _of_this_thread.end.holds.add(hold)


def _nothing() -> None:
    """The callback of a watcher that never fires."""


_holds: weakref.WeakKeyDictionary[Any, HubHold] = weakref.WeakKeyDictionary()
_latest: list[weakref.ref[HubHold]] = []


def hold_of(hub: Hub) -> HubHold:
    """Return the one hold of a hub. The one that was asked for last is found sooner: a thread has one hub."""
    latest = _latest[0]() if _latest else None
    if latest is not None and _system.refers(latest.hub, hub):
        return latest
    hold = _holds.get(hub)
    if hold is None:
        hold = _holds[hub] = HubHold(hub)
        show_waits_of(hub)
    _latest[:] = [weakref.ref(hold)]
    return hold


def _separate_loops() -> None:
    """Called in a forked child."""
    for hold in list(_holds.values()):
        hold.separate()


os.register_at_fork(after_in_child=_separate_loops)


class EventHandler:
    """What a `Wakeup` calls in place of waking a greenlet."""

    def _on_event(self) -> None:
        """Called at each event, often in the hub's own greenlet: it must not wait."""
        raise NotImplementedError


class Wakeup:
    """An event to wait for: a descriptor becomes ready, or (without a descriptor) a call of `fire()`.

    At most one greenlet waits in it directly; a second one waits beside it, as a listener. Any number of listeners, callables without
    arguments that must not wait, are called at each event. An `EventHandler` is called while no greenlet waits.
    """

    def __init__(self, hub: Hub, descriptor: int = -1, events: int = 0, hold: HubHold | None = None) -> None:
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
        self.fired: bool = False
        self.expired: bool = False
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
        if self.waiter is not None:
            return self._wait_beside(timeout)
        current, hub, hold = _greenlets.current(), self.hub, self.hold
        if current is hub:
            raise BlockingSwitchOutError("a stream cannot wait in the hub's own greenlet")
        self.waiter = current
        hold.waiting += 1
        try:
            if not self.armed or self.process != FORK.generation or hub.loop is not hold.loop or hold.ended:
                self.arm()
            if hold.waiting == 1:
                hold.begin()
            self.fired = self.expired = False
            if timeout != NEVER:
                self._set_deadline(timeout)
            while not (self.fired or self.expired or self.closed):
                if _greenlets.has_died(hub):
                    self.refuse()
                if hold.ready and _greenlets.leaves_plainly(current, hub) and (following := hold.next_ready()) is not None:
                    _greenlets.resume(following)
                else:
                    _greenlets.leave(current, hub)
                if self.process != FORK.generation:
                    self.refuse()
        finally:
            self.deadline = NEVER
            hold.waiting -= 1
            if hold.waiting == 0:
                hold.end()
            if not hold.stays_armed and self.armed and self.listeners is None:
                self.disarm()
            self.waiter = None
            if self.closed:
                self._release()
        return self.fired or self.closed

    def watch(self, handler: EventHandler, timeout: float) -> bool:
        """Call `handler._on_event()` at each event from now on, and once after `timeout` seconds without another `watch`. Never waits.

        Returns:
            False if this is closed: nothing will be called.

        Raises:
            StreamError: As `wait`.
        """
        if not self.armed or self.process != FORK.generation or self.hub.loop is not self.hold.loop or self.hold.ended:
            self.arm()
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
        if self.hub.loop is not self.hold.loop:
            raise StreamError(DESTROYED)
        if not self.hold.is_here():
            raise StreamError(OTHER_THREAD)
        if _greenlets.has_died(self.hub):
            raise StreamError("the hub of this stream has died")

    def _wait_beside(self, timeout: float) -> bool:
        """Wait although another greenlet waits here already."""
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
        """Call the listeners now, and wake the waiter soon, from the hub. In another thread the hub's thread does both."""
        if not self.hold.may_use_loop():
            self.hold.run_there(self.fire)
            return
        self._call_listeners()
        if self.waiter is not None and not self.fired:
            self.fired = True
            # A greenlet of a hub that was destroyed cannot go on, even if its loop runs in another hub.
            if self.hub.loop is self.hold.loop and self.hold.loop.ptr and not self.hold.ended:
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
            if not self.fired:
                self.fired = True
                self.hold.resume_later(self)
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
        finally:
            self.arming = False
            if self.closed:
                self._release()
                self.fire()

    def disarm(self) -> None:
        """Watch the descriptor no longer. In another thread the hub's thread does it."""
        if self.armed:
            if not self.hold.may_use_loop():
                self.hold.run_there(self.disarm)
                return
            self.armed = False
            watcher = self.watcher
            if watcher is not None and self.hold.has_loop():  # a loop that was destroyed took its watchers with it
                watcher.stop()

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
        self.timer_due = CLOCK.now() + seconds
        self.timer.start(self._on_timer, update=True)

    def _stop_timer(self) -> None:
        timer, self.timer = self.timer, None
        self.timer_due = NEVER
        if timer is not None and self.hold.has_loop():
            timer.stop()
            timer.close()

    def _on_timer(self) -> None:
        self._stop_timer()
        if self.deadline == NEVER or (self.waiter is None and self.handler is None):
            return
        left = self.deadline - CLOCK.now()
        if left > 0:
            self._start_timer(left)
        else:
            self.expired = True
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
        if not (self.arming or (self.waiter is not None and self.waiter is _greenlets.current())):
            self._release()
        self.fired = False  # a wait that was interrupted between its last look and its switch to the hub is resumed now, if not before
        self.fire()
        self.handler = None

    def _release(self) -> None:
        self.disarm()
        self.descriptor = -1
        self._stop_timer()
        watcher, self.watcher = self.watcher, None
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
