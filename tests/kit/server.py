"""What the tests of servers share: servers on free ports, and every way to spawn their handlers."""

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.pool import Pool

from geventstreams.server.server import SocketStreamServer
from kit.network import HOST

SPAWNS: dict[str, Callable[[], Any]] = {
    "default": lambda: "default",
    "number": lambda: 50,
    "pool": lambda: Pool(50),
    "unlimited pool": Pool,
    "raw": lambda: gevent.spawn_raw,
    "function": lambda: gevent.spawn,
}


@pytest.fixture
def serve() -> Iterator[Callable[..., SocketStreamServer]]:
    """Start servers with a handler, on free ports, and stop them when the test is over."""
    started = []

    def start(handle: Any, listener: Any = (HOST, 0), **options: Any) -> SocketStreamServer:
        server = SocketStreamServer(listener, handle, **options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop(0)
