"""Clients of real servers that are written without gevent: they run under its monkey-patching.

The process is patched when the first client is made, and the client is imported after that.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import gevent.monkey

from benchmarks.operations.base import Operation, repeat_with


class Client(Operation):
    """A client with one connection; it asks for `size` pages or rows."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        gevent.monkey.patch_all()
        self.size = int(options["size"])
        self.connect(options["server"])

    def connect(self, server: Mapping[str, Any]) -> None:
        """Connect to the server."""
        raise NotImplementedError


class Requests(Client):
    """requests and urllib3 with nginx: a page of 10 kB, again and again."""

    def connect(self, server: Mapping[str, Any]) -> None:
        """Make the session; it connects at the first request."""
        self._session = importlib.import_module("requests").Session()
        self._session.trust_env = False
        self._url, self._length = server["url"], server["length"]

    def run(self) -> int:
        """Make `size` requests."""
        return repeat_with(self._ask, self._url, self.size)  # type: ignore[arg-type]

    def _ask(self, url: str) -> None:
        if len(self._session.get(url).content) != self._length:
            raise RuntimeError("the answer has another length")

    def close(self) -> None:
        """Close the session."""
        self._session.close()


class Rows(Client):
    """A client of a database, which asks for `size` rows."""

    driver: str
    query: str

    def connect(self, server: Mapping[str, Any]) -> None:
        """Connect without TLS."""
        self._connection = importlib.import_module(self.driver).connect(**server)
        self._cursor = self._connection.cursor()

    def run(self) -> int:
        """Fetch all rows."""
        self._cursor.execute(self.query.format(size=self.size))
        return len(self._cursor.fetchall())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class PyMySQL(Rows):
    """PyMySQL with MariaDB."""

    driver = "pymysql"
    query = "SELECT seq, 'the name of a row' FROM seq_1_to_{size}"


class PG8000(Rows):
    """pg8000 with PostgreSQL."""

    driver = "pg8000.dbapi"
    query = "SELECT n, 'the name of a row' FROM generate_series(1, {size}) AS n"
