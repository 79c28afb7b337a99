"""Streams that never wait: every operation with bytes there, with none yet, and at the end."""

from __future__ import annotations

import array
import io
import pickle
import random
import sys
import time

import gevent
import numpy
import pytest
from kit.callbacks import Calls, in_greenlet, received, rest_of, rounds
from kit.conditions import until
from kit.network import reset

from geventstreams import (
    AsyncInputStream,
    AsyncIOStream,
    AsyncOutputStream,
    AsyncStream,
    EndOfFile,
    IncompleteRead,
    LineTooLong,
    SocketStream,
    StreamClosed,
    StreamReset,
    WaitSet,
    wait_for_input_streams,
)
from geventstreams.testing import StallingTransport

pytestmark = pytest.mark.usefixtures("reports")

CHARACTERS = "w" if sys.version_info >= (3, 13) else "u"


class Joined:
    """A stream, and the plain socket at its other end."""

    def __init__(self, endpoints, **options):
        self.stream, self.peer = endpoints.joined(lambda _socket, _stream: None, lambda _event: None, stream=True, **options)
        until(lambda: self.stream.fileno() >= 0)

    def feed(self, data):
        """Return when these bytes are in the stream."""
        before = self.stream.buffered
        self.peer.sendall(data)
        until(lambda: self.stream.buffered == before + len(data))

    def end(self):
        """Return when the stream knows of the end."""
        self.peer.close()
        until(lambda: self.stream.closed)


@pytest.fixture
def joined(endpoints):
    return Joined(endpoints)


@pytest.fixture
def make(endpoints):
    return lambda **options: Joined(endpoints, **options)


def test_the_classes():
    """Streams for input and for output are streams; the one for both is either; all are binary files."""
    assert issubclass(AsyncInputStream, AsyncStream)
    assert issubclass(AsyncOutputStream, AsyncStream)
    assert issubclass(AsyncIOStream, AsyncInputStream)
    assert issubclass(AsyncIOStream, AsyncOutputStream)
    assert issubclass(AsyncIOStream, io.BufferedIOBase)


def test_the_whole_vocabulary_is_there():
    """Whatever can be called on a socket stream can be called on one that never waits, but for what replaces its socket
    or tells the client's address behind a balancer."""
    missing = {name for name in dir(SocketStream) if not name.startswith("_")} - set(dir(AsyncIOStream))
    assert missing == {"proxy", "replace_socket"}


NOTHING_YET = [
    ("read", (), None), ("read", (0,), b""), ("read", (5,), None), ("read1", (), None), ("read1", (5,), None), ("peek", (), b""),
    ("readline", (), None), ("readline", (5,), None), ("readlines", (), []), ("read_exactly", (3,), None), ("read_exactly", (0,), b""),
    ("read_until", (b";",), None), ("read_available", (), b""), ("discard_line", (), False), ("read_byte", (), None),
    ("read_char", (), None),
    ("read_char_no_hang", (), None), ("peek_char", (), None), ("peek_char", (True,), None), ("read_line", (), None),
    ("read_string", (5,), ""),
    ("listen", (), False), ("read_sequence", (bytearray(5),), 0), ("read_sequence", (bytearray(5), 2), 2),
    ("read_sequence", (bytearray(5), 1, 3), 1), ("read_sequence", ([0] * 5, 2), 2),
    ("read_sequence", (array.array(CHARACTERS, "xyz"), 1), 1), ("read_sequence", (memoryview(bytearray(5)), 2), 2),
    ("read_sequence", (memoryview(bytearray(20000)), 3, 19000), 3), ("read_sequence", (array.array("b", b"12345"), 4), 4),
    ("readinto", (bytearray(20000),), None), ("readinto1", (bytearray(20000),), None),
    ("readinto", (bytearray(5),), None), ("readinto", (bytearray(),), 0), ("readinto1", (bytearray(5),), None),
]


@pytest.mark.parametrize(("name", "arguments", "result"), NOTHING_YET)
def test_nothing_yet(virtual_clock, joined, name, arguments, result):
    """With nothing there and the input open, no call waits: it says that there is nothing yet."""
    started = virtual_clock.now
    assert getattr(joined.stream, name)(*arguments) == result
    assert virtual_clock.now == started
    assert not joined.stream.at_eof


