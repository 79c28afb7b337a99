"""A network in memory: servers and clients of one hub talk over links that are as slow and as faulty as a test wants, without descriptors.

    with MemoryNetwork(latency=0.05, to_client={"reset_after": 1000}) as network, virtual_time():
        server = SocketStreamServer(("server", 80), handle)
        server.start()
        stream = open_tcp_stream("server", 80)
"""

# Invariants:
# * A connection takes its links' options when it begins, and one source of chance for each direction: what other connections do has no
#   influence on what it meets.
# * Only the hub that made the network sees it; Unix sockets, other threads and forked children have the system's.
# * A connecting socket that is closed gets nothing any more: the steps of `_Attempt` look at it first.

from __future__ import annotations

import _socket
import errno
import os
import struct
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random, SystemRandom
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from gevent import get_hub

from geventstreams._core.fork import FORK
from geventstreams._core.host_names import is_literal
from geventstreams._core.owned_fd import SocketDouble
from geventstreams._core.wakeup import HubHold, Wakeup, hold_of
from geventstreams._net.listener import Listener
from geventstreams._net.network import Network, leave, network, use
from geventstreams.errors import UnsuitableSocket
from geventstreams.testing.memory_lines import CUT, RESET, Later, Line, LineOptions, MemoryEnd, MemoryTransport, join

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    class OneWay(TypedDict, total=False):
        """How one direction of a link behaves."""

        latency: float | tuple[float, float]
        bandwidth: float | None
        chunks: int | tuple[int, int] | None
        reset_after: int | None
        cut_after: int | None
        stall: int | tuple[int, float] | None
        window: int

    class BothWays(OneWay, total=False):
        """How a link behaves: both directions, and what is different for one."""

        to_server: OneWay
        to_client: OneWay


ANY = {_socket.AF_INET: "0.0.0.0", _socket.AF_INET6: "::"}
"""The addresses that stand for all of a family."""

FIRST_PORT, LAST_PORT = 49152, 65535
"""The ports that are given to sockets without one."""

LOOPBACK = {_socket.AF_INET: "127.0.0.1", _socket.AF_INET6: "::1"}
OWN = {_socket.AF_INET: "198.18.0.1", _socket.AF_INET6: "2001:2::1"}
"""The addresses that clients connect from: to themselves, and to others. Names get those behind the latter (RFC 2544)."""


LINE_ARGUMENTS = tuple(LineOptions.__init__.__kwdefaults__ or ())


class Link:
    """A connection of a `MemoryNetwork`: what a test may do to it while it is in use.

    Attributes:
        client: The client's address.
        server: The server's address.
    """

    def __init__(self, client: Any, server: Any, lines: dict[str, Line]) -> None:
        self.client = client
        self.server = server
        self._lines = lines

    def __repr__(self) -> str:
        return f"<Link from {self.client} to {self.server}>"

    def _chosen(self, direction: str | None) -> list[Line]:
        if direction not in (None, *self._lines):
            raise ValueError(f"direction must be 'to_server', 'to_client' or None, not {direction!r}")
        return [line for name, line in self._lines.items() if direction in (None, name)]

    def stall(self, direction: str | None = None) -> None:
        """Deliver nothing until `resume`, in one direction (`"to_server"`, `"to_client"`) or in both. Bytes wait on their way."""
        for line in self._chosen(direction):
            line.stall()

    def resume(self, direction: str | None = None) -> None:
        """Deliver again what waits and what comes."""
        for line in self._chosen(direction):
            line.resume()

    def reset(self) -> None:
        """Reset the connection: both ends read what is on its way, then see a reset."""
        self._lines["to_client"].send_event(RESET)

    def cut(self) -> None:
        """Have both ends see the end of the other's output, behind what is on its way, as if a proxy between them had closed."""
        self._lines["to_client"].send_event(CUT)


