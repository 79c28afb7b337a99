"""What a stream says of itself, for its `repr`, and of each greenlet that waits in it, for gevent's run info."""

from __future__ import annotations

from typing import Any

from geventstreams._constants import A_LINE, A_SEPARATOR, ALL_INPUT, SOME
from geventstreams._core.clock import CLOCK
from geventstreams._core.fork import FORK
from geventstreams._core.living import show_waits_in
from geventstreams._core.transport import address_name
from geventstreams._streams.engine import StreamEngine
from geventstreams._streams.states import OPEN, ORDERLY
from geventstreams.errors import StreamClosed, StreamReset, StreamTruncated, in_bytes


def summary_of(engine: StreamEngine) -> str:
    """Return this end, TLS, what is held, how each half ended, and who waits."""
    address = engine.transport.addresses()[0]
    words = [f"address={address_name(address)}" if address else "", _protocol(engine), _state(engine)]
    words += [f"buffered={len(engine.input)}", f"unsent={engine.unsent()}"]
    # Not a greenlet's own repr: that may show this stream, as an argument of its function.
    words += [f"({getattr(greenlet, 'name', hex(id(greenlet)))} {what})" for greenlet, what in waits_in(engine, engine.hub)]
    return " ".join(filter(None, words))


def _protocol(engine: StreamEngine) -> str:
    """Return the version of TLS, or nothing."""
    tls = engine.tls
    if tls is None:
        return ""
    return (tls.object and tls.object.version()) or "TLS"


def _state(engine: StreamEngine) -> str:
    """Return how far the connection has ended."""
    end = engine.end
    if end is not None and end is not ORDERLY:
        return {StreamReset: "reset", StreamTruncated: "cut-off", StreamClosed: "input-ended"}.get(end[0], "failed")
    if engine.broken:
        return "reset"
    halves = (end is ORDERLY, engine.output_state != OPEN)
    state = {(False, False): "open", (True, True): "ended", (True, False): "half-closed-by-peer"}.get(halves, "half-closed")
    return f"{state} timed-out" if engine.timed_out else state


def waits_in(engine: StreamEngine, hub: Any) -> list[tuple[Any, str]]:
    """Return the greenlets of a hub that wait in a stream, each with what it waits for."""
    waits: list[tuple[Any, str]] = []
    if getattr(engine, "generation", 0) == FORK.generation and engine.hub is hub and not engine.is_closed():
        now = CLOCK.now()
        if engine.reader is not None:
            held = f"{in_bytes(len(engine.input))} buffered"
            waits.append((engine.reader, f"{_reading(engine)} {engine.peer}, {now - engine.reading_since:.1f} s, {held}"))
        if engine.writer is not None and engine.writer is not engine.reader:
            held = f"{in_bytes(engine.unsent())} unsent"
            waits.append((engine.writer, f"writes to {engine.peer}, {now - engine.writing_since:.1f} s, {held}"))
    return waits


def _reading(engine: StreamEngine) -> str:
    """Return what the reader does, as a verb with its object."""
    if engine.tls is not None and not engine.tls.ready:
        return "makes a TLS handshake with"
    if engine.lacking > 0:
        return f"reads {in_bytes(engine.lacking)} more from"
    return _READS[engine.lacking]


_READS = {
    SOME: "reads input from",
    ALL_INPUT: "reads up to the end from",
    A_LINE: "reads a line from",
    A_SEPARATOR: "reads up to a separator from",
}
show_waits_in(StreamEngine, waits_in)
