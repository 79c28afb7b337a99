"""Which contenders can run here, by the public names that they need; each that cannot is reported with a reason.

A need is a module ("uvloop") or a public name in one ("geventstreams:SocketStream.attach_ssl").
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache

PACKAGE = "geventstreams"


@cache
def lacking(need: str) -> str | None:
    """Return why this need is not met here, or None."""
    module, _, name = need.partition(":")
    if importlib.util.find_spec(module) is None:
        return f"not available in this build (no {module})" if module == PACKAGE else f"missing: no module {module}"
    if not name:
        return None
    value = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(value, part):
            return f"not available in this build (no {module}.{name})"
        value = getattr(value, part)
    return None


def why_not(needs: tuple[str, ...]) -> str | None:
    """Return the first reason why these needs are not met, or None."""
    return next((reason for need in needs if (reason := lacking(need)) is not None), None)