AT_THE_END = [
    ("read", (), b""), ("read", (5,), b""), ("read1", (), b""), ("peek", (), b""), ("readline", (), b""), ("readlines", (), []),
    ("read_exactly", (3,), IncompleteRead), ("read_until", (b";",), IncompleteRead), ("read_available", (), EndOfFile),
    ("discard_line", (), True), ("read_byte", (), EndOfFile), ("read_byte", (False, -1), -1), ("read_char", (), EndOfFile),
    ("read_char", (False, "eof"), "eof"), ("read_char_no_hang", (), EndOfFile), ("peek_char", (), EndOfFile), ("read_line", (), EndOfFile),
    ("read_line", (False, "eof"), ("eof", True)), ("read_string", (5,), ""), ("listen", (), False), ("read_sequence", (bytearray(5),), 0),
    ("read_sequence", (bytearray(5), 2), 2), ("read_sequence", (memoryview(bytearray(20000)), 3), 3), ("read_sequence", ([0] * 5, 1), 1),
    ("readinto", (bytearray(5),), 0), ("readinto1", (bytearray(5),), 0),
]


@pytest.mark.parametrize(("name", "arguments", "result"), AT_THE_END)
def test_at_the_end(joined, name, arguments, result):
    """At the end of the input each call says so as its vocabulary does, and says it again."""
    joined.end()
    for _ in range(2):
        if isinstance(result, type):
            with pytest.raises(result):
                getattr(joined.stream, name)(*arguments)
        else:
            assert getattr(joined.stream, name)(*arguments) == result
    assert joined.stream.at_eof


@pytest.mark.parametrize(("name", "arguments", "result"), AT_THE_END)
def test_behind_a_reset(joined, name, arguments, result):
    """Where the input ended in an error each call raises that, again and again, except for `listen` and `read_sequence`, into any kind."""
    reset(joined.peer)
    until(lambda: joined.stream.closed)
    for _ in range(2):
        if name in {"listen", "read_sequence"}:
            assert getattr(joined.stream, name)(*arguments) == result
        else:
            with pytest.raises(StreamReset):
                getattr(joined.stream, name)(*arguments)


THERE = [
    ("read", (), b"ab\ncd", b""), ("read", (4,), b"ab\nc", b"d"), ("read", (9,), b"ab\ncd", b""), ("read1", (2,), b"ab", b"\ncd"),
    ("peek", (2,), b"ab", b"ab\ncd"), ("peek", (), b"ab\ncd", b"ab\ncd"), ("readline", (), b"ab\n", b"cd"),
    ("readline", (2,), b"ab", b"\ncd"), ("readlines", (), [b"ab\n"], b"cd"), ("read_exactly", (4,), b"ab\nc", b"d"),
    ("read_exactly", (6,), None, b"ab\ncd"), ("read_until", (b"\nc",), b"ab\nc", b"d"), ("read_until", (b";",), None, b"ab\ncd"),
    ("read_available", (), b"ab\ncd", b""), ("discard_line", (), True, b"cd"), ("read_byte", (), 97, b"b\ncd"),
    ("read_char", (), "a", b"b\ncd"), ("read_char_no_hang", (), "a", b"b\ncd"), ("peek_char", (), "a", b"ab\ncd"),
    ("peek_char", ("c",), "c", b"cd"), ("peek_char", ("x",), None, b""), ("read_line", (), ("ab", False), b"cd"),
    ("read_string", (4,), "ab\nc", b"d"), ("read_string", (9,), "ab\ncd", b""), ("listen", (), True, b"ab\ncd"),
    ("read_sequence", (bytearray(4),), 4, b"d"), ("read_sequence", (bytearray(9), 2), 7, b""),
    ("read_sequence", (memoryview(bytearray(3)),), 3, b"cd"), ("read_sequence", ([0] * 9, 1, 4), 4, b"cd"),
    ("read_sequence", (array.array(CHARACTERS, "x" * 9),), 5, b""), ("readinto", (bytearray(4),), 4, b"d"),
    ("readinto", (bytearray(9),), 5, b""), ("readinto1", (bytearray(9),), 5, b""), ("clear_input", (), None, b""),
]


