"""Sending, at the end of the program, the output of files and streams that are open, as far as the system takes it at once.

Destructors cannot do this. A collector may run that of a socket before that of the file that holds its output, and does so where
a module has functions. So the living objects are searched once, at the end, which costs nothing before.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any


def send_at_exit(kind: type, send: Callable[[Any], object]) -> None:
    """Call `send` at the end of the program for each object of this class or a subclass. It must not wait."""
    atexit.register(_send_all, kind, send)


def _send_all(kind: type, send: Callable[[Any], object]) -> None:
    for thing in living(kind):
        with contextlib.suppress(Exception):  # one that fails keeps no other from being sent, and no caller is left
            send(thing)


def living(kind: type) -> list[Any]:
    """Return the living objects of a class and its subclasses, as the garbage collector knows them."""
    kinds = set(_with_subclasses(kind))
    return [thing for thing in gc.get_objects() if type(thing) in kinds]


def _with_subclasses(kind: type) -> Iterator[type]:
    yield kind
    children: list[type] = kind.__subclasses__()
    for child in children:
        yield from _with_subclasses(child)
