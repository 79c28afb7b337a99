"""Where connecting and listening get sockets and addresses from: the system, unless a test has put a network of its own in its place."""

from __future__ import annotations

import _socket
import importlib
from typing import Any


class Network:
    """The system's network. `geventstreams.testing.MemoryNetwork` is another one."""

    def connecting_socket(self, family: int) -> Any:
        """Return a new socket to connect with, whose methods need not wait for gevent."""
        return _socket.socket(family, _socket.SOCK_STREAM)

    def listening_socket(self, family: int) -> Any:
        """Return a new socket to listen with."""
        return importlib.import_module("gevent.socket").socket(family, _socket.SOCK_STREAM)

    def getaddrinfo(self, *query: Any) -> list[Any]:
        """Look up a name, as `gevent.socket.getaddrinfo` does."""
        return importlib.import_module("gevent.socket").getaddrinfo(*query)  # type: ignore[no-any-return]  # gevent has no types


_in_use: list[Network] = [Network()]


def network() -> Network:
    """Return the network in use."""
    return _in_use[-1]


def use(other: Network) -> None:
    """Use another network from now on, until `leave`."""
    _in_use.append(other)


def leave(other: Network) -> None:
    """Use a network no longer."""
    _in_use.remove(other)
