"""The socket of the callback half: a connection that calls back when bytes arrive, when its output was sent, and when it ends."""

# Theory: phases.py. Invariants:
#
# * Everything that calls back is in `_serve` and what that calls; `_phase` changes only in `_move`, and `_output` only upwards.
# * Of what this file does in a greenlet that is not the user's only three functions wait: `_connect`, which has a greenlet of its own,
#   `_send_in_background` and `_shut_down_in_background`. `_serve` returns instead.
# * `_sender` is the greenlet of one of the latter two; while there is one, nothing else sends.
# * From FAILED on nothing is received or sent.

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
from gevent import GreenletExit, get_hub, getcurrent

import geventstreams._native.syscalls as _system
from geventstreams._constants import ENDED, NEVER, WOULD_WAIT
from geventstreams._core import arguments
from geventstreams._core.deadline import deadline_after, seconds_until
from geventstreams._core.fairness import Fairness
from geventstreams._core.fork import inherited
from geventstreams._core.linger import linger
from geventstreams._core.run_info import show_waits_in
from geventstreams._core.transport_base import Transport
from geventstreams._core.wakeup import Wakeup, hold_of
from geventstreams._streams.buffered import engine_of
from geventstreams._streams.summary import summary_of
from geventstreams.callbacks.connecting import Attempt, Opener, Unconnected
from geventstreams.callbacks.events import end_of_file, event_for
from geventstreams.callbacks.options import ConnectionOptions, bytes_to_send
from geventstreams.callbacks.phases import (
    ACCEPTING,
    BROKEN,
    CLOSED,
    CLOSING,
    CLOSING_EARLY,
    CLOSING_QUIETLY,
    CONNECTING,
    FAILED,
    FINISHED,
    FINISHING,
    OPEN,
    TRANSITIONS,
    Phase,
)
from geventstreams.callbacks.pump import Task
from geventstreams.callbacks.push_mode import PushedEngine
from geventstreams.errors import (
    ConnectTimeout,
    ReadTimeout,
    StreamBusy,
    StreamClosed,
    StreamError,
    TLSError,
    WriteTimeout,
    from_system,
    in_bytes,
    in_seconds,
    noted,
    renewed,
)

if TYPE_CHECKING:
    from geventstreams._types import (
        Address,
        AsyncIOStream,
        BytesCallback,
        EventCallback,
        MaybeNone,
        ReadableBuffer,
        SocketCallback,
        StreamCallback,
    )


