"""Paths of Unix sockets: checked before a socket is made, and removed by the process that bound them.

Rules for the next editor: every path that a user gives comes through `unix_path`. A path is removed before its socket is closed:
until then the system gives the number of its file to no other file.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from geventstreams._core.fork import FORK

LONGEST = 107 if sys.platform.startswith("linux") else 103
"""Bytes that a path may have; the system's field has one more, for the NUL that ends it."""


def unix_path(name: str, path: Any) -> str | bytes:
    """Return a path as `bind` and `connect` take it: a string or bytes. It may be given as a path object, too.

    A NUL character at the start makes it the name of an abstract socket (Linux), in which NUL characters count like any other.
    Elsewhere one is refused: the system would take what stands before it for the path.
    """
    try:
        where: str | bytes = os.fspath(path)
    except TypeError:
        raise TypeError(f"{name} must be a string, bytes or a path object, not {type(path).__name__} {path!r}") from None
    try:
        encoded = os.fsencode(where)
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} {where!r} cannot be encoded: {error.reason}") from None
    if not encoded:
        raise ValueError(f"{name} must not be empty")
    abstract = is_abstract(where)
    if abstract and not sys.platform.startswith("linux"):
        raise ValueError(f"{name} must not begin with a NUL character, not {where!r}: only Linux has abstract sockets")
    if not abstract and b"\0" in encoded:
        raise ValueError(f"{name} must not contain a NUL character, except at its start, not {where!r}")
    most = LONGEST + abstract  # no NUL ends the name of an abstract socket
    if len(encoded) > most:
        raise ValueError(f"{name} must have at most {most} bytes, not {len(encoded)}: {where!r} is too long")
    return where


def is_abstract(path: str | bytes) -> bool:
    """Return whether this is the name of an abstract socket, which has no file."""
    return path[:1] in ("\0", b"\0")


class BoundPath:
    """The file of a Unix socket that was just bound.

    It is removed only by the process that bound the socket (a forked child has a copy of the server, not of the file), and only
    while the path leads to that very file. The path is found again after a change of the working directory.
    """

    def __init__(self, path: str | bytes) -> None:
        self._owner = FORK.generation
        self._path: str | bytes = path
        self._file: tuple[int, int] | None = None
        if not is_abstract(path):
            with contextlib.suppress(OSError):  # the file, or the working directory, was removed meanwhile
                self._path = _absolute(path)
                self._file = _identity(self._path)

    def remove(self) -> None:
        """Remove the file, once. Whatever is there instead stays."""
        file, self._file = self._file, None
        if file is None or self._owner != FORK.generation:
            return
        with contextlib.suppress(OSError):
            if _identity(self._path) == file:
                os.unlink(self._path)


def _absolute(path: str | bytes) -> str | bytes:
    """The same path from the root on. It is not simplified: `..` behind a symbolic link leads elsewhere."""
    return os.path.join(os.getcwdb(), path) if isinstance(path, bytes) else os.path.join(os.getcwd(), path)


def _identity(path: str | bytes) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino
