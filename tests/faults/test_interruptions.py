"""Waits that are ended, by each way and many times: no byte is lost, doubled or moved."""

from __future__ import annotations

from random import Random
from typing import Any

import gevent
import pytest
from kit.pairs import Pairs
from kit.tls import VERSIONS
from kit.vocabulary import PURE, TAKES

from geventstreams._core.fairness import yield_to_hub
from geventstreams.testing.claims import same, sample

NETWORK = ("tcp", *VERSIONS)
LINES = sample(50_000).replace(b"\x00", b"\n").replace(b"\x80", b"\n")


class Interrupt(Exception):
    """An error of the program's own that is thrown into a greenlet."""


ENDINGS = (gevent.Timeout, gevent.GreenletExit, Interrupt)


class Victim:
    """A greenlet that does one thing again and again, and is struck wherever it waits."""

    def __init__(self, act: Any) -> None:
        self.strikes = 0
        self._act = act
        self._hub = gevent.get_hub()
        self._greenlet = gevent.spawn(self._run)
        yield_to_hub(self._hub)

    def _run(self) -> None:
        while True:
            try:
                if self._act():
                    return
            except ENDINGS:
                self.strikes += 1

    def strike(self, error: BaseException) -> None:
        """End its wait, and return when it waits again."""
        self._hub.loop.run_callback(self._greenlet.throw, error)
        gevent.sleep(0)

    def join(self) -> None:
        """Wait for its end; what went wrong in it is raised."""
        self._greenlet.get()

    def ready(self) -> bool:
        """Return whether it has come to its end."""
        return bool(self._greenlet.ready())


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORK)
def test_a_hundred_thousand_interruptions_of_reads(pairs: Pairs, kind: str) -> None:
    """100,000 Timeouts, kills and errors in all calls that take input: each byte is read once and in order."""
    random = Random(100_000)
    stream, peer = pairs.streams(kind, element_type=bytes)
    got, sent = bytearray(), bytearray()

    def read() -> bool:
        taken = TAKES[random.choice(PURE)](stream, random.choice((1, 3, 40, 500, 12_000)))
        got.extend(taken)
        return stream.at_eof

    victim = Victim(read)
    while victim.strikes < 100_000:
        if random.random() < 0.1:
            at = random.randrange(len(LINES) - 500)
            piece = LINES[at : at + random.choice((1, 20, 90, 300))]
            sent += piece
            peer.sendall(piece)
        victim.strike(random.choice(ENDINGS)())
        assert not victim.ready()
    peer.close()
    victim.join()
    same(bytes(got), bytes(sent))
    assert len(got) > 500_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORK)
def test_ten_thousand_interruptions_of_writes(pairs: Pairs, kind: str) -> None:
    """10,000 Timeouts, kills and errors in writes and flushes: what was accepted arrives once, whole and in order, the rest never."""
    random = Random(10_000)
    stream, peer = pairs.streams(kind, buffers=4096)
    got, accepted = bytearray(), bytearray()
    over = False

    def write() -> bool:
        if random.random() < 0.3:
            stream.flush()
            return over
        at = random.randrange(20_000)
        message = LINES[at : at + random.choice((1, 100, 5000, 30_000))]
        try:
            stream.write(message)
        except ENDINGS:
            assert stream.accepted in (0, len(message))
            accepted.extend(message[: stream.accepted])
            raise
        accepted.extend(message)
        return over

    victim = Victim(write)
    while victim.strikes < 10_000:
        got += peer.read_available()
        yield_to_hub(gevent.get_hub())
        victim.strike(random.choice(ENDINGS)())
    over = True
    reading = gevent.spawn(peer.read)
    victim.join()
    stream.close()
    same(bytes(got + reading.get()), bytes(accepted))
    assert len(got) > 500_000
