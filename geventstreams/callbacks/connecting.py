"""Connecting, before there is anything to send or receive: an attempt that others may cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
from gevent import GreenletExit, get_hub, getcurrent

from geventstreams._core.hub_hold import hold_of

if TYPE_CHECKING:
    from geventstreams._types import UpgradableStream

Opener = Callable[[], "UpgradableStream"]
"""Connects, waiting, and returns a stream whose transport the connection takes over."""


class Attempt:
    """An attempt to connect, which one greenlet runs and any other may cancel."""

    def __init__(self, opener: Opener) -> None:
        self._opener: Opener | None = opener  # None once it is canceled
        self._hold = hold_of(get_hub())
        self._greenlet: Any = None
        self._timer: Any = None

    def run(self) -> UpgradableStream | None:
        """Wait until the connection is established. Return None if the attempt is canceled; raise what the opener raises."""
        opener = self._opener
        if opener is None:
            return None
        self._greenlet = getcurrent()
        try:
            opened = opener()
        except BaseException:
            if self._opener is None:
                return None
            raise
        finally:
            self._greenlet = None
            self._stop_timer()
        if self._opener is None:
            opened.close(abort=True)
            return None
        return opened

    def cancel_after(self, seconds: float, expired: Callable[[], object]) -> None:
        """Call `expired`, which is to cancel the attempt, if it is still running after so many seconds."""
        self._timer = gevent.spawn_later(seconds, expired)

    def cancel(self) -> None:
        """End the attempt. A connection that is established just now is reset."""
        self._opener = None
        self._stop_timer()
        if self._greenlet is not None and self._hold.has_loop() and self._greenlet.parent.loop is not None:  # else nothing resumes it
            self._greenlet.parent.loop.run_callback(self._interrupt)

    def _interrupt(self) -> None:
        if self._greenlet is not None:  # else it ended by itself in this turn
            self._greenlet.throw(GreenletExit)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and self._hold.has_loop():
            timer.kill(block=False)
