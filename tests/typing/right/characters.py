"""The Lisp vocabulary: characters, elements and sequences."""

from array import array

from typing_extensions import assert_type

from geventstreams import ElementType, SocketStream


def talk(stream: SocketStream) -> str:
    line, missing_newline = stream.read_line()
    assert_type(line, str)
    assert_type(missing_newline, bool)
    ended, _ = stream.read_line(False, None)
    assert_type(ended, str | None)
    assert_type(stream.read_char(), str)
    assert_type(stream.read_char(False), str | None)
    assert_type(stream.read_char(eof_error=False, eof_value=-1), str | int)
    assert_type(stream.read_line(eof_value=0), tuple[str | int, bool])
    assert_type(stream.read_char_no_hang(), str | None)
    assert_type(stream.read_char_no_hang(False, 0), str | int | None)
    assert_type(stream.peek_char(True), str)
    assert_type(stream.peek_char(eof_error=False), str | None)
    assert_type(stream.peek_char("x", False, 0), str | int)
    assert_type(stream.read_byte(), int)
    assert_type(stream.read_byte(False, "end"), int | str)
    assert_type(stream.read_string(10), str)
    stream.unread_char("x")
    assert_type(stream.element_type, ElementType)
    assert_type(stream.write_char("x"), str)
    assert_type(stream.write_string("text", 1, 3), str)
    assert_type(stream.write_line("text"), str)
    assert_type(stream.write_byte(255), int)
    assert_type(stream.fresh_line(), bool)
    assert_type(stream.listen(), bool)
    stream.terpri()
    stream.force_output()
    stream.finish_output()
    stream.clear_input()
    stream.clear_output()
    return line


def move(stream: SocketStream) -> None:
    places = bytearray(100)
    assert_type(stream.read_sequence(places), int)
    stream.read_sequence(memoryview(places), 10, 20)
    stream.read_sequence(array("b", [0] * 10), end=5)
    stream.read_sequence([0] * 10)
    stream.read_sequence([""] * 10)
    assert_type(stream.write_sequence(b"bytes"), bytes)
    assert_type(stream.write_sequence("text", 1), str)
    assert_type(stream.write_sequence([1, 2, 3]), list[int])


def made(descriptor: int) -> SocketStream:
    for element_type in (str, bytes):
        SocketStream(descriptor, element_type=element_type).close()
    SocketStream(handle=descriptor, direction="input", element_type="unsigned-byte-8").close()
    SocketStream(handle=descriptor, direction="output", element_type=ElementType.SIGNED_BYTE_8).close()
    return SocketStream(descriptor, "io", "base-char", encoding="utf-8", read_timeout=1, write_timeout=2.5, linger_timeout=None)
