"""asyncio's protocols, on its own loop or on uvloop: `data_received` gets the bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from benchmarks.servers.asyncio_streams import BACKLOG, run


class EchoLines(asyncio.Protocol):
    """Sends every line back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport of a new connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._begun = b""

    def data_received(self, data: bytes) -> None:
        """Send whole lines back, and keep the beginning of the next one."""
        if self._begun:
            data = self._begun + data
        end = data.rfind(b"\n") + 1
        if end == len(data):
            self._transport.write(data)
            self._begun = b""
        else:
            self._transport.write(data[:end])
            self._begun = data[end:]


class EchoChunks(asyncio.Protocol):
    """Sends back what arrives."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport of a new connection."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self._transport.write(data)


def _serve(protocol: type[asyncio.Protocol], listener: socket.socket, options: Mapping[str, Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(protocol, sock=listener, backlog=BACKLOG)
        await server.serve_forever()

    run(options, main())


echo = partial(_serve, EchoLines)
echo_chunks = partial(_serve, EchoChunks)