@pytest.mark.parametrize(("name", "arguments", "result", "rest"), THERE)
def test_what_is_there(joined, name, arguments, result, rest):
    """With bytes there each call takes what it should, and leaves exactly the rest."""
    joined.feed(b"ab\ncd")
    assert getattr(joined.stream, name)(*arguments) == result
    assert joined.stream.read_available() == rest


def test_reading_copies_what_fits(joined):
    """`read_sequence` fills its part of the sequence and nothing beside it."""
    joined.feed(b"abcdefgh")
    space = bytearray(b"----------")
    assert joined.stream.read_sequence(space, 2, 5) == 5
    assert space == b"--abc-----"
    assert joined.stream.read_sequence(space, 8) == 10
    assert space == b"--abc---de"
    elements = [None] * 3
    assert joined.stream.read_sequence(elements, 1, 2) == 2
    assert elements == [None, ord("f"), None]
    assert joined.stream.read() == b"gh"


@pytest.mark.parametrize("kind", [bytearray, lambda data: memoryview(bytearray(data)), list])
@pytest.mark.parametrize(("start", "end", "error", "message"), [
    (0, 11, IndexError, "end must be within 0..10, not 11"),
    (0, 2**100, IndexError, "end must be within"),
    (5, 4, IndexError, "end must be within 5..10, not 4"),
    (0, -1, IndexError, "end must be within"),
    (11, None, IndexError, "start must be within 0..10, not 11"),
    (-1, None, IndexError, "start must be within"),
    (-(2**100), None, IndexError, "start must be within"),
    (None, None, TypeError, "start must be an integer"),
    (0, "5", TypeError, "end must be an integer"),
    (0, 1.5, TypeError, "end must be an integer"),
])
def test_bounds_that_are_none_take_nothing(joined, kind, start, end, error, message):
    """Bounds outside of the sequence, or of another kind than integers, are refused by their name, and nothing is taken."""
    joined.feed(b"abcdefgh")
    with pytest.raises(error, match=message):
        joined.stream.read_sequence(kind(bytes(10)), start, end)
    assert joined.stream.read() == b"abcdefgh"


def test_bounds_may_be_whatever_is_an_integer(joined):
    """An integer of numpy or True is a bound like any other."""
    joined.feed(b"abcdefgh")
    space = bytearray(b"----------")
    assert joined.stream.read_sequence(space, True, numpy.int64(3)) == 3
    assert space == b"-ab-------"


def test_a_part_is_left_until_it_is_whole(joined):
    """Half a line, half a record, and half a separator stay where they are; the whole comes when the rest has arrived."""
    stream = joined.stream
    joined.feed(b"half a li")
    for _ in range(3):
        assert stream.readline() is None
        assert stream.read_line() is None
        assert stream.read_until(b"ne\n") is None
        assert stream.read_exactly(10) is None
        assert stream.buffered == 9
    joined.feed(b"ne\nnext")
    assert stream.read_line() == ("half a line", False)
    assert list(stream) == []
    joined.feed(b"\nanother\nlast")
    assert list(stream) == [b"next\n", b"another\n"]
    assert list(stream) == []
    joined.end()
    assert list(stream) == [b"last"]
    assert list(stream) == []


def test_half_a_character_waits_for_its_rest(make):
    """A character of several bytes is not there until it is whole; at the end of the input its half is an error."""
    joined = make(encoding="utf-8", element_type="base-char")
    stream = joined.stream
    joined.feed("ß€".encode()[:3])
    assert stream.read_char() == "ß"
    assert stream.read_char() is None
    assert stream.peek_char() is None
    assert stream.read_string(5) == ""
    assert stream.read_char_no_hang() is None
    joined.feed("€".encode()[1:])
    stream.unread_char(stream.read_char())
    assert stream.read_string(5) == "€"
    joined.feed("grüße\n".encode())
    assert stream.read_line() == ("grüße", False)
    joined.feed(b"\xe2\x82")
    joined.end()
    with pytest.raises(UnicodeDecodeError):
        stream.read_char()
    assert stream.read_available() == b"\xe2\x82"


