"""A connected socket: `OwnedFd` on its way to a stream, `SocketTransport` under one, and `NoTransport` where there is none."""

# Invariant: in a forked child no system call but close(2) is made on the parent's connection.

from __future__ import annotations

import _socket
import contextlib
import errno
import importlib
import os
import stat
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from gevent import get_hub

import geventstreams._native.memory as _bytes
import geventstreams._native.syscalls as _system
from geventstreams._constants import BLOCK, BUSY, LARGEST_INT
from geventstreams._core.fork import FORK, inherited
from geventstreams._core.hub_hold import EventHandler, hold_of
from geventstreams._core.transport_base import Transport
from geventstreams._core.wakeup import READ, WRITE, Wakeup
from geventstreams.errors import StreamError, UnsuitableSocket

_INET: int = _socket.AF_INET
_UNIX: int = _socket.AF_UNIX


class SocketDouble:
    """A socket that is not the system's and has no descriptor: a test double. It makes what the package makes for a descriptor.

    Its other methods are those of `socket.socket`, as far as the package calls them.
    """

    def transport(self) -> Any:
        """Return the transport of the connection, which owns it from now on."""
        raise NotImplementedError

    def listener(self, hub: Any, arrived: Callable[[], object]) -> Any:
        """Return what accepts its clients, as `Listener(hub, socket, arrived)` is for a socket of the system."""
        raise NotImplementedError

    def connect_wakeup(self) -> Any:
        """Return a `Wakeup` that fires when an attempt to connect has succeeded or failed."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection or the listener."""
        raise NotImplementedError


class OwnedFd:
    """A descriptor of a connected socket, or a `SocketDouble`, with its family and peer.

    It is closed unless it is taken; no forked child can take it. `on_closed`, if there is one, is called when it is closed.
    """

    def __init__(self, descriptor: Any, family: int, peer_address: Any) -> None:
        self.descriptor: Any = descriptor  # None once it was taken or closed
        self.family: int = family
        self.peer_address: Any = peer_address
        self.on_closed: Callable[[], object] | None = None
        self.process: int = FORK.generation

    def take(self) -> Any:
        """Return the descriptor, which is the caller's to close from now on.

        Raises:
            StreamError: in a forked child, because the connection is the parent's.
        """
        if self.process != FORK.generation:
            raise inherited("connection")
        descriptor, self.descriptor = self.descriptor, None
        return descriptor

    def close(self) -> None:
        """Close the descriptor, unless it was taken."""
        if self.descriptor is not None:
            descriptor, self.descriptor = self.descriptor, None
            if isinstance(descriptor, SocketDouble):
                descriptor.close()
            else:
                _system.close(descriptor)
        on_closed, self.on_closed = self.on_closed, None
        if on_closed is not None:
            on_closed()

    def __del__(self) -> None:
        if self.descriptor is not None:
            self.close()


