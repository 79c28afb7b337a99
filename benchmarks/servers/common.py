"""What the servers of the bench share: the header of bulk transfers, and the certificate."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Mapping
from typing import Any

HEADER = struct.Struct(">QQ")
ANSWER = b"k"
TIMEOUT = 30.0


def tls_context(options: Mapping[str, Any], make: type[ssl.SSLContext] = ssl.SSLContext) -> ssl.SSLContext | None:
    """The server's side of TLS, if the options want it. On gevent's sockets only gevent's own class does not block."""
    if not options.get("tls"):
        return None
    context = make(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options["certificate"])
    return context


def pieces(total: int, size: int) -> tuple[bytes, int]:
    """A piece of output, and how often it makes up the total."""
    return b"x" * size, total // size
