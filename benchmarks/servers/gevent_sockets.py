"""gevent's sockets as they are: whatever a `recv` brings."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

import gevent
import gevent.server
import gevent.socket
import gevent.ssl

from benchmarks.servers import upstream
from benchmarks.servers.common import ANSWER, HEADER, TIMEOUT, pieces, tls_context


def serve(listener: socket.socket, options: Mapping[str, Any], talk: Callable[[Any], None]) -> None:
    """Calls `talk` with each connection in a greenlet of its own."""

    def handle(connection: Any, _address: object) -> None:
        if options.get("timeouts"):
            connection.settimeout(TIMEOUT)
        talk(connection)

    context = tls_context(options, gevent.ssl.SSLContext)
    arguments = {} if context is None else {"ssl_context": context}
    gevent.server.StreamServer(gevent.socket.socket(fileno=listener.detach()), handle, **arguments).serve_forever()


def _echo(connection: Any) -> None:
    while octets := connection.recv(65536):
        connection.sendall(octets)


def _receive(connection: Any) -> None:
    while header := connection.recv(HEADER.size):
        left, size = HEADER.unpack(header)
        space = memoryview(bytearray(size))
        while left:
            left -= connection.recv_into(space[: min(left, size)])
        connection.sendall(ANSWER)


def _send(connection: Any) -> None:
    while header := connection.recv(HEADER.size):
        piece, times = pieces(*HEADER.unpack(header))
        for _ in range(times):
            connection.sendall(piece)


def echo(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """What comes goes back; nobody looks for lines."""
    serve(listener, options, _echo)


def receive(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """A `recv_into` loop."""
    serve(listener, options, _receive)


def send(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """A `sendall` for each piece."""
    serve(listener, options, _send)


def _pour(source: Any, target: Any) -> None:
    while octets := source.recv(65536):
        target.sendall(octets)
    target.shutdown(socket.SHUT_WR)


def relay(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """`recv` and `sendall` in two greenlets, and no care for errors."""
    address = upstream.start()

    def talk(connection: Any) -> None:
        with gevent.socket.create_connection(address) as onward:
            back = gevent.spawn(_pour, onward, connection)
            _pour(connection, onward)
            back.join()

    serve(listener, options, talk)
