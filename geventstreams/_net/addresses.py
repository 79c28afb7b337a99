"""Hosts and services as people give them, turned into addresses that sockets take; names go through gevent's resolver.

Rule for the next editor: what is given is checked before anything is looked up.
"""

from __future__ import annotations

import _socket
import errno
from typing import Any

import gevent
import gevent.socket
from gevent import get_hub

import geventstreams._native.syscalls as _system
from geventstreams._constants import NEVER
from geventstreams._core import arguments
from geventstreams._core.host_names import is_literal
from geventstreams._core.wakeup import Wakeup
from geventstreams.errors import ConnectTimeout, StreamError

FAMILIES = {"any": _socket.AF_UNSPEC, True: _socket.AF_INET6, False: _socket.AF_INET}

Address = tuple[int, Any]
"""A family, and an address of it as `bind` and `connect` take it."""


class Query:
    """What is looked up. Without a host: the addresses on which this machine can be reached."""

    def __init__(self, host: str | None, is_literal: bool, service: int | str, family: int) -> None:
        self.host = host
        self.is_literal = is_literal
        self.service = service
        self.family = family


def host_name(name: str, host: Any) -> tuple[str, bool]:
    """A host as text, and whether it is an IP literal, which needs no look-up.

    It may be given as a name, a literal, an integer (IPv4), or an object of `ipaddress`.
    """
    if isinstance(host, int) and not isinstance(host, bool):
        if not 0 <= host < 2**32:
            raise ValueError(f"{name} as an integer must be an IPv4 address within 0..{2**32 - 1}, not {host!r}")
        return _socket.inet_ntoa(host.to_bytes(4, "big")), True
    if hasattr(host, "packed") and is_literal(str(host)):
        return str(host), True
    if not isinstance(host, str):
        raise TypeError(f"{name} must be a name, an IP literal, an integer or an ipaddress object, not {host!r}")
    if not host or "\0" in host:
        raise ValueError(f"{name} must not be empty or contain a NUL character, not {host!r}")
    return host, is_literal(host)


def port_or_name(name: str, service: Any) -> int | str:
    """A service (a port, digits, a name) as a port, or as the name that has to be looked up."""
    if isinstance(service, bool) or not isinstance(service, (int, str)):
        raise TypeError(f"{name} must be a port, digits or a service name, not {type(service).__name__} {service!r}")
    if isinstance(service, str) and not (service.isascii() and service.isdigit()):
        if not service or "\0" in service:
            raise ValueError(f"{name} must not be empty or contain a NUL character, not {service!r}")
        return service
    if not 0 <= int(service) <= 65535:
        raise ValueError(f"{name} as a port must be within 0..65535, not {service!r}")
    return int(service)


def family_of(ipv6: Any) -> int:
    """The address family that `ipv6` asks for."""
    return FAMILIES[arguments.chosen("ipv6", ipv6, ("any", True, False))]


def look_up(query: Query, deadline: float = NEVER) -> list[Address]:
    """The addresses that are asked for, in the system's order; ConnectTimeout at the deadline.

    Only what has to be looked up goes to gevent's resolver, whose errors come out as they are.
    """
    host, service, family = query.host, query.service, query.family
    if (host is None or query.is_literal) and isinstance(service, int):
        flags = _socket.AI_NUMERICHOST | _socket.AI_PASSIVE
        return _distinct(_socket.getaddrinfo(host, service, family, _socket.SOCK_STREAM, 0, flags))
    # What cannot be encoded is refused here: gevent's threads would print a traceback.
    if host is not None:
        host.encode("idna")
    if isinstance(service, str):
        service.encode()
    wakeup = Wakeup(get_hub())  # StreamError where the hub has died: gevent's own wait fails otherwise there
    limit = gevent.Timeout(None if deadline == NEVER else max(deadline - _system.monotonic(), 0))
    limit.start()
    try:
        found = gevent.socket.getaddrinfo(host, service, family, _socket.SOCK_STREAM, 0, _socket.AI_PASSIVE)
        wakeup.refuse()  # a forked child's copy of a greenlet that was looking up does not go on and connect a second time
        return _distinct(found)
    except gevent.Timeout as expired:
        if expired is not limit:
            raise
    finally:
        limit.close()
    wait_until(deadline)  # that timer is early where its loop's clock is late
    raise ConnectTimeout(f"looking up {host}: no answer in time")


def look_up_own(query: Query) -> list[Address]:
    """The addresses to listen on, in the system's order; StreamError, with the name in it, where that has none."""
    try:
        return look_up(query)
    except (_socket.gaierror, UnicodeError) as error:  # a name that cannot be encoded is a UnicodeError
        told = error.strerror if isinstance(error, OSError) else error.__cause__ or error
        raise StreamError(f"cannot listen on {query.host}: {told}", errno.EADDRNOTAVAIL) from None


def _distinct(found: list[Any]) -> list[Address]:
    return list(dict.fromkeys((int(family), address) for family, _, _, _, address in found))


def wait_until(due: float) -> None:
    """Waits until the monotonic clock shows `due`."""
    left = due - _system.monotonic()
    if left > 0:
        Wakeup(get_hub()).wait(left)
