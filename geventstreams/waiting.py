"""Waiting for the first of many streams to have input, and for anything else that such input may change.

Rules for the next editor: a stream calls a `ReadinessCallback` when its input may have become readable; a `ReadySet` keeps those that were
called and asks only their streams, so a wait costs what is ready, not what is watched. A callback refers to its ready set weakly, and sets
that outlive a call refer to their streams weakly, so nothing here keeps a stream alive. No input is ever taken here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from gevent import get_hub, getcurrent
from gevent.hub import Hub

import geventstreams._native.syscalls as _system
from geventstreams._constants import NEVER
from geventstreams._core import arguments
from geventstreams._core.fairness import let_ready_run
from geventstreams._core.fork import FORK, inherited
from geventstreams._core.transport import Wakeup, hold_of
from geventstreams._core.wait_reason import run_in_named_frame
from geventstreams._streams.engine import StreamEngine
from geventstreams.errors import StreamClosed, StreamError

ROUND = 0.05
"""Seconds after which a condition is tested again even if nothing happened."""

ONE_POLL = 48
"""A loop reports at least this many events at a time: where fewer rang, all that were ready did."""

REMEMBERED = 8
"""Lists of streams that a hub remembers from one wait to the next."""


class ReadinessCallback:
    """What a stream calls when its input may have become readable."""

    def __init__(self, ready_set: ReadySet, stream: Any) -> None:
        self._ready_set = weakref.ref(ready_set)
        self.stream = weakref.ref(stream)
        self.signalled = True

    def __call__(self) -> None:
        if not self.signalled:
            self.signalled = True
            ready_set = self._ready_set()
            if ready_set is not None:
                ready_set.signal(self)

    def is_awaited(self) -> bool:
        """Whether a greenlet waits for it now."""
        ready_set = self._ready_set()
        return ready_set is not None and ready_set.has_waiters()


class ReadySet:
    """The readiness callbacks of some streams, and which of them were signalled since their stream was last asked."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.process = FORK.generation
        self.hold = hold_of(hub)
        self.signals: list[ReadinessCallback] = []
        self._waiters: list[Wakeup] = []
        self._active = 0
        self._stays_armed = self.hold.stays_armed

    def readiness_callbacks(self) -> list[ReadinessCallback]:
        """Return all of its callbacks."""
        return []

    def add_callback(self, stream: Any) -> ReadinessCallback:
        """Return a new callback of a stream; it counts as signalled until the stream was asked."""
        callback = ReadinessCallback(self, stream)
        if self._stays_armed or self._active:
            stream.watch_input(callback)
        self.signal(callback)
        return callback

    def begin(self) -> None:
        """Begin a wait. Where a loop cannot leave watchers armed without running for them, callbacks are set only until `end`."""
        self._active += 1
        if self._active == 1 and not self._stays_armed:
            for callback in self.readiness_callbacks():
                stream = callback.stream()
                if stream is not None:
                    stream.watch_input(callback)

    def end(self) -> None:
        """End a wait; a callback that is not set any more counts as signalled."""
        self._active -= 1
        if not self._active and not self._stays_armed:
            self.remove_callbacks()
            for callback in self.readiness_callbacks():
                if not callback.signalled:
                    callback.signalled = True
                    self.signals.append(callback)

    def remove_callbacks(self) -> None:
        """Take the callbacks off the streams."""
        for callback in self.readiness_callbacks():
            stream = callback.stream()
            if stream is not None:
                stream.unwatch_input(callback)

    def quiet(self) -> list[Any]:
        """Return the streams whose callbacks were not signalled."""
        return [callback.stream() for callback in self.readiness_callbacks() if not callback.signalled]

    def signal(self, callback: ReadinessCallback) -> None:
        """Note that a callback was called, and wake the greenlets that wait here: its stream is worth asking."""
        self.signals.append(callback)
        for waiter in self._waiters:
            waiter.fire()

    def ask(self) -> list[Any]:
        """Return the streams among those signalled whose read would not wait. The inputs of the others are armed again."""
        ready: list[Any] = []
        still: list[ReadinessCallback] = []
        signals, self.signals = self.signals, []
        asked = 0
        try:
            for callback in signals:
                stream = callback.stream()
                if stream is not None and stream.readable_now():
                    ready.append(stream)
                    still.append(callback)
                elif stream is not None:
                    stream.arm_input()
                    callback.signalled = False
                    # It may have become readable between the question and the arming: then the event comes.
                asked += 1
        finally:
            if asked < len(signals):
                still.extend(signals[asked:])  # a stream that refused to be asked is asked again the next time
            still.extend(self.signals)
            self.signals = still
        return ready

    def wait_for_signal(self, limit: float) -> bool:
        """Wait until a callback is called, at most `limit` seconds. Return whether one was."""
        waiter = Wakeup(self.hub)
        self._waiters.append(waiter)
        try:
            return waiter.wait(limit)
        finally:
            self._waiters.remove(waiter)

    def has_waiters(self) -> bool:
        """Whether a greenlet waits here now."""
        return bool(self._waiters)

    def wake(self) -> None:
        """Wakes whoever waits here."""
        for waiter in self._waiters:
            waiter.fire()


