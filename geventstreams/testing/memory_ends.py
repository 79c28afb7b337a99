"""The ends of connections in memory: `MemoryTransport`, which stands on two lines, and `memory_pair`."""

# Invariant: a line refers to no end, so an end that nothing refers to is closed.

from __future__ import annotations

import errno
import os
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from geventstreams._constants import BLOCK, ENDED, WOULD_WAIT
from geventstreams._core import arguments
from geventstreams._core.fork import FORK, inherited
from geventstreams._core.transport import address_name
from geventstreams._core.transport_base import Transport
from geventstreams._core.wakeup import Wakeup
from geventstreams.testing.memory_lines import Line, LineOptions, join

if TYPE_CHECKING:
    from geventstreams._types import EventHandler


class MemoryEnd:
    """One end of a connection in memory, as the system has it for a socket: closed once, at the latest when nothing refers to it.

    `is_tcp` is false for a pair, which ends as Unix sockets do: a peer's close is seen at once, and unread bytes do not reset.
    """

    def __init__(self, incoming: Line, outgoing: Line, addresses: tuple[Any, Any], is_tcp: bool) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        self.addresses = addresses
        self.is_tcp = is_tcp
        self.is_open: bool = True
        self.resets: bool = False
        self.input_shut: bool = False
        self._process = FORK.generation

    def check(self) -> None:
        """Raise an error in a forked child, and where it is closed."""
        if self._process != FORK.generation:
            raise inherited("stream")
        if not self.is_open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def input_state(self) -> int:
        """Return how many bytes can be received, ENDED or WOULD_WAIT."""
        line = self.incoming
        return len(line.data) or (ENDED if line.ended or line.failed or self.input_shut else WOULD_WAIT)

    def is_broken(self) -> bool:
        """Return whether nothing can be sent any more."""
        return self.incoming.failed or self.outgoing.finished or (self.outgoing.deserted and not self.is_tcp)

    def close(self, abort: bool = False) -> None:
        """Close it; the peer sees an end, or with `abort` a reset."""
        if not self.is_open or self._process != FORK.generation:
            return
        self.is_open = False
        hold = self.incoming.filled.hold
        if hold.may_use_loop():
            _close(self.incoming, self.outgoing, abort or self.resets, self.is_tcp)
        else:
            hold.run_there(partial(_close, self.incoming, self.outgoing, abort or self.resets, self.is_tcp))

    def __del__(self) -> None:
        self.close()


def _close(incoming: Line, outgoing: Line, abort: bool, is_tcp: bool) -> None:
    if abort or (is_tcp and incoming.data):
        outgoing.reset()
    else:
        outgoing.finish()
    incoming.leave()
    incoming.filled.close()  # its timer ends
    outgoing.drained.close()


ADDRESSES = (("memory", 1), ("memory", 2))
"""The addresses of a `memory_pair`."""


class MemoryTransport(Transport):
    """One end of a connection in memory: of a `memory_pair`, or of a `MemoryNetwork`."""

    def __init__(self, end: MemoryEnd, socket: Any = None) -> None:
        Transport.__init__(self)
        self._end = end
        self._socket = socket
        self._peer_address = end.addresses[1]
        self._is_open = True

    @property
    def peer(self) -> str:  # type: ignore[override]  # read only here
        return address_name(self._peer_address)

    def _check(self) -> None:
        if not self._is_open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._end.check()

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        self._check()
        line = self._end.incoming
        count = min(len(space) - start, len(line.data))
        if count:
            with memoryview(line.data) as view:
                space[start : start + count] = view[:count]
            counts.append(count)
            line.take(count)
            self.received += count
            self.emptied: bool = not line.data
            return count
        if not line.ended:
            line.raise_failure()
        return self._end.input_state()

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        self._check()
        self._end.incoming.raise_failure()
        if self._end.is_broken():
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return self._end.outgoing.put(data, start, stop)

    def readable(self) -> int:
        self._check()
        return self._end.input_state()

    def wait_input(self, timeout: float) -> bool:
        self.emptied = False
        return self.readable() != WOULD_WAIT or self._end.incoming.filled.wait(timeout)

    def watch_input(self, handler: EventHandler, timeout: float) -> bool:
        self.emptied = False
        return self.readable() == WOULD_WAIT and self._end.incoming.filled.watch(handler, timeout)

    def wait_output(self, timeout: float) -> bool:
        line = self._end.outgoing
        return line.room() > 0 or self._end.is_broken() or line.drained.wait(timeout)

    def input_wakeup(self) -> Wakeup:
        return self._end.incoming.filled

    def output_wakeup(self) -> Wakeup:
        return self._end.outgoing.drained

    def end_output(self) -> int:
        self._check()
        if self._end.is_tcp and self._end.incoming.failed:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self._end.outgoing.finish()
        return 0

    def end_input(self) -> None:
        self._end.input_shut = True
        self._end.incoming.filled.fire()

    def discard(self) -> int:
        self._check()
        return self.recv_into(memoryview(bytearray(BLOCK)), 0, [])

    def not_yet_sent(self) -> int:
        return self._end.outgoing.not_yet_sent()

    def unread(self) -> int:
        return len(self._end.incoming.data)

    def is_open(self) -> bool:
        return self._is_open and self._end.is_open

    def addresses(self) -> tuple[Any, Any]:
        return self._end.addresses[0], self._peer_address

    def rename_peer(self, address: Any) -> None:
        """Set the address of the peer: that of the client whose connection a proxy forwards."""
        self._peer_address = address

    def socket(self) -> Any:
        """Return the socket that it was made from; None for one of a pair."""
        return self._socket

    def hand_back(self) -> Any:
        """Return the socket, open. This transport is closed."""
        self._is_open = False
        self.wake()
        return self._socket

    def close(self, abort: bool = False) -> None:
        if self._is_open:
            self._is_open = False
            self._end.close(abort)

    def reset_at_end(self) -> None:
        self._end.resets = True

    def close_in_child(self) -> None:
        self._is_open = False

    def __del__(self) -> None:
        self.close()


def memory_pair(capacity: int = BLOCK) -> tuple[Transport, Transport]:
    """Return two connected transports in memory.

    Args:
        capacity: How many sent bytes each direction holds until they are received.

    Raises:
        ValueError: `capacity` is not positive.
    """
    options = LineOptions(window=arguments.positive("capacity", capacity))
    there, back = (Line(options, Random(0)) for _ in range(2))
    join(there, back)
    near, far = MemoryEnd(back, there, ADDRESSES, is_tcp=False), MemoryEnd(there, back, ADDRESSES[::-1], is_tcp=False)
    return MemoryTransport(near), MemoryTransport(far)
