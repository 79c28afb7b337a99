"""Connections that call back: cl-async's TCP clients and servers, with the names of its pages.

Rules for the next editor: arguments are checked before anything is looked up or opened. Connecting is connect.py's, TLS is the socket
stream's; a connection takes over what they made.
"""

from __future__ import annotations

import _socket
import errno
import os
from collections.abc import Callable
from typing import Any

from geventstreams._core import arguments
from geventstreams._core.transport import address_name
from geventstreams._net.addresses import Query, family_of, host_name, look_up_own, port_or_name
from geventstreams._net.connect import client_factory, open_tcp_stream, open_unix_stream
from geventstreams._net.listening import adopt, first_listening
from geventstreams._net.unix_paths import BoundPath, unix_path
from geventstreams._streams.factory import StreamFactory
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.callbacks.connection import AsyncSocket
from geventstreams.callbacks.options import HIGH_WATER, LOW_WATER, Callback, ConnectionOptions, ReadCallback, bytes_to_send, callback
from geventstreams.callbacks.server import AsyncServer, Securer
from geventstreams.callbacks.stream import AsyncStream
from geventstreams.errors import StreamClosed

TLSCallback = Callable[[Any], object]


def tcp_connect(
    host: Any, port: Any, read_cb: ReadCallback | None, event_cb: Callback | None = None, *, data: Any = None, stream: bool = False,
    dont_drain_read_buffer: bool | None = None, connect_cb: Callback | None = None, write_cb: Callback | None = None,
    read_timeout: float | None = None, write_timeout: float | None = None, half_close: bool = False, ssl_ctx: Any = None,
    ctx_configure_callback: TLSCallback | None = None, ssl_configure_callback: TLSCallback | None = None,
    handshake_timeout: float | None = None, tlsext_host_name: Any = True, allow_truncation: bool = False, timeout: float | None = None,
    local_address: Any = None, local_port: Any = None, nodelay: bool = True, keepalive: bool = False, ipv6: Any = "any",
    high_water: int = HIGH_WATER, low_water: int = LOW_WATER, element_type: Any = "unsigned-byte-8",
    encoding: str = "latin-1", line_limit: float | None = 2**20, linger_timeout: float | None = 2.0,
) -> Any:
    """Connects, and calls back. Returns at once: the `AsyncSocket`, or its `AsyncIOStream` with `stream`. cl-async's `tcp-connect`.

    `connect_cb(socket_or_stream)` comes once, before all else; `read_cb(socket, octets)` when octets come; `write_cb(socket)` when all
    that was written is with the system; `event_cb(event)` once for each thing that ends the connection (a `TCPEvent`). With `stream` or
    `dont_drain_read_buffer` the octets stay in the socket's stream, and `read_cb` gets that. `data` (bytes-like, or a string, sent as
    UTF-8) and what is written before the connection stands are sent when it does.

    `read_timeout` limits the seconds between receipts, `write_timeout` those without progress while sending; the smaller one limits the
    connecting too, unless `timeout` does. With `half_close` the end of the peer's output leaves ours open. No more is received while more
    than `high_water` octets lie unread, until fewer than `low_water` do. The other arguments are `open_tcp_stream`'s. A path as `host`
    without a port is a Unix socket's.
    """
    if port is None and _is_path(host):
        return pipe_connect(
            host, read_cb, event_cb, data=data, stream=stream, dont_drain_read_buffer=dont_drain_read_buffer, connect_cb=connect_cb,
            write_cb=write_cb, read_timeout=read_timeout, write_timeout=write_timeout, half_close=half_close, ssl_ctx=ssl_ctx,
            ctx_configure_callback=ctx_configure_callback, ssl_configure_callback=ssl_configure_callback,
            handshake_timeout=handshake_timeout, tlsext_host_name=None if tlsext_host_name is True else tlsext_host_name,
            allow_truncation=allow_truncation, timeout=timeout, high_water=high_water, low_water=low_water, element_type=element_type,
            encoding=encoding, line_limit=line_limit, linger_timeout=linger_timeout,
        )
    name, _ = host_name("host", host)
    port_or_name("port", port)
    family_of(ipv6)
    if local_address is not None:
        host_name("local_address", local_address)
    if local_port is not None:
        port_or_name("local_port", local_port)
    connection_options = ConnectionOptions(
        read_cb, event_cb, connect_cb=connect_cb, write_cb=write_cb, stream=stream, dont_drain_read_buffer=dont_drain_read_buffer,
        read_timeout=read_timeout, write_timeout=write_timeout, half_close=half_close, high_water=high_water, low_water=low_water,
        element_type=element_type, encoding=encoding, line_limit=line_limit, linger_timeout=linger_timeout,
    )
    patience = connection_options.patience(timeout)
    client_factory(SocketStream, tlsext_host_name, name, _tls_arguments(
        ssl_ctx, ctx_configure_callback, ssl_configure_callback, handshake_timeout, allow_truncation))

    def opener() -> SocketStream:
        return open_tcp_stream(
            host, port, timeout=patience, local_address=local_address, local_port=local_port, nodelay=nodelay, keepalive=keepalive,
            ipv6=ipv6, ssl_ctx=ssl_ctx, ctx_configure_callback=ctx_configure_callback, ssl_configure_callback=ssl_configure_callback,
            handshake_timeout=patience if handshake_timeout is None else handshake_timeout, tlsext_host_name=tlsext_host_name,
            allow_truncation=allow_truncation,
        )

    return _begun(connection_options, opener, address_name((host, port)), data)