def test_wide_newlines(make):
    """Lines of an encoding whose characters have two bytes are whole when both bytes of the newline are there."""
    joined = make(encoding="utf-16-le", element_type="base-char")
    text = "aਊb\n".encode("utf-16-le")
    joined.feed(text[:-1])
    assert joined.stream.read_line() is None
    joined.feed(text[-1:])
    assert joined.stream.read_line() == ("aਊb", False)


def test_a_line_without_end_is_refused(make):
    """More bytes than `line_limit` without a newline are LineTooLong, nothing is taken, and `discard_line` brings the stream in step."""
    joined = make(line_limit=100)
    stream = joined.stream
    joined.feed(b"x" * 100)
    assert (stream.readline(), stream.read_line()) == (None, None)
    joined.feed(b"y")
    for call in (stream.readline, stream.read_line, lambda: stream.read_until(b"\n"), stream.readlines):
        with pytest.raises(LineTooLong):
            call()
    assert stream.buffered == 101
    assert stream.discard_line() is False
    assert stream.buffered == 0
    joined.feed(b"zz\nnext\n")
    assert stream.discard_line() is True
    assert stream.readline() == b"next\n"


def test_text_and_bytes_mix_exactly(joined):
    """Reading alternately by bytes, characters, lines and pieces is exact to the byte."""
    stream = joined.stream
    joined.feed(b"ab\x00\xffline\n123456789rest")
    assert stream.read_byte() == 97
    assert stream.read_char() == "b"
    stream.unread_char("b")
    assert stream.read_exactly(2) == b"b\0"
    assert stream.read_byte() == 255
    assert stream.readline() == b"line\n"
    assert stream.read_string(3) == "123"
    assert stream.read_until(b"7") == b"4567"
    assert stream.read(2) == b"89"
    assert stream.read_available() == b"rest"


def test_signed_bytes(make):
    """The element type decides what `read_byte` and a list get."""
    joined = make(element_type="signed-byte-8")
    joined.feed(b"\xff\x01\x80")
    assert joined.stream.read_byte() == -1
    elements = [0, 0]
    assert joined.stream.read_sequence(elements) == 2
    assert elements == [1, -128]
    joined.stream.write_byte(-2)
    assert received(joined.peer, 1) == b"\xfe"


@pytest.mark.parametrize("seed", range(4))
def test_reading_is_what_bytesio_does(make, seed):
    """4,000 random reads of all kinds, with bytes coming in random pieces, give what `io.BytesIO` gives."""
    draw = random.Random(seed)
    print("seed", seed)
    joined = make(element_type="unsigned-byte-8")
    stream, model, fed = joined.stream, io.BytesIO(), 0
    for _ in range(4000):
        if draw.random() < 0.2:
            data = bytes(draw.choice(b"ab\n\xff") for _ in range(draw.randrange(1, 300)))
            joined.feed(data)
            at = model.tell()
            model.seek(0, io.SEEK_END)
            fed += model.write(data)
            model.seek(at)
        held = fed - model.tell()
        size = draw.randrange(0, 40)
        choice = draw.randrange(6)
        if choice == 0:
            assert (stream.read(size) or b"") == model.read(size)
        elif choice == 1:
            space, other = bytearray(size), bytearray(size)
            assert stream.read_sequence(space) == model.readinto(other)
            assert space == other
        elif choice == 2:
            got = stream.read_exactly(size)
            assert got == (model.read(size) if size <= held else None)
        elif choice == 3:
            at = model.tell()
            line = model.readline()
            if not line.endswith(b"\n"):
                model.seek(at)
                line = None
            assert stream.readline() == line
        elif choice == 4:
            got = stream.read_byte()
            assert got == next(iter(model.read(1)), None)
        else:
            assert stream.read_string(size) == model.read(size).decode("latin-1")
        assert stream.buffered == fed - model.tell()


