"""The life of a file from `makefile`: reference counts, closing in any order, dropping, detaching, as the standard library has it."""

import gc
import itertools
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent.socket
import pytest
from kit.conditions import until
from kit.leftovers import open_descriptor
from kit.makefile import KINDS, Ends
from kit.pairs import Pairs

from geventstreams import SocketStream, makefile
from geventstreams.testing.claims import outcome, started

FORMS = [("rb", None), ("rb", 0), ("wb", None), ("rwb", None), ("rwb", 0), ("r", None), ("rw", None)]


# Reference counts and closing.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("mode", "buffering"), FORMS)
def test_the_descriptor_closes_with_the_last_of_files_and_socket(
    ends: Ends, kind: str, mode: str, buffering: int | None
) -> None:
    """Two files and the socket close in any order: the descriptor goes with the last, and each file counts once."""
    for order in itertools.permutations(range(3)):
        near, _far = ends.sockets(kind)
        number = near.fileno()
        things = [near, makefile(near, mode, buffering), makefile(near, mode, buffering)]
        assert near._io_refs == 2
        for index in order:
            assert open_descriptor(number)
            things[index].close()
            things[index].close()
        until(lambda number=number: not open_descriptor(number))
        assert near._io_refs == 0
        assert near.fileno() == -1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("mode", "buffering"), FORMS)
def test_a_dropped_file_gives_its_reference_back_at_once(
    ends: Ends, kind: str, mode: str, buffering: int | None
) -> None:
    """A file that was not closed is not part of a cycle: its last reference frees a closed socket's descriptor."""
    near, far = ends.sockets(kind)
    number = near.fileno()
    near.settimeout(0.01)
    file = makefile(near, mode, buffering)
    if "w" in mode:
        file.write(b"x" if "b" in mode else "x")
    if "r" in mode and kind != "duck":  # what gevent's own recv_into raises is part of a cycle
        try:
            file.read(1)
        except TimeoutError:
            pass
    near.close()
    gc.disable()
    try:
        assert open_descriptor(number)
        del file
        until(lambda: not open_descriptor(number))
    finally:
        gc.enable()
    try:
        rest = far.recv(2)
    except BrokenPipeError:  # OpenSSL 3.5 answers the missing close_notify by an alert, which has no reader
        rest = b""
    assert rest == (b"x" if "w" in mode else b"")


@pytest.mark.parametrize("mode", ["w", "wb", "rw", "rwb"])
def test_a_dropped_file_of_a_stream_sends_without_waiting(pairs: Pairs, mode: str) -> None:
    """The destructor of a stream's file may run anywhere, so it sends what the system takes; the hub sends the rest, and none is lost."""
    for taken in (10, 3):
        stream, peer = pairs.streams("memory", buffers=10)
        stream.sendall(bytes(10 - taken))
        file = stream.makefile(mode)
        file.write(b"hello" if "b" in mode else "hello")
        assert stream.unsent == 5
        files = [file]
        del file
        dropped = started(files.clear)
        assert (dropped.ready(), stream.unsent) == (True, max(0, 5 - taken))
        assert peer.read_exactly(10 - taken + 5) == bytes(10 - taken) + b"hello"


def test_a_socket_outlives_its_files_and_the_reverse(ends: Ends) -> None:
    """A file reads on after its socket was closed; a closed file leaves the socket usable, and another file can be
    made."""
    first, near, far = ends.file()
    far.sendall(b"one\ntwo\n")
    assert first.readline() == b"one\n"
    first.close()
    far.sendall(b"three\n")
    second = makefile(near, "rb")
    near.close()
    assert second.readline() == b"three\n"
    number = second.fileno()
    second.close()
    assert not open_descriptor(number)


def test_one_reference_to_the_socket_is_held_by_a_file(ends: Ends) -> None:
    """A file, buffered, raw or text, refers to its socket once, and to nothing of it after closing."""
    near, _far = ends.sockets()
    for mode, buffering in [("rb", None), ("rb", 0), ("rw", None)]:
        before = sys.getrefcount(near)
        file = makefile(near, mode, buffering)
        assert sys.getrefcount(near) == before + 1
        file.close()
        assert sys.getrefcount(near) == before


