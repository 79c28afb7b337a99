"""What arguments may be, for type checkers only: at run time there is no such module."""

import os
import ssl
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

from typing_extensions import Buffer, Self

from geventstreams._core.hub_hold import EventHandler as EventHandler
from geventstreams._core.wakeup import Wakeup as Wakeup
from geventstreams._net.proxy_headers import Proxy as Proxy
from geventstreams._streams.blocking import BlockingEngine as BlockingEngine
from geventstreams._streams.buffered import BufferedStream
from geventstreams._streams.elements import ElementType
from geventstreams._streams.socket_stream import SocketStream as SocketStream
from geventstreams._streams.socket_stream import StreamFactory as StreamFactory
from geventstreams._streams.socket_stream import UpgradableStream as UpgradableStream
from geventstreams.callbacks.connection import AsyncSocket as AsyncSocket
from geventstreams.callbacks.events import TCPEvent
from geventstreams.callbacks.stream import AsyncIOStream as AsyncIOStream
from geventstreams.server.server import SocketStreamServer as SocketStreamServer

ReadableBuffer: TypeAlias = Buffer
"""Bytes-like."""

TextMode: TypeAlias = Literal["", "r", "w", "rw", "wr"]

BinaryMode: TypeAlias = Literal["b", "rb", "br", "wb", "bw", "rwb", "rbw", "wrb", "wbr", "brw", "bwr"]

WritableBuffer: TypeAlias = Buffer
"""Bytes-like, and not read-only: checkers cannot tell the two apart."""

Direction: TypeAlias = Literal["io", "input", "output"]
"""Which halves of a stream there are."""

Half: TypeAlias = Literal["input", "output", "io"]

ElementTypeName: TypeAlias = Literal["base-char", "unsigned-byte-8", "signed-byte-8"] | type[str] | type[bytes]
"""An element type by its name, or by the Python type that is like it."""

Host: TypeAlias = str | int | IPv4Address | IPv6Address
"""A name, an IP literal, an IPv4 address as an integer, or an object of `ipaddress`."""

Service: TypeAlias = int | str
"""A port, digits, or the name of a service."""

IPv6: TypeAlias = bool | Literal["any"]

UnixPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

MaybeNone: TypeAlias = Any
"""In a union: None in cases that a caller knows, as typeshed has it. Checkers need no test for it."""

Address: TypeAlias = Any
"""An address as the system gives it. Its type depends on the family: a union would refuse `host, port = address`."""

TLSContext: TypeAlias = ssl.SSLContext | Literal[True, "tls-v1.2", "tls-v1.3"]
"""A context, True for a secure default one, or the only version of TLS to speak."""

AnySide: TypeAlias = Literal["client", "server", "both"]

ConfigureContext: TypeAlias = Callable[[ssl.SSLContext], object]

ConfigureSSL: TypeAlias = Callable[[ssl.SSLObject], object]

class SocketLike(Protocol):
    """A socket of the standard library, of gevent, or of another library."""

    def fileno(self) -> int: ...
    def getsockname(self) -> Any: ...

class ListeningSocket(Protocol):
    """A socket that listens."""

    def fileno(self) -> int: ...
    def accept(self) -> Any: ...

Listen: TypeAlias = int | str | tuple[str, int] | tuple[str, int, int, int] | ListeningSocket
"""A port, `"HOST:PORT"`, an address, or a socket that listens already."""

class GreenletPool(Protocol):
    """A `gevent.pool.Pool`."""

    def full(self) -> bool: ...
    def add(self, greenlet: Any, /) -> Any: ...

Spawn: TypeAlias = Literal["default"] | int | GreenletPool | Callable[..., Any]

Balancers: TypeAlias = bool | Iterable[str | IPv4Network | IPv6Network]
"""Whether, or from which networks, connections begin with a PROXY header."""

BytesCallback: TypeAlias = Callable[[AsyncSocket, bytes], object]
"""A read callback of a connection that drains: it gets the bytes that arrived."""

StreamCallback: TypeAlias = Callable[[AsyncSocket, AsyncIOStream], object]
"""A read callback of a connection that does not drain: it gets the stream that has the bytes."""

