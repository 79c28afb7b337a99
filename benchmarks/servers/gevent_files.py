"""gevent's sockets through `makefile('rwb')`: the buffered files of the standard library on them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.servers.common import echo_lines, echo_one_line, flushed, receive_lines, receive_pieces, send_pieces
from benchmarks.servers.gevent_sockets import serve


def _serve(talk: Callable[[Any], None], listener: socket.socket, options: Mapping[str, Any]) -> None:
    def talk_by_file(connection: Any) -> None:
        with connection.makefile("rwb") as file:
            talk(file)

    serve(talk_by_file, listener, options)


echo = partial(_serve, echo_lines)
receive = partial(_serve, lambda file: receive_pieces(file.read, file.readinto, flushed(file)))
lines = partial(_serve, lambda file: receive_lines(file.read, file.readline, flushed(file)))
send = partial(_serve, lambda file: send_pieces(file.read, file.write, file.flush))
one_line = partial(_serve, echo_one_line)
