"""A line that arrives in single bytes, each received by itself, at `makefile('rb')` of a gevent socket."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import gevent
import gevent.socket

from benchmarks.operations.base import Operation


class Dripped(Operation):
    """One line of `size` bytes. Sending a byte costs the same for every contender and every length."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        near, self.far = socket.socketpair()
        self.far.setblocking(False)
        self._hub = gevent.get_hub()
        self._length = options["size"]
        self.open(near)

    def open(self, near: socket.socket) -> None:
        """Make the contender's reader."""
        self._socket = gevent.socket.socket(fileno=near.detach())
        self.reader: Any = self._socket.makefile("rb")

    def run(self) -> int:
        """Read the line in one greenlet while another sends it, one byte in each iteration of the loop."""
        reading = gevent.spawn(self.reader.readline)
        for _ in range(self._length - 1):
            self.far.send(b"x")
            self._hub.wait(self._hub.loop.timer(0.0))  # an iteration of the loop that polls the sockets; sleep(0) may not
        self.far.send(b"\n")
        line: bytes = reading.get(timeout=10)
        if len(line) != self._length:
            raise RuntimeError(f"a line of {len(line)} bytes instead of {self._length}")
        return len(line)

    def close(self) -> None:
        """Close both ends."""
        self.reader.close()
        self._socket.close()
        self.far.close()
