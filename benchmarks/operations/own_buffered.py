"""Small reads out of a stream's buffer. All contenders read 32 KiB of 64-octet lines in each run."""

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
        """One receipt of the stream."""
        self.far.sendall(CONTENT)
        self.stream.peek(1)
        if self.stream.buffered != BUFFER:
            raise RuntimeError(f"the buffer holds {self.stream.buffered} octets instead of {BUFFER}")

    def finish(self) -> None:
        """What is left is dropped."""
        self.stream.read_available()

    def close(self) -> None:
        """Closes both ends."""
        self.stream.abort()
        self.far.close()


class ReadLine(FromStream):
    """`readline`."""

    def run(self) -> int:
        """All lines of the buffer."""
        return repeat(self.stream.readline, BUFFER // len(LINE))


class TextLine(FromStream):
    """`read_line`."""

    def run(self) -> int:
        """All lines of the buffer, as text."""
        return repeat(self.stream.read_line, BUFFER // len(LINE))


class ReadByte(FromStream):
    """`read_byte`."""

    def run(self) -> int:
        """Octets."""
        return repeat(self.stream.read_byte, 4096)


class ReadChar(FromStream):
    """`read_char`."""

    def run(self) -> int:
        """Characters."""
        return repeat(self.stream.read_char, 4096)


class ReadEight(FromStream):
    """`read_exactly(8)`."""

    def run(self) -> int:
        """Pieces of eight octets."""
        return repeat_with(self.stream.read_exactly, 8, 4000)


class ReadSequence(FromStream):
    """`read_sequence` into 64 octets."""

    def run(self) -> int:
        """Pieces of the length of a line."""
        return repeat_with(self.stream.read_sequence, bytearray(64), 500)


class Refills(FromStream):
    """`readline` from a socket that holds 128 KiB; the receiving is timed, too."""

    def prepare(self) -> None:
        """The socket gets its octets."""
        self.far.sendall(CONTENT * (REFILLED // BUFFER))

    def run(self) -> int:
        """All lines."""
        return repeat(self.stream.readline, REFILLED // len(LINE))
