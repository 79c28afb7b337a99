"""Opening connections: every address of a name is tried, and the first that answers becomes the stream.

Rule for the next editor: arguments are checked before anything is looked up or opened; nothing stays open on failure.
"""

from __future__ import annotations

import _socket
import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, overload

import geventstreams._native.syscalls as _system
from geventstreams._core import arguments
from geventstreams._core.host_names import server_name
from geventstreams._core.owned_fd import OwnedFd
from geventstreams._core.transport import address_name
from geventstreams._net.addresses import Address, Query, family_of, host_name, look_up, port_or_name, wait_until
from geventstreams._net.happy_eyeballs import HappyEyeballs, Preparation
from geventstreams._net.unix_paths import unix_path
from geventstreams._streams.elements import ElementType
from geventstreams._streams.options import StreamOptions
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import ConnectError, StreamError

if TYPE_CHECKING:
    from typing import TypedDict

    from typing_extensions import Unpack

    class StreamArguments(TypedDict, total=False):
        """What is said by keyword of a stream that is made."""

        direction: str
        element_type: Any
        encoding: str
        read_timeout: float | None
        write_timeout: float | None
        line_limit: float | None
        linger_timeout: float | None
        ssl_ctx: Any
        ctx_configure_callback: Callable[[Any], object] | None
        ssl_configure_callback: Callable[[Any], object] | None
        handshake_timeout: float | None
        allow_truncation: bool
        stream_class: type[SocketStream]

    class UnixArguments(StreamArguments, total=False):
        """What `open_unix_stream` takes by keyword, `errorp` apart."""

        timeout: float | None
        tlsext_host_name: Any

    class TCPArguments(UnixArguments, total=False):
        """What `open_tcp_stream` takes by keyword, `errorp` apart."""

        local_address: Any
        local_port: Any
        nodelay: bool
        keepalive: bool
        ipv6: Any


QUEUE_PAUSE = 0.01
"""Seconds until a Unix socket whose queue was full is tried again: the system tells nobody when there is room."""


class SocketSettings:
    """What is done to a TCP socket before it connects."""

    def __init__(self, nodelay: bool, keepalive: bool) -> None:
        self._nodelay = nodelay
        self._keepalive = keepalive

    def from_addresses(self, local: dict[int, Any]) -> Preparation:
        """The settings as a function, which also binds a socket to its family's local address, if there are any."""

        def prepare(socket: Any, family: int) -> None:
            if self._nodelay:
                socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            if self._keepalive:
                socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
            if local:
                if family not in local:
                    raise OSError(errno.EADDRNOTAVAIL, "local_address has no address of this family")
                socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)  # a race may need one port several times
                socket.bind(local[family])

        return prepare


@overload
def open_tcp_stream(
    host: Any, service: Any, *, errorp: Literal[True] = True, **options: Unpack[TCPArguments]
) -> SocketStream: ...
@overload
def open_tcp_stream(
    host: Any, service: Any, *, errorp: Literal[False], **options: Unpack[TCPArguments]
) -> tuple[SocketStream, None] | tuple[None, OSError]: ...
def open_tcp_stream(
    host: Any, service: Any, *, direction: str = "io", element_type: Any = ElementType.BASE_CHAR,
    encoding: str = "latin-1", errorp: bool = True, timeout: float | None = None, read_timeout: float | None = None,
    write_timeout: float | None = None, local_address: Any = None, local_port: Any = None, nodelay: bool = True,
    keepalive: bool = False, ipv6: Any = "any", ssl_ctx: Any = None,
    ctx_configure_callback: Callable[[Any], object] | None = None,
    ssl_configure_callback: Callable[[Any], object] | None = None, handshake_timeout: float | None = None,
    tlsext_host_name: Any = True, allow_truncation: bool = False, line_limit: float | None = 2**20,
    linger_timeout: float | None = 2.0, stream_class: type[SocketStream] = SocketStream,
) -> Any:
    """A stream to a TCP server. Modelled on LispWorks' `comm:open-tcp-stream`.

    `host` is a name, an IPv4 or IPv6 literal, an integer (IPv4) or an `ipaddress` object; `service` a port, digits, or
    a service name. Names go through gevent's resolver. All addresses (`ipv6`: `"any"`, True for IPv6 only, False for
    IPv4 only) are tried, 250 ms apart or as soon as one fails, and the first to answer wins. `timeout` limits looking
    up and connecting together: ConnectTimeout. ConnectError has the errors of all addresses. Our end: `local_address`,
    `local_port`.

    With `ssl_ctx` the stream is TLS's client side, its handshake limited by `handshake_timeout`; with
    `tlsext_host_name=True` the certificate is checked against `host`. Everything else is as `SocketStream` has it.
    With `errorp=False` the answer is `(stream, None)` or `(None, error)`; wrong arguments are raised all the same.
    Nothing is left open on failure.
    """
    name, is_literal = host_name("host", host)
    query = Query(name, is_literal, port_or_name("service", service), family_of(ipv6))
    ours = None
    if local_address is not None or local_port is not None:
        own: tuple[str | None, bool] = (
            (None, True) if local_address is None else host_name("local_address", local_address)
        )
        ours = Query(*own, port_or_name("local_port", 0 if local_port is None else local_port), query.family)
    limit = arguments.seconds("timeout", timeout)
    settings = SocketSettings(nodelay, keepalive)
    options = StreamOptions(
        stream_class, direction=direction, element_type=element_type, encoding=encoding, read_timeout=read_timeout,
        write_timeout=write_timeout, line_limit=line_limit, linger_timeout=linger_timeout, ssl_ctx=ssl_ctx,
        ssl_side="client", ctx_configure_callback=ctx_configure_callback, ssl_configure_callback=ssl_configure_callback,
        handshake_timeout=handshake_timeout, tlsext_host_name=certificate_name(tlsext_host_name, name),
        allow_truncation=allow_truncation,
    )
    return _answer(errorp, lambda: options.make(_connected(query, ours, settings, _system.monotonic() + limit)))


