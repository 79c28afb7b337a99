"""TLS records on their way between OpenSSL and a transport: where those that arrived end, and those that are to be sent."""

# Invariants:
# * Nothing here waits, decrypts, or knows a socket.
# * What is to be sent stays in the pieces that OpenSSL made: one system call sends many of them, and none is copied.

from __future__ import annotations

from geventstreams._core.buffers import BlockPool, InputBuffer

RECORD = 16384
"""Bytes of plain text in the largest record."""

HEADER = 5
LARGEST = HEADER + RECORD + 2048
"""Bytes of the largest record that any version allows."""

_WIDE_BLOCKS = BlockPool(131072, 8, LARGEST)
"""Blocks with room for several records."""


class RecordBuffer(InputBuffer):
    """Ciphertext that arrived: an input buffer that finds the ends of records."""

    def __init__(self) -> None:
        InputBuffer.__init__(self, _WIDE_BLOCKS)
        self.trusts_lengths = True
        self.kind = 0

    def record(self) -> int:
        """Return the length of the next record, or 0 until all of it is there; `kind` is its type.

        Bytes that are not a record count as one, all of them: OpenSSL will refuse them.
        """
        start, held = self.start, self.end - self.start
        store = self.store
        if store is None or not held:
            return 0
        self.kind = store[start]
        if self.trusts_lengths and 20 <= self.kind <= 24:
            if held < HEADER:
                return 0
            length = HEADER + 256 * store[start + 3] + store[start + 4]
            if length <= LARGEST and store[start + 1] == 3:
                return length if length <= held else 0
        self.trusts_lengths = False
        return held


class Records:
    """What is to be sent: a queue of pieces as OpenSSL made them. The first `start` bytes have been sent already, `size` are left."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.start = 0
        self.size = 0

    def append(self, piece: bytes) -> None:
        """Put a piece behind all others."""
        self.pieces.append(piece)
        self.size += len(piece)

    def skip(self, count: int) -> None:
        """Drop the next `count` bytes."""
        self.size -= count
        start = self.start + count
        whole = 0
        while start and start >= len(self.pieces[whole]):
            start -= len(self.pieces[whole])
            whole += 1
        self.start = start
        del self.pieces[:whole]

    def clear(self) -> None:
        """Drop everything."""
        self.pieces.clear()
        self.start = self.size = 0
