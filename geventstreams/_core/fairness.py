"""Letting everybody else run: not only those who are ready, but those whose time has come and whose input has arrived.

`gevent.sleep(0)` is not enough for that: the loop runs its callbacks fifty at a time before it looks at its timers and descriptors again,
and a greenlet that calls it after each slice of work is one callback of those.
"""

from __future__ import annotations

import gevent
from gevent.hub import Hub

from geventstreams._constants import NEVER
from geventstreams._core.fork import FORK, inherited
from geventstreams._core.transport import Wakeup


def yield_to_hub(hub: Hub) -> None:
    """Waits until the loop has gone round once. Where the hub was destroyed or has died there is nobody to wait for."""
    if hub.loop is None or hub.dead:
        return
    wakeup = Wakeup(hub)
    watcher = hub.loop.async_()
    watcher.start(wakeup.fire)
    try:
        hub.loop.run_callback(watcher.send)
        wakeup.wait(NEVER)
    finally:
        watcher.close()


def let_ready_run(hub: Hub) -> None:
    """Wait until the greenlets that are ready now have run. StreamError where the hub has died, and in a forked child."""
    process = FORK.generation
    if hub.dead:
        Wakeup(hub).refuse()
    gevent.sleep(0)
    if process != FORK.generation:
        raise inherited("stream")


def pause(hub: Hub, seconds: float) -> None:
    """Wait this long. StreamError where the hub has died, and in a forked child."""
    Wakeup(hub).wait(seconds)
