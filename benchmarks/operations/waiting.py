"""Waiting for many sockets of which one is readable, with gevent."""

from __future__ import annotations

import os
import random
import select as blocking_select
from collections.abc import Mapping
from typing import Any

import gevent.select
import gevent.selectors

from benchmarks.far_end import FarEnd
from benchmarks.operations.base import Operation

LIMIT = 10.0
LIMIT_MS = 10_000


class OneReady(Operation):
    """Before each run one socket, chosen at random, becomes readable by one byte; afterwards the byte is read."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.far = FarEnd(options["size"])
        self.chosen = 0
        self.answer: object = None
        self._candidates = list(self.far.far)
        self.random = random.Random(options["size"])

    def prepare(self) -> None:
        """Make one socket readable."""
        self.chosen = self.random.choice(self._candidates)
        self.far.far[self.chosen].send(b"x")

    def finish(self) -> None:
        """Check that exactly this socket was reported, and read its byte."""
        descriptor = self.far.near[self.chosen].fileno()
        if self.ready() != [descriptor]:
            raise RuntimeError(f"{self.answer!r} is not descriptor {descriptor}")
        os.read(descriptor, 1)

    def ready(self) -> list[int]:
        """Return the descriptors that the last run reported ready."""
        raise NotImplementedError

    def close(self) -> None:
        """Close all sockets."""
        self.far.close()
        for near in self.far.near:
            near.close()


class Poll(OneReady):
    """`gevent.select.poll`, with all sockets registered beforehand."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._poll = gevent.select.poll()
        for near in self.far.near:
            self._poll.register(near, blocking_select.POLLIN)

    def run(self) -> int:
        """Wait once."""
        self.answer = self._poll.poll(LIMIT_MS)
        return 1

    def ready(self) -> list[int]:
        """Return the descriptors of the answer."""
        return [descriptor for descriptor, _ in self.answer]  # type: ignore[attr-defined]


class Select(OneReady):
    """`gevent.select.select`."""

    def run(self) -> int:
        """Wait once."""
        self.answer = gevent.select.select(self.far.near, [], [], LIMIT)[0]
        return 1

    def ready(self) -> list[int]:
        """Return the descriptors of the answer."""
        return [one.fileno() for one in self.answer]  # type: ignore[attr-defined]


class Selector(OneReady):
    """`gevent.selectors`, with all sockets registered beforehand."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._selector = gevent.selectors.GeventSelector()
        for near in self.far.near:
            self._selector.register(near, gevent.selectors.EVENT_READ)

    def run(self) -> int:
        """Wait once."""
        self.answer = self._selector.select(LIMIT)
        return 1

    def ready(self) -> list[int]:
        """Return the descriptors of the answer."""
        return [key.fd for key, _ in self.answer]  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close the selector first."""
        self._selector.close()
        super().close()
