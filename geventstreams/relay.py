"""Relaying between two streams in both directions: `relay`, and `RelayHandler`, a handler that makes a server a relay."""

# Each pair has two greenlets, one for each direction. A single one would deadlock when both peers write before they read: it would wait for
# room in one direction and not read in the other.

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent

from geventstreams._constants import BLOCK
from geventstreams._core import arguments
from geventstreams._core.host_names import server_name
from geventstreams._core.transport import address_name
from geventstreams._core.wakeup import refuse_dead_hub
from geventstreams._net.addresses import host_name, port_or_name
from geventstreams._net.connect import open_tcp_stream, open_unix_stream
from geventstreams._net.unix_paths import unix_path
from geventstreams._streams.options import StreamOptions
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import ReadTimeout, StreamError, without_name
from geventstreams.proxy_protocol import proxy_header, require

if TYPE_CHECKING:
    from geventstreams._types import Host, Service, UnixPath


def relay(one: SocketStream, other: SocketStream) -> None:
    """Send what arrives on either stream to the other, and return when the input of both has ended.

    The end of one input ends the output of the other stream, while the other direction continues. The streams are not closed.

    An error on one stream aborts both, so that neither peer takes a broken connection for a complete one, and is raised. So does an
    exception that ends the call, such as a kill or `gevent.Timeout`.

    Args:
        one: A stream.
        other: A stream.

    Raises:
        ReadTimeout: Nothing arrived on either stream for the `read_timeout` of one.
        StreamError: A connection failed.
    """
    for name, stream in (("one", one), ("other", other)):
        arguments.instance(name, stream, SocketStream)
    if one is other:
        raise ValueError(f"other must be a stream of its own, not {other!r} again")
    Pair(one, other).relay()


class Pair:
    """The two streams of a relay."""

    def __init__(self, one: SocketStream, other: SocketStream) -> None:
        self._one = one
        self._other = other
        self._failures: list[BaseException] = []

    def relay(self) -> None:
        """Relay one direction here and the other in a greenlet of its own."""
        refuse_dead_hub()
        back = gevent.spawn(self._pass_on, self._other, self._one)
        try:
            self._pass_on(self._one, self._other)
            back.join()
        except BaseException:
            self._abort()
            raise
        finally:
            back.kill()
        if self._failures:
            raise self._failures.pop()  # kept no longer: it holds this frame

    def _pass_on(self, source: SocketStream, target: SocketStream) -> None:
        try:
            self._pour(source, target)
        except BaseException as error:  # noqa: BLE001  # it ends the other direction too, and is raised by `relay`
            if not self._failures:  # the second error follows from our abort
                self._failures.append(error)
                self._abort()

    def _pour(self, source: SocketStream, target: SocketStream) -> None:
        space = memoryview(bytearray(BLOCK))
        while count := self._receive(source, space):
            target.write(space[:count])
            target.flush()
        target.send_eof()

    def _receive(self, source: SocketStream, space: memoryview) -> int:
        while True:
            before = self._received()
            try:
                return source.readinto1(space)
            except ReadTimeout:
                if self._received() == before:
                    raise

    def _received(self) -> int:
        return self._one.octets_in + self._other.octets_in

    def _abort(self) -> None:
        self._one.abort()
        self._other.abort()


class Upstream(NamedTuple):
    """The server that a relay connects to: a host and a port, or the path of a Unix socket.

    Args:
        host: The host, as `open_tcp_stream` takes it.
        service: The port or service.
        ssl_ctx: A context for the client side of TLS; None means plain text.
        server_name: The name that the certificate is checked for; None means `host`. A Unix socket has no name of its own.
        proxy_version: The version of the PROXY header that tells the client's address, 1 or 2; None means no header.
        timeout: Seconds for connecting, and again for the handshake.
        read_timeout: The `read_timeout` of the stream to the server.
        write_timeout: The `write_timeout` of the stream to the server.
        path: The path of a Unix socket, as `open_unix_stream` takes it, in place of `host` and `service`.
    """

    host: Host | None = None
    service: Service | None = None
    ssl_ctx: ssl.SSLContext | None = None
    server_name: str | None = None
    proxy_version: int | None = None
    timeout: float | None = 10.0
    read_timeout: float | None = None
    write_timeout: float | None = None
    path: UnixPath | None = None

    def __str__(self) -> str:
        return address_name((self.host, self.service)) if self.path is None else address_name(os.fspath(self.path))


def _host(upstream: Upstream) -> str:
    """Check the address and the timeouts, and return the name of the host; "" for a Unix socket."""
    for name in ("timeout", "read_timeout", "write_timeout"):
        arguments.seconds(name, getattr(upstream, name))
    if upstream.server_name is not None:
        server_name("server_name", upstream.server_name)
    if upstream.path is None:
        port_or_name("service", upstream.service)
        return host_name("host", upstream.host)[0]
    if upstream.host is not None or upstream.service is not None:
        raise ValueError(f"host and path exclude each other: {upstream.host!r}, {upstream.path!r}")
    unix_path("path", upstream.path)
    return ""


class RelayHandler:
    """A handler for `SocketStreamServer` that relays each client to a server, over a connection of its own.

    An error on that connection resets the client's connection, and counts as its failure.

    Args:
        upstream: The server to connect to.
    """

    def __init__(self, upstream: Upstream) -> None:
        arguments.instance("upstream", upstream, Upstream)
        if upstream.proxy_version is not None:
            require()
            arguments.chosen("proxy_version", upstream.proxy_version, (1, 2))
        self._upstream = upstream
        host = _host(upstream)
        self._server_name: str | None = None
        if upstream.ssl_ctx is not None:
            if host or upstream.server_name is not None or getattr(upstream.ssl_ctx, "check_hostname", False):
                named = ("host", host) if host and upstream.server_name is None else ("server_name", upstream.server_name)
                self._server_name = server_name(*named)
            StreamOptions(ssl_ctx=upstream.ssl_ctx, ssl_side="client", tlsext_host_name=self._server_name)  # refuses another context

    def __call__(self, client: SocketStream, _address: Any) -> None:
        try:
            server = self._connected(client)
            try:
                relay(client, server)
                server.close()
            finally:
                server.abort()
        except OSError as error:
            if getattr(error, "stream", None) is client:
                raise
            cause = without_name(getattr(error, "strerror", None) or str(error), str(self._upstream), "it")
            raise StreamError(f"relaying to {self._upstream}: {cause}", error.errno, stream=client) from error

    def _connected(self, client: SocketStream) -> SocketStream:
        to: Any = self._upstream  # either has a host and a service, or a path
        timeouts: Any = {"timeout": to.timeout, "read_timeout": to.read_timeout, "write_timeout": to.write_timeout}
        server: SocketStream = (
            open_tcp_stream(to.host, to.service, **timeouts) if to.path is None else open_unix_stream(to.path, **timeouts)
        )
        try:
            if to.proxy_version is not None:
                server.write(proxy_header(to.proxy_version, client.peer_address, self._destination(client)))
            if to.ssl_ctx is not None:
                server.attach_ssl(to.ssl_ctx, "client", handshake_timeout=to.timeout, tlsext_host_name=self._server_name)
        except BaseException:
            server.abort()
            raise
        return server

    @staticmethod
    def _destination(client: SocketStream) -> Any:
        """Return the address that the client connected to."""
        address = None if client.proxy is None else client.proxy.destination
        # nginx may name a Unix path of its own for a client that has an IP address.
        return address if address is not None and isinstance(address, tuple) == isinstance(client.peer_address, tuple) else client.address
