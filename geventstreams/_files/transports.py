"""What carries the bytes of a socket that other code owns: the socket's own timeout counts, and its mode is never changed."""

# Invariants:
# * The owner may close, detach or wrap the socket at any time, so its descriptor is asked for before every system call, and no watcher
#   stays armed after a wait.
# * A transport counts once in the socket's `_io_refs`, from `borrow` to `close`; no other class touches them.
# * Only `await_input` and `await_output` wait, except in `AnySocketTransport`: the methods of an unknown socket wait by themselves.
# * `recv_into` and `send` are those of `Transport`, and return WOULD_WAIT.

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import ssl
from typing import Any

import gevent.socket
import gevent.ssl
from gevent import get_hub, monkey

import geventstreams._native.memory as _bytes
import geventstreams._native.syscalls as _system
from geventstreams._constants import BUSY, FRESH, NEVER, WOULD_WAIT
from geventstreams._core.buffers import OutputBuffer
from geventstreams._core.fairness import Fairness
from geventstreams._core.fork import FORK
from geventstreams._core.hub_hold import hub_of_thread
from geventstreams._core.wakeup import READ, WRITE, Wakeup

_GEVENT_SOCKET: Any = gevent.socket.socket

_AT_ONCE = 16384
"""An unknown socket is asked for this many bytes at most: a TLS record holds no more."""


class SocketWakeup(Wakeup):
    """A wakeup that watches by `event`, the watcher of a gevent socket, if nothing else does: a new one costs a call of the system.

    The socket ends the wait by `throw` when it is detached; the greenlet then finds that it has no descriptor.
    """

    event: Any

    def arm(self) -> None:
        if self.watcher is None and self.event is not None and self.event.callback is None:
            self.watcher = self.event
        Wakeup.arm(self)

    def disarm(self) -> None:
        try:
            Wakeup.disarm(self)
        finally:
            if not self.armed and self.watcher is self.event:
                self.watcher = None

    @property
    def __self__(self) -> SocketWakeup:
        """What gevent takes for the greenlet that waits, because it is the callback's."""
        return self

    def throw(self, _error: object) -> None:
        """Wake the greenlet that waits, to look again."""
        self.fire()


class FileTransport:
    """What a file needs of the socket that carries its bytes: waiting as the socket's own calls would."""

    def __init__(self, socket: Any) -> None:
        self._init_file(socket)

    def _init_file(self, socket: Any) -> None:
        self.socket = socket
        """The socket; None when the file was closed. A file has no other reference to it."""
        self.direct = False
        """Whether `recv_into` is one system call, to which any memory may be given."""
        self.emptied = False
        """Whether the last receive call took all that was there: another one would fail, so a read that may wait does that first."""
        self.closed = False
        self.between_threads: bool = not isinstance(socket, _GEVENT_SOCKET)
        """Whether native threads may share the socket: one of gevent's belongs to the thread that made it."""
        self.begun = False
        """Whether the last `send` may have sent a part of its bytes although it returned no count: the next one must begin with the same
        bytes."""
        self.fairness = Fairness()

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        raise NotImplementedError

    def send(self, view: bytes | memoryview, start: int, stop: int) -> int:
        raise NotImplementedError

    def await_input(self) -> bool:
        """Wait as the socket's `recv` would. Return False where it may not wait; raise TimeoutError when it times out."""
        return False

    def await_output(self) -> bool:
        """Wait as the socket's `send` would. Return False where it may not wait; raise TimeoutError when it times out."""
        return False

    def wake(self) -> None:
        """Wake the greenlets that wait, to look again."""

    def send_at_once(self, output: OutputBuffer, last: bool = False) -> bool:
        """Send what the system takes now, without waiting. Return whether nothing is left.

        If the socket's own `send` may wait and this cannot be prevented, it is called only where this is the `last` chance.
        """
        while len(output):
            count = self.send(output.view, output.start, output.end)  # type: ignore[arg-type]  # not empty
            if count == WOULD_WAIT:
                return False
            output.strike(count)
        return True

    def close(self) -> None:
        """Let go of the socket, which stays as it is unless its owner has closed it, and wake the greenlets that wait."""
        socket, self.socket = self.socket, None
        if socket is not None:
            self.closed = True
            self._disconnect()
            socket._decref_socketios()

    def _disconnect(self) -> None:
        """Let go of the descriptor."""

    def give_up(self) -> None:
        """Close with output left unsent. Where the owner has closed the socket, its last file resets the connection, this one or another,
        so that the peer cannot take a part for the whole."""
        if getattr(self.socket, "_closed", False):
            with contextlib.suppress(OSError):  # the owner took the descriptor away
                _system.reset_on_close(self.socket.fileno(), self.socket)
        self.close()

    def _open(self) -> Any:
        """Return the socket."""
        if self.socket is None:
            raise ValueError("I/O operation on closed file")
        return self.socket


