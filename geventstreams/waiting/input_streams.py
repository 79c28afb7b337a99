"""Waiting for input on many streams and servers at once: `wait_for_input_streams` for a list of them, `WaitSet` for a set that lasts."""

# A stream calls its ReadinessCallback when its input may have become readable. A ReadySet collects the callbacks that were called, and asks
# only their streams: a wait costs what is ready, not what is watched.
#
# `wait_for_input_streams` gets a list that is usually the one of the call before, so the callbacks stay on its streams in between: a
# RememberedList, found again by comparing the streams by identity. A hub remembers REMEMBERED lists, for several greenlets that wait for
# lists of their own, and drops the oldest that no greenlet waits for. A list that was not seen lately may not come again: its streams are
# asked by one poll(2), and it is remembered only if none is ready, or when it comes again.
#
# All that are ready must be returned. One poll(2) asks the remaining streams where no wait takes place, and after a full round (ONE_POLL).
#
# Invariants: callbacks refer to sets, and sets to streams, weakly (not a WaitSet), so no wait keeps a stream alive. No input is taken.

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gevent import get_hub
from gevent.hub import Hub

import geventstreams._native.interpreter as _interpreter
import geventstreams._native.syscalls as _system
from geventstreams._constants import FRESH, NEVER, ROUND
from geventstreams._core import arguments
from geventstreams._core.clock import deadline_after, seconds_until
from geventstreams._core.fairness import Fairness, let_ready_run
from geventstreams._core.fork import FORK, inherited
from geventstreams._core.hub_hold import HubHold, hold_of, of_this_thread
from geventstreams._core.wait_reason import run_in_named_frame
from geventstreams._core.wakeup import ReusableWakeup
from geventstreams._streams.buffered import BufferedStream, engine_of
from geventstreams.errors import StreamClosed, StreamError

if TYPE_CHECKING:
    from geventstreams._types import Waitable

S = TypeVar("S", bound="Waitable")

ONE_POLL = 48
"""A loop reports at least this many events at a time: if fewer callbacks were called, all streams that are ready called theirs."""

REMEMBERED = 8
"""Lists of streams that a hub remembers between waits."""


class ReadinessCallback:
    """What a stream calls when its input may have become readable. `signalled` is true from then on until the stream is asked."""

    def __init__(self, ready_set: ReadySet, stream: Any) -> None:
        self._ready_set = weakref.ref(ready_set)
        self.stream: weakref.ref[Any] = weakref.ref(stream)
        self.signalled: bool = True

    def __call__(self) -> None:
        if not self.signalled:
            self.signalled = True
            ready_set = self._ready_set()
            if ready_set is not None:
                ready_set.signal(self)

    def is_awaited(self) -> bool:
        """Return whether a greenlet waits for it now."""
        ready_set = self._ready_set()
        return ready_set is not None and bool(ready_set.waiters)


