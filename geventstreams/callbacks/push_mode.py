"""A stream that never waits: a pump brings its octets, and what is written to it leaves with all else that is written in the same turn.

Rules for the next editor: this class is what a connection of the callback half sees of its stream; the vocabulary is in async_streams.py.
Nothing here waits or calls back. Large messages are kept where they are and not copied, so a queue of them costs no memory of ours.
A stream whose connection is over still gives what arrived; one that its user closed gives nothing.
"""

from __future__ import annotations

import io
from collections import deque
from typing import TYPE_CHECKING, Any

from geventstreams._constants import BLOCK, ENDED, SMALL, WOULD_WAIT
from geventstreams._core.buffers import InputBuffer, OutputBuffer
from geventstreams._core.fork import FORK, NO_PERMIT
from geventstreams._core.transport import Transport
from geventstreams._streams.engine import ORDERLY
from geventstreams._streams.tls_upgrade import UpgradableStream
from geventstreams.errors import StreamClosed, StreamError, noted, renewed

FEW = 2
MANY = 12
"""Hundreds of reading calls for one portion of input: so few let the next portion be larger, so many make it smaller."""

SMALLEST = 1024
FIRST = 4096

MOST_SENDS = 16
"""Calls of the system after which others may run."""


class PushedStream(UpgradableStream):
    """A stream of both vocabularies over octets that its connection brings and takes away."""

    if TYPE_CHECKING:  # pyright infers a type of their own for what a subclass assigns to
        input: InputBuffer
        output: OutputBuffer

    def __init__(self, connection: Any, transport: Transport, element_type: Any, **options: Any) -> None:
        self._connection = connection
        self.queued: bool = False
        self._later: deque[Any] | None = None
        self._later_count = 0
        self._kept_back = False
        self._over = False
        self._portion = FIRST
        self._calls_made = 0
        UpgradableStream.__init__(self, transport, element_type, **options)

    # What differs from a stream that waits.

    def _receive(self, target: memoryview | None, at: int) -> int:
        """Bring nothing: only the pump receives. Return ENDED at the end of the input, WOULD_WAIT before it."""
        return self.input.absorb() or (WOULD_WAIT if self._end is None else ENDED)

    def _receive_unasked(self) -> int:
        return WOULD_WAIT

    def _look(self) -> bool:
        return self.input.end > self.input.start

    def readable_now(self) -> bool:
        if self._generation != FORK.generation:
            self._refuse()
        return self.input.end > self.input.start or self._end is not None or self.closed

    def arm_input(self) -> None:
        """Nothing: the pump tells the listeners."""

    def _renew_permits(self) -> None:
        UpgradableStream._renew_permits(self)
        if self._kept_back:
            self.input.permit = NO_PERMIT

    def _refuse_input(self) -> None:
        UpgradableStream._refuse_input(self)
        if self._kept_back and self._connection is not None:
            self._connection._taken()

    def _refuse_output(self) -> None:
        if self._over:
            raise StreamClosed(f"the connection to {self._transport.peer} is closed", stream=self)
        UpgradableStream._refuse_output(self)

    def _refuse_while_waiting(self) -> None:
        UpgradableStream._refuse_while_waiting(self)
        if self._connection is not None:
            self._connection._refuse_outside_callbacks()

    def _renew_input(self) -> None:
        self._calls_made += 1
        UpgradableStream._renew_input(self)

    def _is_overdue(self) -> bool:
        return False  # its calls never wait: what one callback is given at a time, `receive_portion` bounds

    def _put(self, data: Any, count: int) -> None:
        if self.output.permit != FORK.generation:
            self._refuse_write()
        self.accepted: int = 0
        self.enqueue(data, count)
        self.accepted = count

    def _send_before_wait(self) -> None:
        """Sends what was written, as far as that needs no waiting."""
        if self._connection is not None:
            self._connection._send()

    def _flush_buffer(self) -> None:
        self._send_before_wait()

    def _send_all(self) -> None:
        if self._connection is not None:
            self._connection.drain()

    def _end_output(self) -> None:
        if self._connection is not None:
            self._connection._end_output()

    def _end_input(self, drop: bool) -> None:
        if not self._is_readable:
            raise io.UnsupportedOperation("not readable: the direction of this stream is output")
        if drop:
            self.input.clear()
        self.end_with(StreamClosed(f"the input from {self._transport.peer} was shut down"))
        if self._connection is not None:
            self._connection._end_input()

    def _drop_output(self) -> None:
        self._later = None
        self._later_count = 0
        if self._rest is not None and not self._rest_at:
            self._rest = None
        UpgradableStream._drop_output(self)

    def _plug(self, transport: Transport) -> Transport:
        old = UpgradableStream._plug(self, transport)
        if self._connection is not None:
            self._connection._set_transport(transport)
        return old

    # State.

    @property
    def closed(self) -> bool:
        """Whether the connection is closed. What arrived before an event closed it stays readable."""
        return self._closed or self._over

    @property
    def unsent(self) -> int:
        """Octets that were written and are not yet with the system."""
        return self.held()

    def fileno(self) -> int:
        """The descriptor, or -1 before the connection stands and after it was closed."""
        return -1 if self.closed else self._transport.fileno()

    def is_of_this_process(self) -> bool:
        """False in a forked child."""
        return self._generation == FORK.generation

    def lost(self) -> bool:
        """Whether it was closed without its connection: by TLS that could not be attached or detached."""
        return self._closed and not self._over

    # For the connection: input.

    def receive(self) -> int:
        """Receives what is there: a count, ENDED, or WOULD_WAIT."""
        if self._end is not None:
            return ENDED
        return self._receive_now(None, 0)

    def receive_portion(self) -> int:
        """The same, but not more than a callback can read in a few milliseconds, judged by the calls that it made for the last portion: a
        callback that reads byte by byte must not keep others from running."""
        if self._calls_made > MANY:
            self._portion = max(self._portion // 2, SMALLEST)
        calls, self._calls_made = self._calls_made, 0
        self.input.portion = self._portion
        count = self.receive()
        if count == self._portion < BLOCK and calls <= FEW:
            self._portion *= 2
        return count

    def settle(self) -> None:
        """Gives memory back before a wait."""
        self.input.settle()

    def keep_back(self, full: bool) -> None:
        """Says whether the pump waits for octets to be taken; if so, it is told when that happens."""
        if full != self._kept_back:
            self._kept_back = full
            self._renew_permits()

    def end_with(self, error: StreamError) -> None:
        """The input ends here in this error, if it has not ended before."""
        if self._end is None:
            self._end = noted(error)
            self._tell_listeners()

    def failure(self) -> StreamError | None:
        """The error in which the input ended; None for an orderly end."""
        return None if self._end is None or self._end is ORDERLY else renewed(self._end, self)

    # For the connection: output.

    def held(self) -> int:
        """Octets that are not yet with the system."""
        count = self.output.end - self.output.start + self._later_count + self._transport.unsent
        return count if self._rest is None else count + len(self._rest) - self._rest_at

    def enqueue(self, data: Any, count: int) -> None:
        """Accepts octets, whatever the direction of this stream is, and has them sent in this turn of the hub."""
        if self._generation != FORK.generation:
            self._refuse()
        self._refuse_thread()
        if count:
            if self._rest is None and not self._later_count and count <= self.output.room():
                self.output.put(data, 0, count)
            else:
                self._keep_for_later(data, count)
            self._remember(data, count)
            if not self.queued and self._connection is not None:
                self.queued = True
                self._connection._wrote()

    def _keep_for_later(self, data: Any, count: int) -> None:
        """Queues what does not fit into the buffer: small messages together, large ones as they are unless they may be changed."""
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
        """Sends what the system takes now: whether nothing is left."""
        sends = MOST_SENDS
        while self._has_output():
            if not sends or not self._send_now():
                return False
            sends -= 1
        return True

    def _has_output(self) -> bool:
        """Whether there is something to send, which then lies in the buffer, or is the rest of a message."""
        if self._rest is not None and self._rest_at == len(self._rest):
            self._rest = None
        if self.output.end or self._rest is not None or self._transport.unsent:
            return True
        if not self._later_count:
            return False
        message = self._later.popleft()  # type: ignore[union-attr]  # it holds something
        self._later_count -= len(message)
        self._rest = message if type(message) is memoryview else memoryview(message)
        self._rest_at = 0
        return True

    def shut_output(self) -> None:
        """Nothing more is accepted."""
        self._output_ended = True
        self._renew_permits()

    def disconnect(self, readable: bool) -> None:
        """The connection is closed for its user: nothing more is accepted, and what arrived stays `readable` or is dropped."""
        self._output_ended = True
        self._over = True
        self._alive = False  # there is nothing left that nobody would close
        if not readable:
            self._closed = True
            self.input.clear()
        self._renew_permits()
        self._tell_listeners()

    def forget(self) -> None:
        """The connection is over, and its transport closed."""
        self._connection = None
        self._rest = self._later = None
        self._later_count = 0
        self.output.clear()

    def note_limits(self, read: float, write: float) -> None:
        """The limits that the connection keeps."""
        self._read_limit = read
        self._write_limit = write

    # Taking over.

    def take_over(self, other: UpgradableStream) -> None:
        """What another stream stands on is this one's from now on: transport, TLS, and octets that arrived. The other is closed by it."""
        self.input, other.input = other.input, self.input
        self._end, self._reset = other._end, other._reset
        self._tls, self._tls_options = other._tls, other._tls_options
        other._closed = True
        other._renew_permits()
        self._plug(other._transport)
        self._renew_permits()

    def take_queue_over(self, other: PushedStream) -> None:
        """The same of what another stream of this kind has to send, and of its limits."""
        self.output, other.output = other.output, self.output
        self._rest, self._rest_at, self._later, self._later_count = other._rest, other._rest_at, other._later, other._later_count
        self._tail = other._tail
        self.queued = other.queued
        self._output_ended = other._output_ended
        self._read_limit, self._write_limit, self._linger_limit = other._read_limit, other._write_limit, other._linger_limit
        other._connection = None
        self._renew_permits()
