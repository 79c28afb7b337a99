"""`makefile` is a drop-in: the arguments, results, attributes, errors and reference counts of the standard
library's."""

import copy
import io
import itertools
import os
import pickle
import random
import socket
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
import pytest
from kit.makefile import Ends, blocking_file
from kit.pairs import Pairs

import geventstreams
from geventstreams import makefile
from geventstreams._files.buffered_file import SocketFile
from geventstreams._files.text_file import TextFile

BYTES = b"one\ntwo two\r\nthree\rfour\r\r\n\n" + "fünf – ſechs\n".encode() + bytes(range(1, 127)) * 5 + b"\nno end"
SIZES = (None, -1, 0, 1, 2, 3, 7, 64, 10_000)


def said(call: Callable[..., Any], *given: Any, **options: Any) -> Any:
    """What a call gives, or the type of what it raises."""
    try:
        result = call(*given, **options)
    except Exception as error:  # noqa: BLE001 - compared
        return type(error)
    return bytes(result) if isinstance(result, memoryview) else result


def by_size(name: str) -> Callable[[Any, int | None], Any]:
    """A reading call with a size; without one where that is None."""
    return lambda file, size: getattr(file, name)(*([] if size is None else [size]))


LINES_AND_SIZES = [*map(by_size, ("read", "readline", "readlines")), lambda file, _: next(file, None)]


def filled(file: Any, size: int) -> tuple[int, bytes]:
    """What `readinto` says and puts."""
    space = bytearray(size)
    return file.readinto(space), bytes(space)


def fed_alike(pairs: Pairs, data: bytes, mode: str, buffering: int | None, **options: Any) -> tuple[Any, Any]:
    """Our file and the standard library's, on sockets where the bytes and the end have arrived."""
    made = []
    for make in (makefile, blocking_file):
        near, far = pairs.sockets("unix")
        far.sendall(data)
        far.close()
        made.append(pairs.keep(make(near, mode, buffering, **options)))
    return made[0], made[1]


BINARY = [*LINES_AND_SIZES, lambda file, size: filled(file, size or 5), lambda file, _: file.read(None)]


@pytest.mark.parametrize("buffering", [None, -1, 1, 2, 100, 8192, 1 << 20])
def test_random_reads_give_what_the_standard_library_gives(pairs: Pairs, buffering: int | None) -> None:
    """Two hundred sessions of random reading calls on binary files give byte for byte what the standard library
    gives."""
    chance = random.Random(buffering)
    # What `read1` finds buffered is each file's own affair, but where all is.
    calls = BINARY if buffering and 0 < buffering <= 100 else [*BINARY, by_size("read1")]
    for _ in range(200):
        ours, theirs = fed_alike(pairs, BYTES, "rb", buffering)
        for _ in range(12):
            reader, size = chance.choice(calls), chance.choice(SIZES)
            assert said(reader, ours, size) == said(reader, theirs, size), (size, buffering)
        ours.close()
        theirs.close()


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_random_text_reads_give_what_the_standard_library_gives(
    pairs: Pairs, newline: str | None, encoding: str
) -> None:
    """With every newline setting, text files read what the standard library's read, and see the same newlines."""
    chance = random.Random(f"{newline} {encoding}")
    data = BYTES.decode("utf-8", "replace").encode(encoding, "replace")
    for buffering in (None, 1, 2, 3, 64) * 20:
        ours, theirs = fed_alike(pairs, data, "r", buffering, encoding=encoding, newline=newline)
        for _ in range(12):
            reader, size = chance.choice(LINES_AND_SIZES), chance.choice(SIZES)
            assert said(reader, ours, size) == said(reader, theirs, size), (size, buffering)
        assert (ours.read(), ours.newlines) == (theirs.read(), theirs.newlines)
        ours.close()
        theirs.close()


