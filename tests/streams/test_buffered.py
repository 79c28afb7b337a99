"""The Python vocabulary: the whole contract of a binary file, and what a network needs beyond it."""

import array
import copy
import io
import math
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import gevent
import numpy
import pytest
from kit.conditions import until
from kit.fed import Fed
from kit.pairs import Pairs

from geventstreams._streams.buffered import BufferedStream
from geventstreams.errors import (
    IncompleteRead,
    LineTooLong,
    ReadTimeout,
    StreamClosed,
    StreamReset,
)
from geventstreams.testing import PiecemealTransport, memory_pair
from geventstreams.testing.claims import outcome, started

TEXT = b"first line\nsecond\n\nlast"


@pytest.fixture
def fed(pairs: Pairs) -> Fed:
    return Fed(pairs, BufferedStream)


# Reading with a bound.


def test_read_gives_what_was_asked_for(fed: Fed, piece: int) -> None:
    """read(n) waits for n bytes or the end; read(), read(-1) and read(None) for the end; read(0) for nothing."""
    stream = fed(TEXT, piece=piece)
    assert stream.read(0) == b""
    assert stream.read(5) == b"first"
    assert stream.read(6) == b" line\n"
    assert stream.read(None) == TEXT[11:]
    assert stream.read() == b""
    assert stream.read(-1) == b""
    assert stream.read(9) == b""
    assert stream.read(0) == b""
    assert fed(TEXT, piece=piece).read() == TEXT
    assert fed(TEXT, piece=piece).read(1000) == TEXT


def test_read1_waits_for_one_receive_call_only(fed: Fed) -> None:
    """read1 gives what is buffered, at most n bytes, and waits only where nothing is."""
    stream = fed(b"0123456789", ended=False, piece=4)
    assert (stream.read1(0), stream.read1(3), stream.read1(3), stream.read1(), stream.read1(None)) == (
        b"", b"012", b"3", b"4567", b"89",
    )  # fmt: skip
    reader = started(stream.read1, 5)
    assert not reader.ready()
    fed.far.sendall(b"ab")
    assert reader.get() == b"ab"
    fed.far.send_eof()
    assert (stream.read1(), stream.read1(5)) == (b"", b"")


def test_peek_leaves_everything_in_place(fed: Fed) -> None:
    """peek gives what is buffered without taking it, at most n bytes for a positive n, and waits for one receive call."""
    stream = fed(b"0123456789", piece=4)
    assert stream.peek() == b"0123"
    assert stream.peek(2) == b"01"
    assert stream.peek(0) == b"0123"
    assert stream.peek(-1) == b"0123"
    assert stream.peek(100) == b"0123"
    assert stream.read() == b"0123456789"
    assert stream.peek() == b""
    assert stream.peek(5) == b""


