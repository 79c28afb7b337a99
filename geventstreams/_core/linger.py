"""Lingering at the close of a connection, so that the system does not drop the last bytes.

A system that closes a connection with unread input resets it, and a reset makes the peer's system drop what it has not
delivered yet. So a close reads and drops what still arrives for as long as the system holds bytes of ours.
"""

from __future__ import annotations

from geventstreams._constants import ENDED, WOULD_WAIT
from geventstreams._core.clock import deadline_after, seconds_until
from geventstreams._core.transport_base import Transport

FIRST_LOOK = 0.001
LONGEST_LOOK = 0.05
"""Seconds between two looks at what the system holds; each wait is twice as long as the one before."""


def linger(transport: Transport, timeout: float) -> None:
    """Wait until the system has sent everything and nothing lies unread. Nearly always that is so at once.

    Return as well when the peer ends the connection, after `timeout` seconds without progress, and after ten times that in all.
    """
    if not transport.unread() and not transport.not_yet_sent():
        return
    last = deadline_after(10 * timeout)
    deadline = deadline_after(timeout)
    pause = FIRST_LOOK
    before = transport.not_yet_sent()
    while transport.is_open():
        try:
            count = transport.discard()
        except OSError:
            count = ENDED
        left = transport.not_yet_sent()
        if count == ENDED or (count == WOULD_WAIT and not left):
            return
        if count > 0 or left < before:
            deadline = deadline_after(timeout)
        before = left
        if seconds_until(min(deadline, last)) < 0:
            return
        transport.input_wakeup().wait(min(pause, timeout))  # below TLS: a close_notify is no end of the connection
        pause = FIRST_LOOK if count > 0 else min(2 * pause, LONGEST_LOOK)
