"""Buffered binary files on a socket that others own: as `socket.makefile` gives them, but that they lose nothing.

Rules for the next editor: every read is made of two sentences, *bring some more* (`_fill`) and *take this much*
(`input.take…`), in that order; a message of which anything was sent is accepted whole.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import geventstreams._core.arguments as arguments
import geventstreams._native.attributes as _attributes
import geventstreams._native.memory as _bytes
from geventstreams._constants import WOULD_WAIT
from geventstreams._core.fork import FORK, NO_PERMIT
from geventstreams._files.engine import FileEngine
from geventstreams._files.raw_file import RawSocketFile, file_octets, gather_line

ALL = -1
"""The size that means no limit."""

DIRECT = 8192
"""A read of at least this size goes straight into the caller's memory where nothing is buffered."""

LARGE = 32768
"""A read of at least this size goes straight into the memory of its result, and is gathered in pieces of up to
LARGEST."""

LARGEST = 64 * 2**20


class SocketFile(FileEngine):
    """A buffered binary file: `io.BufferedReader`, `io.BufferedWriter` and `io.BufferedRWPair` in one."""

    # Input.

    def read(self, size: int | None = -1) -> bytes | None:
        """`size` octets, fewer only at the end of the input; all up to there for -1 or None. None where nothing is
        there and the socket may not wait."""
        wanted = arguments.size("size", size)
        if self.input.permit and 0 <= wanted <= len(self.input):
            return self.input.take(wanted)
        self._enter_input()
        try:
            if wanted - len(self.input) >= LARGE and self._transport.direct:
                return self._read_large(wanted)
            return self._read(wanted)
        finally:
            self._leave_input()

    def _read(self, wanted: int) -> bytes | None:
        count = 1
        while count > 0 and not 0 <= wanted <= len(self.input):
            count = self._fill(wanted - len(self.input))
        if count == WOULD_WAIT and not len(self.input):
            return None
        return self.input.take(len(self.input) if wanted < 0 else wanted)

    def _read_large(self, wanted: int) -> bytes | None:
        pieces: list[bytes] = []
        try:
            while wanted:
                size = min(wanted, LARGEST)
                octets = _bytes.blank(size)
                count = self._read_into(_bytes.place(octets), size)
                if count is None and not pieces:
                    return None
                pieces.append(_bytes.cut_blank(octets, count or 0))
                wanted -= count or 0
                if count != size:
                    break
        except BaseException:
            self.input.put_back(b"".join(pieces))
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read1(self, size: int | None = -1) -> bytes:
        """What is buffered, at most `size` octets; waits for one receipt only where nothing is."""
        wanted = self._buffering if size is None or size < 0 else arguments.size("size", size)
        self._enter_input()
        try:
            if wanted and not len(self.input):
                self._fill(wanted)
            return self.input.take(wanted)
        finally:
            self._leave_input()

    def peek(self, size: int = 0) -> bytes:
        """What is buffered, left in place; waits for one receipt only where nothing is."""
        wanted = max(arguments.whole("size", size), DIRECT)
        self._enter_input()
        try:
            if not len(self.input):
                self._fill(0)
            return self.input.peek(wanted)
        finally:
            self._leave_input()

    def readinto(self, buffer: Any) -> int | None:
        """Fills `buffer`, or less at the end of the input: how many octets. None where nothing is there and the socket
        may not wait."""
        target = buffer if type(buffer) is bytearray else arguments.octet_space("buffer", buffer)
        wanted = len(target)
        if self.input.permit and wanted <= len(self.input):
            return self.input.take_into(target, 0, wanted)
        self._enter_input()
        try:
            return self._read_into(memoryview(target), wanted)
        finally:
            self._leave_input()

    def _read_into(self, target: memoryview, wanted: int) -> int | None:
        done, count, direct = 0, 1, False
        if self.input.counts:
            self.input.absorb()
        try:
            while count > 0:
                done += self.input.take_into(target, done, wanted)
                if done == wanted:
                    break
                direct = wanted - done >= DIRECT
                if not direct:
                    count = self._fill(wanted - done)
                else:
                    count = self._receive(target, done, wanted - done)
                    done += max(count, 0)
        except BaseException:
            if direct and self.input.counts:
                done += self.input.counts.pop()  # what a signal handler's exception left uncounted lies behind the rest
            self.input.put_back(target[:done])
            raise
        return None if count == WOULD_WAIT and not done else done

    def readinto1(self, buffer: Any) -> int:
        """Copies what is buffered into `buffer`; waits for one receipt only where nothing is."""
        target = arguments.octet_space("buffer", buffer)
        self._enter_input()
        try:
            if len(target) and not len(self.input):
                self._fill(0)
            return self.input.take_into(target, 0, len(target))
        finally:
            self._leave_input()

    def readline(self, size: int | None = -1) -> bytes:
        """The next line with its newline; without one after `size` octets, or at the end of the input."""
        if self._is_writable and self._has_own_reads():
            return self._gather_line(size)
        if size is ALL and self.input.permit:
            length = self.input.line_length()
            if length:
                return self.input.take(length)
        wanted = -1 if size is None else arguments.whole("size", size)
        self._enter_input()
        try:
            return self.input.take(self._line(wanted))
        finally:
            self._leave_input()

    def _has_own_reads(self) -> bool:
        return _attributes.override(self, "read") is not None or _attributes.override(self, "peek") is not None

    def _gather_line(self, size: int | None) -> bytes:
        """Read a line by the `read` and `peek` that were set on this object, as the standard library's pair of two directions does."""
        line = bytearray()
        try:
            gather_line(self, size, line)
        except BaseException:
            self.input.put_back(bytes(line))
            raise
        return bytes(line)

    def _next_line(self) -> Any:
        """The next line for an iteration. Only the standard library's pair of two directions asks the object itself for a `readline`."""
        readline = _attributes.override(self, "readline") if self._is_writable else None
        return SocketFile.readline(self) if readline is None else readline()

    def _line(self, wanted: int) -> int:
        """Waits for a line: its length, at most `wanted` where that is not negative."""
        count = 1
        while True:
            length = self.input.line_length()
            held = len(self.input)
            if 0 <= wanted <= (length or held):
                return wanted
            if length or count <= 0:
                return length or held
            count = self._fill(0)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """All lines up to the end; no more once they are together longer than `hint`, where that is positive."""
        most = -1 if hint is None else arguments.whole("hint", hint)
        if self._is_writable and (self._has_own_reads() or _attributes.override(self, "readline") is not None):
            return self._gather_lines(most)
        lines: list[bytes] = []
        total = 0
        self._enter_input()
        try:
            while length := self._line(-1):
                lines.append(self.input.take(length))
                total += length
                if 0 < most < total:
                    break
                self._look_at_the_clock()
        except BaseException:
            self.input.put_back(b"".join(lines))
            raise
        finally:
            self._leave_input()
        return lines

    def _gather_lines(self, most: int) -> list[Any]:
        """Read lines by iteration, for which methods that were set on this object count."""
        lines: list[Any] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if 0 < most < total:
                break
        return lines

    def __iter__(self) -> SocketFile:
        self._refuse()
        return self

    def __next__(self) -> bytes:
        line: bytes = self._next_line()
        if not line:
            raise StopIteration
        return line

    # Output.

    def write(self, data: Any) -> int:
        """Accepts `data` whole, and sends what the buffer has no room for. Its length in octets.

        An OSError says by `characters_written` what of it was accepted: nothing, or, once any of it was sent, all.
        Where the socket may not wait, BlockingIOError says it of any part.
        """
        octets = data if type(data) is bytes else file_octets(data)
        count = len(octets)
        if self.output.permit == FORK.generation and count <= self._buffering - len(self.output):
            self.output.put(octets, 0, count)
            return count
        self._enter_output()
        try:
            self._write(octets, count)
        finally:
            self._leave_output()
        return count

    def _write(self, octets: bytes | memoryview, count: int) -> None:
        done = -1
        try:
            while len(self.output) and len(self.output) + count > self._buffering:
                if not self._send_buffered():
                    raise self._accept_part(octets, 0, count)
            done = 0
            while count - done > self._buffering:
                sent = self._send(memoryview(octets), done, count)
                if sent == WOULD_WAIT:
                    raise self._accept_part(octets, done, count)
                done += sent
        except BlockingIOError:
            raise
        except BaseException as error:
            accepted = done > 0 or (done == 0 and self._transport.begun)
            if accepted:
                self.output.put_rest(octets, done, count - done)
            if isinstance(error, OSError):
                error.characters_written = count if accepted else 0  # type: ignore[attr-defined]  # in C, any has it
            raise
        if done < count:
            self.output.put(octets, done, count - done)

    def _accept_part(self, octets: bytes | memoryview, done: int, count: int) -> BlockingIOError:
        """What a write on a socket that may not wait ends with: what fits is accepted."""
        fits = max(min(self._buffering - len(self.output), count - done), 0)
        if fits:
            self.output.put(octets, done, fits)
        return BlockingIOError(errno.EAGAIN, "write could not complete without blocking", done + fits)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Writes one after the other; each is a write of its own."""
        self._refuse()
        write = _attributes.override(self, "write")
        for line in lines:
            if write is None:
                SocketFile.write(self, line)
            else:
                write(line)

    def flush(self) -> None:
        """Waits until all that was written is with the system; nothing on a file that is only read."""
        self._refuse()
        if not self._is_writable or (self.output.permit == FORK.generation and not len(self.output)):
            return
        self._enter_output()
        try:
            self._flush_buffer()
        finally:
            self._leave_output()

    # What it is.

    @property
    def raw(self) -> RawSocketFile:
        """The unbuffered file below."""
        if self._raw is None:
            raise ValueError("raw stream has been detached")
        return self._raw

    @property
    def name(self) -> int:
        """The socket's descriptor, or -1."""
        return self.raw.name

    @property
    def mode(self) -> str:
        """`"rb"`, `"wb"` or `"rwb"`."""
        return self.raw.mode

    def fileno(self) -> int:
        """The socket's descriptor, or -1 where it was taken from the socket."""
        self._refuse()
        return self.raw.fileno()

    def detach(self) -> RawSocketFile:
        """Flushes and hands out the raw file; this one is of no use then, and what it has read ahead is gone."""
        if self._is_readable and self._is_writable:
            raise self._unsupported("detach: a file of two directions has no one raw file")
        self.flush()
        raw = self.raw
        raw.keep(False)
        self._raw = None
        self.input.permit = self.output.permit = NO_PERMIT
        return raw

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        return f"<{kind}>" if self._raw is None else f"<{kind} name={self.name}>"


io.BufferedIOBase.register(SocketFile)