class RememberedList(ReadySet):
    """The ready_set of a list of streams that is waited for again and again. It knows the streams weakly."""

    def __init__(self, hub: Hub, streams: list[Any]) -> None:
        ReadySet.__init__(self, hub)
        self.remembered = True
        self._readiness_callbacks = [self.add_callback(stream) for stream in streams]

    def is_in_use(self) -> bool:
        """Whether somebody waits with it: then its readiness_callbacks have to stay where they are."""
        return self._active > 0

    def end(self) -> None:
        ReadySet.end(self)
        if self._stays_armed and not self.remembered:
            self.remove_callbacks()

    def readiness_callbacks(self) -> list[ReadinessCallback]:
        return self._readiness_callbacks

    def lists(self, streams: list[Any]) -> bool:
        """Whether these are its streams, in this order."""
        if len(streams) != len(self._readiness_callbacks) or self.process != FORK.generation:
            return False
        for index in range(len(streams)):
            callback: ReadinessCallback = self._readiness_callbacks[index]
            if not _system.refers(callback.stream, streams[index]):
                return False
        return True


_rosters: weakref.WeakKeyDictionary[Hub, list[RememberedList]] = weakref.WeakKeyDictionary()


def _remembered_list_of(given: list[Any]) -> RememberedList:
    """The remembered remembered of these streams, or a new one, which is then remembered in place of an older one that nobody waits with.

    Whatever is closed or cannot be waited for is refused before a callback is hung or an octet sent.
    """
    hub = get_hub()
    rosters = _rosters.setdefault(hub, [])
    for remembered in rosters:
        if remembered.lists(given):
            return remembered
    streams = list({id(stream): stream for stream in given}.values())
    _refuse_strangers(streams)
    _refuse_foreign(streams)
    _refuse_closed(streams)
    remembered = RememberedList(hub, streams)
    unused = [other for other in rosters if not other.is_in_use()] if len(rosters) >= REMEMBERED else []
    if unused:
        rosters.remove(unused[0])
        unused[0].remove_callbacks()
    if len(rosters) < REMEMBERED:
        rosters.append(remembered)
    else:
        remembered.remembered = False
    return remembered


def wait_for_input_streams(streams: Iterable[Any], wait_function: Callable[[], Any] | None = None, wait_reason: str | None = None,
                           timeout: float | None = None) -> list[Any]:
    """All of the streams that are ready, in the order given, each once; waits until one is.

    Ready means that a read would not wait: octets (of plain text, under TLS), the end of the input, or an error; of a listening server
    that a client can be accepted. `timeout` seconds without one give `[]`; 0 does not wait. `wait_function()` is called before waiting, at
    every wake-up and at least every 50 ms, and a true value gives `[]` too. `wait_reason` is seen in `gevent.util.format_run_info`. What
    the streams hold unsent is sent first. No input is taken. A stream closed before the call is StreamClosed, one closed during it is
    ready. Modelled on LispWorks' `comm:wait-for-wait-state-collection` and its `wait-for-input-streams`.
    """
    limit = _limit(timeout)
    wanted = streams if type(streams) is list else list(streams)
    if wait_reason is not None:
        return list(run_in_named_frame(wait_reason, _wait_for, wanted, wait_function, limit))
    return _wait_for(wanted, wait_function, limit)


def wait_for_input_streams_returning_first(streams: Iterable[Any], wait_function: Callable[[], Any] | None = None,
                                           wait_reason: str | None = None, timeout: float | None = None) -> Any:
    """The first in the order given of the streams that are ready, or None; otherwise as `wait_for_input_streams`."""
    ready = wait_for_input_streams(streams, wait_function, wait_reason, timeout)
    return ready[0] if ready else None


def _limit(timeout: float | None) -> float:
    if timeout is None:
        return NEVER
    if timeout == 0 and not isinstance(timeout, bool):
        return 0.0
    return arguments.seconds("timeout", timeout)


def _refuse_strangers(streams: list[Any]) -> None:
    for stream in streams:
        if not hasattr(stream, "watch_input"):
            raise TypeError(f"streams must hold streams or servers, not {type(stream).__name__} {stream!r}")


def _refuse_foreign(streams: list[Any]) -> None:
    """Raise StreamError for a stream or server of another thread, before anything of it is touched: nothing could wake a greenlet of this
    thread for it."""
    for stream in streams:
        stream.refuse_thread()


