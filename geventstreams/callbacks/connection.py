"""The socket of the callback half: one greenlet brings its octets and calls back, so callbacks never overlap and may wait.

Rules for the next editor: everything that calls back is in `_run` and what it calls. Whoever else has something to tell notes it and calls
`_wake_pump`. The final event is the last call: `_told` says that it was made, or that nobody is to be told. In a forked child nobody is
called back: each wait ends in StreamError there, and `_run` leaves.
"""

from __future__ import annotations

import errno
import ssl
import sys
from collections.abc import Callable
from typing import Any

import gevent
from gevent import GreenletExit, getcurrent

import geventstreams._native.syscalls as _system
from geventstreams._constants import ENDED, NEVER, WOULD_WAIT
from geventstreams._core import arguments
from geventstreams._core.fairness import yield_to_hub
from geventstreams._core.transport import NoTransport, Transport, Wakeup
from geventstreams._streams.tls_upgrade import UpgradableStream
from geventstreams.callbacks.events import end_of_file, event_for
from geventstreams.callbacks.options import ConnectionOptions
from geventstreams.callbacks.push_mode import PushedStream
from geventstreams.callbacks.sending import CLOSED, CLOSING, CONNECTING, OPEN, SendingConnection
from geventstreams.callbacks.stream import AsyncIOStream
from geventstreams.errors import (
    ConnectTimeout,
    ReadTimeout,
    StreamBusy,
    StreamClosed,
    StreamError,
    from_system,
    in_seconds,
    renewed,
)

SLICE = 0.005
"""Seconds for which a connection that always has input keeps the hub to itself."""

Opener = Callable[[], UpgradableStream]
"""Makes the connection, waiting: a stream whose transport is then the connection's."""


class Unconnected(NoTransport):
    """What a connection stands on before there is one."""

    def __init__(self, peer: str) -> None:
        NoTransport.__init__(self)
        self.peer = peer

    def _nothing_there(self) -> StreamError:
        return StreamError(f"the connection to {self.peer} does not stand yet", errno.ENOTCONN)