class AsyncSocket(Task):
    """A connection that calls back. `tcp_connect`, `pipe_connect` and the servers of this half make them.

    Received bytes are passed to the read callback, or kept in `stream`. All methods may be called from callbacks and from other greenlets
    of the same thread; only `drain` waits. In a forked child, and in another thread, they raise `StreamError`.

    Source of the contract: cl-async's `socket`.

    Attributes:
        data: Any object of the application's; None at first.
    """

    def __init__(self, options: ConnectionOptions, transport: Transport | None = None, opener: Opener | None = None, peer: str = "peer",
                 on_closed: Callable[[AsyncSocket], object] | None = None) -> None:
        self._hub = get_hub()
        Task.__init__(self, self._hub)
        self._hold = hold_of(self._hub)
        self._hold.tell_end_to(self, AsyncSocket._thread_has_ended)
        self._loop = self._hub.loop
        self._transport = Unconnected(peer) if transport is None else transport
        self._engine = PushedEngine(self, self._transport, options.read_limit, options.write_limit, options.linger_limit)
        self._stream: Any = None  # the maker makes one at once, see `_start`
        self._phase = CONNECTING
        self._options: Any = options
        self._read_cb = options.read_cb
        self._event_cb = options.event_cb
        self._write_cb = options.write_cb
        self._attempt = None if opener is None else Attempt(opener)
        self._on_closed = on_closed
        self._failure: tuple[Any, ...] | None = None
        self.data: Any = None
        # Input.
        self._draining = options.draining
        self._high_water = options.high_water
        self._low_water = options.low_water
        self._read_limit = options.read_limit
        self._paused = False
        self._full = False
        self._checking = False
        self._input_ended = False
        self._read_deadline = 0.0
        self._received = 0
        self._fairness = Fairness()
        # Output.
        self._output = ACCEPTING
        self._write_limit = options.write_limit
        self._write_deadline = 0.0
        self._linger_limit = options.linger_limit
        self._sender: Any = None
        self._sent = False
        self._lost = 0
        self._drained: Wakeup | None = None
        self._has_stream = False

    def _start(self) -> None:
        """Begin to connect, or to receive. Called once, by the maker, behind `AsyncIOStream(socket, ...)`."""
        if self._attempt is None:
            self._begin()
        else:
            self._begin_waiting()

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
        """How many bytes were written and are not yet with the system."""
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
        if self._output != ACCEPTING:
            raise StreamClosed(f"the connection to {self._transport.peer} is closed for writing", stream=self._stream)
        if type(data) is bytes and type(start) is int and start == 0 and end is None:
            self._engine.enqueue(data, len(data))
        else:
            view = bytes_to_send("data", data, start, end)
            self._engine.enqueue(view, len(view))
        return self._engine.unsent() <= self._high_water

    def drain(self) -> None:
        """Wait until everything that was written is with the system.

        Raises:
            StreamError: The output cannot be sent: the error that ended the connection, or `StreamClosed`; `unsent` bytes are lost.
        """
        self._refuse_thread()
        while self._engine.unsent() and self._phase < FAILED and self._failure is None:
            if self._sender is None and self._is_established():
                self._send()
            else:
                if self._drained is None:
                    self._drained = Wakeup(self._hub)
                self._drained.wait(NEVER)
        if self._lost:
            if self._failure is None:
                raise StreamClosed(f"the connection to {self._transport.peer} was closed", stream=self._stream, unsent=self._lost)
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
        self._refuse_thread()
        if self.closed:
            raise StreamClosed(f"the connection to {self._transport.peer} is closed", stream=self._stream)
        self._read_limit = read_limit
        self._write_limit = write_limit
        self._read_deadline = self._write_deadline = 0.0
        self._engine.note_limits(read_limit, write_limit)
        self._wake()

    def set_callbacks(self, read_cb: BytesCallback | StreamCallback | None = None, event_cb: EventCallback | None = None,
                      write_cb: SocketCallback | None = None) -> None:
        """Replace callbacks; None leaves one as it is."""
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
        if self._hold.ended:
            self._thread_has_ended()
            return
        self._refuse_thread()
        self._engine.disconnect(False)
        if force:
            self._drop(True)
        else:
            self._begin_closing(CLOSING)

    def __repr__(self) -> str:
        state = f"fd={self._transport.fileno()}" if self._phase == OPEN else Phase(self._phase).name.lower().replace("_", " ")
        more = f" {summary_of(self._engine)}" if self._phase == OPEN else ""
        return f"<{type(self).__name__} {state} peer={self._transport.peer}{more}>"

    def _waits(self, hub: Any) -> list[tuple[Any, str]]:
        """Return what waits for input here, as `BufferedStream` does: the connection itself, which has no greenlet meanwhile."""
        if self._hub is not hub or not self._counted or self._resting or self._hold.ended:
            return []
        return [(self, f"receives from {self._transport.peer}, {in_bytes(len(self._engine.input))} buffered")]

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

    def _set_transport(self, transport: Transport) -> None:
        self._transport = transport

    def _refuse_outside_callbacks(self) -> None:
        if getcurrent() is not self._greenlet:
            raise StreamBusy(f"{self!r} receives: this is for its callbacks", stream=self._stream)

    def _taken(self) -> None:
        if not self._checking:
            self._checking = True
            self._loop.run_callback(self._check_low_water)

    def _check_low_water(self) -> None:
        """Receive again if enough was taken from the buffer in this turn."""
        self._checking = False
        if len(self._engine.input) < self._low_water:
            self._wake()

    def _end_input(self) -> None:
        self._input_ended = True
        self._wake()

    # State.

    def _move(self, phase: int) -> None:
        assert phase in TRANSITIONS[self._phase], f"{self!r} became {Phase(phase).name}"
        self._phase = phase

    def _is_established(self) -> bool:
        return self._phase not in (CONNECTING, CLOSING_EARLY)

    def _set_paused(self, paused: bool) -> None:
        self._refuse_thread()
        self._paused = paused
        self._wake()

    def _refuse_thread(self) -> None:
        """Raise StreamError in a forked child, and in another thread than the connection's."""
        if not self._engine.is_of_this_process():
            raise inherited("connection")
        if self._hold.thread != _system.thread_id():
            raise StreamError("this connection belongs to the hub of another thread")

    def _wake(self) -> None:
        """Have those look at the state again that serve it, and that send in the background."""
        if self._sender is not None:
            self._transport.wake()
        self._wake_up()

    # Serving.

    def _serve(self) -> None:
        try:
            if self._engine.is_of_this_process() and self._go_on():
                return
        except BaseException:  # noqa: BLE001  # a signal handler raised, or this greenlet was killed
            if self._engine.is_of_this_process():
                self._report()
        self._leave()

    def _go_on(self) -> bool:
        """Do all that can be done now. Return whether the connection goes on: an event, or `_wake`, comes next."""
        if self._resting:
            self._end_rest()
        if not self._is_established():
            self._establish()
        return self._take_turns() or self._end()

    def _take_turns(self) -> bool:
        """Receive and call back while the connection is open. Return whether it is still open, and has to wait."""
        while OPEN <= self._phase <= BROKEN and self._engine.is_of_this_process():
            if self._sent:
                self._sent = False
                if self._write_cb is not None and not self._engine.unsent():
                    self._call(self._write_cb, self)
            elif self._engine.lost() or (self._input_ended and self._output == FINISHED):
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
        wakeup = self._transport.input_wakeup()
        if wakeup.waiter is None:  # else a callback waits for input, as in `attach_ssl`
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
                self._loop.run_callback(self._send)
            if self._options.connect_cb is not None:
                self._call(self._options.connect_cb, self._stream if self._options.stream else self)

    def _connect(self, attempt: Attempt) -> bool:
        try:
            opened = attempt.run()
        except OSError as error:
            self._fail_to_connect(from_system(error, "connecting to", self._transport.peer, self._stream))
            return False
        except BaseException:  # noqa: BLE001  # a callback of the TLS arguments raised, or this greenlet was killed
            self._report()
            self._drop(False)
            return False
        if opened is None:
            return False
        self._engine.adopt(engine_of(opened))
        return True

    def _fail_to_connect(self, error: StreamError) -> None:
        self._fail(error)
        self._engine.end_with(error)
        self._drop(False)

    def _give_up(self) -> None:
        """Called when a connection that was closed early is not established in time."""
        self._fail_to_connect(ConnectTimeout(f"connecting to {self._transport.peer}: no answer in time", stream=self._stream))

    def _wants_input(self) -> bool:
        held = self._engine.input.end - self._engine.input.start
        self._full = held > self._high_water or (self._full and held >= self._low_water)
        return not (self._paused or self._full or self._input_ended)

    def _receive(self) -> bool:
        """Deliver what the system has; where it has nothing, send what is left to send. Return False to wait for the next event."""
        count = WOULD_WAIT
        if not self._transport.emptied or self._phase == BROKEN:
            try:
                count = self._engine.receive(None, 0, 0) if self._draining else self._engine.receive_portion()
            except OSError as error:
                self._fail(from_system(error, "reading from", self._transport.peer, self._stream))
                self._end_with_failure()
                return True
        if count > 0:
            return self._deliver()
        if count == ENDED:
            self._receive_end()
        elif self._phase == BROKEN:
            self._end_with_failure()
        elif self._engine.queued or (self._transport.unsent and self._sender is None):
            self._send()
        else:
            return self._await_input()
        return True

    def _deliver(self) -> bool:
        """Call back with what has arrived. Return False if others come first."""
        data: Any = self._stream
        if self._draining:
            data = self._engine.input.take(self._engine.input.end - self._engine.input.start)
        else:
            self._has_stream = True
        if self._read_cb is not None:
            try:
                self._read_cb(self, data)
            except BaseException:  # noqa: BLE001  # everything that a callback raises goes to the hub
                self._callback_failed()
        if self._engine.queued:
            self._send()
        if self._transport.emptied:
            self._fairness.waited()
        elif self._fairness.is_due(self._hub):
            self._pump.add_later(self)
            return False
        return True

    def _await_input(self) -> bool:
        """Have the next input reported. Return False if that is so; close if there was none until the read timeout."""
        self._engine.input.settle()
        self._fairness.waited()
        if not self._read_deadline or self._received != self._transport.received:
            self._read_deadline = deadline_after(self._read_limit)
            self._received = self._transport.received
        left = seconds_until(self._read_deadline)
        if left > 0:
            return not self._transport.watch_input(self, left)
        error = ReadTimeout(f"nothing arrived from {self._transport.peer} for {in_seconds(self._read_limit)}", stream=self._stream)
        self._engine.end_with(error)
        self._close_quietly()
        self._report_event(event_for(error, self))
        return True

    def _rest(self) -> None:
        """Receive nothing until `_wake`."""
        self._engine.keep_back(self._full)
        self._engine.input.settle()
        self._resting = True

    def _end_rest(self) -> None:
        self._resting = False
        self._engine.keep_back(False)
        self._read_deadline = 0.0
        self._fairness.waited()

    # Calling back.

    def _call(self, callback: Any, argument: Any) -> None:
        try:
            callback(argument)
        except BaseException:  # noqa: BLE001  # everything that a callback raises goes to the hub
            self._callback_failed()
        if self._engine.queued:
            self._send()

    def _callback_failed(self) -> None:
        """Pass the exception of a callback to the hub, and close the connection."""
        self._report()
        self._close_quietly()

    def _report(self) -> None:
        kind, error, traceback = sys.exc_info()
        if isinstance(error, GreenletExit):
            self._killed = True
        else:
            self._hub.handle_error(self, kind, error, traceback)

    def _report_event(self, event: Any) -> None:
        if self._event_cb is not None:
            self._call(self._event_cb, event)
        elif event.error is not None:
            self._hub.handle_error(self, type(event.error), event.error, None)

    # Sending.

    def _wrote(self) -> None:
        if self._phase != CONNECTING and not self._is_called_back():  # else it is sent when the callback returns or waits
            self._loop.run_callback(self._send)

    def _send(self) -> None:
        may_send = self._sender is None and self._failure is None and self._phase in (OPEN, CLOSING, CLOSING_QUIETLY)
        if may_send and self._engine.is_of_this_process():
            written, self._engine.queued = self._engine.queued, False
            try:
                if not self._engine.push():
                    self._sender = gevent.spawn(self._send_in_background)
                elif written:
                    self._all_sent()
            except OSError as error:
                self._sending_failed(error)
            except BaseException:  # a signal handler raised
                self._send_again()
                raise

    def _send_in_background(self) -> None:
        """Send as room comes what the system did not take at once, in a greenlet of its own."""
        try:
            self._wait_until_sent()
        except OSError as error:
            self._sender = None
            self._sending_failed(error)
        except BaseException:  # this greenlet was killed, or a signal handler raised
            self._sender = None
            self._send_again()
            raise
        else:
            self._sender = None
            self._engine.queued = False
            if self._phase < FAILED:
                self._all_sent()

    def _send_again(self) -> None:
        self._engine.queued = True
        self._loop.run_callback(self._send)

    def _wait_until_sent(self) -> None:
        """Wait until everything is with the system, or the connection was closed."""
        self._write_deadline = 0.0
        while self._phase < FAILED:
            if not self._write_deadline:
                self._write_deadline = deadline_after(self._output_limit())
            left = seconds_until(self._write_deadline)
            if left <= 0:
                raise WriteTimeout(f"{self._transport.peer} took nothing for {in_seconds(self._output_limit())}", stream=self._stream)
            self._transport.wait_output(left)
            if self._phase >= FAILED:
                return
            before = self._engine.unsent()
            if self._engine.push():
                return
            if self._engine.unsent() < before:
                self._write_deadline = 0.0

    def _output_limit(self) -> float:
        if self._phase >= CLOSING_EARLY and self._write_limit == NEVER:
            return self._linger_limit
        return self._write_limit

    def _all_sent(self) -> None:
        """Do what waits for the output to be sent: end it, close, or call `write_cb`."""
        if self._drained is not None:
            self._drained.fire()
        if self._phase >= CLOSING:
            self._shut_down()
        elif self._output != ACCEPTING:
            self._send_end()
        elif self._write_cb is not None:
            self._sent = True
            self._wake()

    def _sending_failed(self, error: OSError) -> None:
        """Accept nothing more. Input that arrived before is delivered before the event; a connection that is closing is closed now."""
        if not self._engine.is_of_this_process():
            self._close_in_child()
            return
        failure = from_system(error, "writing to", self._transport.peer, self._stream)
        failure.unsent = self._engine.unsent()
        self._fail(failure)
        if self._phase == OPEN:
            self._move(BROKEN)
            self._wake()
        else:
            self._drop(isinstance(failure, WriteTimeout))

    def _fail(self, error: StreamError) -> None:
        """Keep the first error that ends the connection, and accept no more output."""
        if self._failure is None:
            self._failure = noted(error)
            self._lost = self._engine.unsent()
        self._refuse_output()

    def _error(self) -> StreamError:
        return renewed(self._failure, self._stream, self._lost or None)  # type: ignore[arg-type]  # called after `_fail`

    def _refuse_output(self) -> None:
        if self._output == ACCEPTING:
            self._output = FINISHING
            self._engine.shut_output()
        if self._drained is not None:
            self._drained.fire()

    # Ending.

    def _end_output(self) -> None:
        if self._output == ACCEPTING:
            self._refuse_thread()
            self._refuse_output()
            self._finish_output()

    def _finish_output(self) -> None:
        """Send what is left, and the end behind it."""
        if self._is_established() and self._failure is None:
            if self._engine.unsent():
                self._engine.queued = True
                self._send()
            elif self._sender is None:
                self._all_sent()

    def _send_end(self) -> None:
        """Tell the peer that nothing more comes, and go on receiving."""
        try:
            if self._transport.end_output() == WOULD_WAIT:
                self._sender = gevent.spawn(self._send_in_background)
                return
        except OSError as error:
            self._sending_failed(error)
            return
        self._output = FINISHED
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
        event = end_of_file(self, self._transport.peer)
        if not self._options.half_close:
            self._close_quietly()
        self._report_event(event)

    def _end_with_failure(self) -> None:
        """Close because of an error, when all that arrived before it was delivered. `_run` calls back, except for an error of TLS."""
        error = self._error()
        self._engine.end_with(error)
        if self._phase >= CLOSING_EARLY:  # a signal handler closed it just now
            self._drop(False)
            return
        self._engine.disconnect(True)
        if isinstance(error, ssl.SSLError):  # the alert that says why is on its way
            self._move(CLOSING_QUIETLY)
            self._output = FINISHED
            self._shut_down()
            self._report_event(event_for(error, self))
        else:
            self._drop(isinstance(error, TimeoutError))

    def _close_quietly(self) -> None:
        """Close behind the final event, or in place of one: what was written is still sent. Nothing, if it is closed already."""
        if self._phase < CLOSING_EARLY:
            self._engine.disconnect(True)
            self._begin_closing(CLOSING_QUIETLY)

    def _begin_closing(self, phase: int) -> None:
        """Send what was written, then the end, then close; in the background where that has to wait."""
        if self._phase >= CLOSING_EARLY:  # a signal handler closed it just now
            return
        if not self._engine.is_of_this_process():
            self._close_in_child()
            return
        self._refuse_output()
        self._write_deadline = 0.0  # a closing connection has another timeout
        if self._phase != CONNECTING:
            self._move(phase)
            if self._failure is not None or not self._transport.is_open():
                self._drop(False)
            else:
                self._finish_output()
        elif self._engine.unsent():
            self._move(CLOSING_EARLY)
            if self._attempt is not None and self._output_limit() != NEVER:
                self._attempt.cancel_after(self._output_limit(), self._give_up)
        else:
            self._drop(False)
        self._wake()

    def _shut_down(self) -> None:
        """Everything is sent: end the output if that was not done, and close; in the background where that has to wait."""
        try:
            if self._output != FINISHED and self._transport.end_output() != WOULD_WAIT:
                self._output = FINISHED
            if self._output == FINISHED and not self._transport.unread() and not self._transport.not_yet_sent():
                self._drop(False)
                return
        except OSError:
            self._drop(False)
            return
        self._sender = gevent.spawn(self._shut_down_in_background)

    def _shut_down_in_background(self) -> None:
        """End the output when the transport takes it, linger while the system has bytes to send, and close."""
        try:
            while self._phase < FAILED and self._output != FINISHED:
                if self._transport.end_output() != WOULD_WAIT:
                    self._output = FINISHED
                elif not self._transport.wait_output(self._output_limit()):
                    break
            if self._phase < FAILED:
                linger(self._transport, self._linger_limit)
        except OSError:
            pass  # everything was sent: nothing is lost by a peer that is gone
        finally:
            self._sender = None
            self._drop(False)

    def _thread_has_ended(self) -> None:
        """Close at once: nothing runs this connection any more. Called by the hub's hold when its thread ends."""
        if self._phase < FAILED:
            self._engine.disconnect(False)
            self._drop(False)
        self._leave()
        self._pump.settle(self)

    def _close_in_child(self) -> None:
        """Close the descriptor of a forked child, and leave the connection to the parent."""
        if self._phase != CLOSED:
            self._move(CLOSED)
            self._transport.close_in_child()

    def _drop(self, abort: bool) -> None:
        """Close the descriptor and let go of everything. The peer sees a reset if `abort` says so, or if output is left over."""
        if self._phase >= FAILED:
            return
        if not self._engine.is_of_this_process():
            self._close_in_child()
            return
        held = self._engine.unsent()
        self._lost = max(self._lost, held)
        self._move(FAILED if self._failure is not None and self._phase != CLOSING_QUIETLY else CLOSED)
        tls_failed = self._failure is not None and issubclass(self._failure[0], TLSError)
        # The peer must not take a part for the whole. Where TLS has failed, the alert says so.
        self._transport.close(abort or (held > 0 and not tls_failed))
        if not self._engine.is_closed():
            self._engine.disconnect(True)
        self._engine.forget()
        self._refuse_output()
        if self._attempt is not None:
            self._attempt.cancel()
        self._wake()
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is not None:
            on_closed(self)


show_waits_in(AsyncSocket, AsyncSocket._waits)
