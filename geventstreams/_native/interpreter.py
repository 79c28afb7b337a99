"""What the interpreter tells: the thread that runs, what a weak reference refers to, and what modules had before gevent patched them."""

from __future__ import annotations

import _thread
import sys
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any


def original(module: ModuleType, name: str) -> Any:
    """Return what a module had under this name before gevent patched it. `gevent.monkey` is not loaded for that."""
    monkey = sys.modules.get("gevent.monkey")
    return getattr(module, name) if monkey is None else monkey.get_original(module.__name__, name)


thread_id: Callable[[], int] = original(_thread, "get_ident")


def compiled() -> bool:
    """Return whether the C twins of this folder's functions are used."""
    return False


def refers(reference: weakref.ref[Any], thing: object) -> bool:
    """Return whether a weak reference refers to this very object."""
    return reference() is thing


def identity_of(things: list[Any]) -> int:
    """Return a hash of which objects a list holds, and in which order."""
    return hash(tuple(map(id, things)))
