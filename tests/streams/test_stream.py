"""SocketStream: construction, and the Lisp vocabulary on any transport, element type and encoding."""

import array
import errno
import gc
import io
import math
import os
import socket
import ssl
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import gevent.socket
import numpy
import pytest
from kit.conditions import until
from kit.fed import Fed
from kit.forking import child
from kit.leftovers import open_descriptor
from kit.pairs import Pairs

import geventstreams
from geventstreams import AsyncIOStream, AsyncSocket, BufferedStream, SocketTransport
from geventstreams._streams.elements import ElementType
from geventstreams._streams.lisp import LispStream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import EndOfFile, LineTooLong, StreamClosed, StreamError, StreamReset, UnsuitableSocket
from geventstreams.testing import memory_pair
from geventstreams.testing.claims import outcome, started

CHARACTERS = "w" if sys.version_info >= (3, 13) else "u"


@pytest.fixture
def fed(pairs: Pairs) -> Fed:
    return Fed(pairs, LispStream)


# Construction.


def test_every_kind_of_connected_socket_is_taken(pairs: Pairs, socket_kind: str) -> None:
    """gevent and standard-library sockets and integer handles, by the name socket or handle, make a stream."""
    makers: list[Callable[[socket.socket], Any]] = [
        lambda one: one, lambda one: one.detach(), pairs.far, lambda one: numpy.int64(one.detach()).item(),
    ]  # fmt: skip
    for make in makers:
        for name in ("socket", "handle"):
            near, far = pairs.sockets(socket_kind)
            stream = pairs.keep(SocketStream(**{name: make(near)}))
            far.sendall(b"hello\n")
            assert stream.read_line() == ("hello", False)


def test_one_of_socket_and_handle(pairs: Pairs) -> None:
    """Neither or both of socket and handle is a TypeError that leaves the socket alone."""
    near, far = pairs.sockets()
    for arguments in ({}, {"socket": near, "handle": near.fileno()}):
        with pytest.raises(TypeError, match=r"socket and handle.*(neither|both)"):
            SocketStream(**arguments)
    far.sendall(b"x")
    assert near.recv(1) == b"x"


WRONG = [
    ({"direction": "both"}, ValueError), ({"direction": None}, ValueError), ({"element_type": "nibble"}, ValueError),
    ({"element_type": 8}, TypeError), ({"encoding": "utf-16"}, ValueError), ({"encoding": None}, TypeError),
    ({"read_timeout": 0}, ValueError), ({"read_timeout": -1.5}, ValueError), ({"read_timeout": "1"}, TypeError),
    ({"write_timeout": math.nan}, ValueError), ({"write_timeout": True}, TypeError), ({"line_limit": 0}, ValueError),
    ({"line_limit": -5}, ValueError), ({"line_limit": 1.5}, TypeError), ({"linger_timeout": 0}, ValueError),
    ({"linger_timeout": []}, TypeError),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "kind"), WRONG, ids=[str(arguments) for arguments, _ in WRONG])
def test_wrong_arguments_leave_the_socket_alone(pairs: Pairs, arguments: dict[str, Any], kind: type[Exception]) -> None:
    """A wrong argument is refused with its name and value, and the caller's socket stays open, untouched and the caller's."""
    near, far = pairs.sockets()
    near.settimeout(7)
    ((name, value),) = arguments.items()
    with pytest.raises(kind, match=name) as caught:
        SocketStream(near, **arguments)
    assert repr(value) in str(caught.value)
    far.sendall(b"x")
    assert (near.gettimeout(), near.recv(1)) == (7, b"x")


def test_limits_may_be_infinite(pairs: Pairs) -> None:
    """None and infinity mean no limit, for seconds and for bytes."""
    for none in (None, math.inf):
        near, _ = pairs.sockets()
        stream = SocketStream(near, read_timeout=none, write_timeout=none, line_limit=none, linger_timeout=none)
        limits = (stream.read_timeout, stream.write_timeout, stream.line_limit, stream.linger_timeout)
        pairs.keep(stream)
        assert limits == (None, None, None, None)


def unsuitable(pairs: Pairs) -> dict[str, Any]:
    """What is no connected stream socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    unix_listener = socket.socket(socket.AF_UNIX)
    unix_listener.bind("\0geventstreams test " + str(os.getpid()))
    unix_listener.listen()
    datagrams, other = socket.socketpair(type=socket.SOCK_DGRAM)
    packets, another = socket.socketpair(type=socket.SOCK_SEQPACKET)
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    made = {
        "listener": listener, "unix listener": unix_listener, "datagrams": datagrams, "packets": packets,
        "unconnected datagrams": bound, "unconnected": socket.socket(), "no peer": socket.socket(socket.AF_UNIX),
    }  # fmt: skip
    pairs.made += [*made.values(), other, another]
    return made


@pytest.mark.parametrize("as_handle", [False, True])
def test_what_is_no_connected_stream_socket_is_refused(pairs: Pairs, as_handle: bool) -> None:
    """Listeners, datagram and unconnected sockets are refused as StreamError and ValueError, and stay open."""
    for name, one in unsuitable(pairs).items():
        with pytest.raises(StreamError) as caught:
            SocketStream(one.fileno() if as_handle else one)
        assert isinstance(caught.value, ValueError), name
        assert open_descriptor(one.fileno()), name


def test_files_and_closed_descriptors_are_refused(pairs: Pairs, tmp_path: Any) -> None:
    """A file, a pipe, a closed socket and a number that is no descriptor are refused, and files stay open."""
    near, _ = pairs.sockets()
    number = near.fileno()
    near.close()
    reading, writing = os.pipe()
    with open(tmp_path / "file", "wb") as file:
        for wrong in (near, number, -1, 10**6, file.fileno(), reading, writing):
            with pytest.raises((StreamError, ValueError), match="socket"):
                SocketStream(wrong)
        assert not file.closed
    os.close(reading)
    os.close(writing)


def test_other_objects_are_refused() -> None:
    """What is neither a socket nor a number is a TypeError that shows it."""
    for wrong in ("127.0.0.1", 5.0, True, object(), io.BytesIO(), (1, 2)):
        with pytest.raises(TypeError, match="socket"):
            SocketStream(wrong)


def test_a_socket_has_one_stream(pairs: Pairs) -> None:
    """A socket object that a stream owns is refused by every other one, and not touched, until it is handed back."""
    near, far = pairs.sockets("unix")
    first, other = pairs.keep(SocketStream(near)), pairs.keep(SocketStream(pairs.sockets("unix")[0]))
    for take in (SocketStream, SocketTransport, other.replace_socket, partial(setattr, other, "socket")):
        result = outcome(take, near)
        assert isinstance(result, UnsuitableSocket)
        assert "is another stream's" in str(result)
        assert result.errno == errno.EBUSY
    far.sendall(b"one\n")
    assert first.readline() == b"one\n"
    assert first.replace_socket(None) is near
    second = pairs.keep(SocketStream(near))
    far.sendall(b"two\n")
    assert second.readline() == b"two\n"
    second.close()
    with pytest.raises(UnsuitableSocket, match="is closed"):
        SocketStream(near)


@pytest.mark.parametrize("given", ["socket", "number"])
def test_a_descriptor_has_one_stream(pairs: Pairs, given: str) -> None:
    """The number of a descriptor that a stream owns is refused by every other one, and not touched, until it is handed back."""
    near, far = pairs.sockets("unix")
    number = near.fileno()
    first = pairs.keep(SocketStream(near if given == "socket" else near.detach()))
    other = pairs.keep(SocketStream(pairs.sockets("unix")[0]))
    for take in (SocketStream, SocketTransport, other.replace_socket, partial(setattr, other, "socket")):
        result = outcome(take, number)
        assert isinstance(result, UnsuitableSocket)
        assert result.errno == errno.EBUSY
    far.sendall(b"one\n")
    assert first.readline() == b"one\n"
    back = first.replace_socket(None)
    assert back is not None
    second = pairs.keep(SocketStream(back.detach()))
    far.sendall(b"two\n")
    assert second.readline() == b"two\n"


def connection_at(pairs: Pairs, number: int) -> Any:
    """Give a new connection the number of a descriptor, which is closed if it is open, and return the peer."""
    near, far = pairs.sockets("unix")
    descriptor = near.detach()
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
    return far


@pytest.mark.parametrize("ending", ["close", "__del__"])
def test_the_number_of_a_descriptor_may_be_a_later_stream_s(pairs: Pairs, ending: str) -> None:
    """Once its owner has closed a descriptor, the next connection that has this number gets a stream."""
    transport = SocketTransport(pairs.sockets("unix")[0].detach())
    number = transport.fileno()
    if ending == "close":
        transport.close()
    else:
        del transport
        gc.collect()
    assert not open_descriptor(number)
    far = connection_at(pairs, number)
    later = pairs.keep(SocketStream(number))
    far.sendall(b"line\n")
    assert later.readline() == b"line\n"


def test_a_descriptor_that_other_code_has_closed_is_no_stream_s(pairs: Pairs) -> None:
    """Where other code closes a stream's descriptor, a connection that gets its number is not refused."""
    first = SocketStream(pairs.sockets("unix")[0].detach())
    far = connection_at(pairs, first.fileno())
    later = SocketStream(first.fileno())
    far.sendall(b"line\n")
    assert later.readline() == b"line\n"
    later.replace_socket(None).detach()  # the first one closes it
    later.close()
    first.abort()