class AsyncSocket(SendingConnection):
    """A connection that calls back. `tcp_connect` and `tcp_server` make them.

    `data` is the application's own object. Bytes come to the read callback or, through the stream, to whoever reads it.
    """

    def __init__(self, options: ConnectionOptions, transport: Transport | None = None, opener: Opener | None = None, peer: str = "peer",
                 departed: Callable[[AsyncSocket], object] | None = None) -> None:
        SendingConnection.__init__(self, Unconnected(peer) if transport is None else transport, options.write_limit, options.linger_limit)
        self.data: Any = None
        self._read_cb = options.read_cb
        self._event_cb = options.event_cb
        self._connect_cb = options.connect_cb
        self._write_cb = options.write_cb
        self._draining = options.draining
        self._half_close = options.half_close
        self._high_water = options.high_water
        self._low_water = options.low_water
        self._read_limit = options.read_limit
        self._gives_stream = options.stream
        self._given = False
        self._opener: Any = opener
        self._opening = False
        self._departed = departed
        self._greenlet: Any = None
        self._connect_timer: Any = None
        self._wake: Any = None
        self._resting = False
        self._paused = False
        self._full = False
        self._looking = False
        self._input_over = False
        self._written = False
        self._told = False
        self._silent_since = 0.0
        self._received = 0
        self._busy_since = 0.0
        AsyncIOStream(self, **options.stream_options)
        self._given = options.stream

    def start(self) -> None:
        """Begins; called once, by who made it."""
        self._greenlet = gevent.spawn(self._run)

    # For its user.

    @property
    def closed(self) -> bool:
        """Whether the connection is closed, by us or by what an event tells."""
        return self._phase >= CLOSING

    @property
    def stream(self) -> Any:
        """Its stream; None while its octets go to the read callback as bytes."""
        if not self._given and self._draining:
            return None
        self._given = True
        return self._stream

    @property
    def unsent(self) -> int:
        """Octets that were written and are not yet with the system."""
        return self._stream.held()

    @property
    def address(self) -> Any:
        """Our end, as `getsockname` gives it; None before the connection stands."""
        return self._transport.addresses()[0]

    @property
    def peer_address(self) -> Any:
        """The other end, as `getpeername` gives it; None before the connection stands."""
        return self._transport.addresses()[1]

    def fileno(self) -> int:
        """The descriptor, or -1 before the connection stands and after it was closed."""
        return self._stream.fileno()

    def write(self, data: Any, start: int = 0, end: int | None = None) -> bool:
        """Has `data[start:end]` (bytes-like, or a string, sent as UTF-8) sent in this turn of the hub, behind all that was written before.

        Never waits. False where more than `high_water` octets are unsent now: `write_cb` tells when they are gone, `drain` waits for it.
        """
        if self._output_over:
            raise StreamClosed(f"the connection to {self._transport.peer} is closed for writing", stream=self._stream)
        if type(data) is bytes and type(start) is int and start == 0 and end is None:
            self._stream.enqueue(data, len(data))
        else:
            octets = octets_of("data", data, start, end)
            self._stream.enqueue(octets, len(octets))
        return self._stream.held() <= self._high_water

    def pause(self) -> None:
        """Takes no more input, and calls nobody back for any, until `resume`."""
        self._refuse_elsewhere()
        self._paused = True
        self._wake_pump()

    def resume(self) -> None:
        """Ends a pause."""
        self._refuse_elsewhere()
        self._paused = False
        self._wake_pump()

    def set_timeouts(self, read: float | None, write: float | None) -> None:
        """Sets the limits anew: seconds between receipts, seconds without progress while sending; None is no limit."""
        read_limit = arguments.seconds("read", read)
        write_limit = arguments.seconds("write", write)
        self._refuse_elsewhere()
        if self._phase >= CLOSING:
            raise StreamClosed(f"the connection to {self._transport.peer} is closed", stream=self._stream)
        self._read_limit = read_limit
        self._write_limit = write_limit
        self._stream.note_limits(read_limit, write_limit)
        self._wake_pump()

    def set_callbacks(self, read_cb: Any = None, event_cb: Any = None, write_cb: Any = None) -> None:
        """Calls these from now on, in place of those that it called; None leaves one as it is."""
        if read_cb is not None:
            self._read_cb = read_cb
        if event_cb is not None:
            self._event_cb = event_cb
        if write_cb is not None:
            self._write_cb = write_cb

    def __repr__(self) -> str:
        state = ("connecting", f"fd={self._transport.fileno()}", "closing", "closed")[self._phase]
        return f"<{type(self).__name__} {state} peer={self._transport.peer}>"

    # For its stream.

    def claim(self) -> tuple[PushedStream | None, Transport]:
        if self._phase >= CLOSING:
            raise StreamClosed(f"socket {self!r} is closed")
        if self._given:
            raise StreamError(f"socket {self!r} has a stream already: {self._stream!r}", stream=self._stream)
        return self._stream, self._transport

    def accept(self, stream: PushedStream) -> None:
        if self._stream is None:  # only the first time
            stream.note_limits(self._read_limit, self._write_limit)  # type: ignore[unreachable]  # None until now, see sending.py
        else:
            self._given = True
            self._draining = self._draining and not stream.readable()
        self._stream = stream

    def plugged(self, transport: Transport) -> None:
        self._transport = transport

    def refuse_elsewhere(self) -> None:
        if getcurrent() is not self._greenlet:
            raise StreamBusy(f"{self._greenlet!r} reads from {self._transport.peer}: this is for its callbacks", stream=self._stream)

    def end_input(self) -> None:
        self._input_over = True
        self._wake_pump()

    def taken(self) -> None:
        if not self._looking:
            self._looking = True
            self._hub.loop.run_callback(self._look)

    def _look(self) -> None:
        """Whether enough was taken in this turn for the pump to go on."""
        self._looking = False
        if len(self._stream.input) < self._low_water:
            self._wake_pump()

    # What the sending half tells.

    def _on_sent(self) -> None:
        if self._write_cb is not None:
            self._written = True
            self._wake_pump()

    def _wake_pump(self) -> None:
        if self._resting:
            self._wake.fire()
        elif self._phase != CONNECTING:
            self._transport.wake()

    def _gone(self) -> None:
        if self._connect_timer is not None:
            self._connect_timer.kill(block=False)
            self._connect_timer = None
        if self._opening:
            self._greenlet.kill(block=False)
        elif self._resting:
            self._wake.fire()
        if self._departed is not None:
            self._departed(self)
            self._departed = None

    def _close_unconnected(self) -> None:
        if not self._stream.held():
            self._drop(False)
        elif self._output_limit() != NEVER:
            self._connect_timer = gevent.spawn_later(self._output_limit(), self._give_up)

    def _give_up(self) -> None:
        """Closed while connecting, with something to send, and there was no connection in time."""
        self._connect_timer = None
        self._fail(ConnectTimeout(f"connecting to {self._transport.peer}: no answer in time", stream=self._stream))
        self._drop(False)

    # The greenlet.

    def _run(self) -> None:
        try:
            if self._stream.is_of_this_process() and self._come_up():
                self._pump()
            while self._phase == CLOSING:
                self._rest()
            if self._failure is not None and not self._told and self._stream.is_of_this_process():
                self._told = True
                self._tell(event_for(renewed(self._failure, self._stream, self._lost or None), self))
        except StreamError:
            if self._stream.is_of_this_process():
                raise
        finally:
            self._leave()

    def _leave(self) -> None:
        if not self._stream.is_of_this_process():
            self._close_in_child()
        elif self._phase < CLOSING:
            self._stream.disconnect(True)
            self._begin_closing()
        self._read_cb = self._event_cb = self._connect_cb = self._write_cb = self._opener = None
        self._greenlet = None

    def _come_up(self) -> bool:
        """Waits for the connection, and calls back: whether it is open then."""
        if self._opener is not None and not self._connect():
            return False
        if self._phase == CLOSING:
            self._send_the_end()
        if self._phase != CONNECTING:
            return False
        self._phase = OPEN
        if self._dirty:
            self._send_queue.add(self)
        if self._connect_cb is not None:
            self._call(self._connect_cb, self._stream if self._gives_stream else self)
        return True

    def _connect(self) -> bool:
        """Waits for the connection: whether it stands, and is wanted."""
        if self._phase == CLOSED:
            return False
        opener, self._opener = self._opener, None
        self._opening = True
        try:
            made = opener()
        except OSError as error:
            self._fail_to_connect(error)
            return False
        except BaseException:  # noqa: BLE001  # a callback of the TLS arguments failed, or somebody killed this greenlet, as `_drop` does
            self._opening = False
            if self._phase != CLOSED:
                self._told = True
                self._report()
                self._drop(False)
            return False
        finally:
            self._opening = False
        if self._phase == CLOSED:
            made.close(abort=True)
            return False
        self._stream.take_over(made)
        if self._connect_timer is not None:
            self._connect_timer.kill(block=False)
            self._connect_timer = None
        return True

    def _fail_to_connect(self, error: OSError) -> None:
        known = from_system(error, "connecting to", self._transport.peer, self._stream)
        self._opening = False
        if self._phase == CLOSED:
            return
        if self._phase == CLOSING and not self._stream.held():
            self._told = True
        self._fail(known)
        self._stream.end_with(known)
        self._drop(False)

    def _pump(self) -> None:
        """Receives and calls back, until the connection is no more open."""
        while self._phase == OPEN and self._stream.is_of_this_process():
            stream = self._stream
            if self._written:
                self._tell_written()
            elif stream.lost():
                self._close_unasked()
            elif self._wants_input(stream):
                self._bring(stream)
            elif self._failure is not None:
                self._fail_in_turn()
            elif self._input_over and self._end_told:
                self._close_unasked()
            else:
                self._rest()

    def _wants_input(self, stream: PushedStream) -> bool:
        held = stream.input.end - stream.input.start
        self._full = held > self._high_water or (self._full and held >= self._low_water)
        return not (self._paused or self._full or self._input_over)

    def _bring(self, stream: PushedStream) -> None:
        """Calls back with what the system has; where it has nothing, sends what is left to send, or waits."""
        count = WOULD_WAIT
        if not self._transport.emptied or self._failure is not None:
            count = self._receive(stream)
        if count > 0:
            self._deliver(stream)
        elif count == ENDED:
            self._input_ended(stream)
        elif self._failure is not None:
            self._fail_in_turn()
        elif self._dirty or (self._transport.unsent and self._sender is None):
            self.send()
        else:
            self._await_input(stream)

    def _receive(self, stream: PushedStream) -> int:
        """A count, ENDED, or WOULD_WAIT, the latter also for an error, which is noted."""
        try:
            return stream.receive() if self._draining else stream.receive_portion()
        except OSError as error:
            self._fail(from_system(error, "reading from", self._transport.peer, stream))
            return WOULD_WAIT

    def _deliver(self, stream: PushedStream) -> None:
        """Calls back with what has arrived."""
        data: Any = stream
        if self._draining:
            data = stream.input.take(stream.input.end - stream.input.start)
        else:
            self._given = True
        if self._read_cb is not None:
            try:
                self._read_cb(self, data)
            except BaseException:  # noqa: BLE001  # the hub is told of whatever a callback raises
                self._callback_failed()
        if self._dirty:
            self.send()
        if self._transport.emptied:
            self._busy_since = 0.0
        else:
            self._let_others_run()

    def _let_others_run(self) -> None:
        now = _system.monotonic()
        if not self._busy_since:
            self._busy_since = now
        elif now - self._busy_since > SLICE:
            self._busy_since = 0.0
            yield_to_hub(self._hub)

    def _await_input(self, stream: PushedStream) -> None:
        """Waits for input or for anything else; notes the end of the read limit."""
        stream.settle()
        self._busy_since = 0.0
        if self._read_limit == NEVER:
            self._transport.wait_input(NEVER)
        else:
            self._await_input_in_time(stream)

    def _await_input_in_time(self, stream: PushedStream) -> None:
        now = _system.monotonic()
        if not self._silent_since or self._received != self._transport.received:
            self._silent_since = now
            self._received = self._transport.received
        left = self._silent_since + self._read_limit - now
        if left > 0:
            self._transport.wait_input(left)
        else:
            self._fail(ReadTimeout(f"nothing arrived from {self._transport.peer} for {in_seconds(self._read_limit)}", stream=stream))

    def _rest(self) -> None:
        """Waits until somebody says that something has changed."""
        if self._wake is None:
            self._wake = Wakeup(self._hub)
        stream = self._stream
        stream.keep_back(self._full)
        stream.settle()
        self._resting = True
        try:
            self._wake.wait(NEVER)
        finally:
            self._resting = False
            self._stream.keep_back(False)
            stream.keep_back(False)
        self._silent_since = self._busy_since = 0.0

    # Calling back.

    def _call(self, callback: Any, argument: Any) -> None:
        try:
            callback(argument)
        except BaseException:  # noqa: BLE001  # the hub is told of whatever a callback raises
            self._callback_failed()
        if self._dirty:
            self.send()

    def _callback_failed(self) -> None:
        """An exception of a callback is the hub's to tell, and ends this connection."""
        self._report()
        if self._phase == OPEN:
            self._told = True
            self._stream.disconnect(True)
            self._begin_closing()

    def _report(self) -> None:
        kind, error, traceback = sys.exc_info()
        if not isinstance(error, GreenletExit):
            self._hub.handle_error(self, kind, error, traceback)

    def _tell_written(self) -> None:
        self._written = False
        if self._write_cb is not None and not self._stream.held():
            self._call(self._write_cb, self)

    def _tell(self, event: Any) -> None:
        if self._event_cb is not None:
            self._call(self._event_cb, event)
        elif event.error is not None:
            self._hub.handle_error(self, type(event.error), event.error, None)

    # Ending.

    def _input_ended(self, stream: PushedStream) -> None:
        error = stream.failure()
        if error is not None:
            self._fail(error)
        if self._failure is not None:
            self._fail_in_turn()
            return
        self._input_over = True
        event = end_of_file(self, self._transport.peer)
        if not self._half_close:
            self._told = True
            self._close_unasked()
        self._tell(event)

    def _close_unasked(self) -> None:
        self._told = True
        self._stream.disconnect(True)
        self._begin_closing()

    def _fail_in_turn(self) -> None:
        """Closes because of an error, now that all that arrived before it was told; then tells it."""
        error = renewed(self._failure, self._stream, self._lost or None)  # type: ignore[arg-type]  # it failed
        self._told = True
        self._stream.end_with(error)
        self._stream.disconnect(True)
        if isinstance(error, ReadTimeout):
            self._failure = None
            self._begin_closing()
        elif isinstance(error, ssl.SSLError):
            self._phase = CLOSING
            self._end_told = True
            self._begin_shutdown()
        else:
            self._drop(isinstance(error, TimeoutError))
        self._tell(event_for(error, self))


def octets_of(name: str, data: Any, start: int = 0, end: int | None = None) -> Any:
    """`data[start:end]` as octets: a string is sent as UTF-8."""
    if isinstance(data, str):
        first, last = arguments.bounds(start, end, len(data))
        return data[first:last].encode()
    octets = arguments.octets(name, data)
    first, last = arguments.bounds(start, end, len(octets))
    return octets[first:last]
