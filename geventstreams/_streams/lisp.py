"""The Lisp vocabulary: elements, characters and lines over any transport, beside the Python vocabulary.

Rules for the next editor: this vocabulary speaks characters and takes a read timeout as it takes the end of file (`_more`); only
`read_byte` and `write_byte` care for the element type. How many octets a character has is known before any of them is taken.
"""

from __future__ import annotations

import array
from collections.abc import MutableSequence
from typing import TYPE_CHECKING, Any

import geventstreams._core.arguments as arguments
import geventstreams._native.memory as _bytes
from geventstreams._constants import A_LINE, NO_TAIL
from geventstreams._core.fork import FORK
from geventstreams._core.transport import Transport
from geventstreams._streams.buffered import BufferedStream
from geventstreams._streams.elements import (
    ElementType,
    elements_of,
    octets_of_list,
)
from geventstreams._streams.options import StreamOptions
from geventstreams.errors import EndOfFile, ReadTimeout, line_too_long

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, TypeVar, overload

    from geventstreams._types import Direction, ElementTypeName, ReadableBuffer, WritableBuffer

    E = TypeVar("E")
    Q = TypeVar("Q", bound=ReadableBuffer | Sequence[Any])

WHITE_SPACE = " \t\n\r\f\v"
LF = 10
START = 0


