"""What is true of every binary file on a socket: it has one direction or two, but no position, and it belongs to this process.

Rule for the next editor: nothing here waits, and nothing knows what carries the octets.
"""

from __future__ import annotations

import io
from typing import Any

import geventstreams._native.attributes as _attributes


class BinaryFile:
    """The questions of `io.IOBase` whose answers are the same for all of them. Every one is refused where `_refuse` refuses any call."""

    def __init__(self, readable: bool, writable: bool) -> None:
        _attributes.forget_empty(self)
        self._is_readable = readable
        self._is_writable = writable

    def _refuse(self) -> None:
        """Raises what keeps any call from this file."""
        raise NotImplementedError

    def readable(self) -> bool:
        """Whether its direction lets one read."""
        self._refuse()
        return self._is_readable

    def writable(self) -> bool:
        """Whether its direction lets one write."""
        self._refuse()
        return self._is_writable

    def seekable(self) -> bool:
        """Never."""
        self._refuse()
        return False

    def isatty(self) -> bool:
        """Never."""
        self._refuse()
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        """Raises io.UnsupportedOperation."""
        raise self._unsupported("seek: a socket has no position")

    def tell(self) -> int:
        """Raises io.UnsupportedOperation."""
        raise self._unsupported("tell: a socket has no position")

    def truncate(self, size: int | None = None) -> int:
        """Raises io.UnsupportedOperation."""
        raise self._unsupported("truncate: a socket has no position")

    def _unsupported(self, why: str) -> io.UnsupportedOperation:
        self._refuse()
        return io.UnsupportedOperation(why)

    def __enter__(self) -> Any:
        self._refuse()
        return self

    def __reduce__(self) -> Any:
        raise TypeError(f"cannot pickle a {type(self).__name__}: its socket belongs to this process")
