"""The sockets of a network in memory: how they connect and accept, in place of the system's."""

# Invariant: a connecting socket that is closed gets nothing any more: the steps of `_Attempt` look at it first.

from __future__ import annotations

import _socket
import errno
import os
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from gevent import get_hub

from geventstreams._core.fork import FORK
from geventstreams._core.transport import SocketDouble
from geventstreams._core.wakeup import Wakeup
from geventstreams._net.listener import Listener
from geventstreams.errors import UnsuitableSocket
from geventstreams.testing.memory_ends import MemoryEnd, MemoryTransport
from geventstreams.testing.memory_lines import Later

ANY = {_socket.AF_INET: "0.0.0.0", _socket.AF_INET6: "::"}
"""The addresses that stand for all of a family."""

LOOPBACK = {_socket.AF_INET: "127.0.0.1", _socket.AF_INET6: "::1"}
OWN = {_socket.AF_INET: "198.18.0.1", _socket.AF_INET6: "2001:2::1"}
"""The addresses that clients connect from: to themselves, and to others. Names get those behind the latter (RFC 2544)."""


class MemorySocket(SocketDouble):
    """A socket of a `MemoryNetwork`, with those methods of `socket.socket` that do not wait. It has no descriptor: `fileno()` is -1."""

    type: int = _socket.SOCK_STREAM
    proto = 0

    def __init__(self, owner: Any, family: int) -> None:
        self.family = family
        self.address: Any = None
        self.destination: Any = None
        self.end: MemoryEnd | None = None
        self.error: int = 0
        """The error of an attempt to connect, until it is asked for."""
        self._network = owner
        self._options: dict[tuple[int, int], Any] = {}
        self._outcome: Wakeup | None = None
        self._listeners: list[MemoryListener] = []
        self._clients: deque[tuple[MemorySocket, Any]] = deque()
        self._backlog = -1
        self._waiting: deque[_Attempt] = deque()
        self._coming = 0
        self.is_closed: bool = False

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "connected" if self.end else "listening" if self.is_listening() else "new"
        return f"<MemorySocket {state} laddr={self.address}>"

    # As of `socket.socket`.

    def fileno(self) -> int:
        return -1

    def setblocking(self, flag: bool) -> None:
        """Do nothing: no method waits."""

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        self._options[level, option] = value
        if (level, option) == (_socket.SOL_SOCKET, _socket.SO_LINGER) and self.end is not None:
            self.end.resets = struct.unpack("ii", value) == (1, 0)

    def getsockopt(self, level: int, option: int, _size: int = 0) -> Any:
        if level == _socket.SOL_SOCKET and option == _socket.SO_ERROR:
            error, self.error = self.error, 0
            return error
        if level == _socket.SOL_SOCKET and option in (_socket.SO_TYPE, _socket.SO_ACCEPTCONN):
            return self.type if option == _socket.SO_TYPE else int(self.is_listening())
        return self._options.get((level, option), 0)

    def bind(self, address: Any) -> None:
        host, port = address[0] or ANY[self.family], address[1]
        if port and self._network.is_listening(self.family, host, port):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self.address = self._full(host, port or self._network.free_port())

    def _full(self, host: str, port: int) -> Any:
        return (host, port) if self.family == _socket.AF_INET else (host, port, 0, 0)

    def key(self) -> tuple[int, str, int]:
        """Return its family, host and port."""
        return self.family, self.address[0], self.address[1]

    def getsockname(self) -> Any:
        if self.address is None:
            return self._full(ANY[self.family], 0)
        return self.address

    def getpeername(self) -> Any:
        if self.end is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self.end.addresses[1]

    def detach(self) -> MemorySocket:
        """Return itself, which is all that there is of it."""
        return self

    def close(self) -> None:
        """Close the connection, or the listener, whose queued clients see a reset."""
        if self.is_closed:
            return
        self.is_closed = True
        if self.end is not None:
            self.end.close()
        if self.is_listening():
            self._backlog = -1
            with suppress(KeyError):
                del self._network._listening[self.key()]
            for client, _ in self._clients:
                client.abort()
            self._clients.clear()
            for attempt in self._waiting:
                attempt.refuse()

    def abort(self) -> None:
        """Reset the connection."""
        if self.end is not None:
            self.end.close(abort=True)

    # Connecting.

    def connect_ex(self, address: Any) -> int:
        """Begin to connect. Return 0 when it is connected, or an error number."""
        host, port = address[:2]
        if host == ANY[self.family]:
            host = LOOPBACK[self.family]
        own_host, own_port = (ANY[self.family], 0) if self.address is None else self.address[:2]
        if own_host == ANY[self.family]:
            is_loopback = host == "::1" or host.startswith("127.")
            self.bind(((LOOPBACK if is_loopback else OWN)[self.family], own_port))
        self.destination = self._full(host, port)
        return _Attempt(self._network, self).begin()

    def connect_wakeup(self) -> Wakeup:
        self._outcome = Wakeup(get_hub())
        return self._outcome

    def settle(self, error: int = 0) -> None:
        """Report how the attempt to connect has ended."""
        self.error = error
        if self._outcome is not None:
            self._outcome.fire()

    def transport(self) -> MemoryTransport:
        """Return a transport over this connection."""
        if self.end is None:
            raise UnsuitableSocket(f"socket {self!r} is not connected")
        return MemoryTransport(self.end, self)

    # Listening.

    def listen(self, backlog: int = 128) -> None:
        """Accept connections to its address into a queue."""
        self._backlog = backlog
        self._network.listen(self)

    def is_listening(self) -> bool:
        """Return whether it listens."""
        return self._backlog >= 0

    def reserve(self, attempt: _Attempt) -> bool:
        """Return whether there is a place in the queue; else the attempt goes on when there is one."""
        if self._is_full():
            self._waiting.append(attempt)
            return False
        self._coming += 1
        return True

    def _is_full(self) -> bool:
        return len(self._clients) + self._coming > self._backlog  # one more than `backlog`, as in Linux

    def arrived(self, client: MemorySocket, address: Any) -> None:
        """Put a connection into the queue."""
        self._coming -= 1
        if not self.is_listening():
            client.abort()
            return
        self._clients.append((client, address))
        for listener in self._listeners:
            listener.notice()

    def has_clients(self) -> bool:
        """Return whether a client can be accepted."""
        return bool(self._clients)

    def accept(self) -> tuple[MemorySocket, Any]:
        """Return the socket and the address of the next client. BlockingIOError if there is none."""
        if not self._clients:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        accepted = self._clients.popleft()
        while self._waiting and not self._is_full():
            self._waiting.popleft().arrive()
        return accepted

    def listener(self, hub: Any, arrived: Callable[[], object]) -> MemoryListener:
        """Return what calls `arrived` when a client has come."""
        return MemoryListener(hub, self, arrived)

    def watch(self, listener: MemoryListener) -> None:
        """Have a listener notice clients from now on."""
        self._listeners.append(listener)

    def unwatch(self, listener: MemoryListener) -> None:
        """Have a listener notice clients no longer."""
        self._listeners.remove(listener)