class SocketTransport(Transport):
    """A connected stream socket, by its descriptor. It owns socket and descriptor until `close` or `hand_back`."""

    def __cinit__(self) -> None:  # compiled code only: an object whose __init__() was not called has no descriptor, not even number 0
        self._descriptor = -1

    def __init__(self, socket: Any) -> None:
        # What `Transport.__init__` does, without a call: a server makes one of these for each client.
        self.emptied = False
        self.unsent = 0
        self.answers = False
        self.received = 0
        self.ready = True
        self._descriptor = -1
        self._process = FORK.generation
        self._handle = None
        self._input: Wakeup | None = None
        self._output: Wakeup | None = None
        self._address: Any = None
        self._blocking: bool | None = None
        self._is_entered = False
        self._hub = get_hub()
        self._hold = hold_of(self._hub)
        if isinstance(socket, OwnedFd):
            self._socket = None
            self._family = socket.family
            self._peer_address = socket.peer_address
            self._handle = _system.handle_of(socket.descriptor, self._family)
            self._descriptor = socket.take()
        else:
            descriptor, inode, self._family, self._peer_address = _examined(socket)
            self._handle = _system.handle_of(descriptor, self._family)  # until it is made the socket is its owner's to close
            self._socket = None if isinstance(socket, int) else socket
            self._descriptor = descriptor
            self._enter(inode)

    def _enter(self, inode: int) -> None:
        """Note that this transport owns its descriptor, by the number that the system gives the connection."""
        self._is_entered = True
        _OWNERS[self._descriptor] = (self._process, inode)

    @property
    def peer(self) -> str:  # type: ignore[override]  # read only here
        return address_name(self._peer_address)

    def _refuse(self) -> None:
        if self._process != FORK.generation:
            raise inherited("stream")

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        if self._process != FORK.generation:
            self._refuse()
        count = _system.receive(self._descriptor, self._handle, space, start, counts)
        if count > 0:
            self.received += count
            if count < BUSY and count < _bytes.size(space) - start:
                self.emptied = True
                return count
        self.emptied = not count
        return count

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        if self._process != FORK.generation:
            self._refuse()
        return _system.send(self._descriptor, self._handle, data, start, stop)

    def send_pieces(self, pieces: list[bytes], start: int) -> int:
        if self._process != FORK.generation:
            self._refuse()
        return _system.send_pieces(self._descriptor, self._handle, pieces, start)

    def readable(self) -> int:
        return _system.readable(self._descriptor)

    def wait_input(self, timeout: float) -> bool:
        self.emptied = False
        if self._input is None:
            self._input = self.input_wakeup()
        return self._input.wait(timeout)

    def watch_input(self, handler: EventHandler, timeout: float) -> bool:
        self.emptied = False
        if self._input is None:
            self._input = self.input_wakeup()
        return self._input.watch(handler, timeout)

    def wait_output(self, timeout: float) -> bool:
        if self._output is None:
            self._output = self.output_wakeup()
        return self._output.wait(timeout)

    def input_wakeup(self) -> Wakeup:
        wakeup = self._input
        if wakeup is None:
            self._refuse()
            self._input = wakeup = Wakeup(self._hub, self._descriptor, READ, self._hold)
            if self._descriptor < 0:
                wakeup.close()
        return wakeup

    def output_wakeup(self) -> Wakeup:
        wakeup = self._output
        if wakeup is None:
            self._refuse()
            self._output = wakeup = Wakeup(self._hub, self._descriptor, WRITE, self._hold)
            if self._descriptor < 0:
                wakeup.close()
        return wakeup

    def wake(self) -> None:
        for wakeup in (self._input, self._output):
            if wakeup is not None:
                wakeup.fire()

    def end_output(self) -> int:
        if self._process != FORK.generation:
            self._refuse()
        return _system.end_output(self._descriptor, self._handle)

    def end_input(self) -> None:
        self._refuse()
        if self._family == _UNIX:  # TCP cannot tell the peer, and `linger` would take what is then received for the peer's end
            _system.end_input(self._descriptor)

    def discard(self) -> int:
        self._refuse()
        counts: list[int] = []
        return _system.receive(self._descriptor, self._handle, memoryview(bytearray(BLOCK)), 0, counts)

    def not_yet_sent(self) -> int:
        return 0 if self._family == _UNIX else _system.not_yet_sent(self._descriptor)

    def unread(self) -> int:
        return _system.unread(self._descriptor)

    def ends_by_close(self) -> bool:
        # The system sends what it holds, and the end behind it; but it resets the connection if anything lies unread.
        try:
            return _system.unread(self._descriptor) == 0 and self.not_yet_sent() == 0
        except OSError:  # other code closed it
            return False

    def fileno(self) -> int:
        return self._descriptor

    def addresses(self) -> tuple[Any, Any]:
        self._learn_address()
        return self._address, self._peer_address

    def _learn_address(self) -> None:
        """Note the address of our end, which the system tells until the descriptor is closed."""
        descriptor = self._descriptor
        if self._address is None and descriptor >= 0:
            is_ipv4 = self._family == _INET
            try:
                address = _system.ipv4_name(descriptor, self._handle) if is_ipv4 else _system.own_name(descriptor, self._family)
            except OSError:
                address = None  # other code closed the descriptor
            if self._descriptor == descriptor:  # it was not closed meanwhile, by a signal handler
                self._address = address

    def rename_peer(self, address: Any) -> None:
        """Set the address of the peer: that of the client whose connection a proxy forwards."""
        self._peer_address = address

    # The socket itself.

    def socket(self) -> Any:
        """Return the object that was given, or a gevent socket made for a descriptor."""
        if self._socket is None and self._descriptor >= 0:
            self._blocking = os.get_blocking(self._descriptor)
            self._socket = importlib.import_module("gevent.socket").socket(fileno=self._descriptor)
            if self._process == FORK.generation:
                self._enter(os.fstat(self._descriptor).st_ino)
        return self._socket

    def hand_back(self) -> Any:
        """Return the socket, open and in its own blocking mode. This transport is closed."""
        socket = self.socket()
        if self._blocking is not None and os.get_blocking(self._descriptor) != self._blocking:
            os.set_blocking(self._descriptor, self._blocking)
        self._socket = None
        self._detach(False)
        return socket

    def _detach(self, closes: bool) -> None:
        """Release everything; the descriptor itself is closed, or is the caller's from now on."""
        self._learn_address()
        descriptor, self._descriptor = self._descriptor, -1
        if self._is_entered:
            _OWNERS.pop(descriptor, None)
        try:
            if self._input is not None:
                self._input.close()
        finally:  # a signal handler may raise in these: libuv's watchers are in Python
            try:
                if self._output is not None:
                    self._output.close()
            finally:
                _system.release(self._handle)
                socket, self._socket = self._socket, None
                if socket is not None:
                    socket.detach()
                is_watched = self._input is not None or self._output is not None
                if closes and is_watched and self._process == FORK.generation and not self._hold.may_use_loop():
                    self._hold.run_there(partial(_system.close, descriptor))  # when no watcher of the other thread's loop has it any more
                elif closes:
                    _system.close(descriptor)

    def close(self, abort: bool = False) -> None:
        if self._descriptor < 0:
            return
        if abort:
            self.reset_at_end()
        self._detach(True)

    def reset_at_end(self) -> None:
        # The option is the connection's, which in a forked child is the parent's.
        if self._descriptor >= 0 and self._family != _UNIX and self._process == FORK.generation:
            with contextlib.suppress(OSError):  # other code closed it: there is no connection to reset
                _system.reset_on_close(self._descriptor, self._handle)

    def __del__(self) -> None:
        try:
            if self._descriptor >= 0:
                self.close()
        except (AttributeError, TypeError):
            if sys is not None and not sys.is_finalizing():  # at the end of the program the modules are emptied
                raise


