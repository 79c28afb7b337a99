"""The phases that a connection of the callback half goes through, and what ends it."""

# Theory:
#
# `_serve` (connection.py) receives and calls back, in one greenlet at a time (pump.py), so callbacks never overlap and may wait.
# Everything else that happens to a connection (a write, a close, a failed send) may happen in any greenlet: it changes the state and calls
# `_wake`. Sending (sending.py) never waits in the caller: `_send` sends what the system takes, and a second greenlet, which exists only
# then, sends the rest.
#
# `_phase` says how far the connection has come, and changes only in `_move`, along TRANSITIONS. While it is OPEN each half may end for
# itself: `_input_ended`; `_accepts` no more, until the engine has told the peer the end.
#
# What ends a connection, and the last callback:
#
#   the peer's end of file           OPEN -> CLOSING_QUIETLY             event_cb(TCPEOF); with half_close only the input ends
#   an error while receiving         OPEN -> FAILED                      event_cb
#   an error of TLS while receiving  OPEN -> CLOSING_QUIETLY             event_cb(TCPTLSError); the alert that says why is still sent
#   an error while sending           OPEN -> BROKEN -> FAILED            read_cb with what arrived before it, then event_cb
#   read_timeout                     OPEN -> CLOSING_QUIETLY             event_cb(TCPTimeout); output is still sent
#   the end of both halves           OPEN -> CLOSING_QUIETLY             none: event_cb(TCPEOF) was called before
#   a callback that raises           OPEN -> CLOSING_QUIETLY             that callback; its exception goes to hub.handle_error
#   close()                          OPEN -> CLOSING                     none; if output cannot be delivered, event_cb
#   close() while connecting         CONNECTING -> CLOSED                none; with output queued as close(), by way of CLOSING_EARLY
#   no connection                    CONNECTING -> FAILED                event_cb
#   close(force=True)                -> CLOSED                           none; after an error while sending its event_cb
#   the end of the hub's thread      -> CLOSED                           none
#   a fork, in the child             -> CLOSED                           none: `_serve` looks which process it is in
#
# FAILED becomes CLOSED when event_cb is called, which therefore finds the socket closed. Without an event_cb errors go to hub.handle_error.

from __future__ import annotations

from enum import IntEnum


class Phase(IntEnum):
    """How far a connection has come. From CLOSING_EARLY on it is closed for its user, from FAILED on its descriptor is closed."""

    CONNECTING = 0
    """What is written waits for the connection."""
    OPEN = 1
    """Established."""
    BROKEN = 2
    """Sending failed: input that arrived before is still delivered, unless the socket is paused, and then the event."""
    CLOSING_EARLY = 3
    """Closed while connecting, with output queued, which is sent if the connection is established in time."""
    CLOSING = 4
    """Closed by its user: what was written is being sent. A failure is still reported."""
    CLOSING_QUIETLY = 5
    """As CLOSING, but behind the final event or a callback that raised: a failure is not reported."""
    FAILED = 6
    """Closed by an error; its event is the next and last callback."""
    CLOSED = 7


TRANSITIONS: dict[int, frozenset[int]] = {
    Phase.CONNECTING: frozenset({Phase.OPEN, Phase.CLOSING_EARLY, Phase.FAILED, Phase.CLOSED}),
    Phase.OPEN: frozenset({Phase.BROKEN, Phase.CLOSING, Phase.CLOSING_QUIETLY, Phase.FAILED, Phase.CLOSED}),
    Phase.BROKEN: frozenset({Phase.CLOSING, Phase.CLOSING_QUIETLY, Phase.FAILED, Phase.CLOSED}),
    Phase.CLOSING_EARLY: frozenset({Phase.CLOSING, Phase.FAILED, Phase.CLOSED}),
    Phase.CLOSING: frozenset({Phase.FAILED, Phase.CLOSED}),
    Phase.CLOSING_QUIETLY: frozenset({Phase.CLOSED}),
    Phase.FAILED: frozenset({Phase.CLOSED}),
    Phase.CLOSED: frozenset(),
}
"""The phases that may follow each phase."""

CONNECTING, OPEN, BROKEN, CLOSING_EARLY, CLOSING, CLOSING_QUIETLY, FAILED, CLOSED = map(int, Phase)
