"""The check of host names, for TLS and for the command line."""

from __future__ import annotations

import _socket
import contextlib
import re
from typing import Any

LONGEST = 253
"""Bytes that a name may have (RFC 1035), without the final dot."""

_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


def is_literal(host: str) -> bool:
    """Return whether this is an IP address. The module `ipaddress` could tell it too, but takes long to load."""
    for family, text in ((_socket.AF_INET, host), (_socket.AF_INET6, host.partition("%")[0])):
        with contextlib.suppress(OSError, ValueError):
            _socket.inet_pton(family, text)
            return True
    return False


def server_name(name: str, value: Any) -> str:
    """Return the name that TLS sends to a server and checks its certificate for: in ASCII, without the final dot.

    An IP address is returned without its zone. The certificate is checked for it, but it is not sent.

    Raises:
        ValueError: `value` is neither a possible name nor an IP address.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a host name, not {type(value).__name__} {value!r}")
    address = value.removesuffix(".").partition("%")[0]
    if is_literal(address):
        return address
    message = f"{name} must be a host name or an IP address, not {value!r}"
    if not value:
        raise ValueError(message)
    too_long = f"{message}: a name has at most {LONGEST} bytes"
    if len(value) > LONGEST + 1:
        raise ValueError(too_long)
    try:
        encoded = value.encode("idna").decode("ascii").removesuffix(".")
    except UnicodeError as error:
        raise ValueError(f"{message}: {error.__cause__ or error}") from None
    if len(encoded) > LONGEST:
        raise ValueError(too_long)
    if not _NAME.fullmatch(encoded):
        raise ValueError(f"{message}: a name has letters, digits, hyphens and underscores between its dots")
    return encoded
