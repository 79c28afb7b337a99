"""The two buffers against plain bytes: after random calls in any order they hold what a model holds."""

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from geventstreams._constants import BLOCK, SMALL
from geventstreams._core.buffers import InputBuffer, OutputBuffer

FEW = st.integers(0, 30)
MANY = st.sampled_from([100, SMALL - 1, SMALL, SMALL + 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 1, 5 * BLOCK])
SIZES = FEW | FEW | MANY
WHICH = st.integers(0, 1)


class Source:
    """Bytes that differ from place to place, with a newline here and there."""

    def __init__(self) -> None:
        self.at = 0

    def next(self, count: int) -> bytes:
        start, self.at = self.at, self.at + count
        period = bytes(value if value % 29 else 10 for value in range(251))
        turned = period[start % 251 :] + period[: start % 251]
        return (turned * (count // 251 + 1))[:count]


class InputBuffers(RuleBasedStateMachine):
    """Two input buffers that share the pool, each beside the bytes it should hold."""

    @initialize()
    def begin(self) -> None:
        self.source = Source()
        self.buffers = [InputBuffer(), InputBuffer()]
        self.held = [b"", b""]
        self.last = [b"", b""]
        self.taken = [0, 0]

    def took(self, which: int, data: bytes) -> None:
        assert data == self.held[which][: len(data)]
        self.held[which] = self.held[which][len(data) :]
        self.taken[which] += len(data)
        if data:
            self.last[which] = data

    @rule(which=WHICH, count=SIZES, absorbed=st.booleans())
    def receive(self, which: int, count: int, absorbed: bool) -> None:
        buffer = self.buffers[which]
        space = buffer.space()
        data = self.source.next(min(count, len(space) - buffer.end))
        space[buffer.end : buffer.end + len(data)] = data
        if data:
            buffer.counts.append(len(data))
        if absorbed or not data:
            assert buffer.absorb() == len(data)
        else:
            buffer.settle()
        self.held[which] += data

    @rule(which=WHICH, count=SIZES)
    def feed(self, which: int, count: int) -> None:
        data = self.source.next(count)
        self.buffers[which].feed(memoryview(data) if count % 2 else data)
        self.held[which] += data

    @rule(which=WHICH)
    def settle(self, which: int) -> None:
        buffer = self.buffers[which]
        buffer.settle()
        assert not buffer.leased or 2 * len(buffer) >= len(buffer.store)
        if not len(buffer):
            assert buffer.store is None

    @rule(which=WHICH, count=SIZES)
    def take(self, which: int, count: int) -> None:
        data = self.buffers[which].take(count)
        assert len(data) == min(count, len(self.held[which]))
        self.took(which, data)

    @rule(which=WHICH, count=SIZES)
    def take_latin1(self, which: int, count: int) -> None:
        data = self.buffers[which].take_latin1(count).encode("latin-1")
        assert len(data) == min(count, len(self.held[which]))
        self.took(which, data)

    @rule(which=WHICH)
    def take_byte(self, which: int) -> None:
        byte = self.buffers[which].take_byte()
        assert (byte == -1) == (not self.held[which])
        self.took(which, b"" if byte < 0 else bytes([byte]))

    @rule(which=WHICH, size=SIZES, at=SIZES, as_view=st.booleans())
    def take_into(self, which: int, size: int, at: int, as_view: bool) -> None:
        target = bytearray(b"\xff" * (at + size + 3))
        count = self.buffers[which].take_into(memoryview(target) if as_view else target, at, at + size)
        assert count == min(size, len(self.held[which]))
        assert target[:at] + target[at + count :] == b"\xff" * (at + size + 3 - count)
        self.took(which, bytes(target[at : at + count]))

    @rule(which=WHICH, count=SIZES)
    def skip(self, which: int, count: int) -> None:
        count = min(count, len(self.held[which]))
        self.buffers[which].skip(count)
        self.took(which, self.held[which][:count])

    @rule(which=WHICH)
    def take_line(self, which: int) -> None:
        length = self.buffers[which].line_length()
        assert length == self.held[which].find(b"\n") + 1
        self.took(which, self.buffers[which].take(length))

    @rule(which=WHICH, count=SIZES)
    def put_back(self, which: int, count: int) -> None:
        data = self.last[which][-count:] if count else b""
        self.buffers[which].put_back(data)
        self.held[which] = data + self.held[which]
        self.taken[which] -= len(data)
        self.last[which] = self.last[which][: len(self.last[which]) - len(data)]

    @rule(which=WHICH)
    def clear(self, which: int) -> None:
        self.buffers[which].clear()
        self.took(which, self.held[which])

    @rule(which=WHICH, start=SIZES, stop=SIZES, wanted=st.sampled_from([b"\n", b"\1\2\3", b"\xfa\0", b"none such"]))
    def find(self, which: int, start: int, stop: int, wanted: bytes) -> None:
        stop = min(stop, len(self.held[which]))
        assert self.buffers[which].find(wanted, start, stop) == self.held[which].find(wanted, start, max(start, stop))

    @invariant()
    def holds_the_same(self) -> None:
        for buffer, held, taken in zip(self.buffers, self.held, self.taken, strict=True):
            assert (len(buffer), buffer.taken) == (len(held), taken)
            assert buffer.peek(len(held) + 5) == held
            assert buffer.byte_at(len(held)) == -1
            if held:
                assert (buffer.byte_at(0), buffer.byte_at(len(held) - 1)) == (held[0], held[-1])

    @invariant()
    def share_no_memory(self) -> None:
        one, other = self.buffers
        assert one.store is None or one.store is not other.store


class OutputBuffers(RuleBasedStateMachine):
    """An output buffer beside the messages it should hold: what is left of each, and whether its beginning was sent."""

    @initialize()
    def begin(self) -> None:
        self.source = Source()
        self.buffer = OutputBuffer()
        self.messages: list[tuple[bytes, bool]] = []
        self.other = InputBuffer()

    @rule(count=SIZES)
    def put(self, count: int) -> None:
        data = self.source.next(count + 2)
        self.buffer.put(memoryview(data) if count % 2 else data, 1, count)
        self.messages.append((data[1 : count + 1], False))

    @precondition(lambda self: not len(self.buffer))
    @rule(count=SIZES.filter(bool))
    def put_rest(self, count: int) -> None:
        data = self.source.next(count)
        self.buffer.put_rest(memoryview(b"sent" + data), 4, count)
        self.messages = [(data, True)]

    @precondition(lambda self: len(self.buffer))
    @rule(count=SIZES)
    def strike(self, count: int) -> None:
        count = min(count, len(self.buffer))
        self.buffer.strike(count)
        while count:
            data, _ = self.messages.pop(0)
            if len(data) > count:
                self.messages.insert(0, (data[count:], True))
            count -= min(count, len(data))

    @rule()
    def drop_unbegun(self) -> None:
        self.buffer.drop_unbegun()
        self.messages = [message for message in self.messages if message[1]]

    @rule()
    def clear(self) -> None:
        self.buffer.clear()
        self.messages = []

    @rule(count=SIZES)
    def others_use_the_pool(self, count: int) -> None:
        self.other.feed(b"\xee" * count)
        self.other.clear()

    @invariant()
    def holds_the_same(self) -> None:
        held = b"".join(data for data, _ in self.messages)
        assert len(self.buffer) == len(held)
        if held:
            assert bytes(self.buffer.view[self.buffer.start : self.buffer.end]) == held


TestInputBuffers = InputBuffers.TestCase
TestInputBuffers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOutputBuffers = OutputBuffers.TestCase
TestOutputBuffers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_line_is_searched_for_once() -> None:
    """A line that comes in 20,000 pieces is not searched from its beginning each time."""
    buffer = InputBuffer()
    for _ in range(20_000):
        buffer.feed(b"x" * 50)
        assert buffer.line_length() == 0
        assert buffer.searched == len(buffer)
    buffer.feed(b"\n")
    assert buffer.line_length() == 1_000_001


def test_what_was_searched_is_searched_again_once_it_moved() -> None:
    """Bytes that are taken, or put back in front, move the rest: the next search for a line leaves nothing out."""
    buffer = InputBuffer()
    buffer.feed(b"first\n0123456789")
    assert buffer.take(6) == b"first\n"
    assert buffer.line_length() == 0
    buffer.put_back(b"first\n")
    assert buffer.line_length() == 6
    buffer.skip(6)
    assert buffer.line_length() == 0
    buffer.skip(8)
    buffer.feed(b"\nbehind what was searched")
    assert buffer.line_length() == 3


@pytest.mark.parametrize("held", [0, 1, 500, SMALL])
def test_a_waiting_buffer_holds_no_block(held: int) -> None:
    """Before a wait a buffer gives its block of memory back, and little stays in memory of its own size."""
    buffer = InputBuffer()
    buffer.feed(b"x" * 5000)
    buffer.skip(5000 - held)
    buffer.settle()
    assert (buffer.leased, len(buffer.store or b"")) == (None, held)
    assert buffer.peek(held + 1) == b"x" * held


def test_a_buffer_that_was_large_shrinks() -> None:
    """After megabytes were taken, the memory for them is given back even if a little is left."""
    buffer = InputBuffer()
    buffer.feed(bytes(4 * 2**20))
    buffer.skip(4 * 2**20 - 10)
    buffer.settle()
    assert len(buffer.store) == 10


def test_single_bytes_share_a_small_piece() -> None:
    """A message that drips in, with a wait after each byte, costs no more memory than a few times its length."""
    buffer = InputBuffer()
    for number in range(SMALL):
        space = buffer.space()
        space[buffer.end] = number & 255
        buffer.counts.append(1)
        buffer.absorb()
        buffer.settle()
        assert len(buffer.store) <= max(2 * len(buffer), 16)
    assert buffer.take(SMALL) == bytes(range(256)) * (SMALL // 256)


def test_counts_that_were_never_believed_are_not_lost() -> None:
    """Bytes that a transport counted before an exception struck are kept for any next call."""
    for call in ("space", "absorb", "settle", "feed", "put_back", "clear"):
        buffer = InputBuffer()
        space = buffer.space()
        space[:3] = b"abc"
        buffer.counts.append(3)
        getattr(buffer, call)(*[b"d"] * (call in ("feed", "put_back")))
        assert buffer.take(9) == {"feed": b"abcd", "put_back": b"dabc", "clear": b""}.get(call, b"abc"), call


def test_taking_all_before_the_counts_are_believed_keeps_the_rest() -> None:
    """Taking what was there does not give away the memory into which more has already been received."""
    buffer = InputBuffer()
    buffer.feed(b"old")
    space = buffer.space()
    space[buffer.end : buffer.end + 3] = b"new"
    buffer.counts.append(3)
    assert buffer.take(3) == b"old"
    assert buffer.absorb() == 3
    assert buffer.take(3) == b"new"


@pytest.mark.parametrize("sent", range(12))
def test_clearing_output_keeps_a_begun_message(sent: int) -> None:
    """Of three messages of four bytes, after any number of bytes was sent, exactly the rest of a begun one stays."""
    buffer = OutputBuffer()
    for message in (b"aaaa", b"bbbb", b"cccc"):
        buffer.put(message, 0, 4)
    buffer.strike(sent)
    buffer.drop_unbegun()
    assert len(buffer) == -sent % 4
    buffer.put(b"next", 0, 4)
    buffer.drop_unbegun()
    assert len(buffer) == -sent % 4


def test_messages_of_nothing_cost_nothing() -> None:
    """A million empty messages leave no trace in an output buffer, empty or not."""
    buffer = OutputBuffer()
    for held in (b"", b"x"):
        buffer.put(held, 0, len(held))
        for _ in itertools.repeat(None, 100_000):
            buffer.put(b"", 0, 0)
        assert len(buffer.ends or ()) <= 1


def test_many_small_messages_keep_few_ends() -> None:
    """While a long queue of small messages is sent, the ends of those that are gone are forgotten."""
    buffer = OutputBuffer()
    for _ in range(100):
        for _ in range(1000):
            buffer.put(b"x", 0, 1)
        buffer.strike(len(buffer) - 1)
    assert buffer.ends is not None
    assert len(buffer.ends) < 10_000


def test_a_message_boundary_survives_the_forgetting() -> None:
    """Where the ends of sent messages are forgotten, the one just reached is not: nothing behind it is begun."""
    buffer = OutputBuffer()
    for _ in range(6000):
        buffer.put(b"x", 0, 1)
    buffer.put(b"long", 0, 4)
    buffer.strike(10)
    buffer.drop_unbegun()
    assert len(buffer) == 0
