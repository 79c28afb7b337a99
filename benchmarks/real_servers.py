"""The real servers that clients are measured with: those that the tests start, one for a row."""

# Invariant: a server that is not installed fails its own row only, with the reason.

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.model import ChildFailed

PAGE = 10_000


def _nginx(server: Any) -> dict[str, Any]:
    server.add_file("page", PAGE)
    return {"url": server.url("/page"), "length": PAGE}


def _database(server: Any) -> dict[str, Any]:
    return dict(server.connection)


KINDS: dict[str, Callable[[Any], dict[str, Any]]] = {"Nginx": _nginx, "MariaDB": _database, "PostgreSQL": _database}
"""By the name of the class: what a client needs to reach the server."""


@contextmanager
def running(kind: str) -> Iterator[dict[str, Any]]:
    """Start the server and give what a client needs to reach it. Raise ChildFailed where it cannot be started."""
    try:
        servers = importlib.import_module("tests.servers")
        server = getattr(servers, kind)()
        server.start()
    except (ImportError, OSError) as error:
        raise ChildFailed(f"{kind}: {error}") from error
    except servers.ServerError as error:
        raise ChildFailed(str(error).splitlines()[0]) from error
    try:
        yield KINDS[kind](server)
    finally:
        server.stop()
