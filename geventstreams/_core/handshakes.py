"""The connects and TLS handshakes that wait for a peer. `geventstreams.testing.virtual_time` asks for them before its clock jumps."""

from __future__ import annotations

import os
import weakref
from typing import Any

from gevent import get_hub


class Handshake:
    """A wait for a peer: the hub where it waits, the descriptor or -1, words for it, and the address that it connects to, if it does."""

    # Not a named tuple: to make the class of one takes a twentieth of the time in which the package is imported.
    __slots__ = ("address", "descriptor", "hub", "words")

    def __init__(self, descriptor: int, words: str, address: Any) -> None:
        self.hub = weakref.ref(get_hub())
        self.descriptor = descriptor
        self.words = words
        self.address = address


_waiting: weakref.WeakKeyDictionary[Any, Handshake] = weakref.WeakKeyDictionary()


def began(owner: Any, descriptor: int, words: str, address: Any = None) -> None:
    """Note that an object waits for a peer; the note goes with the object, if `ended` is not called."""
    _waiting[owner] = Handshake(descriptor, words, address)


def ended(owner: Any) -> None:
    """Note that an object does not wait any more."""
    _waiting.pop(owner, None)


def of_this_hub() -> list[Handshake]:
    """Return the handshakes that wait in the hub of this thread."""
    return [handshake for handshake in _waiting.values() if handshake.hub() is get_hub()] if _waiting else []


os.register_at_fork(after_in_child=_waiting.clear)
