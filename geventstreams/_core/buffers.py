"""Bytes in order: what arrived and was not yet taken, what was accepted and not yet sent.

A buffer leases its memory from a pool while it holds something, so a stream that waits holds none.
"""

# Invariants:
# * Nothing here waits, decodes, or knows a socket.
# * A queue is `store[start:end]`; its memory is absent (`store` is None), a block leased from the pool, or a piece of its own. What arrives
#   goes into a block, since a few large receive calls cost less than many small ones. The block is given back as soon as it is empty, and
#   what must stay over a wait moves to a piece of its own size (`settle`). What is larger than a block lies in a piece that grows.
# * A number of bytes is believed only after it is in `counts`, where the C call of a transport that received them puts it (`absorb`): a
#   signal handler may raise as soon as that call returns.
# * A buffer carries the permit of its owner to use it at once (see `fork`), and withdraws it after CALLS calls, so that the owner, which
#   compares it in each call anyway, looks at the clock: calls that find all they need in a buffer must not keep others from running.
# * `OutputBuffer` knows where messages end, because `clear_output` of a stream must not drop a part of one: the peer would take what
#   follows for the rest. `boundary`, `first_end` and `ends` are positions, counted from the first byte ever accepted.

from __future__ import annotations

from bisect import bisect_left

import geventstreams._native.memory as _bytes
from geventstreams._constants import BLOCK, CALLS, NO_PERMIT, SMALL

_LARGE = 16 * BLOCK
_MANY = 4096


class Block:
    """Memory that is lent, and a view of all of it."""

    __slots__ = ("store", "view")

    def __init__(self, size: int) -> None:
        self.store = bytearray(size)
        self.view = memoryview(self.store)


class BlockPool:
    """Blocks of memory of one size, lent to queues while these hold something."""

    def __init__(self, size: int, kept: int, least_room: int) -> None:
        self.size = size
        self.least_room = least_room
        """A remainder up to this size is copied in front of what arrives next; below this much room more is made."""
        # The entries for blocks not made yet keep the list long: a short one would be reallocated by every pop and append.
        self.blocks: list[Block | None] = [None] * kept
        self.most = 2 * kept

    def make(self) -> Block:
        """Return a new block, in place of the entry for one that was taken from the list."""
        self.blocks.append(None)
        return Block(self.size)


BLOCKS = BlockPool(BLOCK, 64, SMALL)


