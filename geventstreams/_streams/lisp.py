"""The Lisp vocabulary: elements, characters and lines over any transport, beside the Python vocabulary."""

# Invariants:
# * This vocabulary speaks characters, and treats a read timeout like the end of file (`_more`). Only `read_byte`, `write_byte` and generic
#   sequences depend on the element type.
# * How many bytes a character has is known before any of them is taken.
#
# One idea in more than 500 lines: each function of the vocabulary stands here once, with its contract, and with its overloads for type
# checkers. A class for each direction would be one more level of imports between the transport and the streams of users, for length only.

from __future__ import annotations

import array
import itertools
from collections.abc import MutableSequence, Sequence
from typing import TYPE_CHECKING, Any

import geventstreams._core.arguments as arguments
import geventstreams._native.memory as _bytes
from geventstreams._constants import A_LINE, NO_TAIL, SOME, START
from geventstreams._core.fork import FORK
from geventstreams._core.transport_base import Transport
from geventstreams._streams.blocking import BlockingEngine
from geventstreams._streams.buffered import BufferedStream
from geventstreams._streams.elements import ElementType, Encoding, byte_of, bytes_of_list, elements_of
from geventstreams._streams.engine import UNMADE, StreamEngine
from geventstreams._streams.options import StreamOptions
from geventstreams.errors import EndOfFile, ReadTimeout, line_too_long

if TYPE_CHECKING:
    from typing import Literal, overload

    from typing_extensions import TypeVar

    from geventstreams._types import Direction, ElementTypeName, ReadableBuffer, WritableBuffer

    E = TypeVar("E", default=None)
    L = TypeVar("L", default=str)
    Q = TypeVar("Q", bound=ReadableBuffer | Sequence[Any])

WHITE_SPACE = " \t\n\r\f\v"


