"""Unbuffered files on sockets of other code: nothing is read ahead, and what an interrupted call had gathered is kept."""

# Invariant: `readinto` is the only method that takes bytes from the socket or from what was gathered. A call of several receive calls
# puts back what it has when an exception ends it, so the next call of any kind starts there.

from __future__ import annotations

import contextlib
import io
import operator
import socket as sockets
from collections.abc import Iterator
from typing import Any

import geventstreams._core.arguments as arguments
from geventstreams._constants import WOULD_WAIT
from geventstreams._files.transports import FileTransport


class RawSocketFile(sockets.SocketIO):
    """Like the standard library's raw file, except that a timeout does not end it. It waits by its transport, and is closed with it."""

    def __init__(self, transport: FileTransport, readable: bool, writable: bool, kept: bool = False) -> None:
        self._transport = transport
        self._gathered = bytearray()
        self.kept = kept
        """Whether a buffered file over this one closes it, after it has sent its output."""
        super().__init__(transport.socket, "r" * readable + "w" * writable)  # type: ignore[arg-type]  # one of the modes

    @property
    def _sock(self) -> Any:
        """The socket, which other code looks for under this name."""
        return self._transport.socket

    @_sock.setter
    def _sock(self, socket: Any) -> None:
        """Called by the base class; the transport has the socket, and a file refers to it once."""

    def readinto(self, buffer: Any) -> int | None:
        """Receive once into `buffer`. Return the number of bytes, 0 at the end of the input, None where the socket may not wait.

        What an interrupted call had gathered comes first, without a receive call.
        """
        if not self.readable():
            raise io.UnsupportedOperation("not readable")
        space = arguments.byte_space("buffer", buffer)
        if not len(space):
            return 0
        self._transport.fairness.let_others_run(None)
        counts: list[int] = []
        while not self._gathered:  # another greenlet's call, which came first, may be interrupted during the wait
            if (count := self._transport.recv_into(space, 0, counts)) != WOULD_WAIT:
                return count
            if not self._transport.await_input():
                return None
        count = min(len(space), len(self._gathered))
        space[:count] = self._gathered[:count]
        del self._gathered[:count]
        return count

    def readall(self) -> bytes | None:  # type: ignore[override]  # typeshed: never None
        """Read up to the end of the input. None where nothing is there and the socket may not wait."""
        with self._gathering() as gathered:
            while data := self.read(io.DEFAULT_BUFFER_SIZE):
                gathered.extend(data)
        return None if data is None and not gathered else bytes(gathered)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read a line with its newline; without one after `size` bytes, or at the end of the input."""
        with self._gathering() as line:
            gather_line(self, size, line)
        return bytes(line)

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """Read all lines up to the end; no more once they are together longer than `hint`, where that is positive."""
        most = -1 if hint is None else operator.index(hint)
        lines: list[bytes] = []
        with self._gathering() as gathered:
            for line in self:
                gathered.extend(line)
                lines.append(line)
                if 0 < most < len(gathered):
                    break
        return lines

    @contextlib.contextmanager
    def _gathering(self) -> Iterator[bytearray]:
        """Return a context manager with memory for what a call gathers; an exception keeps that for the next call."""
        gathered = bytearray()
        try:
            yield gathered
        except BaseException:
            self._gathered[:0] = gathered
            self._transport.wake()
            raise

    def __reduce__(self) -> Any:
        raise TypeError(f"cannot pickle a {type(self).__name__}: its socket belongs to this process")

    def write(self, data: Any) -> int | None:
        """Send once. Return how many bytes of `data` the system took, None where the socket may not wait."""
        if not self.writable():
            raise io.UnsupportedOperation("not writable")
        view = bytes_of(data)
        self._transport.fairness.let_others_run(None)
        while (count := self._transport.send(view, 0, len(view))) == WOULD_WAIT:
            if not self._transport.await_output():
                return None
        return count

    @property
    def closed(self) -> bool:
        """Whether this file, or the buffered one over it, was closed."""
        return self._transport.closed

    def flush(self) -> None:
        """Do nothing: nothing is held back."""
        self.readable()  # says so if the file was closed

    def close(self) -> None:
        """Let go of the socket, and wake the greenlets that wait here."""
        self._transport.close()
        self._gathered.clear()

    def __del__(self) -> None:
        # A collector may run this before the destructor of the buffered file over it.
        if not getattr(self, "kept", True):
            with contextlib.suppress(Exception):  # as the destructor of any file of io
                self.close()


def gather_line(file: Any, size: int | None, line: bytearray) -> None:
    """Append the next line of `file` to `line` by its `peek`, if it has one, and its `read`, as `io.IOBase.readline` does."""
    limit = -1 if size is None else operator.index(size)
    peek = getattr(file, "peek", None)
    while limit < 0 or len(line) < limit:
        wanted = 1
        if peek is not None and (ahead := _checked(peek(1), "peek")):
            room = len(ahead) if limit < 0 else min(len(ahead), limit - len(line))
            wanted = ahead.find(b"\n", 0, room) + 1 or room
        data = _checked(file.read(wanted), "read")
        line += data
        if not data or data.endswith(b"\n"):
            return


def _checked(data: Any, method: str) -> bytes:
    if not isinstance(data, bytes):
        raise OSError(f"{method}() must return bytes, not {type(data).__name__} {data!r}")
    return data


def bytes_of(data: Any) -> memoryview:
    """Return a view of the bytes that are written to a file."""
    if isinstance(data, str):
        raise TypeError(f"data must be bytes-like, not str {data!r}")
    return arguments.byte_view("data", data)
