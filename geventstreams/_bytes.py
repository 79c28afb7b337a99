"""The few operations on octets that C does without an object in between: find one, cut some out, copy some in.

Rules for the next editor: each function has a C twin of the same name in `_bytes.pxd`, which compiled modules use instead; the two
must agree in every case, and neither looks at anything but its arguments.
"""

from __future__ import annotations


def find_octet(store: bytearray, octet: int, start: int, stop: int) -> int:
    """The index of `octet` in `store[start:stop]`, or -1."""
    return store.find(octet, start, stop)


def find_octets(store: bytearray, wanted: bytes, start: int, stop: int) -> int:
    """The index of the first `wanted` that lies wholly in `store[start:stop]`, or -1."""
    return store.find(wanted, start, stop)


def octet_at(store: bytearray, index: int) -> int:
    """The octet at `index`, 0..255."""
    return store[index]


def cut(store: bytearray, start: int, stop: int) -> bytes:
    """`store[start:stop]` as bytes."""
    return bytes(memoryview(store)[start:stop])


def cut_latin1(store: bytearray, start: int, stop: int) -> str:
    """`store[start:stop]` as text in which a character's code is its octet."""
    return store[start:stop].decode("latin-1")


def copy_in(store: bytearray, at: int, data: bytes | bytearray | memoryview, start: int, count: int) -> None:
    """Copies `data[start:start+count]` to `store[at:]`; `data` is contiguous and of one-octet items."""
    store[at : at + count] = memoryview(data)[start : start + count]


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
    return int.from_bytes(data[max(0, count - 4) : count], "big")


def owner(view: memoryview) -> bytearray:
    """What a view of a whole bytearray was made of."""
    return view.obj  # type: ignore[return-value]  # typeshed: any buffer


def take_last(counts: list[int]) -> int:
    """Takes the last number off a list that is not empty."""
    return counts.pop()


def blank(size: int) -> bytes | bytearray:
    """`size` octets that are not yet written; until `cut_blank` has finished them, nobody else may see them."""
    return bytearray(size)


def place(octets: bytes | bytearray) -> memoryview:
    """The memory of a `blank`, for system calls to write to; nothing may keep it longer than the `blank`."""
    return memoryview(octets)


def cut_blank(octets: bytes | bytearray, count: int) -> bytes:
    """The first `count` octets of a `blank`, when they are written."""
    return bytes(memoryview(octets)[:count])
