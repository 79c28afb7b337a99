"""Reading of bytes, once for all: what `io.BufferedReader` has, over one primitive that brings more bytes into a buffer.

Sockets of other code, streams that wait and streams that never wait differ in their `ByteSource`: it says who may read, and waits or not.
"""

# Invariants:
# * A method brings bytes into the buffer (`fill`) and then takes some (`input.take…`), in that order, so an exception finds every byte
#   in the buffer. Where bytes go straight into the caller's memory, an exception puts them back.
# * A call with a bound returns what there is before the end of the input; one that means "to the end" raises the error that ended it.
# * A call that finds what it needs in the buffer, while `input.permit` equals the fork generation, is served at once. Any other call is
#   between `begin_read` and `end_read` of the source, which may be left out where calls do not take turns and there is a permit.

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import geventstreams._core.arguments as arguments
import geventstreams._native.attributes as _attributes
import geventstreams._native.memory as _bytes
from geventstreams._constants import A_LINE, ALL, ALL_INPUT, DIRECT, ENDED, NEVER, SOME, WOULD_WAIT
from geventstreams._core.binary_file import BinaryFile
from geventstreams._core.buffers import NO_INPUT, InputBuffer
from geventstreams._core.fork import FORK
from geventstreams.errors import line_too_long

if TYPE_CHECKING:
    from typing_extensions import Self

    from geventstreams._types import WritableBuffer


class ByteSource:
    """What brings bytes into a reader's buffer, and says who may read."""

    # Slots, because CPython looks up the attributes of an object that has more than 30 in a slow way. The .pxd lists the same names.
    __slots__ = ("__weakref__", "begun", "input")

    def __cinit__(self) -> None:  # compiled code only: an object whose __init__() was not called has no permit, and says so
        self.input: InputBuffer = NO_INPUT

    def _init_source(self) -> None:
        self.input = InputBuffer()
        self.begun: int = 0
        """Bytes that the call which waits has taken from the buffer: they belong to the same message as what it waits for."""

    @property
    def peer(self) -> str:
        """How errors call the other end."""
        raise NotImplementedError

    def refuse(self) -> None:
        """Raise the error that keeps any call from the file, if there is one."""
        raise ValueError("uninitialized file: its __init__() was not called, or did not succeed")

    def begin_read(self) -> None:
        """Begin a call that takes input: raise the error that keeps it from that, or wait until others have read."""
        self.refuse()

    def end_read(self) -> None:
        """End a call that takes input."""

    def look_at_clock(self) -> None:
        """Let others run, in the middle of a call, where it has kept them from it for long."""

    def fill(self, target: memoryview | None, at: int, lacking: int) -> int:
        """Bring some bytes into the buffer, or straight into `target[at:]`. Return how many, ENDED, or WOULD_WAIT.

        `lacking` says what for: a number of bytes, SOME, ALL_INPUT, A_LINE, or A_SEPARATOR. The call has taken `at` bytes already.
        Bytes may have come into the buffer although there is a target, because another call has put them back.
        """
        # The waits are below this frame, and every idle stream keeps it: what needs much of the stack is in `receive`.
        buffer = self.input
        if buffer.counts and target is None and (count := buffer.absorb()):
            return count
        held = buffer.end - buffer.start
        first = True
        while self.await_input(first, at, lacking):
            if buffer.end and buffer.end - buffer.start > held:
                return buffer.end - buffer.start - held
            count = self.receive(target, at, lacking)
            if count != WOULD_WAIT:
                return count
            first = False
        return WOULD_WAIT

    def await_input(self, first: bool, begun: int, lacking: int) -> bool:
        """Wait until there may be input, the `first` time only if asking at once is not worth it. Return False where this must not wait.

        The call has `begun` with so many bytes, see `fill`.
        """
        self.begun = begun
        return first

    def receive(self, target: memoryview | None, at: int, lacking: int) -> int:
        """Receive what is there, into the buffer or into `target[at:]`. Return how many bytes, ENDED, or WOULD_WAIT."""
        raise NotImplementedError

    def put_back(self, data: bytes | memoryview) -> None:
        """Put bytes that were taken last in front again."""
        self.input.put_back(data)

    def raise_end(self) -> None:
        """Raise the error that ended the input, unless it ended in order."""

    def was_shut_down(self) -> bool:
        """Return whether this side ended the input: a call that means "to the end" then returns what it has."""
        return False


