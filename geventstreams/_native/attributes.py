"""What a class has of its own, and what a user has set on a file or a stream itself, such as a method that a test puts in its place.

A compiled object has no dictionary before something is set on it, or (in CPython 3.11) an empty one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any


def forget_empty(file: object) -> None:
    """Free the dictionary that a compiled object is made with, if nothing was set yet. A plain object needs its own."""


def override(file: object, name: str) -> Any:
    """Return what was set on the object itself under this name, or None."""
    return file.__dict__.get(name)


def own_methods(kind: type) -> None:
    """Give a compiled class the methods that it inherits as its own, which are called faster."""


is_method: Callable[[object, object], bool] = operator.is_
"""Return whether what a class has under a name is the method that another class has there: its own copy, or the very one."""
