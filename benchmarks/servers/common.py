"""Bulk transfers for servers whose calls wait, the header of a transfer, and TLS."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Callable, Mapping
from typing import Any

HEADER = struct.Struct(">QQ")
ANSWER = b"k"
TIMEOUT = 30.0


def tls_context(options: Mapping[str, Any], make: type[ssl.SSLContext] = ssl.SSLContext) -> ssl.SSLContext | None:
    """Return the server's context if the options ask for TLS. On gevent's sockets only gevent's own class does not block."""
    if not options.get("tls"):
        return None
    context = make(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options["certificate"])
    return context


def pieces(total: int, size: int) -> tuple[bytes, int]:
    """Return a piece of output, and how often it makes up the total."""
    return b"x" * size, total // size


def receive_pieces(read: Callable[[int], bytes], read_into: Callable[[memoryview], int], answer: Callable[[bytes], object]) -> None:
    """Serve the role `receive`: one space for all pieces of a transfer."""
    while header := read(HEADER.size):
        left, size = HEADER.unpack(header)
        space = memoryview(bytearray(size))
        while left:
            left -= read_into(space[: min(left, size)])
        answer(ANSWER)


def receive_lines(read: Callable[[int], bytes], readline: Callable[[], bytes], answer: Callable[[bytes], object]) -> None:
    """Serve the role `lines`."""
    while header := read(HEADER.size):
        left, _ = HEADER.unpack(header)
        while left:
            left -= len(readline())
        answer(ANSWER)


def send_pieces(read: Callable[[int], bytes], write: Callable[[bytes], object], flush: Callable[[], object] | None = None) -> None:
    """Serve the role `send`; `flush` is called once for each transfer."""
    while header := read(HEADER.size):
        piece, times = pieces(*HEADER.unpack(header))
        for _ in range(times):
            write(piece)
        if flush is not None:
            flush()


def echo_lines(file: Any) -> None:
    """Serve the role `echo` on a buffered file."""
    while line := file.readline():
        file.write(line)
        file.flush()


def echo_one_line(file: Any) -> None:
    """Serve the role `one_line` on a buffered file."""
    file.write(file.readline())
    file.flush()


def flushed(file: Any) -> Callable[[bytes], None]:
    """Return a function that writes to a buffered file and flushes it."""

    def answer(data: bytes) -> None:
        file.write(data)
        file.flush()

    return answer
