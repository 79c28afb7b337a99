"""Opening client connections: `open_tcp_stream` tries every address of a name, `open_unix_stream` connects to a Unix socket."""

# Invariants: arguments are checked before anything is looked up or opened; nothing stays open on failure.

from __future__ import annotations

import _socket
import errno
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

from geventstreams._core import arguments
from geventstreams._core.clock import deadline_after
from geventstreams._core.host_names import server_name
from geventstreams._core.transport import address_name
from geventstreams._net.addresses import Address, Query, cause_of, family_of, host_name, look_up, port_or_name, wait_until
from geventstreams._net.happy_eyeballs import HappyEyeballs
from geventstreams._net.unix_paths import unix_path
from geventstreams._streams.options import StreamOptions, keywords_for, takes_keywords_of
from geventstreams._streams.socket_stream import SocketStream, StreamFactory
from geventstreams.errors import ConnectError, StreamError

if TYPE_CHECKING:
    from typing_extensions import TypeVar, Unpack

    from geventstreams._types import Host, IPv6, OpenTCPArguments, OpenUnixArguments, Service, StreamArguments, UnixPath

    S = TypeVar("S", bound=SocketStream, default=SocketStream)

QUEUE_PAUSE = 0.01
"""Seconds until the next attempt at a Unix socket whose queue was full: the system does not report when it has room again."""


@overload
def open_tcp_stream(host: Host, service: Service, *, errorp: Literal[True] = True, stream_class: type[S] = ...,
                    **options: Unpack[OpenTCPArguments]) -> S: ...
@overload
def open_tcp_stream(host: Host, service: Service, *, errorp: Literal[False], stream_class: type[S] = ...,
                    **options: Unpack[OpenTCPArguments]) -> tuple[S, None] | tuple[None, OSError]: ...
@takes_keywords_of(StreamOptions.__init__, without=("ssl_side",))
def open_tcp_stream(host: Host, service: Service, *, errorp: bool = True, timeout: float | None = None, local_address: Host | None = None,
                    local_port: Service | None = None, nodelay: bool = True, keepalive: bool = False, ipv6: IPv6 = "any",
                    tlsext_host_name: str | bool | None = True, stream_class: type[SocketStream] = SocketStream,
                    **stream: Unpack[StreamArguments]) -> Any:
    """Connect to a TCP server and return a stream.

    All addresses of `host` are tried, 250 ms apart or as soon as one fails, and the first to answer is used (RFC 8305). Nothing is left
    open on failure. LispWorks: `comm:open-tcp-stream`.

    Args:
        host: A name, an IPv4 or IPv6 literal, an integer (IPv4), or an `ipaddress` object. Names go through gevent's resolver.
        service: A port, digits, or the name of a service.
        errorp: With False the result is `(stream, None)` or `(None, error)`; wrong arguments are raised all the same.
        timeout: Seconds for looking up and connecting together. The TLS handshake has its own limit, `handshake_timeout`.
        local_address: The address to connect from, in any form that `host` has.
        local_port: The port to connect from.
        nodelay: Send small packets at once (TCP_NODELAY).
        keepalive: Let the system probe an idle connection (SO_KEEPALIVE).
        ipv6: `"any"`, True for IPv6 only, False for IPv4 only.
        tlsext_host_name: The name that the certificate is checked for; True means `host`, None no name, which the context must
            allow (`check_hostname`).
        stream_class: The class of the stream, a subclass of `SocketStream`.
        **stream: The other arguments of `SocketStream`. With `ssl_ctx` the stream is the client side of TLS, after its handshake.

    Raises:
        ConnectTimeout: No address answered within `timeout` seconds.
        ConnectError: No address could be connected to; `errors` has the error of each.
        TLSError: The handshake failed; HandshakeTimeout: it took too long.
    """
    opener = tcp_opener(host, service, timeout, local_address, local_port, nodelay, keepalive, ipv6, tlsext_host_name, stream_class,
                        keywords_for(open_tcp_stream, stream))
    return _result(errorp, opener)


def tcp_opener(host: Any, service: Any, timeout: float | None, local_address: Any, local_port: Any, nodelay: bool, keepalive: bool,
               ipv6: Any, tlsext_host_name: Any, stream_class: type[SocketStream], stream: dict[str, Any]) -> Callable[[], SocketStream]:
    """Check the arguments of `open_tcp_stream`. Return a function that connects."""
    name, is_literal = host_name("host", host)
    query = Query(name, is_literal, port_or_name("service", service), family_of(ipv6))
    own_query = None
    if local_address is not None or local_port is not None:
        own: tuple[str | None, bool] = (None, True) if local_address is None else host_name("local_address", local_address)
        own_query = Query(*own, port_or_name("local_port", 0 if local_port is None else local_port), query.family)
    limit = arguments.seconds("timeout", timeout)
    factory = _client_factory(stream_class, tlsext_host_name, name, stream)

    def connect() -> SocketStream:
        deadline = deadline_after(limit)
        local = {} if own_query is None else dict(reversed(_addresses(own_query, deadline)))  # the first address of each family
        attempts = HappyEyeballs(str(query), partial(_prepare, nodelay, keepalive, local), deadline)
        return factory.make(attempts.run(_addresses(query, deadline)))

    return connect


