"""Streams whose reads never wait: they give what a connection of the callback half has received, and say when there is nothing yet.

Rules for the next editor: "nothing yet" is None (b"" where no end has to be told from it), and takes nothing. All else is as the
vocabularies of streams that wait have it, so a method here only decides what to do before the end of the input; never copy what is in
the buffer to find out whether it is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import geventstreams._core.arguments as arguments
from geventstreams._core.fork import FORK
from geventstreams._core.reader import ByteReader
from geventstreams._files.text_file import SharedFile, file_over, halves
from geventstreams._streams.buffered import BufferedStream
from geventstreams.callbacks.connection import AsyncSocket
from geventstreams.callbacks.push_mode import PushedStream
from geventstreams.errors import EndOfFile, StreamClosed, line_too_long

if TYPE_CHECKING:
    from collections.abc import MutableSequence
    from io import TextIOWrapper
    from typing import TypeVar, overload

    from geventstreams._streams.elements import ElementType
    from geventstreams._types import BinaryMode, ElementTypeName, MaybeNone, TextMode, WritableBuffer

    E = TypeVar("E")

START = 0


class AsyncStream(PushedStream):
    """A view of a socket of the callback half, as a stream that never waits. cl-async's `async-stream`.

    Octets come by the connection; reading takes what is there. Where nothing is, and the input has not ended, a call gives None (`b""`,
    `""` or the start index where its result is a number or a piece of any length). What is written is sent in the same turn of the hub.
    `socket` is the `AsyncSocket`, whose draining ends; a socket has one stream: a second one is a StreamError.
    """

    _reads = True
    _writes = True

    def __init__(self, socket: AsyncSocket | None = None, *, element_type: ElementType | ElementTypeName = "unsigned-byte-8",
                 encoding: str = "latin-1", line_limit: float | None = 2**20, linger_timeout: float | None = 2.0) -> None:
        if not isinstance(socket, AsyncSocket):
            raise TypeError(f"socket must be an AsyncSocket, not {type(socket).__name__} {socket!r}")
        former, transport = socket._claim_stream()
        PushedStream.__init__(self, socket, transport, element_type, encoding=encoding, line_limit=line_limit,
                              linger_timeout=linger_timeout, readable=type(self)._reads, writable=type(self)._writes)
        if former is not None:
            self.take_over(former)
            self.take_queue_over(former)
        socket._set_stream(self)

    @property
    def socket(self) -> AsyncSocket | MaybeNone:
        """The `AsyncSocket`; None when its connection is over."""
        return self._connection

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
            LineTooLong: more than `line_limit` bytes are there without a newline. None of them is consumed.
        """
        return ByteReader.readline(self, size)

    def read_exactly(self, n: int) -> bytes | None:  # type: ignore[override]  # as above
        """Return `n` bytes, or None where fewer are there yet.

        Raises:
            IncompleteRead: the input ended before. What came instead is in `partial`, and stays readable.
        """
        return BufferedStream.read_exactly(self, n)

    def read_until(self, separator: bytes, limit: float | None = None) -> bytes | None:  # type: ignore[override]  # as above
        """Return the bytes up to and with `separator`, or None where it is not there yet. Nothing is consumed by an error.

        Raises:
            LineTooLong: there is no separator within `limit` bytes (None: `line_limit`; `math.inf`: no limit).
            IncompleteRead: the input ended before the separator.
        """
        return BufferedStream.read_until(self, separator, limit)

    def discard_line(self) -> bool:  # type: ignore[override]  # False: call again
        """Drop the rest of the line. Return True when its newline was there, or the input ended; False: call again when more has come."""
        return self._discard_line()

    def read_available(self) -> bytes:
        """What is there, possibly b""; EndOfFile when the input has ended and everything was taken."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        held = self.input.end - self.input.start
        if not held and self._end is not None:
            self._raise_end()
            raise EndOfFile(f"end of file from {self._transport.peer}", stream=self)
        return self.input.take(held)

    # The Lisp vocabulary.

    def _at_end(self, eof_error: bool, eof_value: Any) -> Any:
        return None if self._end is None else PushedStream._at_end(self, eof_error, eof_value)

    def read_sequence(self, seq: WritableBuffer | MutableSequence[Any], start: int = 0, end: int | None = None) -> int:
        """Copies what is there to `seq[start:end]`, as far as it fits: the index of the first element not updated, which is `start` where
        nothing is, before the end and at it."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        if type(seq) is bytearray and start is START and end is None:
            return self.input.take_into(seq, 0, len(seq))
        if type(seq) is bytearray and type(start) is int and (end is None or type(end) is int):
            last = len(seq) if end is None else end
            if 0 <= start <= last <= len(seq):
                return start + self.input.take_into(seq, start, last)
        return PushedStream.read_sequence(self, seq, start, end)

    def read_string(self, n: int) -> str:
        """Up to `n` characters of what is there, "" where nothing is."""
        if len(self.input) or self.input.permit != FORK.generation:
            return PushedStream.read_string(self, n)
        arguments.natural("n", n)
        return ""

    if TYPE_CHECKING:

        @overload  # type: ignore[override]  # None: nothing yet
        def read_line(self, eof_error: bool = True, eof_value: str = "") -> tuple[str, bool] | None: ...
        @overload
        def read_line(self, eof_error: bool = True, *, eof_value: E) -> tuple[str | E, bool] | None: ...
        @overload
        def read_line(self, eof_error: bool, eof_value: E) -> tuple[str | E, bool] | None: ...

    def read_line(self, eof_error: bool = True, eof_value: Any = "") -> Any:
        """The next line without its newline, and False; None where it is not whole yet; at the end of the input the rest, and True."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        if self._end is None and not self._newline_behind(0):
            if len(self.input) > self._line_limit:
                raise line_too_long(self._line_limit, self._transport.peer, self)
            return None
        return PushedStream.read_line(self, eof_error, eof_value)

    # Writing.

    def finish_output(self) -> None:
        """Waits until all that was written is with the system."""
        if self.output.permit != FORK.generation:
            self._refuse_output()
        self._send_all()

    def force_output(self) -> None:
        """Sends what was written now, as far as the system takes it; the rest follows as room comes."""
        if self.output.permit != FORK.generation:
            self._refuse_output()
        self._refuse_thread()
        self._send_before_wait()

    # State.

    @property
    def read_timeout(self) -> float | None:
        """Seconds between receipts after which the connection is closed; None is no limit."""
        return arguments.given_seconds(self._read_limit)

    @read_timeout.setter
    def read_timeout(self, value: float | None) -> None:
        self._set_timeouts(value, self.write_timeout)

    @property
    def write_timeout(self) -> float | None:
        """Seconds without progress while sending after which the connection is closed; None is no limit."""
        return arguments.given_seconds(self._write_limit)

    @write_timeout.setter
    def write_timeout(self, value: float | None) -> None:
        self._set_timeouts(self.read_timeout, value)

    def _set_timeouts(self, read: float | None, write: float | None) -> None:
        if self._connection is None:
            raise StreamClosed(f"the connection to {self._transport.peer} is closed", stream=self)
        self._connection.set_timeouts(read, write)

    def close(self, abort: bool = False) -> None:
        """Closes the socket: what was written arrives, then the end; with `abort` the peer sees a reset. Does not wait."""
        if self._connection is not None:
            self._connection.close(abort)
        elif not self._closed:
            self.disconnect(False)

    if TYPE_CHECKING:

        @overload
        def makefile(self, mode: TextMode = "r", buffering: int | None = None, *, encoding: str | None = None, errors: str | None = None,
                     newline: str | None = None) -> TextIOWrapper: ...
        @overload
        def makefile(self, mode: BinaryMode, buffering: int | None = None) -> SharedFile: ...
        @overload
        def makefile(self, mode: str, buffering: int | None = None, *, encoding: str | None = None, errors: str | None = None,
                     newline: str | None = None) -> TextIOWrapper | SharedFile: ...

    def makefile(self, mode: str = "r", buffering: int | None = None, *, encoding: str | None = None, errors: str | None = None,
                 newline: str | None = None) -> Any:
        """A file over this stream, as `socket.makefile` has it: its close leaves the stream open. A text file for reading needs input that
        is there, since no text file knows "not yet"."""
        self._refuse()
        halves(mode)
        return file_over(SharedFile(self), mode, encoding, errors, newline)

    def __reduce__(self) -> Any:
        raise TypeError(f"cannot pickle a {type(self).__name__}: its socket belongs to this process")


class AsyncInputStream(AsyncStream):
    """One that can only be read."""

    _writes = False


class AsyncOutputStream(AsyncStream):
    """One that can only be written; if its socket drains, it goes on draining."""

    _reads = False


class AsyncIOStream(AsyncInputStream, AsyncOutputStream):
    """One for both: what `tcp_connect(..., stream=True)` gives."""

    _reads = True
    _writes = True

