"""Element types and encodings: what a byte looks like to the user, and back."""

# Invariant: a character is decided by its own bytes alone, so only codecs without memory are accepted. The bytes of characters are counted
# exactly, or text and bytes could not be mixed on one stream.

from __future__ import annotations

import array
import codecs
import contextlib
import enum
import functools
import re
from typing import Any

_WIDEST = {"euc_kr": 8}
"""Bytes of the longest character where that is more than four: EUC-KR spells rare syllables with eight."""

_STATEFUL = r"utf_?7|utf_?16|utf_?32|utf_?8_?sig|(iso_?)?2022.*|hz.*|.*escape|idna|punycode|.*jisx?0213|.*_2004|big5_?hkscs|undefined"
_EXACT = r"utf_?8|utf_?16_?[lb]e|utf_?32_?[lb]e"


class ElementType(enum.Enum):
    """What one byte looks like: a character, 0..255, or -128..127. LispWorks: `:element-type`."""

    BASE_CHAR = "base-char"
    UNSIGNED_BYTE_8 = "unsigned-byte-8"
    SIGNED_BYTE_8 = "signed-byte-8"


_KINDS: dict[Any, ElementType] = {str: ElementType.BASE_CHAR, bytes: ElementType.UNSIGNED_BYTE_8,
                                  **{kind.value: kind for kind in ElementType}}


def element_type(value: Any) -> ElementType:
    """Return the element type that a user's value names: an `ElementType`, its name, `str` or `bytes`."""
    if isinstance(value, ElementType):
        return value
    if isinstance(value, str):
        kind = _KINDS.get(value.lower())
        if kind is None:
            raise ValueError(f"element_type must be one of {', '.join(repr(kind.value) for kind in ElementType)}, not {value!r}")
        return kind
    if isinstance(value, type) and value in _KINDS:
        return _KINDS[value]
    raise TypeError(f"element_type must be a name, str, bytes or an ElementType, not {type(value).__name__} {value!r}")


class Encoding:
    """A text codec without memory. `newline` is what ends a line; `unit` the bytes that a character's length is a multiple of."""

    def __init__(self, name: str) -> None:
        try:
            self.name = codecs.lookup(name).name
            "".encode(self.name)
        except (LookupError, UnicodeError):
            raise ValueError(f"encoding must be a text codec that this Python knows, not {name!r}") from None
        if re.fullmatch(_STATEFUL, self.name.replace("-", "_").lower()):
            raise ValueError(f"encoding must be one whose characters do not depend on what came before them, not {name!r}")
        self.newline = "\n".encode(self.name)
        self.unit = len(self.newline)
        self.latin = self.name == "iso8859-1"
        self.single = self.unit == 1 and _is_single(self.name)
        self.transparent = self.latin or self.name in ("utf-8", "ascii")
        """Whether a byte below 128 is always a character of its own with that code."""
        self.most = 1 if self.single else _WIDEST.get(self.name, 4)
        """Bytes of the longest character."""
        self._exact = re.fullmatch(_EXACT, self.name.replace("-", "_").lower()) is not None

    def encode(self, text: str) -> bytes:
        """Return the bytes of `text`, or raise UnicodeEncodeError."""
        return text.encode(self.name)

    def decode(self, data: bytes, count: int, final: bool) -> tuple[str, int]:
        """Return up to `count` characters from the front, and how many bytes these are.

        Fewer only where the bytes end. An invalid sequence before that is a UnicodeDecodeError whose `start` counts from the front;
        an incomplete one at the end is left alone unless nothing more will come (`final`).
        """
        if self.single:
            text = data[:count].decode(self.name)
            return text, len(text)
        try:
            text, used = self._decode_all(data, final)
        except UnicodeDecodeError as error:
            text, used = self._decode_all(data[: error.start], False)
            if len(text) < count:
                raise
        if len(text) <= count:
            return text, used
        if self._exact:
            return text[:count], len(text[:count].encode(self.name, "surrogatepass"))
        return self._decode_stepwise(data, count)

    def _decode_all(self, data: bytes, final: bool) -> tuple[str, int]:
        decoder = codecs.getincrementaldecoder(self.name)()
        text = decoder.decode(data, final)
        return text, len(data) - len(decoder.getstate()[0])

    def _decode_stepwise(self, data: bytes, count: int) -> tuple[str, int]:
        """Decode byte by byte: some codecs write one character in more than one way, so only its bytes tell its length."""
        decoder = codecs.getincrementaldecoder(self.name)()
        characters: list[str] = []
        for at in range(len(data)):
            characters += decoder.decode(data[at : at + 1])
            if len(characters) >= count:
                return "".join(characters), at + 1
        return "".join(characters), len(data)


def encoding(name: Any) -> Encoding:
    """Return the encoding that a user's value names."""
    if not isinstance(name, str):
        raise TypeError(f"encoding must be a name, not {type(name).__name__} {name!r}")
    return _known_encoding(name)


_known_encoding = functools.lru_cache(maxsize=64)(Encoding)


def _is_single(name: str) -> bool:
    """Return whether every byte is a character by itself: such a codec decodes no pair of bytes to one character."""
    try:
        decoder = codecs.getincrementaldecoder(name)("replace")
        return all(len(decoder.decode(bytes([byte]))) == 1 for byte in range(256))
    except (LookupError, UnicodeError):
        return False


def bytes_of_list(items: list[Any], kind: ElementType, encoding: Encoding, start: int = 0) -> bytes:
    """Return the bytes of a list of integers or of characters; its first item decides which. `start` is the index of the first in `seq`."""
    if not items:
        return b""
    kinds = set(map(type, items))
    if kinds == {str}:
        text = "".join(items)
        if len(text) == len(items) == sum(map(bool, items)):
            return encoding.encode(text)
    elif kinds == {int}:
        with contextlib.suppress(ValueError, OverflowError):  # reported below, with the index
            return array.array("b" if kind is ElementType.SIGNED_BYTE_8 else "B", items).tobytes()
    if isinstance(items[0], str):
        return encoding.encode("".join(_character(f"seq[{index}]", item) for index, item in enumerate(items, start)))
    return b"".join(byte_of(f"seq[{index}]", item, kind) for index, item in enumerate(items, start))


def _character(name: str, item: Any) -> str:
    if not isinstance(item, str):
        raise TypeError(f"{name} must be a character like those before it, not {type(item).__name__} {item!r}")
    if len(item) != 1:
        raise ValueError(f"{name} must be one character, not {item!r}")
    return item


def byte_of(name: str, value: Any, kind: ElementType) -> bytes:
    """Return the byte of an integer of a binary element type."""
    if isinstance(value, (str, bool)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__} {value!r}")
    lowest, highest = (-128, 127) if kind is ElementType.SIGNED_BYTE_8 else (0, 255)
    number = value.__index__()
    if not lowest <= number <= highest:
        raise ValueError(f"{name} must be within {lowest}..{highest}, not {number}")
    return bytes((number & 255,))


def elements_of(data: bytes, kind: ElementType) -> list[int]:
    """Return the integers that bytes are to a binary element type."""
    return memoryview(data).cast("b").tolist() if kind is ElementType.SIGNED_BYTE_8 else list(data)