class LispStream(BufferedStream):
    """A binary file over a transport that speaks Lisp's vocabulary too: characters, elements, sequences.

    `element_type` decides what `read_byte` and generic sequences see of a byte, `encoding` how bytes become characters.
    """

    def __cinit__(self) -> None:  # compiled code only, as in the base
        self._encoding: Encoding = UNMADE

    def __init__(self, transport: Transport, element_type: ElementType | ElementTypeName = "base-char", *, encoding: str = "latin-1",
                 readable: bool = True, writable: bool = True, read_timeout: float | None = None, write_timeout: float | None = None,
                 line_limit: float | None = 2**20, linger_timeout: float | None = 2.0) -> None:
        options = StreamOptions(element_type=element_type, encoding=encoding, read_timeout=read_timeout, write_timeout=write_timeout,
                                line_limit=line_limit, linger_timeout=linger_timeout)
        self._init_stream(BlockingEngine(transport, options), readable, writable, options)

    def _init_stream(self, engine: StreamEngine, readable: bool, writable: bool, options: StreamOptions) -> None:
        self._element_type = options.element_type
        self._encoding = options.encoding
        self._is_latin = self._encoding.latin
        self._is_binary = options.is_binary
        self._is_signed = options.is_signed
        self._last_char: str | None = None
        self._last_bytes = b""
        self._last_taken = 0
        engine.unit = self._encoding.unit
        BufferedStream._init_stream(self, engine, readable, writable, options)

    # What it is.

    @property
    def direction(self) -> Direction:
        """`"input"`, `"output"` or `"io"`."""
        return "io" if self._is_readable and self._is_writable else "input" if self._is_readable else "output"

    @property
    def element_type(self) -> ElementType:
        """What one byte looks like to `read_byte` and to generic sequences."""
        return self._element_type

    @property
    def encoding(self) -> str:
        """How the Lisp vocabulary turns bytes into characters."""
        return self._encoding.name

    # Characters in.

    def _more(self, lacking: int = SOME) -> bool:
        """Wait for more bytes. Return False at the end of the input and, in this vocabulary, when the read timeout passes."""
        try:
            return self._source.fill(None, 0, lacking) > 0
        except ReadTimeout:
            return False

    def _at_end(self, eof_error: bool, eof_value: E) -> E:
        """Return `eof_value` for a call that found nothing, or raise: the error that ended the input, or EndOfFile."""
        self._engine.raise_end()
        if not eof_error:
            return eof_value
        late = self._engine.end is None
        what = f"nothing arrived from {self._engine.peer} in time" if late else f"end of file from {self._engine.peer}"
        raise EndOfFile(what, stream=self, timed_out=late)

    if TYPE_CHECKING:
        @overload
        def read_char(self, eof_error: Literal[True] = True, eof_value: object = None) -> str: ...
        @overload
        def read_char(self, eof_error: bool, eof_value: E = ...) -> str | E: ...

    def read_char(self, eof_error: bool = True, eof_value: Any = None) -> Any:
        """Return one character, waiting for it. Common Lisp: `read-char`.

        Args:
            eof_error: Raise `EndOfFile` at the end of the input, and when `read_timeout` passes; else return `eof_value`.
            eof_value: What is returned then.

        Raises:
            EndOfFile: See `eof_error`; `timed_out` says which it was.
            UnicodeDecodeError: The bytes are not text. None is consumed.
        """
        if self._input.permit != FORK.generation:
            self._engine.refuse_input()
        byte = self._input.byte_at(0)
        if byte < 0 or not (self._is_latin or (byte < 128 and self._encoding.transparent)):
            character, length = self._next_char()
            if not length:
                return self._at_end(eof_error, eof_value)
            return self._take_char(character, length)
        self._input.skip(1)
        self._last_char = character = chr(byte)
        self._last_taken = self._input.taken
        return character

    def _take_char(self, character: str, length: int) -> str:
        self._last_bytes = self._input.take(length)
        self._last_char = character
        self._last_taken = self._input.taken
        return character

    def _next_char(self) -> tuple[str, int]:
        """Wait for a whole character. Return it and its length in bytes, or "" and 0 if none comes."""
        while True:
            character, length = self._first_char()
            if length or not self._more():
                return (character, length) if length else self._first_char()

    def _first_char(self) -> tuple[str, int]:
        """Return the first character of the buffer and its length in bytes; "" and 0 if it is not whole, an error if it never will be."""
        byte = self._input.byte_at(0)
        if byte >= 0 and (self._is_latin or (byte < 128 and self._encoding.transparent)):
            return chr(byte), 1
        return self._encoding.decode(self._input.peek(self._encoding.most), 1, self._engine.end is not None)

    def unread_char(self, character: str) -> None:
        """Put back the character that `read_char` returned last, if nothing was read since. Common Lisp: `unread-char`.

        Raises:
            ValueError: It is another character, or was put back already.
        """
        self._engine.begin_read()
        if self._last_char is None or character != self._last_char or self._last_taken != self._input.taken:
            raise ValueError(f"character must be the one that read_char gave last, not {character!r}")
        data = self._last_bytes
        if self._is_latin or (len(character) == 1 and ord(character) < 128 and self._encoding.transparent):
            data = bytes((ord(character),))
        self._engine.put_back(data)
        self._last_char = None

    if TYPE_CHECKING:
        @overload
        def peek_char(self, peek_type: str | Literal[True] | None = None, eof_error: Literal[True] = True,
                      eof_value: object = None) -> str: ...
        @overload
        def peek_char(self, peek_type: str | Literal[True] | None = None, eof_error: bool = ..., eof_value: E = ...) -> str | E: ...

    def peek_char(self, peek_type: Any = None, eof_error: bool = True, eof_value: Any = None) -> Any:
        """Return the next character and leave it there. Common Lisp: `peek-char`.

        Args:
            peek_type: None: the next character; True: the first that is not white space; a character: the first like it. Others are taken.
            eof_error: Raise `EndOfFile` at the end of the input, and when `read_timeout` passes; else return `eof_value`.
            eof_value: What is returned then.
        """
        self._engine.begin_read()
        if not (peek_type is None or peek_type is True or (isinstance(peek_type, str) and len(peek_type) == 1)):
            raise TypeError(f"peek_type must be None, True or a character, not {peek_type!r}")
        self._input.count_call()
        while True:
            self._engine.begin_read()
            character, length = self._next_char()
            if not length:
                return self._at_end(eof_error, eof_value)
            if peek_type is None or character == peek_type or (peek_type is True and character not in WHITE_SPACE):
                return character
            self._input.skip(length)

    def read_char_no_hang(self, eof_error: bool = True, eof_value: E = None) -> str | E | None:  # type: ignore[assignment]  # E's default
        """Return a character, or None where it would have to wait for one. Common Lisp: `read-char-no-hang`.

        Args:
            eof_error: Raise `EndOfFile` at the end of the input; else return `eof_value`.
            eof_value: What is returned then.
        """
        self._engine.begin_read()
        while True:
            character, length = self._first_char()
            if length:
                return self._take_char(character, length)
            if self._engine.end is not None:
                return self._at_end(eof_error, eof_value)
            if self._engine.receive_unasked() < 0:
                return None

    def read_string(self, n: int) -> str:
        """Return up to `n` characters, waiting until there are so many, the input ends, or `read_timeout` passes."""
        self._engine.begin_read()
        wanted = arguments.natural("n", n)
        if not self._is_latin:
            text, length = self._text(wanted)
            self._input.skip(length)
            return text
        self._await(wanted)
        return self._input.take_latin1(wanted)

    def _await(self, wanted: int) -> None:
        """Wait for `wanted` bytes, until the input ends or times out. Raise the error that ended it where there is no byte at all."""
        while len(self._input) < wanted and self._more():
            pass
        if wanted and not len(self._input):
            self._engine.raise_end()

    def _text(self, wanted: int) -> tuple[str, int]:
        """Wait for `wanted` characters. Return those that are there then, and how many bytes these are. Nothing is taken."""
        enough = wanted
        while True:
            while len(self._input) < enough and self._more():
                pass
            held = min(len(self._input), wanted * self._encoding.most)
            text, used = self._encoding.decode(self._input.peek(held), wanted, self._engine.end is not None)
            if len(text) == wanted or len(self._input) < enough:
                break
            enough = len(self._input) + wanted - len(text)
        if wanted and not used:
            self._engine.raise_end()
        return text, used

    def read_line(self, eof_error: bool = True, eof_value: L = "") -> tuple[str | L, bool]:  # type: ignore[assignment]  # L's default
        """Return the next line without its newline, and whether the newline was missing. Common Lisp: `read-line`.

        The newline is missing at the end of the input, and when `read_timeout` passes: the rest of the line comes with the next call.

        Args:
            eof_error: Raise `EndOfFile` where there is not even a part of a line; else return `eof_value` in its place.
            eof_value: What is returned then, with True.

        Raises:
            LineTooLong: The line is longer than `line_limit`. No byte of it is consumed: `discard_line` drops it.
            UnicodeDecodeError: The bytes are not text. None is consumed.
        """
        if self._input.permit != FORK.generation:
            self._engine.refuse_input()
        if self._is_latin:
            length = self._input.line_length()
            if 0 < length <= self._line_limit:
                line = self._input.take_latin1(length - 1)
                self._input.skip(1)
                return line, False
        return self._read_line_waiting(eof_error, eof_value)

    def _read_line_waiting(self, eof_error: bool, eof_value: Any) -> tuple[Any, bool]:
        length, ended = self._text_line()
        if ended:
            text, _ = self._encoding.decode(self._input.peek(length - self._encoding.unit), length, True)
            self._input.skip(length)
            return text, False
        text, used = self._encoding.decode(self._input.peek(length), length, self._engine.end is not None)
        if not used:
            return self._at_end(eof_error, eof_value), True
        self._input.skip(used)
        return text, True

    def _text_line(self) -> tuple[int, bool]:
        """Wait for a newline. Return the number of bytes up to and with it, or of all there are without one, and whether there is one."""
        searched = 0
        while True:
            length = self._newline_behind(searched)
            held = len(self._input)
            if (length or held) > self._line_limit:
                raise line_too_long(self._line_limit, self._engine.peer, self)
            if length:
                return length, True
            searched = held - held % self._encoding.unit
            if not self._more(A_LINE):
                return held, False

    def _newline_behind(self, at: int) -> int:
        """Return the number of bytes up to and with the first newline that begins at or behind byte `at`, or 0."""
        newline, unit = self._encoding.newline, self._encoding.unit
        if newline == b"\n":
            return self._input.line_length()
        while (found := self._input.find(newline, at, len(self._input))) >= 0:
            if found % unit == 0:
                return found + unit
            at = found + 1
        return 0

    # Elements and sequences in.

    if TYPE_CHECKING:
        @overload
        def read_byte(self, eof_error: Literal[True] = True, eof_value: object = None) -> int: ...
        @overload
        def read_byte(self, eof_error: bool, eof_value: E = ...) -> int | E: ...

    def read_byte(self, eof_error: bool = True, eof_value: Any = None) -> Any:
        """Return one integer of the binary element type, waiting for it. Common Lisp: `read-byte`.

        Args:
            eof_error: Raise `EndOfFile` at the end of the input, and when `read_timeout` passes; else return `eof_value`.
            eof_value: What is returned then.

        Raises:
            TypeError: The element type is "base-char".
        """
        if self._input.permit != FORK.generation:
            self._engine.refuse_input()
        if not self._is_binary:
            raise TypeError("read_byte needs the element type 'unsigned-byte-8' or 'signed-byte-8', and this stream has 'base-char'")
        while (byte := self._input.take_byte()) < 0:
            if not self._more():
                return self._at_end(eof_error, eof_value)
        return byte - 256 if byte > 127 and self._is_signed else byte

    def read_sequence(self, seq: WritableBuffer | MutableSequence[Any], start: int = 0, end: int | None = None) -> int:
        """Fill `seq[start:end]`, waiting until it is full, the input ends, or `read_timeout` passes. Common Lisp: `read-sequence`.

        Args:
            seq: A writable buffer of one-byte items takes bytes, an array of characters takes characters, a list takes elements of the
                stream's element type.
            start: The index of the first element to fill.
            end: The index behind the last one; None for the length of `seq`.

        Returns:
            The index of the first element not updated.

        Raises:
            IndexError: `start` or `end` is out of range. This and any other exception leaves all input in the stream.
        """
        if self._input.permit != FORK.generation:
            self._engine.refuse_input()
        if type(seq) is bytearray and start is START and end is None and len(seq) <= self._input.end - self._input.start:
            return self._input.take_into(seq, 0, len(seq))
        if type(seq) is bytearray and type(start) is int and (end is None or type(end) is int):
            last = len(seq) if end is None else end
            if 0 <= start <= last <= len(seq) and last - start <= self._input.end - self._input.start:
                return start + self._input.take_into(seq, start, last)
        elif type(seq) is not memoryview:  # to ask an abstract class about one costs as much as the rest of the call
            if isinstance(seq, array.array) and seq.typecode in "uw":
                return self._read_characters(seq, start, end)
            if isinstance(seq, MutableSequence) and not isinstance(seq, (bytearray, array.array)):
                return self._read_elements(seq, start, end)
        target = arguments.byte_space("seq", seq, "a writable bytes-like object, an array or a list")
        _refuse_wide_items(seq)
        return self._fill_space(target, start, end)

    def _fill_space(self, target: memoryview, start: int, end: int | None) -> int:
        size = last = _bytes.size(target)
        first = 0
        if start is not START or end is not None:
            first, last = arguments.bounds(start, end, size)
        try:
            count = self._read_into(target if last - first == size else target[first:last])
        except ReadTimeout:
            count = self._input.take_into(target, first, last)
        return first + count if count > 0 else first

    def _read_characters(self, seq: Any, start: int, end: int | None) -> int:
        first, last = arguments.bounds(start, end, len(seq))
        text = self.read_string(last - first)
        seq[first : first + len(text)] = array.array(seq.typecode, text)
        return first + len(text)

    def _read_elements(self, seq: Any, start: int, end: int | None) -> int:
        first, last = arguments.bounds(start, end, len(seq))
        if self._is_binary:
            self._await(last - first)
            elements: Any = elements_of(self._input.peek(last - first), self._element_type)
            length = len(elements)
        else:
            elements, length = self._text(last - first)
        for index, element in enumerate(elements, first):
            seq[index] = element  # the code of another class, which may raise: so nothing is taken before
        self._input.skip(length)
        return first + len(elements)

    # Out.

    def write_char(self, character: str) -> str:
        """Write one character, and return it. Common Lisp: `write-char`."""
        self._engine.accepted = 0
        if not isinstance(character, str) or len(character) != 1:
            raise TypeError(f"character must be a string of length 1, not {character!r}")
        self._write(self._encoding.encode(character))
        return character

    def write_string(self, string: str, start: int = 0, end: int | None = None) -> str:
        """Write `string[start:end]`, encoded whole before anything is accepted, and return `string`. Common Lisp: `write-string`."""
        self._engine.accepted = 0
        self._write(self._encoding.encode(self._part(string, start, end)))
        return string

    def write_line(self, string: str, start: int = 0, end: int | None = None) -> str:
        """Write `string[start:end]` and a newline as one write, and return `string`. Common Lisp: `write-line`."""
        self._engine.accepted = 0
        self._write(self._encoding.encode(self._part(string, start, end)) + self._encoding.newline)
        return string

    def _part(self, string: str, start: int, end: int | None) -> str:
        if not isinstance(string, str):
            raise TypeError(f"string must be a str, not {type(string).__name__}")
        first, last = arguments.bounds(start, end, len(string))
        return string[first:last]

    def write_byte(self, n: int) -> int:
        """Write one integer of the binary element type, and return it. Common Lisp: `write-byte`."""
        self._engine.accepted = 0
        if self._output.permit != FORK.generation:
            self._engine.refuse_output()
        if not self._is_binary:
            raise TypeError("write_byte needs the element type 'unsigned-byte-8' or 'signed-byte-8', and this stream has 'base-char'")
        self._write(byte_of("n", n, self._element_type))
        return n

    def write_sequence(self, seq: Q, start: int = 0, end: int | None = None) -> Q:
        """Write `seq[start:end]`, checked whole before anything is accepted, and return `seq`. Common Lisp: `write-sequence`.

        Args:
            seq: A bytes-like object, a string, an array, or a list of integers or of characters.
            start: The index of the first element to write.
            end: The index behind the last one; None for the length of `seq`.
        """
        self._engine.accepted = 0
        if self._output.permit != FORK.generation:
            self._engine.refuse_output()
        if start is START and end is None and (type(seq) is bytes or type(seq) is bytearray or _bytes.is_plain(seq, False)):
            self._write(seq)  # type: ignore[arg-type]  # bytes-like, as was just seen
            return seq
        if isinstance(seq, str):
            self.write_string(seq, start, end)
        elif isinstance(seq, array.array) and seq.typecode in "uw":
            self.write_string(seq.tounicode(), start, end)
        elif isinstance(seq, (list, tuple)) or (isinstance(seq, MutableSequence) and not isinstance(seq, (bytearray, array.array))):
            first, last = arguments.bounds(start, end, len(seq))
            self._write(bytes_of_list(list(itertools.islice(seq, first, last)), self._element_type, self._encoding, first))
        else:
            source = arguments.byte_view("seq", seq, "bytes-like, a string, an array or a list")
            _refuse_wide_items(seq)
            first, last = arguments.bounds(start, end, len(source))
            self._write(source[first:last])
        return seq

    def terpri(self) -> None:
        """Write a newline. Common Lisp: `terpri`."""
        self._write(self._encoding.newline)

    def fresh_line(self) -> bool:
        """Write a newline unless the output is empty or ends in one, and return whether it did. Common Lisp: `fresh-line`."""
        self._engine.refuse_output()
        if self._engine.tail in {NO_TAIL, int.from_bytes(self._encoding.newline, "big")}:
            return False
        self.terpri()
        return True

    # Buffers.

    def listen(self) -> bool:
        """Return whether a byte can be read without waiting; False at the end of file, too (see `at_eof`). Common Lisp: `listen`."""
        self._engine.refuse()
        if not self._is_readable:
            self._engine.refuse_input()
        return self._engine.look()

    def force_output(self) -> None:
        """Start sending what is buffered, and do not wait: what the system does not take now, the hub sends as room comes.

        An error is raised by the next write, flush or close. Common Lisp: `force-output`.
        """
        self._engine.refuse_output()
        self._engine.refuse_thread()
        self._engine.raise_failure()
        self._engine.send_before_wait()

    def finish_output(self) -> None:
        """Wait until the system has all that was written. Common Lisp: `finish-output`."""
        self._engine.refuse_output()
        self._flush_buffer()

    def clear_input(self) -> None:
        """Drop what arrived and was not taken; what the system holds stays there. Common Lisp: `clear-input`."""
        self._engine.begin_read()
        self._input.clear()

    def clear_output(self) -> None:
        """Drop what was accepted and not sent, but never the rest of a message whose beginning was. Common Lisp: `clear-output`."""
        self._engine.refuse_output()
        self._engine.drop_output()


def _refuse_wide_items(seq: Any) -> None:
    if not _bytes.is_plain(seq, False) and memoryview(seq).itemsize != 1:
        raise TypeError(f"seq must have items of one byte, not {memoryview(seq).itemsize} ({type(seq).__name__})")
