"""Clients and servers that call back: cl-async's functions, by their names."""

# Invariants: arguments are checked before anything is looked up or opened. A connection takes over the stream that an opener of the
# blocking half has made, its handshake done.

from __future__ import annotations

import _socket
import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, overload

from geventstreams._core import arguments
from geventstreams._core.transport import address_name
from geventstreams._core.wakeup import refuse_dead_hub
from geventstreams._net.addresses import Query, family_of, host_name, look_up_own, port_or_name
from geventstreams._net.connect import tcp_opener, unix_opener
from geventstreams._net.listening import adopt, first_listening
from geventstreams._net.unix_paths import BoundPath, unix_path
from geventstreams._streams.options import keywords_for, takes_keywords_of
from geventstreams._streams.socket_stream import SocketStream, StreamFactory
from geventstreams.callbacks.connecting import Opener
from geventstreams.callbacks.connection import AsyncSocket
from geventstreams.callbacks.options import ConnectionOptions, ReadCallback, bytes_to_send
from geventstreams.callbacks.server import AsyncServer
from geventstreams.callbacks.stream import AsyncIOStream, AsyncStream
from geventstreams.errors import StreamClosed

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from geventstreams._types import (
        AnyReadCallback,
        BytesCallback,
        EventCallback,
        Host,
        IPv6,
        PipeConnectArguments,
        PipeServerArguments,
        ReadableBuffer,
        Service,
        SocketCallback,
        StreamCallback,
        TCPConnectArguments,
        TCPServerArguments,
        UnixPath,
    )


@overload
def tcp_connect(host: Host | UnixPath, port: Service | None, read_cb: BytesCallback | None, event_cb: EventCallback | None = None, *,
                connect_cb: SocketCallback | None = None, stream: Literal[False] = False,
                dont_drain_read_buffer: Literal[False] | None = None, **options: Unpack[TCPConnectArguments]) -> AsyncSocket: ...
@overload
def tcp_connect(host: Host | UnixPath, port: Service | None, read_cb: StreamCallback | None, event_cb: EventCallback | None = None, *,
                connect_cb: SocketCallback | None = None, stream: Literal[False] = False, dont_drain_read_buffer: Literal[True],
                **options: Unpack[TCPConnectArguments]) -> AsyncSocket: ...
@overload
def tcp_connect(host: Host | UnixPath, port: Service | None, read_cb: StreamCallback | None, event_cb: EventCallback | None = None, *,
                connect_cb: Callable[[AsyncIOStream], object] | None = None, stream: Literal[True],
                dont_drain_read_buffer: Literal[True] | None = None, **options: Unpack[TCPConnectArguments]) -> AsyncIOStream: ...
