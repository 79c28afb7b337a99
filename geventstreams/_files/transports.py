"""What carries the bytes of a socket that other code owns: the socket's own timeout counts, and its mode is never changed."""

# Invariants:
# * The owner may close, detach or wrap the socket at any time, so its descriptor is asked for before every system call, and no watcher
#   stays armed after a wait.
# * A transport counts once in the socket's `_io_refs`, from `borrow` to `close`; no other class touches them.
# * As everywhere, only `wait_input` and `wait_output` wait, except in `AnySocketTransport`: the methods of an unknown socket wait by
#   themselves.

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import ssl
import sys
from typing import Any

import gevent.socket
import gevent.ssl
from gevent import get_hub, monkey

import geventstreams._native.syscalls as _system
from geventstreams._constants import FRESH, NEVER, WOULD_WAIT
from geventstreams._core.buffers import OutputBuffer
from geventstreams._core.fairness import Fairness
from geventstreams._core.fork import FORK
from geventstreams._core.transport_base import Transport
from geventstreams._core.wakeup import READ, WRITE, Wakeup

_GEVENT_SOCKET: Any = gevent.socket.socket

_AT_ONCE = 16384
"""An unknown socket is asked for this many bytes at most: a TLS record holds no more."""


class FileTransport(Transport):
    """What a file needs of the transport of its bytes: waiting as the socket's own calls would."""

    def __init__(self, socket: Any) -> None:
        self._init_file(socket)

    def _init_file(self, socket: Any) -> None:
        self._init_transport()
        self.socket = socket
        """The socket; None when the file was closed. A file has no other reference to it."""
        self.direct = False
        """Whether `recv_into` is one system call, to which any memory may be given."""
        self.closed = False
        self.between_threads: bool = not isinstance(socket, _GEVENT_SOCKET)
        """Whether native threads may share the socket: one of gevent's belongs to the thread that made it."""
        self.begun = False
        """Whether the last `send` may have sent a part of its bytes although it returned no count: the next one must begin with the same
        bytes."""
        self._fairness = Fairness()

    def let_others_run(self) -> bool:
        """Let the hub go round once if nothing had to wait for a while. Return whether it did."""
        return self._fairness.let_others_run(None)

    def await_input(self) -> bool:
        """Wait as the socket's `recv` would. Return False where it may not wait; raise TimeoutError when it times out."""
        raise NotImplementedError

    def await_output(self) -> bool:
        """Wait as the socket's `send` would. Return False where it may not wait; raise TimeoutError when it times out."""
        raise NotImplementedError

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

    def fileno(self) -> int:
        return -1 if self.socket is None else int(self.socket.fileno())

    def close(self, abort: bool = False) -> None:
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
                _system.reset_on_close(self.fileno(), self.socket)
        self.close()


