"""The end of a connection: what keeps the last octets from being thrown away by the system.

A system that is told to close a connection with unread input resets it, and a reset makes the peer's system drop what it has not
delivered yet. So a close reads and forgets what still comes for as long as the system holds octets of ours.
"""

from __future__ import annotations

import geventstreams._native.syscalls as _system
from geventstreams._constants import ENDED, WOULD_WAIT
from geventstreams._core.transport import Transport

FIRST_LOOK = 0.001
LONGEST_LOOK = 0.05


def linger(transport: Transport, limit: float) -> None:
    """Waits until the system has sent all and nothing lies unread; it ends at the peer's end, after `limit` seconds without progress,
    or after ten times that. Nearly always there is nothing to wait for."""
    if not transport.unread() and not transport.not_yet_sent():
        return
    started = progressed = _system.monotonic()
    pause = FIRST_LOOK
    before = transport.not_yet_sent()
    while transport.fileno() >= 0:
        count = _discard_some(transport)
        left = transport.not_yet_sent()
        if count == ENDED or (count == WOULD_WAIT and not left):
            return
        now = _system.monotonic()
        if count > 0 or left < before:
            progressed = now
        before = left
        if now - progressed > limit or now - started > 10 * limit:
            return
        transport.wait_input(min(pause, limit))
        pause = FIRST_LOOK if count > 0 else min(2 * pause, LONGEST_LOOK)


def _discard_some(transport: Transport) -> int:
    """Forgets of what lies unread as much as one receipt takes: a count, WOULD_WAIT, or ENDED at the peer's end or an error."""
    try:
        return transport.discard()
    except OSError:
        return ENDED
