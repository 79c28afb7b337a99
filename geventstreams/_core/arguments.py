"""Checks of arguments. Each error names the argument and the value."""

from __future__ import annotations

import io
import operator
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import geventstreams._native.memory as _bytes
from geventstreams._constants import NEVER


def seconds(name: str, value: float | None, allowed: str = "positive or None") -> float:
    """Return a timeout in seconds as a float; None and infinity mean no limit."""
    if value is None:
        return NEVER
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be None or a number of seconds, not {type(value).__name__} {value!r}")
    if not value > 0:
        raise ValueError(f"{name} must be {allowed}, not {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} must be at most {sys.float_info.max}, or None for no limit, not {value!r}") from None


def seconds_or_zero(name: str, value: float | None) -> float:
    """Return the timeout of a call for which 0 means not to wait."""
    return 0.0 if value is not None and value == 0 and not isinstance(value, bool) else seconds(name, value, "positive, 0 or None")


def given_seconds(limit: float) -> float | None:
    """Return a limit as users give it: None if there is none."""
    return None if limit == NEVER else limit


def count_limit(name: str, value: float | None) -> float:
    """Return a limit in bytes; None and infinity mean no limit. So does what is more than any memory, down to what a float has exactly."""
    if value is None or value == NEVER:
        return NEVER
    number = positive(name, value)
    return number if number < sys.maxsize // 2 else NEVER


def positive(name: str, value: Any, most: int = sys.maxsize) -> int:
    """Return an integer above zero, at most `most`. A bool is no number here."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not bool {value!r}")
    number = whole(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be positive, not {value!r}")
    if number > most:
        raise ValueError(f"{name} must be at most {most}, not {value!r}")
    return number


def size(name: str, value: Any) -> int:
    """Return a number of bytes; None and -1, which mean all, are -1."""
    if value is None:
        return -1
    number = value if type(value) is int else whole(name, value)
    if number < -1:
        raise ValueError(f"{name} must be -1, None, or not negative, not {value!r}")
    return number


def natural(name: str, value: Any) -> int:
    """Return an integer that is not negative."""
    number = value if type(value) is int else whole(name, value)
    if number < 0:
        raise ValueError(f"{name} must not be negative, not {value!r}")
    return number


def whole(name: str, value: Any) -> int:
    """Return an integer."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__} {value!r}") from None


def bounds(start: Any, end: Any, length: int) -> tuple[int, int]:
    """Return `start` and `end` of a part of a sequence of `length` elements. An `end` of None is the end of the sequence."""
    first = whole("start", start)
    last = length if end is None else whole("end", end)
    if not 0 <= first <= length:
        raise IndexError(f"start must be within 0..{length}, not {start!r}")
    if not first <= last <= length:
        raise IndexError(f"end must be within {first}..{length}, not {end!r}")
    return first, last


def chosen(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """Return a value that is one of the choices."""
    if not any(value is choice or value == choice for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")
    return value


def instance(name: str, value: Any, kind: type) -> Any:
    """Return an object of a class."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name} must be {article} {kind.__name__}, not {type(value).__name__} {value!r}")
    return value


def string(name: str, value: Any) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__} {value!r}")
    return value


def function(name: str, value: Any) -> Any:
    """Return a callable."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__} {value!r}")
    return value


def callback(name: str, value: Any) -> Any:
    """Return a callable, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable or None, not {type(value).__name__} {value!r}")
    return value


def list_of(name: str, value: Any, items: str) -> list[Any]:
    """Return an iterable of `items` as a list. A file, or a stream, is refused: to iterate over it would read its lines."""
    if isinstance(value, io.IOBase) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of {items}, not {type(value).__name__} {value!r}")
    return list(value)


def each_of(name: str, value: Any, items: str) -> Iterator[Any]:
    """Return an iterator over an iterable of `items`."""
    try:
        return iter(value)
    except TypeError:
        raise TypeError(f"{name} must be an iterable of {items}, not {type(value).__name__} {value!r}") from None


def byte_view(name: str, value: Any, allowed: str = "bytes-like") -> memoryview:
    """Return a contiguous view of the bytes of a bytes-like object."""
    if isinstance(value, str):
        raise TypeError(f"{name} must be bytes-like, not str {value!r}: encode it first")
    try:
        view = memoryview(value)
    except TypeError:
        raise TypeError(f"{name} must be {allowed}, not {type(value).__name__}") from None
    if _bytes.is_plain(view, False):
        return view
    if not view.c_contiguous:
        return memoryview(view.tobytes())
    return _bytes_in(view)


def byte_space(name: str, value: Any, allowed: str = "a writable bytes-like object") -> memoryview:
    """Return a contiguous view of the bytes of a writable object, over its own memory."""
    try:
        view = memoryview(value)
    except TypeError:
        raise TypeError(f"{name} must be {allowed}, not {type(value).__name__}") from None
    if _bytes.is_plain(view, True):
        return view
    if view.readonly:
        raise TypeError(f"{name} must be writable, not a read-only {type(value).__name__}")
    if not view.c_contiguous:
        raise TypeError(f"{name} must be contiguous memory, not a {type(value).__name__} with gaps")
    return _bytes_in(view)


def _bytes_in(view: memoryview) -> memoryview:
    # What has several dimensions and no item cannot be cast.
    return view.cast("B") if view.nbytes else memoryview(bytearray())
