"""The engine of a stream that never waits: its connection brings bytes, and takes away what was written in the same turn of the hub."""

# Invariants:
# * Nothing here calls back, and nothing waits but `finish` and `close_failed`; only a callback's own greenlet calls the latter.
# * Large messages are kept where they are, so a queue of them costs no memory of ours.
# * A stream whose connection is over still gives what arrived; one that its user closed gives nothing.

from __future__ import annotations

from collections import deque
from typing import Any

import geventstreams._native.interpreter as _interpreter
import geventstreams._native.memory as _bytes
from geventstreams._constants import BLOCK, NO_PERMIT, SMALL, SOME
from geventstreams._core.fork import FORK
from geventstreams._core.linger import linger
from geventstreams._core.transport_base import Transport
from geventstreams._streams.engine import StreamEngine
from geventstreams._streams.options import StreamOptions
from geventstreams._streams.states import ORDERLY, SHUT
from geventstreams.errors import StreamClosed, StreamError, noted, renewed

FEW = 2
MANY = 12
"""Hundreds of reading calls for one portion of input: so few let the next portion be larger, so many make it smaller."""

SMALLEST = 1024
FIRST = 4096

MOST_SENDS = 16
"""Send calls after which others may run."""


class PushedEngine(StreamEngine):
    """Has the input that its connection received, and queues output for it. The connection's streams are views of it."""

    def __init__(self, connection: Any, transport: Transport, options: StreamOptions) -> None:
        self._init_engine(transport, options.read_limit, options.write_limit, options.linger_limit)
        self.connection: Any = connection
        self.queued: bool = False
        self.over: bool = False
        self._later: deque[Any] | None = None
        self._later_count = 0
        self._kept_back = False
        self._portion = FIRST
        self._calls_made = 0

    # For streams.

    def is_closed(self) -> bool:
        return self.closed or self.over  # what arrived before an event closed it stays readable

    def renew_permits(self) -> None:
        StreamEngine.renew_permits(self)
        if self._kept_back:
            self.input.permit = NO_PERMIT

    def refuse_input(self) -> None:
        StreamEngine.refuse_input(self)
        if self._kept_back and self.connection is not None:
            self.connection._wake_up()  # served after the call, it looks whether enough was taken

    def refuse_output(self) -> None:
        self._refuse_over()
        StreamEngine.refuse_output(self)

    def _refuse_over(self) -> None:
        if self.over:
            raise StreamClosed(f"the connection to {self.peer} is closed", stream=self.stream())

    def refuse_while_waiting(self) -> None:
        self._refuse_over()
        StreamEngine.refuse_while_waiting(self)
        if self.connection is not None:
            self.connection._refuse_outside_callbacks()

    def renew_input(self) -> None:
        self._calls_made += 1
        StreamEngine.renew_input(self)

    def put(self, data: Any, count: int) -> None:
        if self.output.permit != FORK.generation:
            self.refuse_write()
        self.accepted: int = 0
        self.enqueue(data, count)
        self.accepted = count

    def send_before_wait(self) -> None:
        if self.connection is not None:
            self.connection._send()

    def flush(self) -> None:
        self.send_before_wait()

    def finish(self) -> None:
        if self.connection is not None:
            self.connection.drain()

    def end_the_output(self) -> None:
        if self.connection is not None:
            self.connection._end_output()

    def shut_input(self) -> None:
        self.tell_listeners()
        if self.connection is not None:
            self.connection._end_input()

    def drop_output(self) -> None:
        self._later = None
        self._later_count = 0
        if self.rest is not None and not self.rest_at:
            self.rest: Any = None
        StreamEngine.drop_output(self)

    def set_limits(self, read: float, write: float) -> None:
        if self.connection is None:
            raise StreamClosed(f"the connection to {self.peer} is closed", stream=self.stream())
        self.connection.set_timeouts(read, write)

    def close(self, abort: bool = False) -> None:
        if self.connection is not None:
            self.connection.close(abort)
        elif not self.closed:
            self.disconnect(False)

    def close_failed(self, abort: bool) -> None:
        self.closed: bool = True
        self.renew_permits()
        try:
            self.transport.wake()
            self.tell_listeners()
            if not abort:
                linger(self.transport, self.linger_limit)  # in a callback's own greenlet: the alert is on its way
        finally:
            self.transport.close(abort or self.leaves_a_part())
            self.transport.forget()
            self.input.clear()
            self.output.clear()

    def input_failed(self, error: OSError) -> None:
        self.end = noted(self._failure(error, "reading from"))

    # For the connection.

    def is_of_this_process(self) -> bool:
        """Return False in a forked child."""
        return self.generation == FORK.generation

    def adopt(self, other: StreamEngine) -> None:
        """Take over what another engine stands on: transport, TLS, and bytes that arrived. The other is closed by this."""
        self.input.feed(other.input.take(other.input.end - other.input.start))
        self.end = other.end
        self.reset: tuple[Any, ...] | None = other.reset
        self.tls: Any = other.tls
        self.tls_options: Any = other.tls_options
        other.closed = True
        other.renew_permits()
        self.plug(other.transport)
        self.renew_permits()

    def refuse_elsewhere(self) -> None:
        """Raise StreamError in a forked child, and in another thread than the connection's."""
        self.refuse_in_child()
        self.refuse_thread()

    def receive_portion(self) -> int:
        """Receive not more than a callback can read in a few milliseconds. Return as `receive`.

        That is judged by the calls that it made for the last portion: a callback that reads byte by byte must not keep others from running.
        """
        if self._calls_made > MANY:
            self._portion = max(self._portion // 2, SMALLEST)
        calls, self._calls_made = self._calls_made, 0
        self.input.portion = self._portion
        count = self.receive(None, 0, SOME)
        if count == self._portion < BLOCK and calls <= FEW:
            self._portion *= 2
        return count

    def cut_received(self, block: memoryview, count: int) -> bytes:
        """Take `count` bytes that `receive` put into memory which is not the buffer's."""
        self.input.taken += count
        return _bytes.cut(block, 0, count)

    def keep_received(self, block: memoryview) -> None:
        """Put into the buffer what `receive` had put into this memory when a signal handler raised within it."""
        if self.input.counts and self.input.store is None:
            self.input.append(block, 0, _bytes.take_last(self.input.counts))

    def keep_back(self, full: bool) -> None:
        """Say whether the connection waits for bytes to be taken; if so, it is told when that happens."""
        if full != self._kept_back:
            self._kept_back = full
            self.renew_permits()

    def end_with(self, error: StreamError) -> None:
        """End the input in this error, if it has not ended before."""
        if self.end is None:
            self.end = noted(error)
            self.tell_listeners()

    def ending(self) -> StreamError | None:
        """Return the error in which the input ended; None for an orderly end."""
        return None if self.end is None or self.end is ORDERLY else renewed(self.end, self.stream())

    def to_send(self) -> int:
        return StreamEngine.to_send(self) + self._later_count

    def enqueue(self, data: Any, count: int) -> None:
        """Accept bytes, whatever the direction of the stream is, and have them sent in this turn of the hub."""
        if self.generation != FORK.generation or self.thread != _interpreter.thread_id():
            self.refuse_elsewhere()
        if count:
            if not self.queued and self.connection is not None:
                if self.connection._pump._serving is not self.connection:  # else it is sent when the callback returns or waits
                    self.connection._wrote()
                self.queued = True
            if self.rest is None and not self._later_count and count <= BLOCK - (self.output.end - self.output.start):
                self.output.put(data, 0, count)
            else:
                self._keep_for_later(data, count)
            self.remember(data, count)

    def _keep_for_later(self, data: Any, count: int) -> None:
        """Queue what does not fit into the buffer: small messages together, large ones as they are unless they may be changed."""
        if self._later is None:
            self._later = deque()
        last = self._later[-1] if self._later_count else None
        if count > SMALL:
            unchanging = type(data) is bytes or (type(data) is memoryview and type(data.obj) is bytes)
            self._later.append(data if unchanging else bytes(data))
        elif type(last) is bytearray and len(last) < BLOCK:
            last += data
        else:
            self._later.append(bytearray(data))
        self._later_count += count

    def push(self) -> bool:
        """Send what the system takes now. Return whether nothing is left."""
        sends = MOST_SENDS
        while self.output.end or self.transport.unsent or self._has_rest():
            if not sends or not self.send_now():
                return False
            sends -= 1
        return True

    def _has_rest(self) -> bool:
        """Return whether `rest` is to be sent: what is left of a message, or the next one."""
        if self.rest is not None and self.rest_at == len(self.rest):
            self.rest = None
        if self.rest is None and self._later_count:
            message = self._later.popleft()  # type: ignore[union-attr]  # it holds something
            self._later_count -= len(message)
            self.rest = message if type(message) is memoryview else memoryview(message)
            self.rest_at = 0
        return self.rest is not None

    def shut_output(self) -> None:
        """Accept nothing more."""
        self.output_state: int = SHUT
        self.renew_permits()

    def disconnect(self, readable: bool) -> None:
        """Close the stream for its user: nothing more is accepted, and what arrived stays `readable` or is dropped."""
        self.output_state = max(self.output_state, SHUT)
        self.over = True
        if not readable:
            self.closed = True
            self.input.clear()
        self.renew_permits()
        self.tell_listeners()

    def forget(self) -> None:
        """Let go of the connection, whose transport is closed."""
        self.connection = None
        self.rest = self._later = None
        self._later_count = 0
        self.output.clear()
        if self.tls is not None:
            self.transport.forget()


NO_ENGINE = PushedEngine.__new__(PushedEngine)
"""What a connection has whose constructor was not called."""
