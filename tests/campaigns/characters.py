"""Characters: text with rubbish in it, read in every way over a transport that makes life hard, is what `codecs` makes of the same bytes.

The judge is the codec itself, fed byte by byte from the first unread one. What it refuses is a UnicodeDecodeError here, told by the same
place, and takes nothing; then one byte is read as such, and both go on behind it.
"""

from __future__ import annotations

import array
import codecs
from collections.abc import Callable
from random import Random
from typing import Any

import gevent
from kit.vocabulary import CHARACTERS

from campaigns.ends import Ends, Over, itself
from campaigns.tally import Tally, ended_well
from geventstreams.testing import HostileTransport
from geventstreams.testing.claims import outcome

ENCODINGS = (
    "latin-1", "utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "gb18030", "gbk", "gb2312", "big5", "shift_jis", "cp932",
    "euc_jp", "euc_kr", "cp949", "johab", "ascii", "cp1252", "koi8-r", "cp037", "mac-roman",
)  # fmt: skip
RANGES = ((32, 127), (0, 256), (0x3000, 0xA000), (0, 0x110000))
"""Of the characters: from, and up to."""

MOST_BYTES = 8
NOTHING = ("", 0)
"""What is there where the input has ended."""

Said = tuple[str, int] | int
"""Characters and how many bytes these were; or, refused, how many bytes lie before what cannot be decoded."""


def material(chance: Random, name: str, count: int) -> bytes:
    """So many characters of a codec in its bytes, with lines of all lengths and, here and there, bytes that are anything."""
    found: list[bytes] = []
    while len(found) < count:
        drawn = chance.random()
        code = chance.randrange(*chance.choice(RANGES))
        if drawn < 0.05:
            found.append("\n".encode(name))
        elif drawn < 0.06:
            found.append(chance.randbytes(chance.randint(1, 5)))
        else:
            encoded = chr(code).encode(name, "ignore")
            if encoded:
                found.append(encoded)
    return b"".join(found)


class Judge:
    """What `codecs` says of bytes."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.data = data
        self.at = 0
        self._decoder = codecs.getincrementaldecoder(name)
        self._newline = "\n".encode(name)

    def character(self, at: int) -> Said:
        """The character that begins at a byte."""
        if at == len(self.data):
            return NOTHING
        decoder = self._decoder()
        for stop in range(at + 1, at + MOST_BYTES + 1):
            try:
                character = decoder.decode(self.data[stop - 1 : stop], stop >= len(self.data))
            except UnicodeDecodeError:
                return 0
            if character:
                return character, stop - at
        raise AssertionError(f"{self.name} makes nothing of {self.data[at : at + MOST_BYTES]!r}")

    def string(self, count: int) -> Said:
        """So many characters from here on."""
        text, used = "", 0
        for _ in range(count):
            said = self.character(self.at + used)
            if isinstance(said, int):
                return used
            text, used = text + said[0], used + said[1]
        return text, used

    def line(self) -> Said:
        """The line that begins here, with its newline."""
        unit, stop = len(self._newline), self.at
        while stop < len(self.data) and self.data[stop : stop + unit] != self._newline:
            stop = min(stop + unit, len(self.data))
        stop = min(stop + unit, len(self.data))
        try:
            return self.data[self.at : stop].decode(self.name), stop - self.at
        except UnicodeDecodeError as error:
            return error.start


def _put_back(stream: Any) -> str:
    character = stream.read_char(False, "")
    if character:
        stream.unread_char(character)
        assert stream.peek_char() == character
        assert stream.read_char() == character
    return str(character)


def _no_hang(stream: Any) -> str:
    while (character := stream.read_char_no_hang(False, "")) is None:
        gevent.sleep(0)
    return str(character)


def _peeked(stream: Any) -> str:
    character = stream.peek_char(None, False, "")
    assert stream.read_char(False, "") == character
    return str(character)


def _array(stream: Any, count: int) -> str:
    seq = array.array(CHARACTERS, "~" * count)
    stop = stream.read_sequence(seq)
    assert set(seq.tounicode()[stop:]) <= {"~"}
    return seq.tounicode()[:stop]


def _elements(stream: Any, count: int) -> str:
    seq: list[Any] = [None] * count
    stop = stream.read_sequence(seq)
    assert seq[stop:] == [None] * (count - stop)
    return "".join(seq[:stop])


def _line(stream: Any) -> str:
    line, missing = stream.read_line(False, "")
    return str(line) if missing else f"{line}\n"


SINGLE: tuple[Callable[[Any], str], ...] = (lambda stream: str(stream.read_char(False, "")), _put_back, _no_hang, _peeked)
COUNTED: tuple[Callable[[Any, int], str], ...] = (lambda stream, count: str(stream.read_string(count)), _array, _elements)


def read_characters(tally: Tally, ends: Ends, name: str, operations: int, *, taken_for: str | None = None, flaw: Over = itself) -> None:
    """So many reads of text in one encoding. `taken_for` is what the stream is told instead; `flaw` is put under it."""
    aim = tally.operations + operations
    while tally.operations < aim:
        data = material(tally.chance, name, tally.chance.choice((5, 50, 4000)))
        most = tally.chance.choice((1, 5, 100, 5000))
        random = Random(tally.chance.random())

        def hinder(transport: Any, most: int = most, random: Random = random) -> Any:
            return flaw(HostileTransport(transport, random, most=most))

        with ends.streams("memory", above=hinder, encoding=taken_for or name, line_limit=None) as (stream, peer):
            greenlet = gevent.spawn(outcome, _compare, tally, stream, Judge(name, data), aim)
            peer.write(data)
            sender = gevent.spawn(outcome, peer.send_eof)
            ended_well(greenlet)
            sender.kill()


def _compare(tally: Tally, stream: Any, judge: Judge, aim: int) -> None:
    chance = tally.chance
    beyond = 3
    while tally.operations < aim and beyond:
        tally.operations += 1
        beyond -= judge.at == len(judge.data)
        kind = chance.randrange(4)
        if kind == 0:
            call = chance.choice(SINGLE)
            got, wanted = outcome(call, stream), judge.character(judge.at)
        elif kind == 1:
            got, wanted = outcome(_line, stream), judge.line()
        elif kind == 2:
            count = chance.choice((0, 1, 2, 5, 30, 300))
            got, wanted = outcome(chance.choice(COUNTED), stream, count), judge.string(count)
        else:
            data = stream.read(chance.choice((0, 1, 1, 2, 4)))
            tally.same(data, judge.data[judge.at : judge.at + len(data)], f"byte {judge.at} of {judge.name}, read as such")
            judge.at += len(data)
            continue
        where = f"operation {tally.operations}, {judge.name} at byte {judge.at}, {judge.data[judge.at : judge.at + 40]!r}"
        if isinstance(wanted, int):
            tally.faults += 1
            tally.expect(isinstance(got, UnicodeDecodeError), f"{where}: {got!r:.200} instead of a refusal")
            tally.expect(got.start == wanted, f"{where}: refused at {got.start} instead of {wanted}")
            wanted = "", 1
            tally.same(stream.read(1), judge.data[judge.at : judge.at + 1], f"{where}, after a refusal")
        else:
            tally.expect(got == wanted[0], f"{where}: {got!r:.200} instead of {wanted[0]!r:.200}")
            tally.note(wanted[0].encode("utf-8", "surrogatepass"))
        judge.at += wanted[1]
