"""What `gevent.util.format_run_info()` shows of this package: the greenlets of each hub that wait in streams, and for what.

It prints the dictionary `spawn_tree_locals` of a hub. An object there looks for the streams when it is printed, so waits cost nothing.
"""

from __future__ import annotations

import weakref
from typing import Any

from gevent.hub import Hub

from geventstreams._core.at_exit import living

_KINDS: list[type] = []


class Waits:
    """The waits of a hub's greenlets; its `repr` names each greenlet, and what it waits for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = weakref.ref(hub)

    def __repr__(self) -> str:
        hub = self._hub()
        waits: list[tuple[Any, str]] = [wait for kind in _KINDS for thing in living(kind) for wait in thing._waits(hub)]
        return "\n".join(["what greenlets wait for:", *(f"{greenlet!r} {what}" for greenlet, what in waits)])


def show_waits_in(kind: type) -> None:
    """Show the waits in objects of a class: its `_waits(hub)` returns the greenlets of a hub, each with what it waits for."""
    _KINDS.append(kind)


def show_waits_of(hub: Hub) -> None:
    """Show the waits of a hub's greenlets wherever that hub is printed."""
    if getattr(hub, "spawn_tree_locals", None) is None:
        hub.spawn_tree_locals = {}
    hub.spawn_tree_locals["geventstreams"] = Waits(hub)
