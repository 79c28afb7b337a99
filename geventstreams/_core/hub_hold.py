"""The loop of a hub, for those who wait on it: kept running while greenlets wait, used by its own thread only, one for each hub."""

# Invariants:
# * `waiting` counts the greenlets that wait: while it is not 0, the hold keeps the loop running, which the watchers do not.
# * Only the hub's thread starts and stops watchers. Other threads hand their calls to it by `run_there`, which sends to a watcher that is
#   always active: `run_callback_threadsafe` starts one, and counts a reference, while the loop runs without the GIL.
# * An event that is not the only one of its turn of the loop only puts its wait on `ready`. A greenlet that waits again switches to the
#   next of them, not to the hub and from there to the next: one switch for each wait. An entry counts only while its wait goes on.

from __future__ import annotations

import _thread
import os
import sys
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub, get_hub

import geventstreams._native.greenlets as _greenlets
import geventstreams._native.interpreter as _interpreter
from geventstreams._constants import FIRED
from geventstreams._core.living import show_waits_of

OTHER_THREAD = "this stream belongs to the hub of another thread"
DESTROYED = "the hub of this stream was destroyed"

_AGES = 1e6


class Wait:
    """A place where a greenlet may wait: `waiter` is that greenlet, or None, and `outcome` tells how its wait ended."""

    waiter: Any
    outcome: int


class EventHandler:
    """What a `Wakeup` calls in place of waking a greenlet."""

    def _on_event(self) -> None:
        """Called at each event, often in the hub's own greenlet: it must not wait."""
        raise NotImplementedError


class HubHold:
    """Keeps a hub's loop running while greenlets wait on watchers that do not, and knows which thread may use that loop.

    Only the hub's own thread may. Other threads leave calls for it to make. Once it has ended, nothing runs the loop, and every
    thread may.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub: weakref.ref[Hub] = weakref.ref(hub)
        self.loop: Any = hub.loop
        """The loop of new watchers. `geventstreams.testing.virtual_time` puts another one in its place."""
        self.stays_armed: bool = "libuv" not in type(hub.loop).__module__
        """Whether an armed watcher may outlive a wait without keeping the loop alive (libev can do that, libuv cannot)."""
        self.has_batches: bool = type(hub) is Hub
        """Whether a greenlet may switch to the next one, past the hub, as it may where the hub has no `switch` of a class of the user's."""
        self.waiting: int = 0
        self.is_held: bool = False
        """Whether the loop is kept running. The count does not tell: a signal handler may wait between the two."""
        self.ready: list[Wait] = []
        self.thread: int = hub.thread_ident
        self.is_ours: bool = False
        """Whether the hub was made by `hub_of_thread`: no other code of its thread knows its loop."""
        self.ended: bool = False
        self.inherited: bool = False
        self._calls: deque[Callable[[], object]] = deque()
        self._waker = hub.loop.async_(ref=False)
        self._waker.start(hub.loop.run_callback, _make_calls, self._calls)
        self._dependents: weakref.WeakKeyDictionary[Any, Callable[[Any], object]] = weakref.WeakKeyDictionary()
        self._watcher = hub.loop.timer(_AGES, _AGES)
        if self.thread == _interpreter.thread_id():
            _check_signals(hub.loop, not sys.platform.startswith("linux") or _native_thread_id() == os.getpid())
            if not hasattr(of_this_thread, "end"):
                of_this_thread.end = _EndOfThread()
            of_this_thread.end.holds.add(self)

    def __del__(self) -> None:
        # The hub is gone, and nothing runs its loop. The waker is active, and would keep the loop and its descriptors.
        try:  # at the end of the program the modules are emptied: what they import cannot be used here
            self._release_loop()
        except (AttributeError, TypeError):
            pass  # or its making failed

    def _release_loop(self) -> None:
        if self.has_loop():
            self._waker.close()
            self._watcher.close()  # libuv would keep it when its memory is free, which crashes it, or a forked child
            if self.is_ours:
                self.loop.destroy()

    def enter(self) -> None:
        """Count one more that waits."""
        self.waiting += 1
        if not self.is_held:
            self.begin()

    def leave(self) -> None:
        """Count one less."""
        self.waiting -= 1
        if self.waiting == 0:
            self.end()

    def begin(self) -> None:
        """Keep the loop running: a greenlet waits."""
        self._watcher.start(_nothing)
        self.is_held = True

    def end(self) -> None:
        """Keep the loop running no longer: `waiting` has become 0."""
        self.is_held = False
        if self.loop.ptr:
            self._watcher.stop()

    def resume_ready(self) -> None:
        """Resume the greenlets whose events have come. Called in the hub, to which they return when no other one is ready."""
        try:
            while self.ready:
                if (greenlet := self.next_ready()) is not None:
                    _greenlets.resume(greenlet)
        finally:
            if self.ready:  # a greenlet of the user's own ended with an error, which comes out in its parent, the hub
                self.loop.run_callback(self.resume_ready)

    def next_ready(self) -> Any:
        """Take one of the waits that are `ready`. Return its greenlet, or None if that does not wait any more."""
        wait = self.ready.pop()
        return wait.waiter if wait.outcome == FIRED else None

    def is_here(self) -> bool:
        """Return whether the hub is this thread's."""
        return self.thread == _interpreter.thread_id() and not self.ended

    def may_use_loop(self) -> bool:
        """Return whether this thread may start and stop the loop's watchers."""
        return self.thread == _interpreter.thread_id() or self.ended

    def has_loop(self) -> bool:
        """Return whether watchers of the loop can be stopped: it was not destroyed, and no thread of a parent process runs it."""
        return bool(self.loop.ptr) and not self.inherited

    def separate(self) -> None:
        """Give up the loops of the other threads. Called in a forked child, which has only the thread that forked.

        A loop shares its epoll descriptor with the parent's until `reinit`, which a plain `os.fork` does not call: starting or stopping a
        watcher here would do so there. libev sees the fork by itself, but not before the greenlets that were ready with this one have run.
        """
        if self.thread != _interpreter.thread_id():
            self.ended = self.inherited = True
        elif self.has_loop():
            self.loop.reinit()
            _check_signals(self.loop, True)
            if self._calls:  # libuv's `reinit` forgets that the waker was called
                self.loop.run_callback(_make_calls, self._calls)

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
        self._calls.extend([partial(ended, dependent) for dependent, ended in self._dependents.items()])
        try:
            _make_calls(self._calls)
        finally:
            if self.is_ours:
                self._release_loop()


