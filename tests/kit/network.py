"""Addresses and plain sockets for tests: listeners, ports without one, addresses that do not answer, resets."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Any

from servers import free_port

HOST = "127.0.0.1"


def listener(host: str = HOST, port: int = 0, backlog: int = 16) -> socket.socket:
    """Return a listening socket, whose connections are not accepted."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    made.listen(backlog)
    made.setblocking(False)
    return made


@contextlib.contextmanager
def black_hole(host: str = HOST, port: int = 0) -> Iterator[tuple[str, int]]:
    """Give an address that does not answer: a listener whose queue is full, so that the system ignores new connections."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(listener(host, port, backlog=0))
        for _ in range(8):  # the queue has room for fewer
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        yield hole.getsockname()


def unused_port(host: str = HOST) -> int:
    """Return a port on which nothing listens, and which the system gives to no other socket."""
    return free_port(host)


def reset(plain: Any) -> None:
    """Close a TCP socket so that the peer sees a reset."""
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    plain.close()
