"""Waiting for the first of many streams to have input, and for anything else that such input may change.

Rules for the next editor: a stream tells a `Bell` when its input may have become readable; a `Board` keeps the bells that rang and asks
only their streams, so a wait costs what is ready, not what is watched. Bells know their board weakly and boards that outlive a call know
their streams weakly, so nothing here keeps a stream alive. No input is ever taken here.
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
from geventstreams._core.fork import PROCESS, inherited
from geventstreams._core.transport import Wakeup, hold_of
from geventstreams._core.wait_reason import under_the_name
from geventstreams._streams.engine import Conduit
from geventstreams.errors import StreamClosed, StreamError

ROUND = 0.05
"""Seconds after which a condition is tested again even if nothing happened."""

ONE_POLL = 48
"""A loop reports at least this many events at a time: where fewer rang, all that were ready did."""

REMEMBERED = 8
"""Lists of streams that a hub remembers from one wait to the next."""


class Bell:
    """What a stream rings when its input may have become readable."""

    def __init__(self, board: Board, stream: Any) -> None:
        self._board = weakref.ref(board)
        self.stream = weakref.ref(stream)
        self.rung = True

    def __call__(self) -> None:
        if not self.rung:
            self.rung = True
            board = self._board()
            if board is not None:
                board.note(self)

    def is_awaited(self) -> bool:
        """Whether a greenlet waits for it now."""
        board = self._board()
        return board is not None and board.has_waiters()


class Board:
    """The bells of some streams, and which of them rang since their stream was last asked."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.process = PROCESS.number
        self.hold = hold_of(hub)
        self.noted: list[Bell] = []
        self._waiters: list[Wakeup] = []
        self._active = 0
        self._hangs_on = self.hold.stays_armed

    def bells(self) -> list[Bell]:
        """All of its bells."""
        return []

    def hang(self, stream: Any) -> Bell:
        """A new bell on a stream; it counts as rung until the stream was asked."""
        bell = Bell(self, stream)
        if self._hangs_on or self._active:
            stream.watch_input(bell)
        self.note(bell)
        return bell

    def begin(self) -> None:
        """Somebody will wait here. Where a loop cannot leave watchers armed without running for them, bells hang only until `end`."""
        self._active += 1
        if self._active == 1 and not self._hangs_on:
            for bell in self.bells():
                stream = bell.stream()
                if stream is not None:
                    stream.watch_input(bell)

    def end(self) -> None:
        """The reverse of `begin`; a bell that does not hang counts as rung."""
        self._active -= 1
        if not self._active and not self._hangs_on:
            self.take_down()
            for bell in self.bells():
                if not bell.rung:
                    bell.rung = True
                    self.noted.append(bell)

    def take_down(self) -> None:
        """Takes the bells off the streams."""
        for bell in self.bells():
            stream = bell.stream()
            if stream is not None:
                stream.unwatch_input(bell)

    def quiet(self) -> list[Any]:
        """The streams whose bells did not ring."""
        return [bell.stream() for bell in self.bells() if not bell.rung]

    def note(self, bell: Bell) -> None:
        """A bell rang: its stream is worth asking, and whoever waits here may do so."""
        self.noted.append(bell)
        for waiter in self._waiters:
            waiter.fire()

    def ask(self) -> list[Any]:
        """The streams among those that rang whose read would not wait. The others' inputs are armed, to ring again."""
        ready: list[Any] = []
        still: list[Bell] = []
        noted, self.noted = self.noted, []
        asked = 0
        try:
            for bell in noted:
                stream = bell.stream()
                if stream is not None and stream.readable_now():
                    ready.append(stream)
                    still.append(bell)
                elif stream is not None:
                    stream.arm_input()
                    bell.rung = False
                    # It may have become readable between the question and the arming: then the event comes.
                asked += 1
        finally:
            if asked < len(noted):
                still.extend(noted[asked:])  # a stream that refused to be asked is asked again the next time
            still.extend(self.noted)
            self.noted = still
        return ready

    def wait_for_bell(self, limit: float) -> bool:
        """Waits until a bell rings, at most `limit` seconds: whether one did."""
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


class Roster(Board):
    """The board of a list of streams that is waited for again and again. It knows the streams weakly."""

    def __init__(self, hub: Hub, streams: list[Any]) -> None:
        Board.__init__(self, hub)
        self.remembered = True
        self._bells = [self.hang(stream) for stream in streams]

    def is_in_use(self) -> bool:
        """Whether somebody waits with it: then its bells have to stay where they are."""
        return self._active > 0

    def end(self) -> None:
        Board.end(self)
        if self._hangs_on and not self.remembered:
            self.take_down()

    def bells(self) -> list[Bell]:
        return self._bells

    def lists(self, streams: list[Any]) -> bool:
        """Whether these are its streams, in this order."""
        if len(streams) != len(self._bells) or self.process != PROCESS.number:
            return False
        for index in range(len(streams)):
            bell: Bell = self._bells[index]
            if not _system.refers(bell.stream, streams[index]):
                return False
        return True