def test_draining_costs_what_is_drained(joined):
    """Draining 4 MiB in pieces of one byte costs at most a few times as much for each byte as draining 256 KiB: nothing is copied
    again and again."""
    def cost(count):
        left, best = count, 0.0
        while left:
            piece = min(left, 200_000)
            joined.feed(bytes(piece))
            read = joined.stream.read_byte
            started = time.process_time()
            for _ in range(piece):
                read()
            best += time.process_time() - started
            left -= piece
        return best / count

    small = min(cost(20_000) for _ in range(3))
    assert min(cost(200_000) for _ in range(3)) < 4 * small


# Writing.


def test_what_is_written_in_one_turn_leaves_together(joined):
    """All writes of one iteration of the hub arrive as one packet in their order, by each method that writes."""
    stream = joined.stream
    stream.write(b"1")
    stream.write_byte(50)
    stream.write_string("3")
    stream.write_char("4")
    stream.write_line("5")
    stream.write_sequence([54, 55])
    stream.writelines([b"8", b"9"])
    stream.terpri()
    assert stream.fresh_line() is False
    stream.socket.write("end")
    assert stream.fresh_line() is True
    assert stream.unsent == 15
    assert joined.peer.recv(100) == b"12345\n6789\nend\n"
    assert stream.unsent == 0


def test_a_write_is_sent_though_its_writer_goes_on_waiting(joined):
    """The output of a callback before it waits is sent in the same iteration of the hub, not when the callback returns."""
    gate = gevent.event.Event()

    def write_and_wait():
        joined.stream.write(b"now")
        gate.wait()

    gevent.spawn(write_and_wait)
    assert received(joined.peer, 3) == b"now"
    gate.set()


def test_force_output_sends_now(joined):
    """`force_output` and `flush` send before they return, without waiting."""
    joined.stream.write(b"a")
    joined.stream.force_output()
    assert joined.stream.unsent == 0
    joined.stream.write(b"b")
    joined.stream.flush()
    assert joined.stream.unsent == 0
    joined.stream.sendall(b"c")
    assert joined.stream.unsent == 0
    assert received(joined.peer, 3) == b"abc"


def test_finish_output_waits_until_all_is_sent(make):
    """`finish_output` returns when all is with the system, and not before."""
    joined = make(receive=4096)
    joined.stream.write(bytes(2**23))
    waiter = gevent.spawn(joined.stream.finish_output)
    rounds()
    assert not waiter.ready()
    assert len(received(joined.peer, 2**23)) == 2**23
    waiter.get(timeout=10)
    assert joined.stream.unsent == 0
    in_greenlet(joined.stream.finish_output)


def test_clear_output_drops_what_has_not_begun(make):
    """`clear_output` drops unsent messages, but never the rest of one whose beginning was sent."""
    joined = make(receive=4096)
    stream = joined.stream
    stream.write(b"gone")
    stream.clear_output()
    assert stream.unsent == 0
    stream.write(b"a" * 2**23)
    stream.force_output()
    rounds()
    stream.write(b"b" * 100)
    stream.write(b"c" * 10000)
    stream.clear_output()
    stream.close()
    assert rest_of(joined.peer) == b"a" * 2**23


def test_clear_output_ends_the_wait_of_who_drains(joined):
    """A `finish_output` that waits for room for what is dropped returns at once: nothing is left to send."""
    stream = joined.stream
    engine = stream._waitable()
    stalling = StallingTransport(engine.transport)
    engine.plug(stalling)
    stalling.stall("output")
    stream.write(b"dropped")
    waiter = gevent.spawn(stream.finish_output)
    rounds()
    assert not waiter.ready()
    stream.clear_output()
    until(waiter.ready)
    assert (waiter.exception, stream.unsent) == (None, 0)
    stalling.resume()
    stream.write(b"kept")
    stream.close()
    assert rest_of(joined.peer) == b"kept"


def test_large_writes_are_not_copied(make):
    """What is kept of a large immutable write is the caller's object; of one that may change, a copy is taken at once."""
    joined = make(receive=4096)
    stream = joined.stream
    changing = bytearray(b"b" * 2**16)
    stream.write(b"a" * 2**23)
    stream.write(changing)
    changing[:] = b"x" * 2**16
    stream.write(memoryview(b"c" * 2**16)[5:])
    small = bytearray(b"d" * 10)
    stream.write(small)
    small[:] = b"x" * 10
    stream.close()
    assert rest_of(joined.peer) == b"a" * 2**23 + b"b" * 2**16 + b"c" * (2**16 - 5) + b"d" * 10