@pytest.mark.parametrize("options", [{"encoding": "latin-1"}, {"errors": "replace"}, {"newline": "\r"}, {"newline": ""}])
def test_a_text_file_is_reconfigured_before_its_first_read(pairs: Pairs, options: dict[str, str]) -> None:
    """Encoding, errors and newline can be set up to the first read, and count for a `readline` that was fetched before, too."""
    for fetched in (False, True):
        ours, theirs = fed_alike(pairs, "ä1\r\nä2\n".encode(), "r", None, encoding="utf-8")
        readline = ours.readline
        for file in (ours, theirs):
            file.reconfigure(**options)
        for _ in range(3):
            assert said(readline if fetched else ours.readline) == said(theirs.readline)
        for late in ({"encoding": "ascii"}, {"errors": "ignore"}, {"newline": "\n"}, {"newline": None}):
            assert said(ours.reconfigure, **late) is io.UnsupportedOperation


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("mode", ["w", "rw", "wb", "rwb"])
@pytest.mark.parametrize("buffering", [None, 0, 1, 100])
def test_writes_send_what_the_standard_library_sends(
    pairs: Pairs, newline: str | None, mode: str, buffering: int | None
) -> None:
    """In every mode, with every buffering and newline setting, the other end gets the same bytes, and the same errors
    come."""
    got = []
    for make in (makefile, blocking_file):
        near, far = pairs.sockets("unix")
        text: Any = "b" not in mode
        answers: Any = [said(make, near, mode, buffering, newline=newline)]
        if not isinstance(answers[0], type):
            file, answers = answers[0], []
            for piece in ("a\nb\r\n", "", "ü" * 300, b"bytes\n", bytearray(b"array"), memoryview(b"view"), 5, None):
                answers.append(said(file.write, piece))
            answers.append(said(file.writelines, ["x\n", "y"] if text else [b"x\n", b"y"]))
            answers.append(said(file.flush))
            file.close()
        near.shutdown(socket.SHUT_WR) if near.fileno() >= 0 else None
        got.append((answers, far.makefile("rb").read()))
    assert got[0] == got[1]


MODES = ["".join(mode) for size in range(4) for mode in itertools.product("rwbtax+", repeat=size)]


@pytest.mark.parametrize("buffering", [None, 0, 64])
def test_modes_are_taken_and_refused_as_there(pairs: Pairs, buffering: int | None) -> None:
    """Every mode of up to three letters is taken or refused as by the standard library, with the same `mode` and
    `name`."""
    near, _far = pairs.sockets("unix")
    for mode in MODES:
        answers = []
        for make in (makefile, blocking_file):
            file = said(make, near, mode, buffering)
            answers.append(file)
            if not isinstance(file, type):
                facts = [said(getattr, file, name) for name in ("mode", "name", "closed", "encoding", "errors")]
                facts += [said(getattr(file, name)) for name in ("readable", "writable", "seekable", "isatty")]
                facts += [isinstance(file, kind) for kind in (io.IOBase, io.RawIOBase, io.TextIOBase)]
                if "r" in mode and "w" in mode and buffering != 0:
                    facts[:2] = facts[1:2] = ["one object for both directions has a mode and a name"]
                answers[-1] = facts
                file.close()
        assert answers[0] == answers[1], mode


def test_arguments_are_refused_by_name_and_nothing_is_changed(pairs: Pairs) -> None:
    """A wrong argument is named with its value, and the socket's reference count stays as it was, the error kept or
    not."""
    near, _far = pairs.sockets("unix")
    kept = []
    for arguments, options, kind, word in [
        (("x",), {}, ValueError, "'x'"),
        ((5,), {}, TypeError, "mode"),
        (("rb", "big"), {}, TypeError, "buffering"),
        (("r", 0), {}, ValueError, "unbuffered"),
        (("r",), {"encoding": "no-such"}, LookupError, "no-such"),
        (("r",), {"newline": "x"}, ValueError, "x"),
        (("r",), {"errors": 7}, TypeError, "int"),
    ]:
        with pytest.raises(kind, match=word) as caught:
            makefile(near, *arguments, **options)
        kept.append(caught)
        assert near._io_refs == 0, arguments


def test_what_is_no_socket_is_refused_by_name(pairs: Pairs, tmp_path: Any) -> None:
    """A pipe, a file, a number, a stream or a raw socket object given by mistake is a TypeError that names it."""
    inlet, outlet = os.pipe()
    near, far = pairs.sockets("unix")
    stream = pairs.keep(geventstreams.SocketStream(far))
    with open(inlet, "rb") as pipe, open(outlet, "wb"), open(tmp_path / "file", "w+b") as file:
        for wrong in (pipe, file, inlet, stream, None, "socket", socket.socketpair):
            with pytest.raises(TypeError, match="socket must be a socket") as caught:
                makefile(wrong)
            assert type(wrong).__name__ in str(caught.value)
    read_only = ReadOnly(near)
    makefile(read_only, "r").close()
    with pytest.raises(TypeError, match="it has no send"):
        makefile(read_only, "rw")
    assert read_only._io_refs == 0