class ByteQueue:
    """A contiguous queue of bytes: `store[start:end]`, in a block of `pool`, in memory of its own, or in none."""

    def _init_queue(self, pool: BlockPool) -> None:
        self.pool = pool
        self.store: bytearray | None = None
        self.view: bytes | memoryview | None = None
        self.start: int = 0
        self.end: int = 0
        self.leased: Block | None = None
        self.permit: int = NO_PERMIT
        self.calls: int = CALLS

    def __len__(self) -> int:
        return self.end - self.start

    # Memory.

    def _lease(self) -> None:
        """Move what is held to the front of a leased block."""
        self.leased = block = self.pool.blocks.pop()
        if block is None:
            self.leased = block = self.pool.make()
        if self.end:
            held = self.end - self.start
            _bytes.copy_in(block.store, 0, self.view, self.start, held)  # type: ignore[arg-type]  # held: never None
            self.start, self.end = 0, held
        self.store = block.store
        self.view = block.view

    def _release(self) -> None:
        """Give up the memory, and what is in it."""
        block = self.leased
        if block is not None:
            self.leased = None
            pool = self.pool
            if len(pool.blocks) < pool.most:
                pool.blocks.append(block)
        self.store = self.view = None
        self.start = self.end = 0

    def _resettle(self, capacity: int, at: int) -> None:
        """Move what is held to index `at` of a piece of its own."""
        store = bytearray(capacity)
        held = self.end - self.start
        if held:
            _bytes.copy_in(store, at, self.view, self.start, held)  # type: ignore[arg-type]  # held: never None
        self._release()
        self.store, self.view = store, memoryview(store)
        self.start, self.end = at, at + held

    def _move_to_front(self) -> None:
        if self.start:
            _bytes.move(self.store, self.start, self.end)  # type: ignore[arg-type]  # held: never None
            self.start, self.end = 0, self.end - self.start

    def _grow(self, capacity: int) -> None:
        """Make a piece of its own larger where it lies, so that no second one is needed beside it."""
        self._move_to_front()
        self.view.release()  # type: ignore[union-attr]  # there is a piece
        _bytes.grow(self.store, capacity)  # type: ignore[arg-type]  # there is a piece
        self.view = memoryview(self.store)  # type: ignore[arg-type]  # there is a piece

    def reserve(self, count: int) -> None:
        """Make room for `count` more bytes at the end.

        Of the ways that there are the first that applies is the cheapest: use the room in front, where it is at least as much as must be
        moved; lease a block, where little must be copied to it; leave a block for a piece twice as large; make a piece larger in place.
        """
        capacity = 0 if self.store is None else len(self.store)
        if capacity - self.end >= count:
            return
        held = self.end - self.start
        if held <= self.start and held + count <= capacity:
            self._move_to_front()
        elif self.leased is None and held <= self.pool.least_room and held + count <= self.pool.size:
            self._lease()
        else:
            larger = max(held + count, 2 * capacity if capacity < _LARGE else capacity + capacity // 4)
            if self.leased is not None or self.store is None:
                self._resettle(larger, 0)
            else:
                self._grow(larger)

    def append(self, data: bytes | bytearray | memoryview, start: int, count: int) -> None:
        """Put `data[start:start+count]` at the end."""
        if self.store is None or len(self.store) - self.end < count:
            self.reserve(count)
        if count:
            _bytes.copy_in(self.store, self.end, data, start, count)  # type: ignore[arg-type]  # reserved
            self.end += count


class InputBuffer(ByteQueue):
    """What arrived and was not yet taken. `taken` counts what was; `counts` is where a transport notes what it received."""

    def __init__(self, pool: BlockPool = BLOCKS) -> None:
        self._init_queue(pool)
        self.searched: int = 0
        self.taken: int = 0
        self.counts: list[int] = _bytes.numbers()
        self.portion: int = BLOCK
        """Bytes for which there is room at once, at most; BLOCK is no limit."""

    # Arriving.

    def space(self) -> memoryview:
        """Return the memory to receive into, from index `end` on."""
        if self.counts:
            self.absorb()
        if self.store is None:  # as `_lease`, without a call of it for each line
            self.leased = block = self.pool.blocks.pop()
            if block is None:
                self.leased = block = self.pool.make()
            self.store = block.store
            self.view = block.view
        elif self.leased is None and self.end - self.start <= self.pool.least_room:
            self._lease()
        elif len(self.store) - self.end < self.pool.least_room:
            self.reserve(self.pool.least_room)
        if self.portion < BLOCK:
            return self.view[: self.end + self.portion]  # type: ignore[index, return-value]  # reserved
        return self.view  # type: ignore[return-value]  # reserved

    def absorb(self) -> int:
        """Believe the numbers that a transport noted. Return their sum."""
        counts, before = self.counts, self.end
        while counts:
            count = _bytes.take_last(counts)  # in a line of its own: a signal handler may run behind it, and change `end`
            self.end += count
        return self.end - before

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Put bytes that arrived by another way behind what is there."""
        self.absorb()
        self.append(data, 0, len(data))

    def settle(self) -> None:
        """Give memory back before a wait: none stays for nothing, and little for little."""
        if self.counts:
            self.absorb()
        held = self.end - self.start
        if not held:
            if self.store is not None:
                self._release()
        elif 2 * held < len(self.store) and (self.leased is not None or len(self.store) > 4 * BLOCK):  # type: ignore[arg-type]  # not empty
            self._resettle(held if held <= SMALL else 2 * held, 0)

    # Taking. What is asked for is never more than what is there: the caller has looked.

    def count_call(self) -> None:
        """Count a call that was served without taking anything."""
        self.calls = calls = self.calls - 1
        if calls <= 0:
            self.permit = NO_PERMIT

    def _advance(self, count: int) -> None:
        self.start = start = self.start + count
        self.taken += count
        self.searched = 0
        self.calls = calls = self.calls - 1
        if calls <= 0:
            self.permit = NO_PERMIT
        if start == self.end and not self.counts:
            self._release()

    def take(self, count: int) -> bytes:
        """Take the next `count` bytes, or all where there are fewer."""
        start = self.start
        stop = start + count
        if stop > self.end:  # noqa: PLR1730  # min() costs more in plain Python
            stop = self.end
        if stop == start:
            return b""
        data = _bytes.cut(self.view, start, stop)  # type: ignore[arg-type]  # not empty
        # As `_advance`, without a call of it for each line.
        self.start = stop
        self.taken += stop - start
        self.searched = 0
        self.calls = calls = self.calls - 1
        if calls <= 0:
            self.permit = NO_PERMIT
        if stop == self.end and not self.counts:
            self._release()
        return data

    def take_latin1(self, count: int) -> str:
        """Take the next `count` bytes, or all where there are fewer, as text: a character for each byte."""
        if count > self.end - self.start:  # noqa: PLR1730  # min() costs more in plain Python
            count = self.end - self.start
        if not count:
            return ""
        text = self.store[self.start : self.start + count].decode("latin-1")  # type: ignore[index]  # not empty
        self._advance(count)
        return text

    def take_byte(self) -> int:
        """Take the next byte. Return -1 where there is none."""
        if self.start == self.end:
            return -1
        byte = self.store[self.start]  # type: ignore[index]  # not empty
        self._advance(1)
        return byte

    def take_into(self, target: bytearray | memoryview, at: int, stop: int) -> int:
        """Copy to `target[at:stop]` what fits. Return the number of bytes."""
        count = min(stop - at, self.end - self.start)
        if count > 0:
            _bytes.copy_out(self.store, self.start, target, at, count)  # type: ignore[arg-type]  # not empty
            self._advance(count)
        return count

    def peek(self, count: int) -> bytes:
        """Return the next `count` bytes or fewer, and leave them in place."""
        self.count_call()
        count = min(count, self.end - self.start)
        return _bytes.cut(self.view, self.start, self.start + count) if count > 0 else b""  # type: ignore[arg-type]  # not empty

    def byte_at(self, index: int) -> int:
        """Return the byte that lies `index` behind the next one, or -1."""
        if index >= self.end - self.start:
            return -1
        return self.store[self.start + index]  # type: ignore[index]  # not empty

    def skip(self, count: int) -> None:
        """Drop the next `count` bytes."""
        if count:
            self._advance(count)

    def line_length(self) -> int:
        """Return the length of the next line with its LF, or 0. Where there is none, the next search starts behind what was searched."""
        start = self.start
        if start == self.end:
            return 0
        at = _bytes.find_byte(self.store, 10, start + self.searched, self.end)  # type: ignore[arg-type]  # not empty
        if at < 0:
            self.searched = self.end - start
            return 0
        return at + 1 - start

    def find(self, wanted: bytes, start: int, stop: int) -> int:
        """Return where, counted from the next byte, the first `wanted` that lies in [start, stop) begins, or -1."""
        stop = min(stop, self.end - self.start)
        if stop - start < len(wanted):
            return -1
        at = self.store.find(wanted, self.start + start, self.start + stop)  # type: ignore[union-attr]  # not empty
        return at - self.start if at >= 0 else -1

    def put_back(self, data: bytes | memoryview) -> None:
        """Put bytes that were taken last in front again."""
        self.absorb()
        count = len(data)
        if not count:
            return
        if count > self.start:
            self._resettle(count + self.end - self.start, count)
        self.start -= count
        _bytes.copy_in(self.store, self.start, data, 0, count)  # type: ignore[arg-type]  # made above
        self.taken -= count
        self.searched = 0

    def clear(self) -> None:
        """Drop what is held."""
        self.absorb()
        self._advance(self.end - self.start)


class OutputBuffer(ByteQueue):
    """What was accepted and not yet sent, and where its messages end. Positions count from the first byte ever accepted.

    It is `view[start:end]`: a single message of type `bytes` is not copied.
    """

    def __init__(self) -> None:
        self._init_queue(BLOCKS)
        self.sent: int = 0
        self.boundary: int = 0
        self.first_end: int = 0
        self.ends: list[int] | None = None  # most streams never hold a second message

    def put(self, data: bytes | bytearray | memoryview, start: int, count: int) -> None:
        """Accept `data[start:start+count]` as one message. An empty one leaves no trace."""
        self.calls = calls = self.calls - 1
        if calls <= 0:
            self.permit = NO_PERMIT
        if count and not self.end and type(data) is bytes and not start:
            self.view = data  # which cannot change: it is sent from where it lies, unless more comes before that
            self.end = count
        elif count:
            self._put_copy(data, start, count)

    def _put_copy(self, data: bytes | bytearray | memoryview, start: int, count: int) -> None:
        if not self.end:
            self.boundary = self.sent
            self.append(data, start, count)
            self.first_end = self.sent + count
        else:
            self._note_single()
            self.append(data, start, count)
            if self.ends is None:
                self.ends = []
            self.ends.append(self.sent + self.end - self.start)

    def _note_single(self) -> None:
        """Note where a message begins and ends that was not copied."""
        if self.store is None:
            self.boundary = self.sent - self.start
            self.first_end = self.boundary + self.end

    def put_rest(self, data: bytes | bytearray | memoryview, start: int, count: int) -> None:
        """Accept the rest of a message whose beginning was sent past this buffer."""
        self._put_copy(data, start, count)
        self.boundary = self.sent - 1

    def strike(self, count: int) -> None:
        """Forget `count` bytes that were sent."""
        self.sent += count
        self.start = start = self.start + count
        if start == self.end:
            if self.store is None:
                self.view = None
                self.start = self.end = 0
            else:
                self.ends = None
                self._release()
        elif self.ends is not None and len(self.ends) > _MANY:
            del self.ends[: bisect_left(self.ends, self.sent)]

    def clear(self) -> None:
        """Drop everything, a message that was sent in part as well."""
        self.ends = None
        self._release()

    def drop_unbegun(self) -> None:
        """Drop the messages of which nothing was sent; the rest of a begun one stays."""
        self._note_single()
        ends = (self.first_end, *(self.ends or ()))
        if self.start == self.end or self.sent == self.boundary or self.sent in ends:
            self.clear()
            return
        for end in ends:
            if end > self.sent:
                self.end = self.start + end - self.sent
                self.ends = None
                self.first_end = end
                return


NO_INPUT = InputBuffer()
NO_OUTPUT = OutputBuffer()
"""The buffers of a stream whose `__init__` was not called: empty, and without a permit."""
