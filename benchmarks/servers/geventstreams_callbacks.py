"""geventstreams' callbacks: a read callback takes the bytes from the connection's stream."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from gevent.event import Event

import geventstreams


def echo(listener: socket.socket, _options: Mapping[str, Any]) -> None:
    """Send every whole line back."""

    def on_read(_connection: object, stream: Any) -> None:
        while line := stream.readline():
            stream.write(line)

    serve(geventstreams.tcp_server(None, 0, on_read, on_event, stream=True, fd=listener.detach()))


def echo_chunks(listener: socket.socket, _options: Mapping[str, Any]) -> None:
    """Send back what arrives."""
    serve(geventstreams.tcp_server(None, 0, lambda connection, data: connection.write(data), on_event, fd=listener.detach()))


def serve(server: geventstreams.AsyncServer) -> None:
    """Let the server run until this greenlet is killed."""
    try:
        Event().wait()
    finally:
        server.close()


def on_event(_event: object) -> None:
    """Ignore the events of connections."""
