"""Every call that takes bytes, as functions of a stream and a size that give the bytes taken, beside what bytes would give.

The tests of cancellation and the fuzz campaigns draw from these lists.
"""

import array
import io
import os
import sys
from collections.abc import Callable
from typing import Any

from geventstreams.errors import IncompleteRead

SIZE = float(os.environ.get("GEVENTSTREAMS_TEST_SIZE", "1"))
"""How much longer the campaigns run than by default: 1000 for an hour."""

CHARACTERS = "w" if sys.version_info >= (3, 13) else "u"
END = b""


def many(count: int) -> int:
    """So many, by default."""
    return max(1, int(count * SIZE))


def _filled(call: Callable[[Any], int], size: int) -> bytes:
    space = bytearray(b"\xee" * (size + 3))
    count = call(memoryview(space)[1 : size + 1])
    assert space[:1] + space[count + 1 :] == b"\xee" * (size + 3 - count)
    return bytes(space[1 : count + 1])


def _exactly(stream: Any, size: int) -> bytes:
    try:
        return bytes(stream.read_exactly(size))
    except IncompleteRead as error:
        told = error
    assert told.expected == size
    assert stream.read(len(told.partial)) == told.partial
    return told.partial


def _until(separator: bytes) -> Callable[[Any, int], bytes]:
    def take(stream: Any, size: int) -> bytes:
        try:
            return bytes(stream.read_until(separator))
        except IncompleteRead as error:
            told = error
        assert stream.read(len(told.partial)) == told.partial
        return told.partial

    return take


def _line(stream: Any, size: int) -> bytes:
    line, missing = stream.read_line(False, "")
    return bytes(line.encode("latin-1") + (b"" if missing else b"\n"))


def _elements(stream: Any, size: int) -> bytes:
    seq = [None] * (size + 2)
    stop = stream.read_sequence(seq, 1, size + 1)
    assert seq[:1] + seq[stop:] == [None] * (size + 3 - stop)
    return bytes(one & 255 for one in seq[1:stop])


def _character_array(stream: Any, size: int) -> bytes:
    seq = array.array(CHARACTERS, "~" * size)
    stop = stream.read_sequence(seq)
    return seq.tounicode()[:stop].encode("latin-1")


def _byte(value: Any) -> bytes:
    if value is None:
        return END
    return bytes([value & 255]) if isinstance(value, int) else bytes(value.encode("latin-1"))


def _peeked(stream: Any, size: int) -> bytes:
    seen = stream.peek(size)
    taken = stream.read(len(seen))
    assert taken == seen
    return bytes(taken)


def _put_back(stream: Any, size: int) -> bytes:
    character = stream.read_char(False)
    if character is None:
        return END
    stream.unread_char(character)
    assert stream.peek_char() == character
    return _byte(stream.read_char())


def _no_hang(stream: Any, size: int) -> bytes:
    taken = _byte(stream.read_char_no_hang(False))
    return taken if taken else bytes(stream.read(1))


def _until_of_model(separator: bytes) -> Callable[[io.BytesIO, int], bytes]:
    def take(model: io.BytesIO, size: int) -> bytes:
        at = model.getvalue().find(separator, model.tell())  # of the very bytes it was made of: nothing is copied
        return model.read() if at < 0 else model.read(at + len(separator) - model.tell())

    return take


Take = Callable[[Any, int], bytes]

EXACT: dict[str, tuple[Take, Callable[[io.BytesIO, int], bytes]]] = {
    "read": (lambda stream, size: stream.read(size), lambda model, size: model.read(size)),
    "read_exactly": (_exactly, lambda model, size: model.read(size)),
    "readinto": (lambda stream, size: _filled(stream.readinto, size), lambda model, size: model.read(size)),
    "readline": (lambda stream, size: stream.readline(), lambda model, size: model.readline()),
    "readline of a size": (lambda stream, size: stream.readline(size), lambda model, size: model.readline(size)),
    "readlines": (
        lambda stream, size: b"".join(stream.readlines(max(size, 1))),
        lambda model, size: b"".join(model.readlines(max(size, 1))),
    ),
    "next": (lambda stream, size: next(stream, b""), lambda model, size: model.readline()),
    "read_until": (_until(b"\n"), _until_of_model(b"\n")),
    "read_until two": (_until(b"a\n"), _until_of_model(b"a\n")),
    "read_string": (lambda stream, size: stream.read_string(size).encode("latin-1"), lambda model, size: model.read(size)),
    "read_line": (_line, lambda model, size: model.readline()),
    "read_char": (lambda stream, size: _byte(stream.read_char(False)), lambda model, size: model.read(1)),
    "read_byte": (lambda stream, size: _byte(stream.read_byte(False)), lambda model, size: model.read(1)),
    "unread_char": (_put_back, lambda model, size: model.read(1)),
    "read_char_no_hang": (_no_hang, lambda model, size: model.read(1)),
    "read_sequence": (lambda stream, size: _filled(stream.read_sequence, size), lambda model, size: model.read(size)),
    "read_sequence of a list": (_elements, lambda model, size: model.read(size)),
    "read_sequence of characters": (_character_array, lambda model, size: model.read(size)),
}
"""Calls whose result a file of the same bytes gives too."""

PARTIAL: dict[str, Take] = {
    "read1": lambda stream, size: stream.read1(size + 1),
    "readinto1": lambda stream, size: _filled(stream.readinto1, size + 1),
    "peek": _peeked,
    "read_available": lambda stream, size: stream.read_available() or stream.read1(size + 1),
}
"""Calls that give as much as there is: any beginning of the rest is right, nothing only at the end."""

TAKES: dict[str, Take] = {name: take for name, (take, _) in EXACT.items()} | PARTIAL

PURE = sorted(set(TAKES) - {"unread_char", "read_char_no_hang", "peek", "read_exactly", "read_until", "read_until two"})
"""Those that make one call of the stream: between two an exception of ours may strike as well."""
