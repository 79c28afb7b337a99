"""What servers have done, for Prometheus, by its own client library (`prometheus_client`, the extra `metrics`).

Rules for the next editor: names and units follow Prometheus' conventions, and never change. Nothing is counted here; it
is all in `server.stats`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import gevent

from geventstreams._core.transport import address_name
from geventstreams.server.server import SocketStreamServer

try:
    import prometheus_client
    from prometheus_client import multiprocess
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
except ImportError:  # the extra is not installed: `require()` says so to whoever asks for it
    prometheus_client = multiprocess = None

EVERY = 1.0
"""Seconds between two records of a process that is one of several."""


class Metric(NamedTuple):
    """A figure of `server.stats`, as Prometheus calls it; counters get `_total` behind their names."""

    field: str
    name: str
    explained: str


COUNTERS = (
    Metric("accepted", "geventstreams_connections_accepted", "Connections accepted."),
    Metric("refused", "geventstreams_connections_refused", "Connections sent away without having been served."),
    Metric("handshake_failures", "geventstreams_handshake_failures", "TLS handshakes and PROXY headers that failed or came too late."),
    Metric("timeouts", "geventstreams_timeouts", "Connections that ended because something did not come in time."),
    Metric("octets_in", "geventstreams_received_bytes", "Bytes received, without what TLS adds."),
    Metric("octets_out", "geventstreams_sent_bytes", "Bytes sent, without what TLS adds."),
)
ACTIVE = Metric("active", "geventstreams_connections_active", "Connections that are being served.")
LABEL = "server"

__all__ = ["ServerCollector", "ServerRecorder", "multiprocess", "prometheus_client", "require"]


def require() -> None:
    """Raises ImportError, with what to do about it, where the library is missing."""
    if prometheus_client is None:
        raise ImportError("metrics need the library prometheus_client: pip install 'geventstreams[metrics]'")


class ServerCollector:
    """The figures of some servers at the moment when they are asked for: `registry.register(ServerCollector([server]))`.

    Each has the label `server`, the address that it listens on.
    """

    def __init__(self, servers: Iterable[SocketStreamServer]) -> None:
        require()
        self._servers = [(_name(server), server) for server in servers]

    def collect(self) -> Iterator[Any]:
        """What a registry asks for."""
        stats = [(name, server.stats) for name, server in self._servers]
        for kind, metric in [*((CounterMetricFamily, counter) for counter in COUNTERS), (GaugeMetricFamily, ACTIVE)]:
            family = kind(metric.name, metric.explained, labels=[LABEL])
            for name, figures in stats:
                family.add_metric([name], getattr(figures, metric.field))
            yield family


class ServerRecorder:
    """The same for a process that is one of several: writes the figures down for whoever serves all of them.

    That is `prometheus_client`'s multiprocess mode: the environment names a directory (`PROMETHEUS_MULTIPROC_DIR`)
    before that library is imported, and a `MultiProcessCollector` reads what all processes left there.
    """

    def __init__(self, servers: Iterable[SocketStreamServer], registry: Any = None) -> None:
        require()
        registry = prometheus_client.CollectorRegistry() if registry is None else registry
        self._counters = {
            metric.field: prometheus_client.Counter(metric.name, metric.explained, [LABEL], registry=registry) for metric in COUNTERS
        }
        self._active = prometheus_client.Gauge(
            ACTIVE.name, ACTIVE.explained, [LABEL], registry=registry, multiprocess_mode="livesum"
        )
        self._servers = [(_name(server), server) for server in servers]
        self._recorded: dict[tuple[str, str], int] = {}

    def record(self) -> None:
        """Writes down what has come since the last time."""
        for name, server in self._servers:
            stats = server.stats
            self._active.labels(name).set(stats.active)
            for field, counter in self._counters.items():
                now = getattr(stats, field)
                counter.labels(name).inc(now - self._recorded.get((name, field), 0))
                self._recorded[name, field] = now

    def run(self) -> None:
        """Does so every second, for ever."""
        while True:
            self.record()
            gevent.sleep(EVERY)


def _name(server: SocketStreamServer) -> str:
    """How a server is called as long as it lives; it must listen."""
    return address_name(server.address)