def _connected(query: Query, ours: Query | None, settings: SocketSettings, deadline: float) -> OwnedFd:
    local = {} if ours is None else dict(reversed(_found(ours, deadline)))  # of each family the first
    race = HappyEyeballs(address_name((query.host, query.service)), settings.from_addresses(local), deadline)
    return race.run(_found(query, deadline))


def _found(query: Query, deadline: float) -> list[Address]:
    """The addresses that are asked for; a failed look-up is a failure to connect."""
    try:
        return look_up(query, deadline)
    except StreamError:
        raise
    except (OSError, UnicodeError) as error:  # a name that cannot be encoded is a UnicodeError
        told = error.strerror if isinstance(error, OSError) else error
        where = (query.host, query.service)
        raise ConnectError(f"cannot look up {address_name(where)}: {told}", errno.EHOSTUNREACH,
                           errors=[(where, error.with_traceback(None))]) from None


def certificate_name(tlsext_host_name: Any, host: str) -> str | None:
    """The name that a certificate is checked against: `host` for True, unless that is empty."""
    if tlsext_host_name is True:
        return host or None
    if tlsext_host_name is None or tlsext_host_name is False:
        return None
    if not isinstance(tlsext_host_name, str):
        raise TypeError(f"tlsext_host_name must be True, None or a name, not {tlsext_host_name!r}")
    return server_name("tlsext_host_name", tlsext_host_name)


def _answer(errorp: bool, opened: Callable[[], SocketStream]) -> Any:
    """The stream, or LispWorks' two values."""
    if errorp:
        return opened()
    try:
        return opened(), None
    except OSError as error:
        return None, error


@overload
def open_unix_stream(path: Any, *, errorp: Literal[True] = True, **options: Unpack[UnixArguments]) -> SocketStream: ...
@overload
def open_unix_stream(
    path: Any, *, errorp: Literal[False], **options: Unpack[UnixArguments]
) -> tuple[SocketStream, None] | tuple[None, OSError]: ...
def open_unix_stream(
    path: Any, *, direction: str = "io", element_type: Any = ElementType.BASE_CHAR, encoding: str = "latin-1",
    errorp: bool = True, timeout: float | None = None, read_timeout: float | None = None,
    write_timeout: float | None = None, ssl_ctx: Any = None,
    ctx_configure_callback: Callable[[Any], object] | None = None,
    ssl_configure_callback: Callable[[Any], object] | None = None, handshake_timeout: float | None = None,
    tlsext_host_name: Any = None, allow_truncation: bool = False, line_limit: float | None = 2**20,
    linger_timeout: float | None = 2.0, stream_class: type[SocketStream] = SocketStream,
) -> Any:
    """A stream to a server on a Unix socket.

    `path` is a string, bytes, a `pathlib.Path`, or a name that begins with a NUL character (Linux's abstract sockets).
    Everything else is as `open_tcp_stream` has it; a certificate is checked against the name that `tlsext_host_name`
    gives.
    """
    where = unix_path("path", path)
    limit = arguments.seconds("timeout", timeout)
    options = StreamOptions(
        stream_class, direction=direction, element_type=element_type, encoding=encoding, read_timeout=read_timeout,
        write_timeout=write_timeout, line_limit=line_limit, linger_timeout=linger_timeout, ssl_ctx=ssl_ctx,
        ssl_side="client", ctx_configure_callback=ctx_configure_callback, ssl_configure_callback=ssl_configure_callback,
        handshake_timeout=handshake_timeout, tlsext_host_name=certificate_name(tlsext_host_name, ""),
        allow_truncation=allow_truncation,
    )
    return _answer(errorp, lambda: options.make(_connected_to_path(where, _system.monotonic() + limit)))


def _connected_to_path(path: str | bytes, deadline: float) -> OwnedFd:
    while True:
        race = HappyEyeballs(repr(path), _leave_as_it_is, deadline)
        try:
            return race.run([(_socket.AF_UNIX, path)])
        except ConnectError as error:
            if error.errno != errno.EAGAIN:
                raise
        wait_until(min(deadline, _system.monotonic() + QUEUE_PAUSE))


def _leave_as_it_is(socket: Any, family: int) -> None:
    """What is done to a Unix socket before it connects."""
