"""The calls of greenlet that every wait makes.

Rule for the next editor: all have C twins in `_greenlets.pxd`, which call greenlet's C API; a hub is switched to as any other greenlet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

current = getcurrent


def has_died(hub: Any) -> bool:
    """Return whether a hub's greenlet has ended: a switch to it would come back at once, or go to its parent."""
    return bool(hub.dead)


switch: Callable[[Any], Any] = greenlet.switch
"""Runs another greenlet until somebody switches back, with whatever result; an error that is thrown here comes out."""
