"""RecordBuffer on its way between OpenSSL and a transport, in order, and where the records that arrived end.

Rules for the next editor: nothing here waits, decrypts, or knows a socket. What arrives goes into memory that is leased from a pool of wide
blocks, since few large receipts cost much less than many small ones; it is given back as soon as it is empty, and what must stay over a
wait moves to a piece of its own size (`settle`). A count is believed only after it is in `counts`, as in `_buffers.py`. What is to be sent
stays in the pieces that OpenSSL made: one call sends many of them, and none is copied.
"""

from __future__ import annotations

import geventstreams._native.memory as _bytes

WIDE = 131072
"""Octets of a leased block."""

RECORD = 16384
"""Octets of plain text in the largest record."""

HEADER = 5
LARGEST = HEADER + RECORD + 2048
"""Octets of the largest record that any version allows."""

_KEPT = 8
_pool: list[memoryview] = []


class RecordBuffer:
    """What arrived: a queue of octets in one piece of memory, or in none: `view[start:end]` is what it holds."""

    def __init__(self) -> None:
        self.store: bytearray | None = None
        self.view: memoryview | None = None
        self.start = 0
        self.end = 0
        self.leased = False
        self.counts: list[int] = []
        self.trusts_lengths = True
        self.kind = 0

    def _lease(self) -> None:
        """Puts what is held at the front of a leased block."""
        try:
            view = _pool.pop()
        except IndexError:
            view = memoryview(bytearray(WIDE))
        store, start, held = self.store, self.start, self.end - self.start
        self.view = view
        self.store = _bytes.owner(view)
        self.leased = True
        self.start, self.end = 0, held
        if held:
            _bytes.copy_in(self.store, 0, store, start, held)  # type: ignore[arg-type]  # held: never None

    def _release(self) -> None:
        if self.leased and len(_pool) < _KEPT:
            _pool.append(self.view)  # type: ignore[arg-type]  # leased: never None
        self.store = self.view = None
        self.start = self.end = 0
        self.leased = False

    def space(self) -> memoryview:
        """The memory to receive into, from index `end` on: room for many records where none is whole."""
        self.absorb()
        if not self.leased:
            self._lease()
        elif self.end > WIDE - LARGEST:
            _bytes.move(self.store, self.start, self.end)  # type: ignore[arg-type]  # leased
            self.start, self.end = 0, self.end - self.start
        return self.view  # type: ignore[return-value]  # leased

    def absorb(self) -> None:
        """Believes the counts that a transport noted."""
        while self.counts:
            self.end += _bytes.take_last(self.counts)

    def append(self, octets: bytes) -> None:
        """Puts octets behind what is held."""
        if octets:
            self._enlarge(len(octets))
            _bytes.copy_in(self.store, self.end, octets, 0, len(octets))  # type: ignore[arg-type]  # made above
            self.end += len(octets)

    def _enlarge(self, count: int) -> None:
        held = self.end - self.start
        store = bytearray(held + count)
        if held:
            _bytes.copy_in(store, 0, self.store, self.start, held)  # type: ignore[arg-type]  # held: never None
        self._release()
        self.store, self.view, self.end = store, memoryview(store), held

    def skip(self, count: int) -> None:
        """Forgets the next `count` octets."""
        self.start += count
        if self.start == self.end and not self.counts:
            self._release()

    def settle(self) -> None:
        """Gives the block back before a wait."""
        self.absorb()
        if self.start == self.end:
            self._release()
        elif self.leased:
            self._enlarge(0)

    def take_all(self) -> bytes:
        """All that is held."""
        self.absorb()
        octets = _bytes.cut(self.store, self.start, self.end) if self.store is not None else b""
        self._release()
        return octets

    def record(self) -> int:
        """The length of the next record where all of it is there, else 0; `kind` is its type. What is no record is whole as it is:
        OpenSSL will refuse it."""
        held = self.end - self.start
        if not held:
            return 0
        self.kind = self._octet(0)
        if self.trusts_lengths and 20 <= self.kind <= 24:
            if held < HEADER:
                return 0
            length = HEADER + 256 * self._octet(3) + self._octet(4)
            if length <= LARGEST and self._octet(1) == 3:
                return length if length <= held else 0
        self.trusts_lengths = False
        return held

    def _octet(self, index: int) -> int:
        return _bytes.octet_at(self.store, self.start + index)  # type: ignore[arg-type]  # the caller looked


class Records:
    """What is to be sent: a queue of pieces as OpenSSL made them. The first `start` octets have been sent already, `size` are left."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.start = 0
        self.size = 0

    def append(self, piece: bytes) -> None:
        """Puts a piece behind all others."""
        self.pieces.append(piece)
        self.size += len(piece)

    def skip(self, count: int) -> None:
        """Forgets the next `count` octets."""
        self.size -= count
        start = self.start + count
        whole = 0
        while start and start >= len(self.pieces[whole]):
            start -= len(self.pieces[whole])
            whole += 1
        self.start = start
        del self.pieces[:whole]

    def clear(self) -> None:
        """Forgets everything."""
        self.pieces.clear()
        self.start = self.size = 0