class ReadOnly:
    """A socket that cannot be sent to."""

    def __init__(self, inner: Any) -> None:
        self.fileno = inner.fileno
        self.recv_into = inner.recv_into
        self._io_refs = 0

    def _decref_socketios(self) -> None:
        self._io_refs -= 1


def test_what_the_mode_does_not_allow_is_unsupported(ends: Ends) -> None:
    """Reading a file for writing, the reverse, and positions are io.UnsupportedOperation, as there."""
    for mode, words in [("rb", ["write"]), ("wb", ["read", "readline", "readinto"]), ("r", ["write"]), ("w", ["read"])]:
        near, _far = ends.sockets()
        for buffering in (None, 0) if "b" in mode else (None,):
            file = makefile(near, mode, buffering)
            for word in [*words, "seek", "tell", "truncate"]:
                given: list[Any] = {
                    "write": [b"x" if "b" in mode else "x"],
                    "seek": [0],
                    "readinto": [bytearray(1)],
                }.get(word, [])
                with pytest.raises(io.UnsupportedOperation):
                    getattr(file, word)(*given)
            file.flush()


# What else they have.


def test_names_modes_and_representations(ends: Ends) -> None:
    """`name`, `mode`, `raw`, `buffer` and `repr` are where the standard library has them, before and after closing."""
    near, _far = ends.sockets()
    number = near.fileno()
    file = makefile(near, "rb")
    assert file.name == number
    assert file.mode == "rb"
    assert file.raw.name == number
    assert file.raw.mode == "rb"
    assert repr(file) == f"<geventstreams._files.buffered_file.SocketFile name={number}>"
    text = makefile(near, "rw", encoding="latin-1")
    assert text.name == number
    assert text.mode == "rw"
    assert text.encoding == "latin-1"
    assert text.errors == "strict"
    name, _, rest = repr(text).partition(" ")
    assert name in {"<_io.TextIOWrapper", "<TextFile"}  # C tells a subclass by its own name from 3.13 on
    assert rest == f"name={number} mode='rw' encoding='latin-1'>"
    assert isinstance(text.buffer, SocketFile)
    assert isinstance(text, TextFile)
    assert isinstance(file, io.BufferedIOBase)
    raw = makefile(near, "rb", 0)
    assert isinstance(raw, socket.SocketIO)
    assert raw._sock is near
    file.close()
    assert file.name == -1
    assert file.mode == "rb"
    assert file.closed is True
    assert repr(file) == "<geventstreams._files.buffered_file.SocketFile name=-1>"


@pytest.mark.skipif(not geventstreams.compiled, reason="a plain object that was not made has no attributes")
def test_a_file_that_was_not_made_is_closed() -> None:
    """An object of the class that `makefile` did not make is a closed file: nothing can be done with it but close it."""
    file = SocketFile.__new__(SocketFile)
    assert file.closed
    for call in (file.read, file.readline, file.flush, file.fileno, file.detach, lambda: file.write(b"data")):
        with pytest.raises(ValueError, match="closed file"):
            call()
    assert (file.raw.closed, file.name, file.between_threads) == (True, -1, True)
    assert repr(file) == "<geventstreams._files.buffered_file.SocketFile name=-1>"
    file.close()


def test_a_detached_binary_file_hands_out_its_raw_one(ends: Ends) -> None:
    """`detach` of a buffered file flushes and gives the raw file, which still counts; the buffered one is of no use
    then."""
    file, near, far = ends.file(mode="wb")
    file.write(b"flushed")
    raw = file.detach()
    assert far.recv(100) == b"flushed"
    for name in ("flush", "write", "closed", "raw", "name"):
        with pytest.raises(ValueError, match="detached"):
            getattr(file, name)(*[b"x"][: name == "write"])
    assert repr(file) == "<geventstreams._files.buffered_file.SocketFile>"
    file.close()
    del file
    raw.write(b"more")
    assert far.recv(100) == b"more"
    assert near._io_refs == 1
    raw.close()
    assert near._io_refs == 0
    with pytest.raises(io.UnsupportedOperation):
        makefile(near, "rwb").detach()


