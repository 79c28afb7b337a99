"""Buffered binary files on sockets of other code: like those of `socket.makefile`, except that no data is lost."""

# Invariants:
# * Reading is `ByteReader`'s, over the waits of `FileEngine`.
# * A message of which anything was sent is accepted whole.

from __future__ import annotations

import contextlib
import errno
import io
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import geventstreams._core.arguments as arguments
import geventstreams._native.attributes as _attributes
import geventstreams._native.memory as _bytes
from geventstreams._constants import BLOCK, DIRECT, NEVER, WOULD_WAIT
from geventstreams._core.fork import FORK
from geventstreams._core.reader import ByteReader
from geventstreams._files.engine import FileEngine
from geventstreams._files.raw_file import RawSocketFile, bytes_of, gather_line
from geventstreams._files.shared_file import file_over, halves
from geventstreams._files.transports import FileTransport, borrow

LARGE = 32768
"""A read of at least this size goes straight into the memory of its result, in pieces of up to LARGEST."""

LARGEST = 64 * 2**20


class SocketFile(ByteReader):
    """A buffered binary file of one direction: `io.BufferedReader` or `io.BufferedWriter`.

    Python: `socket.makefile("rb")`, `socket.makefile("wb")`.
    """

    def __cinit__(self) -> None:  # compiled code only: an object whose __init__() was not called has no permit, and says so
        self._engine = NO_ENGINE
        self._source = NO_ENGINE

    def _init_file(self, transport: FileTransport, buffering: int, readable: bool, writable: bool) -> None:
        engine = FileEngine.__new__(FileEngine)
        engine._init_engine(transport, buffering, readable, writable)
        self._init_reader(engine, readable, writable, NEVER, True)
        self._engine = engine
        self._has_own_readline = False  # a pair of two directions has, and calls it within no other call
        self._alive = True

    @property
    def between_threads(self) -> bool:
        """Whether greenlets of several threads may use this file at once."""
        return self._engine.transport.between_threads

    # Input: the methods are those of every reader.

    def _read(self, wanted: int) -> bytes:
        if wanted - len(self._input) >= LARGE and self._engine.transport.direct:
            return self._read_large(wanted)
        return ByteReader._read(self, wanted)

    def _read_large(self, wanted: int) -> bytes:
        """Read into the memory of the result."""
        pieces: list[bytes] = []
        try:
            while wanted:
                size = min(wanted, LARGEST)
                piece = _bytes.blank(size)
                count = self._read_into(_bytes.place(piece))
                if count == WOULD_WAIT and not pieces:
                    return None  # type: ignore[return-value]  # see ByteReader
                pieces.append(_bytes.cut_blank(piece, max(count, 0)))
                wanted -= count
                if count != size:
                    break
        except BaseException:
            self._input.put_back(b"".join(pieces))
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read1(self, size: int | None = -1) -> bytes:
        """Return what is buffered, at most `size` bytes; receive once if nothing is. `b""` also where the socket may not wait."""
        return ByteReader.read1(self, size) or b""

    def peek(self, size: int = 0) -> bytes:
        """Return what is buffered and leave it there, `size` bytes of it or 8 KiB; receive once if nothing is."""
        return ByteReader.peek(self, max(arguments.whole("size", size), DIRECT))

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return all lines up to the end, or up to the one with which they are longer than `hint` together, where that is positive."""
        most = self._size("hint", hint)
        return ByteReader.readlines(self, most + 1 if most > 0 else most)

    def _size(self, name: str, value: Any) -> int:
        return value if type(value) is int else -1 if value is None else arguments.whole(name, value)

    def _unfinished_line(self) -> int:
        return len(self._input)  # as in the standard library, where the socket may not wait

    # Output.

    def write(self, data: Any) -> int:
        """Accept `data` whole, and send what the buffer has no room for.

        Returns:
            The length of `data` in bytes.

        Raises:
            OSError: `characters_written` says how much of `data` was accepted: nothing, or, once any of it was sent, all.
            BlockingIOError: the socket may not wait, and `characters_written` bytes were accepted.
        """
        view = data if type(data) is bytes else bytes_of(data)
        count, output = len(view), self._engine.output
        if output.permit == FORK.generation and count <= self._engine.buffering - len(output):
            output.put(view, 0, count)
            return count
        self._engine.enter_output()
        try:
            self._write(view, count)
        finally:
            self._engine.leave_output()
        return count

    def _write(self, view: bytes | memoryview, count: int) -> None:
        engine, output, done = self._engine, self._engine.output, -1
        try:
            while len(output) and len(output) + count > engine.buffering:
                if not engine.send_buffered():
                    raise self._accept_part(view, 0, count)
            done = 0
            while count - done > engine.buffering:
                sent = engine.send(memoryview(view), done, count)
                if sent == WOULD_WAIT:
                    raise self._accept_part(view, done, count)
                done += sent
        except BlockingIOError:
            raise
        except BaseException as error:
            accepted = done > 0 or (done == 0 and engine.transport.begun)
            if accepted:
                output.put_rest(view, done, count - done)
            if isinstance(error, OSError):
                error.characters_written = count if accepted else 0  # type: ignore[attr-defined]  # in C, any has it
            raise
        if done < count:
            output.put(view, done, count - done)

    def _accept_part(self, view: bytes | memoryview, done: int, count: int) -> BlockingIOError:
        """Accept what fits, and return the error that ends a write where the socket may not wait."""
        output = self._engine.output
        fits = max(min(self._engine.buffering - len(output), count - done), 0)
        if fits:
            output.put(view, done, fits)
        return BlockingIOError(errno.EAGAIN, "write could not complete without blocking", done + fits)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write one after the other; each is a write of its own."""
        self._engine.refuse()
        write = _attributes.override(self, "write")
        for line in arguments.each_of("lines", lines, "bytes-like objects"):
            if write is None:
                SocketFile.write(self, line)
            else:
                write(line)

    def flush(self) -> None:
        """Wait until the system has all that was written. Does nothing on a file that is only read."""
        self._engine.refuse()
        output = self._engine.output
        if not self._is_writable or (output.permit == FORK.generation and not len(output)):
            return
        self._engine.enter_output()
        try:
            self._engine.flush()
        finally:
            self._engine.leave_output()

    # What it is.

    @property
    def raw(self) -> RawSocketFile:
        """The unbuffered file below."""
        return self._engine.raw_file()

    @property
    def name(self) -> int:
        """The socket's descriptor, or -1."""
        return self.raw.name

    @property
    def mode(self) -> str:
        """`"rb"`, `"wb"` or `"rwb"`."""
        return self.raw.mode

    def fileno(self) -> int:
        """Return the socket's descriptor, or -1 where it was taken from the socket."""
        self._engine.refuse()
        return self.raw.fileno()

    def detach(self) -> RawSocketFile:
        """Flush, and return the raw file. This file cannot be used afterwards, and what it has read ahead is lost."""
        self.flush()
        return self._engine.detach()

    @property
    def closed(self) -> bool:
        """True from the first moment of closing."""
        return self._is_closed()

    def _is_closed(self) -> bool:
        if self._engine.detached:
            raise ValueError("raw stream has been detached")
        return self._engine.closed or self._engine.transport.closed

    def close(self) -> None:
        """Flush, and give the socket's reference back even if the flush fails. Greenlets that wait in this file get ValueError."""
        if self._engine.closed or self._engine.detached:
            return
        flush = self._own_flush()
        try:
            if flush is not None:
                flush()
        finally:
            self._engine.close()

    def _own_flush(self) -> Any:
        return _attributes.override(self, "flush")

    def __del__(self) -> None:
        # Never waits, since a collector may run it anywhere.
        if not getattr(self, "_alive", False) or self._engine.closed or self._engine.detached:
            return
        try:
            close = _attributes.override(self, "close")
            if close is None:
                self._engine.drop()
                return
            with contextlib.suppress(Exception):  # as the destructor of any file of io
                close()
            if not self._engine.closed:
                self._engine.detach()  # whose own destructor closes it, unless the user has it
        except (AttributeError, TypeError):
            if sys is not None and not sys.is_finalizing():  # at the end of the program the modules are emptied
                raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        return f"<{kind}>" if self._engine.detached else f"<{kind} name={self.name}>"