def _make_calls(calls: deque[Callable[[], object]]) -> None:
    try:
        while calls:
            try:
                call = calls.popleft()
            except IndexError:  # another thread took the last one
                return
            call()
    finally:
        if calls:  # one that fails, or a signal handler that raises, keeps no other from being made
            _make_calls(calls)


class _EndOfThread:
    """Dies with its thread."""

    def __init__(self) -> None:
        self.holds: weakref.WeakSet[HubHold] = weakref.WeakSet()
        self._is_finalizing = sys.is_finalizing
        self._process = os.getpid()

    def __del__(self) -> None:
        # The process takes all with it; and a forked child drops the threads of its parent before anything else runs there.
        if not self._is_finalizing() and self._process == os.getpid():
            _make_calls(deque([hold.thread_has_ended for hold in self.holds]))


of_this_thread: Any = _interpreter.original(_thread, "_local")()
"""The real thread's own variables, even where gevent has patched `threading`."""


_native_thread_id: Callable[[], int] = _interpreter.original(_thread, "get_native_id")
"""Return the system's number of this thread. On Linux it is the process's in the main thread, and in the one that forked this process."""


def _check_signals(loop: Any, checks: bool) -> None:
    """Let a loop of libuv look for signals three times a second, or not: Python handles them in the main thread only.

    A daemon thread that wakes up for that when the interpreter has ended crashes the process.
    """
    timer = getattr(loop, "_signal_idle", None)
    if timer is not None:
        (loop._lib.uv_timer_again if checks else loop._lib.uv_timer_stop)(timer)


def _nothing() -> None:
    """The callback of a watcher that never fires."""


_holds: weakref.WeakKeyDictionary[Any, HubHold] = weakref.WeakKeyDictionary()
_latest: list[weakref.ref[HubHold]] = []


def hold_of(hub: Hub) -> HubHold:
    """Return the one hold of a hub. The one that was asked for last is found sooner: a thread has one hub."""
    latest = _latest[0]() if _latest else None
    if latest is not None and latest.hub() is hub:
        return latest
    hold = _holds.get(hub)
    if hold is None:
        hold = _holds[hub] = HubHold(hub)
        show_waits_of(hub)
    _latest[:] = [weakref.ref(hold)]
    return hold


def hub_of_thread() -> Hub:
    """Return this thread's hub. One that has to be made for it gives its descriptors back when the thread ends.

    gevent leaves that to the code that uses gevent in a thread. A thread that only reads a file does not know that it has a hub.
    """
    hub = get_hub_if_exists()
    if hub is None:
        hub = get_hub()
        hold_of(hub).is_ours = True
    return hub


def _separate_loops() -> None:
    """Called in a forked child."""
    hub = get_hub_if_exists()
    if hub is not None and hub.loop is not None and hub.loop.ptr:
        hold_of(hub)  # it may have had no stream in the parent, and have one here
    for hold in list(_holds.values()):
        hold.separate()


os.register_at_fork(after_in_child=_separate_loops)
