"""The socket of the callback half: a connection that calls back when bytes arrive, when its output was sent, and when it ends."""

# What it does by itself is in sending.py and receiving.py; here is what users and streams call. Invariant: only `drain` waits.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geventstreams._constants import NEVER, START
from geventstreams._core import arguments
from geventstreams._core.living import show_waits_in
from geventstreams._core.wakeup import Wakeup
from geventstreams._streams.summary import summary_of
from geventstreams.callbacks.options import bytes_to_send
from geventstreams.callbacks.phases import CLOSING, CLOSING_EARLY, FAILED, OPEN, Phase
from geventstreams.callbacks.push_mode import PushedEngine
from geventstreams.callbacks.receiving import ReceivingConnection
from geventstreams.errors import StreamClosed, StreamError, in_bytes, renewed

if TYPE_CHECKING:
    from geventstreams._types import Address, AnyReadCallback, AsyncIOStream, EventCallback, MaybeNone, ReadableBuffer, SocketCallback


class AsyncSocket(ReceivingConnection):
    """A connection that calls back. `tcp_connect`, `pipe_connect` and the servers of this half make them.

    Received bytes are passed to the read callback, or kept in `stream`. All methods may be called from callbacks and from other greenlets
    of the same thread; only `drain` waits. In a forked child, and in another thread, they raise `StreamError`.

    Source of the contract: cl-async's `socket`.

    Attributes:
        data: Any object of the application's; None at first.
    """

    # For its user.

    @property
    def closed(self) -> bool:
        """Whether the connection is closed, by us or by what an event reports."""
        return self._phase >= CLOSING_EARLY

    @property
    def stream(self) -> AsyncIOStream | MaybeNone:
        """The socket's `AsyncIOStream`; None while received bytes are passed to the read callback."""
        if not self._has_stream and self._draining:
            return None
        self._has_stream = True
        return self._stream

    @property
    def unsent(self) -> int:
        """How many bytes were written and are not yet with the system. Under TLS all of a record count until the last is."""
        return self._engine.unsent()

    @property
    def address(self) -> Address:
        """Our end, as `getsockname` gives it; None before the connection is established."""
        return self._stream.address

    @property
    def peer_address(self) -> Address:
        """The other end, as `getpeername` gives it; None before the connection is established."""
        return self._stream.peer_address

    def fileno(self) -> int:
        """Return the descriptor, or -1 before the connection is established and after it was closed."""
        return int(self._stream.fileno())

    def write(self, data: ReadableBuffer | str, start: int = 0, end: int | None = None) -> bool:
        """Queue `data[start:end]`, to be sent in this turn of the hub, behind everything that was written before. Never waits.

        Source of the contract: cl-async's `write-socket-data`.

        Args:
            data: A bytes-like object, or a string, which is sent as UTF-8.
            start: The first element to send.
            end: The element behind the last one to send; None for all.

        Returns:
            False if more than `high_water` bytes are unsent now: `write_cb` is called when they are sent, and `drain` waits for it.

        Raises:
            StreamClosed: The socket is closed, or its output was ended.
        """
        if not self._accepts:
            raise StreamClosed(f"the connection to {self._engine.peer} is closed for writing", stream=self._stream)
        if type(data) is bytes and start is START and end is None:
            message: bytes = data
            self._engine.enqueue(message, len(message))
        else:
            view = bytes_to_send(data, start, end)
            self._engine.enqueue(view, len(view))
        return self._engine.unsent() <= self._high_water

    def drain(self) -> None:
        """Wait until everything that was written is with the system.

        Raises:
            StreamError: The output cannot be sent: the error that ended the connection, or `StreamClosed`; `unsent` bytes are lost.
        """
        self._engine.refuse_elsewhere()
        while self._engine.to_send() and self._phase < FAILED and self._failure is None:
            if self._sender is None and self._is_established():
                self._send()
            else:
                if self._drained is None:
                    self._drained = Wakeup(self._engine.hub)
                self._drained.wait(NEVER)
        if self._lost:
            if self._failure is None:
                raise StreamClosed(f"the connection to {self._engine.peer} was closed", stream=self._stream, unsent=self._lost)
            raise renewed(self._failure, self._stream, self._lost)

    def pause(self) -> None:
        """Receive nothing, and call nothing back for input, until `resume`. The read timeout does not run meanwhile."""
        self._set_paused(True)

    def resume(self) -> None:
        """End a pause."""
        self._set_paused(False)

    def set_timeouts(self, read: float | None, write: float | None) -> None:
        """Set both timeouts anew; waits that are under way obey them.

        Source of the contract: cl-async's `set-socket-timeouts`.

        Args:
            read: Seconds without input after which the connection is closed; None for no timeout.
            write: Seconds without progress while sending after which the connection is closed; None for no timeout.

        Raises:
            StreamClosed: The socket is closed.
        """
        read_limit = arguments.seconds("read", read)
        write_limit = arguments.seconds("write", write)
        self._engine.refuse_elsewhere()
        if self.closed:
            raise StreamClosed(f"the connection to {self._engine.peer} is closed", stream=self._stream)
        self._engine.read_limit, self._engine.write_limit = read_limit, write_limit
        self._read_deadline = self._write_deadline = 0.0
        self._wake()

    def set_callbacks(self, read_cb: AnyReadCallback | None = None, event_cb: EventCallback | None = None,
                      write_cb: SocketCallback | None = None) -> None:
        """Replace callbacks; None leaves one as it is."""
        self._engine.refuse_elsewhere()
        for name, callback in (("read_cb", read_cb), ("event_cb", event_cb), ("write_cb", write_cb)):
            arguments.callback(name, callback)
        if read_cb is not None:
            self._read_cb = read_cb
        if event_cb is not None:
            self._event_cb = event_cb
        if write_cb is not None:
            self._write_cb = write_cb

    def close(self, force: bool = False) -> None:
        """Close the connection, and return at once. A second call does nothing, except that one with `force` ends the first.

        What was written is sent first, then the end of the output. A peer that takes nothing for `write_timeout` seconds meanwhile
        (`linger_timeout` where there is none) sees a reset instead. Nothing is called back any more, except the event of output that could
        not be delivered. In another thread, once the connection's own has ended, what is unsent is dropped.

        Source of the contract: cl-async's `close-socket`.

        Args:
            force: Drop what is unsent; the peer sees a reset (on a Unix socket, an end).
        """
        if self._phase >= FAILED:
            return
        if not self._engine.is_of_this_process():
            self._close_in_child()
            return
        is_left = self._pump.hold.ended or (self._pump.hold.is_here() and self._is_left())
        if is_left:
            self._sender = None  # nothing resumes it
        else:
            self._engine.refuse_elsewhere()
        self._engine.disconnect(False)
        if force or is_left:
            self._drop(force)
        else:
            self._begin_closing(CLOSING)

    def __repr__(self) -> str:
        state = f"fd={self._engine.transport.fileno()}" if self._phase == OPEN else Phase(self._phase).name.lower().replace("_", " ")
        more = f" {summary_of(self._engine)}" if self._phase == OPEN else ""
        return f"<{type(self).__name__} {state} peer={self._engine.peer}{more}>"

    def _waits(self, hub: Any) -> list[tuple[Any, str]]:
        """Return what waits for input here, as `BufferedStream` does: the connection itself, which has no greenlet meanwhile."""
        if self._engine.hub is not hub or not self._counted or self._resting or self._pump.hold.ended:
            return []
        return [(self, f"receives from {self._engine.peer}, {in_bytes(len(self._engine.input))} buffered")]

    # For its stream.

    def _claim_engine(self) -> PushedEngine:
        """Return the engine for a stream; StreamError where a stream was given out already, or the connection is closed."""
        if self.closed:
            raise StreamClosed(f"socket {self!r} is closed")
        if self._has_stream:
            raise StreamError(f"socket {self!r} has a stream already: {self._stream!r}", stream=self._stream)
        return self._engine

    def _set_stream(self, stream: Any) -> None:
        if self._stream is None:  # only the first time
            self._has_stream = self._options.stream
        else:
            self._has_stream = True
            self._draining = self._draining and not stream.readable()
        self._stream = stream


show_waits_in(AsyncSocket, AsyncSocket._waits)
