"""A line that comes in single octets, by `readline` of a stream."""

from __future__ import annotations

import socket

import geventstreams
from benchmarks.operations import dripping


class Dripped(dripping.Dripped):
    """One line of `size` octets."""

    def open(self, near: socket.socket) -> None:
        """Makes the stream."""
        self.reader = geventstreams.SocketStream(near, "input")

    def close(self) -> None:
        """Closes both ends."""
        self.reader.abort()
        self.far.close()
