"""Listening sockets: bound here, taken over from another program, or shared by several worker processes."""

from __future__ import annotations

import _socket
import errno
import os
from collections.abc import Collection, Sequence
from typing import Any

import gevent.socket

import geventstreams._native.syscalls as _system
from geventstreams._constants import LARGEST_INT
from geventstreams._core.transport import address_name
from geventstreams._net.addresses import Address, Query, look_up_own
from geventstreams._net.network import network
from geventstreams.errors import StreamError

BACKLOG = 1024
"""Clients that the system may queue, unless a server sets another number."""

NOT_HERE = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})
"""Error numbers of `bind` for an address that this machine does not have: the next address of the name may work."""

FIRST_PASSED_ON = 3
"""The first descriptor that a service manager passes on (`SD_LISTEN_FDS_START`)."""

MOST_DIGITS = 6
"""Digits of `LISTEN_FDS`, at most."""


def listening_socket(family: int, address: Any, backlog: int, only_ipv6: bool | None = None,
                     reuse_port: bool = False) -> gevent.socket.socket:
    """Return a gevent socket that listens on an address, whose port may still be in use by old connections.

    Args:
        family: The address family.
        address: The address as `bind` takes it.
        backlog: How many clients the system may queue.
        only_ipv6: Whether an IPv6 socket refuses IPv4 clients; None leaves that to the system.
        reuse_port: Whether other processes of the same user may listen on the port too; the system distributes the clients.

    Raises:
        StreamError: The system refuses, for example because the port is in use.
    """
    listener: Any = None
    try:
        listener = network().listening_socket(family)
        listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
        if family == _socket.AF_INET6 and only_ipv6 is not None:
            listener.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(only_ipv6))
        listener.bind(address)
        listener.listen(min(backlog, LARGEST_INT))  # the system has a lower limit of its own
    except BaseException as error:
        if listener is not None:
            listener.close()
        if isinstance(error, OSError):
            raise StreamError(f"cannot listen on {address_name(address)}: {error.strerror or error}", error.errno) from None
        raise
    return listener


def first_listening(addresses: Sequence[Address], backlog: int, only_ipv6: bool, skipped: Collection[int] = NOT_HERE) -> Any:
    """Return a socket that listens on the first usable address.

    An address that fails with an error number in `skipped` is passed over. The last error is raised if no address is left.
    """
    for number, (family, address) in enumerate(addresses, start=1):
        try:
            return listening_socket(family, address, backlog, only_ipv6)
        except OSError as error:
            if number == len(addresses) or error.errno not in skipped:
                raise
    raise StreamError("cannot listen: no address", errno.EADDRNOTAVAIL)


def listen(query: Query, backlog: int) -> Any:
    """Return a socket that listens on the first address of a name that this machine has; without a host on all of its addresses."""
    addresses = look_up_own(query)
    if query.host is None:  # the IPv6 socket accepts IPv4 clients too
        addresses.sort(key=lambda each: each[0] != _socket.AF_INET6)
    return first_listening(addresses, backlog, query.family == _socket.AF_INET6)


def listen_together(query: Query, backlog: int, count: int) -> list[Any]:
    """Return `count` sockets that listen on one address, for as many processes: the system distributes clients (SO_REUSEPORT)."""
    # With SO_REUSEPORT a port that is in use is no error, so the first socket is bound without it.
    probe = listen(query, backlog)
    family, address = probe.family, probe.getsockname()
    only_ipv6 = query.family == family
    probe.close()
    return [listening_socket(family, address, backlog, only_ipv6, reuse_port=True) for _ in range(count)]


def is_listening(descriptor: int) -> bool:
    """Return whether this is the descriptor of a stream socket that listens."""
    if descriptor < 0:
        return False
    try:
        with _system.as_socket(descriptor, _system.OWN_FAMILY) as borrowed:
            return _system.is_stream_socket(borrowed) and _system.is_listening(borrowed)
    except OSError:
        return False


def adopt(name: str, descriptor: Any) -> gevent.socket.socket:
    """Return a gevent socket for a listening descriptor that was opened elsewhere. It owns the descriptor from now on.

    Raises:
        TypeError: `descriptor`, called `name` in the message, is not an integer.
        ValueError: It is not open, or does not listen.
    """
    if isinstance(descriptor, bool) or not isinstance(descriptor, int):
        raise TypeError(f"{name} must be the descriptor of a listening socket, not {type(descriptor).__name__} {descriptor!r}")
    try:
        os.fstat(descriptor)
    except (OSError, OverflowError):
        raise ValueError(f"{name} {descriptor!r} is not open") from None
    if not is_listening(descriptor):
        raise ValueError(f"{name} {descriptor!r} is not a listening socket")
    return gevent.socket.socket(fileno=descriptor)


def descriptors_given() -> list[int]:
    """Return the descriptors of listening sockets that a service manager passed to this process (sd_listen_fds(3)).

    The variables `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` are removed from the environment, so that no child process
    takes them for its own. Without them, or where they name another process, the list is empty.

    Raises:
        ValueError: `LISTEN_FDS` is malformed.
    """
    passed = {name: os.environ.pop(name, None) for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    count = passed["LISTEN_FDS"]
    if count is None or passed["LISTEN_PID"] != str(os.getpid()):
        return []
    if not (count.isascii() and count.isdecimal()):
        raise ValueError(f"LISTEN_FDS is {count!r}, not a number")
    if len(count) > MOST_DIGITS:
        raise ValueError(f"LISTEN_FDS is {count!r}, more descriptors than a process can have")
    return list(range(FIRST_PASSED_ON, FIRST_PASSED_ON + int(count)))
