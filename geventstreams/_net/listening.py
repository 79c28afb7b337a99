"""A listening socket as a server uses it: it calls while clients wait in its queue, and rests while there is no room.

Rules for the next editor: nothing here waits. A descriptor that was accepted always has an owner, so that a greenlet
which is killed before it runs leaves none open. In a forked child a copy of a listener accepts nobody, whoever asks it.
"""

from __future__ import annotations

import _socket
import errno
import socket as sockets
from collections.abc import Callable
from typing import Any

import gevent.socket
from gevent.hub import Hub

import geventstreams._native.syscalls as _system
from geventstreams._core.fork import FORK, inherited
from geventstreams._core.owned_fd import OwnedFd
from geventstreams._core.transport import Wakeup, address_name
from geventstreams.errors import StreamError

_READ = 1
_Socket = _system.original(sockets, "socket")

GONE = frozenset({errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO, errno.EINTR, errno.ETIMEDOUT, errno.ENETDOWN,
                  errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
"""What `accept` says of a client that went away before it was accepted: nothing has happened."""

LONGEST_QUEUE = 2**31 - 1
"""The largest `backlog` that a system call takes; the system has a limit of its own below it."""

def listening_socket(
    family: int, address: Any, backlog: int, only_ipv6: bool | None = None, reuse_port: bool = False
) -> gevent.socket.socket:
    """A gevent socket that listens on an address, whose port may still be in use by old connections.

    `only_ipv6` says whether an IPv6 socket takes no IPv4 clients; None leaves that to the system. With `reuse_port`
    others of the same user may listen there as well, and the system distributes the clients.
    """
    made = gevent.socket.socket(family, _socket.SOCK_STREAM)
    try:
        made.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
        if family == _socket.AF_INET6 and only_ipv6 is not None:
            made.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(only_ipv6))
        made.bind(address)
        made.listen(min(backlog, LONGEST_QUEUE))
    except OSError as error:
        made.close()
        raise StreamError(f"cannot listen on {address_name(address)}: {error.strerror or error}", error.errno) from None
    except BaseException:
        made.close()
        raise
    return made


def is_listening(descriptor: int) -> bool:
    """Whether this is the descriptor of a stream socket that listens."""
    if descriptor < 0:
        return False
    try:
        with _system.as_socket(descriptor, _system.OWN_FAMILY) as borrowed:
            return _system.is_stream_socket(borrowed) and _system.is_listening(borrowed)
    except OSError:
        return False


class Client(OwnedFd):
    """A client that was accepted. If nobody serves it, its place is free again when it is closed."""

    __slots__ = ("_room",)

    def __init__(self, descriptor: int, family: int, address: Any, room: Any = None) -> None:
        OwnedFd.__init__(self, descriptor, family, address)
        self._room = room

    def take_place(self) -> None:
        """Its place is the caller's to give back from now on."""
        self._room = None

    def close(self) -> None:
        """Sends it away, unless a stream owns it."""
        OwnedFd.close(self)
        if self._room is not None:
            self._room.release()
            self._room = None


class AcceptingSocket(_Socket):  # type: ignore[misc, valid-type]  # the class as it was before anybody patched it
    """A socket object for a listening descriptor that others own. It never waits."""

    def __init__(self, family: int, type_: int, proto: int, descriptor: int) -> None:
        super().__init__(family, type_, proto, fileno=descriptor)
        self.setblocking(False)

    def accept_descriptor(self) -> tuple[int, Any]:
        """What `accept` makes a socket object of."""
        accepted: tuple[int, Any] = self._accept()
        return accepted


class Listener:
    """A listening socket, whose owner closes it: `arrived` is called from the hub while clients wait in its queue."""

    def __init__(self, hub: Hub, socket: Any, arrived: Callable[[], object]) -> None:
        self._descriptor: int = socket.fileno()
        self._arrivals = Wakeup(hub, self._descriptor, _READ)  # first: it refuses a hub that cannot call anybody
        self.hold = self._arrivals.hold
        self._loop = hub.loop
        self._process = FORK.generation
        self._arrived: Callable[[], object] | None = arrived
        # The given object may be one that waits by itself: accepting is done by one that never does.
        self._accepting_socket = AcceptingSocket(socket.family, socket.type, socket.proto, self._descriptor)
        self._watcher = self._loop.io(self._descriptor, _READ)
        self._timer: Any = None
        self._wanted = False
        self._resting = False

    def accept(self) -> tuple[int, Any] | None:
        """The descriptor and the address of the next client; None where there is none, and in a forked child."""
        if self._process != FORK.generation:
            return None
        try:
            return self._accepting_socket.accept_descriptor()
        except BlockingIOError:
            return None

    def refuse_thread(self) -> None:
        """Raise StreamError where the hub is another thread's, before its loop is touched; not once that thread has ended."""
        if not self.hold.may_use_loop():
            raise StreamError("this server belongs to the hub of another thread")

    # When to call.

    def start(self) -> None:
        """Calls from now on. StreamError in a forked child."""
        self._refuse()
        if not self._wanted:
            self._wanted = True
            if not self._resting:
                self._watcher.start(self._on_clients)

    def _refuse(self) -> None:
        if self._process != FORK.generation:
            raise inherited("listener")

    @property
    def is_wanted(self) -> bool:
        """Whether clients are wanted at all, also where it rests."""
        return self._wanted

    def stop(self) -> None:
        """Calls no more."""
        self._wanted = False
        self._stop_watching()

    def _stop_watching(self) -> None:
        if self.hold.has_loop():
            self._watcher.stop()

    def rest(self, seconds: float | None = None) -> None:
        """Calls nobody until `resume()`, or until so many seconds have passed."""
        self._resting = True
        self._stop_watching()
        if seconds is not None and self._timer is None:
            self._timer = self._loop.timer(seconds)
            self._timer.start(self.resume)

    def resume(self) -> None:
        """Ends a rest."""
        if self._resting:
            self._resting = False
            self._stop_timer()
            if self._wanted and self._process == FORK.generation:
                self._watcher.start(self._on_clients)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            if self.hold.has_loop():
                self._timer.stop()
                self._timer.close()
            self._timer = None

    def _on_clients(self) -> None:
        if self._process != FORK.generation:
            self.stop()  # the clients are the parent's, and they stay in the queue: the loop would call without end
            self._arrivals.fire()
        elif self._arrivals.listeners is None:
            self._call()
        else:
            # Those who wait for a client are to find it still in the queue: they run first.
            self._arrivals.fire()
            self._loop.run_callback(self._call)

    def _call(self) -> None:
        if self._wanted and not self._resting and self._arrived is not None and self._process == FORK.generation:
            self._arrived()

    # For those who wait for a client.

    def readable_now(self) -> bool:
        """Whether a client can be accepted now, or the listener was closed."""
        self._refuse()
        return self._arrived is None or _system.readable_of([self._descriptor]) != []

    def watch(self, listener: Callable[[], object]) -> None:
        """Calls `listener()` when a client may have come, once it is armed."""
        self._arrivals.listen(listener)

    def unwatch(self, listener: Callable[[], object]) -> None:
        """The reverse of `watch`."""
        self._arrivals.unlisten(listener)

    def arm(self) -> None:
        """Makes the next client known to those who watch."""
        self._arrivals.arm()

    def close(self) -> None:
        """Lets go of the socket, which stays open, and wakes those who wait for a client."""
        if self._arrived is not None:
            self.stop()
            self._arrived = None
            self._stop_timer()
            if self.hold.has_loop():
                self._watcher.close()
            self._accepting_socket.detach()
            self._arrivals.close()
