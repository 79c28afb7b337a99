"""`--metrics ADDRESS`: a page for Prometheus, of one process or of all workers.

gevent's own HTTP server serves the page that `prometheus_client` makes. Workers write into a directory, and only the supervisor has a
page.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import gevent
from gevent.pywsgi import WSGIServer

from geventstreams._core.transport import address_name
from geventstreams.cli import listeners, notices
from geventstreams.cli.statuses import available, error_of, message_of
from geventstreams.workers import Worker

if TYPE_CHECKING:
    from geventstreams._types import SocketStreamServer

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


def figures() -> ModuleType:
    """Return `geventstreams.metrics`. It is loaded where a page is wanted: its library takes long to load."""
    return importlib.import_module("geventstreams.metrics")


class Page:
    """The page. It listens from the beginning and answers from `start` on."""

    def __init__(self, args: argparse.Namespace) -> None:
        available(figures().require)
        self._given = args
        self._listener = listeners.listening(args.metrics)
        self._server: Any = None

    def start(self, collector: Any) -> None:
        """Serve what the collector collects, and announce the address."""
        prometheus_client = figures().prometheus_client
        registry = prometheus_client.CollectorRegistry()
        registry.register(collector)
        self._server = WSGIServer(self._listener, prometheus_client.make_wsgi_app(registry), log=None)
        self._server.start()
        notices.announce(self._given, f"metrics on http://{address_name(self._listener.getsockname())}/metrics")

    def stop(self) -> None:
        """End it at once."""
        if self._server is not None:
            self._server.stop(0)
        self._listener.close()


class Process:
    """The metrics of one process: on a page, in the supervisor's directory, or none."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._page = Page(args) if args.metrics and args.worker is None else None
        self._is_recorded = args.metrics and args.worker is not None
        self._recorder: Any = None
        self._recording: Any = None

    def start(self, servers: list[SocketStreamServer]) -> None:
        """Begin: the servers listen."""
        if self._page is not None:
            self._page.start(figures().ServerCollector(servers))
        elif self._is_recorded:
            self._recorder = figures().ServerRecorder(servers)
            self._recording = gevent.spawn(error_of, self._recorder.run)
            self._recording.link(self._recording_ended)

    @staticmethod
    def _recording_ended(recording: gevent.Greenlet) -> None:
        """Go on without metrics that cannot be written."""
        if isinstance(recording.value, Exception):
            notices.warn(f"no more metrics: {message_of(recording.value)}")

    def stop(self) -> None:
        """End: the servers have ended."""
        if self._page is not None:
            self._page.stop()
        if self._recorder is not None and not self._recording.ready():
            self._recorder.record()


class Recorded:
    """A collector for what workers have recorded in a directory.

    The library's `MultiProcessCollector` fails as a whole at a file that is still empty, as each is for a moment; a worker that is killed
    in this moment leaves it so (https://github.com/prometheus/client_python/issues/1199).
    """

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def collect(self) -> Iterable[Any]:
        """Return the metrics. The registry calls this."""
        files = [str(file) for file in self._directory.glob("*.db") if file.stat().st_size]
        return figures().multiprocess.MultiProcessCollector.merge(files)  # type: ignore[no-any-return]  # a module that is loaded late


class Workers:
    """The metrics of all workers: a directory that they write into, and the supervisor's page."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._page = Page(args) if args.metrics else None
        self._directory = tempfile.mkdtemp(prefix="geventstreams-metrics-") if args.metrics else ""
        self.environment: dict[str, str] | None = {**os.environ, DIRECTORY: self._directory} if args.metrics else None

    def start(self) -> None:
        """Begin: the workers serve."""
        if self._page is not None:
            self._page.start(Recorded(self._directory))

    def ended(self, worker: Worker) -> None:
        """Remove the gauges of a worker that has ended."""
        if self._page is not None:
            figures().multiprocess.mark_process_dead(worker.pid, self._directory)

    def stop(self) -> None:
        """End: all workers have ended."""
        if self._page is not None:
            self._page.stop()
            shutil.rmtree(self._directory, ignore_errors=True)
