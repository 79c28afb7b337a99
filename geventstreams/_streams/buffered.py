"""The Python vocabulary: a stream with the whole contract of a binary file, and what a network needs beyond it.

Rules for the next editor: every reading method is made of two sentences, *bring some more* (`_bring`) and *take this much*
(`input.take…`), in that order, so an exception finds every octet in the buffer. A call with a bound returns what there is before the
end; one that means "to the end" or "exactly" raises, and takes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import geventstreams._core.arguments as arguments
import geventstreams._native.attributes as _attributes
from geventstreams._constants import BLOCK, NEVER
from geventstreams._core.fork import FORK
from geventstreams._core.transport import Transport
from geventstreams._streams.engine import ORDERLY, StreamEngine
from geventstreams._streams.options import StreamOptions
from geventstreams.errors import IncompleteRead, StreamClosed, in_bytes, line_too_long

DIRECT = 8192
"""A read of at least this size goes straight into the caller's memory where nothing is buffered, to its last octet: one more call of the
system costs less than copying what would come with it."""

ALL = -1
"""The size that means no limit."""

AT_ONCE = 16 * BLOCK
"""Octets after which `read_available` is content."""


class BufferedStream(StreamEngine):
    """A binary file over a transport. Octets that arrived are never lost: not by a limit, a kill, or an error of the caller."""

    def __init__(self, transport: Transport, *, readable: bool = True, writable: bool = True, read_timeout: float | None = None,
                 write_timeout: float | None = None, line_limit: float | None = 2**20, linger_timeout: float | None = 2.0) -> None:
        self._init_stream(transport, readable, writable, StreamOptions(read_timeout=read_timeout, write_timeout=write_timeout,
                                                                  line_limit=line_limit, linger_timeout=linger_timeout))

    def _init_stream(self, transport: Transport, readable: bool, writable: bool, options: StreamOptions) -> None:
        self._line_limit = options.line_limit
        self._lines_here = type(self).readline is _READLINE
        self._writes_here = type(self).write is _WRITE
        StreamEngine._init_stream(self, transport, readable, writable, options)

    # Reading with a bound.

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` octets, waiting until there are so many or the input ends; all up to the end for -1 or None."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        wanted = arguments.size("size", size)
        if wanted < 0:
            return self._read_all()
        while len(self.input) < wanted and self._bring():
            pass
        if wanted and not len(self.input):
            self._raise_end()
        return self.input.take(wanted)

    def _read_all(self) -> bytes:
        while self._bring():
            pass
        if not (len(self.input) and self._ended_by_us()):
            self._raise_end()
        return self.input.take(len(self.input))

    def _ended_by_us(self) -> bool:
        return self._end is not None and self._end[0] is StreamClosed

    def read1(self, size: int | None = -1) -> bytes:
        """What is buffered, at most `size` octets; waits for one receipt only where nothing is."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        wanted = arguments.size("size", size)
        if wanted and not len(self.input) and not self._bring():
            self._raise_end()
        return self.input.take(len(self.input) if wanted < 0 else wanted)

    def peek(self, size: int = 0) -> bytes:
        """What is buffered, left in place: at most `size` octets where that is positive; waits for one receipt only where nothing is."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        wanted = arguments.size("size", size)
        if not len(self.input) and not self._bring():
            self._raise_end()
        return self.input.peek(wanted if wanted > 0 else len(self.input))

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer`, waiting until it is full or the input ends; the number of octets. An exception puts them all back."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        return self._read_into(arguments.octet_space("buffer", buffer))

    def readinto1(self, buffer: Any) -> int:
        """Copies what is buffered into `buffer`; waits for one receipt only where nothing is."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        target = arguments.octet_space("buffer", buffer)
        if self.input.counts:
            self.input.absorb()
        if len(target) and not len(self.input):
            if len(target) >= DIRECT and self._filled_here:
                return self._receive_once(target)
            if not self._bring():
                self._raise_end()
        return self.input.take_into(target, 0, len(target))

    def _receive_once(self, target: memoryview) -> int:
        """Waits for one receipt, which goes straight into the caller's memory: its octets."""
        try:
            count = self._receive(target, 0)
        except BaseException:
            self.input.put_back(target[: self._stranded()])
            raise
        if len(self.input):  # somebody has put octets back meanwhile
            return self.input.take_into(target, 0, len(target))
        if not count:
            self._raise_end()
        self.input.taken += count
        return count

    def _read_into(self, target: memoryview) -> int:
        wanted = len(target)
        done = 0
        direct = wanted >= DIRECT and self._filled_here
        if self.input.counts:
            self.input.absorb()
        try:
            while True:
                done += self.input.take_into(target, done, wanted)
                if done == wanted:
                    return done
                if direct:
                    count = self._receive(target, done)
                    if not count:
                        break
                    if not len(self.input):
                        done += count
                        self.input.taken += count
                elif not self._bring():
                    break
        except BaseException:
            if direct:
                done += self._stranded()
            self.input.put_back(target[:done])
            raise
        if not done:
            self._raise_end()
        return done

    def _stranded(self) -> int:
        """Octets that were received straight into the caller's memory when a signal handler raised."""
        counts = self.input.counts
        if not counts:
            return 0
        self.input.taken += counts[0]
        return counts.pop()

    def read_available(self) -> bytes:
        """What can be had without waiting, possibly nothing; after the end of the input b"" or its error."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        self._refuse_thread()
        self._renew_input()
        while self._end is None and len(self.input) < AT_ONCE and self._receive_now(None, 0) > 0:
            pass
        if not len(self.input):
            self._raise_end()
        return self.input.take(len(self.input))

    # Reading exactly.

    def read_exactly(self, n: int) -> bytes:
        """`n` octets, or IncompleteRead with what came instead, which stays readable."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        wanted = arguments.natural("n", n)
        while len(self.input) < wanted:
            if not self._bring():
                self._raise_end()
                raise self._incomplete(in_bytes(wanted), wanted)
        return self.input.take(wanted)

    def _incomplete(self, what: str, expected: Any) -> IncompleteRead:
        partial = self.input.peek(len(self.input))
        return IncompleteRead(f"{self._transport.peer} ended its output {in_bytes(len(partial))} into {what}", stream=self,
                              expected=expected, partial=partial)

    def read_until(self, separator: bytes, limit: float | None = None) -> bytes:
        """Up to and with `separator`: LineTooLong where that would be more than `limit` octets (None: `line_limit`; math.inf: none),
        IncompleteRead where the input ends before it; nothing is consumed in either."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        wanted = bytes(arguments.octets("separator", separator))
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
            if not self._bring():
                self._raise_end()
                raise self._incomplete(f"what ends in {wanted!r}", wanted)

    # Lines.

    def readline(self, size: int | None = -1) -> bytes:
        """The next line with its newline; without one at the end of the input or after `size` octets; b"" at the end.

        LineTooLong where it would be longer than `line_limit`, with nothing consumed.
        """
        if self.input.permit != FORK.generation:
            self._refuse_input()
        if size is not ALL and size is not None:
            return self.input.take(self._line(arguments.size("size", size)))
        length = self.input.line_length() if self.input.end > self.input.start else 0
        if not length or length > self._line_limit:
            length = self._line(ALL)
        return self.input.take(length)

    def _line(self, wanted: int) -> int:
        """Waits for the next line: its length, at most `wanted` where that is not negative."""
        limit = self._line_limit
        while True:
            held = self.input.end - self.input.start
            length = self.input.line_length() if held else 0
            if 0 <= wanted <= limit and (length or held) >= wanted:
                return wanted
            if (length or held) > limit:
                raise line_too_long(limit, self._transport.peer, self)
            if length:
                return length if wanted < 0 else min(length, wanted)
            if not self._bring():
                if not held:
                    self._raise_end()
                return held

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """All lines up to the end; no more once they are `hint` octets long together, where that is positive. Nothing is consumed by
        an exception."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        most = arguments.size("hint", hint)
        lines: list[bytes] = []
        total = 0
        try:
            while not (lines and not len(self.input) and self._ended_by_us()) and (line := self._next_line()):
                lines.append(line)
                total += len(line)
                if 0 < most <= total:
                    break
        except BaseException:
            self.input.put_back(b"".join(lines))
            raise
        return lines

    def discard_line(self) -> None:
        """Drops the rest of the line, its newline too, without storing it; waits for that as a read does."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        while not (length := self.input.line_length()):
            self.input.skip(len(self.input))
            if not self._bring():
                self._raise_end()
                return
        self.input.skip(length)

    def __iter__(self) -> BufferedStream:
        self._refuse()
        return self

    def _next_line(self) -> bytes:
        """Calls `readline`, the class's own where it has one. As in the standard library's reader, one that was set on the stream itself
        does not count."""
        return BufferedStream.readline(self) if self._lines_here else self.readline()

    def __next__(self) -> bytes:
        line = BufferedStream.readline(self) if self._lines_here else self.readline()
        if not line:
            raise StopIteration
        return line

    # Writing.

    def write(self, data: Any) -> int:
        """Accepts `data` whole, or nothing of it; waits while the output buffer is full. Its length in octets."""
        if type(data) is bytes:
            count = len(data)
            self._put(data, count)
        else:
            if self.output.permit != FORK.generation:
                self._refuse_write()
            self.accepted = 0
            view = arguments.octets("data", data)
            count = len(view)
            self._put(view, count)
        return count

    def _write(self, data: Any) -> None:
        """Calls `write`, the class's own where it has one; one that was set on the stream itself does not count."""
        if self._writes_here:
            BufferedStream.write(self, data)
        else:
            self.write(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Writes one after the other; each is a write of its own."""
        if self.output.permit != FORK.generation:
            self._refuse_output()
        direct = self._writes_here and _attributes.override(self, "write") is None
        for line in lines:
            if direct:
                BufferedStream.write(self, line)
            else:
                self.write(line)

    def sendall(self, data: Any) -> None:
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

    def shutdown(self, direction: str, abort: bool = False) -> None:
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
    def address(self) -> Any:
        """Our end, as `getsockname` gives it; still known after closing."""
        return self._transport.addresses()[0]

    @property
    def peer_address(self) -> Any:
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
        state = "closed" if self._closed else f"fd={self._transport.fileno()}"
        return f"<{type(self).__name__} {state} peer={self._transport.peer}>"


io.BufferedIOBase.register(BufferedStream)
_READLINE = vars(BufferedStream)["readline"]
_WRITE = vars(BufferedStream)["write"]