def pipe_connect(
    path: Any, read_cb: ReadCallback | None, event_cb: Callback | None = None, *, data: Any = None, ssl_ctx: Any = None,
    ctx_configure_callback: TLSCallback | None = None, ssl_configure_callback: TLSCallback | None = None,
    handshake_timeout: float | None = None, tlsext_host_name: str | None = None, allow_truncation: bool = False,
    timeout: float | None = None, **options: Any,
) -> Any:
    """The same on a Unix socket. cl-async's `pipe-connect`."""
    where = unix_path("path", path)
    connection_options = ConnectionOptions(read_cb, event_cb, **options)
    patience = connection_options.patience(timeout)
    client_factory(SocketStream, tlsext_host_name, "", _tls_arguments(
        ssl_ctx, ctx_configure_callback, ssl_configure_callback, handshake_timeout, allow_truncation))

    def opener() -> SocketStream:
        return open_unix_stream(
            where, timeout=patience, ssl_ctx=ssl_ctx, ctx_configure_callback=ctx_configure_callback,
            ssl_configure_callback=ssl_configure_callback, tlsext_host_name=tlsext_host_name, allow_truncation=allow_truncation,
            handshake_timeout=patience if handshake_timeout is None else handshake_timeout,
        )

    return _begun(connection_options, opener, repr(where), data)


def _begun(connection_options: ConnectionOptions, opener: Callable[[], SocketStream], peer: str, data: Any) -> Any:
    octets = None if data is None else bytes_to_send("data", data)
    socket = AsyncSocket(connection_options, opener=opener, peer=peer)
    if octets is not None:
        socket.write(octets)
    socket.start()
    return socket.stream if connection_options.stream else socket


def tcp_server(
    bind_address: Any, port: Any, read_cb: ReadCallback | None, event_cb: Callback | None = None, *, connect_cb: Callback | None = None,
    backlog: int = 128, stream: bool = False, dont_drain_read_buffer: bool | None = None, read_timeout: float | None = None,
    write_timeout: float | None = None, half_close: bool = False, fd: int | None = None, ssl_ctx: Any = None,
    ctx_configure_callback: TLSCallback | None = None, ssl_configure_callback: TLSCallback | None = None,
    handshake_timeout: float | None = 10.0, allow_truncation: bool = False, nodelay: bool = True, ipv6: Any = "any",
    write_cb: Callback | None = None, high_water: int = HIGH_WATER, low_water: int = LOW_WATER,
    element_type: Any = "unsigned-byte-8", encoding: str = "latin-1", line_limit: float | None = 2**20,
    linger_timeout: float | None = 2.0,
) -> AsyncServer:
    """Listens, and calls back for every connection as `tcp_connect` does. cl-async's `tcp-server`.

    Without a `bind_address` it listens on all of this machine's; port 0 is a free one, which `port` of the answer tells. A port in use is
    raised here. `fd` is a listening socket's descriptor to take over instead. TLS handshakes have `handshake_timeout` seconds, and hold
    up nobody else. A path as `bind_address` without a port is a Unix socket's.
    """
    if fd is None and port is None and _is_path(bind_address):
        return pipe_server(
            bind_address, read_cb, event_cb, connect_cb=connect_cb, backlog=backlog, stream=stream, write_cb=write_cb,
            dont_drain_read_buffer=dont_drain_read_buffer, read_timeout=read_timeout, write_timeout=write_timeout,
            half_close=half_close, ssl_ctx=ssl_ctx, ctx_configure_callback=ctx_configure_callback,
            ssl_configure_callback=ssl_configure_callback, handshake_timeout=handshake_timeout, allow_truncation=allow_truncation,
            high_water=high_water, low_water=low_water, element_type=element_type, encoding=encoding, line_limit=line_limit,
            linger_timeout=linger_timeout,
        )
    connection_options = ConnectionOptions(
        read_cb, event_cb, connect_cb=connect_cb, write_cb=write_cb, stream=stream, dont_drain_read_buffer=dont_drain_read_buffer,
        read_timeout=read_timeout, write_timeout=write_timeout, half_close=half_close, high_water=high_water, low_water=low_water,
        element_type=element_type, encoding=encoding, line_limit=line_limit, linger_timeout=linger_timeout,
    )
    securer = _securer(ssl_ctx, ctx_configure_callback, ssl_configure_callback, handshake_timeout, allow_truncation)
    arguments.positive("backlog", backlog)
    family = family_of(ipv6)
    if fd is not None:
        socket = adopt("fd", fd)
    else:
        host, literal = (None, True) if bind_address is None else host_name("bind_address", bind_address)
        query = Query(host, literal, port_or_name("port", port), family)
        found = look_up_own(query)
        if host is None:
            found.sort()  # AF_INET's first
        socket = first_listening(found, backlog, only_ipv6=True, skipped=errno.errorcode)
    return AsyncServer(socket, connection_options, securer, nodelay)