@pytest.mark.parametrize("size", [0, 1, 9, 8191, 8192, 8193, 70_000, 300_000])
def test_readinto_fills_or_ends(pairs: Pairs, kind: str, size: int) -> None:
    """readinto fills a buffer of any size, and gives less only at the end; what is beyond stays untouched."""
    stream, peer = pairs.streams(kind)
    data = bytes(range(251)) * (size // 251 + 1)
    with gevent.Timeout(20):
        data *= 2
        writer = started(lambda: (peer.write(data[: size + size // 2]), peer.send_eof()))
        space = bytearray(size)
        assert stream.readinto(space) == size
        assert space == data[:size]
        space = bytearray(b"\xff" * (size + 10))
        assert stream.readinto(memoryview(space)) == size // 2
        assert space == data[size : size + size // 2] + b"\xff" * (size - size // 2 + 10)
        assert stream.readinto(space) == 0
        writer.get()


def test_readinto_takes_every_writable_buffer(fed: Fed) -> None:
    """Arrays and views of any item size are filled by their bytes; readinto1 takes what is buffered."""
    stream = fed(bytes(range(40)), piece=8)
    numbers = array.array("H", [0] * 4)
    assert (stream.readinto(numbers), numbers.tobytes()) == (8, bytes(range(8)))
    square = memoryview(bytearray(6)).cast("B", (2, 3))
    assert (stream.readinto(square), square.tobytes()) == (6, bytes(range(8, 14)))
    space = bytearray(20)
    assert (stream.readinto1(space), space[:2]) == (2, bytes([14, 15]))
    assert stream.readinto1(space) == 8
    assert stream.readinto1(bytearray(0)) == 0
    assert stream.readinto(bytearray(0)) == 0
    assert stream.read() == bytes(range(24, 40))
    assert stream.readinto1(space) == 0


def test_readinto1_receives_straight_into_memory(fed: Fed) -> None:
    """A large readinto1 receives into the caller's memory by one receive call; buffered bytes come first."""
    data = bytes(range(240)) * 50
    stream = fed(data, piece=5000)
    space = bytearray(20_000)
    assert stream.readinto1(space) == 5000
    assert space[:5000] == data[:5000]
    assert (stream.read(1), stream.buffered) == (data[5000:5001], 4999)
    assert stream.readinto1(space) == 4999
    assert space[:4999] == data[5001:10_000]
    assert stream.readinto1(space) == 2000
    assert space[:2000] == data[10_000:]
    assert stream.readinto1(space) == 0
    assert stream.at_eof is True
    assert stream.buffered == 0


@pytest.mark.parametrize("name", ["readinto", "readinto1"])
def test_readinto_refuses_what_cannot_be_filled(fed: Fed, name: str) -> None:
    """Read-only, strided and non-buffer objects are refused, as by any file of `io`, before any input is taken."""
    stream = fed(b"kept")
    for wrong in (b"bytes", "text", 5, None, [0], memoryview(bytearray(8))[::2]):
        for file in (stream, io.BytesIO(b"kept")):
            with pytest.raises(TypeError, match=r"argument|buffer"):
                getattr(file, name)(wrong)
    assert stream.read() == b"kept"


def test_read_available_does_not_wait(fed: Fed) -> None:
    """read_available gives all that can be had now, possibly nothing, and never waits."""
    stream = fed(b"0123456789", ended=False, piece=4)
    assert stream.read_available() == b"0123456789"
    assert stream.read_available() == b""
    assert stream.at_eof is False
    fed.far.sendall(b"more")
    assert stream.read_available() == b"more"
    fed.far.send_eof()
    assert (stream.read_available(), stream.at_eof) == (b"", True)


def test_read_available_of_an_endless_input_ends(pairs: Pairs) -> None:
    """A peer that never stops sending cannot keep read_available from giving what it has."""
    stream, peer = pairs.streams("unix")
    flood = gevent.spawn(peer.write, bytes(2**26))
    total = 0
    while total < 2**26 - 65536:
        data = stream.read_available()
        assert len(data) < 3 * 2**20
        total += len(data)
        gevent.sleep(0)
    flood.get()


# Reading exactly.


def test_read_exactly_is_all_or_incomplete(fed: Fed, piece: int) -> None:
    """read_exactly gives n bytes, or IncompleteRead with those that came, which stay readable."""
    stream = fed(b"0123456789", piece=piece)
    assert (stream.read_exactly(0), stream.read_exactly(4)) == (b"", b"0123")
    for _ in range(2):
        with pytest.raises(IncompleteRead) as caught:
            stream.read_exactly(7)
        assert (caught.value.expected, caught.value.partial) == (7, b"456789")
    assert stream.read_exactly(6) == b"456789"
    assert stream.read_exactly(0) == b""
    with pytest.raises(IncompleteRead) as caught:
        stream.read_exactly(1)
    assert caught.value.partial == b""


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"--end--", bytearray(b"xy"), memoryview(b"aab")])
def test_read_until_finds_a_separator_wherever_it_is_cut(pairs: Pairs, piece: int, separator: Any) -> None:
    """read_until ends with the separator, in all pieces that it can arrive in, and after any part of it."""
    fed = Fed(pairs, BufferedStream)
    wanted = bytes(separator)
    parts = [b"", b"one", wanted[:-1], b"a" * 100, wanted[:-1] * 3 if len(wanted) > 1 else b"b"]
    data = b"".join(part + wanted for part in parts)
    stream = fed(data + b"rest", piece=piece)
    model = data + b"rest"
    while wanted in model:
        length = model.index(wanted) + len(wanted)
        assert stream.read_until(separator) == model[:length]
        model = model[length:]
    for _ in range(2):
        with pytest.raises(IncompleteRead) as caught:
            stream.read_until(separator)
        assert (caught.value.expected, caught.value.partial) == (wanted, model)
    assert stream.read() == model


@pytest.mark.parametrize("length", [1, 7, 8])
def test_the_limit_of_read_until_is_exact(fed: Fed, piece: int, length: int) -> None:
    """A result as long as the limit passes, separator included; one byte more is LineTooLong, nothing consumed."""
    stream = fed(b"x" * (length - 1) + b"\n" + b"next\n", piece=piece)
    if length > 1:
        for _ in range(2):
            with pytest.raises(LineTooLong) as caught:
                stream.read_until(b"\n", length - 1)
            assert caught.value.limit == length - 1
    assert stream.read_until(b"\n", length) == b"x" * (length - 1) + b"\n"
    assert stream.read_until(b"\n", math.inf) == b"next\n"


def test_the_limit_of_read_until_is_the_streams_by_default(fed: Fed) -> None:
    """limit=None is the stream's line_limit; math.inf is none."""
    stream = fed(b"x" * 99 + b"\n", line_limit=50)
    with pytest.raises(LineTooLong):
        stream.read_until(b"\n")
    assert stream.read_until(b"\n", math.inf) == b"x" * 99 + b"\n"


def test_read_until_refuses_wrong_arguments(fed: Fed) -> None:
    """An empty separator, one of text, and a limit that is no positive number are refused; nothing is taken."""
    stream = fed(b"kept\n")
    for args, kind in (((b"",), ValueError), (("\n",), TypeError), ((5,), TypeError), ((b"\n", 0), ValueError),
                       ((b"\n", -1), ValueError), ((b"\n", 1.5), TypeError), ((b"\n", "5"), TypeError)):  # fmt: skip
        with pytest.raises(kind, match=r"separator|limit"):
            stream.read_until(*args)
    assert stream.read() == b"kept\n"


# Lines.


def test_lines_come_one_by_one(fed: Fed, piece: int) -> None:
    """readline gives each line with its newline, the last one without; iteration and readlines give the same."""
    wanted = [b"first line\n", b"second\n", b"\n", b"last"]
    stream = fed(TEXT, piece=piece)
    assert [stream.readline() for _ in range(6)] == [*wanted, b"", b""]
    assert list(fed(TEXT, piece=piece)) == wanted
    assert fed(TEXT, piece=piece).readlines() == wanted
    assert (stream.readlines(), list(stream)) == ([], [])


def test_readline_with_a_size_gives_no_more(fed: Fed, piece: int) -> None:
    """readline(n) gives at most n bytes of the line, and the rest next time; None and -1 are no bound."""
    stream = fed(TEXT, piece=piece)
    assert [stream.readline(size) for size in (0, 4, 7, 100, 1, 0, 3)] == [
        b"", b"firs", b"t line\n", b"second\n", b"\n", b"", b"las",
    ]  # fmt: skip
    assert stream.readline(-1) == b"t"
    assert stream.readline(None) == b""
    assert stream.readline(5) == b""


def test_readlines_stops_at_the_hint(fed: Fed) -> None:
    """readlines(hint) takes no further line once those taken have hint bytes; 0, -1 and None mean all."""
    assert fed(TEXT).readlines(1) == [b"first line\n"]
    assert fed(TEXT).readlines(12) == [b"first line\n", b"second\n"]
    for hint in (0, -1, None):
        assert len(fed(TEXT).readlines(hint)) == 4


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_the_line_limit_is_exact(fed: Fed, piece: int, excess: int) -> None:
    """A line of line_limit bytes passes, newline included or not; one more is LineTooLong, which consumes nothing."""
    for newline in (b"\n", b""):
        line = b"x" * (20 + excess - len(newline)) + newline
        for call in ("readline", "readlines", "__next__"):
            stream = fed(line, piece=piece, line_limit=20)
            if excess > 0:
                for _ in range(2):
                    with pytest.raises(LineTooLong) as caught:
                        getattr(stream, call)()
                    assert (caught.value.limit, stream.line_limit) == (20, 20)
                assert stream.read() == line
            else:
                assert getattr(stream, call)() == ([line] if call == "readlines" else line)


def test_a_size_within_the_limit_is_never_too_long(fed: Fed, piece: int) -> None:
    """readline(size) with a size up to the limit cuts an endless line; a larger size does not lift the limit."""
    stream = fed(b"x" * 100, piece=piece, line_limit=20)
    assert (stream.readline(20), stream.readline(5)) == (b"x" * 20, b"x" * 5)
    with pytest.raises(LineTooLong):
        stream.readline(21)
    assert stream.read() == b"x" * 75


def test_discard_line_gets_back_into_step(fed: Fed, piece: int) -> None:
    """discard_line drops what is left of a line, newline too, and nothing of the next; at the end it does nothing."""
    stream = fed(b"x" * 100 + b"\nnext\nlast", piece=piece, line_limit=20)
    with pytest.raises(LineTooLong):
        stream.readline()
    stream.discard_line()
    assert stream.readline() == b"next\n"
    stream.discard_line()
    stream.discard_line()
    assert stream.read() == b""


def test_discard_line_stores_nothing(pairs: Pairs) -> None:
    """A line of any length is dropped as it comes."""
    stream, peer = pairs.streams("unix")
    flood = gevent.spawn(peer.sendall, bytes(2**23) + b"\nnext\n")
    stream.discard_line()
    assert stream.buffered < 200_000
    assert stream.readline() == b"next\n"
    flood.get()


def test_readlines_that_is_ended_puts_everything_back(fed: Fed) -> None:
    """A limit that ends readlines takes nothing: the lines can be read again."""
    stream = fed(TEXT, ended=False, read_timeout=0.01)
    with pytest.raises(ReadTimeout):
        stream.readlines()
    assert stream.readline() == b"first line\n"
    with pytest.raises(ReadTimeout):
        stream.readlines()
    assert stream.read_available() == TEXT[11:]


# Ends.


CALLS: list[tuple[str, tuple[Any, ...], Any]] = [
    ("read", (9,), b""), ("read1", (), b""), ("readline", (), b""), ("peek", (), b""), ("read_available", (), b""),
    ("readinto", (bytearray(9),), 0), ("readinto1", (bytearray(9),), 0), ("read", (), b""), ("readlines", (), []),
]  # fmt: skip
BOUNDED: dict[str, Callable[[BufferedStream], Any]] = {
    "read": lambda stream: stream.read(100),
    "read1": lambda stream: stream.read1(),
    "peek": lambda stream: stream.peek(),
    "readline": lambda stream: stream.readline(),
    "readline(100)": lambda stream: stream.readline(100),
    "next": next,
    "read_available": lambda stream: stream.read_available(),
    "readinto": lambda stream: bytes(space[: stream.readinto(space)]) if (space := bytearray(50)) else b"",
    "readinto1": lambda stream: bytes(space[: stream.readinto1(space)]) if (space := bytearray(50)) else b"",
}
UNBOUNDED: dict[str, Callable[[BufferedStream], Any]] = {
    "read": lambda stream: stream.read(),
    "readlines": lambda stream: stream.readlines(),
    "read_exactly": lambda stream: stream.read_exactly(100),
    "read_until": lambda stream: stream.read_until(b"none"),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_a_bounded_call_gives_what_came_before_a_reset(pairs: Pairs, name: str) -> None:
    """A call with a bound returns what there is; the next one, and every one after it, is StreamReset."""
    near, far = (BufferedStream(one) for one in memory_pair())
    pairs.keep(near)
    far.sendall(b"before the reset")
    far.abort()
    assert BOUNDED[name](near) == b"before the reset"
    if name == "peek":
        assert near.read(16) == b"before the reset"
    for call in [*BOUNDED.values(), *UNBOUNDED.values()] * 2:
        with pytest.raises(StreamReset):
            call(near)
    assert near.read(0) == b""
    assert not near.at_eof


@pytest.mark.parametrize("name", UNBOUNDED)
def test_an_unbounded_call_raises_a_reset_at_once(pairs: Pairs, name: str) -> None:
    """A call that means "to the end" or "exactly" raises, and what arrived stays readable."""
    near, far = (BufferedStream(one) for one in memory_pair())
    pairs.keep(near)
    far.sendall(b"before\nthe reset")
    far.abort()
    for _ in range(3):
        with pytest.raises(StreamReset):
            UNBOUNDED[name](near)
    assert near.read(100) == b"before\nthe reset"
    with pytest.raises(StreamReset):
        near.read(100)


@pytest.mark.parametrize("name", BOUNDED)
def test_what_is_buffered_outlives_a_shutdown_of_the_input(pairs: Pairs, kind: str, name: str) -> None:
    """After shutdown("input") what is buffered can still be read, then reading is StreamClosed; writing goes on."""
    stream, peer = pairs.streams(kind)
    peer.sendall(b"buffered\n and never read")
    until(lambda: len(stream.peek()) == 24)
    stream.shutdown("input")
    whole = b"buffered\n and never read"
    wanted = whole[:9] if "line" in name or name == "next" else whole
    assert BOUNDED[name](stream) == wanted
    if name == "peek" or wanted != whole:
        assert stream.read() == whole[0 if name == "peek" else 9 :]
    for call in [*BOUNDED.values(), *UNBOUNDED.values()]:
        with pytest.raises(StreamClosed):
            call(stream)
    stream.sendall(b"still\n")
    assert peer.readline() == b"still\n"


def test_lines_are_read_to_a_shutdown(pairs: Pairs) -> None:
    """After shutdown("input") readlines and read() give what is buffered, as at an end."""
    for call, wanted in (("readlines", [b"one\n", b"two"]), ("read", b"one\ntwo")):
        stream, peer = pairs.streams("memory")
        peer.sendall(b"one\ntwo")
        assert len(stream.peek()) == 7
        stream.shutdown("input")
        assert getattr(stream, call)() == wanted
        with pytest.raises(StreamClosed):
            getattr(stream, call)()


def test_shutdown_refuses_wrong_directions(pairs: Pairs) -> None:
    """A direction that is none is a ValueError; one that the stream has not is refused before anything is touched."""
    stream, peer = pairs.streams("tcp")
    for wrong in ("both", None, 1, ""):
        with pytest.raises(ValueError, match="direction"):
            stream.shutdown(wrong)
    output, peer = pairs.streams("tcp", direction="output")
    with pytest.raises(io.UnsupportedOperation):
        output.shutdown("io")
    output.sendall(b"still")
    assert peer.read(5) == b"still"


@pytest.mark.parametrize("abort", [False, True])
def test_shutdown_of_the_output_is_an_end(pairs: Pairs, kind: str, abort: bool) -> None:
    """shutdown("output") flushes and ends, with abort it drops what is buffered; either way the peer sees the end."""
    stream, peer = pairs.streams(kind)
    stream.write(b"buffered")
    stream.shutdown("output", abort)
    assert peer.read() == (b"" if abort else b"buffered")
    with pytest.raises(StreamClosed):
        stream.write(b"")
    stream.shutdown("output")
    peer.sendall(b"still")
    assert stream.read(5) == b"still"
    stream.shutdown("io", abort=True)
    with pytest.raises(StreamClosed):
        stream.read(1)


# Writing.


def test_write_says_how_many_bytes(pairs: Pairs) -> None:
    """write returns the length in bytes of any bytes-like object, and writelines and sendall return None."""
    stream, peer = pairs.streams("memory")
    assert stream.write(array.array("d", [1, 2])) == 16
    assert stream.write(memoryview(b"123456")[::2]) == 3
    assert stream.write(memoryview(b"123456").cast("B", (2, 3))) == 6
    assert (stream.writelines(iter([b"a", bytearray(b"b")])), stream.sendall(b"c"), stream.flush()) == (None,) * 3
    assert peer.read(28)[16:] == b"135123456abc"


def test_what_is_written_may_be_changed_afterwards(pairs: Pairs) -> None:
    """After write returns, the caller's buffer is its own again, however large it was."""
    stream, peer = pairs.streams("memory")
    for size in (10, 100_000):
        data = bytearray(b"x" * size)
        reader = started(peer.read_exactly, size)
        stream.write(data)
        data[:] = b"!" * size
        data.clear()
        stream.flush()
        assert reader.get() == b"x" * size


def test_writelines_with_a_wrong_item_writes_those_before_it(pairs: Pairs) -> None:
    """Each item of writelines is a write of its own: one that cannot be written does not undo those before it."""
    stream, peer = pairs.streams("memory")
    with pytest.raises(TypeError, match="data"):
        stream.writelines([b"good", "bad", b"never"])
    stream.send_eof()
    assert peer.read() == b"good"


def test_unsent_and_buffered_count(pairs: Pairs) -> None:
    """unsent counts what was accepted and is not with the system, buffered what arrived and was not taken."""
    stream, peer = pairs.streams("memory")
    stream.write(b"12345")
    stream.write(b"678")
    assert stream.unsent == 8
    stream.flush()
    assert (stream.unsent, peer.buffered) == (0, 0)
    peer.peek()
    assert peer.buffered == 8
    peer.read(3)
    assert peer.buffered == 5


# The contract of a file.


def test_it_is_a_binary_file(pairs: Pairs, kind: str) -> None:
    """A stream is an io.BufferedIOBase that is neither a terminal nor seekable, and readable and writable."""
    stream, peer = pairs.streams(kind)
    assert isinstance(stream, io.BufferedIOBase)
    assert not isinstance(stream, io.RawIOBase)
    assert stream.readable() is True
    assert stream.writable() is True
    assert stream.seekable() is False
    assert stream.isatty() is False
    for name, args in (("seek", (0,)), ("tell", ()), ("truncate", ()), ("detach", ())):
        with pytest.raises(io.UnsupportedOperation, match=name):
            getattr(stream, name)(*args)
    assert stream.__enter__() is stream
    assert iter(stream) is stream
    assert peer.closed is False


def test_a_file_of_one_direction_says_so(fed: Fed, pairs: Pairs) -> None:
    """A stream of one direction refuses the other half with io.UnsupportedOperation, and its own half works."""
    reading = fed(TEXT, writable=False)
    assert reading.readable() is True
    assert reading.writable() is False
    assert reading.readline() == b"first line\n"
    for call, *args in ((reading.write, b""), (reading.writelines, []), (reading.send_eof,), (reading.sendall, b"")):
        with pytest.raises(io.UnsupportedOperation):
            call(*args)
    assert reading.flush() is None
    writing = pairs.keep(BufferedStream(memory_pair()[0], readable=False))
    assert writing.readable() is False
    assert writing.writable() is True
    assert writing.write(b"x") == 1
    for name, args, _ in [*CALLS, ("read_exactly", (0,), None), ("discard_line", (), None), ("__next__", (), None)]:
        with pytest.raises(io.UnsupportedOperation):
            getattr(writing, name)(*args)


SIZES = [-2, 1.5, "5", b"5", 2**70, [1]]


@pytest.mark.parametrize("name", ["read", "read1", "readline", "peek", "readlines", "read_exactly"])
@pytest.mark.parametrize("size", SIZES, ids=map(repr, SIZES))
def test_wrong_sizes_are_refused(fed: Fed, name: str, size: Any) -> None:
    """A size that is no whole number from -1 on is refused with its value in the text, and nothing is taken."""
    stream = fed(b"kept", ended=False, read_timeout=0.01)
    if size == 2**70:
        assert isinstance(outcome(getattr(stream, name), size), (OverflowError, ReadTimeout, bytes, list))
    else:
        with pytest.raises((TypeError, ValueError)) as caught:
            getattr(stream, name)(size)
        assert repr(size) in str(caught.value)
        assert stream.read(4) == b"kept"


def test_read_exactly_takes_no_sign_for_everything(fed: Fed) -> None:
    """read_exactly wants a number: -1 and None are refused."""
    stream = fed(b"kept")
    for wrong in (-1, None):
        with pytest.raises((TypeError, ValueError), match="n must"):
            stream.read_exactly(wrong)


def test_numbers_of_other_kinds_are_sizes(fed: Fed) -> None:
    """Any object with __index__ is a size: numpy's integers and True, as for any file."""
    stream = fed(TEXT)
    assert stream.read(numpy.int64(3)) == b"fir"
    assert stream.read(True) == b"s"
    assert stream.readline(numpy.uint8(2)) == b"t "


def test_timeouts_are_properties(fed: Fed) -> None:
    """read_timeout and write_timeout can be read and set between calls; wrong values are refused and change nothing."""
    stream = fed(b"", read_timeout=3, write_timeout=math.inf, linger_timeout=None)
    assert stream.read_timeout == 3
    assert stream.write_timeout is None
    assert stream.linger_timeout is None
    stream.read_timeout, stream.write_timeout = None, 0.5
    assert (stream.read_timeout, stream.write_timeout) == (None, 0.5)
    for name in ("read_timeout", "write_timeout"):
        for wrong in (0, -1, math.nan, "1", True):
            with pytest.raises(ValueError if isinstance(wrong, float) or wrong in (0, -1) else TypeError, match=name):
                setattr(stream, name, wrong)
    assert (stream.read_timeout, stream.write_timeout) == (None, 0.5)


def test_what_a_stream_says_of_itself(fed: Fed, pairs: Pairs) -> None:
    """repr begins with class, descriptor and peer, and tells that it is closed; what only the stream can know cannot be set."""
    stream, _ = pairs.streams("tcp")
    assert repr(stream).startswith(f"<SocketStream fd={stream.fileno()} peer=127.0.0.1:{stream.peer_address[1]} ")
    stream.close()
    assert "closed" in repr(stream)
    for name in ("at_eof", "buffered", "unsent", "closed", "line_limit", "address"):
        with pytest.raises(AttributeError):
            setattr(stream, name, 1)


def test_a_stream_is_neither_pickled_nor_copied(fed: Fed) -> None:
    """pickle and copy refuse a stream with a TypeError that names its class."""
    stream = fed(b"")
    for call in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="BufferedStream"):
            call(stream)


class Counting(BufferedStream):
    """Counts and prepares what is filled and flushed, by the protocol for subclasses."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fills: list[bool] = []
        self.flushes = 0

    def _fill_buffer(self) -> bool:
        self.fills.append(super()._fill_buffer())
        return self.fills[-1]

    def _flush_buffer(self) -> None:
        self.flushes += 1
        super()._flush_buffer()


def test_subclasses_can_stand_in_the_way(pairs: Pairs) -> None:
    """A subclass has attributes and weak references, and its _fill_buffer and _flush_buffer are always used."""
    near, far = memory_pair(10**6)
    stream = pairs.keep(Counting(PiecemealTransport(near, 4)))
    assert weakref.ref(stream)() is stream
    far.send(memoryview(b"0123456789\nrest" + bytes(20_000)), 0, 20_015)
    assert (stream.readline(), stream.fills) == (b"0123456789\n", [True] * 3)
    assert stream.readinto(bytearray(20_004)) == 20_004
    assert len(stream.fills) > 4000
    stream.sendall(b"x")
    assert stream.flushes == 1
    far.end_output()
    assert (stream.read(), stream.fills[-1]) == (b"", False)


def test_fill_buffer_says_whether_there_is_more(fed: Fed) -> None:
    """_fill_buffer brings some more and is false at the end; a limit is ReadTimeout."""
    stream = fed(b"12345678", ended=False, piece=4, read_timeout=0.01)
    assert (stream._fill_buffer(), stream.buffered) == (True, 4)
    assert (stream._fill_buffer(), stream.buffered) == (True, 8)
    with pytest.raises(ReadTimeout):
        stream._fill_buffer()
    fed.far.send_eof()
    assert stream._fill_buffer() is False
    assert stream._fill_buffer() is False
    assert stream.buffered == 8