_rosters: weakref.WeakKeyDictionary[Hub, list[Roster]] = weakref.WeakKeyDictionary()


def _roster_of(given: list[Any]) -> Roster:
    """The remembered roster of these streams, or a new one, which is then remembered in place of an older one that nobody waits with.

    Whatever is closed or cannot be waited for is refused before a bell is hung or an octet sent.
    """
    hub = get_hub()
    rosters = _rosters.setdefault(hub, [])
    for roster in rosters:
        if roster.lists(given):
            return roster
    streams = list({id(stream): stream for stream in given}.values())
    _refuse_strangers(streams)
    _refuse_foreign(streams)
    _refuse_closed(streams)
    roster = Roster(hub, streams)
    unused = [other for other in rosters if not other.is_in_use()] if len(rosters) >= REMEMBERED else []
    if unused:
        rosters.remove(unused[0])
        unused[0].take_down()
    if len(rosters) < REMEMBERED:
        rosters.append(roster)
    else:
        roster.remembered = False
    return roster


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
        return list(under_the_name(wait_reason, _wait_for, wanted, wait_function, limit))
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
            of_conduits = issubclass(kind, Conduit)
        if of_conduits:
            conduit: Conduit = stream
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
    roster = _roster_of(streams)
    _begin(streams)
    roster.begin()
    try:
        ready = roster.ask()
        if ready or not limit:
            ready += _ready_in_the_system(roster.quiet())
        while not ready:
            if (wait_function is not None and wait_function()) or not _wait_a_round(roster, wait_function is not None, until):
                ready = roster.ask()
                break
            ready = roster.ask()
            if len(ready) >= ONE_POLL:
                ready += _ready_in_the_system(roster.quiet())
    finally:
        roster.end()
    return _in_order(ready, streams)


def _wait_a_round(board: Board, often: bool, until: float) -> bool:
    """Waits for a bell, at most until then, and if it must be often, at most for a ROUND: False where the time is up."""
    left = until - _system.monotonic() if until not in (0.0, NEVER) else until
    if left <= 0:
        return False
    board.wait_for_bell(min(left, ROUND) if often else left)
    return True


def _wait_for_nothing(wait_function: Callable[[], Any] | None, until: float) -> list[Any]:
    board = Board(get_hub())
    if wait_function is None and until == NEVER:
        return []
    while not (wait_function is not None and wait_function()) and _wait_a_round(board, wait_function is not None, until):
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


class WaitSet(Board):
    """Streams that are waited for together, again and again. Iterable, with `len()` and `in`; a context manager that closes itself."""

    def __init__(self, streams: Iterable[Any] = ()) -> None:
        Board.__init__(self, get_hub())
        self._members: dict[Any, Bell] = {}
        self._closed = False
        members = list(streams)
        _refuse_strangers(members)
        _refuse_foreign(members)
        _refuse_closed(members)
        for stream in members:
            self.add(stream)

    def bells(self) -> list[Bell]:
        return list(self._members.values())

    def add(self, stream: Any) -> None:
        """Takes a stream in, also while a greenlet waits; one that is in already is no error, a closed one is StreamClosed."""
        self._refuse()
        _refuse_strangers([stream])
        _refuse_foreign([stream])
        _refuse_closed([stream])
        if stream not in self._members:
            self._members[stream] = self.hang(stream)

    def discard(self, stream: Any) -> None:
        """Lets a stream go, also while a greenlet waits; one that is not in is no error."""
        if not self.hold.may_use_loop():
            raise self._of_another_thread()
        bell = self._members.pop(stream, None)
        if bell is not None:
            stream.unwatch_input(bell)
            self.noted = [other for other in self.noted if other is not bell]

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
        if self.noted and self.ask():
            let_ready_run(self.hub)  # the loop looks at the others too, however long some stay ready
        while not (ready := self.ask()):
            if self._closed or not _wait_a_round(self, False, until):
                return self.ask()
        return ready

    def _refuse(self) -> None:
        if self._closed:
            raise StreamClosed("this WaitSet is closed")
        if self.process != PROCESS.number:
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
        for stream, bell in getattr(self, "_members", {}).items():
            stream.unwatch_input(bell)


class _Notice:
    """The streams whose input is noticed by the conditions that greenlets of one hub wait for."""

    def __init__(self) -> None:
        self.process = PROCESS.number
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
    if notice is None or notice.process != PROCESS.number:
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
    return bool(limit) and under_the_name(wait_reason, _process_wait, function, args, _system.monotonic() + limit)


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
