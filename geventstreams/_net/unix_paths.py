"""Paths of Unix sockets: checked before a socket is made, and removed by the process that bound them."""

# Invariants: every path of a user comes through `unix_path`. A path is removed before its socket is closed: until then the system gives the
# inode number of its file to no other file.

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from geventstreams._core.fork import FORK

LONGEST = 107 if sys.platform.startswith("linux") else 103
"""Bytes that a path may have. The system's field has one more, for the final NUL."""


def unix_path(name: str, path: Any) -> str | bytes:
    """Return a string, bytes or a path object as `bind` and `connect` take it: as a string or bytes.

    A NUL character at the start makes it the name of an abstract socket (Linux), which may contain other NUL characters. In a path a NUL
    character is refused, because the system would end the path there.
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

    Only the process that bound the socket removes the file (a forked child has a copy of the server, but not of the file), and only while
    the path still leads to it. The path is found again after a change of the working directory.
    """

    def __init__(self, path: str | bytes) -> None:
        self._owner = FORK.generation
        self._path = b""
        self._file: os.stat_result | None = None
        if not is_abstract(path):
            with contextlib.suppress(OSError):  # the file, or the working directory, has been removed
                # Not simplified, because `..` behind a symbolic link leads elsewhere.
                self._path = os.path.join(os.getcwdb(), os.fsencode(path))
                self._file = os.lstat(self._path)

    def remove(self) -> None:
        """Remove the file, once. Another file that has taken its place is left alone."""
        file, self._file = self._file, None
        if file is None or self._owner != FORK.generation:
            return
        with contextlib.suppress(OSError):
            if os.path.samestat(os.lstat(self._path), file):
                os.unlink(self._path)