class ReadySet:
    """The readiness callbacks of some streams, by a key for each, and which of them were signalled since their stream was last asked."""

    def __init__(self, hub: Hub, lasts: bool) -> None:
        self.hub = hub
        self.process: int = FORK.generation
        self.hold: HubHold = hold_of(hub)
        self.callbacks: dict[Any, ReadinessCallback] = {}
        self.signals: dict[ReadinessCallback, None] = {}
        self.lasts: bool = lasts
        """Whether it is that of a `WaitSet`, and open. One timer serves all its waits."""
        self.waiters: list[ReusableWakeup] = []
        self._spare: ReusableWakeup | None = None
        self.active: int = 0

    def add(self, key: Any, stream: Any) -> ReadinessCallback:
        """Return a new callback of a stream; it counts as signalled until the stream was asked."""
        callback = ReadinessCallback(self, stream)
        if self.hold.stays_armed or self.active:
            waitable_of(stream).watch_input(callback)
        self.callbacks[key] = callback
        self.signal(callback)
        return callback

    def begin(self) -> None:
        """Begin a wait. Where the loop would run for watchers that stay armed (libuv), callbacks are on the streams only until `end`."""
        self.active += 1
        if self.active == 1 and not self.hold.stays_armed:
            for callback in self.callbacks.values():
                stream = callback.stream()
                if stream is not None:
                    waitable_of(stream).watch_input(callback)

    def end(self) -> None:
        """End a wait. A callback that is no longer on its stream counts as signalled."""
        self.active -= 1
        if not self.lasts:
            self.stop_timer()
        if not self.active and not self.hold.stays_armed:
            self.remove_callbacks()
            for callback in self.callbacks.values():
                callback()

    def remove_callbacks(self) -> None:
        """Remove the callbacks from the streams."""
        for callback in self.callbacks.values():
            stream = callback.stream()
            if stream is not None:
                waitable_of(stream).unwatch_input(callback)

    def signal(self, callback: ReadinessCallback) -> None:
        """Record that a callback was called, and wake the greenlets that wait here."""
        self.signals[callback] = None
        self.wake()

    def ask(self) -> list[Any]:
        """Ask the streams whose callbacks were signalled: return those whose read would not wait, and arm the inputs of the others."""
        ready: list[Any] = []
        signalled = list(self.signals)
        for callback in signalled:
            stream = callback.stream()
            if stream is not None and waitable_of(stream).readable_now():
                ready.append(stream)
                continue
            self.signals.pop(callback, None)
            if stream is not None:
                callback.signalled = False
                try:
                    waitable_of(stream).arm_input()  # if it became readable since the question, the callback is called now
                except BaseException:
                    callback()  # a stream that cannot be armed is asked again the next time
                    raise
        if len(self.signals) < len(signalled):
            # A dict keeps the room of all it ever held, and iterating goes through it. What a signal handler adds is in one of the two.
            old = self.signals
            new: dict[ReadinessCallback, None] = {}
            try:
                self.signals = new
            finally:
                new.update(dict.fromkeys(list(old)))
        return ready

    def ask_system(self) -> list[Any]:
        """Return the streams that were not signalled, and whose read would not wait all the same."""
        return _readable([callback.stream() for callback in self.callbacks.values() if not callback.signalled], True)

    def wait_for_signal(self, deadline: float, often: bool) -> bool:
        """Wait for a callback until the deadline, `often` for a ROUND at most. Return False if it has passed."""
        left = seconds_until(deadline)
        if left <= 0:
            return False
        waiter, self._spare = self._spare, None  # other greenlets that wait at the same time have their own
        if waiter is None:
            waiter = ReusableWakeup(self.hub)
        self.waiters.append(waiter)
        try:
            if not self.signals:
                waiter.wait(min(left, ROUND) if often else left)
        finally:
            self.waiters.remove(waiter)
            self.stop_timer()
            self._spare = waiter
        return True

    def wait_for_any(self, deadline: float) -> list[Any]:
        """Wait until a stream is ready or the deadline has passed, and return those that are ready."""
        if self.signals and self.ask():
            let_ready_run(self.hub)  # the loop looks at the other members too, even if some stay ready all the time
        while not (ready := self.ask()):
            if not (self.lasts and self.wait_for_signal(deadline, False)):
                return self.ask()
        return ready

    def stop_timer(self) -> None:
        """Stop the timer that the waits here have in common."""
        if self._spare is not None:
            self._spare.stop_timer()

    def wake(self) -> None:
        """Wake the greenlets that wait here."""
        for waiter in self.waiters:
            waiter.end_wait()


class RememberedList(ReadySet):
    """The ready set of a list of streams that is waited for again and again. It refers to the streams weakly."""

    def __init__(self, hub: Hub, streams: list[Any], remembered: bool) -> None:
        ReadySet.__init__(self, hub, False)
        self.remembered: bool = remembered
        self._in_order = [self.add(id(stream), stream) for stream in {id(stream): stream for stream in streams}.values()]

    def end(self) -> None:
        ReadySet.end(self)
        if self.hold.stays_armed and not self.remembered:
            self.remove_callbacks()

    def lists(self, streams: list[Any]) -> bool:
        """Return whether these are its streams, in this order."""
        if len(streams) != len(self._in_order) or self.process != FORK.generation:
            return False
        for index in range(len(streams)):
            callback: ReadinessCallback = self._in_order[index]
            if not _interpreter.refers(callback.stream, streams[index]):
                return False
        return True