class TwoWaySocketFile(SocketFile):
    """A buffered binary file of both directions: `io.BufferedRWPair`, which calls methods that were set on the object itself.

    Python: `socket.makefile("rwb")`.
    """

    def readline(self, size: int | None = -1) -> bytes:
        """Return the next line with its newline; without one after `size` bytes, or at the end of the input."""
        if self._has_own_reads():
            return self._gather_line(size)
        return ByteReader.readline(self, size)

    def _has_own_reads(self) -> bool:
        return _attributes.override(self, "read") is not None or _attributes.override(self, "peek") is not None

    def _gather_line(self, size: int | None) -> bytes:
        """Read a line by the `read` and `peek` of the object itself."""
        line = bytearray()
        try:
            gather_line(self, size, line)
        except BaseException:
            self._input.put_back(bytes(line))
            raise
        return bytes(line)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return all lines up to the end, or up to the one with which they are longer than `hint` together, where that is positive."""
        if not self._has_own_reads() and _attributes.override(self, "readline") is None:
            return SocketFile.readlines(self, hint)
        most = self._size("hint", hint)
        lines: list[Any] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if 0 < most < total:
                break
        return lines

    def __next__(self) -> bytes:
        readline = _attributes.override(self, "readline")
        line: bytes = TwoWaySocketFile.readline(self) if readline is None else readline()
        if not line:
            raise StopIteration
        return line

    def _own_flush(self) -> None:
        return None  # unlike a file of one direction, a pair does not ask the object itself when it is closed

    def detach(self) -> RawSocketFile:
        """Raise io.UnsupportedOperation: a file of two directions has no one raw file."""
        raise self._unsupported("detach: a file of two directions has no one raw file")


io.BufferedIOBase.register(SocketFile)
_attributes.own_methods(SocketFile)
_attributes.own_methods(TwoWaySocketFile)
NO_ENGINE = FileEngine.__new__(FileEngine)
"""What a file has that `file_on` did not make: it is closed."""
NO_ENGINE._init_engine(FileTransport(None), 0, True, False)
NO_ENGINE.closed = NO_ENGINE.transport.closed = True


def file_on(sock: Any, mode: str, buffering: int | None, encoding: str | None, errors: str | None, newline: str | None) -> Any:
    """Return the file that `makefile` returns."""
    readable, writable = (True, False) if mode == "rb" else halves(mode)
    size = -1 if buffering is None else arguments.whole("buffering", buffering)
    if size == 0 and "b" not in mode:
        raise ValueError("unbuffered streams must be binary")
    transport = borrow(sock, readable, writable)
    try:
        if size == 0:
            return RawSocketFile(transport, readable, writable)
        file = TwoWaySocketFile.__new__(TwoWaySocketFile) if readable and writable else SocketFile.__new__(SocketFile)
        file._init_file(transport, size if size > 0 else BLOCK, readable, writable)
        return file if "b" in mode else file_over(file, mode, encoding, errors, newline)
    except BaseException:
        transport.close()
        raise
