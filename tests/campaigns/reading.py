"""Reading: every call of both vocabularies, in random order and with random sizes, gives what `io.BytesIO` gives.

Bytes come in pieces of random size over a hostile transport. With `rate` exceptions strike in waits and receive calls, timeouts
pass, and the reader is killed from outside: a call that was ended has taken nothing, and the model stays where it was.
"""

from __future__ import annotations

import io
from random import Random
from typing import Any

import gevent
from kit.vocabulary import EXACT, PARTIAL, PURE, TAKES

from campaigns.ends import Ends, Over, itself
from campaigns.hindrances import FAULTS, StrikingTransport, Struck
from campaigns.tally import Tally, ended_well
from geventstreams._core.transport_base import Transport
from geventstreams._streams.lisp import LispStream
from geventstreams.errors import ReadTimeout
from geventstreams.testing.claims import outcome

SIZES = (0, 1, 1, 2, 3, 3, 5, 8, 13, 20, 40, 60, 90, 200)
RARE_SIZES = (1000, 8191, 8192, 20_000, 70_000)
PIECES = (1, 10, 100, 100, 1000, 5000, 60_000)
MOST = (1, 7, 100, 100, 2000, 2000, 20_000, 20_000)
"""Bytes that come at a time, at most: one of these for a connection."""

SPREAD = bytes(10 if byte < 20 else 97 if byte < 40 else byte for byte in range(256))
"""Makes newlines and one letter frequent."""


def material(chance: Random, count: int) -> bytes:
    """Bytes of all values, with lines of all lengths."""
    data = bytearray(chance.randbytes(count).translate(SPREAD))
    for _ in range(count // 20_000):
        at = chance.randrange(count)
        data[at : at + chance.choice((300, 9000))] = chance.randbytes(chance.choice((300, 9000))).replace(b"\n", b"\0")
    return bytes(data)


def read(tally: Tally, ends: Ends, kind: str, operations: int, *, rate: float = 0.0, flaw: Over = itself, make: Any = LispStream) -> None:
    """So many reads, over as many connections as that takes. `flaw` is put between stream and transport, `make` makes the stream."""
    aim = tally.operations + operations
    while tally.operations < aim:
        most = tally.chance.choice(MOST)
        data = material(tally.chance, 20 * most if most < 50 else tally.chance.choice((0, 5000, 100_000, 400_000)))
        striking: list[StrikingTransport] = []

        def hinder(transport: Transport, most: int = most, striking: list[StrikingTransport] = striking) -> Transport:
            striking.append(StrikingTransport(transport, Random(tally.chance.random()), most=most, rate=rate))
            return flaw(striking[0])

        limit = 50.0 if rate else None
        with ends.streams(kind, above=hinder, make=make, element_type=bytes, line_limit=None, read_timeout=limit) as (stream, peer):
            reader = _Reader(tally, stream, striking[0], data, PURE if rate else sorted(TAKES))
            greenlet = gevent.spawn(outcome, reader.run, aim)
            feeder = gevent.spawn(_feed, Random(tally.chance.random()), peer, data, greenlet, rate > 0)
            ended_well(greenlet)
            feeder.kill()
        tally.faults += striking[0].strikes + striking[0].passed + (striking[0].spites if rate else 0) + reader.kills


def _feed(chance: Random, peer: Any, data: bytes, reader: Any, kills: bool) -> None:
    """Send the data in random pieces, then the end; kill the reader now and then, and end it if something is wrong here."""
    at = 0
    try:
        while at < len(data):
            count = chance.choice(PIECES)
            peer.sendall(data[at : at + count])
            at += count
            if chance.random() < 0.3:
                gevent.sleep(0)
                if kills and not reader.ready():
                    gevent.kill(reader, _Kill())
        peer.send_eof()
    except OSError as error:
        gevent.kill(reader, error)


class _Kill(Struck):
    """Comes from another greenlet."""


class _Reader:
    """Reads from a stream and its model alike."""

    def __init__(self, tally: Tally, stream: Any, transport: StrikingTransport, data: bytes, names: list[str]) -> None:
        self.tally = tally
        self.stream = stream
        self.transport = transport
        self.model = io.BytesIO(data)
        self.length = len(data)
        self.names = names
        self.kills = 0

    def run(self, aim: int) -> None:
        """Read to the end and a bit further, or until there were so many operations."""
        tally, model, names = self.tally, self.model, self.names
        draw, choice = tally.chance.random, tally.chance.choice
        beyond = 10
        while tally.operations < aim and beyond:
            tally.operations += 1
            name = choice(names)
            drawn = draw()
            size = choice(SIZES) if drawn < 0.99 else choice(RARE_SIZES)
            before = model.tell()
            if before == self.length:
                beyond -= 1
            if drawn < 0.0001:
                name, size = "read to the end", -1
            passed = self.transport.passed
            try:
                got = self.stream.read() if size < 0 else TAKES[name](self.stream, size)
            except FAULTS as fault:
                self.kills += isinstance(fault, _Kill)
                continue
            except ReadTimeout:
                tally.expect(self.transport.passed > passed, f"{name}({size}) timed out, and no limit had passed")
                continue
            tally.note(got)
            if name in PARTIAL:
                tally.expect(got or before == self.length, f"{name}({size}) gave nothing at byte {before} of {self.length}")
                wanted = model.read(len(got))
            else:
                wanted = model.read() if size < 0 else EXACT[name][1](model, size)
                if got != wanted and self.transport.passed > passed:
                    # The Lisp vocabulary takes a limit for the end: it gives what there is.
                    model.seek(before + len(got))
                    wanted = wanted[: len(got)]
            if got != wanted:
                tally.same(got, wanted, f"operation {tally.operations}, {name}({size}) at byte {before} of {self.length}")
