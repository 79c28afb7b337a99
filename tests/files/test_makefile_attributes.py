"""What a user sets on a file or a stream itself: every kind takes it, and it counts where the standard library's file lets it count."""

import io
import sys
from typing import Any
from unittest import mock

import pytest
from kit.makefile import Ends, blocking_file
from kit.pairs import Pairs

from geventstreams import SocketStream, makefile
from geventstreams._streams.buffered import BufferedStream

MODES = ("rb", "wb", "rwb", "r", "w", "rw")


@pytest.mark.parametrize("mode", [*MODES, "raw"])
def test_a_file_takes_attributes(ends: Ends, mode: str) -> None:
    """Any attribute can be set on a file, read, and deleted again."""
    file, _, _ = ends.file("gevent", "rwb", 0) if mode == "raw" else ends.file("gevent", mode)
    file.tag = "here"
    assert file.tag == "here"
    del file.tag
    assert not hasattr(file, "tag")


def test_a_stream_takes_attributes_and_each_has_its_own(pairs: Pairs) -> None:
    """What is set on one stream is not on another."""
    near, far = pairs.streams()
    assert isinstance(near, SocketStream)
    near.tag = 1  # type: ignore[attr-defined]  # that is the claim
    assert near.tag == 1  # type: ignore[attr-defined]
    assert not hasattr(far, "tag")


def standard_and_ours(ends: Ends, mode: str) -> list[tuple[Any, Any]]:
    """The standard library's file of a mode and ours, each with what its other end is."""
    found = []
    for make in (blocking_file, None):
        near, far = ends.sockets("blocking")
        if make is not None:
            found.append((ends.pairs.keep(make(near, mode)), far))
        else:
            found.append((ends.pairs.keep(makefile(near, mode)), far))
    return found


CALLS: dict[str, tuple[str, str, str, Any]] = {
    f"{call} in {mode} with its own {name}": (mode, name, call, given)
    for mode in MODES
    for name, given in {
        "readline": ["from outside\n", ""] if "b" not in mode else [b"from outside\n", b""],
        "read": ["x\n", ""] if "b" not in mode else [b"x\n", b""],
        "write": [7] * 4,
        "flush": [None] * 4,
    }.items()
    for call in ("next", "readlines", "readline", "writelines", "close", "exit")
    if not (call in ("next", "readlines", "readline") and "r" not in mode)
    if not (call == "writelines" and "w" not in mode)
    # In text, where the standard library reads ahead and ours does not, only what is called on the file itself is compared.
    if not ("b" not in mode and name == "read")
}


def outcome(file: Any, far: Any, name: str, call: str, given: Any) -> tuple[int, Any]:
    """Return how often the override was called, and what the call gave."""
    far.sendall(b"line one\nline two\n")
    far.shutdown(1)
    lines = [b"a", b"b"] if isinstance(file, io.BufferedIOBase) or not isinstance(file, io.TextIOBase) else ["a", "b"]
    with mock.patch.object(file, name, side_effect=list(given)) as override:
        if call == "next":
            result = next(file)
        elif call == "exit":
            with file:
                result = None
        elif call == "writelines":
            result = file.writelines(lines)
        else:
            result = getattr(file, call)()
    return override.call_count, result


@pytest.mark.parametrize("case", CALLS.values(), ids=CALLS)
def test_an_override_counts_where_it_counts_in_the_standard_library(ends: Ends, case: tuple[str, str, str, Any]) -> None:
    """A method set on a file is called as often as on the standard library's file of that mode, with the same result."""
    mode, name, call, given = case
    if call == name:
        pytest.skip("the override itself is called")
    if sys.version_info >= (3, 12) and (mode, name) == ("rb", "readline") and call in ("next", "readlines"):
        pytest.skip("CPython 3.12 and later look for a readline in iteration, where their own check was to avoid that")
    (theirs, other), (ours, far) = standard_and_ours(ends, mode)
    assert outcome(ours, far, name, call, given) == outcome(theirs, other, name, call, given)


def test_writelines_of_a_stream_calls_the_write_that_was_set_and_iteration_no_readline(pairs: Pairs) -> None:
    """`writelines` calls an override of `write`; iteration does not look for one of `readline`; a subclass's own methods count."""
    near, far = pairs.streams()
    taken: list[bytes] = []
    with mock.patch.object(near, "write", side_effect=taken.append):
        near.writelines([b"one\n", b"two\n"])
    assert taken == [b"one\n", b"two\n"]
    near.writelines(taken)
    near.flush()
    with mock.patch.object(far, "readline", return_value=b"no"):
        assert next(far) == b"one\n"
        assert far.readline() == b"no"
    assert far.readline() == b"two\n"


def test_a_subclass_of_a_stream_is_asked_for_its_own_methods(pairs: Pairs) -> None:
    """`readlines` and iteration call a `readline` that a subclass defines, and everything that writes calls its `write`."""

    class Shouting(SocketStream):
        def readline(self, size: int | None = -1) -> bytes:
            return BufferedStream.readline(self, size).upper()

        def write(self, data: Any) -> int:
            return BufferedStream.write(self, bytes(data) + b"!")

    one, other = pairs.sockets()
    stream, peer = pairs.keep(Shouting(one)), pairs.keep(SocketStream(other))
    peer.write(b"one\ntwo\n")
    peer.send_eof()
    assert next(stream) == b"ONE\n"
    assert stream.readlines() == [b"TWO\n"]
    stream.write_string("a")
    stream.writelines([b"b"])
    stream.sendall(b"c")
    assert peer.read_exactly(6) == b"a!b!c!"


def test_a_text_file_keeps_the_readline_that_was_set_before_its_first_read(ends: Ends) -> None:
    """The first read of a text file replaces no method that the user has set, and takes none away afterwards."""
    file, _, far = ends.file("gevent", "r")
    far.sendall(b"one\ntwo\nthree\n")
    with mock.patch.object(file, "readline", return_value="set"):
        assert file.read(4) == "one\n"
        assert file.readline() == "set"
    assert file.readline() == "two\n"
    with mock.patch.object(file, "readline", return_value="set"):
        assert file.readline() == "set"
    assert file.readline() == "three\n"


def test_a_dropped_file_calls_the_close_that_was_set(ends: Ends) -> None:
    """Like io's destructors, that of a file calls a `close` that was set on it, and ignores its error."""
    for mode in ("rb", "wb", "rwb", "r", "w"):
        file = makefile(ends.sockets()[0], mode)
        file.close = mock.Mock(side_effect=OSError)
        closed = file.close
        del file
        assert closed.call_count == 1, mode
