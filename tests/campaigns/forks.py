"""Forks: a process forks while one greenlet reads, one writes, and output is sent in the background; the child's hub runs.

In the child each wait ends in StreamError. The parent's reader and the peer get every byte, once and in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from kit.conditions import until
from kit.forking import CHILDREN

from campaigns.ends import KINDS, Ends, Over, itself
from campaigns.tally import Tally, ended_well
from geventstreams._streams.lisp import LispStream
from geventstreams.errors import StreamError
from geventstreams.testing.claims import outcome

SIZES = (1, 30, 500, 3000)
LONG = (20_000, 60_000, 150_000)

WAYS: dict[str, Callable[[Any, bytes], Any]] = {
    "write": lambda stream, data: (stream.write(data), stream.flush()),
    "force_output": lambda stream, data: (stream.write(data), stream.force_output()),
}
"""How the parent sends. A write of more than a buffer waits, the rest is sent by the hub."""


def fork_often(tally: Tally, ends: Ends, forks: int, *, flaw: Over = itself) -> None:
    """So many connections over which the process forks once. `flaw` is put between stream and transport."""
    for number in range(forks):
        kind = KINDS[1:][number % len(KINDS[1:])]
        way, fork = tally.chance.choice(sorted(WAYS)), tally.chance.choice(sorted(CHILDREN))
        incoming, outgoing = tally.chance.randbytes(tally.chance.choice(SIZES)), tally.chance.randbytes(tally.chance.choice(LONG))
        with ends.streams(kind, above=flaw, make=LispStream, element_type=bytes) as (stream, peer):
            reader = gevent.spawn(outcome, stream.read_exactly, len(incoming) + 1)
            writer = gevent.spawn(outcome, WAYS[way], stream, outgoing)
            gevent.sleep(0)
            peer.write(incoming)
            peer.flush()
            got = peer.read_available()
            # On a busy machine the flush let the reader run: then nothing is left that would wake it in the child.
            taken = stream.octets_in == len(incoming)
            CHILDREN[fork](lambda reader=reader, taken=taken: taken or (until(reader.ready) and _expect_refusal(reader.value)))
            peer.write(b"!")
            feeder = gevent.spawn(outcome, peer.flush)
            receiver = gevent.spawn(outcome, peer.read_exactly, len(outgoing) - len(got))
            tally.same(ended_well(reader), incoming + b"!", f"{kind}, {way}, {fork}: the parent's reader")
            tally.same(got + ended_well(receiver), outgoing, f"{kind}, {way}, {fork}: the peer")
            ended_well(writer)
            ended_well(feeder)
            closer = gevent.spawn(outcome, stream.close)
            tally.same(peer.read(), b"", f"{kind}, {way}, {fork}: behind the end")
            ended_well(closer)
        tally.operations += 1
        tally.faults += 1


def _expect_refusal(said: Any) -> None:
    if not isinstance(said, StreamError):
        raise AssertionError(f"in the child a wait of the parent's gave {said!r}")