def _refuse_closed(streams: list[Any]) -> None:
    for stream in streams:
        if stream.closed:
            raise StreamClosed(f"{stream!r} was closed before the wait", stream=stream)


def _begin(streams: list[Any]) -> None:
    """Refuses what is closed, then sends what the streams hold."""
    restless = []
    kind = None
    of_conduits = False
    for stream in streams:
        if type(stream) is not kind:  # thousands are of one class, nearly always: it is looked at once
            kind = type(stream)
            of_conduits = issubclass(kind, StreamEngine)
        if of_conduits:
            conduit: StreamEngine = stream
            if conduit.at_rest():
                continue
        restless.append(stream)
    _refuse_closed(restless)
    for stream in restless:
        stream.send_before_wait()


def _wait_for(streams: list[Any], wait_function: Callable[[], Any] | None, limit: float) -> list[Any]:
    until = _system.monotonic() + limit if limit not in (0.0, NEVER) else limit
    if not streams:
        return _wait_for_nothing(wait_function, until)
    remembered = _remembered_list_of(streams)
    _begin(streams)
    remembered.begin()
    try:
        ready = remembered.ask()
        if ready or not limit:
            ready += _ready_in_the_system(remembered.quiet())
        while not ready:
            if (wait_function is not None and wait_function()) or not _wait_a_round(remembered, wait_function is not None, until):
                ready = remembered.ask()
                break
            ready = remembered.ask()
            if len(ready) >= ONE_POLL:
                ready += _ready_in_the_system(remembered.quiet())
    finally:
        remembered.end()
    return _in_order(ready, streams)


def _wait_a_round(ready_set: ReadySet, often: bool, until: float) -> bool:
    """Waits for a callback, at most until then, and if it must be often, at most for a ROUND: False where the time is up."""
    left = until - _system.monotonic() if until not in (0.0, NEVER) else until
    if left <= 0:
        return False
    ready_set.wait_for_signal(min(left, ROUND) if often else left)
    return True


def _wait_for_nothing(wait_function: Callable[[], Any] | None, until: float) -> list[Any]:
    ready_set = ReadySet(get_hub())
    if wait_function is None and until == NEVER:
        return []
    while not (wait_function is not None and wait_function()) and _wait_a_round(ready_set, wait_function is not None, until):
        pass
    return []


def _ready_in_the_system(streams: list[Any]) -> list[Any]:
    """Those of the streams whose read would not wait, asked in one call of the system where their descriptors can tell."""
    by_descriptor = {stream.fileno(): stream for stream in streams if stream.fileno() >= 0}
    candidates = [by_descriptor[descriptor] for descriptor in _system.readable_of(list(by_descriptor))]
    candidates += [stream for stream in streams if stream.fileno() < 0]
    return [stream for stream in candidates if stream.readable_now()]


def _in_order(ready: list[Any], streams: list[Any]) -> list[Any]:
    if len(ready) < 2:
        return ready
    unplaced = set(map(id, ready))
    ordered = []
    for stream in streams:
        if id(stream) in unplaced:
            unplaced.remove(id(stream))
            ordered.append(stream)
    return ordered


class WaitSet(ReadySet):
    """Streams that are waited for together, again and again. Iterable, with `len()` and `in`; a context manager that closes itself."""

    def __init__(self, streams: Iterable[Any] = ()) -> None:
        ReadySet.__init__(self, get_hub())
        self._members: dict[Any, ReadinessCallback] = {}
        self._closed = False
        members = list(streams)
        _refuse_strangers(members)
        _refuse_foreign(members)
        _refuse_closed(members)
        for stream in members:
            self.add(stream)

    def readiness_callbacks(self) -> list[ReadinessCallback]:
        return list(self._members.values())

    def add(self, stream: Any) -> None:
        """Takes a stream in, also while a greenlet waits; one that is in already is no error, a closed one is StreamClosed."""
        self._refuse()
        _refuse_strangers([stream])
        _refuse_foreign([stream])
        _refuse_closed([stream])
        if stream not in self._members:
            self._members[stream] = self.add_callback(stream)

    def discard(self, stream: Any) -> None:
        """Lets a stream go, also while a greenlet waits; one that is not in is no error."""
        if not self.hold.may_use_loop():
            raise self._of_another_thread()
        callback = self._members.pop(stream, None)
        if callback is not None:
            stream.unwatch_input(callback)
            self.signals = [other for other in self.signals if other is not callback]

    def wait(self, timeout: float | None = None) -> list[Any]:
        """The members that are ready, waiting until one is; `[]` when `timeout` seconds have passed, 0 does not wait.

        A stream is reported as long as a read would not wait; a closed one once, and then it has left. The cost grows with the ready
        members, not with all.
        """
        limit = _limit(timeout)
        until = _system.monotonic() + limit if limit not in (0.0, NEVER) else limit
        self._refuse()
        self.begin()
        try:
            ready = self._wait(until) if limit else self.ask() + _ready_in_the_system(self.quiet())
        finally:
            self.end()
        self._refuse()
        for stream in ready:
            if stream.closed:
                self.discard(stream)
        return ready

    def _wait(self, until: float) -> list[Any]:
        if self.signals and self.ask():
            let_ready_run(self.hub)  # the loop looks at the others too, however long some stay ready
        while not (ready := self.ask()):
            if self._closed or not _wait_a_round(self, False, until):
                return self.ask()
        return ready

    def _refuse(self) -> None:
        if self._closed:
            raise StreamClosed("this WaitSet is closed")
        if self.process != FORK.generation:
            raise inherited("WaitSet")
        if not self.hold.is_here():
            raise self._of_another_thread()

    def _of_another_thread(self) -> StreamError:
        return StreamError("this WaitSet belongs to the hub of another thread")

    def close(self) -> None:
        """Lets all members go, as they are; whoever waits gets StreamClosed."""
        if not self._closed:
            if not self.hold.may_use_loop():
                raise self._of_another_thread()
            self._closed = True
            for stream in list(self._members):
                self.discard(stream)
            self.wake()

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._members))

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, stream: object) -> bool:
        return stream in self._members

    def __enter__(self) -> WaitSet:
        self._refuse()
        return self

    def __exit__(self, *ended_by: object) -> None:
        self.close()

    def __del__(self) -> None:
        for stream, callback in getattr(self, "_members", {}).items():
            stream.unwatch_input(callback)


