"""Element types and encodings: every codec that is let in counts its bytes exactly, and every other one is refused."""

import codecs
import encodings.aliases
import pkgutil
from random import Random

import pytest

from geventstreams._streams.elements import (
    ElementType,
    bytes_of_list,
    element_type,
    elements_of,
    encoding,
)

REFUSED = [
    "utf-7", "utf-16", "utf-32", "utf-8-sig", "iso2022_jp", "iso2022_jp_2004", "iso2022_kr", "hz", "unicode_escape",
    "raw_unicode_escape", "idna", "punycode", "shift_jisx0213", "euc_jisx0213", "shift_jis_2004", "euc_jis_2004",
    "big5hkscs", "rot13", "base64", "hex", "zlib", "bz2", "uu", "quopri", "undefined", "no such codec", "",
]  # fmt: skip
NAMES = sorted({module.name for module in pkgutil.iter_modules(encodings.__path__)} | set(encodings.aliases.aliases))


def accepted_names() -> list[str]:
    """One name for each codec of this Python that is let in."""
    found = {}
    for name in NAMES:
        try:
            found[encoding(name).name] = name
        except ValueError:
            continue
    return sorted(found)


ACCEPTED = accepted_names()


def characters_of(name: str) -> str:
    """All characters that a codec knows of the first 65,536, and some from beyond."""
    known = []
    for code in [*range(0xD800), *range(0xE000, 0x10000), 0x10000, 0x1F600, 0x20000, 0x10FFFF]:
        try:
            if chr(code).encode(name).decode(name) == chr(code):
                known.append(chr(code))
        except UnicodeError:
            continue
    return "".join(known)


@pytest.mark.parametrize("name", REFUSED)
def test_codecs_with_a_memory_are_refused(name: str) -> None:
    """A codec whose characters depend on what came before, or that makes none, is a ValueError that names it."""
    with pytest.raises(ValueError, match="encoding") as caught:
        encoding(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["latin-1", "UTF8", "ascii", "cp1252", "GB18030", "Shift-JIS", "euc-jp", "euc_kr", "utf-16-le", "UTF_16_BE",
     "utf-32-le", "utf-32-be", "cp037", "koi8-r", "big5"],
)  # fmt: skip
def test_codecs_without_a_memory_are_let_in(name: str) -> None:
    """Single-byte codecs, UTF-8, UTF-16 and UTF-32 of a given order, and those of East Asia are encodings."""
    assert encoding(name).name == codecs.lookup(name).name
    assert encoding(name) is encoding(name)


def test_an_encoding_is_a_name() -> None:
    """An encoding that is no string is a TypeError that shows it."""
    for wrong in (None, 5, b"utf-8", ["utf-8"]):
        with pytest.raises(TypeError, match="encoding"):
            encoding(wrong)


def test_almost_every_codec_of_python_was_tried() -> None:
    """The list of encodings that the other tests go through is not empty by mistake."""
    assert len(ACCEPTED) > 70
    assert {"utf-8", "iso8859-1", "gb18030", "shift_jis", "euc_jp", "cp037", "utf-16-le"} <= set(ACCEPTED)


@pytest.mark.parametrize("name", ACCEPTED)
def test_every_character_of_every_codec_is_counted_exactly(name: str) -> None:
    """No character a codec knows has more bytes than it says, and all of them come out one by one."""
    kind = encoding(name)
    text = characters_of(name)
    assert len(text) > 90
    data = kind.encode(text)
    at = 0
    for character in text:
        decoded, used = kind.decode(data[at : at + kind.most], 1, False)
        assert (decoded, used) == (character, len(kind.encode(character)))
        assert used <= kind.most
        at += used
    assert at == len(data)


@pytest.mark.parametrize("name", ["utf-8", "utf-16-le", "gb18030", "shift_jis", "euc_jp", "euc_kr", "cp037", "latin-1"])
def test_pieces_of_any_size_decode_as_the_whole(name: str) -> None:
    """For any number of characters and any number of bytes, no character is lost, split or made up."""
    random = Random(17)
    kind = encoding(name)
    text = "".join(random.choices(characters_of(name), k=2000))
    data, got = kind.encode(text), ""
    while data:
        wanted, there = random.randint(1, 9), random.randint(1, 40)
        decoded, used = kind.decode(data[:there], wanted, False)
        assert len(decoded) <= wanted
        assert used == len(kind.encode(decoded))
        assert decoded or there < kind.most
        got, data = got + decoded, data[used:]
    assert got == text