class BorrowedTransport(FileTransport):
    """A plain socket of gevent or of the standard library, by the descriptor that it has at the moment."""

    late = "timed out"
    """What its TimeoutError says."""

    def _init_file(self, socket: Any) -> None:
        FileTransport._init_file(self, socket)
        self.direct = True
        self._native = socket if self.between_threads else socket._sock
        """The socket of the system, which knows the descriptor. One of gevent's would ask it by a method in Python."""
        self._descriptor = -1
        self._handle = None
        self._input_event = READ
        self._output_event = WRITE
        """What the next call waits for: TLS may have to send before it receives, and the reverse."""
        self._input: SocketWakeup | None = None
        self._output: SocketWakeup | None = None
        self._awaited: list[Wakeup] | None = None  # where threads share the socket each wait has a wakeup of its own
        if self.between_threads:
            self._awaited = []
            self._follow(socket.fileno())  # so that two threads which begin at once have nothing to begin with

    # The seam.

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        count = _system.receive(self._current(), self._handle, space, start, counts)
        self.emptied = 0 < count < BUSY and count < _bytes.size(space) - start
        return count

    def send(self, view: bytes | memoryview, start: int, stop: int) -> int:
        return _system.send(self._current(), self._handle, view, start, stop)

    def await_input(self) -> bool:
        self.emptied = False
        return self._wait_for(self._input_event)

    def await_output(self) -> bool:
        return self._wait_for(self._output_event)

    # Waiting.

    def _wait_for(self, events: int) -> bool:
        """Wait as the socket's own calls would, and leave no watcher armed: the owner may close the descriptor."""
        seconds = self._open().timeout  # what `gettimeout` returns, without a call
        if seconds == 0:
            return False
        limit = NEVER if seconds is None else float(seconds)
        self.fairness.state = FRESH
        if self._awaited is not None:
            fired = self._waited_between_threads(self._awaited, events, limit)
        else:
            wakeup = self._wakeup(events)
            try:
                fired = wakeup.wait(limit)
            finally:
                if wakeup.waiter is None and wakeup.listeners is None:
                    wakeup.disarm()
        if not fired and (events == WRITE or _system.readable(self._current()) == WOULD_WAIT):
            raise TimeoutError(self.late)
        return True

    def _waited_between_threads(self, awaited: list[Wakeup], events: int, limit: float) -> bool:
        """Wait where another thread may close the file at any time."""
        wakeup = Wakeup(hub_of_thread(), self._current(), events)
        awaited.append(wakeup)
        try:
            self._current()  # a close from now on closes this wakeup, one before is noticed here
            return wakeup.wait(limit)
        finally:
            awaited.remove(wakeup)
            wakeup.close()

    def _wakeup(self, events: int) -> SocketWakeup:
        """Return the wakeup of this thread's hub."""
        wakeup = self._input if events == READ else self._output
        if wakeup is None or wakeup.hub is not get_hub() or wakeup.process != FORK.generation:
            if wakeup is not None:
                wakeup.close()
            wakeup = SocketWakeup.__new__(SocketWakeup)
            wakeup._init_wakeup(get_hub(), self._descriptor, events, None)
            # Not the other one's watcher: greenlets may write to the socket beside the file, and wait by that.
            shares = events == READ and self.direct and self.socket.hub is wakeup.hub
            wakeup.event = self.socket._read_event if shares else None
            if events == READ:
                self._input = wakeup
            else:
                self._output = wakeup
        return wakeup

    def _wakeups(self) -> list[Any]:
        return [self._input, self._output] if self._awaited is None else self._awaited.copy()

    def wake(self) -> None:
        for wakeup in self._wakeups():
            if wakeup is not None:
                wakeup.fire()

    # The descriptor.

    def _current(self) -> int:
        """Return the descriptor that the socket has now."""
        self._open()
        descriptor: int = self._native.fileno()
        if descriptor != self._descriptor:
            self._follow(descriptor)
        if descriptor < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return descriptor

    def _disconnect(self) -> None:
        self._native = None
        if self._descriptor >= 0:
            self._follow(-1)

    def _follow(self, descriptor: int) -> None:
        """Replace one descriptor by another, or by none."""
        self._descriptor = -1  # until all is done: where a signal handler raises in between, the next call begins anew
        wakeups = self._wakeups()
        self._input = self._output = None
        for wakeup in wakeups:
            if wakeup is not None:
                wakeup.close()
        handle, self._handle = self._handle, None
        _system.release(handle)
        if descriptor >= 0:
            self._handle = _system.handle_of(descriptor, _socket.AF_UNSPEC)
        self._descriptor = descriptor


