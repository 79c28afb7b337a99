"""asyncio's streams, on its own loop or on uvloop."""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.servers.common import ANSWER, HEADER, TIMEOUT, pieces, tls_context

BACKLOG = 4096
LINE_LIMIT = 2**21

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(options: Mapping[str, Any], main: Awaitable[None]) -> None:
    """Run a server on the loop that the options name."""
    module = importlib.import_module(options.get("loop", "asyncio"))
    loop: asyncio.AbstractEventLoop = module.new_event_loop()
    loop.run_until_complete(main)


def _serve(talk: Talk, listener: socket.socket, options: Mapping[str, Any]) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the load closed the connection
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(
            handle, sock=listener, backlog=BACKLOG, limit=LINE_LIMIT, ssl=tls_context(options)
        )
        await server.serve_forever()

    run(options, main())


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()


async def _echo_in_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await asyncio.wait_for(reader.readline(), TIMEOUT):
        writer.write(line)
        await asyncio.wait_for(writer.drain(), TIMEOUT)


async def _receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        left, size = HEADER.unpack(await reader.readexactly(HEADER.size))
        while left:
            left -= len(await reader.read(min(left, size)))
        writer.write(ANSWER)


async def _lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        left, _ = HEADER.unpack(await reader.readexactly(HEADER.size))
        while left:
            left -= len(await reader.readline())
        writer.write(ANSWER)


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        piece, times = pieces(*HEADER.unpack(await reader.readexactly(HEADER.size)))
        for _ in range(times):
            writer.write(piece)
            await writer.drain()


async def _one_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    await writer.drain()


def echo(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Send lines back, under timeouts if the options ask for them."""
    _serve(_echo_in_time if options.get("timeouts") else _echo, listener, options)


receive = partial(_serve, _receive)
lines = partial(_serve, _lines)
send = partial(_serve, _send)
one_line = partial(_serve, _one_line)
