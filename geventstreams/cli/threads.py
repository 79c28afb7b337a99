"""Calls that may take their time, made in threads: what only waits for one of them goes on waiting, and the hub does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from gevent.threadpool import ThreadPool

T = TypeVar("T")


class Threads:
    """A few threads. A call whose greenlet is killed goes on in its thread; what it used must stay valid until it ends."""

    def __init__(self, count: int) -> None:
        self._pool: Any = ThreadPool(count)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """What the function returns, or raises as an OSError or a ValueError."""
        outcome: T | Exception = self._pool.apply(_attempted, (function, arguments))
        if isinstance(outcome, (OSError, ValueError)):
            raise outcome
        return outcome  # type: ignore[return-value]  # no function returns its error


def _attempted(function: Callable[..., T], arguments: tuple[Any, ...]) -> T | Exception:
    """Errors are given back: gevent prints those that are raised in its threads."""
    try:
        return function(*arguments)
    except (OSError, ValueError) as error:
        return error
