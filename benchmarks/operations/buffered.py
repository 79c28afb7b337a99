"""Small reads out of the standard library's buffers. All contenders read 32 KiB of 64-byte lines in each run."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import gevent.socket

from benchmarks.operations.base import BUFFER, CONTENT, LINE, REFILLED, Operation, large_pair, repeat, repeat_with


class Memory(io.RawIOBase):
    """A raw file in memory that never ends."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, space: Any) -> int:
        """Fill a reader's buffer with lines."""
        count = min(len(space), BUFFER)
        space[:count] = CONTENT[:count]
        return count


class FromReader(Operation):
    """An `io.BufferedReader`, whose buffer is filled before each run."""

    def __init__(self, _options: Mapping[str, Any]) -> None:
        self.reader = io.BufferedReader(Memory(), BUFFER)

    def prepare(self) -> None:
        """Fill the buffer by one `readinto` of the raw file."""
        self.reader.peek(1)

    def finish(self) -> None:
        """Discard the rest of the buffer."""
        self.reader.read(len(self.reader.peek(1)))


class ReadLine(FromReader):
    """`readline`."""

    def run(self) -> int:
        """Read all lines of the buffer."""
        return repeat(self.reader.readline, BUFFER // len(LINE))


class ReadOne(FromReader):
    """`read(1)`."""

    def run(self) -> int:
        """Read single bytes."""
        return repeat_with(self.reader.read, 1, 4096)


class ReadEight(FromReader):
    """`read(8)`."""

    def run(self) -> int:
        """Read pieces of eight bytes."""
        return repeat_with(self.reader.read, 8, 4000)


class ReadInto(FromReader):
    """`readinto` 64 bytes."""

    def run(self) -> int:
        """Read pieces of the length of a line."""
        return repeat_with(self.reader.readinto, bytearray(64), 500)


class Drain(Operation):
    """`io.BytesIO.readinto` of 64 bytes until 4 MiB are read."""

    def __init__(self, _options: Mapping[str, Any]) -> None:
        self.memory = io.BytesIO(CONTENT * (2**22 // BUFFER))

    def prepare(self) -> None:
        """Go back to the beginning."""
        self.memory.seek(0)

    def run(self) -> int:
        """Read everything."""
        space = bytearray(64)
        read, total = self.memory.readinto, 0
        while count := read(space):
            total += count
        return total


class TextLine(Operation):
    """`TextIOWrapper.readline` over an `io.BufferedReader`, with its reading and decoding of 8 KiB at a time."""

    def __init__(self, _options: Mapping[str, Any]) -> None:
        self.text = io.TextIOWrapper(io.BufferedReader(Memory(), BUFFER), "latin-1", newline="\n")

    def run(self) -> int:
        """Read as many lines as a stream's buffer holds."""
        return repeat(self.text.readline, BUFFER // len(LINE))


class Refills(Operation):
    """`makefile('rb', 65536)` of a gevent socket that has 128 KiB to read; receiving is timed as well."""

    def __init__(self, _options: Mapping[str, Any]) -> None:
        near, self._far = large_pair()
        self._socket = gevent.socket.socket(fileno=near.detach())
        self._file = self._socket.makefile("rb", 65536)

    def prepare(self) -> None:
        """Send the bytes that the run will receive."""
        self._far.sendall(CONTENT * (REFILLED // BUFFER))

    def run(self) -> int:
        """Read all lines."""
        return repeat(self._file.readline, REFILLED // len(LINE))

    def close(self) -> None:
        """Close the file and both sockets."""
        self._file.close()
        self._socket.close()
        self._far.close()