def test_a_forked_child_may_take_the_descriptor_of_its_parent_s_stream(pairs: Pairs) -> None:
    """In a forked child the parent's streams own nothing: a descriptor that it inherits gets a stream there, and only one."""
    near, far = pairs.sockets("unix")
    stream = pairs.keep(SocketStream(near.detach()))

    def work() -> None:
        own = SocketStream(stream.fileno())
        assert isinstance(outcome(SocketStream, stream.fileno()), UnsuitableSocket)
        own.sendall(b"from the child\n")
        own.replace_socket(None).detach()  # type: ignore[union-attr]

    child(work)
    assert far.recv(100) == b"from the child\n"
    assert isinstance(outcome(SocketStream, stream.fileno()), UnsuitableSocket)


def test_a_descriptor_has_one_stream_in_all_threads(pairs: Pairs) -> None:
    """A descriptor that a stream of this thread owns is refused in another one."""
    stream = pairs.keep(SocketStream(pairs.sockets("unix")[0].detach()))
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(outcome(SocketStream, stream.fileno())))
    thread.start()
    thread.join()
    assert isinstance(results[0], UnsuitableSocket)


def test_a_socket_that_a_stream_has_made_is_its_own(pairs: Pairs) -> None:
    """The socket that a stream makes for a descriptor, and gives as `socket`, is refused by others as one that it was given."""
    near, _far = pairs.sockets("unix")
    stream = pairs.keep(SocketStream(near.detach()))
    with pytest.raises(UnsuitableSocket, match="is another stream's"):
        SocketStream(stream.socket)


def test_a_tls_socket_is_refused_with_the_way_to_do_it(pairs: Pairs) -> None:
    """An ssl.SSLSocket is a TypeError that names ssl_ctx= and attach_ssl, and it stays open."""
    near, _ = pairs.sockets()
    context = ssl.create_default_context()
    with context.wrap_socket(near, do_handshake_on_connect=False, server_hostname="x") as wrapped:
        with pytest.raises(TypeError, match=r"ssl_ctx=.*attach_ssl"):
            SocketStream(wrapped)
        assert wrapped.fileno() >= 0


def test_a_connection_that_is_over_is_still_taken(pairs: Pairs) -> None:
    """A socket whose peer has already gone, in order or by reset, was connected: the stream tells how it ended."""
    near, far = pairs.sockets()
    far.sendall(b"last")
    far.close()
    assert pairs.keep(SocketStream(near)).read() == b"last"
    near, far = pairs.sockets()
    near.sendall(b"never read")
    far.close()
    stream = pairs.keep(SocketStream(near))
    with pytest.raises(StreamReset):
        until(lambda: stream.read(1))


@pytest.mark.parametrize("direction", ["input", "output", "io"])
def test_directions(pairs: Pairs, direction: str) -> None:
    """direction decides which half may be used; the other raises io.UnsupportedOperation in both vocabularies."""
    stream, _ = pairs.stream("unix", direction=direction)
    assert stream.direction == direction
    assert (stream.readable(), stream.writable()) == (direction != "output", direction != "input")
    reads = [("read_sequence", [0]), ("read_string", 1), ("read_char",), ("unread_char", "x"), ("peek_char",),
             ("read_char_no_hang",), ("read_line",), ("listen",), ("clear_input",), ("read", 1)]  # fmt: skip
    writes = [("write_sequence", b"x"), ("write_char", "x"), ("write_string", "x"), ("write_line", "x"), ("terpri",),
              ("fresh_line",), ("force_output",), ("finish_output",), ("clear_output",), ("write", b"x")]  # fmt: skip
    for name, *args in reads * (direction == "output") + writes * (direction == "input"):
        with pytest.raises(io.UnsupportedOperation):
            getattr(stream, name)(*args)


def test_what_it_was_made_with(pairs: Pairs) -> None:
    """element_type is the enum's member, encoding the codec's name, the addresses those of the socket."""
    near, far = pairs.sockets()
    here, there = near.getsockname(), near.getpeername()
    stream = SocketStream(near, element_type=bytes, encoding="UTF8")
    assert (stream.element_type, stream.encoding) == (ElementType.UNSIGNED_BYTE_8, "utf-8")
    assert (stream.address, stream.peer_address) == (here, there)
    stream.close()
    assert stream.address == here
    assert stream.peer_address == there
    assert stream.fileno() == -1
    assert far.getsockname() == there