@takes_keywords_of(ConnectionOptions.__init__)
def tcp_connect(host: Any, port: Any, read_cb: ReadCallback | None, event_cb: EventCallback | None = None, *,
                data: ReadableBuffer | str | None = None, timeout: float | None = None, local_address: Host | None = None,
                local_port: Service | None = None, nodelay: bool = True, keepalive: bool = False, ipv6: IPv6 = "any",
                tlsext_host_name: str | bool | None = True, **options: Any) -> Any:
    """Connect to a TCP server, and call back. Never waits. cl-async: `tcp-connect`.

    The callbacks of a connection run one after another, and may wait, which holds up no other connection. After the event that ends a
    connection, and after a `close` that could deliver what was written, nothing is called back.

    Args:
        host: A name, an IPv4 or IPv6 literal, an integer (IPv4), or an `ipaddress` object; without a port, the path of a Unix socket.
        port: A port, digits, or the name of a service.
        read_cb: Called with the socket and the bytes that arrived, or with the socket and its stream; never with no bytes. None keeps the
            bytes in the stream.
        event_cb: Called with a `TCPEvent`, once for each thing that ends the connection. Without one an end of file is silent, and errors
            go to the hub's `handle_error`.
        data: What to send first: bytes-like, or a string, which is sent as UTF-8.
        timeout: Seconds for looking up and connecting; None for the smaller one of `read_timeout` and `write_timeout`.
        local_address: The address to connect from.
        local_port: The port to connect from.
        nodelay: Send small packets at once (TCP_NODELAY).
        keepalive: Let the system probe an idle connection (SO_KEEPALIVE).
        ipv6: `"any"`, True for IPv6 only, False for IPv4 only.
        tlsext_host_name: The name that the certificate is checked for; True means `host`, None no name, which the context must
            allow (`check_hostname`).
        connect_cb: Called with the socket, or with `stream` with its stream, when the connection is established, under TLS after the
            handshake, and before any other callback.
        write_cb: Called with the socket when everything that was written is with the system.
        stream: Return the stream, and pass it to `connect_cb` and `read_cb`. Implies `dont_drain_read_buffer`.
        dont_drain_read_buffer: Keep the bytes in the socket's stream, and pass that to `read_cb`.
        read_timeout: Seconds without input after which the connection is closed.
        write_timeout: Seconds without progress while sending after which the connection is closed.
        half_close: Go on sending after the peer's end of file.
        high_water: Receive nothing while more bytes than this are unread. `write` returns False while more than this are unsent.
        low_water: Receive again when fewer bytes than this are unread.
        element_type: As for `SocketStream`; so are `encoding`, `line_limit` and `linger_timeout`.
        ssl_ctx: As for `SocketStream`; so are `ctx_configure_callback`, `ssl_configure_callback`, `handshake_timeout` and
            `allow_truncation`.

    Returns:
        The `AsyncSocket`, or with `stream` its `AsyncIOStream`. What is written to it before the connection is established is sent then.
    """
    if port is None and _is_path(host):
        name = None if tlsext_host_name is True else tlsext_host_name
        return pipe_connect(host, read_cb, event_cb, data=data, timeout=timeout, tlsext_host_name=name, **options)
    port_or_name("port", port)
    connection = ConnectionOptions(read_cb, event_cb, **keywords_for(tcp_connect, options))
    seconds, tls = connection.of_client(timeout)
    opener = tcp_opener(host, port, seconds, local_address, local_port, nodelay, keepalive, ipv6, tlsext_host_name, SocketStream, tls)
    return _begin(connection, opener, address_name((host, port)), data)


@overload
def pipe_connect(path: UnixPath, read_cb: BytesCallback | None, event_cb: EventCallback | None = None, *,
                 connect_cb: SocketCallback | None = None, stream: Literal[False] = False,
                 dont_drain_read_buffer: Literal[False] | None = None, **options: Unpack[PipeConnectArguments]) -> AsyncSocket: ...
@overload
def pipe_connect(path: UnixPath, read_cb: StreamCallback | None, event_cb: EventCallback | None = None, *,
                 connect_cb: SocketCallback | None = None, stream: Literal[False] = False, dont_drain_read_buffer: Literal[True],
                 **options: Unpack[PipeConnectArguments]) -> AsyncSocket: ...
@overload
def pipe_connect(path: UnixPath, read_cb: StreamCallback | None, event_cb: EventCallback | None = None, *,
                 connect_cb: Callable[[AsyncIOStream], object] | None = None, stream: Literal[True],
                 dont_drain_read_buffer: Literal[True] | None = None, **options: Unpack[PipeConnectArguments]) -> AsyncIOStream: ...
@takes_keywords_of(ConnectionOptions.__init__)
def pipe_connect(path: UnixPath, read_cb: ReadCallback | None, event_cb: EventCallback | None = None, *,
                 data: ReadableBuffer | str | None = None, timeout: float | None = None, tlsext_host_name: str | bool | None = None,
                 **options: Any) -> Any:
    """Connect to a server on a Unix socket, and call back. Never waits. cl-async: `pipe-connect`.

    Args:
        path: A string, bytes, a `pathlib.Path`, or a name that begins with a NUL character (Linux's abstract sockets).
        read_cb: As for `tcp_connect`, which describes all other arguments as well.

    Returns:
        The `AsyncSocket`, or with `stream` its `AsyncIOStream`.
    """
    connection = ConnectionOptions(read_cb, event_cb, **keywords_for(pipe_connect, options))
    seconds, tls = connection.of_client(timeout)
    opener = unix_opener(path, seconds, tlsext_host_name, SocketStream, tls)
    return _begin(connection, opener, address_name(os.fspath(path)), data)


