"""Files over what they do not own: text that survives an exception, and a binary file that leaves its stream open.

Invariant: C's TextIOWrapper does all but the reading; it keeps nothing back when it writes
(`write_through`), and its own decoder is never used.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

from geventstreams._files.text_decoder import TextInput


class SharedFile(io.BufferedIOBase):
    """A binary file over a stream. Everything is the stream's, except `close`."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def readable(self) -> bool:
        return bool(self.stream.readable())

    def writable(self) -> bool:
        return bool(self.stream.writable())

    def fileno(self) -> int:
        return int(self.stream.fileno())

    def read(self, size: int | None = -1) -> bytes:
        return self._open().read(size)  # type: ignore[no-any-return]  # any stream

    def read1(self, size: int = -1) -> bytes:
        return self._open().read1(size)  # type: ignore[no-any-return]  # any stream

    def peek(self, size: int = 0) -> bytes:
        """Return what is buffered, and leave it there."""
        return self._open().peek(size)  # type: ignore[no-any-return]  # any stream

    def readinto(self, buffer: Any) -> int:
        return self._open().readinto(buffer)  # type: ignore[no-any-return]  # any stream

    def readinto1(self, buffer: Any) -> int:
        return self._open().readinto1(buffer)  # type: ignore[no-any-return]  # any stream

    def readline(self, size: int | None = -1) -> bytes:
        return self._open().readline(size)  # type: ignore[no-any-return]  # any stream

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        return self._open().readlines(hint)  # type: ignore[no-any-return]  # any stream

    def write(self, data: Any) -> int:
        return self._open().write(data)  # type: ignore[no-any-return]  # any stream

    def flush(self) -> None:
        if not self.closed and not self.stream.closed:
            self.stream.flush()

    def __del__(self) -> None:
        # Nothing is lost by a flush that fails here: the output stays in the stream, whose own flush or close raises the error.
        with contextlib.suppress(Exception):
            self.close()

    def _open(self) -> Any:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return self.stream


class TextFile(io.TextIOWrapper):
    """A text file whose reads lose nothing: what an exception interrupts, the next call goes on with.

    A second reader waits until the first is done. Bytes that are not text raise UnicodeDecodeError once, after the text before them.
    """

    _input: TextInput | None = None
    """The reading half, from the first read on."""

    def __init__(
        self, buffer: Any, mode: str, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> None:
        super().__init__(buffer, encoding, errors, newline, write_through=True)
        self.mode = mode  # type: ignore[misc]  # typeshed: read only; `socket.makefile` sets it
        self._newline = newline

    def __del__(self) -> None:
        # The binary file below knows how to end without waiting. As in io, a `close` that was set on this object counts.
        if (close := vars(self).get("close")) is not None:
            with contextlib.suppress(Exception):
                close()

    def read(self, size: int | None = -1, /) -> str:
        """Return `size` characters, fewer only at the end of the input; all up to there for -1 or None."""
        return (self._input or self._begin()).read(size)

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # typeshed: a name that C does not have
        """Return the next line with its newline; without one after `size` characters, or at the end of the input."""
        return (self._input or self._begin()).readline(size)

    def __next__(self) -> str:  # type: ignore[override]  # typeshed: bytes
        line = (self._input or self._begin()).readline()
        if not line:
            raise StopIteration
        return line

    def readlines(self, hint: int | None = -1, /) -> list[str]:  # type: ignore[override]  # as above
        """Return all lines up to the end, or up to the one with which they are longer than `hint` together, where that is positive."""
        return (self._input or self._begin()).readlines(hint)

    def _begin(self) -> TextInput:
        if not self.readable():
            raise io.UnsupportedOperation("not readable")
        fresh = TextInput(self.buffer, self.encoding, self.errors or "strict", self._newline)
        reading: TextInput = vars(self).setdefault("_input", fresh)  # in one step: another thread may begin as well
        vars(self).setdefault("readline", reading.readline)  # found first: spares a call for each line
        return reading

    def detach(self) -> Any:
        """Flush, and return the binary file. This file cannot be used afterwards, and what it has decoded ahead is lost."""
        if self._input:
            if vars(self).get("readline") == self._input.readline:
                del self.readline
            del self._input
        return super().detach()

    @property
    def newlines(self) -> Any:  # type: ignore[override]  # typeshed: a variable
        """The newlines seen so far, where all kinds are understood."""
        return self._input.newlines if self._input else None

    def reconfigure(self, **options: Any) -> None:
        """Change options, as `io.TextIOWrapper` has it; those of decoding not after the first read."""
        decoding = ("encoding", "errors", "newline")
        if self._input and any(options.get(name) is not None for name in decoding):
            raise io.UnsupportedOperation("the encoding and the newline cannot be set after the first read")
        super().reconfigure(**options)
        self._newline = options.get("newline", self._newline)


def file_over(buffer: Any, mode: str, encoding: str | None, errors: str | None, newline: str | None) -> Any:
    """Return `buffer` itself for a binary mode, else a text file over it."""
    if "b" in mode:
        return buffer
    # Warns of an encoding that depends on the machine, if Python was started so, at the caller of our caller.
    encoding = io.text_encoding(encoding, 3)  # type: ignore[attr-defined]  # typeshed does not have it
    return TextFile(buffer, mode, encoding, errors, newline)


def halves(mode: str) -> tuple[bool, bool]:
    """Return whether a file of this mode is read, and whether it is written, as `socket.makefile` has it."""
    if not isinstance(mode, str):
        raise TypeError(f"mode must be a string, not {type(mode).__name__} {mode!r}")
    if not set(mode) <= set("rwb"):
        raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
    return "r" in mode or "w" not in mode, "w" in mode
