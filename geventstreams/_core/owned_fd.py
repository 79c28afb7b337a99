"""A connected socket that was opened here, on its way to the stream that will own it."""

from __future__ import annotations

from typing import Any

import geventstreams._native.syscalls as _system
from geventstreams._core.fork import FORK, inherited

NO_DESCRIPTOR = -1


class OwnedFd:
    """A descriptor of a connected socket, with its family and peer. It is closed unless it is taken; no forked child can take it."""

    __slots__ = ("descriptor", "family", "peer_address", "process")

    def __init__(self, descriptor: int, family: int, peer_address: Any) -> None:
        self.descriptor: int = descriptor
        self.family: int = family
        self.peer_address: Any = peer_address
        self.process: int = FORK.generation

    def take(self) -> int:
        """Return the descriptor, which is the caller's to close from now on.

        Raises:
            StreamError: in a forked child, because the connection is the parent's.
        """
        if self.process != FORK.generation:
            raise inherited("connection")
        descriptor, self.descriptor = self.descriptor, NO_DESCRIPTOR
        return descriptor

    @property
    def was_taken(self) -> bool:
        """Whether it was taken, or closed."""
        return self.descriptor == NO_DESCRIPTOR

    def close(self) -> None:
        """Close the descriptor, unless it was taken."""
        if not self.was_taken:
            descriptor, self.descriptor = self.descriptor, NO_DESCRIPTOR
            _system.close(descriptor)

    def __del__(self) -> None:
        if self.descriptor != NO_DESCRIPTOR:
            self.close()
