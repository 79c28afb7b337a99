"""A stream between two requests: how a server that wants to end sees one, and tells it."""

from __future__ import annotations

from geventstreams._streams.engine import StreamEngine
from geventstreams._streams.states import ORDERLY


def is_idle(engine: StreamEngine, begun: int) -> bool:
    """Return whether a greenlet waits there for a message (in a read, or for several streams), none is there, and nothing is unsent.

    A message is there with its first byte: in a buffer, in a record that TLS waits for, or among those that the read has `begun` with, in a
    text file too.
    """
    # Those who listen for a greenlet know whether it waits now; they may listen on afterwards.
    listens = any(listener.is_awaited() for listener in engine.listeners or () if hasattr(listener, "is_awaited"))
    awaited = (engine.reader is not None and not (begun or engine.holds_text)) or listens
    return awaited and not engine.to_send() and not engine.readable_now() and not (engine.tls is not None and engine.tls.holds_part())


def end_reads(engine: StreamEngine) -> None:
    """Let reads see the end of file once what is buffered is taken, as if the peer had ended its output; wake who waits."""
    if engine.end is None:
        engine.end = ORDERLY
        engine.transport.wake()
        engine.tell_listeners()
