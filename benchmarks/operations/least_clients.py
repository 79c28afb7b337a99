"""A client of a real server that reads from the least files while it connects and while it is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gevent.socket

from benchmarks.operations import clients
from benchmarks.servers.least import makefile


class Requests(clients.Requests):
    """requests and urllib3 with nginx. The other clients in the process use other files."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._least, self._kept = makefile(options), gevent.socket.socket.makefile
        super().__init__(options)

    def prepare(self) -> None:
        """Replace `makefile`."""
        gevent.socket.socket.makefile = self._least  # type: ignore[method-assign]

    def finish(self) -> None:
        """Restore gevent's own `makefile`."""
        gevent.socket.socket.makefile = self._kept  # type: ignore[method-assign]
