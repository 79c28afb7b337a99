"""The input of a connection of the callback half, and its callbacks: what the pump serves, in one greenlet at a time."""

# Theory: phases.py. Invariants:
#
# * Everything that calls back is in `_serve` and what that calls.
# * Only `_connect` waits, and callbacks. `_serve` returns instead.
# * From FAILED on nothing is received.

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from typing import Any

from gevent import GreenletExit, getcurrent

from geventstreams._constants import ENDED, FRESH, WOULD_WAIT
from geventstreams._core.clock import deadline_after, seconds_until
from geventstreams._core.fairness import Fairness
from geventstreams._core.transport_base import Transport
from geventstreams._streams.buffered import engine_of
from geventstreams._streams.states import TOLD
from geventstreams.callbacks.connecting import Attempt, Opener
from geventstreams.callbacks.events import TCPEOF, event_for
from geventstreams.callbacks.options import ConnectionOptions
from geventstreams.callbacks.phases import BROKEN, CLOSED, CLOSING, CLOSING_EARLY, CLOSING_QUIETLY, CONNECTING, FAILED, OPEN
from geventstreams.callbacks.sending import SendingConnection
from geventstreams.errors import ReadTimeout, StreamBusy, from_system, in_seconds


class ReceivingConnection(SendingConnection):
    """Connects, receives and calls back, as long as it is open; then reports what ended it."""

    def __init__(self, options: ConnectionOptions, transport: Transport | None = None, opener: Opener | None = None, peer: str = "peer",
                 on_closed: Callable[[Any], object] | None = None) -> None:
        SendingConnection.__init__(self, options, transport, opener, peer, on_closed)
        self._pump.hold.tell_end_to(self, ReceivingConnection._thread_has_ended)
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

    # Serving.

    def _serve(self) -> None:
        goes_on = False
        try:
            if self._resting:
                self._end_rest()
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
            count = self._engine.receive(self._pump.block, 0) if self._draining else self._engine.receive_portion()
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

    def _end_rest(self) -> None:
        self._resting = False
        self._engine.keep_back(False)
        self._read_deadline = 0.0
        self._fairness.state = FRESH

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
        event = TCPEOF(f"end of file from {self._engine.peer}", self)  # type: ignore[arg-type]  # it is an AsyncSocket
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
