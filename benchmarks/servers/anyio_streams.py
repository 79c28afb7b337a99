"""anyio's buffered byte streams, on asyncio."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

LINE_LIMIT = 65536


async def _echo(stream: anyio.abc.SocketStream) -> None:
    lines = BufferedByteReceiveStream(stream)
    try:
        while True:
            line = await lines.receive_until(b"\n", LINE_LIMIT)
            await stream.send(line + b"\n")
    except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
        pass  # the load closed the connection


def echo(listener: socket.socket, _options: Mapping[str, Any]) -> None:
    """Send lines back."""

    async def main() -> None:
        async with await anyio.abc.SocketListener.from_socket(listener) as connections:
            await connections.serve(_echo)

    anyio.run(main)