def _begin(connection: ConnectionOptions, opener: Opener, peer: str, data: Any) -> Any:
    first = None if data is None else bytes_to_send(data)
    socket = AsyncSocket(connection, opener=opener, peer=peer)
    AsyncIOStream.__new__(AsyncIOStream)._claim(socket, connection.of_streams)
    if first is not None:
        socket.write(first)
    socket._start()
    return socket.stream if connection.stream else socket


@overload
def tcp_server(bind_address: Host | UnixPath | None, port: Service | None, read_cb: BytesCallback | None,
               event_cb: EventCallback | None = None, *, connect_cb: SocketCallback | None = None, stream: Literal[False] = False,
               dont_drain_read_buffer: Literal[False] | None = None, **options: Unpack[TCPServerArguments]) -> AsyncServer: ...
@overload
def tcp_server(bind_address: Host | UnixPath | None, port: Service | None, read_cb: StreamCallback | None,
               event_cb: EventCallback | None = None, *, connect_cb: SocketCallback | None = None, stream: Literal[False] = False,
               dont_drain_read_buffer: Literal[True], **options: Unpack[TCPServerArguments]) -> AsyncServer: ...
@overload
def tcp_server(bind_address: Host | UnixPath | None, port: Service | None, read_cb: StreamCallback | None,
               event_cb: EventCallback | None = None, *, connect_cb: Callable[[AsyncIOStream], object] | None = None, stream: Literal[True],
               dont_drain_read_buffer: Literal[True] | None = None, **options: Unpack[TCPServerArguments]) -> AsyncServer: ...
@takes_keywords_of(ConnectionOptions.__init__, handshake_timeout=10.0)
def tcp_server(bind_address: Any, port: Service | None, read_cb: ReadCallback | None, event_cb: EventCallback | None = None, *,
               backlog: int = 128, fd: int | None = None, nodelay: bool = True, ipv6: IPv6 = "any", **options: Any) -> AsyncServer:
    """Listen, and call back for each connection. cl-async: `tcp-server`.

    Args:
        bind_address: The address to listen on; None for all IPv4 addresses of this machine, with `ipv6=True` for all IPv6 ones; without a
            port, the path of a Unix socket.
        port: The port to listen on; 0 for a free one, which the server's `port` tells.
        read_cb: As for `tcp_connect`, which describes all arguments that are not listed here.
        backlog: How many clients may wait to be accepted.
        fd: The descriptor of a listening socket to take over instead.
        nodelay: Send small packets at once (TCP_NODELAY).
        ipv6: `"any"`, True for IPv6 only, False for IPv4 only.
        handshake_timeout: Seconds for a client's TLS handshake, during which others are accepted and served.

    Returns:
        The server, which listens already.

    Raises:
        OSError: The address cannot be listened on: it is in use, or not of this machine.
    """
    if fd is None and port is None and _is_path(bind_address):
        return pipe_server(bind_address, read_cb, event_cb, backlog=backlog, **options)
    connection = ConnectionOptions(read_cb, event_cb, **keywords_for(tcp_server, options))
    factory = StreamFactory(SocketStream, **connection.tls)
    arguments.positive("backlog", backlog)
    family = family_of(ipv6)
    refuse_dead_hub()
    if fd is not None:
        socket = adopt("fd", fd)
    else:
        host, literal = (None, True) if bind_address is None else host_name("bind_address", bind_address)
        addresses = look_up_own(Query(host, literal, port_or_name("port", port), family))
        if host is None:
            addresses.sort()  # AF_INET's first
        socket = first_listening(addresses, backlog, only_ipv6=True, skipped=errno.errorcode)
    return AsyncServer(socket, connection, factory, AsyncIOStream, nodelay)


@overload
def pipe_server(path: UnixPath, read_cb: BytesCallback | None, event_cb: EventCallback | None = None, *,
                connect_cb: SocketCallback | None = None, stream: Literal[False] = False,
                dont_drain_read_buffer: Literal[False] | None = None, **options: Unpack[PipeServerArguments]) -> AsyncServer: ...
@overload
def pipe_server(path: UnixPath, read_cb: StreamCallback | None, event_cb: EventCallback | None = None, *,
                connect_cb: SocketCallback | None = None, stream: Literal[False] = False, dont_drain_read_buffer: Literal[True],
                **options: Unpack[PipeServerArguments]) -> AsyncServer: ...
