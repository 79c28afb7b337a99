"""geventstreams: a greenlet and a `SocketStream` for each connection of a `SocketStreamServer`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gevent.socket

import geventstreams
from benchmarks.servers import upstream
from benchmarks.servers.common import TIMEOUT, flushed, receive_lines, receive_pieces, send_pieces, tls_context
from geventstreams.relay import RelayHandler, Upstream


def stream_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of `SocketStream` for these options."""
    arguments: dict[str, Any] = {}
    if options.get("timeouts"):
        arguments.update(read_timeout=TIMEOUT, write_timeout=TIMEOUT)
    context = tls_context(options)
    if context is not None:
        arguments.update(ssl_ctx=context, ssl_side="server")
    return arguments


def _serve(talk: Callable[[Any, Any], object], listener: socket.socket, options: Mapping[str, Any]) -> None:
    connections = gevent.socket.socket(fileno=listener.detach())
    geventstreams.SocketStreamServer(connections, talk, **stream_arguments(options)).serve_forever()


def _echo(stream: Any, _address: object) -> None:
    while line := stream.readline():
        stream.write(line)
        stream.flush()


def relay(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Our relay, to a server that receives."""
    _serve(RelayHandler(Upstream(*upstream.start())), listener, options)


echo = partial(_serve, _echo)
receive = partial(_serve, lambda stream, _: receive_pieces(stream.read, stream.read_sequence, flushed(stream)))
lines = partial(_serve, lambda stream, _: receive_lines(stream.read, stream.readline, flushed(stream)))
send = partial(_serve, lambda stream, _: send_pieces(stream.read, stream.write_sequence, stream.flush))
one_line = partial(_serve, lambda stream, _: stream.write(stream.readline()))  # the server closes the stream behind the handler
