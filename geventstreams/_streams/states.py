"""How the two halves of a stream end.

The input ends by `end` of the engine: None; ORDERLY for the peer's end of file; else an error that was `noted`, and is raised again and
again: StreamReset, StreamTruncated, TLSError, or StreamClosed after `shutdown("input")`. It is set once. Only another transport
(`replace_socket`, `detach_ssl`) sets it back.

The output ends by `output_state` of the engine, along TRANSITIONS. Beside it, `broken` says that sending failed for good, so that nothing
more is tried, and `closed` that the user has closed the stream.
"""

from __future__ import annotations

from enum import IntEnum

ORDERLY = ("end of file",)


class Output(IntEnum):
    """How far the output has ended."""

    OPEN = 0
    """Bytes are accepted."""
    SHUT = 1
    """Nothing more is accepted: close_notify is being exchanged to detach TLS, or a connection of the callback half ends."""
    WANTED = 2
    """Nothing more is accepted, and the peer is told so behind what was: the hub may do it."""
    TOLD = 3
    """The peer was sent the end (FIN; under TLS close_notify before it)."""


TRANSITIONS: dict[int, frozenset[int]] = {
    Output.OPEN: frozenset({Output.SHUT, Output.WANTED, Output.TOLD}),
    Output.SHUT: frozenset({Output.OPEN, Output.WANTED, Output.TOLD}),
    Output.WANTED: frozenset({Output.OPEN, Output.TOLD}),
    Output.TOLD: frozenset({Output.OPEN}),
}
"""The states that may follow each state. Back to OPEN leads only another transport."""

OPEN, SHUT, WANTED, TOLD = map(int, Output)
