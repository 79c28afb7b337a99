"""Hooks: greenlets of a class with `switch()` and `switch_out()` read and write, and their waits end by what comes or by an interruption.

The hooks are called alternately, by each end of a wait, and no byte is lost.
"""

from __future__ import annotations

from typing import Any

import gevent

from campaigns.ends import KINDS, Ends, Over, itself
from campaigns.tally import Tally, ended_well
from geventstreams._streams.lisp import LispStream
from geventstreams.testing.claims import outcome


class Hooked(gevent.Greenlet):
    """Notes each time that it is switched to and away from."""

    def __init__(self, *args: Any) -> None:
        gevent.Greenlet.__init__(self, *args)
        self.log = ""

    def switch(self, *args: Any, **options: Any) -> Any:
        self.log += "i"
        return gevent.Greenlet.switch(self, *args, **options)

    def throw(self, *args: Any, **options: Any) -> Any:
        self.log += "i"
        return gevent.Greenlet.throw(self, *args, **options)

    def switch_out(self) -> None:
        self.log += "o"


def call_hooks(tally: Tally, ends: Ends, rounds: int, *, flaw: Over = itself) -> None:
    """So many connections. `flaw` is put between stream and transport."""
    for number in range(rounds):
        kind = KINDS[number % len(KINDS)]
        data = tally.chance.randbytes(tally.chance.choice((1, 100, 50_000)))
        with ends.streams(kind, above=flaw, make=LispStream, element_type=bytes) as (stream, peer):
            reader = Hooked(outcome, stream.read_exactly, len(data))
            reader.start()
            gevent.sleep(0)
            if tally.chance.random() < 0.5:
                reader.kill()
                tally.same(reader.log.encode(), b"io" * (len(reader.log) // 2) + b"i", f"{kind}: hooks round a wait that was ended")
                reader = Hooked(outcome, stream.read_exactly, len(data))
                reader.start()
                tally.faults += 1
            peer_writes = gevent.spawn(outcome, _send, peer, data)
            tally.same(ended_well(reader), data, f"{kind}: what was read")
            ended_well(peer_writes)
            tally.expect("o" in reader.log, f"{kind}: no hook was called")
            tally.same(reader.log.encode(), b"io" * (len(reader.log) // 2) + b"i", f"{kind}: hooks round a wait")
        tally.operations += 1


def _send(peer: Any, data: bytes) -> None:
    peer.write(data)
    peer.flush()
