"""Hubs that die: in a thread of its own a hub's greenlet ends, and then calls are made at random.

Each call that would wait is StreamError and takes no time, and what was accepted or had arrived before is still there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent

from campaigns.ends import KINDS, Ends
from campaigns.tally import LIMIT, Tally
from geventstreams._streams.lisp import LispStream
from geventstreams.errors import StreamError
from geventstreams.testing.claims import outcome

CALLS: dict[str, Callable[[Any, int], Any]] = {
    "read": lambda stream, size: stream.read(size),
    "read_exactly": lambda stream, size: stream.read_exactly(size),
    "readinto": lambda stream, size: stream.readinto(bytearray(size)),
    "readline": lambda stream, size: stream.readline(),
    "read to the end": lambda stream, size: stream.read(),
    "read_until": lambda stream, size: stream.read_until(b"!"),
    "read_sequence": lambda stream, size: stream.read_sequence(bytearray(size)),
    "read_line": lambda stream, size: stream.read_line(),
    "write": lambda stream, size: stream.write(bytes(10**7)),
}
"""Calls that have to wait for an element more than there is, or for room."""

BRIEF = 0.5
"""Seconds of the processor that a call may take that does not wait."""


class Died(Exception):
    """What ends a hub's greenlet."""


def kill_hub() -> None:
    """End the greenlet of this thread's hub, as a signal handler that raises in its own code can."""
    hub = gevent.get_hub()
    outcome(hub.switch)  # it runs out of work, and is in its own code then, not in a callback's
    outcome(hub.throw, Died)
    assert hub.dead


def outlive_hubs(tally: Tally, ends: Ends, hubs: int, *, make: Any = LispStream) -> None:
    """So many hubs that die, with a connection each. `make` makes the stream."""
    for number in range(hubs):
        said: list[Any] = []
        work = partial(_outlive, tally, ends, number, make)
        thread = threading.Thread(target=lambda work=work, said=said: said.append(outcome(work)), daemon=True)
        thread.start()
        thread.join(LIMIT)
        tally.expect(said, "a call waits for ever in a hub that has died")
        if isinstance(said[0], BaseException):
            raise said[0]


def _outlive(tally: Tally, ends: Ends, number: int, make: Any) -> None:
    with ends.streams(KINDS[number % len(KINDS)], make=make, element_type=bytes) as (stream, peer):
        held = b"x" * tally.chance.choice((0, 1, 3, 50))
        peer.write(held)
        peer.flush()
        if held:
            stream.peek(1)
        kill_hub()
        for _ in range(10):
            name = tally.chance.choice(sorted(CALLS))
            before = time.thread_time()
            told = outcome(CALLS[name], stream, len(held) + 1)
            took = time.thread_time() - before
            tally.expect(took < BRIEF, f"{name} took {took:.1f} s of the processor in a hub that has died")
            tally.expect(isinstance(told, StreamError), f"{name} gave {told!r}")
            tally.operations += 1
        tally.same(stream.read_exactly(len(held)), held, "what had arrived")
        tally.faults += 1
