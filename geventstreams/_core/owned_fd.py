"""A connected socket that was opened here, on its way to the stream that will own it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import geventstreams._native.syscalls as _system
from geventstreams._core.fork import FORK, inherited

NO_DESCRIPTOR = -1


class SocketDouble:
    """A socket that is not the system's and has no descriptor: a test double. It makes what the package makes for a descriptor.

    Its other methods are those of `socket.socket`, as far as the package calls them.
    """

    def transport(self) -> Any:
        """Return the transport of the connection, which owns it from now on."""
        raise NotImplementedError

    def listener(self, hub: Any, arrived: Callable[[], object]) -> Any:
        """Return what accepts its clients, as `Listener(hub, socket, arrived)` is for a socket of the system."""
        raise NotImplementedError

    def connect_wakeup(self) -> Any:
        """Return a `Wakeup` that fires when an attempt to connect has succeeded or failed."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection or the listener."""
        raise NotImplementedError


class OwnedFd:
    """A descriptor of a connected socket, or a `SocketDouble`, with its family and peer.

    It is closed unless it is taken; no forked child can take it.
    """

    __slots__ = ("descriptor", "family", "peer_address", "process")

    def __init__(self, descriptor: Any, family: int, peer_address: Any) -> None:
        self.descriptor: Any = descriptor
        self.family: int = family
        self.peer_address: Any = peer_address
        self.process: int = FORK.generation

    def take(self) -> Any:
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
        return bool(self.descriptor == NO_DESCRIPTOR)

    def close(self) -> None:
        """Close the descriptor, unless it was taken."""
        if not self.was_taken:
            descriptor, self.descriptor = self.descriptor, NO_DESCRIPTOR
            if isinstance(descriptor, SocketDouble):
                descriptor.close()
            else:
                _system.close(descriptor)

    def __del__(self) -> None:
        if self.descriptor != NO_DESCRIPTOR:
            self.close()
