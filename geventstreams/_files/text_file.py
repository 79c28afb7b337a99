"""Text files over a binary file that they do not own: what an exception interrupts is not lost."""

# Invariant: C TextIOWrapper does all but the reading; it keeps nothing back when it writes (`write_through`), and its decoder is never
# used.

from __future__ import annotations

import contextlib
import io
from typing import Any

from geventstreams._files.text_decoder import TextInput


class TextFile(io.TextIOWrapper):
    """A text file whose reads lose nothing: what an exception interrupts, the next call goes on with.

    A second reader waits until the first is done. Bytes that are not text raise UnicodeDecodeError once, after the text before them.
    """

    _input: TextInput | None = None
    """The reading half, where there is one."""

    def __init__(self, buffer: Any, mode: str, encoding: str | None = None, errors: str | None = None,
                 newline: str | None = None) -> None:
        super().__init__(buffer, encoding, errors, newline, write_through=True)
        self.mode = mode  # type: ignore[misc]  # typeshed: read only; `socket.makefile` sets it
        self._newline = newline
        if self.readable():
            self._input = TextInput(buffer, self.encoding, self.errors or "strict", newline)
            vars(self)["readline"] = self._input.readline  # found first: spares a call for each line

    def __del__(self) -> None:
        # The binary file below knows how to end without waiting. As in io, a `close` that was set on this object counts.
        if (close := vars(self).get("close")) is not None:
            with contextlib.suppress(Exception):
                close()

    def read(self, size: int | None = -1, /) -> str:
        """Return `size` characters, fewer only at the end of the input; all up to there for -1 or None."""
        return self._reading_half().read(size)

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # typeshed: a name that C does not have
        """Return the next line with its newline; without one after `size` characters, or at the end of the input."""
        return self._reading_half().readline(size)

    def __next__(self) -> str:  # type: ignore[override]  # typeshed: bytes
        # As in the standard library's file, a `readline` that was set on the object itself does not count.
        line = (self._input or self._reading_half()).readline()
        if not line:
            raise StopIteration
        return line

    def readlines(self, hint: int | None = -1, /) -> list[str]:  # type: ignore[override]  # as above
        """Return all lines up to the end, or up to the one with which they are longer than `hint` together, where that is positive."""
        return self._reading_half().readlines(hint)

    def _reading_half(self) -> TextInput:
        if self._input is None:
            self.readable()  # says so if the file was detached
            raise io.UnsupportedOperation("not readable")
        return self._input

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
        decodes_anew = options.get("encoding") is not None or options.get("errors") is not None or "newline" in options
        if self._input and self._input.begun and decodes_anew:
            raise io.UnsupportedOperation("the encoding and the newline cannot be set after the first read")
        super().reconfigure(**options)
        self._newline = options.get("newline", self._newline)
        if self._input and not self._input.begun:
            self._input.decode_as(self.encoding, self.errors or "strict", self._newline)
