"""A connected socket that was opened here, on its way to the stream that will own it."""

from __future__ import annotations

from typing import Any

import geventstreams._native.syscalls as _system
from geventstreams._core.fork import PROCESS, inherited

NOBODYS = -1


class Connected:
    """A descriptor about which nothing has to be asked, and which is closed unless somebody takes it.

    In a forked child nobody can: the connection is the parent's.
    """

    __slots__ = ("descriptor", "family", "peer_address", "process")

    def __init__(self, descriptor: int, family: int, peer_address: Any) -> None:
        self.descriptor = descriptor
        self.family = family
        self.peer_address = peer_address
        self.process = PROCESS.number

    def take(self) -> int:
        """The descriptor, which is the caller's to close from now on. StreamError in a forked child."""
        if self.process != PROCESS.number:
            raise inherited("connection")
        descriptor, self.descriptor = self.descriptor, NOBODYS
        return descriptor

    @property
    def was_taken(self) -> bool:
        """Whether somebody took it, or it was closed."""
        return self.descriptor == NOBODYS

    def close(self) -> None:
        """Closes it, unless somebody took it."""
        if not self.was_taken:
            descriptor, self.descriptor = self.descriptor, NOBODYS
            _system.close(descriptor)

    def __del__(self) -> None:
        self.close()
