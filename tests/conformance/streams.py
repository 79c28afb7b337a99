"""Streams over raw files, in place of the buffered files that the standard library's own tests of `io` make.

What a raw file's `readinto` and `write` may answer is checked here, since a transport is trusted; None is "it would block", and the wait
for that looks again in the hub's next round.
"""

from __future__ import annotations

import operator
from typing import Any

import gevent

from geventstreams._constants import ENDED, WOULD_WAIT
from geventstreams._core.transport_base import Transport
from geventstreams._streams.buffered import BufferedStream


def believed(count: Any, size: int) -> int:
    """A count of bytes as a raw file gives it, in the words of a transport."""
    if count is None:
        return WOULD_WAIT
    try:
        number = operator.index(count)
    except TypeError as error:
        raise OSError(f"a raw file said {count!r} of {size} bytes") from error
    if not 0 <= number <= size:
        raise OSError(f"a raw file said {count!r} of {size} bytes")
    return number


class RawTransport(Transport):
    """Takes bytes from one raw file and gives them to another, or the same."""

    def __init__(self, source: Any, target: Any) -> None:
        Transport.__init__(self)
        self.source = source
        self.target = target

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        count = believed(self.source.readinto(space[start:]), len(space) - start)
        if count > 0:
            counts.append(count)
        return count

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        return believed(self.target.write(data[start:stop]), stop - start)

    def readable(self) -> int:
        return ENDED

    def wait_input(self, limit: float) -> bool:
        gevent.sleep(0)
        return True

    def wait_output(self, limit: float) -> bool:
        gevent.sleep(0)
        return True

    def wake(self) -> None:
        pass

    def end_output(self) -> int:
        return 0

    def fileno(self) -> int:
        return int(self.source.fileno())

    def close(self, abort: bool = False) -> None:
        try:
            self.target.close()
        finally:
            if self.source is not self.target:
                self.source.close()


class Reader(BufferedStream):
    """In place of `io.BufferedReader`."""

    def __init__(self, raw: Any, buffer_size: int = 8192) -> None:
        BufferedStream.__init__(self, RawTransport(raw, raw), writable=False)


class Writer(BufferedStream):
    """In place of `io.BufferedWriter`."""

    def __init__(self, raw: Any, buffer_size: int = 8192) -> None:
        BufferedStream.__init__(self, RawTransport(raw, raw), readable=False)


class Pair(BufferedStream):
    """In place of `io.BufferedRWPair`."""

    def __init__(self, reader: Any, writer: Any, buffer_size: int = 8192) -> None:
        BufferedStream.__init__(self, RawTransport(reader, writer))


IN_PLACE_OF = {"CBufferedReaderTest": Reader, "CBufferedWriterTest": Writer, "CBufferedRWPairTest": Pair}
