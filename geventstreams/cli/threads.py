"""Calls that may block, made in threads: only the greenlet that makes one waits for it."""

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
        """Return what the function returns; raise its OSError or ValueError."""
        outcome: T | Exception = self._pool.apply(_attempted, (function, arguments))
        if isinstance(outcome, (OSError, ValueError)):
            raise outcome
        return outcome  # type: ignore[return-value]  # no function returns its error


def _attempted(function: Callable[..., T], arguments: tuple[Any, ...]) -> T | Exception:
    """Return errors instead of raising them: gevent prints those that are raised in its threads."""
    try:
        return function(*arguments)
    except (OSError, ValueError) as error:
        return error
