"""What `gevent.util.format_run_info()` shows of this package: the greenlets of each hub that wait in streams, and for what.

It prints the dictionary `spawn_tree_locals` of a hub. An object there looks for the streams when it is printed, so waits cost nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from gevent.hub import Hub

from geventstreams._core.at_exit import living

_WAITS: list[tuple[type, Callable[[Any, Hub | None], list[tuple[Any, str]]]]] = []


class Waits:
    """The waits of a hub's greenlets; its `repr` names each greenlet, and what it waits for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = weakref.ref(hub)

    def __repr__(self) -> str:
        hub = self._hub()
        waits: list[tuple[Any, str]] = [wait for kind, waits_in in _WAITS for thing in living(kind) for wait in waits_in(thing, hub)]
        return "\n".join(["what greenlets wait for:", *(f"{greenlet!r} {what}" for greenlet, what in waits)])


def show_waits_in(kind: type, waits_in: Callable[[Any, Hub | None], list[tuple[Any, str]]]) -> None:
    """Show the waits in objects of a class: `waits_in(thing, hub)` returns the greenlets of a hub, each with what it waits for."""
    _WAITS.append((kind, waits_in))


def show_waits_of(hub: Hub) -> None:
    """Show the waits of a hub's greenlets wherever that hub is printed."""
    if getattr(hub, "spawn_tree_locals", None) is None:
        hub.spawn_tree_locals = {}
    hub.spawn_tree_locals["geventstreams"] = Waits(hub)
