"""Relaying: what one stream brings goes out by another, both ways, and so do the ends.

Rules for the next editor: two greenlets for each pair. One for both ways would deadlock when both ends write before they
read: it waits until one has taken what the other said, and neither takes anything.
"""

from __future__ import annotations

import ssl
from typing import Any, NamedTuple

import gevent
from gevent import get_hub

from geventstreams._constants import BLOCK
from geventstreams._core import arguments
from geventstreams._core.host_names import server_name
from geventstreams._core.transport import address_name
from geventstreams._core.wakeup import Wakeup
from geventstreams._net.addresses import host_name
from geventstreams._net.connect import open_tcp_stream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import ReadTimeout, StreamError, without_name
from geventstreams.proxy_protocol import proxy_header, require


def relay(one: SocketStream, other: SocketStream) -> None:
    """Passes on what comes on either stream to the other, until both have ended.

    The end of one's input ends the other's output, while the other way goes on; afterwards both are still to be closed.
    An error on either aborts both, so that neither peer takes a broken connection for one that has ended, and is raised;
    so does an exception that ends the wait, as a kill or `gevent.Timeout`.
    A `read_timeout` is over when nothing has come on either.
    """
    Pair(one, other).relay()


class Pair:
    """Two streams that are one connection."""

    def __init__(self, one: SocketStream, other: SocketStream) -> None:
        self._one = one
        self._other = other
        self._failure: BaseException | None = None

    def relay(self) -> None:
        """Runs one way here and the other way in a greenlet of its own."""
        Wakeup(get_hub())  # refuses a hub that has died before a greenlet is left in it
        back = gevent.spawn(self._pass_on, self._other, self._one)
        try:
            self._pass_on(self._one, self._other)
            back.join()
        except BaseException:
            self._abort()
            raise
        finally:
            back.kill()
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it holds this frame

    def _pass_on(self, source: SocketStream, target: SocketStream) -> None:
        try:
            self._pour(source, target)
        except BaseException as error:  # noqa: BLE001  # whatever ends one way ends the connection, and is raised by `relay`
            if self._failure is None:  # a second one only says that we have aborted
                self._failure = error
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
    """Where a relay goes on to, and how.

    `ssl_ctx` is a context for TLS's client side, `server_name` what the certificate is checked for (None: `host`),
    `proxy_version` the version of the PROXY header that tells the client's address (None: no header). `timeout` limits
    connecting, and then the handshake.
    """

    host: Any
    service: Any
    ssl_ctx: ssl.SSLContext | None = None
    server_name: str | None = None
    proxy_version: int | None = None
    timeout: float | None = 10.0
    read_timeout: float | None = None
    write_timeout: float | None = None

    def __str__(self) -> str:
        return address_name((self.host, self.service))


class RelayHandler:
    """A handler for servers: each client gets a connection of its own to the upstream, and both are relayed.

    What goes wrong upstream is a failure of the client's connection, which is reset.
    """

    def __init__(self, upstream: Upstream) -> None:
        if upstream.proxy_version is not None:
            require()
            arguments.chosen("proxy_version", upstream.proxy_version, (1, 2))
        self._upstream = upstream
        host, _ = host_name("host", upstream.host)
        self._server_name: str | None = None
        if upstream.ssl_ctx is not None:
            asked = ("host", host) if upstream.server_name is None else ("server_name", upstream.server_name)
            self._server_name = server_name(*asked)

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
            told = without_name(getattr(error, "strerror", None) or str(error), str(self._upstream), "it")
            raise StreamError(f"relaying to {self._upstream}: {told}", error.errno, stream=client) from error

    def _connected(self, client: SocketStream) -> SocketStream:
        to = self._upstream
        server = open_tcp_stream(to.host, to.service, timeout=to.timeout, read_timeout=to.read_timeout, write_timeout=to.write_timeout)
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
        """Where the client thinks that it connected to."""
        known = None if client.proxy is None else client.proxy.destination
        # nginx may say a path of its own for a client that has an address.
        return known if known is not None and isinstance(known, tuple) == isinstance(client.peer_address, tuple) else client.address
