"""trio's streams; they have no `readline`, so the server splits lines itself."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import trio

from benchmarks.servers.common import TIMEOUT


async def _echo(stream: trio.SocketStream) -> None:
    begun = bytearray()
    while chunk := await stream.receive_some(65536):
        begun += chunk
        while (end := begun.find(b"\n") + 1) > 0:
            await stream.send_all(begun[:end])
            del begun[:end]


async def _echo_in_time(stream: trio.SocketStream) -> None:
    begun = bytearray()
    while True:
        with trio.fail_after(TIMEOUT):
            chunk = await stream.receive_some(65536)
        if not chunk:
            return
        begun += chunk
        while (end := begun.find(b"\n") + 1) > 0:
            with trio.fail_after(TIMEOUT):
                await stream.send_all(begun[:end])
            del begun[:end]


def echo(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Send lines back."""
    talk = _echo_in_time if options.get("timeouts") else _echo

    async def handle(stream: trio.SocketStream) -> None:
        try:
            await talk(stream)
        except trio.BrokenResourceError:
            pass  # the load closed the connection

    async def main() -> None:
        listener.setblocking(False)
        await trio.serve_listeners(handle, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])

    trio.run(main)
