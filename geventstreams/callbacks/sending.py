"""The output of a connection of the callback half, and its end: nothing here calls back, and no caller waits."""

# Theory: phases.py. What is here may be called in any greenlet of the connection's thread. Invariants:
#
# * `_phase` changes only in `_move`; `_accepts` becomes False once.
# * Only `_send_in_background` and `_shut_down_in_background` wait. `_sender` is the greenlet of one of them; while there is one, nothing
#   else sends.
# * From FAILED on nothing is sent.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from gevent import get_hub

from geventstreams._constants import NEVER
from geventstreams._core.clock import deadline_after, seconds_until
from geventstreams._core.hub_hold import DESTROYED
from geventstreams._core.linger import linger
from geventstreams._core.transport import NoTransport
from geventstreams._core.transport_base import Transport
from geventstreams._core.wakeup import Wakeup
from geventstreams._streams.engine import UNMADE
from geventstreams.callbacks import phases
from geventstreams.callbacks.connecting import Attempt, Opener
from geventstreams.callbacks.options import ConnectionOptions
from geventstreams.callbacks.phases import BROKEN, CLOSED, CLOSING, CLOSING_EARLY, CLOSING_QUIETLY, CONNECTING, FAILED, OPEN
from geventstreams.callbacks.pump import Task
from geventstreams.callbacks.push_mode import NO_ENGINE, PushedEngine
from geventstreams.errors import ConnectTimeout, StreamError, TLSError, WriteTimeout, in_seconds, noted, renewed