@pytest.mark.parametrize("kind", ["gevent", "blocking", "tls"])
@pytest.mark.parametrize("mode", ["rb", "rwb", "r", "rb raw"])
def test_a_detached_socket_leaves_its_file_on_no_descriptor(ends: Ends, kind: str, mode: str) -> None:
    """After `detach` (as STARTTLS does) the old file has number -1, its end raises nothing, and the number's next owner
    feels nothing."""
    near, far = ends.sockets(kind)
    near.settimeout(0.01)
    file = makefile(near, mode.split(maxsplit=1)[0], 0 if "raw" in mode else None)
    with pytest.raises(TimeoutError):
        file.read(1)
    number = near.detach()
    assert (file.fileno(), file.name) == (-1, -1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.read(1)
    heir = ends.pairs.keep(gevent.socket.socket(fileno=number))
    file.close()
    assert file.closed
    other = makefile(near, "rb")
    del file, other
    gc.collect()
    assert open_descriptor(number)
    if kind != "tls":
        far.sendall(b"for the heir")
        assert heir.recv(100) == b"for the heir"


def test_a_duplicate_is_a_socket_of_its_own(ends: Ends) -> None:
    """A file on a `dup` lives on when the first socket and its file are closed."""
    file, near, far = ends.file()
    copy = near.dup()
    second = makefile(copy, "rb")
    file.close()
    near.close()
    copy.close()
    far.sendall(b"still here\n")
    assert second.readline() == b"still here\n"
    second.close()
    assert copy.fileno() == -1


@pytest.mark.parametrize("mode", ["r", "w", "rwb"])
def test_every_call_on_a_closed_file_of_a_stream_is_a_value_error(pairs: Pairs, mode: str) -> None:
    """A file of a stream that was closed refuses as any file does, and leaves the stream open."""
    stream, _peer = pairs.streams("tcp")
    file = stream.makefile(mode)
    file.close()
    empty: Any = b"" if "b" in mode else ""
    calls: list[Callable[[], Any]] = [
        file.fileno, file.readable, file.writable, file.flush, file.readline, file.read, lambda: file.write(empty), file.__enter__,
    ]  # fmt: skip
    for call in calls:
        assert isinstance(outcome(call), ValueError), call
    file.close()
    assert file.closed
    assert not stream.closed


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_on_a_closed_file_is_a_value_error(ends: Ends, kind: str) -> None:
    """After closing every call raises ValueError, even for empty reads and writes; close() again does nothing."""
    for mode, buffering in [("rwb", None), ("rb", 0), ("rw", None)]:
        near, _far = ends.sockets(kind)
        file = makefile(near, mode, buffering)
        file.close()
        empty: Any = b"" if "b" in mode else ""
        calls: list[Callable[[], Any]] = [
            *(file.read, file.readline, file.readlines, file.fileno, file.flush, file.__next__, file.__iter__),
            *(file.readable, file.writable, file.seekable, file.isatty, file.tell, file.truncate, file.__enter__),
            *(partial(file.read, 0), partial(file.write, empty), partial(file.writelines, []), partial(file.seek, 0)),
        ]
        if "b" in mode:
            calls.append(partial(file.readinto, bytearray(5)))
        for call in calls:
            with pytest.raises(ValueError, match=r"closed|seek|tell|truncate"):
                call()
        file.close()
        assert file.closed


def test_streams_and_files_hand_sockets_to_each_other(ends: Ends) -> None:
    """A socket that had a file becomes a stream's; handed back by `replace_socket(None)` it takes a file again, whose
    timeout is the one it had."""
    near, far = ends.sockets()
    near.settimeout(20)
    far.sendall(b"first\n")
    with makefile(near, "rb", 0) as raw:
        assert raw.readline() == b"first\n"
    stream = ends.pairs.keep(SocketStream(near))
    stream.write_line("asked")
    stream.flush()
    assert far.recv(100) == b"asked\n"
    far.sendall(b"second\n")
    assert stream.readline() == b"second\n"
    handed_back = ends.pairs.keep(stream.replace_socket(None))
    assert handed_back.gettimeout() == 20
    handed_back.settimeout(0.01)
    with makefile(handed_back, "rwb") as file:
        with pytest.raises(TimeoutError):
            file.readline()
        far.sendall(b"third\n")
        handed_back.settimeout(20)
        assert file.readline() == b"third\n"
        file.write(b"told\n")
        file.flush()
        assert far.recv(100) == b"told\n"
    assert handed_back.fileno() >= 0