@overload
def pipe_server(path: UnixPath, read_cb: StreamCallback | None, event_cb: EventCallback | None = None, *,
                connect_cb: Callable[[AsyncIOStream], object] | None = None, stream: Literal[True],
                dont_drain_read_buffer: Literal[True] | None = None, **options: Unpack[PipeServerArguments]) -> AsyncServer: ...
@takes_keywords_of(ConnectionOptions.__init__, handshake_timeout=10.0)
def pipe_server(path: UnixPath, read_cb: ReadCallback | None, event_cb: EventCallback | None = None, *, backlog: int = 128,
                **options: Any) -> AsyncServer:
    """Listen on a Unix socket, and call back for each connection. cl-async: `pipe-server`.

    The path is removed when the server closes, by the process that called this, unless another file has taken its place.

    Args:
        path: A string, bytes, a `pathlib.Path`, or a name that begins with a NUL character (Linux's abstract sockets).
        read_cb: As for `tcp_connect`, which describes all other arguments as well.
        backlog: How many clients may wait to be accepted.

    Returns:
        The server, which listens already.

    Raises:
        OSError: The path cannot be listened on.
    """
    where = unix_path("path", path)
    connection = ConnectionOptions(read_cb, event_cb, **keywords_for(pipe_server, options))
    factory = StreamFactory(SocketStream, **connection.tls)
    arguments.positive("backlog", backlog)
    refuse_dead_hub()
    socket = first_listening([(_socket.AF_UNIX, where)], backlog, only_ipv6=True)
    return AsyncServer(socket, connection, factory, AsyncIOStream, nodelay=False, path=BoundPath(where))


def _is_path(value: Any) -> bool:
    return isinstance(value, os.PathLike) or (isinstance(value, (str, bytes)) and value[:1] in ("/", "\0", b"/", b"\0"))


def write_socket_data(socket: AsyncSocket | AsyncStream, data: ReadableBuffer | str, *,
                      read_cb: AnyReadCallback | None = None, write_cb: SocketCallback | None = None,
                      event_cb: EventCallback | None = None, start: int = 0, end: int | None = None) -> bool:
    """Queue `data[start:end]` to be sent, as `AsyncSocket.write` does. cl-async: `write-socket-data`.

    Args:
        socket: An `AsyncSocket` or its stream.
        data: Bytes-like, or a string, which is sent as UTF-8.
        read_cb: Replaces the socket's callback, as `write_cb` and `event_cb` do; None leaves it as it is.

    Returns:
        False if more than `high_water` bytes are unsent now.

    Raises:
        StreamClosed: The socket is closed.
    """
    connection = _socket_of(socket)
    if connection.closed:
        raise StreamClosed(f"socket {connection!r} is closed")
    connection.set_callbacks(read_cb, event_cb, write_cb)
    return connection.write(data, start, end)


def close_socket(socket: AsyncSocket | AsyncStream, force: bool = False) -> None:
    """Close an `AsyncSocket` or its stream, as `AsyncSocket.close` does. cl-async: `close-socket`."""
    if isinstance(socket, AsyncStream):
        socket.close(force)
    else:
        _socket_of(socket).close(force)


def set_socket_timeouts(socket: AsyncSocket | AsyncStream, read: float | None, write: float | None) -> None:
    """Set both timeouts of a socket or its stream, as `AsyncSocket.set_timeouts` does. cl-async: `set-socket-timeouts`."""
    _socket_of(socket).set_timeouts(read, write)


def socket_data(socket: AsyncSocket | AsyncStream) -> Any:
    """Return the application's own object of a socket or its stream, set by `socket.data = ...`. cl-async: `socket-data`."""
    return _socket_of(socket).data


def close_tcp_server(server: AsyncServer) -> None:
    """Close the listener of a server; its connections go on. cl-async: `close-tcp-server`."""
    arguments.instance("server", server, AsyncServer).close()


def _socket_of(socket: Any) -> AsyncSocket:
    """Return the socket of a stream, or the socket itself."""
    connection = socket
    if isinstance(socket, AsyncStream):
        connection = socket.socket
        if connection is None:
            raise StreamClosed(f"{socket!r} is closed", stream=socket)
    if not isinstance(connection, AsyncSocket):
        raise TypeError(f"socket must be an AsyncSocket or its stream, not {type(socket).__name__} {socket!r}")
    return connection
