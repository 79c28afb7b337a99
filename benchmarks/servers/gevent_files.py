"""gevent's sockets through `makefile('rwb')`: the buffered files of the standard library on them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.servers.common import flushed, receive_lines, receive_pieces, send_pieces
from benchmarks.servers.gevent_sockets import serve


def _serve(talk: Callable[[Any], None], listener: socket.socket, options: Mapping[str, Any]) -> None:
    def talk_by_file(connection: Any) -> None:
        with connection.makefile("rwb") as file:
            talk(file)

    serve(talk_by_file, listener, options)


def _echo(file: Any) -> None:
    while line := file.readline():
        file.write(line)
        file.flush()


def _one_line(file: Any) -> None:
    file.write(file.readline())
    file.flush()


echo = partial(_serve, _echo)
receive = partial(_serve, lambda file: receive_pieces(file.read, file.readinto, flushed(file)))
lines = partial(_serve, lambda file: receive_lines(file.read, file.readline, flushed(file)))
send = partial(_serve, lambda file: send_pieces(file.read, file.write, file.flush))
one_line = partial(_serve, _one_line)
