"""What counts as the name of a host, for TLS and for the command line: one check, before anything is looked up or opened."""

from __future__ import annotations

import _socket
import contextlib
import re
from typing import Any

LONGEST = 253
"""Bytes that a name may have on the wire (RFC 1035), without the dot of the root."""

_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


def is_literal(host: str) -> bool:
    """Return whether this is an IP address. The module `ipaddress` would say so, too; it takes long to load."""
    for family, text in ((_socket.AF_INET, host), (_socket.AF_INET6, host.partition("%")[0])):
        with contextlib.suppress(OSError, ValueError):
            _socket.inet_pton(family, text)
            return True
    return False


def server_name(name: str, value: Any) -> str:
    """Return the name that TLS asks a server for, and for which its certificate must be: ASCII, without the dot of the root.

    An IP address is taken, too, without its zone: it is looked for in the certificate, and not sent. ValueError for whatever can
    be neither.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a host name, not {type(value).__name__} {value!r}")
    address = value.removesuffix(".").partition("%")[0]
    if is_literal(address):
        return address
    return _ascii_name(name, value)


def _ascii_name(name: str, value: str) -> str:
    what = f"{name} must be a host name or an IP address, not {value!r}"
    if not value:
        raise ValueError(what)
    too_long = f"{what}: a name has at most {LONGEST} bytes"
    if len(value) > LONGEST + 1:
        raise ValueError(too_long)
    try:
        encoded = value.encode("idna").decode("ascii").removesuffix(".")
    except UnicodeError as error:
        raise ValueError(f"{what}: {error.__cause__ or error}") from None
    if len(encoded) > LONGEST:
        raise ValueError(too_long)
    if not _NAME.fullmatch(encoded):
        raise ValueError(f"{what}: a name has letters, digits, hyphens and underscores between its dots")
    return encoded
