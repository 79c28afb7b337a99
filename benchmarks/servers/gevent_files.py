"""gevent's sockets through `makefile('rwb')`: the buffered files of the standard library on them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.servers.common import ANSWER, HEADER, pieces
from benchmarks.servers.gevent_sockets import serve


def _serve(listener: socket.socket, options: Mapping[str, Any], talk: Callable[[Any], None]) -> None:
    def talk_by_file(connection: Any) -> None:
        with connection.makefile("rwb") as file:
            talk(file)

    serve(listener, options, talk_by_file)


def _echo(file: Any) -> None:
    while line := file.readline():
        file.write(line)
        file.flush()


def _receive(file: Any) -> None:
    while header := file.read(HEADER.size):
        left, size = HEADER.unpack(header)
        space = memoryview(bytearray(size))
        while left:
            left -= file.readinto(space[: min(left, size)])
        file.write(ANSWER)
        file.flush()


def _lines(file: Any) -> None:
    while header := file.read(HEADER.size):
        left, _ = HEADER.unpack(header)
        while left:
            left -= len(file.readline())
        file.write(ANSWER)
        file.flush()


def _send(file: Any) -> None:
    while header := file.read(HEADER.size):
        piece, times = pieces(*HEADER.unpack(header))
        for _ in range(times):
            file.write(piece)
        file.flush()


def _one_line(file: Any) -> None:
    file.write(file.readline())
    file.flush()


def echo(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Lines come back."""
    _serve(listener, options, _echo)


def receive(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Takes octets by `readinto`."""
    _serve(listener, options, _receive)


def lines(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Takes lines by `readline`."""
    _serve(listener, options, _lines)


def send(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Gives octets by `write`: a `BufferedWriter` over the socket."""
    _serve(listener, options, _send)


def one_line(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """One line of each connection, which the server closes then."""
    _serve(listener, options, _one_line)
