"""Octets in order: what arrived and was not yet taken, what was accepted and not yet sent.

Rules for the next editor: nothing here waits, decodes, or knows a socket. Memory is leased from a common pool while it is in use and
given back as soon as it is empty, so a stream that waits holds none; what must stay over a wait moves to a piece of its own size.
A count of octets is believed only after it is in `counts`, where one C call of a transport puts it (`absorb`).
A buffer carries the permit of its owner to use it at once, and withdraws it after CALLS calls, so that the owner, who compares it in
each call anyway, looks at the clock: calls that find all they need in a buffer must not keep others from running.
"""

from __future__ import annotations

import sys

import geventstreams._native.memory as _bytes
from geventstreams._constants import BLOCK, CALLS, SMALL
from geventstreams._core.fork import NO_PERMIT

_LARGE = 16 * BLOCK
_KEPT = 64
_MANY = 4096
_pool: list[memoryview | None] = [None] * _KEPT
"""Blocks that nobody uses, on top of entries for blocks not made yet: a short list would be reallocated by every pop and append."""


class ByteQueue:
    """A contiguous queue of octets in memory that is leased, owned, or absent. `store[start:end]` is what it holds."""

    def __init__(self) -> None:
        self.store: bytearray | None = None
        self.view: memoryview | None = None
        self.start = 0
        self.end = 0
        self.capacity = 0
        self.leased = False
        self.permit = NO_PERMIT
        self.calls = CALLS

    def __len__(self) -> int:
        return self.end - self.start

    def _lease(self) -> None:
        view = _pool.pop()
        if view is None:
            _pool.append(None)
            view = memoryview(bytearray(BLOCK))
        self.view = view
        self.store = _bytes.owner(view)
        self.capacity = BLOCK
        self.leased = True

    def _release(self) -> None:
        if self.leased and len(_pool) < 2 * _KEPT:
            _pool.append(self.view)
        self.store = self.view = None
        self.start = self.end = self.capacity = 0
        self.leased = False

    def _resettle(self, capacity: int) -> None:
        """Moves what is held to the front of a piece of its own."""
        store = bytearray(capacity)
        held = self.end - self.start
        if held:
            _bytes.copy_in(store, 0, self.store, self.start, held)  # type: ignore[arg-type]  # held: never None
        self._release()
        self.store = store
        self.view = memoryview(store)
        self.end = held
        self.capacity = capacity

    def reserve(self, count: int) -> None:
        """Makes room for `count` more octets at the end."""
        if self.store is None and count <= BLOCK:
            self._lease()
        if self.capacity - self.end >= count:
            return
        held = self.end - self.start
        if held + count <= self.capacity and held <= self.start:
            _bytes.move(self.store, self.start, self.end)  # type: ignore[arg-type]  # there is capacity
            self.start = 0
            self.end = held
        elif held <= SMALL and held + count <= BLOCK and not self.leased:
            self._front_of_lease()
        elif self.leased:
            self._resettle(max(held + count, 2 * BLOCK))
        else:
            self._grow(max(held + count, 2 * self.capacity if self.capacity < _LARGE else self.capacity + self.capacity // 4))

    def _front_of_lease(self) -> None:
        store, start, held = self.store, self.start, self.end - self.start
        self._release()
        self._lease()
        _bytes.copy_in(self.store, 0, store, start, held)  # type: ignore[arg-type]  # there is room
        self.end = held

    def _grow(self, capacity: int) -> None:
        """Makes the piece larger where it lies, so that no second one is needed beside it."""
        held = self.end - self.start
        if self.start:
            _bytes.move(self.store, self.start, self.end)  # type: ignore[arg-type]  # owned
            self.start, self.end = 0, held
        if self.store is None:
            self.store = bytearray(capacity)
        else:
            self.view.release()  # type: ignore[union-attr]  # there is a store
            _bytes.grow(self.store, capacity)
        self.view = memoryview(self.store)
        self.capacity = capacity

    def append(self, data: bytes | bytearray | memoryview, start: int, count: int) -> None:
        """Puts `data[start:start+count]` at the end."""
        if self.capacity - self.end < count:
            self.reserve(count)
        if count:
            _bytes.copy_in(self.store, self.end, data, start, count)  # type: ignore[arg-type]  # reserved
            self.end += count


class InputBuffer(ByteQueue):
    """What arrived and was not yet taken. `taken` counts what was; `counts` is where a transport notes what it received."""

    def __init__(self) -> None:
        ByteQueue.__init__(self)
        self.searched = 0
        self.taken = 0
        self.counts: list[int] = []
        self.portion = sys.maxsize
        """Bytes for which there is room at once, at most."""

    # Arriving.

    def space(self) -> memoryview:
        """The memory to receive into, from index `end` on."""
        if self.counts:
            self.absorb()
        if self.store is None:
            self._lease()
        elif self.capacity - self.end < SMALL:
            self.reserve(SMALL)
        if not self.leased and self.end - self.start <= SMALL:
            self._front_of_lease()
        if self.portion < self.capacity - self.end:
            return self.view[: self.end + self.portion]  # type: ignore[index]  # reserved
        return self.view  # type: ignore[return-value]  # reserved

    def absorb(self) -> int:
        """Believes the counts that a transport noted; how many octets these were."""
        arrived = 0
        while self.counts:
            count = _bytes.take_last(self.counts)
            self.end += count
            arrived += count
        return arrived

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Puts octets that came by another way behind what is there."""
        self.absorb()
        self.append(data, 0, len(data))

    def settle(self) -> None:
        """Gives memory back before a wait: none is held for nothing, and little for little."""
        if self.counts:
            self.absorb()
        held = self.end - self.start
        if not held:
            if self.leased or self.store is not None:
                self._release()
        elif 2 * held < self.capacity and (self.leased or self.capacity > 4 * BLOCK):
            self._resettle(held if held <= SMALL else 2 * held)

    # Taking. What is asked for is never more than what is there: the caller has looked.

    def count_call(self) -> None:
        """One more call was served."""
        self.calls = calls = self.calls - 1
        if calls <= 0:
            self.permit = NO_PERMIT

    def _advance(self, count: int) -> None:
        self.start += count
        self.taken += count
        self.searched = 0
        self.calls = calls = self.calls - 1
        if calls <= 0:
            self.permit = NO_PERMIT
        if self.start == self.end and not self.counts:
            self._release()

    def take(self, count: int) -> bytes:
        """The next `count` octets, or all where there are fewer."""
        if count > self.end - self.start:  # noqa: PLR1730  # min() costs more in plain Python
            count = self.end - self.start
        if not count:
            return b""
        octets = _bytes.cut(self.store, self.start, self.start + count)  # type: ignore[arg-type]  # not empty
        self._advance(count)
        return octets

    def take_latin1(self, count: int) -> str:
        """The same as text, a character for each octet."""
        if count > self.end - self.start:  # noqa: PLR1730  # min() costs more in plain Python
            count = self.end - self.start
        if not count:
            return ""
        text = _bytes.cut_latin1(self.store, self.start, self.start + count)  # type: ignore[arg-type]  # not empty
        self._advance(count)
        return text

    def take_octet(self) -> int:
        """The next octet, or -1."""
        if self.start == self.end:
            return -1
        octet = self.store[self.start]  # type: ignore[index]  # not empty
        self._advance(1)
        return octet

    def take_into(self, target: bytearray | memoryview, at: int, stop: int) -> int:
        """Copies to `target[at:stop]` what fits; how many octets that was."""
        count = min(stop - at, self.end - self.start)
        if count > 0:
            _bytes.copy_out(self.store, self.start, target, at, count)  # type: ignore[arg-type]  # not empty
            self._advance(count)
        return count

    def peek(self, count: int) -> bytes:
        """The next `count` octets or fewer, left in place."""
        self.count_call()
        count = min(count, self.end - self.start)
        return _bytes.cut(self.store, self.start, self.start + count) if count > 0 else b""  # type: ignore[arg-type]  # not empty

    def octet(self, index: int) -> int:
        """The octet that lies `index` behind the next one, or -1."""
        if index >= self.end - self.start:
            return -1
        return _bytes.octet_at(self.store, self.start + index)  # type: ignore[arg-type]  # not empty

    def skip(self, count: int) -> None:
        """Takes `count` octets that nobody wants."""
        if count:
            self._advance(count)

    def line_length(self) -> int:
        """Octets up to and with the first LF, or 0. Where there is none, the next search starts behind what was searched."""
        if self.start == self.end:
            return 0
        at = _bytes.find_octet(self.store, 10, self.start + self.searched, self.end)  # type: ignore[arg-type]  # not empty
        if at < 0:
            self.searched = self.end - self.start
            return 0
        return at + 1 - self.start

    def find(self, wanted: bytes, start: int, stop: int) -> int:
        """Where, counted from the next octet, the first `wanted` wholly in [start, stop) begins, or -1."""
        stop = min(stop, self.end - self.start)
        if stop - start < len(wanted):
            return -1
        at = _bytes.find_octets(self.store, wanted, self.start + start, self.start + stop)  # type: ignore[arg-type]  # not empty
        return at - self.start if at >= 0 else -1

    def put_back(self, data: bytes | memoryview) -> None:
        """Puts octets that were taken last in front again."""
        self.absorb()
        count = len(data)
        if not count:
            return
        held = self.end - self.start
        if count > self.start:
            store = bytearray(count + held)
            if held:
                _bytes.copy_in(store, count, self.store, self.start, held)  # type: ignore[arg-type]  # held: never None
            self._release()
            self.store, self.view = store, memoryview(store)
            self.start, self.end, self.capacity = count, count + held, count + held
        self.start -= count
        _bytes.copy_in(self.store, self.start, data, 0, count)  # type: ignore[arg-type]  # made above
        self.taken -= count
        self.searched = 0

    def clear(self) -> None:
        """Drops what is held."""
        self.absorb()
        self._advance(self.end - self.start)


class OutputBuffer(ByteQueue):
    """What was accepted and not yet sent, and where its messages end. Positions count octets from the first one ever accepted."""

    def __init__(self) -> None:
        ByteQueue.__init__(self)
        self.sent = 0
        self.boundary = 0
        self.first_end = 0
        self.ends: list[int] = []

    def room(self) -> int:
        """Octets that fit without growing beyond the size of a buffer."""
        return BLOCK - (self.end - self.start)

    def put(self, data: bytes | bytearray | memoryview, start: int, count: int) -> None:
        """Accepts `data[start:start+count]` as one message; one of no octets leaves no trace."""
        self.calls = calls = self.calls - 1
        if calls <= 0:
            self.permit = NO_PERMIT
        if count and self.start == self.end:
            self.boundary = self.sent
            self.append(data, start, count)
            self.first_end = self.sent + count
        elif count:
            self.append(data, start, count)
            self.ends.append(self.sent + self.end - self.start)

    def put_rest(self, data: bytes | bytearray | memoryview, start: int, count: int) -> None:
        """Accepts what is left of a message whose beginning was sent past this buffer."""
        self.put(data, start, count)
        self.boundary = self.sent - 1

    def strike(self, count: int) -> None:
        """Forgets `count` octets that were sent."""
        self.start += count
        self.sent += count
        if self.start == self.end:
            if self.ends:
                self.ends.clear()
            self._release()
        elif len(self.ends) > _MANY:
            self.ends = [end for end in self.ends if end >= self.sent]

    def clear(self) -> None:
        """Drops everything, a begun message too."""
        self.ends.clear()
        self._release()

    def drop_unbegun(self) -> None:
        """Drops the messages of which nothing was sent; what is left of a begun one stays."""
        if self.start == self.end or self.sent in (self.boundary, self.first_end) or self.sent in self.ends:
            self.clear()
            return
        for end in (self.first_end, *self.ends):
            if end > self.sent:
                self.end = self.start + end - self.sent
                self.ends.clear()
                self.first_end = end
                return


NO_INPUT = InputBuffer()
NO_OUTPUT = OutputBuffer()
"""What a stream has before it has buffers: nothing, and no permit."""
