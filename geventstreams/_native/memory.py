"""The few operations on bytes and text in memory that C does without an object in between: find one, cut some out, copy some in."""

# Invariants:
# * No function looks at anything but its arguments.
# * No index is checked: the caller has looked.

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable
from itertools import starmap
from typing import Any

find_byte: Callable[[bytearray, int, int, int], int] = bytearray.find
"""Return the index of a byte within `[start:stop]`, or -1."""

byte_of: Callable[[Any, int], int] = operator.getitem
"""Return the byte at an index of any data."""

put_byte: Callable[[Any, int, int], None] = operator.setitem
"""Put a byte, 0..255, at an index."""

numbers: Callable[[], list[int]] = deque  # type: ignore[assignment]  # it has what is asked of it
"""Return a new list for a few numbers, which keeps its memory while it is empty."""

take_last: Callable[[list[int]], int] = deque.pop  # type: ignore[assignment]  # as above
"""Take the last number off such a list that is not empty."""

size: Callable[[memoryview], int] = len
"""Return the number of bytes of a contiguous view of bytes."""


def is_plain(view: object, writable: bool) -> bool:
    """Return whether this is a contiguous view of single bytes, as data is moved in, that can be written to if it has to be."""
    return type(view) is memoryview and view.c_contiguous and view.ndim == 1 and view.format == "B" and not (writable and view.readonly)


def window(view: memoryview, start: int, stop: int) -> memoryview:
    """Return `view[start:stop]` for one call. If it is kept longer than the view, in a traceback for instance, it must be released."""
    return view[start:stop]


def part(data: bytes | memoryview, start: int, stop: int) -> bytes | memoryview:
    """Return `data[start:stop]` for one call that reads it: a window, to which the same applies, or a copy where that costs less."""
    return memoryview(data)[start:stop]


def cut(view: memoryview, start: int, stop: int) -> bytes:
    """Return `view[start:stop]` as bytes."""
    return view[start:stop].tobytes()


def copy_in(store: bytearray, at: int, data: bytes | bytearray | memoryview, start: int, count: int) -> None:
    """Copy `data[start:start+count]`, which is contiguous and of single bytes, to `store[at:]`."""
    store[at : at + count] = data if count == len(data) else memoryview(data)[start : start + count]


def copy_out(store: bytearray, start: int, target: bytearray | memoryview, at: int, count: int) -> None:
    """Copy `store[start:start+count]` to `target[at:]`."""
    target[at : at + count] = memoryview(store)[start : start + count]


def draw(pieces: list[bytes], read: Callable[[], bytes]) -> None:
    """Append all that a MemoryBIO holds, as one piece, by its method `read`. The C call that takes it from there also appends it."""
    pieces.extend(starmap(read, ((),)))


def emptied(items: list[Any]) -> list[Any]:
    """Return an empty list in place of one to which nothing else may refer. In C it is the same one, and keeps memory if it was short."""
    return []


def move(store: bytearray, start: int, stop: int) -> None:
    """Move `store[start:stop]` to the front of `store`."""
    store[: stop - start] = store[start:stop]


def grow(store: bytearray, size: int) -> None:
    """Make `store`, of which there is no view, `size` bytes long; where the system can, without a copy."""
    store.extend(bytes(size - len(store)))


def find_lf(text: str, start: int) -> int:
    """Return the index of the first LF in `text[start:]`, or -1."""
    return text.find("\n", start)


def cut_text(text: str, start: int, stop: int) -> str:
    """Return `text[start:stop]`. What Cython makes of a slice looks at each character once more."""
    return text[start:stop]


def blank(size: int) -> bytes | bytearray:
    """Return `size` bytes that are not yet written. No other code may see them until `cut_blank` has finished them."""
    return bytearray(size)


def place(blank: bytes | bytearray) -> memoryview:
    """Return the memory of a `blank`, for system calls to write to. It must not be kept longer than the `blank`."""
    return memoryview(blank)


def cut_blank(blank: bytes | bytearray, count: int) -> bytes:
    """Return the first `count` bytes of a `blank`, once they are written."""
    return bytes(memoryview(blank)[:count])