class ListsOfHub:
    """The lists of streams that the greenlets of a hub have waited for lately. They end with their thread."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.fairness = Fairness()
        self._remembered: list[RememberedList] = []
        self._seen: deque[int] = deque(maxlen=REMEMBERED)

    def find(self, streams: list[Any]) -> RememberedList | None:
        """Return the remembered list of these streams, if there is one."""
        for remembered in self._remembered:
            if remembered.lists(streams):
                return remembered
        return None

    def is_new(self, streams: list[Any]) -> bool:
        """Return whether these streams were not asked about lately. An error here costs time and nothing else."""
        identity = _interpreter.identity_of(streams)
        if identity in self._seen:
            return False
        self._seen.append(identity)
        return True

    def remember(self, streams: list[Any]) -> RememberedList:
        """Return a new list of these streams. It replaces the oldest one that is not in use."""
        lists = self._remembered
        unused = [other for other in lists if not other.active] if len(lists) >= REMEMBERED else []
        if unused:
            lists.remove(unused[0])
            unused[0].remove_callbacks()
        new = RememberedList(self.hub, streams, len(lists) < REMEMBERED)
        if new.remembered:
            lists.append(new)
        return new


def wait_for_input_streams(streams: Iterable[S], wait_function: Callable[[], object] | None = None, wait_reason: str | None = None,
                           timeout: float | None = None) -> list[S]:
    """Wait until at least one of the streams is ready, and return all that are, in the order given, each once.

    A stream is ready when a read would not wait: bytes are there (under TLS, bytes of plain text), or the end of the input, or an error. A
    server is ready when a client can be accepted. No input is taken. What the streams hold unsent is sent first.
    LispWorks: `comm:wait-for-wait-state-collection` and its `wait-for-input-streams`.

    Args:
        streams: Streams and servers. The call is cheapest if it is the same list, or an equal one, as in the call before.
        wait_function: Called before waiting, at each wake-up and at least every 50 ms. When it returns a true value, the wait ends.
        wait_reason: The name of the wait in `gevent.util.format_run_info()`.
        timeout: Seconds to wait at most; None means no limit, 0 does not wait.

    Returns:
        The streams that are ready; an empty list after `timeout` seconds or because of `wait_function`. A stream that is closed during the
        wait is ready.

    Raises:
        StreamClosed: A stream was closed before the call.
        StreamError: A stream belongs to another thread, or to the parent of a forked process.
    """
    limit = arguments.seconds_or_zero("timeout", timeout)
    arguments.callback("wait_function", wait_function)
    wanted = streams if type(streams) is list else arguments.list_of("streams", streams, "streams")
    if wait_reason is not None:
        return list(run_in_named_frame(wait_reason, _wait_for, wanted, wait_function, limit))
    return _wait_for(wanted, wait_function, limit)


def wait_for_input_streams_returning_first(streams: Iterable[S], wait_function: Callable[[], object] | None = None,
                                           wait_reason: str | None = None, timeout: float | None = None) -> S | None:
    """Wait until at least one of the streams is ready, and return the first that is, in the order given, or None.

    The arguments and errors are those of `wait_for_input_streams`. LispWorks: `wait-for-input-streams-returning-first`.
    """
    ready = wait_for_input_streams(streams, wait_function, wait_reason, timeout)
    return ready[0] if ready else None


def waitable_of(stream: Any) -> Any:
    """Return what is asked and watched in place of a stream or a server: its engine, or its listener."""
    return engine_of(stream) if isinstance(stream, BufferedStream) else stream._waitable()


def _is_closed(stream: Any) -> bool:
    """Return whether it was closed by us. A stream whose connection is over still gives what arrived, until it is closed."""
    return engine_of(stream).closed if isinstance(stream, BufferedStream) else bool(stream.closed)


def check_streams(streams: Iterable[Any]) -> None:
    """Refuse objects that are not streams or servers, and those that are closed or of another thread or process, before one is touched."""
    for stream in streams:
        if not (isinstance(stream, BufferedStream) or hasattr(stream, "_waitable")):
            raise TypeError(f"streams must hold streams or servers, not {type(stream).__name__} {stream!r}")
        if _is_closed(stream):
            raise StreamClosed(f"{stream!r} was closed before the wait", stream=stream)
    for stream in streams:
        waitable = waitable_of(stream)
        waitable.refuse_in_child()
        waitable.refuse_thread()


def _begin(streams: list[Any], are_checked: bool) -> None:
    """Refuse what cannot be waited for, unless that was checked, and what is closed; then send what the streams hold."""
    restless = []
    for stream in streams:
        if isinstance(stream, BufferedStream):
            engine = engine_of(stream)
            if engine.at_rest() and (are_checked or engine.is_here()):
                continue
        restless.append(stream)
    check_streams(restless)
    for stream in restless:
        waitable_of(stream).send_before_wait()


def _wait_for(streams: list[Any], wait_function: Callable[[], object] | None, limit: float) -> list[Any]:
    deadline = deadline_after(limit) if limit else 0.0
    if not streams and wait_function is None and deadline == NEVER:
        return []
    hub = get_hub()
    lists: ListsOfHub | None = getattr(of_this_thread, "lists", None)
    if lists is None or lists.hub is not hub:
        lists = of_this_thread.lists = ListsOfHub(hub)
    ready_set = lists.find(streams)
    _begin(streams, ready_set is not None)
    while True:
        ready = _ready(lists, ready_set, streams, wait_function, deadline)
        # A call that finds something each time never waits, nor does one that its function ends. What is ready may be another greenlet's.
        if not (limit and lists.fairness.let_others_run(hub) and ready):
            return _in_order(ready, streams)
        ready_set = lists.find(streams)


def _ready(lists: ListsOfHub, ready_set: ReadySet | None, streams: list[Any], wait_function: Callable[[], object] | None,
           deadline: float) -> list[Any]:
    """Return the streams that are ready, after a wait until the deadline; 0 means no wait. `ready_set` is that of the streams, if any."""
    if ready_set is None:
        if lists.is_new(streams):
            ready = _readable(streams, False)
            if ready or (not deadline and wait_function is None):
                return ready
        ready_set = lists.remember(streams)
    ready_set.begin()
    try:
        ready = ready_set.ask()
        if ready or not deadline:
            ready += ready_set.ask_system()
        while not ready:
            if (wait_function is not None and wait_function()) or not ready_set.wait_for_signal(deadline, wait_function is not None):
                ready = ready_set.ask()
                break
            lists.fairness.state = FRESH
            ready = ready_set.ask()
            if len(ready) >= ONE_POLL:
                ready += ready_set.ask_system()
    finally:
        ready_set.end()
    return ready


def _readable(streams: list[Any], were_asked: bool) -> list[Any]:
    """Return the streams whose read would not wait.

    One poll(2) asks first, for those of which only the system can tell: for all that hold nothing, because they `were_asked` before.
    """
    polled, descriptors = [], []
    candidates = []
    for stream in streams:
        descriptor = -1
        if were_asked:
            descriptor = stream.fileno()
        elif isinstance(stream, BufferedStream):
            descriptor = engine_of(stream).polled_descriptor()
        if descriptor >= 0:
            polled.append(stream)
            descriptors.append(descriptor)
        else:
            candidates.append(stream)
    candidates += [polled[index] for index in _system.readable_of(descriptors)]
    return [stream for stream in candidates if waitable_of(stream).readable_now()]


def _in_order(ready: list[Any], streams: list[Any]) -> list[Any]:
    if len(ready) < 2:
        return ready
    unplaced = {id(stream): stream for stream in ready}
    return [unplaced.pop(id(stream)) for stream in streams if id(stream) in unplaced]


class WaitSet(Generic[S]):
    """A set of streams and servers that are waited for together, again and again.

    It supports iteration, `len()` and `in`, and closes itself as a context manager. A wait costs what is ready, not what is in the set.

    Args:
        streams: The first members.
    """

    def __init__(self, streams: Iterable[S] = ()) -> None:
        self._ready_set = ReadySet(get_hub(), True)
        members = arguments.list_of("streams", streams, "streams")
        check_streams(members)
        for stream in members:
            self.add(stream)

    def add(self, stream: S) -> None:
        """Add a stream or server, also while a greenlet waits. A member is not added again.

        Raises:
            StreamClosed: The stream, or this set, is closed.
            StreamError: The stream, or this set, belongs to another thread, or to the parent of a forked process.
        """
        self._refuse()
        check_streams([stream])
        if stream not in self:
            self._ready_set.add(stream, stream)

    def discard(self, stream: S) -> None:
        """Remove a stream if it is a member, also while a greenlet waits."""
        self._refuse_unless(self._ready_set.hold.may_use_loop())
        callback = self._ready_set.callbacks.pop(stream, None)
        if callback is not None:
            waitable_of(stream).unwatch_input(callback)
            self._ready_set.signals.pop(callback, None)

    def wait(self, timeout: float | None = None) -> list[S]:
        """Wait until at least one member is ready, and return all that are, in no particular order.

        A member is returned each time, as long as a read would not wait. A closed one is returned once, and removed.

        Args:
            timeout: Seconds to wait at most; None means no limit, 0 does not wait.

        Returns:
            The members that are ready; an empty list after `timeout` seconds.

        Raises:
            StreamClosed: This set was closed, before the call or during the wait.
        """
        limit = arguments.seconds_or_zero("timeout", timeout)
        self._refuse()
        ready_set = self._ready_set
        ready_set.begin()
        try:
            ready = ready_set.wait_for_any(deadline_after(limit)) if limit else ready_set.ask() + ready_set.ask_system()
        finally:
            ready_set.end()
        self._refuse()
        for stream in ready:
            if _is_closed(stream):
                self.discard(stream)
        return ready

    def _refuse(self) -> None:
        if not self._ready_set.lasts:
            raise StreamClosed("this WaitSet is closed")
        if self._ready_set.process != FORK.generation:
            raise inherited("WaitSet")
        self._refuse_unless(self._ready_set.hold.is_here())

    def _refuse_unless(self, is_thread_right: bool) -> None:
        if not is_thread_right:
            raise StreamError("this WaitSet belongs to the hub of another thread")

    def close(self) -> None:
        """Remove all members, which stay open. A greenlet that waits here gets StreamClosed."""
        if self._ready_set.lasts:
            self._refuse_unless(self._ready_set.hold.may_use_loop())
            self._ready_set.lasts = False
            for stream in self:
                self.discard(stream)
            self._ready_set.wake()
            self._ready_set.stop_timer()

    def __iter__(self) -> Iterator[S]:
        return iter(list(self._ready_set.callbacks))

    def __len__(self) -> int:
        return len(self._ready_set.callbacks)

    def __contains__(self, stream: object) -> bool:
        return stream in self._ready_set.callbacks

    def __enter__(self) -> WaitSet[S]:
        self._refuse()
        return self

    def __exit__(self, *ended_by: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if not self._ready_set.lasts:
            return "<WaitSet closed>"
        waited_for = ", waited for" if self._ready_set.waiters else ""
        return f"<WaitSet {len(self)} members, {len(self._ready_set.signals)} signalled{waited_for}>"

    def __del__(self) -> None:
        ready_set = getattr(self, "_ready_set", None)
        if ready_set is not None:
            ready_set.remove_callbacks()
            ready_set.stop_timer()