NO_SOURCE = ByteSource()
"""What a reader has whose constructor was not called."""


class ByteReader(BinaryFile):
    """The reading half of a binary file, and what every binary file on a socket has: one direction or two, but no position.

    The types are those of a reader that waits. One that must not wait (its source answers WOULD_WAIT) returns None where nothing is there
    yet, as `io` has it.
    """

    def __cinit__(self) -> None:  # compiled code only: an object whose __init__() was not called has no permit, and says so
        _attributes.forget_empty(self)
        self._input: InputBuffer = NO_INPUT
        self._source = NO_SOURCE

    def _init_reader(self, source: ByteSource, readable: bool, writable: bool, line_limit: float, takes_turns: bool) -> None:
        """Initialize the fields of this class. Constructors call it."""
        self._input = source.input
        self._source = source
        self._is_readable = readable
        self._is_writable = writable
        self._line_limit = sys.maxsize if line_limit == NEVER else int(line_limit)
        self._takes_turns = takes_turns
        """Whether calls of several greenlets wait for each other, between `begin_read` and `end_read` of the source."""
        self._has_direct_input = True
        self._has_own_readline = not _attributes.is_method(type(self).readline, _READLINE)

    def _is_closed(self) -> bool:
        """Return whether the file is closed for its user."""
        return bool(self.closed)

    def _unfinished_line(self) -> int:
        """Return the length of what `readline` gives where the newline is not there and must not be waited for; WOULD_WAIT for None."""
        return WOULD_WAIT

    def _size(self, name: str, value: Any) -> int:
        """Return the size that bounds lines as a number, negative for no bound."""
        return arguments.size(name, value)

    # Reading.

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes, waiting for them, or fewer where the input ends before; for -1 or None, all up to the end.

        Python: `io.BufferedReader.read`.

        Returns:
            The bytes, `b""` at the end; None where nothing is there yet, only in streams and files that never wait.

        Raises:
            ReadTimeout: Nothing arrived for `read_timeout` seconds. What arrived before stays readable: call again.
            StreamReset, StreamTruncated: The input ended in an error, and everything before it was read.
        """
        wanted = arguments.size("size", size)
        if self._input.permit == FORK.generation and 0 <= wanted <= self._input.end - self._input.start:
            return self._input.take(wanted)
        self._source.begin_read()
        try:
            return self._read(wanted)
        finally:
            self._source.end_read()

    def _read(self, wanted: int) -> bytes:
        count = 1
        while count > 0 and not 0 <= wanted <= len(self._input):
            count = self._source.fill(None, 0, ALL_INPUT if wanted < 0 else wanted - len(self._input))
        held = len(self._input)
        if count == WOULD_WAIT and not held:
            return None  # type: ignore[return-value]  # see the class
        if count == ENDED and (not held or (wanted < 0 and not self._source.was_shut_down())):
            self._source.raise_end()
        return self._input.take(held if wanted < 0 else wanted)

    def read1(self, size: int | None = -1) -> bytes:
        """Return what is buffered, at most `size` bytes; wait for bytes only if nothing is. Python: `io.BufferedReader.read1`.

        Returns:
            The bytes, `b""` at the end; None where nothing is there yet, only in streams and files that never wait.
        """
        wanted = self._size("size", size)
        if self._input.permit == FORK.generation and self._input.end > self._input.start:
            return self._input.take(self._input.end - self._input.start if wanted < 0 else wanted)
        self._source.begin_read()
        try:
            if wanted and not len(self._input):
                count = self._source.fill(None, 0, max(wanted, SOME))
                if count == WOULD_WAIT:
                    return None  # type: ignore[return-value]  # see the class
                if count == ENDED:
                    self._source.raise_end()
            return self._input.take(len(self._input) if wanted < 0 else wanted)
        finally:
            self._source.end_read()

    def peek(self, size: int = 0) -> bytes:
        """Return what is buffered and leave it there, at most `size` bytes where that is positive; wait for bytes only if nothing is.

        Python: `io.BufferedReader.peek`.
        """
        wanted = self._size("size", size)
        self._source.begin_read()
        try:
            if not len(self._input) and self._source.fill(None, 0, SOME) == ENDED:
                self._source.raise_end()
            return self._input.peek(wanted if wanted > 0 else len(self._input))
        finally:
            self._source.end_read()

    def readinto(self, buffer: WritableBuffer) -> int:
        """Fill `buffer`, waiting for bytes, or less of it where the input ends before. An exception puts all bytes back.

        Python: `io.BufferedReader.readinto`.

        Returns:
            The number of bytes, 0 at the end; None where nothing is there yet, only in streams and files that never wait.
        """
        target = buffer if type(buffer) is bytearray else arguments.byte_space("buffer", buffer)
        wanted = len(target)
        if self._input.permit == FORK.generation and wanted <= self._input.end - self._input.start:
            return self._input.take_into(target, 0, wanted)
        self._source.begin_read()
        try:
            count = self._read_into(memoryview(target))
            return None if count == WOULD_WAIT else count  # type: ignore[return-value]  # see the class
        finally:
            self._source.end_read()

    def _read_into(self, target: memoryview, once: bool = False) -> int:
        """Fill `target`, or less at the end of the input, or receive for it `once` and only if nothing is buffered.

        Return the number of bytes, or WOULD_WAIT where there is none yet.
        """
        wanted = _bytes.size(target)
        done = 0
        direct = wanted >= DIRECT and self._has_direct_input
        if self._input.counts:
            self._input.absorb()
        try:
            while True:
                done += self._input.take_into(target, done, wanted)
                if done == wanted or (once and done):
                    return done
                count = self._source.fill(target if direct else None, done, SOME if once else wanted - done)
                if count <= 0:
                    break
                if direct and not len(self._input):
                    done += count
                    self._input.taken += count
        except BaseException:
            if direct:
                done += self._stranded()
            self._source.put_back(target[:done])
            raise
        if not done:
            if count == WOULD_WAIT:
                return WOULD_WAIT
            self._source.raise_end()
        return done

    def _stranded(self) -> int:
        """Count the bytes that were received straight into the caller's memory when a signal handler raised. Return their number."""
        if not self._input.counts:
            return 0
        self._input.taken += self._input.counts[0]
        return self._input.counts.pop()

    def readinto1(self, buffer: WritableBuffer) -> int:
        """Copy what is buffered into `buffer`; wait for bytes only if nothing is. Python: `io.BufferedReader.readinto1`.

        Returns:
            The number of bytes, 0 at the end; None where nothing is there yet, only in streams and files that never wait.
        """
        target = arguments.byte_space("buffer", buffer)
        self._source.begin_read()
        try:
            count = self._read_into(target, True)
            return None if count == WOULD_WAIT else count  # type: ignore[return-value]  # see the class
        finally:
            self._source.end_read()

    # Lines.

    def readline(self, size: int | None = -1) -> bytes:
        """Return the next line with its newline, waiting for it; without one at the end of the input, or after `size` bytes.

        Python: `io.BufferedReader.readline`.

        Returns:
            The line, `b""` at the end; None where its newline is not there yet, only in streams that never wait.

        Raises:
            LineTooLong: The line is longer than `line_limit`. No byte of it is consumed.
            ReadTimeout: Nothing arrived for `read_timeout` seconds. The part that arrived stays readable: call again.
        """
        buffer = self._input
        wanted = -1 if size is ALL else self._size("size", size)
        if buffer.permit == FORK.generation:
            if buffer.end:
                length = buffer.line_length()
                if 0 < length <= self._line_limit and (wanted < 0 or length <= wanted):
                    return buffer.take(length)
            if not self._takes_turns:
                length = self._line(wanted)
                return None if length == WOULD_WAIT else buffer.take(length)  # type: ignore[return-value]  # see the class
        self._source.begin_read()
        try:
            length = self._line(wanted)
            return None if length == WOULD_WAIT else buffer.take(length)  # type: ignore[return-value]  # see the class
        finally:
            self._source.end_read()

    def _line(self, wanted: int, begun: int = 0) -> int:
        """Bring the next line into the buffer. Return its length, at most `wanted` where that is not negative, or WOULD_WAIT."""
        if not wanted:
            return 0
        buffer, source, limit = self._input, self._source, self._line_limit
        while True:
            held = buffer.end - buffer.start
            if held:
                length = buffer.line_length()
                if length and length <= limit and (wanted < 0 or length <= wanted):
                    return length
                if 0 < wanted <= limit and (length or held) >= wanted:
                    return wanted
                if (length or held) > limit:
                    raise line_too_long(limit, source.peer, self)
            count = source.fill(None, begun, A_LINE)
            if count > 0:
                continue
            if count == WOULD_WAIT:
                return self._unfinished_line()
            if not held:
                source.raise_end()
            return held

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return all lines up to the end, or up to the one with which they are `hint` bytes together, where that is positive.

        An exception puts all lines back. Where the call must not wait, these are the lines that are there.
        """
        most = self._size("hint", hint)
        lines: list[bytes] = []
        total = 0
        self._source.begin_read()
        try:
            while not (lines and not len(self._input) and self._source.was_shut_down()) and (line := self._next_line(total)):
                lines.append(line)
                total += len(line)
                if 0 < most <= total:
                    break
                self._source.look_at_clock()
        except BaseException:
            self._source.put_back(b"".join(lines))
            raise
        finally:
            self._source.end_read()
        return lines

    def _next_line(self, begun: int) -> bytes:
        """Return the next line within a call that has taken `begun` bytes; a class's own `readline` counts."""
        if self._has_own_readline:
            return self.readline()
        length = self._line(ALL, begun)
        return self._input.take(length) if length > 0 else b""

    def __iter__(self) -> Self:
        self._source.refuse()
        return self

    def __next__(self) -> bytes:
        # As in the standard library's reader, a method that was set on the object itself does not count.
        line = self.readline() if self._has_own_readline else ByteReader.readline(self)
        if not line:
            raise StopIteration
        return line

    # What is true of every binary file on a socket.

    def readable(self) -> bool:
        """Return whether the direction allows reading."""
        self._source.refuse()
        return self._is_readable

    def writable(self) -> bool:
        """Return whether the direction allows writing."""
        self._source.refuse()
        return self._is_writable

    def seekable(self) -> bool:
        """Return False: a socket has no position."""
        self._source.refuse()
        return False

    def isatty(self) -> bool:
        """Return False: a socket is not a terminal."""
        self._source.refuse()
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        """Raise io.UnsupportedOperation: a socket has no position."""
        raise self._unsupported("seek: a socket has no position")

    def tell(self) -> int:
        """Raise io.UnsupportedOperation: a socket has no position."""
        raise self._unsupported("tell: a socket has no position")

    def truncate(self, size: int | None = None) -> int:
        """Raise io.UnsupportedOperation: a socket has no position."""
        raise self._unsupported("truncate: a socket has no position")

    def _unsupported(self, why: str) -> io.UnsupportedOperation:
        self._source.refuse()
        return io.UnsupportedOperation(why)

    def __enter__(self) -> Self:
        self._source.refuse()
        return self

    def __reduce__(self) -> Any:
        raise TypeError(f"cannot pickle a {type(self).__name__}: its socket belongs to this process")


_READLINE = vars(ByteReader)["readline"]
