"""`--metrics ADDRESS`: a page for Prometheus, of the one process that there is, or of all workers.

Rules for the next editor: gevent's own HTTP server serves the page that `prometheus_client` makes. Workers write into a
directory, and only the supervisor has a page.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import tempfile
from types import ModuleType
from typing import Any

import gevent
from gevent.pywsgi import WSGIServer

from geventstreams._core.transport import address_name
from geventstreams.cli import listeners, notices
from geventstreams.cli.statuses import available, guarded, said
from geventstreams.server.server import SocketStreamServer
from geventstreams.workers import Worker

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


def figures() -> ModuleType:
    """`geventstreams.metrics`, loaded where a page is asked for: no other command has to wait for its library."""
    return importlib.import_module("geventstreams.metrics")


class Page:
    """The page, which listens from the beginning and answers from `start` on."""

    def __init__(self, given: argparse.Namespace) -> None:
        available(figures().require)
        self._given = given
        self._listener = listeners.listening(*given.metrics)
        self._server: Any = None

    def start(self, collector: Any) -> None:
        """Serves what the collector tells, and says where."""
        prometheus_client = figures().prometheus_client
        registry = prometheus_client.CollectorRegistry()
        registry.register(collector)
        self._server = WSGIServer(self._listener, prometheus_client.make_wsgi_app(registry), log=None)
        self._server.start()
        notices.announce(self._given, f"metrics on http://{address_name(self._listener.getsockname())}/metrics")

    def stop(self) -> None:
        """Ends it, whoever reads it."""
        if self._server is not None:
            self._server.stop(0)
        self._listener.close()


class Process:
    """The metrics of one process that serves: on a page, in the supervisor's directory, or none at all."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._page = Page(given) if given.metrics and given.worker is None else None
        self._is_recorded = given.metrics and given.worker is not None
        self._recorder: Any = None
        self._recording: Any = None

    def start(self, servers: list[SocketStreamServer]) -> None:
        """The servers listen."""
        if self._page is not None:
            self._page.start(figures().ServerCollector(servers))
        elif self._is_recorded:
            self._recorder = figures().ServerRecorder(servers)
            self._recording = gevent.spawn(guarded, self._recorder.run)
            self._recording.link(self._recording_ended)

    @staticmethod
    def _recording_ended(recording: gevent.Greenlet) -> None:
        """Metrics that cannot be written are no reason to serve less."""
        if isinstance(recording.value, Exception):
            notices.warn(f"no more metrics: {said(recording.value)}")

    def stop(self) -> None:
        """The servers have ended."""
        if self._page is not None:
            self._page.stop()
        if self._recorder is not None and not self._recording.ready():
            self._recorder.record()


class Workers:
    """The metrics of all workers: a directory that they write into, and the supervisor's page about it."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._page = Page(given) if given.metrics else None
        self._directory = tempfile.mkdtemp(prefix="geventstreams-metrics-") if given.metrics else ""
        self.environment = {**os.environ, DIRECTORY: self._directory} if given.metrics else None

    def start(self) -> None:
        """The workers serve."""
        if self._page is not None:
            self._page.start(figures().multiprocess.MultiProcessCollector(None, self._directory))

    def ended(self, worker: Worker) -> None:
        """A worker has ended: its connections are no more."""
        if self._page is not None:
            figures().multiprocess.mark_process_dead(worker.pid, self._directory)

    def stop(self) -> None:
        """All have ended."""
        if self._page is not None:
            self._page.stop()
            shutil.rmtree(self._directory, ignore_errors=True)
