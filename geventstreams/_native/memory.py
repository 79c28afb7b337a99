"""The few operations on octets that C does without an object in between: find one, cut some out, copy some in.

Rules for the next editor: each function has a C twin of the same name in `_bytes.pxd`, which compiled modules use instead; the two
must agree in every case, and neither looks at anything but its arguments. Where Python has the very function, that is it: a function of
ours around it would cost as much again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from geventstreams._constants import SMALL

find_octet: Callable[[bytearray, int, int, int], int] = bytearray.find
"""The index of an octet within `[start:stop]`, or -1."""

find_octets: Callable[[bytearray, bytes, int, int], int] = bytearray.find
"""The index of the first sequence of octets that lies wholly in `[start:stop]`, or -1."""

octet_at: Callable[[bytearray, int], int] = operator.getitem
"""The octet at an index, 0..255."""

put_octet: Callable[[Any, int, int], None] = operator.setitem
"""Puts an octet, 0..255, at an index."""

owner: Callable[[memoryview], bytearray] = operator.attrgetter("obj")
"""What a view of a whole bytearray was made of."""

take_last: Callable[[list[int]], int] = list.pop
"""Takes the last number off a list that is not empty."""


def is_plain(view: object, writable: bool) -> bool:
    """Whether this is a contiguous view of one-octet items, as octets are moved in, that can be written to if it has to be."""
    return type(view) is memoryview and view.c_contiguous and view.ndim == 1 and view.format == "B" and not (writable and view.readonly)


def window(view: memoryview, start: int, stop: int) -> memoryview:
    """`view[start:stop]` for one call; whoever keeps it longer than the view, in a traceback for instance, has to release it."""
    return view[start:stop]


def cut(store: bytearray, start: int, stop: int) -> bytes:
    """`store[start:stop]` as bytes."""
    if stop - start <= SMALL:  # to copy a little twice takes less time than to make views
        return bytes(store[start:stop])
    return bytes(memoryview(store)[start:stop])


def cut_latin1(store: bytearray, start: int, stop: int) -> str:
    """`store[start:stop]` as text in which a character's code is its octet."""
    return store[start:stop].decode("latin-1")


def copy_in(store: bytearray, at: int, data: bytes | bytearray | memoryview, start: int, count: int) -> None:
    """Copies `data[start:start+count]` to `store[at:]`; `data` is contiguous and of one-octet items."""
    store[at : at + count] = data if count == len(data) else memoryview(data)[start : start + count]


def copy_out(store: bytearray, start: int, target: bytearray | memoryview, at: int, count: int) -> None:
    """Copies `store[start:start+count]` to `target[at:]`."""
    target[at : at + count] = memoryview(store)[start : start + count]


def move(store: bytearray, start: int, stop: int) -> None:
    """Moves `store[start:stop]` to the front of `store`."""
    store[: stop - start] = store[start:stop]


def grow(store: bytearray, size: int) -> None:
    """Makes `store`, of which there is no view, `size` octets long; where the system can, without a copy."""
    store.extend(bytes(size - len(store)))


def tail(data: bytes | memoryview, count: int) -> int:
    """The last four octets of `data`, which has `count`, as one number; the last of all is the lowest."""
    return int.from_bytes(data[-4:], "big")


def blank(size: int) -> bytes | bytearray:
    """`size` octets that are not yet written; until `cut_blank` has finished them, nobody else may see them."""
    return bytearray(size)


def place(octets: bytes | bytearray) -> memoryview:
    """The memory of a `blank`, for system calls to write to; nothing may keep it longer than the `blank`."""
    return memoryview(octets)


def cut_blank(octets: bytes | bytearray, count: int) -> bytes:
    """The first `count` octets of a `blank`, when they are written."""
    return bytes(memoryview(octets)[:count])
