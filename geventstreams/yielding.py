"""Letting everybody else run: not only those who are ready, but those whose time has come and whose input has arrived.

`gevent.sleep(0)` is not enough for that: the loop runs its callbacks fifty at a time before it looks at its timers and descriptors again,
and a greenlet that calls it after each slice of work is one callback of those.
"""

from __future__ import annotations

from gevent.hub import Hub


def go_round(hub: Hub) -> None:
    """Waits until the loop has gone round once. Where the hub was destroyed there is nobody to wait for."""
    if hub.loop is None:
        return
    watcher = hub.loop.async_()
    try:
        hub.loop.run_callback(watcher.send)
        hub.wait(watcher)
    finally:
        watcher.close()
