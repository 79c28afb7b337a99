"""What a campaign counts and prints: its seed, what it did, how often it was disturbed, and where something was wrong."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

LIMIT = 300
"""Seconds within which a greenlet of a campaign has to end. Its work takes a few, but more than 60 over a TCP connection with the smallest
buffers: where its window is smaller than a segment, Linux sends 2 kB every 200 ms (`ss -o` shows the timer `persist`)."""


class Tally:
    """The counts of one run of a campaign, and the source of all its chance.

    The same seed draws the same data, calls and hindrances. Where a clock or the system decides who runs first, what comes of them may
    differ in order: then a seed that found something finds it again nearly always.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed
        self.chance = Random(f"{name} {seed}")
        self.operations = 0
        self.faults = 0
        self.digest = 0
        self._began = time.monotonic()

    def note(self, data: bytes) -> None:
        """Have the digest cover these bytes, so that two runs can be compared."""
        self.digest = zlib.crc32(data, self.digest)

    def expect(self, condition: object, what: object) -> None:
        """Fail unless the condition holds; `what` is said then."""
        if not condition:
            raise AssertionError(str(what))

    def same(self, got: bytes, wanted: bytes, what: object) -> None:
        """Fail where bytes differ, and say where."""
        if got != wanted:
            pairs = enumerate(zip(got, wanted, strict=False))
            at = next((i for i, (one, other) in pairs if one != other), min(len(got), len(wanted)))
            sight = slice(max(0, at - 10), at + 20)
            raise AssertionError(
                f"{what}: {len(got)} bytes instead of {len(wanted)}, different from byte {at} on: "
                f"{bytes(got[sight])!r} instead of {bytes(wanted[sight])!r}"
            )

    def __str__(self) -> str:
        took = time.monotonic() - self._began
        return f"{self.name}: seed {self.seed}, {self.operations} operations, {self.faults} faults, {took:.1f} s"


@contextmanager
def tallied(name: str, seed: int) -> Iterator[Tally]:
    """Run a campaign and print its counts; where it finds something it says by which seed that is found again."""
    tally = Tally(name, seed)
    try:
        yield tally
    except Exception as error:
        print(f"{tally}, 1 divergence")
        raise AssertionError(f"{tally}: {type(error).__name__}: {error}") from error
    print(f"{tally}, 0 divergences")


def ended_well(greenlet: Any) -> Any:
    """What a greenlet gives that runs `outcome`; raises what it ended with, and AssertionError where it does not end."""
    greenlet.join(LIMIT)
    if not greenlet.ready():
        greenlet.kill(AssertionError("killed: it waits for ever"))
        raise AssertionError(f"a call waits for ever: {greenlet.value}")
    if isinstance(greenlet.value, BaseException):
        raise greenlet.value
    return greenlet.value
