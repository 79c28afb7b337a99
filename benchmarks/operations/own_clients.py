"""The same clients with our `makefile` in place."""

from __future__ import annotations

import geventstreams.monkey
from benchmarks.operations import clients


class Patched(clients.Client):
    """gevent and our files."""

    def patch(self) -> None:
        """Puts both in place."""
        super().patch()
        geventstreams.monkey.patch_makefile()


class Requests(Patched, clients.Requests):
    """requests and urllib3 with nginx."""


class PyMySQL(Patched, clients.PyMySQL):
    """PyMySQL with MariaDB."""


class PG8000(Patched, clients.PG8000):
    """pg8000 with PostgreSQL."""
