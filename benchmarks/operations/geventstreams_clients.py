"""Clients of real servers that use our `makefile` while they connect and while they are measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.operations import clients
from geventstreams import monkey


class Patched(clients.Client):
    """A client with our files. The other clients in the process use gevent's own."""

    def connect(self, server: Mapping[str, Any]) -> None:
        """Connect with `makefile` patched."""
        monkey.patch_makefile()
        super().connect(server)
        monkey.unpatch_makefile()

    def prepare(self) -> None:
        """Patch `makefile`."""
        monkey.patch_makefile()

    def finish(self) -> None:
        """Restore gevent's own `makefile`."""
        monkey.unpatch_makefile()


class Requests(Patched, clients.Requests):
    """requests and urllib3 with nginx."""


class PyMySQL(Patched, clients.PyMySQL):
    """PyMySQL with MariaDB."""


class PG8000(Patched, clients.PG8000):
    """pg8000 with PostgreSQL."""