AnyReadCallback: TypeAlias = BytesCallback | StreamCallback

SocketCallback: TypeAlias = Callable[[AsyncSocket], object]

Handler: TypeAlias = Callable[[SocketStream, Any], None]
"""A handler of the command line's servers."""

EventCallback: TypeAlias = Callable[[TCPEvent], object]

AnyStream: TypeAlias = BufferedStream
"""A stream of any kind, as errors name it."""

Waitable: TypeAlias = BufferedStream | SocketStreamServer
"""What waits for input take."""

class GeventServer:
    """What users see of `gevent.server.StreamServer`, which has no types of its own; those of `types-gevent` want handlers of sockets."""

    address: Address
    family: int
    socket: Any
    pool: Any
    started: bool
    max_accept: int
    _spawn: Any
    _handle: Any

    def __init__(self, listener: Listen, handle: Callable[..., object] | None, *, backlog: int | None, spawn: Spawn) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def server_host(self) -> str: ...
    @property
    def server_port(self) -> int: ...
    def init_socket(self) -> None: ...
    def start(self) -> None: ...
    def serve_forever(self, stop_timeout: float | None = None) -> None: ...
    def close(self) -> None: ...
    def full(self) -> bool: ...
    def is_fatal_error(self, error: BaseException, /) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *ended_by: object) -> None: ...

# Keyword arguments that functions hand on, for `Unpack`. Those that decide the types of others are in the functions' own signatures.

class CommonArguments(TypedDict, total=False):
    """Of all streams and of all connections that call back."""

    element_type: ElementType | ElementTypeName
    encoding: str
    read_timeout: float | None
    write_timeout: float | None
    line_limit: float | None
    linger_timeout: float | None
    ssl_ctx: TLSContext | None
    ctx_configure_callback: ConfigureContext | None
    ssl_configure_callback: ConfigureSSL | None
    handshake_timeout: float | None
    allow_truncation: bool

class ConnectArguments(TypedDict, total=False):
    """Of all clients."""

    timeout: float | None
    tlsext_host_name: str | bool | None

class ConnectTCPArguments(TypedDict, total=False):
    """Of clients that connect over TCP."""

    local_address: Host | None
    local_port: Service | None
    nodelay: bool
    keepalive: bool
    ipv6: IPv6

class StreamArguments(CommonArguments, total=False):
    """Of openers and servers: those of `StreamOptions`."""

    direction: Direction

class ListenArguments(TypedDict, total=False):
    """Of all servers but those that call back."""

    backlog: int | None
    nodelay: bool
    keepalive: bool

class HandleServerArguments(ListenArguments, total=False):
    """Of `start_up_server` that makes no stream."""

    address: Host | None
    announce: Callable[[Any, OSError | None], object] | Literal[True] | None
    process_name: str | None
    ipv6: IPv6

class ServerArguments(StreamArguments, ListenArguments, total=False):
    """Of `SocketStreamServer`."""

    ssl_side: AnySide
    spawn: Spawn
    max_connections: int | None
    proxy_protocol: Balancers

class StartUpArguments(ServerArguments, HandleServerArguments, total=False):
    """Of `start_up_server`."""

class OpenUnixArguments(StreamArguments, ConnectArguments, total=False):
    """Of `open_unix_stream`."""

class OpenTCPArguments(OpenUnixArguments, ConnectTCPArguments, total=False):
    """Of `open_tcp_stream`."""

class ConnectionArguments(CommonArguments, total=False):
    """Of clients and servers that call back: those of `ConnectionOptions`."""

    write_cb: SocketCallback | None
    half_close: bool
    high_water: int
    low_water: int

class PipeConnectArguments(ConnectionArguments, ConnectArguments, total=False):
    """Of `pipe_connect`."""

    data: ReadableBuffer | str | None

class TCPConnectArguments(PipeConnectArguments, ConnectTCPArguments, total=False):
    """Of `tcp_connect`."""

class PipeServerArguments(ConnectionArguments, total=False):
    """Of `pipe_server`."""

    backlog: int

class TCPServerArguments(PipeServerArguments, total=False):
    """Of `tcp_server`."""

    fd: int | None
    nodelay: bool
    ipv6: IPv6
