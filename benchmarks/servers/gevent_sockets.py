"""gevent's sockets as they are, without a buffer: each `recv` gives what has arrived."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gevent
import gevent.server
import gevent.socket
import gevent.ssl

from benchmarks.servers import upstream
from benchmarks.servers.common import TIMEOUT, receive_pieces, send_pieces, tls_context


def serve(talk: Callable[[Any], None], listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Call `talk` with each connection in a greenlet of its own."""

    def handle(connection: Any, _address: object) -> None:
        if options.get("timeouts"):
            connection.settimeout(TIMEOUT)
        talk(connection)

    context = tls_context(options, gevent.ssl.SSLContext)
    arguments = {} if context is None else {"ssl_context": context}
    gevent.server.StreamServer(gevent.socket.socket(fileno=listener.detach()), handle, **arguments).serve_forever()


def _echo(connection: Any) -> None:
    while chunk := connection.recv(65536):  # without looking for lines
        connection.sendall(chunk)


def _pour(source: Any, target: Any) -> None:
    while chunk := source.recv(65536):
        target.sendall(chunk)
    target.shutdown(socket.SHUT_WR)


def relay(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """`recv` and `sendall` in two greenlets, without handling of errors."""
    address = upstream.start()

    def talk(connection: Any) -> None:
        with gevent.socket.create_connection(address) as onward:
            back = gevent.spawn(_pour, onward, connection)
            _pour(connection, onward)
            back.join()

    serve(talk, listener, options)


echo = partial(serve, _echo)
receive = partial(serve, lambda connection: receive_pieces(connection.recv, connection.recv_into, connection.sendall))
send = partial(serve, lambda connection: send_pieces(connection.recv, connection.sendall))
