"""What is timed: `prepare`, then `run` against the clock, then `finish`, as often as the harness asks for."""

from __future__ import annotations

import itertools
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable

LINE = b"x" * 63 + b"\n"
BUFFER = 32768
CONTENT = LINE * (BUFFER // len(LINE))
REFILLED = 131072


class Operation(ABC):
    """One contender's way to do something a number of times."""

    def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Not timed: makes everything ready for one run."""

    @abstractmethod
    def run(self) -> int:
        """Timed: gives the number of operations it did."""

    def finish(self) -> None:  # noqa: B027
        """Not timed: looks whether the run did what it should."""

    def close(self) -> None:  # noqa: B027
        """Gives back what it holds."""


def repeat(call: Callable[[], object], count: int) -> int:
    """Calls it so often."""
    for _ in itertools.repeat(None, count):
        call()
    return count


def repeat_with(call: Callable[[int], object] | Callable[[bytearray], object], argument: object, count: int) -> int:
    """Calls it so often with this argument."""
    for _ in itertools.repeat(None, count):
        call(argument)  # type: ignore[arg-type]
    return count


def large_pair() -> tuple[socket.socket, socket.socket]:
    """A socket pair whose second half takes REFILLED octets without waiting for the first to read them."""
    near, far = socket.socketpair()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * REFILLED)
    return near, far
