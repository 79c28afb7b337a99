"""The sending half of a connection that calls back: one packet for what is written in one turn, the rest as room comes, the end behind it.

Rules for the next editor: only the greenlets of `_send_rest` and `_finish_shutdown` wait here, and nothing is called back; the receiving
half learns by `_on_sent`, `_wake_pump` and `_gone` what happened. A connection goes through its phases in their order and skips some.
From CLOSING on it is closed for its user; from CLOSED on its descriptor is gone.
"""

from __future__ import annotations

import weakref
from typing import Any

import gevent
from gevent import get_hub
from gevent.hub import Hub

import geventstreams._native.syscalls as _system
from geventstreams._constants import NEVER, WOULD_WAIT
from geventstreams._core.fork import inherited
from geventstreams._core.linger import linger
from geventstreams._core.transport import Transport, Wakeup, hold_of
from geventstreams.callbacks.push_mode import Connection, PushedStream
from geventstreams.errors import StreamClosed, StreamError, TLSError, WriteTimeout, from_system, in_seconds, noted, renewed

CONNECTING = 0
OPEN = 1
CLOSING = 2
CLOSED = 3


class SendQueue:
    """The connections of a hub in which something was written in this turn."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._full: list[Connection] = []

    def add(self, connection: Connection) -> None:
        """Has a connection send when all that runs in this turn has run."""
        self._full.append(connection)
        if len(self._full) == 1:
            self._loop.run_callback(self._send)

    def _send(self) -> None:
        full, self._full = self._full, []
        for connection in full:
            connection.send()


_outboxes: weakref.WeakKeyDictionary[Hub, SendQueue] = weakref.WeakKeyDictionary()


def send_queue_of(hub: Hub) -> SendQueue:
    """The one outbox of a hub."""
    outbox = _outboxes.get(hub)
    if outbox is None:
        outbox = _outboxes[hub] = SendQueue(hub.loop)
    return outbox


class SendingConnection(Connection):
    """A connection as its output sees it."""

    def __init__(self, transport: Transport, write_limit: float, linger_limit: float) -> None:
        self._hub = get_hub()
        self._thread = _system.thread_id()
        self._send_queue = send_queue_of(self._hub)
        self._hold = hold_of(self._hub)
        self._hold.tell_end_to(self)
        self._transport = transport
        self._stream: PushedStream = None  # type: ignore[assignment]  # `accept` sets it before anybody sees it
        self._phase = CONNECTING
        self._write_limit = write_limit
        self._linger_limit = linger_limit
        self._dirty = False
        self._sender: Any = None
        self._output_over = False
        self._end_told = False
        self._lost = 0
        self._failure: tuple[Any, ...] | None = None
        self._room: Wakeup | None = None

    # What the receiving half is told.

    def _on_sent(self) -> None:
        """All that was written is with the system."""
        raise NotImplementedError

    def _wake_pump(self) -> None:
        """Something has changed that the receiving half has to look at."""
        raise NotImplementedError

    def _gone(self) -> None:
        """The connection is over."""
        raise NotImplementedError

    def _refuse_elsewhere(self) -> None:
        """Raise StreamError in a forked child, and in another thread than the connection's."""
        if not self._stream.is_of_this_process():
            raise inherited("connection")
        if self._thread != _system.thread_id():
            raise StreamError("this connection belongs to the hub of another thread")

    # Sending.

    def wrote(self) -> None:
        if not self._dirty:
            self._dirty = True
            if self._phase != CONNECTING:
                self._send_queue.add(self)

    def send(self) -> None:
        may_send = self._phase in (OPEN, CLOSING) and self._sender is None and self._failure is None
        if may_send and self._stream.is_of_this_process():
            written = self._dirty
            self._dirty = False
            try:
                if not self._stream.push():
                    self._sender = gevent.spawn(self._send_rest)
                elif written:
                    self._all_sent()
            except OSError as error:
                self._sending_failed(error)

    def _send_rest(self) -> None:
        """Sends, in a greenlet of its own, what the system did not take at once."""
        try:
            if not self._push_and_wait():
                return
        except OSError as error:
            self._sender = None
            self._sending_failed(error)
            return
        self._sender = None
        self._dirty = False
        self._all_sent()

    def _push_and_wait(self) -> bool:
        """Waits until all is sent; False where that is nobody's business any more."""
        stream = self._stream
        since = _system.monotonic()
        while True:
            limit = self._output_limit()
            left = since + limit - _system.monotonic() if limit != NEVER else NEVER
            if left <= 0:
                raise WriteTimeout(f"{self._transport.peer} took nothing for {in_seconds(limit)}", stream=stream, unsent=stream.held())
            self._transport.wait_output(left)
            if self._phase == CLOSED:
                return False
            stream = self._stream
            before = stream.held()
            if stream.push():
                return True
            if stream.held() < before:
                since = _system.monotonic()

    def _output_limit(self) -> float:
        if self._phase == CLOSING and self._write_limit == NEVER:
            return self._linger_limit
        return self._write_limit

    def _all_sent(self) -> None:
        if self._room is not None:
            self._room.fire()
        if self._phase == CLOSING:
            self._begin_shutdown()
        elif self._output_over:
            self._tell_end()
        else:
            self._on_sent()

    def _sending_failed(self, error: OSError) -> None:
        """Nothing can be sent any more: the receiving half tells, when it has told all that arrived. In a forked child nobody is told."""
        if not self._stream.is_of_this_process():
            self._close_in_child()
            return
        known = from_system(error, "writing to", self._transport.peer, self._stream)
        self._lost = known.unsent = self._stream.held()
        self._fail(known)
        if self._phase == CLOSING:
            self._drop(isinstance(known, WriteTimeout))
        else:
            self._wake_pump()

    def _fail(self, error: StreamError) -> None:
        """Notes the first error that ends the connection."""
        if self._failure is None:
            self._failure = noted(error)
        self._output_over = True
        self._stream.shut_output()
        if self._room is not None:
            self._room.fire()

    def drain(self) -> None:
        """Waits until all that was written is with the system. The error that keeps it from getting there, if one does."""
        self._refuse_elsewhere()
        while self._stream.held() and self._phase != CLOSED and self._failure is None:
            if self._sender is None and self._phase != CONNECTING:
                self.send()
            else:
                if self._room is None:
                    self._room = Wakeup(self._hub)
                self._room.wait(NEVER)
        if self._lost:
            if self._failure is None:
                raise StreamClosed(f"the connection to {self._transport.peer} was closed", stream=self._stream, unsent=self._lost)
            raise renewed(self._failure, self._stream, self._lost)

    # Ending.

    def end_output(self) -> None:
        if not self._output_over:
            self._refuse_elsewhere()
            self._output_over = True
            self._stream.shut_output()
            self._send_the_end()

    def _send_the_end(self) -> None:
        """Sends what is left and the end behind it, now where that is possible."""
        if self._phase != CONNECTING and self._failure is None:
            if self._stream.held():
                self._dirty = True
                self.send()
            elif self._sender is None:
                self._all_sent()

    def _tell_end(self) -> None:
        """Tells the peer that nothing more comes, and goes on receiving."""
        try:
            if self._transport.end_output() == WOULD_WAIT:
                self._sender = gevent.spawn(self._send_rest)
                return
        except OSError as error:
            self._sending_failed(error)
            return
        self._end_told = True
        self._wake_pump()

    def close(self, force: bool = False) -> None:
        """Closes the connection and returns at once: what was written arrives, then the end; with `force` the peer sees a reset.

        Nothing more is called back, but for the event of output that could not be delivered. A second call does nothing; with `force`
        it ends the first. In another thread, once the connection's own has ended, nothing more can be sent: output that is unsent is
        dropped, and the peer sees a reset.
        """
        if self._phase == CLOSED:
            return
        if not self._stream.is_of_this_process():
            self._close_in_child()
            return
        if self._hold.ended:
            self.thread_has_ended()
            return
        self._refuse_elsewhere()
        self._stream.disconnect(False)
        if force:
            self._drop(True)
        elif self._phase != CLOSING:
            self._begin_closing()

    def _begin_closing(self) -> None:
        """Sends what was written, then the end, then closes; in the background where it has to wait."""
        if not self._stream.is_of_this_process():
            self._close_in_child()
            return
        connecting = self._phase == CONNECTING
        self._phase = CLOSING
        self._output_over = True
        if connecting:
            self._close_unconnected()
        elif self._failure is not None or self._transport.fileno() < 0:
            self._drop(False)
        else:
            self._send_the_end()
        self._wake_pump()

    def _close_unconnected(self) -> None:
        raise NotImplementedError

    def _close_in_child(self) -> None:
        """In a forked child: closes the descriptor, and leaves the connection to the parent."""
        self._phase = CLOSED
        self._transport.close_in_child()

    def _begin_shutdown(self) -> None:
        """The end of the connection, when all is sent."""
        try:
            told = self._end_told or self._transport.end_output() != WOULD_WAIT
            if told and not self._transport.unread() and not self._transport.not_yet_sent():
                self._drop(False)
                return
        except OSError:
            self._drop(False)
            return
        self._end_told = told
        self._sender = gevent.spawn(self._finish_shutdown)

    def _finish_shutdown(self) -> None:
        """The same, in a greenlet of its own, where it has to wait."""
        try:
            while self._phase != CLOSED and not self._end_told:
                self._end_told = self._transport.end_output() != WOULD_WAIT
                if not self._end_told and not self._transport.wait_output(self._output_limit()):
                    break
            if self._phase != CLOSED:
                linger(self._transport, self._linger_limit)
        except OSError:
            pass  # it was told as much as it could be
        finally:
            self._sender = None
            self._drop(False)

    def thread_has_ended(self) -> None:
        """Nothing runs this connection any more: it is closed at once."""
        if self._phase != CLOSED:
            self._stream.disconnect(False)
            self._drop(False)

    def _tls_failed(self) -> bool:
        return self._failure is not None and issubclass(self._failure[0], TLSError)

    def _drop(self, abort: bool) -> None:
        """Lets go of everything; the peer sees a reset where `abort` says so, or output is left over."""
        if self._phase == CLOSED:
            return
        self._phase = CLOSED
        self._output_over = True
        stream = self._stream
        held = stream.held()
        self._lost = max(self._lost, held)
        # A part must not pass for the whole. Where TLS has failed, the alert tells it.
        self._transport.close(abort or (held > 0 and not self._tls_failed()))
        if not stream.closed:
            stream.disconnect(True)
        stream.forget()
        if self._room is not None:
            self._room.fire()
        self._gone()