def test_a_detached_text_file_hands_out_its_binary_one(ends: Ends) -> None:
    """`detach` of a text file gives the binary file below."""
    near, far = ends.sockets()
    text = makefile(near, "r")
    far.sendall(b"one\n")
    assert text.readline() == "one\n"
    binary = text.detach()
    far.sendall(b"two\n")
    assert binary.readline() == b"two\n"
    with pytest.raises(ValueError, match="detached"):
        text.readline()


def test_a_file_cannot_be_pickled(ends: Ends) -> None:
    """No file can be pickled or copied, as there: a copy would give the socket's reference back a second time."""
    for mode, buffering in [("rb", None), ("rb", 0), ("r", None)]:
        file, near, _far = ends.file("gevent", mode, buffering)
        for double in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="pickle"):
                double(file)
        assert near._io_refs == 1


def test_unbuffered_files_never_read_ahead(ends: Ends) -> None:
    """With `buffering=0` a line is read byte by byte, so another file or the socket goes on right behind it."""
    file, near, far = ends.file(buffering=0)
    far.sendall(b"one\ntwo\nthree\n")
    assert file.readline() == b"one\n"
    assert makefile(near, "rb", 0).readline() == b"two\n"
    assert file.read(2) == b"th"
    assert near.recv(100) == b"ree\n"
    far.close()
    assert file.read(1) == b""
    assert file.read() == b""
    assert file.readinto(bytearray(1)) == 0


def test_buffering_bounds_what_is_read_ahead_and_held_back(ends: Ends) -> None:
    """`buffering` is what a file takes from the socket beyond what was asked for, and what it holds back when writing,
    at most."""
    file, near, far = ends.file(mode="rwb", buffering=10)
    far.sendall(bytes(range(100)))
    assert file.read(3) == bytes(range(3))
    assert near.recv(5) == bytes(range(10, 15))
    file.write(b"0123456789")
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        far.recv(1)
    file.write(b"!")
    assert far.recv(100) == b"0123456789"


def test_a_written_array_may_be_used_again_at_once(ends: Ends) -> None:
    """`write(bytearray)` has copied or sent before it returns, also where it had to wait."""
    file, near, far = ends.file(mode="wb")
    reader = gevent.spawn(lambda: far.makefile("rb").read())
    space = bytearray(300_000)
    expected = b""
    for number in range(40):
        space[:] = bytes([number]) * len(space)
        size = (10, 70_000, 300_000)[number % 3]
        expected += bytes(space[:size])
        assert file.write(memoryview(space)[:size]) == size
        space[:] = b"x" * len(space)
    file.close()
    near.close()
    assert reader.get(timeout=10) == expected


def test_consumers_of_files_work(ends: Ends) -> None:
    """TextIOWrapper, BufferedReader and pickle take our files as they take any."""
    for wrap, expected in [
        (lambda file: io.TextIOWrapper(file, "utf-8").read(), "ä\nb\n"),
        (lambda file: io.BufferedReader(file).read(), "ä\nb\n".encode()),
        (list, ["ä\n".encode(), b"b\n"]),
        (lambda file: b"".join(iter(lambda: file.read(1), b"")), "ä\nb\n".encode()),
    ]:
        for buffering in (None, 0):
            file, _near, far = ends.file(buffering=buffering)
            far.sendall("ä\nb\n".encode())
            far.close()
            assert wrap(file) == expected


def test_sizes_that_are_no_numbers_are_refused(ends: Ends) -> None:
    """A size of the wrong type is TypeError and takes nothing; below -1 it is ValueError for `read`, as there."""
    file, _near, far = ends.file()
    far.sendall(b"kept")
    for call in (file.read, file.read1, file.readline, file.readlines, file.peek):
        for wrong in ("5", 1.5):
            with pytest.raises(TypeError):
                call(wrong)
    with pytest.raises(ValueError, match="-2"):
        file.read(-2)
    for wrong in (b"read only", memoryview(bytearray(8))[::2]):
        with pytest.raises(TypeError):
            file.readinto(wrong)
    far.close()
    assert file.readline(-5) == b"kept"
