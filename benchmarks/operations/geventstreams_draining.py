"""Bytes in the buffer of a callback connection, read from its stream in pieces of 64 bytes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gevent
import gevent.socket

import geventstreams
from benchmarks.operations.base import CONTENT, Operation

HELD = 4 * 2**20
LIMIT = 10.0


class Draining(Operation):
    """A connection whose read callback leaves everything in the stream."""

    def __init__(self, _options: Mapping[str, Any]) -> None:
        listener = gevent.socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        self._stream = geventstreams.tcp_connect("127.0.0.1", port, self.on_read, stream=True, high_water=2 * HELD)
        self._far, _ = listener.accept()
        listener.close()

    def on_read(self, _connection: object, _stream: object) -> None:
        """Leave the bytes in the stream."""

    def prepare(self) -> None:
        """Return when the stream holds 4 MiB, half of its high-water mark."""
        deadline = time.monotonic() + LIMIT
        left = HELD - self._stream.buffered
        while self._stream.buffered < HELD:
            if left > 0:
                left -= self._far.send(CONTENT[:left])
            gevent.sleep(0)
            if time.monotonic() > deadline:
                raise RuntimeError(f"the stream holds {self._stream.buffered} bytes instead of {HELD}")

    def run(self) -> int:
        """Read everything."""
        space = bytearray(64)
        read, total = self._stream.read_sequence, 0
        while count := read(space):
            total += count
        return total

    def close(self) -> None:
        """Close both ends."""
        self._stream.close(abort=True)
        self._far.close()