class _Notice:
    """The streams whose input is noticed by the conditions that greenlets of one hub wait for."""

    def __init__(self) -> None:
        self.process = FORK.generation
        self.streams: list[Any] = []
        self.waiters: list[Wakeup] = []

    def __call__(self) -> None:
        for waiter in self.waiters:
            waiter.fire()

    def begin_round(self) -> None:
        """Sends what the streams hold and arms their inputs."""
        for stream in self.streams:
            if not stream.closed:
                stream.send_before_wait()
                stream.arm_input()


class _Noticing:
    """A greenlet's interest in the input of a stream."""

    def __init__(self, notice: _Notice) -> None:
        self._notice = notice
        self._greenlet = getcurrent()

    def __call__(self) -> None:
        self._notice()

    def is_awaited(self) -> bool:
        """Whether that greenlet waits for a condition now."""
        return any(waiter.waiter is self._greenlet for waiter in self._notice.waiters)


_notices: weakref.WeakKeyDictionary[Hub, _Notice] = weakref.WeakKeyDictionary()


def _notice_of(hub: Hub) -> _Notice:
    """The one notice of a hub in this process: what greenlets of a forked child's parent noticed is nothing to the child's own."""
    notice = _notices.get(hub)
    if notice is None or notice.process != FORK.generation:
        notice = _notices[hub] = _Notice()
    return notice


@contextmanager
def noticed_socket_stream(stream: Any) -> Iterator[Any]:
    """Within it, new input, an end or an error of `stream` makes `process_wait` test its condition.

    LispWorks' `with-noticed-socket-stream`.
    """
    _refuse_strangers([stream])
    _refuse_foreign([stream])
    _refuse_closed([stream])
    notice = _notice_of(get_hub())
    notice.streams.append(stream)
    noticing = _Noticing(notice)
    stream.watch_input(noticing)
    try:
        yield stream
    finally:
        notice.streams.remove(stream)
        stream.unwatch_input(noticing)


def process_wait(wait_reason: str, function: Callable[..., Any], *args: Any, timeout: float | None = None) -> bool:
    """Waits until `function(*args)` is true: True, or False when `timeout` seconds have passed.

    It is tested before waiting, whenever a noticed stream has new input, and at least every 50 ms; it must not wait itself.
    `wait_reason` is seen in `gevent.util.format_run_info`. LispWorks' `mp:process-wait`.
    """
    limit = _limit(timeout)
    if not isinstance(wait_reason, str):
        raise TypeError(f"wait_reason must be a string, not {type(wait_reason).__name__} {wait_reason!r}")
    if not callable(function):
        raise TypeError(f"function must be callable, not {type(function).__name__} {function!r}")
    if function(*args):
        return True
    return bool(limit) and run_in_named_frame(wait_reason, _process_wait, function, args, _system.monotonic() + limit)


def _process_wait(function: Callable[..., Any], args: tuple[Any, ...], until: float) -> bool:
    hub = get_hub()
    notice = _notice_of(hub)
    waiter = Wakeup(hub)
    notice.waiters.append(waiter)
    try:
        while (left := until - _system.monotonic()) > 0:
            notice.begin_round()
            waiter.wait(min(left, ROUND))
            if function(*args):
                return True
    finally:
        notice.waiters.remove(waiter)
    return False
