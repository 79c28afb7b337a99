"""The living objects of a class, looked for only when that is asked: at the end of the program, and in `gevent.util.format_run_info()`.

At the end, the output of files and streams that are open is sent, as far as the system takes it at once. Destructors cannot do this: a
collector may run that of a socket before that of the file that holds its output, and does so where a module has functions.

`format_run_info` prints the dictionary `spawn_tree_locals` of a hub. An object there shows which greenlets wait, and for what.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import weakref
from collections.abc import Callable
from typing import Any

from gevent.hub import Hub

_WAITS: list[tuple[type, Callable[[Any, Hub | None], list[tuple[Any, str]]]]] = []


def living(kind: type) -> list[Any]:
    """Return the living objects of a class and its subclasses, as the garbage collector knows them."""
    # Not `isinstance`, which asks the objects themselves: a proxy answers for another one, or raises.
    return [thing for thing in gc.get_objects() if issubclass(type(thing), kind)]


def send_at_exit(kind: type, send: Callable[[Any], object]) -> None:
    """Call `send` at the end of the program for each object of this class or a subclass. It must not wait."""
    atexit.register(_send_all, kind, send)


def _send_all(kind: type, send: Callable[[Any], object]) -> None:
    for thing in living(kind):
        with contextlib.suppress(Exception):  # one that fails keeps no other from being sent, and no caller is left
            send(thing)


class Waits:
    """The waits of a hub's greenlets; its `repr` names each greenlet, and what it waits for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = weakref.ref(hub)

    def __repr__(self) -> str:
        hub = self._hub()
        waits = [wait for kind, waits_in in _WAITS for thing in living(kind) for wait in waits_in(thing, hub)]
        return "\n".join(["what greenlets wait for:", *(f"{greenlet!r} {what}" for greenlet, what in waits)])


def show_waits_in(kind: type, waits_in: Callable[[Any, Hub | None], list[tuple[Any, str]]]) -> None:
    """Show the waits in objects of a class: `waits_in(thing, hub)` returns the greenlets of a hub, each with what it waits for."""
    _WAITS.append((kind, waits_in))


def show_waits_of(hub: Hub) -> None:
    """Show the waits of a hub's greenlets wherever that hub is printed."""
    if getattr(hub, "spawn_tree_locals", None) is None:
        hub.spawn_tree_locals = {}
    hub.spawn_tree_locals["geventstreams"] = Waits(hub)