class MemoryNetwork(Network):
    """A network in memory. As a context manager it takes the place of the system's network, for the hub of this thread.

    Within the block `open_tcp_stream`, `tcp_connect`, `SocketStreamServer`, `tcp_server`, `start_up_server` and what is made of them
    connect and listen in it, without descriptors; code under test need not know. Every name has an address there, every address can be
    listened on, and where nothing listens connections are refused. Streams behave as on TCP sockets, with TLS too. Connections that are
    open at the end of the block go on.

    With `virtual_time` slow links cost no time.

    Args:
        seed: Decides all that is random; None draws one. It is in `network.seed`, in the messages of resets, and in a note of any exception
            that leaves the block (printed to stderr before Python 3.11).
        latency: Seconds until a byte arrives, or `(least, most)` for a random time. Bytes stay in order. To connect takes as long as there
            and back.
        bandwidth: Bytes per second; None for no limit.
        chunks: How many bytes arrive at a time, or `(least, most)` for a random number; None for as many as were sent.
        reset_after: Reset the connection when this direction has carried so many bytes.
        cut_after: End the connection in order when this direction has carried so many bytes, as if a proxy between the two had closed.
        stall: Deliver nothing more after so many bytes, or `(bytes, seconds)` for that time. With 0 bytes to the server no connection is
            established.
        window: How many bytes may be sent and not yet received by the peer: then a writer waits.
        to_server: What is different on the way from clients to servers, as a dictionary of the arguments above.
        to_client: What is different on the way from servers to clients.

    Attributes:
        seed: The seed.
        hosts: The addresses of each name, like `/etc/hosts`: a dictionary of lists. A name that is not in it gets an IPv4 address when it
            is looked up; one with an empty list is not found. Names are in lower case.
        links: The `Link` of each connection, in the order in which they began.

    Raises:
        RuntimeError: On entering: a memory network is in use already.
    """

    def __init__(self, *, seed: int | None = None, **link: Unpack[BothWays]) -> None:
        self.seed: int = SystemRandom().randrange(10**6) if seed is None else seed
        self.hosts: dict[str, list[str]] = {"localhost": ["127.0.0.1", "::1"]}
        self.links: list[Link] = []
        self._options: dict[str, Any] = dict(link)
        self._next_options: deque[dict[str, Any]] = deque()
        self._thread = hold_of(get_hub()).thread
        self._process = FORK.generation
        self._ports = LAST_PORT
        self._addresses = 1
        self._attempts = 0
        self._listening: WeakValueDictionary[tuple[int, str, int], MemorySocket] = WeakValueDictionary()
        self._lines({})  # checks the options

    def __repr__(self) -> str:
        return f"<MemoryNetwork seed={self.seed} links={len(self.links)}>"

    def __enter__(self) -> MemoryNetwork:
        if isinstance(network(), MemoryNetwork):
            raise RuntimeError(f"a memory network is in use already: {network()!r}")
        use(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        leave(self)
        if error is not None:
            note = f"in a memory network: MemoryNetwork(seed={self.seed}) repeats what was random"
            if hasattr(error, "add_note"):
                error.add_note(note)
            else:
                print(note, file=sys.stderr)

    def next_link(self, **link: Unpack[BothWays]) -> None:
        """Give the next attempt to connect other options than the network has. Several calls are for as many attempts, in their order."""
        self._lines(link)
        self._next_options.append(dict(link))

    def socketpair(self) -> tuple[MemorySocket, MemorySocket]:
        """Return two connected sockets, the client's and the server's, that `SocketStream` takes. It works outside of the block too."""
        client, server = MemorySocket(self, _socket.AF_INET), MemorySocket(self, _socket.AF_INET)
        client.bind((OWN[client.family], 0))
        server.bind((OWN[server.family], 0))
        self.connect(client, server, self.lines(), client.address)
        return client, server

    # What the package asks a network for.

    def _is_seen(self) -> bool:
        return hold_of(get_hub()).thread == self._thread and self._process == FORK.generation

    def connecting_socket(self, family: int) -> Any:
        if family in ANY and self._is_seen():
            return MemorySocket(self, family)
        return Network.connecting_socket(self, family)

    def listening_socket(self, family: int) -> Any:
        if family in ANY and self._is_seen():
            return MemorySocket(self, family)
        return Network.listening_socket(self, family)

    def getaddrinfo(self, *query: Any) -> list[Any]:
        host, service, family, kind, protocol, _flags = query
        if host is None or is_literal(host) or not self._is_seen():
            return Network.getaddrinfo(self, *query)
        host = host.lower()
        if host not in self.hosts:
            self._addresses += 1
            self.hosts[host] = [f"198.{18 + (self._addresses >> 16)}.{self._addresses >> 8 & 255}.{self._addresses & 255}"]
        found: list[Any] = []
        for address in self.hosts[host]:
            with suppress(_socket.gaierror):  # of another family
                found += _socket.getaddrinfo(address, service, family, kind, protocol, _socket.AI_NUMERICHOST)
        if not found:
            raise _socket.gaierror(_socket.EAI_NONAME, "Name or service not known")
        return found

    # For its sockets.

    def free_port(self) -> int:
        """Return a port on which nothing listens, the next one of those that are given in turn."""
        while True:
            self._ports = FIRST_PORT if self._ports == LAST_PORT else self._ports + 1
            if all(port != self._ports for _, _, port in self._listening):
                return self._ports

    def lines(self) -> dict[str, Line]:
        """Return new lines for the next connection, by their direction."""
        self._attempts += 1
        return self._lines(self._next_options.popleft() if self._next_options else {})

    def _lines(self, link: Any) -> dict[str, Line]:
        options = {**self._options, **link}
        ways = {name: {**self._options.get(name, {}), **link.get(name, {})} for name in ("to_server", "to_client")}
        both = {name: value for name, value in options.items() if name not in ways}
        for name in {**both, **ways["to_server"], **ways["to_client"]}:
            if name not in LINE_ARGUMENTS:
                raise TypeError(f"a link of a memory network has no {name!r}, only {', '.join(LINE_ARGUMENTS)}")
        note = f" (memory network, seed {self.seed})"
        return {
            name: Line(LineOptions(**{**both, **way}), Random(f"{self.seed} {self._attempts} {name}"), note) for name, way in ways.items()
        }

    def connect(self, client: MemorySocket, server: MemorySocket, lines: dict[str, Line], seen: Any) -> None:
        """Connect two sockets that have addresses. The server sees the client's as `seen`."""
        there, back = lines["to_server"], lines["to_client"]
        client.end = MemoryEnd(back, there, (client.address, client.destination or server.address), is_tcp=True)
        server.end = MemoryEnd(there, back, (server.address, seen), is_tcp=True)
        self.links.append(Link(*client.end.addresses, lines))
        join(there, back)

    def listen(self, socket: MemorySocket) -> None:
        """Have a socket listen on its own address."""
        self._listening[socket.key()] = socket

    def is_listening(self, family: int, host: str, port: int) -> bool:
        """Return whether an address is in use."""
        return any(kind == family and used == port and (host == where or ANY[family] in (host, where))
                   for kind, where, used in self._listening)

    def listener_at(self, family: int, address: Any) -> MemorySocket | None:
        """Return the socket that accepts connections to an address, if there is one."""
        host, port = address[:2]
        for key in ((family, host, port), (family, ANY[family], port)):
            if key in self._listening:
                return self._listening[key]
        both = self._listening.get((_socket.AF_INET6, "::", port)) if family == _socket.AF_INET else None
        return None if both is None or both.getsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY) else both


class MemorySocket(SocketDouble):
    """A socket of a `MemoryNetwork`, with those methods of `socket.socket` that do not wait. It has no descriptor: `fileno()` is -1."""

    type: int = _socket.SOCK_STREAM
    proto = 0

    def __init__(self, owner: MemoryNetwork, family: int) -> None:
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

    def __init__(self, owner: MemoryNetwork, client: MemorySocket) -> None:
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
        self._arrivals = Wakeup(hub)
        self.hold: HubHold = self._arrivals.hold
        self._loop = hub.loop
        self._process = FORK.generation
        self._arrived = arrived
        self._accepting_socket: Any = socket
        self._watcher = _ClientWatcher(hub.loop, socket)
        self._timer = None
        self._wanted = False
        self.resting = False
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
        self._refuse()
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
