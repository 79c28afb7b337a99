"""The files that `makefile` makes of a stream: a binary one that leaves the stream open, and a text file over it."""

from __future__ import annotations

import contextlib
import importlib
import io
from typing import Any

from geventstreams._core import arguments


class SharedFile(io.BufferedIOBase):
    """A binary file over a stream. Everything is the stream's, except `close`."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def readable(self) -> bool:
        return bool(self._open().readable())

    def writable(self) -> bool:
        return bool(self._open().writable())

    def fileno(self) -> int:
        return int(self._open().fileno())

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
        if not self._open().closed:
            self.stream.flush()

    def __del__(self) -> None:
        # It may run anywhere, so it does not wait: what the system does not take now the hub sends, and an error is the next writer's.
        with contextlib.suppress(Exception):
            if not self.closed:
                self.stream._waitable().send_last()

    def _open(self) -> Any:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return self.stream


def file_over(buffer: Any, mode: str, encoding: str | None, errors: str | None, newline: str | None) -> Any:
    """Return `buffer` itself for a binary mode, else a text file over it, whose module is loaded with the first one."""
    if "b" in mode:
        return buffer
    # Warns of an encoding that depends on the machine, if Python was started so, at the caller of our caller.
    encoding = io.text_encoding(encoding, 3)  # type: ignore[attr-defined]  # typeshed does not have it
    return importlib.import_module("geventstreams._files.text_file").TextFile(buffer, mode, encoding, errors, newline)


def halves(mode: str) -> tuple[bool, bool]:
    """Return whether a file of this mode is read, and whether it is written, as `socket.makefile` has it."""
    if arguments.string("mode", mode).strip("rwb"):
        raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
    return "r" in mode or "w" not in mode, "w" in mode
