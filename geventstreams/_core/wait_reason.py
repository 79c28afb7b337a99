"""The reason why a greenlet waits, shown where it is looked for: in the stack that `gevent.util.format_run_info` prints."""

# Invariant: this file is never compiled, since only a Python frame shows a name.

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from geventstreams._core import arguments


def _call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def run_in_named_frame(reason: str, function: Callable[..., Any], *args: Any) -> Any:
    """Return `function(*args)`, called from a frame whose name is `reason`."""
    code = _call.__code__.replace(co_name=arguments.string("wait_reason", reason))
    return FunctionType(code, globals())(function, *args)