class LispStream(BufferedStream):
    """A binary file over a transport that speaks Lisp's vocabulary too: characters, elements, sequences.

    `element_type` decides what `read_byte` and generic sequences see of an octet, `encoding` how octets become characters.
    """

    def __init__(self, transport: Transport, element_type: ElementType | ElementTypeName = "base-char", *, encoding: str = "latin-1",
                 readable: bool = True, writable: bool = True, read_timeout: float | None = None, write_timeout: float | None = None,
                 line_limit: float | None = 2**20, linger_timeout: float | None = 2.0) -> None:
        self._init_stream(transport, readable, writable, StreamOptions(
            element_type=element_type, encoding=encoding, read_timeout=read_timeout, write_timeout=write_timeout, line_limit=line_limit,
            linger_timeout=linger_timeout))

    def _init_stream(self, transport: Transport, readable: bool, writable: bool, options: StreamOptions) -> None:
        self._element_type = options.element_type
        self._encoding = options.encoding
        self._is_latin = self._encoding.latin
        self._is_binary = self._element_type is not ElementType.BASE_CHAR
        self._is_signed = self._element_type is ElementType.SIGNED_BYTE_8
        self._last_char: str | None = None
        self._last_octets = b""
        self._last_taken = 0
        BufferedStream._init_stream(self, transport, readable, writable, options)

    # What it is.

    @property
    def direction(self) -> Direction:
        """`"input"`, `"output"` or `"io"`."""
        return "io" if self._is_readable and self._is_writable else "input" if self._is_readable else "output"

    @property
    def element_type(self) -> ElementType:
        """What one octet looks like to `read_byte` and to generic sequences."""
        return self._element_type

    @property
    def encoding(self) -> str:
        """How the Lisp vocabulary turns octets into characters."""
        return self._encoding.name

    # Characters in.

    def _more(self) -> bool:
        """Wait for more bytes. Return False at the end of the input and, in this vocabulary, when the read timeout passes."""
        try:
            return self._fill(None, 0, 0) > 0
        except ReadTimeout:
            return False

    def _at_end(self, eof_error: bool, eof_value: Any) -> Any:
        """What a call gives that found nothing: the condition, or the value that stands for it."""
        self._raise_end()
        if not eof_error:
            return eof_value
        late = self._end is None
        what = f"nothing arrived from {self._transport.peer} in time" if late else f"end of file from {self._transport.peer}"
        raise EndOfFile(what, stream=self, timed_out=late)

    if TYPE_CHECKING:

        @overload
        def read_char(self, eof_error: Literal[True] = True, eof_value: object = None) -> str: ...
        @overload
        def read_char(self, eof_error: bool, eof_value: E) -> str | E: ...
        @overload
        def read_char(self, eof_error: bool, eof_value: None = None) -> str | None: ...

    def read_char(self, eof_error: bool = True, eof_value: Any = None) -> Any:
        """One character, waiting for it. At the end of file, or when `read_timeout` passes, EndOfFile or `eof_value`."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        octet = self.input.byte_at(0)
        if octet < 0 or not (self._is_latin or (octet < 128 and self._encoding.transparent)):
            return self._read_wide_char(eof_error, eof_value)
        self.input.skip(1)
        self._last_char = character = chr(octet)
        self._last_taken = self.input.taken
        return character

    def _read_wide_char(self, eof_error: bool, eof_value: Any) -> Any:
        character, octets = self._next_char(0)
        if not octets:
            return self._at_end(eof_error, eof_value)
        self._take_char(character, octets)
        return character

    def _take_char(self, character: str, octets: int) -> None:
        self._last_octets = self.input.take(octets)
        self._last_char = character
        self._last_taken = self.input.taken

    def _next_char(self, at: int) -> tuple[str, int]:
        """Waits for a whole character behind the next `at` octets: it and its length in octets, or "" and 0 where none comes."""
        while True:
            character, octets = self._char_at(at)
            if octets or not self._more():
                return (character, octets) if octets else self._last_chance(at)

    def _last_chance(self, at: int) -> tuple[str, int]:
        """Half a character before the end of the input is an error; before a timeout it is nothing yet."""
        if self._end is not None and len(self.input) > at:
            return self._encoding.decode(self.input.peek(at + self._encoding.most)[at:], 1, True)
        return "", 0

    def _char_at(self, at: int) -> tuple[str, int]:
        """The character behind the next `at` octets of the buffer and its length in octets; "" and 0 where it is not whole."""
        octet = self.input.byte_at(at)
        if octet < 0:
            return "", 0
        if self._is_latin or (octet < 128 and self._encoding.transparent):
            return chr(octet), 1
        return self._encoding.decode(self.input.peek(at + self._encoding.most)[at:], 1, False)

    def unread_char(self, character: str) -> None:
        """Puts back the character that `read_char` gave last, if nothing was read since. ValueError for any other."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        if self._last_char is None or character != self._last_char or self._last_taken != self.input.taken:
            raise ValueError(f"character must be the one that read_char gave last, not {character!r}")
        octets = self._last_octets
        if self._is_latin or (len(character) == 1 and ord(character) < 128 and self._encoding.transparent):
            octets = bytes((ord(character),))
        self.input.put_back(octets)
        self._last_char = None

    if TYPE_CHECKING:

        @overload
        def peek_char(self, peek_type: str | Literal[True] | None = None, eof_error: Literal[True] = True,
                      eof_value: object = None) -> str: ...
        @overload
        def peek_char(self, peek_type: str | Literal[True] | None, eof_error: bool, eof_value: E) -> str | E: ...
        @overload
        def peek_char(self, peek_type: str | Literal[True] | None = None, *, eof_error: bool, eof_value: E) -> str | E: ...
        @overload
        def peek_char(self, peek_type: str | Literal[True] | None, eof_error: bool, eof_value: None = None) -> str | None: ...

    def peek_char(self, peek_type: Any = None, eof_error: bool = True, eof_value: Any = None) -> Any:
        """The next character, left in place: of any kind (None), the first that is no white space (True), or the first that is
        `peek_type`; those before it are taken."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        if not (peek_type is None or peek_type is True or (isinstance(peek_type, str) and len(peek_type) == 1)):
            raise TypeError(f"peek_type must be None, True or a character, not {peek_type!r}")
        self.input.count_call()
        while True:
            if self.input.permit != FORK.generation:
                self._refuse_input()
            character, octets = self._next_char(0)
            if not octets:
                return self._at_end(eof_error, eof_value)
            if peek_type is None or character == peek_type or (peek_type is True and character not in WHITE_SPACE):
                return character
            self.input.skip(octets)

    if TYPE_CHECKING:

        @overload
        def read_char_no_hang(self, eof_error: bool = True, eof_value: None = None) -> str | None: ...
        @overload
        def read_char_no_hang(self, eof_error: bool, eof_value: E) -> str | E | None: ...

    def read_char_no_hang(self, eof_error: bool = True, eof_value: Any = None) -> Any:
        """A character, or None where it would have to wait for one."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        while True:
            character, octets = self._char_at(0)
            if octets:
                self._take_char(character, octets)
                return character
            if self._end is None and self._receive_unasked() < 0:
                return None
            if self._end is not None:
                character, octets = self._last_chance(0)
                if octets:
                    self._take_char(character, octets)
                    return character
                return self._at_end(eof_error, eof_value)

    def _receive_unasked(self) -> int:
        self._refuse_thread()
        self._renew_input()
        return self._receive_now(None, 0)

    def read_string(self, n: int) -> str:
        """Up to `n` characters, waiting until there are so many, the input ends, or `read_timeout` passes."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        wanted = arguments.natural("n", n)
        if not self._is_latin:
            return self._read_wide_string(wanted)
        while len(self.input) < wanted and self._more():
            pass
        if wanted and not len(self.input):
            self._raise_end()
        return self.input.take_latin1(wanted)

    def _read_wide_string(self, wanted: int) -> str:
        text, octets = self._text(wanted)
        self.input.skip(octets)
        return text

    def _text(self, wanted: int) -> tuple[str, int]:
        """Waits for `wanted` characters: those that are there at last, and how many octets these are. It takes nothing."""
        enough = wanted
        while True:
            while len(self.input) < enough and self._more():
                pass
            held = min(len(self.input), wanted * self._encoding.most)
            text, used = self._encoding.decode(self.input.peek(held), wanted, self._end is not None)
            if len(text) == wanted or len(self.input) < enough:
                break
            enough = len(self.input) + wanted - len(text)
        if wanted and not used:
            self._raise_end()
        return text, used

    if TYPE_CHECKING:

        @overload
        def read_line(self, eof_error: bool = True, eof_value: str = "") -> tuple[str, bool]: ...
        @overload
        def read_line(self, eof_error: bool = True, *, eof_value: E) -> tuple[str | E, bool]: ...
        @overload
        def read_line(self, eof_error: bool, eof_value: E) -> tuple[str | E, bool]: ...

    def read_line(self, eof_error: bool = True, eof_value: Any = "") -> tuple[Any, bool]:
        """The next line without its newline, and whether the newline was missing (at the end, or when `read_timeout` passed).

        LineTooLong and UnicodeDecodeError consume nothing.
        """
        if self.input.permit != FORK.generation:
            self._refuse_input()
        if self._is_latin:
            length = self.input.line_length()
            if 0 < length <= self._line_limit:
                line = self.input.take_latin1(length - 1)
                self.input.skip(1)
                return line, False
        return self._read_line_waiting(eof_error, eof_value)

    def _read_line_waiting(self, eof_error: bool, eof_value: Any) -> tuple[Any, bool]:
        length, ended = self._text_line()
        if ended:
            text, _ = self._encoding.decode(self.input.peek(length - self._encoding.unit), length, True)
            self.input.skip(length)
            return text, False
        text, used = self._encoding.decode(self.input.peek(length), length, self._end is not None)
        if not used:
            return self._at_end(eof_error, eof_value), True
        self.input.skip(used)
        return text, True

    def _text_line(self) -> tuple[int, bool]:
        """Waits for a newline: the octets up to and with it, or all there are without one, and whether there is one."""
        searched = 0
        while True:
            length = self._newline_behind(searched)
            held = len(self.input)
            if (length or held) > self._line_limit:
                raise line_too_long(self._line_limit, self._transport.peer, self)
            if length:
                return length, True
            searched = held - held % self._encoding.unit
            self._goal = A_LINE
            if not self._more():
                return held, False

    def _newline_behind(self, at: int) -> int:
        """Octets up to and with the first newline that begins at or behind octet `at`, or 0."""
        newline, unit = self._encoding.newline, self._encoding.unit
        if unit == 1 and newline[0] == LF:
            return self.input.line_length()
        while (found := self.input.find(newline, at, len(self.input))) >= 0:
            if found % unit == 0:
                return found + unit
            at = found + 1
        return 0

    # Elements and sequences in.

    if TYPE_CHECKING:

        @overload
        def read_byte(self, eof_error: Literal[True] = True, eof_value: object = None) -> int: ...
        @overload
        def read_byte(self, eof_error: bool, eof_value: E) -> int | E: ...
        @overload
        def read_byte(self, eof_error: bool, eof_value: None = None) -> int | None: ...

    def read_byte(self, eof_error: bool = True, eof_value: Any = None) -> Any:
        """One integer of the binary element type. At the end of file, or when `read_timeout` passes, EndOfFile or `eof_value`."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        if not self._is_binary:
            raise TypeError("read_byte needs the element type 'unsigned-byte-8' or 'signed-byte-8', and this stream has 'base-char'")
        octet = self.input.take_byte()
        if octet < 0:
            if not self._more():
                return self._at_end(eof_error, eof_value)
            octet = self.input.take_byte()
        if octet > 127 and self._is_signed:
            octet -= 256
        return octet

    def read_sequence(self, seq: WritableBuffer | MutableSequence[Any], start: int = 0, end: int | None = None) -> int:
        """Fills `seq[start:end]`, waiting until it is full, the input ends, or `read_timeout` passes: the index of the first element not
        updated.

        A writable buffer of one-octet items takes octets, an array of characters takes characters, a list takes elements of the
        stream's element type. Bounds are checked before any input is taken; an exception puts everything back.
        """
        if self.input.permit != FORK.generation:
            self._refuse_input()
        if type(seq) is bytearray and start is START and end is None and len(seq) <= self.input.end - self.input.start:
            return self.input.take_into(seq, 0, len(seq))
        if type(seq) is bytearray and type(start) is int and (end is None or type(end) is int):
            last = len(seq) if end is None else end
            if 0 <= start <= last <= len(seq) and last - start <= self.input.end - self.input.start:
                return start + self.input.take_into(seq, start, last)
        elif type(seq) is not memoryview:  # to ask an abstract class about one costs as much as the rest of the call
            if isinstance(seq, array.array) and seq.typecode in "uw":
                return self._read_characters(seq, start, end)
            if isinstance(seq, MutableSequence) and not isinstance(seq, (bytearray, array.array)):
                return self._read_elements(seq, start, end)
        target = _octet_places(seq)
        first, last = 0, len(target)
        if start is not START or end is not None:
            first, last = arguments.bounds(start, end, len(target))
        try:
            return first + max(self._read_into(target if last - first == len(target) else target[first:last]), 0)
        except ReadTimeout:
            return first + self.input.take_into(target, first, last)

    def _read_characters(self, seq: Any, start: int, end: int | None) -> int:
        first, last = arguments.bounds(start, end, len(seq))
        text = self.read_string(last - first)
        seq[first : first + len(text)] = array.array(seq.typecode, text)
        return first + len(text)

    def _read_elements(self, seq: Any, start: int, end: int | None) -> int:
        first, last = arguments.bounds(start, end, len(seq))
        elements, octets = self._numbers(last - first) if self._is_binary else self._text(last - first)
        for index, element in enumerate(elements, first):
            seq[index] = element  # somebody else's code, which may raise: so nothing is taken before
        self.input.skip(octets)
        return first + len(elements)

    def _numbers(self, wanted: int) -> tuple[list[int], int]:
        """The same as `_text` for integers of the binary element type."""
        while len(self.input) < wanted and self._more():
            pass
        octets = self.input.peek(wanted)
        if wanted and not octets:
            self._raise_end()
        return elements_of(octets, self._element_type), len(octets)

    # Out.

    def write_char(self, character: str) -> str:
        """Writes one character and returns it."""
        self.accepted: int = 0
        if not isinstance(character, str) or len(character) != 1:
            raise TypeError(f"character must be a string of length 1, not {character!r}")
        self._write(self._encoding.encode(character))
        return character

    def write_string(self, string: str, start: int = 0, end: int | None = None) -> str:
        """Writes `string[start:end]`, checked whole before anything is accepted, and returns `string`."""
        self.accepted = 0
        self._write(self._encoding.encode(self._part(string, start, end)))
        return string

    def write_line(self, string: str, start: int = 0, end: int | None = None) -> str:
        """The same with a newline behind it, as one write."""
        self.accepted = 0
        self._write(self._encoding.encode(self._part(string, start, end)) + self._encoding.newline)
        return string

    def _part(self, string: str, start: int, end: int | None) -> str:
        if not isinstance(string, str):
            raise TypeError(f"string must be a str, not {type(string).__name__}")
        first, last = arguments.bounds(start, end, len(string))
        return string[first:last]

    def write_byte(self, n: int) -> int:
        """Writes one integer of the binary element type and returns it."""
        self.accepted = 0
        if self.output.permit != FORK.generation:
            self._refuse_output()
        if not self._is_binary:
            raise TypeError("write_byte needs the element type 'unsigned-byte-8' or 'signed-byte-8', and this stream has 'base-char'")
        if not hasattr(n, "__index__"):
            raise TypeError(f"n must be an integer, not {type(n).__name__} {n!r}")
        self._write(octets_of_list([n], self._element_type, self._encoding))
        return n

    def write_sequence(self, seq: Q, start: int = 0, end: int | None = None) -> Q:
        """Writes `seq[start:end]` (bytes-like, a string, an array, a list of integers or of characters), checked whole before anything is
        accepted, and returns `seq`."""
        self.accepted = 0
        if self.output.permit != FORK.generation:
            self._refuse_output()
        whole = end is None and type(start) is int and start == 0
        if whole and (type(seq) is bytes or type(seq) is bytearray or _bytes.is_plain(seq, False)):
            self._write(seq)  # type: ignore[arg-type]  # bytes-like, as was just seen
            return seq
        if isinstance(seq, str):
            self.write_string(seq, start, end)
            return seq
        if isinstance(seq, array.array) and seq.typecode in "uw":
            self.write_string(seq.tounicode(), start, end)
        elif isinstance(seq, (list, tuple)) or (isinstance(seq, MutableSequence) and not isinstance(seq, (bytearray, array.array))):
            first, last = arguments.bounds(start, end, len(seq))
            self._write(octets_of_list(list(seq[first:last]), self._element_type, self._encoding))
        else:
            source = _octet_items(seq)
            first, last = arguments.bounds(start, end, len(source))
            self._write(source[first:last])
        return seq

    def terpri(self) -> None:
        """Writes a newline."""
        self._write(self._encoding.newline)

    def fresh_line(self) -> bool:
        """Writes a newline unless the output is at the start of a line, as its beginning is; whether it wrote one."""
        if self.output.permit != FORK.generation:
            self._refuse_output()
        unit = self._encoding.unit
        if self._tail == NO_TAIL or self._tail & (1 << 8 * unit) - 1 == int.from_bytes(self._encoding.newline, "big"):
            return False
        self.terpri()
        return True

    # Buffers.

    def listen(self) -> bool:
        """Whether an octet can be read without waiting. False at the end of file, which it looks for too (`at_eof`)."""
        self._refuse()
        if not self._is_readable:
            self._refuse_input()
        return self._look()

    def force_output(self) -> None:
        """Starts sending what is buffered and does not wait: what the system does not take now, the hub sends as room comes. An error is
        raised by the next write, flush or close."""
        if self.output.permit != FORK.generation:
            self._refuse_output()
        self._refuse_thread()
        self._raise_failure()
        self._send_before_wait()

    def finish_output(self) -> None:
        """Waits until all that was written is with the system."""
        if self.output.permit != FORK.generation:
            self._refuse_output()
        self._flush()

    def clear_input(self) -> None:
        """Drops what arrived and was not taken; what the system holds stays there."""
        if self.input.permit != FORK.generation:
            self._refuse_input()
        self.input.clear()

    def clear_output(self) -> None:
        """Drops what was accepted and not sent, but never the rest of a message whose beginning was."""
        if self.output.permit != FORK.generation:
            self._refuse_output()
        self._drop_output()


def _octet_places(seq: Any) -> memoryview:
    view = arguments.byte_space("seq", seq)
    _refuse_wide_items(seq)
    return view


def _octet_items(seq: Any) -> memoryview:
    view = arguments.byte_view("seq", seq)
    _refuse_wide_items(seq)
    return view


def _refuse_wide_items(seq: Any) -> None:
    if not _bytes.is_plain(seq, False) and memoryview(seq).itemsize != 1:
        raise TypeError(f"seq must have items of one octet, not {memoryview(seq).itemsize} ({type(seq).__name__})")
