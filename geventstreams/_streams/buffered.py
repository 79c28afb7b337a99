"""The Python vocabulary: a stream with the whole contract of a binary file, and what a network needs beyond it."""

# Invariants:
# * A stream has an engine, which has its state; here are only the calls of its user. Reading is `ByteReader`'s; what is added here brings
#   bytes into the buffer (`fill`) and then takes some, in that order, too.
# * A call that means "exactly" or "up to" raises at the end of the input, and takes nothing.

from __future__ import annotations

import io
import sys
import warnings
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import geventstreams._core.arguments as arguments
import geventstreams._native.attributes as _attributes
from geventstreams._constants import A_LINE, A_SEPARATOR, BLOCK, ENDED, SOME, WOULD_WAIT
from geventstreams._core.buffers import NO_OUTPUT, OutputBuffer
from geventstreams._core.fork import FORK
from geventstreams._core.reader import ByteReader, ByteSource
from geventstreams._core.transport_base import Transport
from geventstreams._files.shared_file import SharedFile, file_over, halves
from geventstreams._streams.blocking import BlockingEngine
from geventstreams._streams.engine import StreamEngine
from geventstreams._streams.idle import is_idle
from geventstreams._streams.options import StreamOptions
from geventstreams._streams.states import ORDERLY
from geventstreams._streams.summary import summary_of
from geventstreams.errors import IncompleteRead, in_bytes, line_too_long

if TYPE_CHECKING:
    from io import TextIOWrapper
    from typing import overload

    from geventstreams._types import Address, BinaryMode, Half, ReadableBuffer, TextMode

AT_ONCE = 16 * BLOCK
"""`read_available` stops after this many bytes."""


class OwnFill(ByteSource):
    """The source of a stream whose class has a `_fill_buffer` of its own."""

    def __init__(self, stream: BufferedStream, engine: StreamEngine) -> None:
        self.input = engine.input
        self._stream = weakref.ref(stream)
        self._engine = engine

    @property
    def peer(self) -> str:
        return self._engine.peer

    def refuse(self) -> None:
        self._engine.refuse()

    def begin_read(self) -> None:
        self._engine.begin_read()

    def look_at_clock(self) -> None:
        self._engine.look_at_clock()

    def receive(self, target: memoryview | None, at: int, lacking: int) -> int:
        stream: Any = self._stream()
        return 1 if stream._fill_buffer() else ENDED

    def put_back(self, data: bytes | memoryview) -> None:
        self._engine.put_back(data)

    def raise_end(self) -> None:
        self._engine.raise_end()

    def was_shut_down(self) -> bool:
        return self._engine.was_shut_down()


