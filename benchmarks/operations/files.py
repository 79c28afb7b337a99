"""Reads by `makefile` of a gevent socket that has 128 KiB of 64-byte lines to read; receiving is timed as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gevent.socket

from benchmarks.operations.base import BUFFER, CONTENT, LINE, REFILLED, Operation, large_pair, repeat, repeat_with


class FromFile(Operation):
    """gevent's own file, as `makefile` makes it by default."""

    mode = "rb"

    def __init__(self, _options: Mapping[str, Any]) -> None:
        near, self._far = large_pair()
        self.socket = gevent.socket.socket(fileno=near.detach())
        self.file = self.open()

    def open(self) -> Any:
        """Return the contender's file."""
        return self.socket.makefile(self.mode, **self.keywords())

    def keywords(self) -> dict[str, str]:
        """Return the other arguments of `makefile`."""
        return {} if "b" in self.mode else {"encoding": "utf-8"}

    def prepare(self) -> None:
        """Send the bytes that the run will receive."""
        self._far.sendall(CONTENT * (REFILLED // BUFFER))

    def close(self) -> None:
        """Close the file and both sockets."""
        self.file.close()
        self.socket.close()
        self._far.close()


class ReadLine(FromFile):
    """`readline`."""

    def run(self) -> int:
        """Read all lines."""
        return repeat(self.file.readline, REFILLED // len(LINE))


class TextLine(FromFile):
    """`readline` of a text file."""

    mode = "r"

    def run(self) -> int:
        """Read all lines."""
        return repeat(self.file.readline, REFILLED // len(LINE))


class Read(FromFile):
    """`read(64)`."""

    def run(self) -> int:
        """Read all bytes."""
        return repeat_with(self.file.read, 64, REFILLED // 64)


class ReadInto(FromFile):
    """`readinto` 64 bytes."""

    def run(self) -> int:
        """Read all bytes."""
        return repeat_with(self.file.readinto, bytearray(64), REFILLED // 64)


class ReadLarge(FromFile):
    """`read(65536)`."""

    def run(self) -> int:
        """Read all bytes."""
        return repeat_with(self.file.read, 65536, REFILLED // 65536)
