"""Transports that hinder a campaign's streams: what they do is all within the contract of `Transport`, so nothing may be lost by it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import gevent

from geventstreams._core.transport_base import Transport
from geventstreams.testing import HostileTransport


class Struck(Exception):
    """What strikes as a signal handler or another greenlet would."""


STRIKES: tuple[Callable[[], BaseException], ...] = (Struck, gevent.Timeout, gevent.GreenletExit)
"""What ends a wait; gevent throws each of them."""

FAULTS = (Struck, gevent.Timeout, gevent.GreenletExit)
"""What a campaign catches of it."""


class StrikingTransport(HostileTransport):
    """A hostile transport: exceptions strike in its waits and receive calls, and timeouts fire at once.

    `rate` is the probability of each. `strikes` counts the exceptions, `passed` the timeouts, `spites` all else: sends and receive calls
    that would wait forever, waits that are woken without cause.
    """

    def __init__(self, transport: Transport, random: Random, *, most: int = 100, spite: float = 0.2, rate: float = 0.1) -> None:
        HostileTransport.__init__(self, transport, random, most=most, spite=spite)
        self.rate = rate
        self.strikes = self.passed = self.spites = 0

    def _spiteful(self) -> bool:
        spiteful = HostileTransport._spiteful(self)
        self.spites += spiteful
        return spiteful

    def _strike(self) -> bool:
        """Raise, or say whether a limit is to pass."""
        drawn = self.random.random()
        if drawn < self.rate:
            if drawn < self.rate / 4:
                self.passed += 1
                return True
            self.strikes += 1
            raise self.random.choice(STRIKES)()
        return False

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        count = HostileTransport.recv_into(self, space, start, counts)
        if count > 0 and self.random.random() < self.rate / 4:
            self.strikes += 1
            raise Struck  # a signal handler, right behind the system call
        return count

    def wait_input(self, limit: float) -> bool:
        return not self._strike() and HostileTransport.wait_input(self, limit)

    def wait_output(self, limit: float) -> bool:
        return not self._strike() and HostileTransport.wait_output(self, limit)
