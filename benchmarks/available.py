"""Which contenders can run here: looked up by public name before anything is started, so none is dropped in silence.

A need is a module ("uvloop") or a public name in one ("geventstreams:SocketStream.attach_ssl").
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache

OWN = "geventstreams"


@cache
def lacking(need: str) -> str | None:
    """Why this need is not met here, or None if it is."""
    module, _, name = need.partition(":")
    if importlib.util.find_spec(module) is None:
        return f"not available in this build (no {module})" if module == OWN else f"missing: no module {module}"
    if not name:
        return None
    found = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            return f"not available in this build (no {module}.{name})"
        found = getattr(found, part)
    return None


def why_not(needs: tuple[str, ...]) -> str | None:
    """The first reason against, or None."""
    return next((reason for need in needs if (reason := lacking(need)) is not None), None)
