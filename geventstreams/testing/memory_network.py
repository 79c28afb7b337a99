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

from __future__ import annotations

import _socket
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from random import Random, SystemRandom
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from gevent import get_hub

from geventstreams._constants import BLOCK
from geventstreams._core.fork import FORK
from geventstreams._core.host_names import is_literal
from geventstreams._core.hub_hold import hold_of
from geventstreams._net.network import Network, leave, network, use
from geventstreams.testing.memory_ends import MemoryEnd
from geventstreams.testing.memory_lines import CUT, RESET, Line, LineOptions, join
from geventstreams.testing.memory_sockets import ANY, OWN, MemorySocket

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


FIRST_PORT, LAST_PORT = 49152, 65535
"""The ports that are given to sockets without one."""

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

    def __init__(
        self, *, seed: int | None = None, latency: float | tuple[float, float] = 0.0, bandwidth: float | None = None,
        chunks: int | tuple[int, int] | None = None, reset_after: int | None = None, cut_after: int | None = None,
        stall: int | tuple[int, float] | None = None, window: int = BLOCK, to_server: OneWay | None = None, to_client: OneWay | None = None,
    ) -> None:
        link: dict[str, Any] = {
            "latency": latency, "bandwidth": bandwidth, "chunks": chunks, "reset_after": reset_after, "cut_after": cut_after,
            "stall": stall, "window": window, "to_server": to_server or {}, "to_client": to_client or {},
        }
        self.seed: int = SystemRandom().randrange(10**6) if seed is None else seed
        self.hosts: dict[str, list[str]] = {"localhost": ["127.0.0.1", "::1"]}
        self.links: list[Link] = []
        self._options = link
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
        for name in ("to_server", "to_client"):
            if not isinstance(options[name], Mapping):
                raise TypeError(f"{name} must be a dictionary of arguments, not {type(options[name]).__name__} {options[name]!r}")
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