def test_many_writes_of_all_sizes_arrive_in_order(make):
    """10,000 writes of random sizes to a slow peer arrive whole and in order."""
    draw = random.Random(7)
    joined = make(receive=65536)
    content = draw.randbytes(200_000)
    sent = []
    for _ in range(10_000):
        size = draw.choice((1, 10, 100, 5000, 60_000) if draw.random() < 0.02 else (1, 10, 100))
        at = draw.randrange(len(content) - size)
        joined.stream.write(content[at : at + size])
        sent.append(content[at : at + size])
        if draw.random() < 0.01:
            gevent.sleep(0)
    joined.stream.close()
    assert rest_of(joined.peer) == b"".join(sent)


# Halves and ends.


def test_the_wrong_half_is_refused(endpoints):
    """A stream for input refuses to write, one for output to read, and its socket goes on draining."""
    calls = Calls()
    client, peer = endpoints.joined(calls.read, calls.event)
    stream = AsyncOutputStream(socket=client)
    assert stream.direction == "output"
    assert stream.readable() is False
    assert stream.writable() is True
    with pytest.raises(io.UnsupportedOperation):
        stream.read()
    stream.write(b"out")
    assert received(peer, 3) == b"out"
    peer.sendall(b"in")
    until(lambda: calls.data == b"in")
    assert calls.streams == []
    client, peer = endpoints.joined(calls.read, calls.event)
    stream = AsyncInputStream(socket=client)
    assert stream.direction == "input"
    assert stream.readable() is True
    assert stream.writable() is False
    with pytest.raises(io.UnsupportedOperation):
        stream.write(b"x")
    client.write(b"the socket can")
    assert received(peer, 14) == b"the socket can"
    peer.sendall(b"more")
    until(lambda: calls.streams == [stream])
    both, _peer = endpoints.joined(calls.read, calls.event)
    assert AsyncStream(socket=both).direction == "io"


def test_shutdown_of_the_input(joined):
    """After `shutdown("input")` what is there can be read, then reading is StreamClosed; output goes on."""
    joined.feed(b"kept")
    joined.stream.shutdown("input")
    assert joined.stream.read() == b"kept"
    with pytest.raises(StreamClosed):
        joined.stream.read()
    joined.stream.write(b"still")
    assert received(joined.peer, 5) == b"still"


def test_shutdown_of_the_output(joined):
    """`shutdown("output")` ends our sending half behind what was written; reading goes on."""
    joined.stream.write(b"last")
    joined.stream.shutdown("output")
    assert rest_of(joined.peer) == b"last"
    joined.feed(b"answer")
    assert joined.stream.read() == b"answer"


def test_closing(make):
    """`close` is the socket's: what was written arrives; `abort` resets; afterwards everything but the state is StreamClosed."""
    joined = make()
    stream = joined.stream
    socket = stream.socket
    stream.write(b"last")
    stream.close()
    assert rest_of(joined.peer) == b"last"
    assert stream.closed is True
    assert socket.closed is True
    assert stream.fileno() == -1
    assert stream.buffered == 0
    for call in (stream.read, stream.read_available, lambda: stream.read_sequence(bytearray()), lambda: stream.write(b""), stream.listen,
                 stream.clear_input, stream.clear_output, stream.force_output, stream.finish_output, stream.send_eof, lambda: iter(stream)):
        with pytest.raises(StreamClosed):
            call()
    stream.close()
    stream.close(abort=True)
    assert "closed" in repr(stream)
    joined = make()
    joined.stream.abort()
    with pytest.raises(ConnectionResetError):
        rest_of(joined.peer)
    joined = make()
    with joined.stream as same:
        same.write(b"with")
    assert rest_of(joined.peer) == b"with"
    joined = make()
    with pytest.raises(ZeroDivisionError), joined.stream:
        raise ZeroDivisionError
    with pytest.raises(ConnectionResetError):
        rest_of(joined.peer)


