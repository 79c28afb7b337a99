"""The connects and TLS handshakes that wait for a peer. `geventstreams.testing.virtual_time` asks for them before its clock jumps."""

from __future__ import annotations

import os
import weakref
from types import SimpleNamespace
from typing import Any

from gevent import get_hub

_waiting: weakref.WeakKeyDictionary[Any, SimpleNamespace] = weakref.WeakKeyDictionary()
"""By what waits: the hub where it does, the descriptor or -1, words for it, and the address that it connects to, if it does."""


def began(owner: Any, descriptor: int, words: str, address: Any = None) -> None:
    """Note that an object waits for a peer; the note goes with the object, if `ended` is not called."""
    _waiting[owner] = SimpleNamespace(hub=weakref.ref(get_hub()), descriptor=descriptor, words=words, address=address)


def ended(owner: Any) -> None:
    """Note that an object does not wait any more."""
    _waiting.pop(owner, None)


def of_this_hub() -> list[SimpleNamespace]:
    """Return the handshakes that wait in the hub of this thread."""
    return [handshake for handshake in _waiting.values() if handshake.hub() is get_hub()] if _waiting else []


os.register_at_fork(after_in_child=_waiting.clear)
