"""asyncio's protocols, on its own loop or on uvloop: octets come to `data_received`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, cast

from benchmarks.servers.asyncio_streams import BACKLOG, run


class EchoLines(asyncio.Protocol):
    """Gives back every line."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A new connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._begun = b""

    def data_received(self, data: bytes) -> None:
        """Octets: whole lines, and perhaps the beginning of one."""
        if self._begun:
            data = self._begun + data
        end = data.rfind(b"\n") + 1
        if end == len(data):
            self._transport.write(data)
            self._begun = b""
        else:
            self._transport.write(data[:end])
            self._begun = data[end:]


def echo(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Lines come back."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(EchoLines, sock=listener, backlog=BACKLOG)
        await server.serve_forever()

    run(options, main())
