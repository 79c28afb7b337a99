"""The checks of a server's arguments that gevent does not make, or makes only after it has closed the listener."""

from __future__ import annotations

from typing import Any

from gevent.pool import Pool

from geventstreams._constants import LARGEST_INT
from geventstreams._core import arguments
from geventstreams._net.addresses import host_name, port_or_name
from geventstreams._net.listening import is_listening


def check_arguments(listener: Any, handle: Any, backlog: int | None, spawn: Any) -> None:
    """Raise TypeError or ValueError for an argument that is wrong; nothing is touched."""
    if not callable(handle):
        raise TypeError(f"handle must be callable, or a method of a subclass, not {handle!r}")
    if spawn is None:
        raise ValueError("spawn must not be None: handlers may wait, and the hub may not")
    if isinstance(spawn, int):
        arguments.positive("spawn", spawn, LARGEST_INT)
    elif not (spawn == "default" or callable(spawn) or isinstance(spawn, Pool)):
        raise TypeError(f"spawn must be 'default', a number of greenlets, a gevent Pool or a callable, not {spawn!r}")
    if backlog is not None:
        arguments.positive("backlog", backlog)
    if hasattr(listener, "accept"):
        _check_socket(listener, backlog)
    elif isinstance(listener, tuple) and len(listener) >= 2:
        if arguments.string("listener's host", listener[0]):
            host_name("listener's host", listener[0])
        port_or_name("listener", listener[1])
    elif isinstance(listener, int):
        port_or_name("listener", listener)
    elif isinstance(listener, str) and not listener.rpartition(":")[2].isdecimal():
        raise ValueError(f"listener must be a port or HOST:PORT, not {listener!r}; for a Unix socket, pass a socket that listens")
    elif not isinstance(listener, str):
        raise TypeError(f"listener must be an address, a port or a listening socket, not {listener!r}")


def _check_socket(listener: Any, backlog: int | None) -> None:
    if hasattr(listener, "do_handshake"):
        raise TypeError(f"listener must be a plain socket, not {listener!r}: ask for TLS by ssl_ctx=")
    if backlog is not None:
        raise TypeError(f"backlog must be None if the listener is a socket, not {backlog!r}")
    if not is_listening(listener.fileno()):
        raise ValueError(f"listener must be a listening socket, not {listener!r}")
