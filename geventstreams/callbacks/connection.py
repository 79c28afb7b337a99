"""The socket of the callback half: a connection that calls back when bytes arrive, when its output was sent, and when it ends."""

# Theory: phases.py. How it sends and closes is in sending.py; here is what users and streams call, and what the pump serves, in one
# greenlet at a time. Invariants:
#
# * Everything that calls back is in `_serve` and what that calls.
# * Only `drain`, `_connect` and callbacks wait. `_serve` returns instead.
# * From FAILED on nothing is received.

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gevent import GreenletExit, getcurrent

from geventstreams._constants import ENDED, FRESH, NEVER, SOME, START, WOULD_WAIT
from geventstreams._core import arguments
from geventstreams._core.clock import deadline_after, seconds_until
from geventstreams._core.fairness import Fairness
from geventstreams._core.living import show_waits_in
from geventstreams._core.transport_base import Transport
from geventstreams._core.wakeup import Wakeup
from geventstreams._streams.buffered import engine_of
from geventstreams._streams.states import TOLD
from geventstreams._streams.summary import summary_of
from geventstreams.callbacks.connecting import Attempt, Opener
from geventstreams.callbacks.events import TCPEOF, event_for
from geventstreams.callbacks.options import ConnectionOptions, bytes_to_send
from geventstreams.callbacks.phases import BROKEN, CLOSED, CLOSING, CLOSING_EARLY, CLOSING_QUIETLY, CONNECTING, FAILED, OPEN, Phase
from geventstreams.callbacks.push_mode import PushedEngine
from geventstreams.callbacks.sending import SendingConnection
from geventstreams.errors import ReadTimeout, StreamBusy, StreamClosed, StreamError, from_system, in_bytes, in_seconds, renewed

if TYPE_CHECKING:
    from geventstreams._types import Address, AnyReadCallback, AsyncIOStream, EventCallback, MaybeNone, ReadableBuffer, SocketCallback