class BorrowedTransport(FileTransport):
    """A plain socket of gevent or of the standard library, by the descriptor that it has at the moment."""

    late = "timed out"
    """What its TimeoutError says."""

    def __init__(self, socket: Any) -> None:
        self._init_borrowed(socket)

    def _init_borrowed(self, socket: Any) -> None:
        self._init_file(socket)
        self.direct = True
        self._descriptor = -1
        self._handle = None
        self._input: Wakeup | None = None
        self._output: Wakeup | None = None
        self._awaited: list[Wakeup] = []  # used only where threads share the socket; each has its own wakeups
        if self.between_threads and (descriptor := socket.fileno()) >= 0:
            self._follow(descriptor)  # so that two threads which begin at once have nothing to begin with

    # The seam.

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        return _system.receive(self._current(), self._handle, space, start, counts)

    def send(self, view: bytes | memoryview, start: int, stop: int) -> int:
        return _system.send(self._current(), self._handle, view, start, stop)

    def readable(self) -> int:
        return _system.readable(self._current())

    def wait_input(self, limit: float) -> bool:
        return self._waited(self.input_wakeup(), limit)

    def wait_output(self, limit: float) -> bool:
        return self._waited(self.output_wakeup(), limit)

    def input_wakeup(self) -> Wakeup:
        if self._input is None or self._input.hub is not get_hub() or self._input.process != FORK.generation:
            self._input = self._in_place_of(self._input, READ)
        return self._input

    def output_wakeup(self) -> Wakeup:
        if self._output is None or self._output.hub is not get_hub() or self._output.process != FORK.generation:
            self._output = self._in_place_of(self._output, WRITE)
        return self._output

    def _in_place_of(self, wakeup: Wakeup | None, events: int) -> Wakeup:
        """Return a wakeup of this thread's hub. A greenlet of another thread that waits in the old one goes on waiting."""
        if wakeup is not None and wakeup not in self._awaited:
            wakeup.close()
        return Wakeup(get_hub(), self._current(), events)

    def _waited(self, wakeup: Wakeup, limit: float) -> bool:
        """Wait, and leave no watcher armed: the owner may close the descriptor."""
        if self.between_threads:
            return self._waited_between_threads(wakeup, limit)
        try:
            return wakeup.wait(limit)
        finally:
            if wakeup.waiter is None and wakeup.listeners is None:
                wakeup.disarm()

    def _waited_between_threads(self, wakeup: Wakeup, limit: float) -> bool:
        """Wait where another thread may close the file, or put its own wakeup in the place of this one, at any time."""
        self._awaited.append(wakeup)
        try:
            self._current()  # a close from now on fires this wakeup, one before is noticed here
            return wakeup.wait(limit)
        finally:
            self._awaited.remove(wakeup)
            if wakeup.waiter is None and wakeup.listeners is None:
                wakeup.disarm()
                if wakeup is not self._input and wakeup is not self._output:
                    wakeup.close()

    def _has_wakeups(self) -> bool:
        return self._input is not None or self._output is not None or len(self._awaited) > 0

    def _wakeups(self) -> list[Wakeup]:
        kept = [wakeup for wakeup in (self._input, self._output) if wakeup is not None]
        return kept + [wakeup for wakeup in self._awaited.copy() if wakeup not in kept]

    def wake(self) -> None:
        if self._has_wakeups():
            for wakeup in self._wakeups():
                wakeup.fire()

    def _disconnect(self) -> None:
        self._follow(-1)

    def __del__(self) -> None:
        try:
            self._follow(-1)
        except (AttributeError, TypeError):
            if sys is not None and not sys.is_finalizing():  # at the end of the program the modules are emptied
                raise

    # What the socket's own calls would do.

    def limit(self) -> float:
        """Return the seconds that a call on the socket may take at the moment; 0 where it may not wait."""
        seconds = self.socket.timeout  # what `gettimeout` returns, without a call
        return NEVER if seconds is None else float(seconds)

    def await_input(self) -> bool:
        limit = self.limit()
        if limit == 0:
            return False
        self._fairness.state = FRESH
        if not self.wait_input(limit) and self.readable() == WOULD_WAIT:
            raise TimeoutError(self.late)
        return True

    def await_output(self) -> bool:
        limit = self.limit()
        if limit == 0:
            return False
        self._fairness.state = FRESH
        if not self.wait_output(limit):
            raise TimeoutError(self.late)
        return True

    def _current(self) -> int:
        """Return the descriptor that the socket has now."""
        if self.socket is None:
            raise ValueError("I/O operation on closed file")
        # A socket of gevent has a socket of the system, and asks it by a method in Python.
        descriptor = (self.socket if self.between_threads else self.socket._sock).fileno()
        if descriptor != self._descriptor:
            self._follow(descriptor)
        if descriptor < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return descriptor  # type: ignore[no-any-return]  # any socket

    def _follow(self, descriptor: int) -> None:
        """Replace one descriptor by another, or by none."""
        if self._has_wakeups():
            wakeups = self._wakeups()
            self._input = self._output = None
            for wakeup in wakeups:
                wakeup.close()
        handle, self._handle = self._handle, None
        _system.release(handle)
        self._descriptor = descriptor
        if descriptor >= 0:
            self._handle = _system.handle_of(descriptor, _socket.AF_UNSPEC)


