"""The standard library without any loop: a thread and a blocking socket for each connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.servers.common import ANSWER, HEADER, pieces

STACK = 256 * 1024


def _serve(listener: socket.socket, talk: Callable[[socket.socket], None]) -> None:
    def handle(connection: socket.socket) -> None:
        with connection:
            talk(connection)

    threading.stack_size(STACK)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=handle, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection.makefile("rwb") as file:
        while line := file.readline():
            file.write(line)
            file.flush()


def _receive(connection: socket.socket) -> None:
    while header := connection.recv(HEADER.size):
        left, size = HEADER.unpack(header)
        space = memoryview(bytearray(size))
        while left:
            left -= connection.recv_into(space[: min(left, size)])
        connection.sendall(ANSWER)


def _send(connection: socket.socket) -> None:
    while header := connection.recv(HEADER.size):
        piece, times = pieces(*HEADER.unpack(header))
        for _ in range(times):
            connection.sendall(piece)


def _one_line(connection: socket.socket) -> None:
    with connection.makefile("rwb") as file:
        file.write(file.readline())
        file.flush()


def echo(listener: socket.socket, _options: Mapping[str, Any]) -> None:
    """Lines come back."""
    _serve(listener, _echo)


def receive(listener: socket.socket, _options: Mapping[str, Any]) -> None:
    """A `recv_into` loop on a blocking socket."""
    _serve(listener, _receive)


def send(listener: socket.socket, _options: Mapping[str, Any]) -> None:
    """A `sendall` for each piece."""
    _serve(listener, _send)


def one_line(listener: socket.socket, _options: Mapping[str, Any]) -> None:
    """One line of each connection, which the server closes then."""
    _serve(listener, _one_line)
