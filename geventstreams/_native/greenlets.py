"""The calls of greenlet that every wait makes, with the hooks that gevent calls round its own waits.

gevent's hub calls `switch_out()` of the greenlet that leaves, where its class has one, and resumes a greenlet by its own `switch()`,
which a class may override (`gevent.backdoor` does both). `leave` and `resume` do so as well.
"""

# Invariant: the C twins of `leave` and `resume`, which call greenlet's C API, skip the lookup of hooks only for greenlets and hubs of
# classes that have none.

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent

current: Callable[[], Any] = getcurrent


loop_of: Callable[[Any], Any] = operator.attrgetter("loop")
"""Return the loop of a hub; None once the hub was destroyed."""


has_died: Callable[[Any], bool] = operator.attrgetter("dead")
"""Return whether a hub's greenlet has ended: a switch to it would come back at once, or go to its parent."""


has_hook: Callable[[Any, str], bool] = hasattr
"""Return whether a greenlet has a hook of this name. Compiled, those of unknown classes are taken to have all."""


def leave(greenlet: Any, hub: Any) -> None:
    """Switch from `greenlet`, the current one, to its hub, until it is resumed. An error that is thrown into it is raised here."""
    hub.switch()


def resume(greenlet: Any) -> None:
    """Switch to a greenlet that waits."""
    greenlet.switch()


def enter_context(greenlet: Any, context: Any) -> None:
    """Let a greenlet, the current one, run in a context of `contextvars` from now on."""
    greenlet.gr_context = context


def leave_context(context: Any) -> None:
    """Let the current greenlet run in its former context, or in any: the next one is entered before other code runs."""
