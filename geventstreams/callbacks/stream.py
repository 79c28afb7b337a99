"""Streams whose reads never wait: they return what a connection of the callback half has received, and say when there is nothing yet."""

# Invariant: "nothing yet" is None (`b""` where it cannot be mistaken for the end), and takes nothing. Everything else is done as in streams
# that wait, so what is in the buffer is never copied to find out whether it is enough.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import geventstreams._native.attributes as _attributes
from geventstreams._constants import START
from geventstreams._core import arguments
from geventstreams._core.fork import FORK
from geventstreams._core.reader import ByteReader
from geventstreams._streams.buffered import BufferedStream
from geventstreams._streams.options import StreamOptions
from geventstreams._streams.socket_stream import UpgradableStream
from geventstreams.callbacks.connection import AsyncSocket
from geventstreams.errors import EndOfFile, StreamError, line_too_long

if TYPE_CHECKING:
    from collections.abc import MutableSequence

    from typing_extensions import TypeVar

    from geventstreams._streams.elements import ElementType
    from geventstreams._types import ElementTypeName, MaybeNone, WritableBuffer

    L = TypeVar("L", default=str)


class AsyncStream(UpgradableStream):
    """A stream on a socket of the callback half, whose reads and writes never wait. cl-async: `async-stream`.

    The connection receives; reading takes what is there. Where nothing is, and the input has not ended, a call returns None, or `b""`, `""`
    or the start index where its result is a piece of any length or an index. What is written is sent in the same turn of the hub.

    Args:
        socket: The `AsyncSocket`. Its bytes go to the stream from now on, no longer to the read callback.
        element_type, encoding, line_limit, linger_timeout: As the constructor of `SocketStream` has them.

    Raises:
        StreamError: The socket has a stream already, or is closed.
    """

    _reads = True
    _writes = True

    def __init__(self, socket: AsyncSocket | None = None, *, element_type: ElementType | ElementTypeName = "unsigned-byte-8",
                 encoding: str = "latin-1", line_limit: float | None = 2**20, linger_timeout: float | None = 2.0) -> None:
        self._claim(arguments.instance("socket", socket, AsyncSocket), StreamOptions(
            element_type=element_type, encoding=encoding, line_limit=line_limit, linger_timeout=linger_timeout))

    def _claim(self, socket: AsyncSocket, options: StreamOptions) -> None:
        """Become the stream of a socket. Makers of connections, whose options are checked, call only this."""
        self._init_stream(socket._claim_engine(), type(self)._reads, type(self)._writes, options)
        socket._set_stream(self)

    @property
    def socket(self) -> AsyncSocket | MaybeNone:
        """The `AsyncSocket`; None when its connection is over."""
        return self._engine.connection  # type: ignore[attr-defined]  # it is a PushedEngine

    # The Python vocabulary.

    def read(self, size: int | None = -1) -> bytes | None:  # type: ignore[override]  # None: nothing yet
        """Return up to `size` bytes of what is there, all of it for -1; None where nothing is yet, `b""` at the end."""
        return ByteReader.read1(self, size)

    def read1(self, size: int | None = -1) -> bytes | None:  # type: ignore[override]  # as above
        """Return up to `size` bytes of what is there, all of it for -1; None where nothing is yet, `b""` at the end."""
        return ByteReader.read1(self, size)

    def readinto(self, buffer: WritableBuffer) -> int | None:  # type: ignore[override]  # as above
        """Copy what is there into `buffer`. Return the number of bytes; None where nothing is there yet, 0 at the end."""
        return ByteReader.readinto(self, buffer)

    def readinto1(self, buffer: WritableBuffer) -> int | None:  # type: ignore[override]  # as above
        """Copy what is there into `buffer`. Return the number of bytes; None where nothing is there yet, 0 at the end."""
        return ByteReader.readinto(self, buffer)

    def readline(self, size: int | None = -1) -> bytes | None:  # type: ignore[override]  # as above
        """Return the next line with its newline, or `size` bytes of it; None where it is not whole yet.

        At the end of the input the rest comes without a newline, then `b""`.

        Raises:
            LineTooLong: More than `line_limit` bytes are there without a newline. None of them is consumed.
        """
        return ByteReader.readline(self, size)

    def read_exactly(self, n: int) -> bytes | None:  # type: ignore[override]  # as above
        """Return `n` bytes, or None where fewer are there yet.

        Raises:
            IncompleteRead: The input ended before. What came instead is in `partial`, and stays readable.
        """
        return BufferedStream.read_exactly(self, n)

    def read_until(self, separator: bytes, limit: float | None = None) -> bytes | None:  # type: ignore[override]  # as above
        """Return the bytes up to and with `separator`, or None where it is not there yet. Nothing is consumed by an error.

        Raises:
            LineTooLong: There is no separator within `limit` bytes (None: `line_limit`; `math.inf`: no limit).
            IncompleteRead: The input ended before the separator.
        """
        return BufferedStream.read_until(self, separator, limit)

    def discard_line(self) -> bool:  # type: ignore[override]  # False: call again
        """Drop the rest of the line. Return True when its newline was there, or the input ended; False: call again when more has come."""
        return self._discard_line()

    def read_available(self) -> bytes:
        """Return what is there, possibly `b""`. EndOfFile when the input has ended and everything was taken."""
        if self._input.permit != FORK.generation:
            self._engine.refuse_input()
        held = self._input.end - self._input.start
        if not held and self._engine.end is not None:
            self._engine.raise_end()
            raise EndOfFile(f"end of file from {self._engine.peer}", stream=self)
        return self._input.take(held)

    # The Lisp vocabulary.

    def _at_end(self, eof_error: bool, eof_value: Any) -> Any:
        return None if self._engine.end is None else UpgradableStream._at_end(self, eof_error, eof_value)

    def read_sequence(self, seq: WritableBuffer | MutableSequence[Any], start: int = 0, end: int | None = None) -> int:
        """Copy what is there to `seq[start:end]`, as far as it fits. Return the index of the first element not updated.

        That is `start` where nothing is there, before the end of the input and at it, also where it ended in an error.
        """
        if self._input.permit != FORK.generation:
            self._engine.refuse_input()
        if type(seq) is bytearray and start is START and end is None:
            return self._input.take_into(seq, 0, len(seq))
        try:
            return UpgradableStream.read_sequence(self, seq, start, end)
        except StreamError:  # the end: nothing else is raised while there is a permit
            return start

    def read_string(self, n: int) -> str:
        """Return up to `n` characters of what is there, `""` where nothing is."""
        return UpgradableStream.read_string(self, n)

    def read_line(self, eof_error: bool = True,  # type: ignore[override]  # None: nothing yet
                  eof_value: L = "") -> tuple[str | L, bool] | None:  # type: ignore[assignment]  # L's default
        """Return the next line without its newline, and False; None where it is not whole yet; at the end the rest, and True."""
        if self._input.permit != FORK.generation:
            self._engine.refuse_input()
        if self._engine.end is None and not self._newline_behind(0):
            if len(self._input) > self._line_limit:
                raise line_too_long(self._line_limit, self._engine.peer, self)
            return None
        return UpgradableStream.read_line(self, eof_error, eof_value)

    # Writing.

    def finish_output(self) -> None:
        """Wait until the system has everything that was written."""
        if self._output.permit != FORK.generation:
            self._engine.refuse_output()
        self._engine.finish()


class AsyncInputStream(AsyncStream):
    """A stream that can only be read."""

    _writes = False


class AsyncOutputStream(AsyncStream):
    """A stream that can only be written. The socket goes on passing what it receives to its read callback."""

    _reads = False


class AsyncIOStream(AsyncInputStream, AsyncOutputStream):
    """A stream for both directions: what `tcp_connect(..., stream=True)` returns."""

    _reads = True
    _writes = True


for kind in (AsyncStream, AsyncInputStream, AsyncOutputStream, AsyncIOStream):
    _attributes.own_methods(kind)