class SendingConnection(Task):
    """Sends what its engine has queued, and closes behind it. `AsyncSocket` adds what calls back, and what users call."""

    def __cinit__(self) -> None:  # compiled code only: an object whose __init__() was not called says so
        self._engine: PushedEngine = NO_ENGINE
        self._stream: Any = UNMADE
        self._accepts = True

    def __init__(self, options: ConnectionOptions, transport: Transport | None, opener: Opener | None, peer: str,
                 on_closed: Callable[[Any], object] | None) -> None:
        Task.__init__(self, get_hub())
        self._engine = PushedEngine(self, NoTransport(peer=peer) if transport is None else transport, options.of_streams)
        self._stream = None  # the maker makes one at once, see `AsyncStream._claim`
        self._phase = CONNECTING
        self._write_cb = options.write_cb
        self._attempt = None if opener is None else Attempt(opener)
        self._on_closed = on_closed
        self._failure: tuple[Any, ...] | None = None
        self._accepts = True
        self._write_deadline = 0.0
        self._sender: Any = None
        self._sent = False
        self._lost = 0
        self._drained: Wakeup | None = None

    # State.

    def _move(self, phase: int) -> None:
        assert phase in phases.TRANSITIONS[self._phase], f"{self!r} became {phases.Phase(phase).name}"
        self._phase = phase

    def _is_established(self) -> bool:
        return self._phase not in (CONNECTING, CLOSING_EARLY)

    def _wake(self) -> None:
        """Have those look at the state again that serve it, and that send in the background."""
        if self._sender is not None:
            self._engine.transport.wake()
        self._wake_up()

    # Sending.

    def _wrote(self) -> None:
        """Called with the first of the bytes to be sent together, unless a callback writes them that has not waited."""
        if self._phase != CONNECTING:
            if self._is_left():
                raise StreamError(DESTROYED, stream=self._stream)
            self._pump.hold.loop.run_callback(self._send)

    def _is_left(self) -> bool:
        """Return whether the hub was destroyed; its loop may live on."""
        return self._engine.hub.loop is not self._pump.hold.loop

    def _send(self) -> None:
        may_send = self._sender is None and self._failure is None and self._is_established() and self._phase < FAILED
        # A call that sends is in progress where a signal handler within it closes the connection: that call sends all.
        if may_send and not self._engine.sending and self._engine.is_of_this_process():
            written, self._engine.queued = self._engine.queued, False
            try:
                if not self._engine.push():
                    self._sender = gevent.spawn(self._send_in_background)
                elif written or not self._accepts:
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
        self._pump.hold.loop.run_callback(self._send)

    def _wait_until_sent(self) -> None:
        """Wait until everything is with the system, or the connection was closed."""
        self._write_deadline = 0.0
        while self._phase < FAILED:
            if not self._write_deadline:
                self._write_deadline = deadline_after(self._output_limit())
            left = seconds_until(self._write_deadline)
            if left <= 0:
                raise WriteTimeout(f"{self._engine.peer} took nothing for {in_seconds(self._output_limit())}", stream=self._stream)
            self._engine.transport.wait_output(left)
            if self._phase >= FAILED:
                return
            before = self._engine.to_send()
            if self._engine.push():
                return
            if self._engine.to_send() < before:
                self._write_deadline = 0.0

    def _output_limit(self) -> float:
        if self._phase >= CLOSING_EARLY and self._engine.write_limit == NEVER:
            return self._engine.linger_limit
        return self._engine.write_limit

    def _all_sent(self) -> None:
        """Do what waits for the output to be sent: end it, close, or call `write_cb`."""
        if self._drained is not None:
            self._drained.fire()
        if self._phase >= CLOSING:
            self._shut_down()
        elif not self._accepts:
            self._send_end()
        elif self._write_cb is not None:
            self._sent = True
            self._wake()

    # Failing.

    def _sending_failed(self, error: OSError) -> None:
        """Accept nothing more. Input that arrived before is delivered before the event; a connection that is closing is closed now."""
        failure = self._engine.output_failed(error)
        self._fail(failure)
        if self._phase == OPEN:
            self._move(BROKEN)
            self._wake()
        else:
            self._drop(isinstance(failure, WriteTimeout))

    def _fail_to_connect(self, error: StreamError) -> None:
        self._fail(error)
        self._engine.end_with(error)
        self._drop(False)

    def _fail(self, error: StreamError) -> None:
        """Keep the first error that ends the connection, and accept no more output."""
        if self._failure is None:
            self._failure = noted(error)
            self._lost = self._engine.unsent()
            self._engine.tls_failed = isinstance(error, TLSError)
        self._refuse_output()

    def _error(self) -> StreamError:
        return renewed(self._failure, self._stream, self._lost or None)  # type: ignore[arg-type]  # called after `_fail`

    def _refuse_output(self) -> None:
        if self._accepts:
            self._accepts = False
            self._engine.shut_output()
        if self._drained is not None:
            self._drained.fire()

    # Ending.

    def _end_output(self) -> None:
        if self._accepts:
            self._engine.refuse_elsewhere()
            self._refuse_output()
            self._finish_output()

    def _finish_output(self) -> None:
        """Send what is left, and the end behind it."""
        if self._is_established() and self._failure is None:
            if self._engine.to_send():
                self._engine.queued = True
                self._send()
            elif self._sender is None:
                self._all_sent()

    def _send_end(self) -> None:
        """Tell the peer that nothing more comes, and go on receiving."""
        try:
            if self._engine.tell_end_now():
                self._wake()
            else:
                self._sender = gevent.spawn(self._send_in_background)
        except OSError as error:
            self._sending_failed(error)

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
            if self._failure is not None or not self._engine.transport.is_open():
                self._drop(False)
            else:
                self._finish_output()
        elif self._engine.to_send():
            self._move(CLOSING_EARLY)
            if self._attempt is not None and self._output_limit() != NEVER:
                self._attempt.cancel_after(self._output_limit(), self._give_up)
        else:
            self._drop(False)
        self._wake()

    def _give_up(self) -> None:
        """Called when a connection that was closed early is not established in time."""
        self._fail_to_connect(ConnectTimeout(f"connecting to {self._engine.peer}: no answer in time", stream=self._stream))

    def _shut_down(self) -> None:
        """Everything is sent: end the output if that was not done, and close; in the background where that has to wait."""
        transport = self._engine.transport
        try:
            has_to_wait = not self._engine.tell_end_now() or transport.unread() or transport.not_yet_sent()
        except OSError:
            has_to_wait = False
        if has_to_wait:
            self._sender = gevent.spawn(self._shut_down_in_background)
        else:
            self._drop(False)

    def _shut_down_in_background(self) -> None:
        """End the output when the transport takes it, linger while the system has bytes to send, and close."""
        try:
            while self._phase < FAILED and not self._engine.tell_end_now():
                if not self._engine.transport.wait_output(self._output_limit()):
                    break
            if self._phase < FAILED:
                linger(self._engine.transport, self._engine.linger_limit)
        except OSError:
            pass  # everything was sent: nothing is lost by a peer that is gone
        finally:
            self._sender = None
            self._drop(False)

    def _close_in_child(self) -> None:
        """Close the descriptor of a forked child, and leave the connection to the parent."""
        if self._phase != CLOSED:
            self._move(CLOSED)
            self._engine.transport.close_in_child()

    def _drop(self, abort: bool) -> None:
        """Close the descriptor and let go of everything. The peer sees a reset if `abort` says so, or if output is left over."""
        if self._phase >= FAILED:
            return
        if not self._engine.is_of_this_process():
            self._close_in_child()
            return
        self._lost = max(self._lost, self._engine.unsent())
        self._move(FAILED if self._failure is not None and self._phase != CLOSING_QUIETLY else CLOSED)
        self._engine.transport.close(abort or self._engine.leaves_a_part())
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
