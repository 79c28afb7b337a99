"""Handshakes with other processes: virtual time must not pass while one of them is under way, or its timeout would end it for no reason."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

import gevent.socket
import gevent.ssl

import geventstreams._native.syscalls as _system
from geventstreams._core import handshakes
from geventstreams._core.host_names import is_literal
from geventstreams._core.transport import address_name

EVERYWHERE = ("0.0.0.0", "::")
"""The addresses of listeners that take connections to any address of the machine."""


def handshake_with_another_process() -> str | None:
    """Return the words for a connect or a TLS handshake of this thread whose other end is not in this process, or None."""
    for handshake in handshakes.of_this_hub():
        if handshake.descriptor >= 0 and not _other_end_is_here(handshake.descriptor, handshake.address):
            return handshake.words
    return None


def _other_end_is_here(descriptor: int, address: Any) -> bool:
    """Return whether the peer of a socket is a socket of this process, or waits in the queue of a listener of this process.

    The two ends of a `socketpair` have no names: they count as here.
    """
    try:
        with _system.as_socket(descriptor, _system.OWN_FAMILY) as own:
            here = own.getsockname()
            there = own.getpeername() if address is None else address
    except OSError:  # the connection has failed already, and the handshake is about to notice it
        return True
    return any(_is_other_end(number, here, there) for number in _descriptors() if number != descriptor)


def _is_other_end(descriptor: int, here: Any, there: Any) -> bool:
    try:
        with _system.as_socket(descriptor, _system.OWN_FAMILY) as other:
            name = other.getsockname()
            if _system.is_listening(other):
                return _is_reached_by(name, there)
            return bool(_plain(name) == _plain(there) and _plain(other.getpeername()) == _plain(here))
    except OSError:
        return False


def _is_reached_by(listener: Any, address: Any) -> bool:
    """Return whether a connection to an address comes to the listener with this name."""
    if not isinstance(listener, tuple) or not isinstance(address, tuple):
        return bool(listener == address)
    reached = listener[0] in EVERYWHERE or not is_literal(address[0]) or _plain(listener) == _plain(address)
    return bool(listener[1] == address[1] and reached)


def _plain(name: Any) -> Any:
    """Return host and port of a name, or the path. IPv4 addresses within IPv6 are those of IPv4."""
    return (str(name[0]).removeprefix("::ffff:"), name[1]) if isinstance(name, tuple) else name


def _descriptors() -> Iterator[int]:
    """Yield the descriptors of this process that are sockets."""
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # that of the listing is closed already
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                yield int(name)


@contextlib.contextmanager
def handshakes_of_gevent() -> Iterator[None]:
    """Within it, connects and TLS handshakes of gevent's own sockets count as well."""
    with (
        _counted(gevent.socket.socket, "connect", "the connect to"),
        _counted(gevent.ssl.SSLSocket, "do_handshake", "the TLS handshake with"),
    ):
        yield


@contextlib.contextmanager
def _counted(kind: Any, name: str, words: str) -> Iterator[None]:
    call: Callable[..., Any] = getattr(kind, name)
    own = vars(kind).get(name)

    def counted(self: Any, *args: Any) -> Any:
        address = args[0] if args else None
        with contextlib.suppress(OSError):
            handshakes.began(self, self.fileno(), f"{words} {address_name(address or self.getpeername())}", address)
        try:
            return call(self, *args)
        finally:
            handshakes.ended(self)

    setattr(kind, name, counted)
    try:
        yield
    finally:
        if own is None:
            delattr(kind, name)
        else:
            setattr(kind, name, own)