def _prepare(nodelay: bool, keepalive: bool, local: dict[int, Any], socket: Any, family: int) -> None:
    """Set a socket's options, and bind it to the local address of its family, if `local` has any."""
    if nodelay:
        socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    if keepalive:
        socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
    if local:
        if family not in local:
            raise OSError(errno.EADDRNOTAVAIL, "local_address has no address of this family")
        socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)  # several attempts may bind the same port
        socket.bind(local[family])


def _addresses(query: Query, deadline: float) -> list[Address]:
    """Look up addresses. A failed look-up is a ConnectError."""
    try:
        return look_up(query, deadline)
    except StreamError:
        raise
    except (OSError, UnicodeError) as error:  # a name that cannot be encoded is a UnicodeError
        # The resolver's own errors have numbers of their own.
        number = error.errno if isinstance(error, OSError) and not isinstance(error, _socket.gaierror) else errno.EHOSTUNREACH
        raise ConnectError(f"cannot resolve {query}: {cause_of(error)}", number,
                           errors=[((query.host, query.service), error.with_traceback(None))]) from None


def _client_factory(stream_class: type[SocketStream], tlsext_host_name: Any, host: str | None, stream: dict[str, Any]) -> StreamFactory:
    """Return the factory of a client's stream. With TLS the certificate is checked for `tlsext_host_name`; True means `host`."""
    if isinstance(tlsext_host_name, str):
        name: str | None = server_name("tlsext_host_name", tlsext_host_name)
    elif tlsext_host_name is None or isinstance(tlsext_host_name, bool):
        name = host if tlsext_host_name else None
    else:
        raise TypeError(f"tlsext_host_name must be True, None or a name, not {tlsext_host_name!r}")
    if stream.get("ssl_ctx") is not None:
        stream = {**stream, "ssl_side": "client", "tlsext_host_name": name}
    return StreamFactory(stream_class, **stream)


def _result(errorp: bool, opener: Callable[[], SocketStream]) -> Any:
    """Return the stream, or LispWorks' two values."""
    if errorp:
        return opener()
    try:
        return opener(), None
    except OSError as error:
        return None, error


@overload
def open_unix_stream(path: UnixPath, *, errorp: Literal[True] = True, stream_class: type[S] = ...,
                     **options: Unpack[OpenUnixArguments]) -> S: ...
@overload
def open_unix_stream(path: UnixPath, *, errorp: Literal[False], stream_class: type[S] = ...,
                     **options: Unpack[OpenUnixArguments]) -> tuple[S, None] | tuple[None, OSError]: ...
@takes_keywords_of(StreamOptions.__init__, without=("ssl_side",))
def open_unix_stream(path: UnixPath, *, errorp: bool = True, timeout: float | None = None, tlsext_host_name: str | bool | None = None,
                     stream_class: type[SocketStream] = SocketStream, **stream: Unpack[StreamArguments]) -> Any:
    """Connect to a server on a Unix socket and return a stream.

    A server whose queue is full is tried again until `timeout` has passed. Nothing is left open on failure.

    Args:
        path: A string, bytes, a path object, or a name that begins with a NUL character (an abstract socket of Linux).
        errorp: With False the result is `(stream, None)` or `(None, error)`; wrong arguments are raised all the same.
        timeout: Seconds for connecting. The TLS handshake has its own limit, `handshake_timeout`.
        tlsext_host_name: The name that the certificate is checked for; None means no name, which the context must allow
            (`check_hostname`).
        stream_class: The class of the stream, a subclass of `SocketStream`.
        **stream: The other arguments of `SocketStream`. With `ssl_ctx` the stream is the client side of TLS, after its handshake.

    Raises:
        ConnectTimeout: The server accepted no connection within `timeout` seconds.
        ConnectError: Nothing listens on the path, or it may not be used.
        TLSError: The handshake failed; HandshakeTimeout: it took too long.
    """
    return _result(errorp, unix_opener(path, timeout, tlsext_host_name, stream_class, keywords_for(open_unix_stream, stream)))


def unix_opener(path: Any, timeout: float | None, tlsext_host_name: Any, stream_class: type[SocketStream],
                stream: dict[str, Any]) -> Callable[[], SocketStream]:
    """Check the arguments of `open_unix_stream`. Return a function that connects."""
    where = unix_path("path", path)
    limit = arguments.seconds("timeout", timeout)
    factory = _client_factory(stream_class, tlsext_host_name, None, stream)

    def connect() -> SocketStream:
        deadline = deadline_after(limit)
        while True:
            attempts = HappyEyeballs(address_name(where), lambda socket, family: None, deadline)
            try:
                connected = attempts.run([(_socket.AF_UNIX, where)])
            except ConnectError as error:
                if error.errno != errno.EAGAIN:
                    raise
                wait_until(min(deadline, deadline_after(QUEUE_PAUSE)))
            else:
                return factory.make(connected)

    return connect