def pipe_server(
    path: Any, read_cb: ReadCallback | None, event_cb: Callback | None = None, *, backlog: int = 128, ssl_ctx: Any = None,
    ctx_configure_callback: TLSCallback | None = None, ssl_configure_callback: TLSCallback | None = None,
    handshake_timeout: float | None = 10.0, allow_truncation: bool = False, **options: Any,
) -> AsyncServer:
    """The same on a Unix socket. cl-async's `pipe-server`.

    The path is removed when the server closes, by the process that called this, unless another file has taken its place.
    """
    where = unix_path("path", path)
    connection_options = ConnectionOptions(read_cb, event_cb, **options)
    securer = _securer(ssl_ctx, ctx_configure_callback, ssl_configure_callback, handshake_timeout, allow_truncation)
    arguments.positive("backlog", backlog)
    socket = first_listening([(_socket.AF_UNIX, where)], backlog, only_ipv6=True)
    return AsyncServer(socket, connection_options, securer, nodelay=False, path=BoundPath(where))


def _is_path(value: Any) -> bool:
    return isinstance(value, os.PathLike) or (isinstance(value, (str, bytes)) and value[:1] in ("/", "\0", b"/", b"\0"))


def _tls_arguments(ssl_ctx: Any, ctx_configure_callback: TLSCallback | None, ssl_configure_callback: TLSCallback | None,
                   handshake_timeout: float | None, allow_truncation: bool) -> dict[str, Any]:
    return {"ssl_ctx": ssl_ctx, "ctx_configure_callback": ctx_configure_callback, "ssl_configure_callback": ssl_configure_callback,
            "handshake_timeout": handshake_timeout, "allow_truncation": allow_truncation}


def _securer(*tls: Any) -> Securer | None:
    """Return what makes the streams of a server's clients, shaking hands; None without TLS. Its arguments are `_tls_arguments`'."""
    factory = StreamFactory(SocketStream, **_tls_arguments(*tls))
    return factory.make if factory.is_secure else None


# The names of the pages.


def write_socket_data(socket: Any, data: Any, *, read_cb: ReadCallback | None = None, write_cb: Callback | None = None,
                      event_cb: Callback | None = None, start: int = 0, end: int | None = None) -> bool:
    """Writes as `AsyncSocket.write` does; the callbacks that are given replace those of the socket. cl-async's `write-socket-data`."""
    connection = _socket_of(socket)
    if connection.closed:
        raise StreamClosed(f"socket {connection!r} is closed")
    connection.set_callbacks(callback("read_cb", read_cb), callback("event_cb", event_cb), callback("write_cb", write_cb))
    return connection.write(data, start, end)


def close_socket(socket: Any, force: bool = False) -> None:
    """Closes as `AsyncSocket.close` does. cl-async's `close-socket`."""
    if isinstance(socket, AsyncStream):
        socket.close(force)
    else:
        _socket_of(socket).close(force)


def set_socket_timeouts(socket: Any, read: float | None, write: float | None) -> None:
    """Sets the limits as `AsyncSocket.set_timeouts` does. cl-async's `set-socket-timeouts`."""
    _socket_of(socket).set_timeouts(read, write)


def socket_data(socket: Any) -> Any:
    """The application's own object, which is set by `socket.data = ...`. cl-async's `socket-data`."""
    return _socket_of(socket).data


def close_tcp_server(server: AsyncServer) -> None:
    """Closes the listener; connections go on. cl-async's `close-tcp-server`."""
    if not isinstance(server, AsyncServer):
        raise TypeError(f"server must be an AsyncServer, not {type(server).__name__} {server!r}")
    server.close()


def _socket_of(socket: Any) -> AsyncSocket:
    """The socket, of which the stream may stand for it."""
    connection = socket
    if isinstance(socket, AsyncStream):
        connection = socket.socket
        if connection is None:
            raise StreamClosed(f"{socket!r} is closed", stream=socket)
    if not isinstance(connection, AsyncSocket):
        raise TypeError(f"socket must be an AsyncSocket or its stream, not {type(socket).__name__} {socket!r}")
    return connection
