"""A line that arrives in single bytes, read by `readline` of a stream."""

from __future__ import annotations

import socket

import geventstreams
from benchmarks.operations import dripping


class Dripped(dripping.Dripped):
    """One line of `size` bytes."""

    def open(self, near: socket.socket) -> None:
        """Make the stream."""
        self.reader = geventstreams.SocketStream(near, "input")

    def close(self) -> None:
        """Close both ends."""
        self.reader.abort()
        self.far.close()
