"""Small reads out of the standard library's buffers. All contenders read 32 KiB of 64-octet lines in each run."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import gevent.socket

from benchmarks.operations.base import BUFFER, CONTENT, LINE, REFILLED, Operation, large_pair, repeat, repeat_with


class Memory(io.RawIOBase):
    """A raw file that never ends, out of memory."""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, space: Any) -> int:
        """Fills a reader's buffer with lines."""
        count = min(len(space), BUFFER)
        space[:count] = CONTENT[:count]
        return count


class FromReader(Operation):
    """The C reader, whose buffer is filled before each run."""

    def __init__(self, _options: Mapping[str, Any]) -> None:
        self.reader = io.BufferedReader(Memory(), BUFFER)

    def prepare(self) -> None:
        """One `readinto` of the raw file."""
        self.reader.peek(1)

    def finish(self) -> None:
        """What is left is dropped."""
        self.reader.read(len(self.reader.peek(1)))


class ReadLine(FromReader):
    """`readline`."""

    def run(self) -> int:
        """All lines of the buffer."""
        return repeat(self.reader.readline, BUFFER // len(LINE))


class ReadOne(FromReader):
    """`read(1)`."""

    def run(self) -> int:
        """Octets."""
        return repeat_with(self.reader.read, 1, 4096)


class ReadEight(FromReader):
    """`read(8)`."""

    def run(self) -> int:
        """Pieces of eight octets."""
        return repeat_with(self.reader.read, 8, 4000)


class ReadInto(FromReader):
    """`readinto` 64 octets."""

    def run(self) -> int:
        """Pieces of the length of a line."""
        return repeat_with(self.reader.readinto, bytearray(64), 500)


class Drain(Operation):
    """`io.BytesIO.readinto` of 64 octets until 4 MiB are read."""

    def __init__(self, _options: Mapping[str, Any]) -> None:
        self.memory = io.BytesIO(CONTENT * (2**22 // BUFFER))

    def prepare(self) -> None:
        """From the beginning."""
        self.memory.seek(0)

    def run(self) -> int:
        """All of it."""
        space = bytearray(64)
        read, total = self.memory.readinto, 0
        while count := read(space):
            total += count
        return total


class TextLine(Operation):
    """`TextIOWrapper.readline` over the C reader; that it takes 8 KiB at a time and decodes them is part of it."""

    def __init__(self, _options: Mapping[str, Any]) -> None:
        self.text = io.TextIOWrapper(io.BufferedReader(Memory(), BUFFER), "latin-1", newline="\n")

    def run(self) -> int:
        """As many lines as the other's buffer holds."""
        return repeat(self.text.readline, BUFFER // len(LINE))


class Refills(Operation):
    """`makefile('rb', 65536)` of a gevent socket that holds 128 KiB; the receiving is timed, too."""

    def __init__(self, _options: Mapping[str, Any]) -> None:
        near, self._far = large_pair()
        self._socket = gevent.socket.socket(fileno=near.detach())
        self._file = self._socket.makefile("rb", 65536)

    def prepare(self) -> None:
        """The socket gets its octets."""
        self._far.sendall(CONTENT * (REFILLED // BUFFER))

    def run(self) -> int:
        """All lines."""
        return repeat(self._file.readline, REFILLED // len(LINE))

    def close(self) -> None:
        """Closes all three."""
        self._file.close()
        self._socket.close()
        self._far.close()