class BorrowedTLSTransport(BorrowedTransport):
    """A gevent `SSLSocket`: its own methods move the bytes, and the waits are ours, so that closing the file ends them."""

    late = "The read operation timed out"

    def __init__(self, socket: Any) -> None:
        self._init_borrowed(socket)
        self.direct = False
        self._input_needs_room = False
        self._output_needs_input = False

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        self._current()
        socket, seconds = self.socket, self.socket.gettimeout()
        self._input_needs_room = False
        if seconds != 0:
            socket.settimeout(0)  # until the next line but two: no other greenlet runs in between
        try:
            counts.extend(map(socket.recv_into, (space[start:],)))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError) as error:
            if seconds == 0:
                raise
            self._input_needs_room = isinstance(error, ssl.SSLWantWriteError)
            return WOULD_WAIT
        finally:
            if seconds != 0:
                socket.settimeout(seconds)
        return counts[-1] if counts[-1] else counts.pop()

    def send(self, view: bytes | memoryview, start: int, stop: int) -> int:
        self._current()
        socket, seconds = self.socket, self.socket.gettimeout()
        self._output_needs_input = False
        self.begun = False
        method = socket.send if socket.version() is None or seconds == 0 else socket.write
        if seconds != 0:
            socket.settimeout(0)
        try:
            return int(method(view[start:stop])) or WOULD_WAIT
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError) as error:
            self.begun = True  # the record is made, and a part of it may be with the system
            if seconds == 0:
                raise
            self._output_needs_input = isinstance(error, ssl.SSLWantReadError)
            return WOULD_WAIT
        finally:
            if seconds != 0:
                socket.settimeout(seconds)

    def wait_input(self, limit: float) -> bool:
        return self._waited(self.output_wakeup() if self._input_needs_room else self.input_wakeup(), limit)

    def wait_output(self, limit: float) -> bool:
        return self._waited(self.input_wakeup() if self._output_needs_input else self.output_wakeup(), limit)


class AnySocketTransport(FileTransport):
    """Any object with `recv_into` and `send`: these wait by themselves, and say by an error or by None that they may not."""

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        # Into memory of its own: if the file is closed meanwhile, ours is another stream's when a stranger's method
        # returns.
        received = bytearray(min(_AT_ONCE, len(space) - start))
        try:
            count = self._open().recv_into(received)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
                return WOULD_WAIT
            raise
        self._open()
        if count is None:
            return WOULD_WAIT
        if count:
            space[start : start + count] = received[:count] if count < len(received) else received
            counts.append(count)
        return int(count)

    def send(self, view: bytes | memoryview, start: int, stop: int) -> int:
        self._open()
        self.begun = True  # however an unknown method ends
        try:
            count = self.socket.send(bytes(view[start : min(stop, start + _AT_ONCE)]))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
                self.begun = False
                return WOULD_WAIT
            raise
        self.begun = False
        return WOULD_WAIT if count is None else int(count)

    def await_input(self) -> bool:
        return False

    def await_output(self) -> bool:
        return False

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

    def _open(self) -> Any:
        if self.socket is None:
            raise ValueError("I/O operation on closed file")
        return self.socket

    def wake(self) -> None:
        """Do nothing: the waits are in the socket's own methods."""

class CannotBorrow(TypeError):
    """No file can be made on this object: it is not a socket, or one that can only block the hub."""


_BLOCKING_TLS_SOCKET = monkey.get_original("ssl", "SSLSocket")
_KNOWN: dict[Any, type[BorrowedTransport]] = {
    (_socket.socket.recv_into, _socket.socket.send): BorrowedTransport,
    (gevent.socket.socket.recv_into, gevent.socket.socket.send): BorrowedTransport,
    (gevent.ssl.SSLSocket.recv_into, gevent.ssl.SSLSocket.send): BorrowedTLSTransport,
}
"""By the methods that move bytes: those of a subclass that has its own are called."""


def borrow(socket: Any, readable: bool, writable: bool) -> FileTransport:
    """Return the transport for a socket that its owner keeps; raise CannotBorrow if there is none, or it can only block the hub."""
    transport = _transport_for(socket, readable, writable)(socket)
    socket._io_refs += 1
    return transport


def _transport_for(socket: Any, readable: bool, writable: bool) -> type[FileTransport]:
    kind = type(socket)
    transport = _KNOWN.get((getattr(kind, "recv_into", None), getattr(kind, "send", None)))
    if transport is not None and hasattr(kind, "_decref_socketios"):  # it has all, where the object has nothing of its own
        own = _attributes(socket)
        if "recv_into" not in own and "send" not in own:
            return transport
    if isinstance(socket, _BLOCKING_TLS_SOCKET):
        raise CannotBorrow(f"socket must not be a blocking ssl.SSLSocket, not {socket!r}: wrap it by gevent.ssl")
    needed = [*["recv_into"] * readable, *["send"] * writable, "fileno", "_io_refs", "_decref_socketios"]
    missing = ", ".join(name for name in needed if not hasattr(socket, name))
    if missing:
        raise CannotBorrow(f"socket must be a socket, not {type(socket).__name__} {socket!r}: it has no {missing}")
    return AnySocketTransport


def _attributes(socket: Any) -> Any:
    """Return what was set on the object itself, which gevent's sockets have no place for. `vars` of a closed one raises OSError."""
    return object.__getattribute__(socket, "__dict__") if type(socket).__dictoffset__ else ()