class BufferedStream(ByteReader):
    """A binary file over a transport. Bytes that arrived are never lost: not by a timeout, a kill, or an error of the caller."""

    def __cinit__(self) -> None:  # compiled code only: an object whose __init__() was not called has no permit, and says so
        self._output: OutputBuffer = NO_OUTPUT
        self._engine: StreamEngine = NO_ENGINE
        self._source: ByteSource = NO_ENGINE

    def __init__(self, transport: Transport, *, readable: bool = True, writable: bool = True, read_timeout: float | None = None,
                 write_timeout: float | None = None, line_limit: float | None = 2**20, linger_timeout: float | None = 2.0) -> None:
        options = StreamOptions(read_timeout=read_timeout, write_timeout=write_timeout, line_limit=line_limit,
                                linger_timeout=linger_timeout)
        arguments.instance("transport", transport, Transport)
        self._init_stream(BlockingEngine(transport, options), readable, writable, options)

    def _init_stream(self, engine: StreamEngine, readable: bool, writable: bool, options: StreamOptions) -> None:
        """Initialize the fields of a class from checked options; each class calls its base. Constructors call this, and nothing else."""
        fills_here = type(self)._fill_buffer is _FILL
        self._init_reader(engine if fills_here else OwnFill(self, engine), readable, writable, options.line_limit, False)
        self._output = engine.output
        self._engine = engine
        self._has_direct_input = fills_here
        self._flushes_here = type(self)._flush_buffer is _FLUSH
        self._writes_here = _attributes.is_method(type(self).write, _WRITE)
        engine.serve(self, readable, writable)
        self._alive = True

    # Reading, beyond what every reader has.

    def _fill_buffer(self) -> bool:
        """Wait until more bytes are in the input buffer. Return False at the end of the input; ReadTimeout when the limit passes first.

        A subclass may put its own in place of this, and call this one. LispWorks: `stream:stream-fill-buffer`.
        """
        return self._engine.fill(None, 0, SOME) > 0

    def read_available(self) -> bytes:
        """Return what can be had without waiting, possibly nothing; after the end of the input `b""` or its error."""
        engine = self._engine
        if self._input.permit != FORK.generation:
            engine.refuse_input()
        while engine.end is None and len(self._input) < AT_ONCE and engine.receive_unasked() > 0:
            pass
        if not len(self._input):
            engine.raise_end()
        return self._input.take(len(self._input))

    def read_exactly(self, n: int) -> bytes:
        """Return `n` bytes, waiting for them.

        Raises:
            IncompleteRead: The input ended before. What came instead is in `partial`, and stays readable.
        """
        if self._input.permit != FORK.generation:
            self._engine.refuse_input()
        wanted = arguments.natural("n", n)
        while len(self._input) < wanted:
            count = self._source.fill(None, 0, wanted - len(self._input))
            if count == WOULD_WAIT:
                return None  # type: ignore[return-value]  # see ByteReader
            if count == ENDED:
                raise self._incomplete(f" of {wanted:,}", wanted)
        return self._input.take(wanted)

    def _incomplete(self, lacking: str, expected: Any) -> IncompleteRead:
        """Return the error of a call that needs more than there is before the end; raise the one that ended the input, if there is one."""
        self._engine.raise_end()
        partial = self._input.peek(len(self._input))
        return IncompleteRead(f"{self._engine.peer} ended its output after {in_bytes(len(partial))}{lacking}", stream=self,
                              expected=expected, partial=partial)

    def read_until(self, separator: ReadableBuffer, limit: float | None = None) -> bytes:
        """Return the bytes up to and with `separator`, waiting for it. Nothing is consumed by an error.

        Args:
            separator: One byte or more.
            limit: The most bytes that the result may have; None is `line_limit`, `math.inf` no limit.

        Raises:
            LineTooLong: There is no separator within `limit` bytes.
            IncompleteRead: The input ended before the separator.
        """
        if self._input.permit != FORK.generation:
            self._engine.refuse_input()
        wanted = bytes(arguments.byte_view("separator", separator))
        if not wanted:
            raise ValueError("separator must not be empty")
        bound = self._line_limit if limit is None else arguments.count_limit("limit", limit)
        searched = 0
        while True:
            held = len(self._input)
            at = self._input.find(wanted, searched, held)
            if at >= 0 and at + len(wanted) <= bound:
                return self._input.take(at + len(wanted))
            if at >= 0 or held > bound or (held == bound and self._engine.end is None):
                raise line_too_long(bound, self._engine.peer, self)
            searched = max(0, held - len(wanted) + 1)
            count = self._source.fill(None, 0, A_SEPARATOR)
            if count == WOULD_WAIT:
                return None  # type: ignore[return-value]  # see ByteReader
            if count == ENDED:
                raise self._incomplete(f", without {wanted!r}", wanted)

    def discard_line(self) -> None:
        """Drop the rest of the line, its newline too, without storing it. Waits for the newline, or the end of the input, as a read does.

        This is what brings a stream back into step after `LineTooLong`.
        """
        self._discard_line()

    def _discard_line(self) -> bool:
        """Return True when the newline was there or the input ended, False where the call must not wait for more."""
        if self._input.permit != FORK.generation:
            self._engine.refuse_input()
        while not (length := self._input.line_length()):
            held = len(self._input)
            self._input.skip(held)
            count = self._source.fill(None, held, A_LINE)
            if count == WOULD_WAIT:
                return False
            if count == ENDED:
                self._engine.raise_end()
                return True
        self._input.skip(length)
        return True

    # Writing.

    def write(self, data: ReadableBuffer) -> int:
        """Accept `data` whole, or nothing of it. Waits while more than a buffer is unsent.

        Python: `io.BufferedWriter.write`.

        Args:
            data: Any bytes-like object. It may be changed once the call has returned.

        Returns:
            The length of `data` in bytes.

        Raises:
            WriteTimeout: The peer took nothing for `write_timeout` seconds. `accepted` is 0, or the whole length.
            StreamClosed: The stream is closed, or its output was ended.
            StreamReset: The connection was broken.
        """
        if type(data) is bytes:
            count = len(data)
            self._engine.put(data, count)
        else:
            if self._output.permit != FORK.generation:
                self._engine.refuse_write()
            self._engine.accepted = 0
            view = arguments.byte_view("data", data)
            count = len(view)
            self._engine.put(view, count)
        return count

    def _write(self, data: ReadableBuffer) -> None:
        """Call `write`, the class's own where it has one; a method that was set on the stream itself does not count."""
        if self._writes_here:
            BufferedStream.write(self, data)
        else:
            self.write(data)

    def writelines(self, lines: Iterable[ReadableBuffer]) -> None:
        """Write one after the other; each is a write of its own, and no newline is added."""
        if self._output.permit != FORK.generation:
            self._engine.refuse_output()
        direct = self._writes_here and _attributes.override(self, "write") is None
        for line in arguments.each_of("lines", lines, "bytes-like objects"):
            if direct:
                BufferedStream.write(self, line)
            else:
                self.write(line)

    def sendall(self, data: ReadableBuffer) -> None:
        """Write and flush. Python: `socket.socket.sendall`."""
        self._write(data)
        self.flush()

    def flush(self) -> None:
        """Wait until the system has all that was written. Does nothing on a stream for input.

        Raises:
            WriteTimeout: The peer took nothing for `write_timeout` seconds. What is left stays in the stream: flush again.
            StreamReset: The connection was broken.
        """
        if self._output.permit != FORK.generation:
            self._engine.refuse()
            if not self._is_writable:
                return
        if self._flushes_here:
            self._engine.flush()
        else:
            self._flush_buffer()

    def _flush_buffer(self) -> None:
        """Wait until the system has all that was written.

        A subclass may put its own in place of this, and call this one. LispWorks: `stream:stream-flush-buffer`.
        """
        self._engine.flush()

    # Ending.

    def send_eof(self) -> None:
        """Flush, then end our sending half; reading goes on. A second call does nothing, a later write is `StreamClosed`.

        The peer reads what was written and then the end of file. Under TLS close_notify is sent first.
        """
        self._engine.refuse()
        self._end_output()

    def _end_output(self) -> None:
        if self._engine.begin_end():
            self._flush_buffer()
        self._engine.end_the_output()

    def shutdown(self, direction: Half, abort: bool = False) -> None:
        """End one half of the connection, or both.

        LispWorks: `comm:socket-stream-shutdown`.

        Args:
            direction: `"input"`: what is buffered can still be read, then reading is `StreamClosed`. `"output"`: as `send_eof`. `"io"`:
                both.
            abort: With `"output"` or `"io"`, drop what is buffered, except the rest of a message whose beginning was sent.
        """
        self._engine.refuse()
        arguments.chosen("direction", direction, ("input", "output", "io"))
        if direction == "io" and not (self._is_readable and self._is_writable):
            raise io.UnsupportedOperation("not both readable and writable: only one half of this stream can be shut down")
        if direction != "input":
            if abort:
                self._engine.drop_output()
            self._end_output()
        if direction != "output":
            self._engine.end_input(abort and direction == "io")

    def abort(self) -> None:
        """Close now: output is dropped, and the peer sees a reset (on a Unix socket, an end)."""
        self.close(abort=True)

    def close(self, abort: bool = False) -> None:
        """Flush, end the output, wait while the system has bytes that it has not sent, and close the descriptor whatever happens.

        The flush is limited by `write_timeout`, or by `linger_timeout` where that is None, between progress. If it fails, the error is
        raised after the descriptor is closed, once, with the number of bytes in `unsent`, and the connection is reset, so that the peer
        cannot take a part for the whole (a Unix socket can only end). Greenlets that wait in the stream get `StreamClosed`. A second call
        returns at once; with `abort` it ends the first. In the hub, and in another thread once the stream's own has ended, only what needs
        no waiting is sent.

        Args:
            abort: Send nothing; the peer sees a reset.
        """
        self._engine.close(abort)

    # State.

    @property
    def closed(self) -> bool:
        """True from the first moment of closing."""
        return self._engine.is_closed()

    @property
    def read_timeout(self) -> float | None:
        """Seconds between receive calls that bring bytes, after which a read gives up; None is no limit.

        It does not limit a whole call. In the callback half the connection is closed.
        """
        return arguments.given_seconds(self._engine.read_limit)

    @read_timeout.setter
    def read_timeout(self, value: float | None) -> None:
        self._engine.set_limits(arguments.seconds("read_timeout", value), self._engine.write_limit)

    @property
    def write_timeout(self) -> float | None:
        """Seconds without progress while sending, after which a write gives up; None is no limit.

        In the callback half the connection is closed.
        """
        return arguments.given_seconds(self._engine.write_limit)

    @write_timeout.setter
    def write_timeout(self, value: float | None) -> None:
        self._engine.set_limits(self._engine.read_limit, arguments.seconds("write_timeout", value))

    @property
    def line_limit(self) -> int | None:
        """The most bytes a line may have, its newline included; None is no limit."""
        return None if self._line_limit == sys.maxsize else self._line_limit

    @property
    def linger_timeout(self) -> float | None:
        """Seconds without progress for which a close waits for the system to send what it holds; None is no limit."""
        return arguments.given_seconds(self._engine.linger_limit)

    @property
    def buffered(self) -> int:
        """The number of bytes that arrived and were not taken."""
        return 0 if self._engine.closed else len(self._input)

    @property
    def unsent(self) -> int:
        """The number of bytes that were accepted and are not yet with the system. Under TLS all of a record count until the last is."""
        return self._engine.unsent()

    @property
    def accepted(self) -> int:
        """What the last write, if an exception ended it, had accepted: 0, or its whole length."""
        return self._engine.accepted

    @property
    def octets_in(self) -> int:
        """The number of bytes received so far."""
        return self._input.taken + self._input.end - self._input.start

    @property
    def octets_out(self) -> int:
        """The number of bytes that the system has taken so far."""
        return self._engine.octets_out

    @property
    def timed_out(self) -> bool:
        """Whether a read timed out and nothing has arrived since."""
        return self._engine.timed_out

    @property
    def at_eof(self) -> bool:
        """Whether the peer's orderly end was seen and everything before it taken."""
        return self._engine.end is ORDERLY and not len(self._input)

    @property
    def address(self) -> Address:
        """Our end, as `getsockname` gives it; still known after closing."""
        return self._engine.transport.addresses()[0]

    @property
    def peer_address(self) -> Address:
        """The other end, as `getpeername` gives it; still known after closing."""
        return self._engine.transport.addresses()[1]

    def fileno(self) -> int:
        """Return the descriptor, or -1 after closing."""
        return -1 if self._engine.is_closed() else self._engine.transport.fileno()

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
        """Return a file over this stream, as `socket.makefile` does. Closing it flushes and leaves the stream open.

        The buffers are the stream's own, whatever `buffering` says; `line_limit` does not hold for lines of a text file. In the callback
        half a text file reads only what is there: whole lines, or characters, and `""` where there are none yet.
        """
        self._engine.refuse()
        halves(mode)
        return file_over(SharedFile(self), mode, encoding, errors, newline)

    def detach(self) -> Any:
        """Raise io.UnsupportedOperation: a stream has no raw file."""
        raise self._unsupported("detach: a socket stream has no raw file")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close(abort=kind is not None and not self.closed)  # another greenlet may close it in order, which is what ends the block

    def __repr__(self) -> str:
        peer = f"peer={self._engine.peer}"
        if self._engine.closed:
            return f"<{type(self).__name__} closed {peer}>"
        return f"<{type(self).__name__} fd={self._engine.transport.fileno()} {peer} {summary_of(self._engine)}>"

    def _is_of(self, hub: Any) -> bool:
        """Return whether this is a stream of a hub in this process, and open."""
        if not getattr(self, "_alive", False) or self._engine.hub is not hub:
            return False
        return self._engine.generation == FORK.generation and not self._engine.is_closed()

    def _waitable(self) -> StreamEngine:
        """Return what is asked and watched in place of this stream, by those who wait for several, and by servers that drain."""
        return self._engine

    def _is_idle(self) -> bool:
        """Return whether a drain may end its reads. A subclass whose work goes on behind it says no."""
        return is_idle(self._engine, self._source.begun)

    def __del__(self) -> None:
        if not getattr(self, "_alive", False) or self._engine.is_closed() or self._engine.stream() not in (self, None):
            return
        try:
            warnings.warn(f"unclosed stream {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._engine.drop()
        except (AttributeError, TypeError):
            if sys is not None and not sys.is_finalizing():  # at the end of the program the modules are emptied
                raise


def engine_of(stream: BufferedStream) -> StreamEngine:
    """Return what a stream stands on."""
    return stream._engine


io.BufferedIOBase.register(BufferedStream)
NO_ENGINE = StreamEngine.__new__(StreamEngine)
"""What a stream has whose constructor was not called. Compiled, its fields are zeros: it refuses every call."""
_FILL = vars(BufferedStream)["_fill_buffer"]
_FLUSH = vars(BufferedStream)["_flush_buffer"]
_WRITE = vars(BufferedStream)["write"]
