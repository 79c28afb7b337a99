"""The base of all operations: `prepare`, then `run` with the clock running, then `finish`, for each sample."""

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
    """One contender's way to do something, many times in each run."""

    def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Prepare one run; not timed."""

    @abstractmethod
    def run(self) -> int:
        """Run the operations and return how many they were; timed."""

    def finish(self) -> None:  # noqa: B027
        """Check the result of the run; not timed."""

    def close(self) -> None:  # noqa: B027
        """Close what the operation has open."""


def repeat(call: Callable[[], object], count: int) -> int:
    """Call a function `count` times; return `count`."""
    for _ in itertools.repeat(None, count):
        call()
    return count


def repeat_with(call: Callable[[int], object] | Callable[[bytearray], object], argument: object, count: int) -> int:
    """Call a function `count` times with this argument; return `count`."""
    for _ in itertools.repeat(None, count):
        call(argument)  # type: ignore[arg-type]
    return count


def large_pair() -> tuple[socket.socket, socket.socket]:
    """Return a socket pair whose second half can send REFILLED bytes before the first half reads any."""
    near, far = socket.socketpair()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * REFILLED)
    return near, far
