"""Waiting until a condition is true: `process_wait`, which tests it again when a stream of `noticed_socket_stream` has input."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gevent import get_hub, getcurrent
from gevent.hub import Hub

from geventstreams._constants import ROUND
from geventstreams._core import arguments
from geventstreams._core.clock import deadline_after, seconds_until
from geventstreams._core.wait_reason import run_in_named_frame
from geventstreams._core.wakeup import Wakeup
from geventstreams.waiting.input_streams import S, check_streams, waitable_of

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    Ts = TypeVarTuple("Ts")


class Notice:
    """The noticed streams of a hub, and the greenlets that wait for a condition there."""

    def __init__(self) -> None:
        self.streams: list[Any] = []
        self.waiters: list[Wakeup] = []

    def begin_round(self) -> None:
        """Send what the streams hold, and arm their inputs."""
        for stream in self.streams:
            if not stream.closed:
                waitable = waitable_of(stream)
                waitable.send_before_wait()
                waitable.arm_input()


class Noticing:
    """What a noticed stream calls when its input may have become readable."""

    def __init__(self, notice: Notice) -> None:
        self._notice = notice
        self._greenlet = getcurrent()

    def __call__(self) -> None:
        for waiter in self._notice.waiters:
            waiter.fire()

    def is_awaited(self) -> bool:
        """Return whether the greenlet that noticed the stream waits for a condition now."""
        return any(waiter.waiter is self._greenlet for waiter in self._notice.waiters)


_notices: weakref.WeakKeyDictionary[Hub, Notice] = weakref.WeakKeyDictionary()
os.register_at_fork(after_in_child=_notices.clear)


@contextmanager
def noticed_socket_stream(stream: S) -> Iterator[S]:
    """Return a context manager in whose body new input on `stream` makes `process_wait` test its condition.

    So do the end of the input and an error. LispWorks: `comm:with-noticed-socket-stream`.

    Args:
        stream: A stream or a server of this thread.

    Raises:
        StreamClosed: The stream is closed.
    """
    check_streams([stream])
    notice = _notices.setdefault(get_hub(), Notice())
    notice.streams.append(stream)
    noticing = Noticing(notice)
    try:
        waitable_of(stream).watch_input(noticing)
        yield stream
    finally:
        notice.streams.remove(stream)
        waitable_of(stream).unwatch_input(noticing)


def process_wait(wait_reason: str, function: Callable[[Unpack[Ts]], object], *args: Unpack[Ts], timeout: float | None = None) -> bool:
    """Wait until `function(*args)` is true. LispWorks: `mp:process-wait`.

    The function is called before waiting, when a stream of `noticed_socket_stream` has new input, and at least every 50 ms.

    Args:
        wait_reason: The name of the wait in `gevent.util.format_run_info()`.
        function: The condition. It must not wait itself.
        args: Its arguments.
        timeout: Seconds to wait at most; None means no limit, 0 does not wait.

    Returns:
        True when the condition was true, False after `timeout` seconds.
    """
    limit = arguments.seconds_or_zero("timeout", timeout)
    arguments.string("wait_reason", wait_reason)
    arguments.function("function", function)
    if function(*args):
        return True
    return bool(limit) and run_in_named_frame(wait_reason, _process_wait, function, args, deadline_after(limit))


def _process_wait(function: Callable[..., object], args: tuple[Any, ...], deadline: float) -> bool:
    hub = get_hub()
    notice = _notices.setdefault(hub, Notice())
    waiter = Wakeup(hub)
    notice.waiters.append(waiter)
    try:
        while (left := seconds_until(deadline)) > 0:
            notice.begin_round()
            waiter.wait(min(left, ROUND))
            if function(*args):
                return True
    finally:
        notice.waiters.remove(waiter)
        waiter.close()
    return False
