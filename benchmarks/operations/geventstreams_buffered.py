"""Small reads out of a stream's buffer. All contenders read 32 KiB of 64-byte lines in each run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import geventstreams
from benchmarks.operations.base import BUFFER, CONTENT, LINE, REFILLED, Operation, large_pair, repeat, repeat_with


class FromStream(Operation):
    """A stream whose buffer is filled before each run."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        near, self.far = large_pair()
        self.stream = geventstreams.SocketStream(near, element_type=options.get("element_type", "base-char"))

    def prepare(self) -> None:
        """Fill the buffer by one receive call."""
        self.far.sendall(CONTENT)
        self.stream.peek(1)
        if self.stream.buffered != BUFFER:
            raise RuntimeError(f"the buffer holds {self.stream.buffered} bytes instead of {BUFFER}")

    def finish(self) -> None:
        """Discard the rest of the buffer."""
        self.stream.read_available()

    def close(self) -> None:
        """Close both ends."""
        self.stream.abort()
        self.far.close()


class ReadLine(FromStream):
    """`readline`."""

    def run(self) -> int:
        """Read all lines of the buffer."""
        return repeat(self.stream.readline, BUFFER // len(LINE))


class TextLine(FromStream):
    """`read_line`."""

    def run(self) -> int:
        """Read all lines of the buffer, as text."""
        return repeat(self.stream.read_line, BUFFER // len(LINE))


class ReadByte(FromStream):
    """`read_byte`."""

    def run(self) -> int:
        """Read single bytes."""
        return repeat(self.stream.read_byte, 4096)


class ReadChar(FromStream):
    """`read_char`."""

    def run(self) -> int:
        """Read characters."""
        return repeat(self.stream.read_char, 4096)


class ReadEight(FromStream):
    """`read_exactly(8)`."""

    def run(self) -> int:
        """Read pieces of eight bytes."""
        return repeat_with(self.stream.read_exactly, 8, 4000)


class ReadSequence(FromStream):
    """`read_sequence` into 64 bytes."""

    def run(self) -> int:
        """Read pieces of the length of a line."""
        return repeat_with(self.stream.read_sequence, bytearray(64), 500)


class Refills(FromStream):
    """`readline` of a socket that has 128 KiB to read; receiving is timed as well."""

    def prepare(self) -> None:
        """Send the bytes that the run will receive."""
        self.far.sendall(CONTENT * (REFILLED // BUFFER))

    def run(self) -> int:
        """Read all lines."""
        return repeat(self.stream.readline, REFILLED // len(LINE))
