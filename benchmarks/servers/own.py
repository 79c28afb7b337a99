"""geventstreams: a greenlet and a `SocketStream` for each connection of a `SocketStreamServer`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

import gevent.socket

import geventstreams
from benchmarks.servers import upstream
from benchmarks.servers.common import ANSWER, HEADER, TIMEOUT, pieces, tls_context
from geventstreams.relay import RelayHandler, Upstream


def stream_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the options mean in the words of `SocketStream`."""
    arguments: dict[str, Any] = {}
    if options.get("timeouts"):
        arguments.update(read_timeout=TIMEOUT, write_timeout=TIMEOUT)
    context = tls_context(options)
    if context is not None:
        arguments.update(ssl_ctx=context, ssl_side="server")
    return arguments


def _serve(listener: socket.socket, options: Mapping[str, Any], talk: Callable[[Any, Any], object]) -> None:
    connections = gevent.socket.socket(fileno=listener.detach())
    geventstreams.SocketStreamServer(connections, talk, **stream_arguments(options)).serve_forever()


def _echo(stream: Any, _address: object) -> None:
    while line := stream.readline():
        stream.write(line)
        stream.flush()


def _receive(stream: Any, _address: object) -> None:
    while header := stream.read(HEADER.size):
        left, size = HEADER.unpack(header)
        space = memoryview(bytearray(size))
        while left:
            left -= stream.read_sequence(space[: min(left, size)])
        stream.write(ANSWER)
        stream.flush()


def _lines(stream: Any, _address: object) -> None:
    while header := stream.read(HEADER.size):
        left, _ = HEADER.unpack(header)
        while left:
            left -= len(stream.readline())
        stream.write(ANSWER)
        stream.flush()


def _send(stream: Any, _address: object) -> None:
    while header := stream.read(HEADER.size):
        piece, times = pieces(*HEADER.unpack(header))
        for _ in range(times):
            stream.write_sequence(piece)
        stream.flush()


def echo(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Lines come back."""
    _serve(listener, options, _echo)


def receive(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Takes octets by `read_sequence`."""
    _serve(listener, options, _receive)


def lines(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Takes lines by `readline`."""
    _serve(listener, options, _lines)


def send(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Gives octets by `write_sequence`."""
    _serve(listener, options, _send)


def one_line(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """One line of each connection; the server closes the stream when the handler returns."""
    _serve(listener, options, lambda stream, _address: stream.write(stream.readline()))


def relay(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Our relay, to a server that receives."""
    _serve(listener, options, RelayHandler(Upstream(*upstream.start())))
