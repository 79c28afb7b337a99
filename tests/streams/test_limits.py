"""Bad input and large input: exact limits, memory in proportion to what arrives, and the stream in step afterwards."""

from collections.abc import Callable
from random import Random
from typing import Any

import gevent
import pytest
from kit.conditions import until
from kit.engines import engine_below
from kit.memory import peak_memory
from kit.pairs import Pairs

from geventstreams._streams.lisp import LispStream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import IncompleteRead, LineTooLong, ReadTimeout, WriteTimeout
from geventstreams.testing import PiecemealTransport, memory_pair
from geventstreams.testing.claims import outcome, sample, settle, started

MEGABYTE = 2**20
LIMIT = MEGABYTE


def flood(plain: Any, total: int, block: bytes = bytes(65536)) -> Any:
    """Send so many bytes without a newline from a gevent socket, and then a line."""

    def send() -> None:
        for _ in range(total // len(block)):
            plain.sendall(block)
        plain.sendall(b"\nnext line\n")

    return gevent.spawn(outcome, send)


ENDLESS: dict[str, Callable[[Any], Any]] = {
    "readline": lambda stream: stream.readline(),
    "read_line": lambda stream: stream.read_line(),
    "read_until": lambda stream: stream.read_until(b"\n"),
    "readlines": lambda stream: stream.readlines(),
    "next": next,
    "readline of a size": lambda stream: stream.readline(2**40),
}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
@pytest.mark.parametrize("name", ENDLESS)
def test_a_line_without_end_costs_little(pairs: Pairs, name: str, encoding: str) -> None:
    """64 MiB without a newline: LineTooLong with memory of at most 2 x line_limit + 256 KiB, and then in step again."""
    stream, far = pairs.stream("unix", line_limit=LIMIT, encoding=encoding)
    sending = flood(far, 64 * MEGABYTE)
    with peak_memory() as peak:
        for _ in range(2):
            with pytest.raises(LineTooLong) as caught:
                ENDLESS[name](stream)
        del caught
    assert peak.size <= 2 * LIMIT + 256 * 1024
    with peak_memory() as peak:
        stream.discard_line()
    assert peak.size <= 2 * LIMIT + 256 * 1024
    assert stream.readline() == b"next line\n"
    sending.get()


@pytest.mark.parametrize("excess", [-1, 0, 1])
@pytest.mark.parametrize("piece", [1, 7, 4096, 10**6])
@pytest.mark.parametrize("name", ["readline", "read_line", "read_until", "next"])
def test_a_limit_of_a_line_is_exact(pairs: Pairs, name: str, piece: int, excess: int) -> None:
    """Lines of limit - 1, limit and limit + 1 bytes, whole or in pieces: what fits passes, one more does not."""
    near, far = memory_pair(10**6)
    stream = pairs.keep(LispStream(PiecemealTransport(near, piece), line_limit=6000))
    line = b"x" * (5999 + excess) + b"\n"
    far.send(memoryview(line + b"next\n"), 0, len(line) + 5)
    if excess > 0:
        for _ in range(3):
            with pytest.raises(LineTooLong) as caught:
                ENDLESS[name](stream)
            assert caught.value.limit == 6000
        stream.discard_line()
    else:
        assert ENDLESS[name](stream) == ((line[:-1].decode(), False) if name == "read_line" else line)
    assert stream.readline() == b"next\n"


def test_a_separator_that_comes_too_late_is_too_long_as_well(pairs: Pairs) -> None:
    """It makes no difference whether the separator behind the limit has arrived already."""
    for arrived in (b"x" * 11, b"x" * 11 + b"\r\n", b"x" * 9 + b"\r\n", b"x" * 10 + b"\r"):
        stream, peer = pairs.streams("memory", line_limit=10)
        peer.sendall(arrived)
        with pytest.raises(LineTooLong):
            stream.read_until(b"\r\n")
        assert stream.read(len(arrived)) == arrived
    stream, peer = pairs.streams("memory", line_limit=10)
    peer.sendall(b"x" * 8 + b"\r\nnext\r\n")
    assert [stream.read_until(b"\r\n"), stream.read_until(b"\r\n")] == [b"x" * 8 + b"\r\n", b"next\r\n"]


def test_writing_to_a_peer_that_never_reads_waits(pairs: Pairs, socket_kind: str) -> None:
    """64 MiB written, whole or in pieces, to a peer that never reads: the writer waits, and memory grows by a megabyte."""
    for size in (64 * MEGABYTE, 100_000, 500):
        stream, _ = pairs.stream(socket_kind, write_timeout=0.1)
        data = bytes(size)

        def write_all(stream: Any = stream, data: bytes = data) -> None:
            for _ in range(64 * MEGABYTE // len(data)):
                stream.write(data)

        with peak_memory() as peak:
            writer = started(write_all)
            settle(stream)
            assert not writer.ready()
        assert peak.size <= MEGABYTE
        if size < MEGABYTE:
            assert isinstance(writer.get(), WriteTimeout)
        writer.kill()


def test_a_large_size_allocates_only_what_arrives(pairs: Pairs, kind: str) -> None:
    """read(2**40) and its kin take the memory of what comes, not of what was asked for."""
    calls: list[Callable[[Any], Any]] = [
        lambda stream: stream.read(2**40),
        lambda stream: stream.read1(2**40),
        lambda stream: stream.readline(2**40),
        lambda stream: stream.read_string(2**40),
        lambda stream: stream.peek(2**40),
        lambda stream: stream.readlines(2**40),
    ]
    for call in calls:
        stream, peer = pairs.streams(kind)
        peer.sendall(b"x" * 1000)
        peer.send_eof()
        with peak_memory() as peak:
            assert call(stream) in (b"x" * 1000, "x" * 1000, [b"x" * 1000])
        assert peak.size < 500_000
    stream, peer = pairs.streams(kind)
    peer.sendall(b"x" * 1000)
    peer.send_eof()
    with pytest.raises(IncompleteRead) as caught:
        stream.read_exactly(2**40)
    assert caught.value.partial == b"x" * 1000


def test_memory_goes_back_when_a_stream_is_idle(pairs: Pairs, socket_kind: str) -> None:
    """After megabytes through it, a stream that waits holds no buffer of them."""
    stream, far = pairs.stream(socket_kind)
    far_stream = pairs.keep(SocketStream(far))
    echoing = started(lambda: far_stream.write(far_stream.read_exactly(4 * MEGABYTE)) and far_stream.flush())
    engine = engine_below(stream)
    with peak_memory():
        writing = started(stream.write, bytes(4 * MEGABYTE))
        before = len(engine.input.store or b"")
        writing.get()
        stream.flush()
        assert len(stream.read_exactly(4 * MEGABYTE)) == 4 * MEGABYTE
    echoing.get()
    reader = started(stream.readline)
    assert before <= 65536
    assert (engine.input.store, engine.output.store) == (None, None)
    far.sendall(b"x")
    until(lambda: stream.buffered)
    assert len(engine.input.store) <= 4096
    reader.kill()


def test_invalid_text_stops_at_its_place(pairs: Pairs, kind: str) -> None:
    """Invalid UTF-8: the place is told, the good part before it can be had, and the byte is readable as such."""
    stream, peer = pairs.streams(kind, encoding="utf-8")
    peer.sendall("dobrý\n".encode() + b"bad \xff line\n" + "další\n".encode())
    assert stream.read_line() == ("dobrý", False)
    for call in (stream.read_line, lambda: stream.read_string(9)):
        with pytest.raises(UnicodeDecodeError) as caught:
            call()
        assert (caught.value.start, caught.value.object[4:5]) == (4, b"\xff")
    assert stream.read_string(4) == "bad "
    assert stream.read(1) == b"\xff"
    assert stream.read_line() == (" line", False)
    assert stream.read_line() == ("další", False)


def test_text_and_bytes_mixed_over_a_real_connection(pairs: Pairs, kind: str) -> None:
    """A protocol of lines, counted text and counted bytes in one stream: each part is exactly its own bytes."""
    random = Random(77)
    stream, peer = pairs.streams(kind, encoding="utf-8", element_type=bytes)
    alphabet = "aé€😀\n "
    parts = [
        ("".join(random.choices(alphabet, k=random.randint(0, 200))), random.randbytes(random.randint(0, 3000)))
        for _ in range(200)
    ]

    def send() -> None:
        for text, data in parts:
            peer.write(f"{len(text)} {len(data)}\n".encode())
            peer.write(text.encode() + data + b"\n")
        peer.send_eof()

    sending = gevent.spawn(send)
    for text, data in parts:
        line, missing = stream.read_line()
        characters, count = map(int, line.split())
        assert not missing
        assert stream.read_string(characters) == text
        assert stream.read_exactly(count) == data
        assert stream.read_char() == "\n"
    assert stream.read() == b""
    sending.get()


def test_empty_messages_cost_nothing(pairs: Pairs) -> None:
    """A hundred thousand writes of nothing leave nothing behind, and send nothing."""
    stream, peer = pairs.streams("unix")
    with peak_memory() as peak:
        for _ in range(100_000):
            stream.write(b"")
    assert peak.size < 100_000
    stream.sendall(b"x")
    assert peer.read(1) == b"x"
    assert not peer.listen()


def test_small_writes_cost_little_more_than_their_bytes(pairs: Pairs) -> None:
    """A buffer full of messages of one byte costs memory, but no more than a few times a full buffer."""
    stream, _ = pairs.streams("unix")
    with peak_memory() as peak:
        for _ in range(65_536):
            stream.write(b"x")
    assert peak.size < 4 * MEGABYTE
    assert stream.unsent == 65_536


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-16-le", "utf-32-be", "gb18030", "shift-jis", "euc-jp", "euc-kr", "ascii"]
)
def test_garbage_never_breaks_a_reader(pairs: Pairs, encoding: str) -> None:
    """Random bytes read as text in every way: text, or a refusal that takes nothing, and every byte in the end."""
    random = Random(encoding)
    data = random.randbytes(5000).replace(b"\x07", b"\n")
    near, far = memory_pair(10**5)
    stream = pairs.keep(LispStream(PiecemealTransport(near, 13), encoding=encoding, line_limit=500))
    far.send(memoryview(data), 0, len(data))
    far.end_output()
    calls = (stream.read_char, stream.read_line, stream.peek_char, lambda: stream.read_string(20))
    buffer = engine_below(stream).input
    refused = 0
    while (at := buffer.taken) < len(data):
        said = outcome(random.choice(calls))
        if isinstance(said, (UnicodeDecodeError, LineTooLong)):
            refused += 1
            assert buffer.taken == at
            assert stream.read(1) == data[at : at + 1]
        else:
            text = said[0] if isinstance(said, tuple) else said
            assert isinstance(text, str), text
    assert refused > 50
    assert stream.read() == b""


def test_a_limit_is_no_limit_for_other_reads(pairs: Pairs) -> None:
    """line_limit bounds lines only: read, readinto, read_exactly and read_string go beyond it."""
    stream, peer = pairs.streams("memory", line_limit=10)
    for call in (stream.read, stream.read_exactly, stream.read_string):
        peer.sendall(b"x" * 100)
        assert len(call(100)) == 100
    peer.sendall(sample(100))
    assert stream.readinto(bytearray(100)) == 100
    stream.read_timeout = 0.01
    peer.sendall(b"x" * 10)
    assert isinstance(outcome(stream.readline), ReadTimeout)
    peer.sendall(b"x")
    assert isinstance(outcome(stream.readline), LineTooLong)
