"""Hosts and services in the forms that users write them, turned into socket addresses. Names go through gevent's resolver."""

# Invariant: arguments are checked before anything is looked up.

from __future__ import annotations

import _socket
import errno
from typing import Any

import gevent
from gevent import get_hub

from geventstreams._constants import NEVER, TICK
from geventstreams._core import arguments
from geventstreams._core.clock import seconds_until
from geventstreams._core.fairness import pause
from geventstreams._core.host_names import is_literal
from geventstreams._core.transport import address_name
from geventstreams._core.wakeup import Wakeup
from geventstreams._net.network import network
from geventstreams.errors import ConnectTimeout, StreamError

FAMILIES = {"any": _socket.AF_UNSPEC, True: _socket.AF_INET6, False: _socket.AF_INET}

Address = tuple[int, Any]
"""An address family, and an address as `bind` and `connect` take it."""


class Query:
    """A host and a service to look up. Without a host it is for the addresses of this machine."""

    # Not a named tuple: see `Handshake`.
    __slots__ = ("family", "host", "is_literal", "service")

    def __init__(self, host: str | None, is_literal: bool, service: int | str, family: int) -> None:
        self.host = host
        self.is_literal = is_literal
        self.service = service
        self.family = family

    def __str__(self) -> str:
        return address_name((self.host or "", self.service))


def host_name(name: str, host: Any) -> tuple[str, bool]:
    """Return a host as text, and whether it is an IP literal, which needs no look-up.

    Args:
        name: The name of the argument, for errors.
        host: A name, a literal, an integer (IPv4), or an `ipaddress` object.
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
    """Return a service (a port, digits, or a name) as a port, or as the name to look up."""
    if isinstance(service, bool) or not isinstance(service, (int, str)):
        raise TypeError(f"{name} must be a port, digits or a service name, not {type(service).__name__} {service!r}")
    if isinstance(service, str) and not (service.isascii() and service.isdigit()):
        if not service or "\0" in service:
            raise ValueError(f"{name} must not be empty or contain a NUL character, not {service!r}")
        return service
    if not 0 <= int(service) <= 65535:
        raise ValueError(f"{name} must be within 0..65535, not {service!r}")
    return int(service)


def family_of(ipv6: Any) -> int:
    """Return the address family that the argument `ipv6` means."""
    return FAMILIES[arguments.chosen("ipv6", ipv6, ("any", True, False))]


def look_up(query: Query, deadline: float = NEVER) -> list[Address]:
    """Return the addresses of a host and service, in the system's order.

    Only names go to gevent's resolver, whose errors are raised unchanged.

    Raises:
        ConnectTimeout: The deadline has passed.
    """
    host, service, family = query.host, query.service, query.family
    if (host is None or query.is_literal) and isinstance(service, int):
        flags = _socket.AI_NUMERICHOST | _socket.AI_PASSIVE
        return _distinct(_socket.getaddrinfo(host, service, family, _socket.SOCK_STREAM, 0, flags))
    # A name that cannot be encoded is refused here, because gevent's threads would print a traceback.
    if host is not None:
        host.encode("idna")
    if isinstance(service, str):
        service.encode()
    wakeup = Wakeup(get_hub())  # StreamError where the hub has died: gevent's own wait fails otherwise there
    with gevent.Timeout(None if deadline == NEVER else max(seconds_until(deadline), TICK), False):
        results = network().getaddrinfo(host, service, family, _socket.SOCK_STREAM, 0, _socket.AI_PASSIVE)
        wakeup.refuse()  # in a forked child the copy of a greenlet that was looking up must not connect a second time
        return _distinct(results)
    # The timeout ends the block quietly, and may fire early, because the loop caches its clock.
    wait_until(deadline)  # type: ignore[unreachable]  # the types of gevent say that it raises
    raise ConnectTimeout(f"looking up {host}: no answer in time")


def look_up_own(query: Query) -> list[Address]:
    """Return the addresses to listen on, in the system's order. StreamError names a host that has none."""
    try:
        return look_up(query)
    except (_socket.gaierror, UnicodeError) as error:
        raise StreamError(f"cannot listen on {query}: {cause_of(error)}", errno.EADDRNOTAVAIL) from None


def cause_of(error: Exception) -> Any:
    """Return the text of an error of `look_up`: the system's, or that of a name that cannot be encoded."""
    return error.strerror if isinstance(error, OSError) else error.__cause__ or error


def _distinct(results: list[Any]) -> list[Address]:
    return list(dict.fromkeys((int(family), address) for family, _, _, _, address in results))


def wait_until(due: float) -> None:
    """Wait until the monotonic clock reaches `due`."""
    left = seconds_until(due)
    if left > 0:
        pause(left)
