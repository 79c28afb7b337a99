"""The Python vocabulary: a stream with the whole contract of a binary file, and what a network needs beyond it."""

# Invariants:
# * Reading is `ByteReader`'s; what is added here brings bytes into the buffer (`_fill`) and then takes some, in that order, too.
# * A call that means "exactly" or "up to" raises at the end of the input, and takes nothing.

from __future__ import annotations

import io
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import geventstreams._core.arguments as arguments
import geventstreams._native.attributes as _attributes
from geventstreams._constants import A_LINE, A_SEPARATOR, BLOCK, NEVER, WOULD_WAIT
from geventstreams._core.fork import FORK
from geventstreams._core.transport import Transport, address_name
from geventstreams._streams.engine import ORDERLY, StreamEngine
from geventstreams._streams.options import StreamOptions
from geventstreams.errors import IncompleteRead, StreamClosed, StreamReset, StreamTruncated, in_bytes, line_too_long

if TYPE_CHECKING:
    from geventstreams._types import Address, Half, ReadableBuffer

AT_ONCE = 16 * BLOCK
"""`read_available` stops after this many bytes."""


class BufferedStream(StreamEngine):
    """A binary file over a transport. Bytes that arrived are never lost: not by a timeout, a kill, or an error of the caller."""

    def __init__(self, transport: Transport, *, readable: bool = True, writable: bool = True, read_timeout: float | None = None,
                 write_timeout: float | None = None, line_limit: float | None = 2**20, linger_timeout: float | None = 2.0) -> None:
        self._init_stream(transport, readable, writable, StreamOptions(read_timeout=read_timeout, write_timeout=write_timeout,
                                                                  line_limit=line_limit, linger_timeout=linger_timeout))

    def _init_stream(self, transport: Transport, readable: bool, writable: bool, options: StreamOptions) -> None:
        self._writes_here = type(self).write is _WRITE
        StreamEngine._init_stream(self, transport, readable, writable, options)

    # Reading, beyond what every reader has.

    def read_available(self) -> bytes:
        """Return what can be had without waiting, possibly nothing; after the end of the input `b""` or its error."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        self._refuse_thread()
        self._renew_input()
        while self._end is None and len(self.input) < AT_ONCE and self._receive_now(None, 0) > 0:
            pass
        if not len(self.input):
            self._raise_end()
        return self.input.take(len(self.input))

    def read_exactly(self, n: int) -> bytes:
        """Return `n` bytes, waiting for them.

        Raises:
            IncompleteRead: the input ended before. What came instead is in `partial`, and stays readable.
        """
        if self.input.permit != FORK.generation:
            self._refuse_input()
        wanted = arguments.natural("n", n)
        while len(self.input) < wanted:
            count = self._fill(None, 0, wanted - len(self.input))
            if count == WOULD_WAIT:
                return None  # type: ignore[return-value]  # only where a stream never waits
            if not count:
                raise self._incomplete(in_bytes(wanted), wanted)
        return self.input.take(wanted)

    def _incomplete(self, what: str, expected: Any) -> IncompleteRead:
        """Return the error of a call that needs more than there is before the end; raise the one that ended the input, if there is one."""
        self._raise_end()
        partial = self.input.peek(len(self.input))
        return IncompleteRead(f"{self._transport.peer} ended its output {in_bytes(len(partial))} into {what}", stream=self,
                              expected=expected, partial=partial)

    def read_until(self, separator: ReadableBuffer, limit: float | None = None) -> bytes:
        """Return the bytes up to and with `separator`, waiting for it. Nothing is consumed by an error.

        Args:
            separator: One byte or more.
            limit: The most bytes that the result may have; None is `line_limit`, `math.inf` no limit.

        Raises:
            LineTooLong: there is no separator within `limit` bytes.
            IncompleteRead: the input ended before the separator.
        """
        if self.input.permit != FORK.generation:
            self._refuse_input()
        wanted = bytes(arguments.byte_view("separator", separator))
        if not wanted:
            raise ValueError("separator must not be empty")
        bound = self._line_limit if limit is None else arguments.count_limit("limit", limit)
        searched = 0
        while True:
            held = len(self.input)
            at = self.input.find(wanted, searched, held)
            if at >= 0 and at + len(wanted) <= bound:
                return self.input.take(at + len(wanted))
            if at >= 0 or held > bound or (held == bound and self._end is None):
                raise line_too_long(bound, self._transport.peer, self)
            searched = max(0, held - len(wanted) + 1)
            self._goal = A_SEPARATOR
            count = self._fill(None, 0, 0)
            if count == WOULD_WAIT:
                return None  # type: ignore[return-value]  # only where a stream never waits
            if not count:
                raise self._incomplete(f"what ends in {wanted!r}", wanted)

    def discard_line(self) -> None:
        """Drop the rest of the line, its newline too, without storing it, waiting for it as a read does."""
        self._discard_line()

    def _discard_line(self) -> bool:
        """Return True when the newline was there or the input ended, False where the call must not wait for more."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        while not (length := self.input.line_length()):
            self.input.skip(len(self.input))
            self._goal = A_LINE
            count = self._fill(None, 0, 0)
            if count <= 0:
                if not count:
                    self._raise_end()
                return count != WOULD_WAIT
        self.input.skip(length)
        return True

    # Writing.

    def write(self, data: ReadableBuffer) -> int:
        """Accepts `data` whole, or nothing of it; waits while the output buffer is full. Its length in octets."""
        if type(data) is bytes:
            count = len(data)
            self._put(data, count)
        else:
            if self.output.permit != FORK.generation:
                self._refuse_write()
            self.accepted = 0
            view = arguments.byte_view("data", data)
            count = len(view)
            self._put(view, count)
        return count

    def _write(self, data: ReadableBuffer) -> None:
        """Calls `write`, the class's own where it has one; one that was set on the stream itself does not count."""
        if self._writes_here:
            BufferedStream.write(self, data)
        else:
            self.write(data)

    def writelines(self, lines: Iterable[ReadableBuffer]) -> None:
        """Writes one after the other; each is a write of its own."""
        if self.output.permit != FORK.generation:
            self._refuse_output()
        direct = self._writes_here and _attributes.override(self, "write") is None
        for line in lines:
            if direct:
                BufferedStream.write(self, line)
            else:
                self.write(line)

    def sendall(self, data: ReadableBuffer) -> None:
        """`write` and `flush`, as a socket has it."""
        self._write(data)
        self.flush()

    def flush(self) -> None:
        """Waits until all that was written is with the system. WriteTimeout where the peer takes nothing for `write_timeout` seconds."""
        if self.output.permit != FORK.generation:
            self._refuse()
            if not self._is_writable:
                return
        self._flush()

    def send_eof(self) -> None:
        """Flushes, then ends our sending half; reading goes on. A second call does nothing, a later write is StreamClosed."""
        self._refuse()
        self._end_output()

    def shutdown(self, direction: Half, abort: bool = False) -> None:
        """Ends `"input"` (what is buffered can still be read, then reading is StreamClosed), `"output"` (flushed first), or `"io"`; with
        `abort` what is buffered in the directions named is dropped instead."""
        self._refuse()
        arguments.chosen("direction", direction, ("input", "output", "io"))
        if direction == "io" and not (self._is_readable and self._is_writable):
            raise io.UnsupportedOperation("not both readable and writable: only one half of this stream can be shut down")
        if direction != "input":
            if abort:
                self._drop_output()
            self._end_output()
        if direction != "output":
            self._end_input(abort and direction == "io")

    def abort(self) -> None:
        """Closes now: output dropped, the connection reset (a Unix socket: ended)."""
        self.close(abort=True)

    # State.

    @property
    def read_timeout(self) -> float | None:
        """Seconds between receipts after which a read gives up; None is no limit."""
        return arguments.given_seconds(self._read_limit)

    @read_timeout.setter
    def read_timeout(self, value: float | None) -> None:
        self._read_limit = arguments.seconds("read_timeout", value)

    @property
    def write_timeout(self) -> float | None:
        """Seconds without progress after which a write gives up; None is no limit."""
        return arguments.given_seconds(self._write_limit)

    @write_timeout.setter
    def write_timeout(self, value: float | None) -> None:
        self._write_limit = arguments.seconds("write_timeout", value)

    @property
    def line_limit(self) -> int | None:
        """Octets a line may have, its newline included; None is no limit."""
        return None if self._line_limit == NEVER else int(self._line_limit)

    @property
    def linger_timeout(self) -> float | None:
        """Seconds without progress for which a close waits for the system to send what it holds."""
        return arguments.given_seconds(self._linger_limit)

    @property
    def buffered(self) -> int:
        """Octets that arrived and were not taken."""
        return 0 if self._closed else len(self.input)

    @property
    def at_eof(self) -> bool:
        """Whether the peer's orderly end was seen and everything before it taken."""
        return self._end is ORDERLY and not len(self.input)

    @property
    def address(self) -> Address:
        """Our end, as `getsockname` gives it; still known after closing."""
        return self._transport.addresses()[0]

    @property
    def peer_address(self) -> Address:
        """The other end, as `getpeername` gives it; still known after closing."""
        return self._transport.addresses()[1]

    def fileno(self) -> int:
        """The descriptor, or -1 after closing."""
        return -1 if self._closed else self._transport.fileno()

    def detach(self) -> Any:
        """Raises io.UnsupportedOperation."""
        raise self._unsupported("detach: a socket stream has no raw file")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close(abort=kind is not None)

    def __repr__(self) -> str:
        peer = f"peer={self._transport.peer}"
        if self._closed:
            return f"<{type(self).__name__} closed {peer}>"
        return f"<{type(self).__name__} fd={self._transport.fileno()} {peer} {self._summary()}>"

    def _summary(self) -> str:
        """Return this end, TLS, what is held, how each half ended, and who waits, for a `repr`."""
        address = self._transport.addresses()[0]
        words = [f"address={address_name(address)}" if address else "", self._protocol(), self._state()]
        words += [f"buffered={len(self.input)}", f"unsent={self.unsent}"]
        # Not a greenlet's own repr: that may show this stream, as an argument of its function.
        words += [f"({getattr(greenlet, 'name', hex(id(greenlet)))} {what})" for greenlet, what in self._waits(self._hub)]
        return " ".join(filter(None, words))

    def _protocol(self) -> str:
        """Return the version of TLS, or nothing."""
        return ""

    def _state(self) -> str:
        """Return how far the connection has ended."""
        if self._end is not None and self._end is not ORDERLY:
            return {StreamReset: "reset", StreamTruncated: "cut-off", StreamClosed: "input-ended"}.get(self._end[0], "failed")
        if self._broken:
            return "reset"
        halves = (self._end is ORDERLY, self._output_ended)
        state = {(False, False): "open", (True, True): "ended", (True, False): "half-closed-by-peer"}.get(halves, "half-closed")
        return f"{state} timed-out" if self.timed_out else state


io.BufferedIOBase.register(BufferedStream)
_WRITE = vars(BufferedStream)["write"]
