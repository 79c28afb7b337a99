"""The same clients with our `makefile` in place: while they connect, and while they are measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.operations import clients
from geventstreams import monkey


class Patched(clients.Client):
    """gevent and our files. Others in this process have gevent's own."""

    def connect(self, server: Mapping[str, Any]) -> None:
        """A file that is made here is ours."""
        monkey.patch_makefile()
        super().connect(server)
        monkey.unpatch_makefile()

    def prepare(self) -> None:
        """Files are ours from now on."""
        monkey.patch_makefile()

    def finish(self) -> None:
        """And no more."""
        monkey.unpatch_makefile()


class Requests(Patched, clients.Requests):
    """requests and urllib3 with nginx."""


class PyMySQL(Patched, clients.PyMySQL):
    """PyMySQL with MariaDB."""


class PG8000(Patched, clients.PG8000):
    """pg8000 with PostgreSQL."""
