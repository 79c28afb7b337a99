"""The standard library without an event loop: a thread and a blocking socket for each connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.servers.common import echo_lines, echo_one_line, receive_pieces, send_pieces

STACK = 256 * 1024


def _serve(talk: Callable[[socket.socket], None], listener: socket.socket, _options: Mapping[str, Any]) -> None:
    def handle(connection: socket.socket) -> None:
        with connection:
            talk(connection)

    threading.stack_size(STACK)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=handle, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection.makefile("rwb") as file:
        echo_lines(file)


def _one_line(connection: socket.socket) -> None:
    with connection.makefile("rwb") as file:
        echo_one_line(file)


echo = partial(_serve, _echo)
receive = partial(_serve, lambda connection: receive_pieces(connection.recv, connection.recv_into, connection.sendall))
send = partial(_serve, lambda connection: send_pieces(connection.recv, connection.sendall))
one_line = partial(_serve, _one_line)