class _Attempt:
    """An attempt to connect: a packet to the server, one back, and one that puts the connection into the listener's queue."""

    def __init__(self, owner: Any, client: MemorySocket) -> None:
        self._network = owner
        self._client = client
        self._address = client.destination
        self._lines = owner.lines()
        self._hub = get_hub()

    def begin(self) -> int:
        """Send the first packet. Return 0 when the client is connected already, an error number, or EINPROGRESS."""
        if not self._lines["to_server"].swallows_all():
            self._after("to_server", self.arrive)
        if self._client.end is not None:
            return 0
        return self._client.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR) or errno.EINPROGRESS

    def _after(self, direction: str, step: Callable[[], None]) -> None:
        """Make a step when a packet has arrived."""
        seconds = self._lines[direction].draw_latency()
        if seconds:
            Later(self._hub, seconds, step)
        else:
            step()

    def arrive(self) -> None:
        """Ask the listener."""
        if self._client.is_closed:
            return
        listener = self._network.listener_at(self._client.family, self._address)
        if listener is None:
            self.refuse()
        elif listener.reserve(self):
            self._after("to_client", partial(self._establish, listener))

    def refuse(self) -> None:
        """Send a refusal."""
        self._after("to_client", partial(self._settle, errno.ECONNREFUSED))

    def _settle(self, error: int) -> None:
        if not self._client.is_closed:
            self._client.settle(error)

    def _establish(self, listener: MemorySocket) -> None:
        client = self._client
        server = MemorySocket(self._network, listener.family)
        seen, server.address = client.address, self._address
        if listener.family != client.family:
            seen, server.address = ((f"::ffff:{host}", port, 0, 0) for host, port in (seen, server.address))
        self._network.connect(client, server, self._lines, seen)
        if client.is_closed:
            client.abort()
        self._settle(0)
        self._after("to_server", partial(listener.arrived, server, seen))


class MemoryListener(Listener):
    """Calls its owner from the hub while clients wait in the queue of a `MemorySocket`."""

    def __init__(self, hub: Any, socket: MemorySocket, arrived: Callable[[], object]) -> None:
        self._init_listener(hub, Wakeup(hub), socket, _ClientWatcher(hub.loop, socket), arrived)
        socket.watch(self)

    def notice(self) -> None:
        """Report a client: to greenlets that wait for one, and to the owner."""
        self._arrivals.fire()
        self._watcher.look()

    def accept(self) -> Any:
        if self._process != FORK.generation:
            return None
        try:
            return self._accepting_socket.accept()
        except BlockingIOError:
            return None

    def readable_now(self) -> bool:
        self.refuse_in_child()
        return self._arrived is None or self._accepting_socket.has_clients()

    def close(self) -> None:
        if self._arrived is not None:
            self._accepting_socket.unwatch(self)
            Listener.close(self)


class _ClientWatcher:
    """Calls from the hub again and again while clients wait, as a watcher of the loop does for a descriptor."""

    def __init__(self, loop: Any, socket: MemorySocket) -> None:
        self._loop = loop
        self._socket = socket
        self._callback: Callable[[], object] | None = None
        self._call: Any = None

    def start(self, callback: Callable[[], object]) -> None:
        self._callback = callback
        self.look()

    def look(self) -> None:
        """Call in the next turn of the hub, if clients wait."""
        if self._callback is not None and self._call is None and self._socket.has_clients():
            self._call = self._loop.run_callback(self._fire)

    def _fire(self) -> None:
        self._call = None
        if self._callback is not None and self._socket.has_clients():
            try:
                self._callback()
            finally:
                self.look()

    def stop(self) -> None:
        self._callback = None

    def close(self) -> None:
        self.stop()