class NoTransport(Transport):
    """The transport of a stream whose socket was taken away, or is not connected yet: every call raises StreamError."""

    def __init__(self, addresses: tuple[Any, Any] = (None, None), peer: str = "peer") -> None:
        Transport.__init__(self)
        self.peer = peer
        self._wakeup = Wakeup(get_hub())
        self._addresses = addresses

    def _nothing_there(self, *_args: Any, **_kwargs: Any) -> Any:
        raise StreamError("the stream has no socket: it was taken away by replace_socket(None)", errno.ENOTSOCK)

    recv_into = send = readable = wait_input = wait_output = _nothing_there

    def input_wakeup(self) -> Wakeup:
        return self._wakeup

    def output_wakeup(self) -> Wakeup:
        return self._wakeup

    def end_output(self) -> int:
        return 0

    def addresses(self) -> tuple[Any, Any]:
        return self._addresses

    def socket(self) -> None:
        """Return None: there is no socket."""

    def hand_back(self) -> None:
        """Return None: there is no socket."""

    def close(self, abort: bool = False) -> None:
        self._wakeup.fire()


def transport_of(socket: Any) -> Transport:
    """Return the transport of a connected socket, which it owns from now on."""
    double = socket.descriptor if isinstance(socket, OwnedFd) else socket
    if not isinstance(double, SocketDouble):
        return SocketTransport(socket)
    if double is not socket:
        socket.take()
    return double.transport()  # type: ignore[no-any-return]  # what it is, is not known there


def address_name(address: Any) -> str:
    """Return the name of a connection's end in errors and logs: `host:port`, `[host]:port`, `unix:path`, or `@name` if abstract."""
    if isinstance(address, tuple):
        host, port = str(address[0]), address[1]
        if "." in host:
            host = host.removeprefix("::ffff:")  # an IPv4 client of a listener for both families
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not address:
        return "peer"
    path = address.decode(errors="backslashreplace") if isinstance(address, bytes) else str(address)
    return f"@{path[1:]}" if path.startswith("\0") else f"unix:{path}"


_OWNERS: dict[int, tuple[int, int]] = {}
"""For the descriptors that were taken over from a caller: the fork generation, and the number that the system gives a connection. This is
another one's where other code has closed the descriptor, and its number is that of a later connection."""


def _examined(socket: Any) -> tuple[int, int, int, Any]:
    """Return descriptor, inode, family and peer address of a connected stream socket. Refuse anything else, untouched."""
    if hasattr(socket, "fileno") and hasattr(socket, "do_handshake"):
        raise TypeError(f"socket must not be an ssl.SSLSocket, not {socket!r}: give the plain socket and ssl_ctx=, or call attach_ssl()")
    if isinstance(socket, bool) or not (isinstance(socket, int) or (hasattr(socket, "fileno") and hasattr(socket, "getsockname"))):
        raise TypeError(f"socket must be a socket or an integer handle, not {type(socket).__name__} {socket!r}")
    descriptor = socket if isinstance(socket, int) else socket.fileno()
    if not 0 <= descriptor <= LARGEST_INT:
        raise UnsuitableSocket(f"socket {socket!r} is closed", errno=errno.EBADF)
    try:
        status = os.fstat(descriptor)
    except OSError as error:
        raise UnsuitableSocket(f"socket {socket!r}: {error.strerror}", errno=error.errno) from None
    if _OWNERS.get(descriptor) == (FORK.generation, status.st_ino):
        raise UnsuitableSocket(f"socket {socket!r} is another stream's, until replace_socket() hands it back", errno=errno.EBUSY)
    if not stat.S_ISSOCK(status.st_mode):
        raise UnsuitableSocket(f"socket {socket!r} is a file or a pipe, not a socket", errno=errno.ENOTSOCK)
    with _system.as_socket(descriptor, _system.OWN_FAMILY) as unowned:
        if not _system.is_stream_socket(unowned):
            raise UnsuitableSocket(f"socket {socket!r} is not a stream socket", errno=errno.ESOCKTNOSUPPORT)
        if _system.is_listening(unowned):
            raise UnsuitableSocket(f"socket {socket!r} listens, and is not connected", errno=errno.EINVAL)
        try:
            peer = unowned.getpeername()
        except OSError:
            if not _system.was_connected(descriptor):
                raise UnsuitableSocket(f"socket {socket!r} is not connected") from None
            peer = None
        return descriptor, status.st_ino, int(unowned.family), peer
