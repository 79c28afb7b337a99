"""Transports that add faults to another one.

A stream over one of them is `BufferedStream(transport)` or, with the Lisp vocabulary, `LispStream(transport)`.
"""

# Invariants: these keep the contract of `Transport`: they change the time and the size of the pieces, but lose, double or move no
# byte. `emptied`, `unsent`, `received` and `ready` are read as fields, so they are copied after each call.

from __future__ import annotations

import copy
from random import Random
from typing import TYPE_CHECKING, Any

import gevent
from gevent import get_hub

from geventstreams._constants import WOULD_WAIT
from geventstreams._core import arguments
from geventstreams._core.transport_base import LayeredTransport, Transport
from geventstreams._core.wakeup import Wakeup
from geventstreams.errors import StreamError

if TYPE_CHECKING:
    from geventstreams._types import EventHandler


class TransportOver(LayeredTransport):
    """A transport that passes every call on to another one; the base of transports with faults."""

    def __init__(self, transport: Transport) -> None:
        Transport.__init__(self)
        arguments.instance("transport", transport, Transport)
        self.below = transport
        self._note()

    def _note(self) -> None:
        """Copy the fields that describe the last call of the transport below."""
        self.emptied: bool = self.below.emptied
        self.unsent: int = self.below.unsent
        self.received: int = self.below.received
        self.ready: bool = self.below.ready

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        try:
            return self.below.recv_into(space, start, counts)
        finally:
            self._note()

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        try:
            return self.below.send(data, start, stop)
        finally:
            self._note()

    def flush(self) -> int:
        try:
            return self.below.flush()
        finally:
            self._note()

    def readable(self) -> int:
        return self.below.readable()

    def wait_input(self, limit: float) -> bool:
        try:
            return self.below.wait_input(limit)
        finally:
            self._note()

    def watch_input(self, handler: EventHandler, timeout: float) -> bool:
        try:
            return self.below.watch_input(handler, timeout)
        finally:
            self._note()

    def wait_output(self, limit: float) -> bool:
        try:
            return self.below.wait_output(limit)
        finally:
            self._note()

    def end_output(self) -> int:
        try:
            return self.below.end_output()
        finally:
            self._note()

    def refusal(self, stream: Any) -> StreamError:
        return self.below.refusal(stream)


class PiecemealTransport(TransportOver):
    """A transport that receives and sends at most `n` bytes in one call."""

    def __init__(self, transport: Transport, n: int = 1) -> None:
        TransportOver.__init__(self, transport)
        self.n: int = arguments.positive("n", n)

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        return TransportOver.recv_into(self, space[: start + self.n], start, counts)

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        return TransportOver.send(self, data, start, min(stop, start + self.n))


class StallingTransport(TransportOver):
    """A transport that is stuck between `stall()` and `resume()`: it receives or sends nothing, without an error."""

    def __init__(self, transport: Transport) -> None:
        TransportOver.__init__(self, transport)
        self.input_stalled: bool = False
        self.output_stalled: bool = False
        self._input_resumed = Wakeup(get_hub())
        self._output_resumed = Wakeup(get_hub())

    def stall(self, direction: str = "io") -> None:
        """Stop `"input"`, `"output"`, or with `"io"` both."""
        arguments.chosen("direction", direction, ("io", "input", "output"))
        self.input_stalled = self.input_stalled or direction != "output"
        self.output_stalled = self.output_stalled or direction != "input"

    def resume(self) -> None:
        """Let both directions go on."""
        self.input_stalled = self.output_stalled = False
        self.wake()

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        return WOULD_WAIT if self.input_stalled else TransportOver.recv_into(self, space, start, counts)

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        return WOULD_WAIT if self.output_stalled else TransportOver.send(self, data, start, stop)

    def flush(self) -> int:
        return WOULD_WAIT if self.output_stalled and self.unsent else TransportOver.flush(self)

    def readable(self) -> int:
        return WOULD_WAIT if self.input_stalled else self.below.readable()

    def wait_input(self, limit: float) -> bool:
        return self._input_resumed.wait(limit) if self.input_stalled else TransportOver.wait_input(self, limit)

    def watch_input(self, handler: EventHandler, timeout: float) -> bool:
        return self._input_resumed.watch(handler, timeout) if self.input_stalled else TransportOver.watch_input(self, handler, timeout)

    def wait_output(self, limit: float) -> bool:
        return self._output_resumed.wait(limit) if self.output_stalled else TransportOver.wait_output(self, limit)

    def wake(self) -> None:
        self.below.wake()
        self._input_resumed.fire()
        self._output_resumed.fire()

    def close(self, abort: bool = False) -> None:
        self.below.close(abort)
        self._input_resumed.fire()
        self._output_resumed.fire()


class FailingTransport(TransportOver):
    """A transport whose `k`-th call that reaches the system, counted from 1, fails with a copy of `error`; all others work.

    `calls` is the number of calls so far: a test that tries each k ends when it is less than k.
    """

    def __init__(self, transport: Transport, k: int, error: OSError) -> None:
        TransportOver.__init__(self, transport)
        self.k = k
        self.error = error
        self.calls: int = 0

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.k:
            raise copy.copy(self.error)

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        self._count()
        return TransportOver.recv_into(self, space, start, counts)

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        self._count()
        return TransportOver.send(self, data, start, stop)

    def flush(self) -> int:
        self._count()
        return TransportOver.flush(self)

    def end_output(self) -> int:
        self._count()
        return TransportOver.end_output(self)

    def end_input(self) -> None:
        self._count()
        self.below.end_input()

    def discard(self) -> int:
        self._count()
        return self.below.discard()


class HostileTransport(TransportOver):
    """A transport that receives and sends pieces of random size up to `most`, would block at random, and wakes without cause.

    `random` decides, so a seed repeats a run; `spite` is the probability of each fault.
    """

    def __init__(self, transport: Transport, random: Random, *, most: int = 100, spite: float = 0.2) -> None:
        TransportOver.__init__(self, transport)
        self.random = random
        self.most: int = arguments.positive("most", most)
        self.spite = spite

    def _spiteful(self) -> bool:
        return self.random.random() < self.spite

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        if self._spiteful():
            return WOULD_WAIT
        return TransportOver.recv_into(self, space[: start + self.random.randint(1, self.most)], start, counts)

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        if self._spiteful():
            return WOULD_WAIT
        return TransportOver.send(self, data, start, min(stop, start + self.random.randint(1, self.most)))

    def wait_input(self, limit: float) -> bool:
        if self._spiteful():
            gevent.sleep(0)
            return True
        return TransportOver.wait_input(self, limit)

    def wait_output(self, limit: float) -> bool:
        if self._spiteful():
            gevent.sleep(0)
            return True
        return TransportOver.wait_output(self, limit)