@pytest.mark.parametrize(
    ("name", "data", "start"),
    [("utf-8", b"ab\xffcd", 2), ("utf-8", b"\xe2\x82xy", 0), ("ascii", b"a\x80", 1), ("cp1252", b"abc\x81", 3),
     ("shift_jis", b"a\xfd", 1), ("utf-16-le", b"a\0\0\xdcb\0", 2), ("gb18030", b"xy\xff\xff", 2)],
)  # fmt: skip
def test_an_invalid_byte_is_told_by_its_place(name: str, data: bytes, start: int) -> None:
    """UnicodeDecodeError.start counts from the first byte; characters that are complete before it can be had."""
    kind = encoding(name)
    with pytest.raises(UnicodeDecodeError) as caught:
        kind.decode(data, 99, False)
    assert caught.value.start == start
    good, used = kind.decode(data, start // kind.unit, False)
    assert (len(good), used) == (start // kind.unit, start)


def test_a_character_that_can_be_written_in_two_ways_is_counted_as_it_came() -> None:
    """EUC-KR can spell a syllable with eight bytes that also has a code of two: what came is what is counted."""
    long_way = b"\xa4\xd4\xa4\xa1\xa4\xbf\xa4\xd4"
    assert encoding("euc_kr").decode(long_way + b"xyz", 2, False) == ("\uac00x", 9)
    assert len("\uac00".encode("euc_kr")) == 2


def test_half_a_character_waits_and_at_the_end_is_an_error() -> None:
    """An incomplete character is left alone while more may come, and an error where the input ended."""
    kind = encoding("utf-8")
    assert kind.decode(b"a\xe2\x82", 9, False) == ("a", 1)
    assert kind.decode(b"a\xe2\x82", 1, True) == ("a", 1)
    with pytest.raises(UnicodeDecodeError):
        kind.decode(b"a\xe2\x82", 9, True)


def test_the_ways_to_name_an_element_type() -> None:
    """An enum member, its name in any case, str and bytes name element types; anything else is refused."""
    assert [element_type(value) for value in ("base-char", str, ElementType.BASE_CHAR)] == [ElementType.BASE_CHAR] * 3
    assert [element_type(value) for value in ("Unsigned-Byte-8", bytes)] == [ElementType.UNSIGNED_BYTE_8] * 2
    assert element_type("signed-byte-8") is ElementType.SIGNED_BYTE_8
    with pytest.raises(ValueError, match=r"element_type.*'nibble'"):
        element_type("nibble")
    for wrong in (None, 8, int):
        with pytest.raises(TypeError, match="element_type"):
            element_type(wrong)


def test_lists_of_numbers_become_bytes() -> None:
    """Integers in the range of the element type become bytes, and back; one out of it refuses the whole list."""
    latin = encoding("latin-1")
    signed, unsigned = ElementType.SIGNED_BYTE_8, ElementType.UNSIGNED_BYTE_8
    assert bytes_of_list([0, 255], unsigned, latin) == bytes_of_list([0, -1], signed, latin) == b"\0\xff"
    assert bytes_of_list([], unsigned, latin) == b""
    assert (elements_of(b"\0\x80\xff", signed), elements_of(b"\0\x80\xff", unsigned)) == ([0, -128, -1], [0, 128, 255])
    for kind, item in ((unsigned, 256), (unsigned, -1), (signed, 128), (signed, -129)):
        with pytest.raises(ValueError, match=rf"seq\[1\] .*{item}"):
            bytes_of_list([0, item], kind, latin)
    for item in ("x", True, 1.5, None):
        with pytest.raises(TypeError, match=r"seq\[1\]"):
            bytes_of_list([0, item], unsigned, latin)


def test_lists_of_characters_become_text() -> None:
    """A list of characters becomes their bytes; a number or a longer string among them refuses the whole."""
    utf8 = encoding("utf-8")
    assert bytes_of_list(["a", "é"], ElementType.BASE_CHAR, utf8) == "aé".encode()
    with pytest.raises(TypeError, match=r"seq\[1\]"):
        bytes_of_list(["a", 5], ElementType.BASE_CHAR, utf8)
    with pytest.raises(ValueError, match=r"seq\[1\] .*'bc'"):
        bytes_of_list(["a", "bc"], ElementType.BASE_CHAR, utf8)