class AsyncSocket(SendingConnection):
    """A connection that calls back. `tcp_connect`, `pipe_connect` and the servers of this half make them.

    Received bytes are passed to the read callback, or kept in `stream`. All methods may be called from callbacks and from other greenlets
    of the same thread; only `drain` waits. In a forked child, and in another thread, they raise `StreamError`.

    Source of the contract: cl-async's `socket`.

    Attributes:
        data: Any object of the application's; None at first.
    """

    def __init__(self, options: ConnectionOptions, transport: Transport | None = None, opener: Opener | None = None, peer: str = "peer",
                 on_closed: Callable[[Any], object] | None = None) -> None:
        SendingConnection.__init__(self, options, transport, opener, peer, on_closed)
        self._pump.hold.tell_end_to(self, AsyncSocket._thread_has_ended)
        self.data: Any = None
        self._options: Any = options
        self._read_cb = options.read_cb
        self._event_cb = options.event_cb
        self._draining = options.draining
        self._high_water = options.high_water
        self._low_water = options.low_water
        self._has_stream = False
        self._paused = False
        self._full = False
        self._input_ended = False
        self._read_deadline = 0.0
        self._received = 0
        self._fairness = Fairness()

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

    # Serving.

    def _serve(self) -> None:
        goes_on = False
        try:
            if self._resting:
                self._resting = False
                self._engine.keep_back(False)
                self._read_deadline = 0.0
                self._fairness.state = FRESH
            if not self._is_established() and self._engine.is_of_this_process():
                self._establish()
            goes_on = self._take_turns() or self._end()
        except BaseException:  # noqa: BLE001  # a read callback raised, or a signal handler, or this greenlet was killed
            if self._engine.is_of_this_process():
                self._engine.keep_received(self._pump.block)
                self._callback_failed()
                goes_on = self._end()
        if not goes_on:
            self._leave()

    def _take_turns(self) -> bool:
        """Receive and call back while the connection is open. Return whether it is still open, and has to wait."""
        while OPEN <= self._phase <= BROKEN and self._engine.is_of_this_process():
            if self._sent:
                self._sent = False
                if self._write_cb is not None and not self._engine.to_send():
                    self._call(self._write_cb, self)
            elif self._engine.closed or (self._input_ended and self._engine.output_state == TOLD):
                self._close_quietly()
            elif self._wants_input():
                if not self._receive():
                    return True
            elif self._phase == BROKEN:
                self._end_with_failure()
            else:
                self._rest()
                return True
        return False

    def _end(self) -> bool:
        """Report what ended the connection. Return whether it still has to be closed, in the background."""
        if not self._engine.is_of_this_process():
            return False
        if CLOSING_EARLY <= self._phase < FAILED:
            self._rest()
            return True
        if self._phase == FAILED:
            self._move(CLOSED)
            self._report_event(event_for(self._error(), self))
        return False

    def _disarm(self) -> None:
        wakeup = self._engine.transport.input_wakeup()
        if wakeup.waiter is None and wakeup.listeners is None:  # else a greenlet waits for input: a callback's, or the sender under TLS
            wakeup.disarm()

    def _flush(self) -> None:
        if self._engine.queued:
            self._send()

    def _leave(self) -> None:
        if not self._engine.is_of_this_process():
            self._close_in_child()
        else:
            self._close_quietly()
        self._finished = True
        self._read_cb = self._event_cb = self._write_cb = self._attempt = self._options = None

    def _thread_has_ended(self) -> None:
        """Close at once: nothing runs this connection any more. Called by the hub's hold when its thread ends."""
        if self._phase < FAILED:
            self._engine.disconnect(False)
            self._drop(False)
        self._leave()
        self._pump.settle(self)

    # Connecting.

    def _establish(self) -> None:
        """Wait until the connection is established, and call back, unless it is not wanted any more."""
        if self._attempt is not None and not self._connect(self._attempt):
            return
        if self._phase == CLOSING_EARLY:
            self._move(CLOSING)
            self._finish_output()
        if self._phase == CONNECTING:
            self._move(OPEN)
            if self._engine.queued:
                self._send_again()
            elif not self._accepts:
                self._finish_output()  # which was ended before
            if self._options.connect_cb is not None:
                self._call(self._options.connect_cb, self._stream if self._options.stream else self)

    def _connect(self, attempt: Attempt) -> bool:
        try:
            opened = attempt.run()
        except OSError as error:
            self._fail_to_connect(from_system(error, "connecting to", self._engine.peer, self._stream))
            return False
        except BaseException:  # a callback of the TLS arguments raised, or this greenlet was killed
            self._drop(False)
            raise
        if opened is not None:
            self._engine.adopt(engine_of(opened))
        return opened is not None

    # Receiving.

    def _wants_input(self) -> bool:
        if not self._draining:
            held = self._engine.input.end - self._engine.input.start
            self._full = held > self._high_water or (self._full and held >= self._low_water)
        return not (self._paused or self._full or self._input_ended)

    def _receive(self) -> bool:
        """Deliver what the system has; where it has nothing, send what is left to send. Return False to wait for the next event."""
        count = WOULD_WAIT
        if self._draining and self._engine.input.end != self._engine.input.start:  # `detach_ssl` has put it there
            return self._deliver(self._engine.input.take(self._engine.input.end - self._engine.input.start))
        if not self._engine.transport.emptied or self._phase == BROKEN:
            count = self._engine.receive(self._pump.block, 0, SOME) if self._draining else self._engine.receive_portion()
        if count > 0:
            if self._draining:
                return self._deliver(self._engine.cut_received(self._pump.block, count))
            self._has_stream = True
            return self._deliver(self._stream)
        if count == ENDED:
            self._receive_end()
        elif self._phase == BROKEN:
            self._end_with_failure()
        elif self._sender is None and (self._engine.queued or self._engine.transport.unsent):
            self._send()
        else:
            return self._await_input()
        return True

    def _deliver(self, data: Any) -> bool:
        """Call back with what has arrived. Return False if others come first."""
        if self._read_cb is not None:
            self._read_cb(self, data)
        if self._engine.queued:
            self._send()
        if not self._engine.transport.emptied and self._fairness.is_due(self._engine.hub):
            self._pump.add_later(self)
            return False
        return True

    def _await_input(self) -> bool:
        """Have the next input reported. Return False if that is so; close if there was none until the read timeout."""
        if self._engine.input.store is not None:
            self._engine.input.settle()
        self._fairness.state = FRESH
        if not self._read_deadline or self._received != self._engine.transport.received:
            self._read_deadline = deadline_after(self._engine.read_limit)
            self._received = self._engine.transport.received
        left = seconds_until(self._read_deadline)
        if left > 0:
            return not self._engine.transport.watch_input(self, left)
        error = ReadTimeout(f"nothing arrived from {self._engine.peer} for {in_seconds(self._engine.read_limit)}", stream=self._stream)
        self._engine.end_with(error)
        self._close_quietly()
        self._report_event(event_for(error, self))
        return True

    def _rest(self) -> None:
        """Receive nothing until `_wake`."""
        self._engine.keep_back(self._full)
        self._engine.input.settle()
        self._resting = True

    def _set_paused(self, paused: bool) -> None:
        self._engine.refuse_elsewhere()
        self._paused = paused
        self._wake()

    def _end_input(self) -> None:
        self._input_ended = True
        self._wake()

    def _receive_end(self) -> None:
        """The input has ended, in order or in an error."""
        error = self._engine.ending()
        if error is not None:
            self._fail(error)
        if self._failure is not None:
            self._end_with_failure()
            return
        self._input_ended = True
        event = TCPEOF(f"end of file from {self._engine.peer}", self)
        if not self._options.half_close:
            self._close_quietly()
        self._report_event(event)

    def _end_with_failure(self) -> None:
        """Close because of an error, when all that arrived before it was delivered. `_end` calls back, except for an error of TLS."""
        error = self._error()
        self._engine.end_with(error)
        if self._phase >= CLOSING_EARLY:  # a signal handler closed it just now
            self._drop(False)
            return
        self._engine.disconnect(True)
        if isinstance(error, ssl.SSLError):  # the alert that says why is on its way
            self._move(CLOSING_QUIETLY)
            self._engine.output_state = TOLD
            self._shut_down()
            self._report_event(event_for(error, self))
        else:
            self._drop(isinstance(error, TimeoutError))

    # Calling back.

    def _call(self, callback: Any, argument: Any) -> None:
        try:
            callback(argument)
        except BaseException:  # noqa: BLE001  # everything that a callback raises goes to the hub
            self._callback_failed()
        self._flush()

    def _callback_failed(self) -> None:
        """Pass the exception of a callback to the hub, and close the connection."""
        kind, error, traceback = sys.exc_info()
        if isinstance(error, GreenletExit):
            self._killed = True
        else:
            self._engine.hub.handle_error(self, kind, error, traceback)
        self._close_quietly()

    def _report_event(self, event: Any) -> None:
        if self._event_cb is not None:
            self._call(self._event_cb, event)
        elif event.error is not None:
            self._engine.hub.handle_error(self, type(event.error), event.error, None)

    def _refuse_outside_callbacks(self) -> None:
        if getcurrent() is not self._greenlet:
            raise StreamBusy(f"{self!r} receives: this is for its callbacks", stream=self._stream)


show_waits_in(AsyncSocket, AsyncSocket._waits)