class BorrowedTLSTransport(BorrowedTransport):
    """A gevent `SSLSocket`: its own methods move the bytes, and the waits are ours, so that closing the file ends them."""

    late = "The read operation timed out"

    def _init_file(self, socket: Any) -> None:
        BorrowedTransport._init_file(self, socket)
        self.direct = False

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        self._current()
        event = self._tried(self.socket.recv_into, space[start:], counts, READ)
        self._input_event = event or READ
        if event:
            return WOULD_WAIT
        return counts[-1] if counts[-1] else counts.pop()

    def send(self, view: bytes | memoryview, start: int, stop: int) -> int:
        self._current()
        socket, counts = self.socket, list[int]()
        self.begun = False
        method = socket.send if socket.version() is None or socket.timeout == 0 else socket.write
        event = self._tried(method, view[start:stop], counts, WRITE)
        self._output_event = event or WRITE
        return WOULD_WAIT if event else int(counts[0]) or WOULD_WAIT

    def _tried(self, method: Any, view: bytes | memoryview, counts: list[int], event: int) -> int:
        """Call a method of the socket and append its result to `counts`. Return 0, or the event that it would wait for."""
        socket, seconds = self.socket, self.socket.timeout
        if seconds != 0:
            socket.settimeout(0)  # until the end of this call: no other greenlet runs in between
        try:
            counts.extend(map(method, (view,)))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError) as error:
            if event == WRITE:
                self.begun = True  # the record is made, and a part of it may be with the system
            if seconds == 0:
                raise
            return READ if isinstance(error, ssl.SSLWantReadError) else WRITE if isinstance(error, ssl.SSLWantWriteError) else event
        finally:
            if seconds != 0:
                socket.settimeout(seconds)
        return 0


class AnySocketTransport(FileTransport):
    """Any object with `recv_into` and `send`: these wait by themselves, and say by an error or by None that they may not."""

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        # Into memory of its own: if the file is closed meanwhile, ours is another stream's when a stranger's method
        # returns.
        received = bytearray(min(_AT_ONCE, len(space) - start))
        count = self._asked(self._open().recv_into, received)
        self._open()
        if count is None:
            return WOULD_WAIT
        if count:
            space[start : start + count] = received[:count] if count < len(received) else received
            counts.append(count)
        return int(count)

    def send(self, view: bytes | memoryview, start: int, stop: int) -> int:
        method = self._open().send
        self.begun = True  # however an unknown method ends
        count = self._asked(method, bytes(view[start : min(stop, start + _AT_ONCE)]))
        self.begun = False
        return WOULD_WAIT if count is None else int(count)

    def _asked(self, method: Any, argument: Any) -> Any:
        """Return what a method of the socket returns, and None where it says by an error that it may not wait."""
        try:
            return method(argument)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
                return None
            raise

    def send_at_once(self, output: OutputBuffer, last: bool = False) -> bool:
        socket = self._open()
        if not (hasattr(socket, "gettimeout") and hasattr(socket, "settimeout")):
            return last and FileTransport.send_at_once(self, output)
        seconds = socket.gettimeout()
        socket.settimeout(0)
        try:
            return FileTransport.send_at_once(self, output)
        except (TimeoutError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        finally:
            socket.settimeout(seconds)


class CannotBorrow(TypeError):
    """No file can be made on this object: it is not a socket, or one that can only block the hub."""


_KNOWN: tuple[tuple[Any, Any, type[BorrowedTransport]], ...] = (
    (gevent.socket.socket.recv_into, gevent.socket.socket.send, BorrowedTransport),
    (gevent.ssl.SSLSocket.recv_into, gevent.ssl.SSLSocket.send, BorrowedTLSTransport),
    (_socket.socket.recv_into, _socket.socket.send, BorrowedTransport),
)
"""By the methods that move bytes: those of a subclass that has its own are called."""


def borrow(socket: Any, readable: bool, writable: bool) -> FileTransport:
    """Return the transport for a socket that its owner keeps; raise CannotBorrow if there is none, or it can only block the hub."""
    transport = _transport_for(socket, readable, writable)(socket)
    socket._io_refs += 1
    return transport


def _transport_for(socket: Any, readable: bool, writable: bool) -> type[FileTransport]:
    kind = type(socket)
    receive, send = getattr(kind, "recv_into", None), getattr(kind, "send", None)
    for its_receive, its_send, transport in _KNOWN:
        if receive is its_receive and send is its_send and hasattr(kind, "_decref_socketios"):
            # What was set on the object itself, which gevent's sockets have no place for. `vars` of a closed one raises OSError.
            own = object.__getattribute__(socket, "__dict__") if kind.__dictoffset__ else ()
            if "recv_into" not in own and "send" not in own:
                return transport
    if isinstance(socket, monkey.get_original("ssl", "SSLSocket")):
        raise CannotBorrow(f"socket must not be a blocking ssl.SSLSocket, not {socket!r}: wrap it by gevent.ssl")
    needed = [*["recv_into"] * readable, *["send"] * writable, "fileno", "_io_refs", "_decref_socketios"]
    missing = ", ".join(name for name in needed if not hasattr(socket, name))
    if missing:
        raise CannotBorrow(f"socket must be a socket, not {type(socket).__name__} {socket!r}: it has no {missing}")
    return AnySocketTransport