def test_a_text_file_reads_only_what_is_there(joined):
    """Lines of a text file are those that are whole, a read takes what is there, and both are empty where nothing is; nothing is lost."""
    file = joined.stream.makefile("r", encoding="utf-8")
    assert (file.readline(), file.read(), file.read(3), file.readlines(), list(file)) == ("", "", "", [], [])
    joined.feed("one\ntwö".encode()[:-1])
    assert (file.readlines(), file.readline()) == (["one\n"], "")
    joined.feed("ö\nthree".encode()[1:])
    assert (list(file), file.readline(2)) == (["twö\n"], "th")
    joined.feed("é".encode()[:1])
    assert (file.read(), file.read(1)) == ("ree", "")
    joined.feed("é\nlast".encode()[1:])
    assert file.readline() == "é\n"
    joined.end()
    assert (file.readline(), file.readline()) == ("last", "")


def test_addresses_are_known_after_closing(joined):
    """A stream knows both ends, also when it is closed."""
    stream = joined.stream
    ends = stream.address, stream.peer_address
    assert ends == (joined.peer.getpeername(), joined.peer.getsockname())
    stream.close()
    assert (stream.address, stream.peer_address) == ends


def test_timeouts_are_properties(joined):
    """`read_timeout` and `write_timeout` are the socket's limits, and can be set."""
    stream = joined.stream
    assert stream.read_timeout is None
    assert stream.write_timeout is None
    assert stream.linger_timeout == 2.0
    stream.read_timeout = 5
    stream.write_timeout = 7
    assert (stream.read_timeout, stream.write_timeout) == (5, 7)
    with pytest.raises(ValueError, match="must be positive"):
        stream.read_timeout = 0
    stream.close()
    with pytest.raises(StreamClosed):
        stream.read_timeout = 5


def test_waiting_for_a_stream_that_never_waits(joined):
    """The waiting half works on it: ready when its connection has brought bytes or an end."""
    assert wait_for_input_streams([joined.stream], timeout=0) == []
    waiter = gevent.spawn(wait_for_input_streams, [joined.stream], timeout=10)
    rounds()
    joined.peer.sendall(b"x")
    assert waiter.get(timeout=10) == [joined.stream]
    assert joined.stream.read() == b"x"
    waiter = gevent.spawn(wait_for_input_streams, [joined.stream], timeout=10)
    rounds()
    joined.peer.close()
    assert waiter.get(timeout=10) == [joined.stream]


def test_files_over_it(joined):
    """`makefile` gives files over the stream; a stream does not pickle."""
    with joined.stream.makefile("w", encoding="utf-8") as file:
        file.write("grüße\n")
    assert received(joined.peer, 8) == "grüße\n".encode()
    joined.feed(b"line\n")
    assert joined.stream.makefile("rb").readline() == b"line\n"
    assert not joined.stream.closed
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(joined.stream)


def test_a_subclass_can_be_made(endpoints):
    """A user's own class of streams takes the place of the socket's."""
    class Mine(AsyncIOStream):
        def shout(self):
            return self.read_available().upper()

    calls = Calls()
    client, peer = endpoints.joined(calls.leave, dont_drain_read_buffer=True)
    stream = Mine(socket=client)
    stream.own = 1
    peer.sendall(b"hello")
    until(lambda: calls.streams == [stream])
    assert stream.shout() == b"HELLO"


def test_what_is_left_when_the_connection_is_over_is_waited_for(joined):
    """A stream whose connection is over stays a member of a WaitSet, and is ready, until it is closed: it still has bytes, and the end."""
    joined.feed(b"the last words")
    with WaitSet([joined.stream]) as members:
        joined.end()
        for _ in range(3):
            assert members.wait(0) == [joined.stream]
        assert joined.stream.read() == b"the last words"
        assert members.wait(0) == [joined.stream]
        members.discard(joined.stream)
        members.add(joined.stream)
        assert wait_for_input_streams([joined.stream], timeout=0) == members.wait(0) == [joined.stream]
        joined.stream.close()
        assert members.wait(0) == [joined.stream]
        assert len(members) == 0
        with pytest.raises(StreamClosed):
            members.add(joined.stream)