# Sequences in.


SEQUENCES: dict[str, Callable[[int], Any]] = {
    "bytearray": bytearray,
    "memoryview": lambda length: memoryview(bytearray(length)),
    "array of unsigned": lambda length: array.array("B", bytes(length)),
    "array of signed": lambda length: array.array("b", bytes(length)),
    "numpy": lambda length: numpy.zeros(length, "u1"),
    "numpy signed": lambda length: numpy.zeros(length, "i1"),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_read_sequence_fills_bytes(fed: Fed, piece: int, name: str) -> None:
    """Buffers of one-byte items take bytes; the index of the first element not updated comes back."""
    for kind in ElementType:
        stream = fed(b"0123456789", piece=piece, element_type=kind)
        seq = SEQUENCES[name](8)
        assert stream.read_sequence(seq, 2, 5) == 5
        assert stream.read_sequence(seq, 5) == 8
        assert stream.read_sequence(seq) == 4
        assert memoryview(seq).tobytes() == b"67892345"
        assert [stream.read_sequence(seq, *bounds) for bounds in ((3,), (8,), (2, 2))] == [3, 8, 2]


def test_read_sequence_fills_lists_by_the_element_type(fed: Fed, piece: int) -> None:
    """A list takes characters or numbers, as the element type says."""
    for kind, wanted in (("base-char", list("a\xff\x80")), (bytes, [97, 255, 128]), ("signed-byte-8", [97, -1, -128])):
        stream = fed(b"a\xff\x80", piece=piece, element_type=kind)
        seq = [None] * 5
        assert stream.read_sequence(seq, 1) == 4
        assert seq == [None, *wanted, None]
        assert (stream.read_sequence(seq, 2), seq[1:4]) == (2, wanted)


def test_read_sequence_fills_characters(fed: Fed, piece: int) -> None:
    """An array of characters takes decoded characters for every element type."""
    stream = fed("añ€😀!".encode(), piece=piece, encoding="utf-8", element_type=bytes)
    seq = array.array(CHARACTERS, ".....")
    assert stream.read_sequence(seq, 1, 4) == 4
    assert seq.tounicode() == ".añ€."
    assert (stream.read_sequence(seq), seq.tounicode()) == (2, "😀!ñ€.")


def test_read_sequence_takes_other_mutable_sequences(fed: Fed) -> None:
    """Any mutable sequence is filled like a list."""
    stream = fed(b"abc")
    seq = deque([0] * 3)
    assert (stream.read_sequence(seq), list(seq)) == (3, ["a", "b", "c"])


BAD_BOUNDS = [(-1, None), (9, None), (0, 9), (5, 4), (0, -1)]


@pytest.mark.parametrize(
    "seq", [bytearray(8), [0] * 8, array.array(CHARACTERS, " " * 8), numpy.zeros(8, "B")], ids=type
)
def test_bounds_are_checked_before_input_is_taken(fed: Fed, seq: Any) -> None:
    """start and end out of range are IndexError, other things than numbers TypeError, and nothing was taken."""
    stream = fed(b"kept")
    for start, end in BAD_BOUNDS:
        with pytest.raises(IndexError, match=r"start|end"):
            stream.read_sequence(seq, start, end)
    for start, end in (("0", None), (0.0, 4), (0, "4"), (None, 4)):
        with pytest.raises(TypeError, match=r"start|end"):
            stream.read_sequence(seq, start, end)
    assert stream.read() == b"kept"


def test_sequences_that_cannot_be_filled_are_refused(fed: Fed) -> None:
    """Read-only buffers, wide items, tuples and strings are refused before anything is taken."""
    stream = fed(b"kept")
    for wrong in (b"xx", "xx", (0, 0), 5, None, array.array("i", [0]), array.array("d", [0.0]), numpy.zeros(3, "u2"),
                  memoryview(b"xx"), {1: 2}):  # fmt: skip
        with pytest.raises(TypeError, match="seq"):
            stream.read_sequence(wrong)
    assert stream.read() == b"kept"


VIEWS: dict[str, Callable[[bytearray], memoryview]] = {
    "whole": memoryview,
    "part": lambda data: memoryview(data)[1:5],
    "one byte of every second": lambda data: memoryview(data)[:2][::2],
    "signed": lambda data: memoryview(data).cast("b"),
    "characters": lambda data: memoryview(data).cast("c"),
    "square": lambda data: memoryview(data).cast("B", (3, 2)),
    "empty": lambda data: memoryview(data)[3:3],
    "empty table": lambda data: memoryview(numpy.frombuffer(data, "u1")[:0].reshape(0, 3)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_bytes_are_filled_and_written_whole(pairs: Pairs, name: str) -> None:
    """Reads fill the bytes of a contiguous view of one-byte items of any shape, and writes send them."""
    stream, peer = pairs.streams("memory")
    data = bytearray(b"abcdef")
    view = VIEWS[name](data)
    assert stream.write_sequence(view) is view
    stream.write(view)
    stream.flush()
    assert peer.read_exactly(2 * view.nbytes) == 2 * view.tobytes()
    peer.sendall(b"012345" * 2)
    assert stream.read_sequence(view) == view.nbytes
    assert view.tobytes() == b"012345"[: view.nbytes]
    assert stream.readinto(view) == view.nbytes
    assert stream.read_available() == (b"012345" * 2)[2 * view.nbytes :]


def test_views_without_bytes_are_refused(pairs: Pairs) -> None:
    """A view that was released, one with gaps, and one of wide items are refused, and nothing is taken or accepted."""
    stream, peer = pairs.streams("memory")
    peer.sendall(b"kept")
    released = memoryview(bytearray(4))
    released.release()
    calls = (stream.read_sequence, stream.readinto, stream.readinto1, stream.write_sequence, stream.write)
    for call in calls:
        with pytest.raises(ValueError, match="released"):
            call(released)
    for call in calls[:3]:
        with pytest.raises(TypeError, match="contiguous"):
            call(memoryview(bytearray(4))[::2])
    for call in (stream.read_sequence, stream.write_sequence):
        with pytest.raises(TypeError, match="one byte"):
            call(memoryview(bytearray(4)).cast("H"))
    assert (stream.unsent, stream.read(4)) == (0, b"kept")


class Fussy(list):  # type: ignore[type-arg]
    """A list that refuses its third element."""

    def __setitem__(self, index: Any, value: Any) -> None:
        if index == 2:
            raise KeyError("not that one")
        super().__setitem__(index, value)


@pytest.mark.parametrize("kind", ElementType)
def test_a_sequence_that_refuses_an_element_loses_none(fed: Fed, kind: ElementType) -> None:
    """Where the caller's own sequence raises, everything is put back into the stream."""
    stream = fed("añcd€f".encode(), element_type=kind, encoding="utf-8")
    with pytest.raises(KeyError):
        stream.read_sequence(Fussy([0] * 5))
    assert stream.read() == "añcd€f".encode()


# Characters in.


def test_read_string_gives_characters(fed: Fed, piece: int) -> None:
    """read_string(n) gives n characters or those before the end; 0 gives none, at the end too."""
    stream = fed("añ€😀!".encode(), piece=piece, encoding="utf-8")
    assert stream.read_string(0) == ""
    assert stream.read_string(3) == "añ€"
    assert stream.read_string(1) == "😀"
    assert stream.read_string(9) == "!"
    assert stream.read_string(9) == ""
    assert stream.read_string(0) == ""
    stream = fed(b"\x00\x80\xff", piece=piece)
    assert stream.read_string(2) == "\x00\x80"
    assert stream.read_string(5) == "\xff"
    assert stream.read_string(5) == ""
    for wrong in (-1, None, 1.5, "5"):
        with pytest.raises((TypeError, ValueError), match="n must"):
            stream.read_string(wrong)


ALPHABETS = {
    "latin-1": "ab\n\xff\x80\r",
    "utf-8": "a\n\r~é\u07ff\u0800\uffff\U00010000\U0010ffff",
    "utf-16-le": "a\n\r\u0a0a\u0a00\u000a😀",
    "utf-16-be": "a\n\u0a0a\u0a00😀",
    "utf-32-be": "a\n\u0a0a😀",
    "gb18030": "a\n中é😀\u3000",
    "shift-jis": "a\nｱ漢字\\表",
    "euc-jp": "a\nｱ漢字丂",
    "euc-kr": "a\n가똠뷁漢",
    "cp037": "ab\n\r\x85é",
}


@pytest.mark.parametrize("name", ALPHABETS)
def test_text_and_bytes_mix_exactly(fed: Fed, piece: int, name: str) -> None:
    """Characters, strings, lines and bytes read from one stream in any order: each takes exactly its own bytes."""
    random = Random(23)
    text = "".join(random.choices(ALPHABETS[name], k=400))
    data = text.encode(name)
    stream = fed(data, piece=piece, encoding=name, element_type=bytes)
    at, last = 0, ""
    while at < len(text):
        step = random.choice(("char", "string", "line", "bytes", "peek", "unread", "no_hang", "sequence"))
        if step == "char":
            last = stream.read_char()
            assert last == text[at]
            at += 1
        elif step == "unread" and last:
            stream.unread_char(last)
            at, last = at - 1, ""
        elif step == "peek":
            assert stream.peek_char() == text[at]
        elif step == "no_hang":
            last = stream.read_char_no_hang()
            assert last == text[at]
            at += 1
        else:
            last = ""
            count = random.randint(1, 5)
            wanted = text[at : at + count]
            if step == "string":
                assert stream.read_string(count) == wanted
            elif step == "bytes":
                assert stream.read(len(wanted.encode(name))) == wanted.encode(name)
            elif step == "sequence":
                seq = array.array(CHARACTERS, " " * count)
                assert stream.read_sequence(seq) == len(wanted)
                assert seq.tounicode()[: len(wanted)] == wanted
            else:
                line, _, rest = text[at:].partition("\n")
                assert stream.read_line() == (line, "\n" not in text[at:])
                wanted = text[at : len(text) - len(rest)]
            at += len(wanted)
    assert stream.read() == b""
    assert stream.read_char(False, "end") == "end"


def test_read_char_and_its_end(fed: Fed, piece: int) -> None:
    """read_char gives a character; at the end EndOfFile, or eof_value where eof_error is false, again and again."""
    stream = fed("é".encode(), piece=piece, encoding="utf-8")
    assert stream.read_char() == "é"
    for call in (stream.read_char, stream.peek_char, stream.read_char_no_hang):
        for _ in range(2):
            with pytest.raises(EndOfFile) as caught:
                call()
            assert (caught.value.timed_out, caught.value.stream) == (False, stream)
        assert call(eof_error=False) is None
        assert call(eof_error=False, eof_value="end") == "end"
    assert stream.at_eof


def test_half_a_character_at_the_end_is_an_error(fed: Fed, piece: int) -> None:
    """An input that ends inside a character is a UnicodeDecodeError in every call, and the bytes stay readable."""
    for call, *args in (("read_char",), ("peek_char",), ("read_string", 5), ("read_line",)):
        stream = fed(b"\xe2\x82", piece=piece, encoding="utf-8")
        for _ in range(2):
            with pytest.raises(UnicodeDecodeError) as caught:
                getattr(stream, call)(*args)
            assert caught.value.start == 0
        assert stream.read() == b"\xe2\x82"
    stream = fed(b"\xe2\x82", piece=piece, encoding="utf-8")
    with pytest.raises(UnicodeDecodeError):
        until(stream.read_char_no_hang)


@pytest.mark.parametrize(
    ("name", "bad", "start"),
    [
        ("utf-8", b"ab\xffcd\n", 2),
        ("utf-8", "é€".encode() + b"\x80\n", 5),
        ("ascii", b"a\xe9\n", 1),
        ("shift-jis", b"a\x81\n\n", 1),
    ],
)
def test_an_invalid_byte_is_told_by_its_place(fed: Fed, piece: int, name: str, bad: bytes, start: int) -> None:
    """UnicodeDecodeError.start counts bytes from the first unread one; the good prefix and the byte stay readable."""
    for call, *args in (("read_line",), ("read_string", 50), ("read_sequence", [0] * 50)):
        stream = fed(bad + b"next\n", piece=piece, encoding=name)
        for _ in range(2):
            with pytest.raises(UnicodeDecodeError) as caught:
                getattr(stream, call)(*args)
            assert caught.value.start == start
        good = bad[:start].decode(name)
        assert stream.read_string(len(good)) == good
        with pytest.raises(UnicodeDecodeError) as caught:
            stream.read_char()
        assert caught.value.start == 0
        assert stream.read(len(bad) - start) == bad[start:]
        assert stream.read_line() == ("next", False)


def test_unread_char_puts_the_last_one_back(fed: Fed, piece: int) -> None:
    """The character that read_char gave last can be put back, once, right after a refill too."""
    for name in ("latin-1", "utf-8", "utf-16-le"):
        stream = fed("xéz".encode(name), piece=piece, encoding=name)
        for character in "xéz":
            assert stream.read_char() == character
            stream.unread_char(character)
            with pytest.raises(ValueError, match="character"):
                stream.unread_char(character)
            assert stream.peek_char() == character
            with pytest.raises(ValueError, match="character"):
                stream.unread_char(character)
            assert stream.read_char() == character
            for wrong in ("q", "", "xy", None, 5):
                with pytest.raises(ValueError, match="character"):
                    stream.unread_char(wrong)
        stream.unread_char("z")
        assert stream.read() == "z".encode(name)


def test_unread_char_puts_back_the_bytes_that_came(fed: Fed) -> None:
    """A character that has two spellings in its encoding goes back in the one that it had."""
    stream = fed(b"\xfa\x5cx", encoding="cp932")
    character = stream.read_char()
    assert character.encode("cp932") == b"\xed\x40"
    stream.unread_char(character)
    assert stream.read() == b"\xfa\x5cx"


READS: dict[str, Callable[[Any], Any]] = {
    "read": lambda stream: stream.read(2),
    "readinto": lambda stream: stream.readinto(bytearray(2)),
    "large readinto": lambda stream: stream.readinto(bytearray(20_000)),
    "large sequence": lambda stream: stream.read_sequence(bytearray(20_000)),
    "list": lambda stream: stream.read_sequence([0] * 5),
    "read_byte": lambda stream: stream.read_byte(),
    "read_line": lambda stream: stream.read_line(),
    "read_string": lambda stream: stream.read_string(3),
    "discard_line": lambda stream: stream.discard_line(),
    "clear_input": lambda stream: (stream.peek(), stream.clear_input()),
    "peek_char(z)": lambda stream: stream.peek_char("z"),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("dripping", [False, True])
def test_unread_char_is_refused_after_another_read(fed: Fed, name: str, dripping: bool) -> None:
    """A character from read_char cannot be put back after any other call has taken input."""
    stream = fed(b"x" + b"y" * 10 + b"\nz" + b"x" * 50_000, piece=1 if dripping else 0, element_type=bytes)
    assert stream.read_char() == "x"
    READS[name](stream)
    with pytest.raises(ValueError, match="character"):
        stream.unread_char("x")
    left = len(stream.read())
    assert left < 50_012


def test_unread_char_after_a_read_that_was_put_back(fed: Fed) -> None:
    """A read that an exception ended took nothing: the character before it can be put back, and only there."""
    stream = fed(b"x" + b"y" * 20_000, ended=False, encoding="utf-8")
    assert stream.read_char() == "x"
    reader = started(stream.readinto, bytearray(50_000))
    fed.far.sendall(b"y" * 10_000)
    gevent.sleep(0)
    reader.kill()
    assert stream.buffered == 30_000
    stream.unread_char("x")
    assert stream.read(3) == b"xyy"
    assert stream.read_char() == "y"
    reader = started(stream.readinto, bytearray(50_000))
    gevent.sleep(0)
    reader.kill()
    assert len(stream.read(29_997)) == 29_997
    with pytest.raises(ValueError, match="character"):
        stream.unread_char("y")


def test_peek_char_skips_what_it_is_told_to(fed: Fed, piece: int) -> None:
    """peek_char leaves the next character; True skips white space, a character everything before it."""
    stream = fed(" \t\r\n\f\v  é x  €y".encode(), piece=piece, encoding="utf-8")
    assert (stream.peek_char(), stream.peek_char(None)) == (" ", " ")
    assert (stream.peek_char(True), stream.read_char()) == ("é", "é")
    assert stream.peek_char("€") == "€"
    assert stream.read_char() == "€"
    assert stream.read_char() == "y"
    stream = fed(b"abc   ", piece=piece)
    assert stream.peek_char("c") == "c"
    assert stream.read(1) == b"c"
    assert stream.peek_char(True, False, "end") == "end"
    assert stream.read() == b""
    for wrong in ("", "xy", 1, False, b"x"):
        with pytest.raises(TypeError, match="peek_type"):
            stream.peek_char(wrong)


def test_read_char_no_hang_never_waits(fed: Fed) -> None:
    """read_char_no_hang gives None where it would have to wait, for a whole character too."""
    stream = fed(b"", ended=False, encoding="utf-8")
    assert stream.read_char_no_hang() is None
    fed.far.sendall(b"\xe2\x82")
    assert (stream.read_char_no_hang(), stream.read_char_no_hang()) == (None, None)
    fed.far.sendall(b"\xacx")
    assert stream.read_char_no_hang() == "€"
    assert stream.read_char_no_hang() == "x"
    assert stream.read_char_no_hang() is None
    stream.read_char_no_hang()
    fed.far.sendall(b"y")
    assert stream.read_char_no_hang() == "y"
    stream.unread_char("y")
    assert stream.read_char() == "y"
    fed.far.send_eof()
    with pytest.raises(EndOfFile):
        stream.read_char_no_hang()


# Lines.


def test_read_line_says_whether_the_newline_was_missing(fed: Fed, piece: int) -> None:
    """read_line gives the line without its newline and whether that was missing; CR is an ordinary character."""
    stream = fed("été\r\n\nlast".encode(), piece=piece, encoding="utf-8")
    assert [stream.read_line() for _ in range(3)] == [("été\r", False), ("", False), ("last", True)]
    with pytest.raises(EndOfFile):
        stream.read_line()
    assert (stream.read_line(False), stream.read_line(False, "end")) == (("", True), ("end", True))


@pytest.mark.parametrize("name", ["latin-1", "utf-8", "utf-16-le", "cp037"])
@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_the_line_limit_counts_bytes(fed: Fed, piece: int, name: str, excess: int) -> None:
    """A line of line_limit bytes passes, newline included; one more is LineTooLong, and nothing is consumed."""
    unit = len("x".encode(name))
    line = "x" * (19 + excess)
    stream = fed((line + "\n" + "next\n").encode(name), piece=piece, encoding=name, line_limit=20 * unit)
    if excess > 0:
        for _ in range(2):
            with pytest.raises(LineTooLong) as caught:
                stream.read_line()
            assert caught.value.limit == 20 * unit
        assert stream.read_string(20 + excess) == line + "\n"
    else:
        assert stream.read_line() == (line, False)
    assert stream.read_line() == ("next", False)


# Bytes.


def test_read_byte_and_write_byte_have_a_sign_or_not(pairs: Pairs) -> None:
    """read_byte and write_byte speak 0..255 or -128..127, as the element type says."""
    for kind, numbers in ((bytes, [0, 127, 128, 255]), ("signed-byte-8", [0, 127, -128, -1])):
        stream, peer = pairs.streams("memory", element_type=kind)
        assert [stream.write_byte(number) for number in numbers] == numbers
        stream.flush()
        assert peer.read(4) == b"\x00\x7f\x80\xff"
        peer.sendall(b"\x00\x7f\x80\xff")
        peer.send_eof()
        assert [stream.read_byte() for _ in range(4)] == numbers
        with pytest.raises(EndOfFile):
            stream.read_byte()
        assert stream.read_byte(False, "end") == "end"


def test_bytes_need_a_binary_element_type(pairs: Pairs) -> None:
    """On a stream of characters read_byte and write_byte are TypeErrors that take and accept nothing."""
    stream, peer = pairs.streams("memory")
    peer.sendall(b"x")
    with pytest.raises(TypeError, match="base-char"):
        stream.read_byte()
    with pytest.raises(TypeError, match="base-char"):
        stream.write_byte(5)
    assert (stream.read(1), stream.unsent) == (b"x", 0)


def test_write_byte_refuses_other_numbers(pairs: Pairs) -> None:
    """A number out of range is a ValueError that shows it, what is no number a TypeError; nothing is accepted."""
    for kind, wrong in ((bytes, (-1, 256)), ("signed-byte-8", (-129, 128))):
        stream, _ = pairs.streams("memory", element_type=kind)
        for number in wrong:
            with pytest.raises(ValueError, match=str(number)):
                stream.write_byte(number)
        for other in ("x", 1.5, None, True, b"x"):
            with pytest.raises(TypeError):
                stream.write_byte(other)
        assert stream.unsent == 0


# Out.


def test_writing_functions_return_their_argument(pairs: Pairs) -> None:
    """write_char, write_string, write_line and write_sequence give back what they were given."""
    stream, peer = pairs.streams("memory", encoding="utf-8")
    assert stream.write_char("€") == "€"
    assert stream.write_string("abcdef", 1, 3) == "abcdef"
    assert stream.write_line("xyz", start=2) == "xyz"
    for seq in (b"12", "34", [5], bytearray(b"6"), array.array("B", b"7"), array.array(CHARACTERS, "é"), ["8"], (9,)):
        assert stream.write_sequence(seq) is seq
    stream.terpri()
    stream.send_eof()
    assert peer.read() == "€bcz\n1234\x0567é8\t\n".encode()


def test_write_sequence_takes_other_mutable_sequences(pairs: Pairs) -> None:
    """Any mutable sequence is written like a list, whole or a part."""
    stream, peer = pairs.streams("memory", element_type=bytes)
    seq = deque([1, 2, 3])
    assert stream.write_sequence(seq) is seq
    stream.write_sequence(seq, 1, 2)
    stream.send_eof()
    assert peer.read() == b"\1\2\3\2"


def test_write_sequence_takes_a_part(pairs: Pairs) -> None:
    """start and end choose elements of any kind of sequence; characters are encoded, bytes are not."""
    stream, peer = pairs.streams("memory", encoding="utf-16-le")
    for seq in (b"0123", bytearray(b"0123"), memoryview(b"0123"), [48, 49, 50, 51], numpy.arange(48, 52, dtype="u1")):
        assert stream.write_sequence(seq, 1, 3) is seq
    for seq in ("0123", list("0123"), tuple("0123"), array.array(CHARACTERS, "0123")):
        stream.write_sequence(seq, 1, 3)
        stream.write_sequence(seq, 4)
    stream.send_eof()
    assert peer.read() == b"12" * 5 + b"1\x002\x00" * 4


@pytest.mark.parametrize(
    ("seq", "kind"),
    [("a€", UnicodeEncodeError), (["a", "€"], UnicodeEncodeError), ([1, 256], ValueError), ([1, -1], ValueError),
     ([1, "a"], TypeError), (["a", 1], TypeError), (["a", "bc"], ValueError), ([1.5], TypeError), ([None], TypeError),
     (5, TypeError), (None, TypeError), ({1: 2}, TypeError), (array.array("i", [1]), TypeError), ([True], TypeError),
     (array.array(CHARACTERS, "a€"), UnicodeEncodeError), (numpy.zeros(3, "u2"), TypeError)],
    ids=repr,
)  # fmt: skip
def test_a_sequence_is_checked_whole(pairs: Pairs, seq: Any, kind: type[Exception]) -> None:
    """A sequence of which one element cannot be written is refused before the first byte is accepted."""
    stream, _ = pairs.streams("memory")
    with pytest.raises(kind):
        stream.write_sequence(seq)
    assert (stream.unsent, stream.fresh_line()) == (0, False)


def test_writing_checks_its_bounds_and_kinds(pairs: Pairs) -> None:
    """Bounds out of range are IndexError, wrong kinds TypeError, in every writing function; nothing is accepted."""
    stream, _ = pairs.streams("memory")
    for call, seq in (
        (stream.write_sequence, b"0123"),
        (stream.write_sequence, [1, 2, 3, 4]),
        (stream.write_sequence, "0123"),
        (stream.write_string, "0123"),
        (stream.write_line, "0123"),
    ):
        for start, end in ((-1, None), (5, None), (0, 5), (3, 2)):
            with pytest.raises(IndexError):
                call(seq, start, end)
        with pytest.raises(TypeError):
            call(seq, "0", None)
    for wrong in (b"x", 5, None, ["x"]):
        for call in (stream.write_string, stream.write_line, stream.write_char):
            with pytest.raises(TypeError):
                call(wrong)
    for wrong in ("xy", ""):
        with pytest.raises(TypeError, match="character"):
            stream.write_char(wrong)
    with pytest.raises(UnicodeEncodeError):
        stream.write_line("€")
    assert stream.unsent == 0


@pytest.mark.parametrize("name", ["latin-1", "utf-8", "utf-16-le", "utf-32-be", "cp037"])
def test_fresh_line_knows_where_a_line_begins(pairs: Pairs, name: str) -> None:
    """fresh_line writes a newline only where the output is not at the start of a line, as its beginning is."""
    stream, peer = pairs.streams("memory", encoding=name)
    said = [stream.fresh_line()]
    for text in ("x", "\n", "", "xy\n", "\nx", "x", "xyz", "\u0a00" if "utf" in name else "x", ""):
        stream.write_string(text)
        said.append(stream.fresh_line())
    assert said == [False, True, False, False, False, True, True, True, True, False]
    stream.write("x\n".encode(name))
    assert stream.fresh_line() is False
    stream.send_eof()
    assert "\n\n\n" not in peer.read().decode(name)


def test_fresh_line_sees_long_and_split_output(pairs: Pairs) -> None:
    """What was written past the buffer, or byte by byte, counts as well."""
    stream, peer = pairs.streams("memory", encoding="utf-16-le")
    reader = started(peer.read)
    stream.write("x".encode("utf-16-le") * 100_000)
    assert stream.fresh_line() is True
    stream.write(("x" * 100_000 + "\n").encode("utf-16-le"))
    assert stream.fresh_line() is False
    for byte in ("y\n".encode("utf-16-le"))[:3]:
        stream.write(bytes([byte]))
    assert stream.fresh_line() is True
    stream.close()
    assert reader.get().endswith(b"\n\0\n\0") is False


# Buffers.


def test_listen_is_about_bytes_and_sees_the_end(pairs: Pairs, kind: str) -> None:
    """listen is true when a byte can be read without waiting, false at the end, which at_eof then shows."""
    stream, peer = pairs.streams(kind)
    assert (stream.listen(), stream.at_eof) == (False, False)
    peer.sendall(b"xy")
    assert until(stream.listen) is True
    assert stream.read(1) == b"x"
    assert stream.listen() is True
    peer.send_eof()
    assert stream.read(1) == b"y"
    until(lambda: not stream.listen() and stream.at_eof)
    stream.close()
    with pytest.raises(StreamClosed):
        stream.listen()


def test_listen_beside_a_reader(pairs: Pairs) -> None:
    """While another greenlet reads, listen looks without taking anything from it."""
    stream, peer = pairs.streams("tcp")
    reader = started(stream.read, 4)
    assert stream.listen() is False
    peer.sendall(b"ab")
    until(lambda: stream.buffered == 2)
    assert stream.listen() is True
    peer.sendall(b"cd")
    assert reader.get() == b"abcd"


def test_force_output_does_not_wait(pairs: Pairs, kind: str) -> None:
    """force_output starts sending and returns; what there is no room for now is sent as room comes, in order."""
    stream, peer = pairs.streams(kind, write_timeout=0.02)
    stuffing = bytearray()
    while not isinstance(outcome(stream.write, b"s" * 2**18), StreamError):
        stuffing += b"s" * 2**18
    stuffing += b"s" * (2**18 if stream.accepted else 0)
    stream.force_output()
    assert stream.unsent > 0
    assert peer.read_exactly(len(stuffing)) == bytes(stuffing)
    assert stream.unsent == 0
    stream.write_string("and more")
    stream.force_output()
    assert peer.read(8) == b"and more"


def test_an_error_in_the_background_is_told_once(pairs: Pairs) -> None:
    """An error that ends sending in the background is raised by the next write, flush or close, once."""
    for call in ("write_string", "flush", "finish_output", "force_output", "close"):
        near, far = memory_pair(4)
        stream, peer = pairs.keep(LispStream(near)), LispStream(far)
        stream.write_string("many bytes!")
        stream.force_output()
        assert stream.unsent == 7
        peer.abort()
        gevent.sleep(0.001)
        with pytest.raises(StreamReset) as caught:
            getattr(stream, call)(*["x"] * (call == "write_string"))
        assert caught.value.unsent == 7
        assert stream.closed is (call == "close")


def test_finish_output_waits(pairs: Pairs) -> None:
    """finish_output returns when all is with the system."""
    stream, peer = pairs.streams("memory", buffers=10)
    stream.write_string("more than ten bytes!")
    finishing = started(stream.finish_output)
    assert not finishing.ready()
    assert peer.read(20) == b"more than ten bytes!"
    assert (finishing.get(), stream.unsent) == (None, 0)


def test_clearing_drops_what_the_stream_holds(pairs: Pairs) -> None:
    """clear_input drops what arrived, clear_output what was not sent; what comes or is written later is kept."""
    stream, peer = pairs.streams("memory")
    peer.sendall(b"dropped\n")
    stream.peek()
    stream.clear_input()
    peer.sendall(b"kept\n")
    assert stream.read_line() == ("kept", False)
    stream.write_string("dropped")
    stream.clear_output()
    assert stream.unsent == 0
    stream.write_string("kept")
    stream.send_eof()
    assert peer.read() == b"kept"


def test_clear_output_keeps_a_begun_message_whole(pairs: Pairs) -> None:
    """A message of which some bytes were sent is never cut; those behind it are dropped whole."""
    stream, peer = pairs.streams("memory", buffers=10)
    stream.write_string("begun message\n")
    stream.write_string("dropped\n")
    stream.force_output()
    stream.write_string("dropped too\n")
    stream.clear_output()
    stream.write_string("kept\n")
    reader = started(peer.read)
    stream.send_eof()
    assert reader.get() == b"begun message\nkept\n"


def test_clear_output_ends_the_wait_of_who_sends_it(pairs: Pairs) -> None:
    """A flush that waits for room for what another greenlet drops returns at once: nothing is left to send."""
    for clear in (LispStream.clear_output, lambda stream: stream.shutdown("output", abort=True)):
        stream, peer = pairs.streams("memory", buffers=10)
        stream.sendall(bytes(10))
        stream.write_string("dropped\n")
        flushing = started(stream.flush)
        assert not flushing.ready()
        started(clear, stream)
        until(flushing.ready)
        assert (flushing.value, stream.unsent) == (None, 0)
        assert peer.read_exactly(10) == bytes(10)


# The socket.


def test_the_socket_is_the_one_that_was_given(pairs: Pairs) -> None:
    """stream.socket is the object given, or a gevent socket made for a handle on first use."""
    near, far = pairs.sockets()
    stream = pairs.keep(SocketStream(near))
    assert stream.socket is near
    stream.socket = near
    far.sendall(b"x")
    assert stream.read(1) == b"x"
    near, _ = pairs.sockets()
    stream = pairs.keep(SocketStream(handle=near.detach()))
    assert isinstance(stream.socket, gevent.socket.socket)
    assert stream.socket.fileno() == stream.fileno()


def test_replacing_the_socket_keeps_the_buffers(pairs: Pairs) -> None:
    """replace_socket hands the old one back open and usable; what is buffered stays, and nothing is flushed."""
    old, old_far = pairs.sockets()
    new, new_far = pairs.sockets()
    old_far.sendall(b"first half, ")
    stream = pairs.keep(SocketStream(old))
    stream.peek()
    old_far.shutdown(socket.SHUT_WR)
    until(lambda: stream.read_available() == b"" if stream.at_eof else stream.peek())
    stream.write(b"for the new one")
    assert stream.replace_socket(new) is old
    new_far.sendall(b"second half\n")
    assert stream.read_line() == ("first half, second half", False)
    stream.flush()
    assert new_far.recv(100) == b"for the new one"
    old.sendall(b"still mine")
    assert old_far.recv(100) == b"still mine"
    assert stream.peer_address == new.getpeername()


def test_replacing_after_the_end_begins_anew(pairs: Pairs) -> None:
    """The end of the old connection, its reset, an ended output and a timeout are forgotten with it."""
    stream, far = pairs.stream(read_timeout=0.01)
    assert stream.read_line(False) == ("", True)
    assert stream.timed_out
    stream.send_eof()
    far.close()
    assert stream.read() == b""
    new, new_far = pairs.sockets()
    stream.socket = new
    assert (stream.at_eof, stream.timed_out) == (False, False)
    stream.sendall(b"again")
    assert new_far.recv(9) == b"again"
    new_far.sendall(b"back")
    assert stream.read(4) == b"back"


def test_setting_the_socket_closes_the_old_one(pairs: Pairs) -> None:
    """An assignment closes the old socket, also one of None."""
    old, old_far = pairs.sockets()
    stream = pairs.keep(SocketStream(old))
    number = stream.fileno()
    new, _ = pairs.sockets()
    stream.socket = new
    assert (old.fileno(), stream.fileno()) == (-1, new.fileno())
    assert number != stream.fileno()
    assert old_far.recv(1) == b""
    stream.socket = None
    assert new.fileno() == -1


def test_setting_the_socket_that_is_there_changes_nothing(pairs: Pairs) -> None:
    """An assignment of the stream's own socket, or of its descriptor, closes nothing."""
    near, far = pairs.sockets()
    stream = pairs.keep(SocketStream(near))
    far.sendall(b"more")
    for same in (near, near.fileno()):
        stream.socket = same
        assert stream.socket is near
        assert open_descriptor(near.fileno())
    assert stream.read(4) == b"more"


def test_a_stream_without_a_socket(pairs: Pairs) -> None:
    """With None in place of a socket, buffers can be read and addresses asked; I/O is a StreamError."""
    near, far = pairs.sockets()
    far.sendall(b"buffered\n")
    stream = pairs.keep(SocketStream(near))
    stream.peek()
    addresses = (stream.address, stream.peer_address)
    assert stream.replace_socket(None) is near
    assert (stream.socket, stream.fileno(), stream.address, stream.peer_address) == (None, -1, *addresses)
    assert stream.read_line() == ("buffered", False)
    stream.write(b"kept")
    for call, *args in ((stream.read, 1), (stream.flush,), (stream.listen,), (stream.read_line,)):
        with pytest.raises(StreamError, match="no socket"):
            call(*args)
    assert stream.replace_socket(near) is None
    stream.flush()
    assert far.recv(9) == b"kept"
    stream.socket = None
    stream.close()
    assert stream.closed


def test_a_wrong_socket_replaces_nothing(pairs: Pairs) -> None:
    """What is no connected socket is refused, and the stream keeps the one it has."""
    stream, far = pairs.stream()
    for wrong in unsuitable(pairs).values():
        with pytest.raises(StreamError):
            stream.socket = wrong
        with pytest.raises(StreamError):
            stream.replace_socket(wrong)
    with pytest.raises(TypeError):
        stream.replace_socket("no socket")
    far.sendall(b"x")
    assert stream.read(1) == b"x"


def test_the_blocking_mode_comes_back(pairs: Pairs) -> None:
    """A handle that was blocking is blocking when its socket is handed back."""
    for blocking in (True, False):
        near, _ = pairs.sockets()
        near.setblocking(blocking)
        stream = pairs.keep(SocketStream(near.detach()))
        assert stream.socket is not None
        old = pairs.keep(stream.replace_socket(None))
        assert os.get_blocking(old.fileno()) is blocking


def test_everything_after_close_is_refused(pairs: Pairs, kind: str) -> None:
    """After close every call of both vocabularies is StreamClosed, even of nothing, but those that tell and close."""
    stream, _ = pairs.streams(kind, element_type=bytes)
    stream.close()
    calls: list[tuple[Any, ...]] = [
        ("read_sequence", bytearray()), ("read_sequence", []), ("read_string", 0), ("read_char",), ("unread_char", "x"),
        ("peek_char",), ("read_char_no_hang",), ("read_line",), ("read_byte",), ("write_byte", 1), ("write_char", "x"),
        ("write_string", ""), ("write_line", ""), ("write_sequence", b""), ("write_sequence", []), ("terpri",),
        ("fresh_line",), ("force_output",), ("finish_output",), ("clear_input",), ("clear_output",), ("readlines",),
        ("read", 0), ("read1", 0), ("readinto", bytearray()), ("readinto1", bytearray()), ("peek",), ("readline", 0),
        ("write", b""), ("writelines", []), ("flush",), ("isatty",), ("readable",), ("writable",), ("seekable",),
        ("listen",), ("seek", 0), ("tell",), ("truncate",), ("detach",), ("__enter__",), ("__iter__",), ("__next__",),
        ("read_exactly", 0), ("read_until", b"x"), ("discard_line",), ("read_available",), ("send_eof",),
        ("shutdown", "io"), ("shutdown", "input"), ("sendall", b""),
    ]  # fmt: skip
    if isinstance(stream, SocketStream):
        calls += [("makefile",), ("replace_socket", None), ("attach_ssl",), ("detach_ssl",), ("handshake",)]
    for name, *args in calls:
        with pytest.raises(StreamClosed):
            getattr(stream, name)(*args)
    for name in ("socket", "ssl", "ssl_ctx") if isinstance(stream, SocketStream) else ():
        with pytest.raises(StreamClosed):
            getattr(stream, name)
    if isinstance(stream, SocketStream):
        with pytest.raises(StreamClosed):
            stream.socket = None
    assert stream.close() is None
    assert stream.abort() is None
    assert stream.closed is True
    assert stream.buffered == 0


only_compiled = pytest.mark.skipif(
    not geventstreams.compiled, reason="in plain Python such an object has no attributes at all: defaults in the class would cost each call"
)


class Unmade(SocketStream):
    """A stream whose `__init__` forgets that of its base."""

    def __init__(self) -> None:
        pass


@only_compiled
@pytest.mark.parametrize("kind", [Unmade, BufferedStream, AsyncIOStream, AsyncSocket])
def test_what_was_never_made_says_so(kind: Any) -> None:
    """Without its `__init__`, whatever is called, a stream is a ValueError that says what is wrong, as the standard library's files are."""
    calls = [
        ("read",), ("readline",), ("readinto", bytearray(1)), ("peek",), ("readlines",), ("__next__",), ("read_line",), ("read_char",),
        ("read_sequence", [0]), ("read_available",), ("write", b"x"), ("writelines", []), ("sendall", b"x"), ("flush",), ("terpri",),
        ("write_string", "x"), ("write_sequence", b"x"), ("force_output",), ("listen",), ("send_eof",), ("shutdown", "io"), ("makefile",),
        ("detach_ssl",), ("drain",), ("pause",), ("set_callbacks",), ("abort",), ("close",),
    ]  # fmt: skip
    tried = 0
    for name, *args in calls:
        if hasattr(kind, name):
            with pytest.raises(ValueError, match="uninitialized stream"):
                getattr(kind.__new__(kind), name)(*args)
            tried += 1
    assert tried >= 5
    assert kind is AsyncSocket or kind.__new__(kind).fileno() == -1
    for name in ("address", "peer_address"):
        with pytest.raises(ValueError, match="uninitialized stream"):
            getattr(kind.__new__(kind), name)


@only_compiled
def test_a_transport_that_was_never_made_closes_nothing() -> None:
    """One whose `__init__` was not called has no descriptor, not even that with the number 0."""

    class UnmadeTransport(SocketTransport):
        def __init__(self) -> None:
            pass

    transport = UnmadeTransport()
    assert transport.fileno() == -1
    transport.close()
