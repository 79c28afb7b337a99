"""Servers' statistics for Prometheus, by its own client library (`prometheus_client`, the extra `metrics`).

`registry.register(ServerCollector([server]))` serves one process. `ServerRecorder` is for several processes on one port.
"""

# Invariants: names and units follow Prometheus' conventions, and never change. Nothing is counted here: all figures are in `server.stats`.

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import gevent

from geventstreams._core import arguments
from geventstreams._core.transport import address_name
from geventstreams.server.server import SocketStreamServer
from geventstreams.server.stats import ServerStats

try:
    import prometheus_client
    from prometheus_client import multiprocess
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
except ImportError:  # the extra is not installed: `require()` says so
    prometheus_client = multiprocess = None

EVERY = 1.0
"""Seconds between two records of a worker process."""


COUNTERS = (
    ("accepted", "geventstreams_connections_accepted", "Connections accepted."),
    ("refused", "geventstreams_connections_refused", "Connections closed without being served."),
    ("handshake_failures", "geventstreams_handshake_failures", "TLS handshakes and PROXY headers that failed or took too long."),
    ("timeouts", "geventstreams_timeouts", "Connections that ended because a timeout had passed."),
    ("octets_in", "geventstreams_received_bytes", "Bytes received, as plain text."),
    ("octets_out", "geventstreams_sent_bytes", "Bytes sent, as plain text."),
)
ACTIVE = ("active", "geventstreams_connections_active", "Connections being served.")
"""Each figure of `server.stats` with its name in Prometheus, where counters get `_total` appended, and its help text."""

LABEL = "server"

__all__ = ["ServerCollector", "ServerRecorder", "multiprocess", "prometheus_client", "require"]


def require() -> None:
    """Raise ImportError, which says what to install, if the library is missing."""
    if prometheus_client is None:
        raise ImportError("metrics need the library prometheus_client: pip install 'geventstreams[metrics]'")


def _checked(servers: Iterable[SocketStreamServer]) -> list[SocketStreamServer]:
    """Return servers as a list."""
    every = arguments.list_of("servers", servers, "servers")
    for server in every:
        arguments.instance("each of servers", server, SocketStreamServer)
    return every


def _stats_by_address(servers: list[SocketStreamServer]) -> dict[str, ServerStats]:
    """Return the figures of each address. Servers that listen on one address together have one label, and so one sum."""
    sums: dict[str, ServerStats] = {}
    for server in servers:
        name, stats = address_name(server.address), server.stats
        sums[name] = ServerStats(*map(sum, zip(stats, sums[name], strict=True))) if name in sums else stats
    return sums


class ServerCollector:
    """A collector for a `prometheus_client` registry that reports the current figures of some servers.

    The label `server` is the address that a server listens on; servers that listen on one address together have one sum.

    Args:
        servers: The servers, which listen when they are asked.

    Raises:
        ImportError: The extra `metrics` is not installed.
    """

    def __init__(self, servers: Iterable[SocketStreamServer]) -> None:
        require()
        self._servers = _checked(servers)

    def collect(self) -> Iterator[Any]:
        """Return the metrics. The registry calls this."""
        stats = _stats_by_address(self._servers)
        for kind, metrics in ((CounterMetricFamily, COUNTERS), (GaugeMetricFamily, (ACTIVE,))):
            for field, name, text in metrics:
                family = kind(name, text, labels=[LABEL])
                for address, figures in stats.items():
                    family.add_metric([address], getattr(figures, field))
                yield family


class ServerRecorder:
    """Writes the figures of a worker process to files, for the process that serves the figures of all workers.

    This is the multiprocess mode of `prometheus_client`: the environment names a directory (`PROMETHEUS_MULTIPROC_DIR`) before that library
    is imported, and a `MultiProcessCollector` reads the files of all processes.

    Args:
        servers: Servers of this process that listen.
        registry: A registry for the metrics; None means a new one.

    Raises:
        ImportError: The extra `metrics` is not installed.
    """

    def __init__(self, servers: Iterable[SocketStreamServer], registry: Any = None) -> None:
        require()
        self._servers = _checked(servers)
        registry = prometheus_client.CollectorRegistry() if registry is None else registry
        arguments.instance("registry", registry, prometheus_client.CollectorRegistry)
        self._counters = {field: prometheus_client.Counter(name, text, [LABEL], registry=registry) for field, name, text in COUNTERS}
        self._active = prometheus_client.Gauge(*ACTIVE[1:], [LABEL], registry=registry, multiprocess_mode="livesum")
        self._recorded: dict[tuple[str, str], int] = {}

    def record(self) -> None:
        """Add what was counted since the last call."""
        for name, stats in _stats_by_address(self._servers).items():
            self._active.labels(name).set(stats.active)
            for field, counter in self._counters.items():
                now = getattr(stats, field)
                counter.labels(name).inc(now - self._recorded.get((name, field), 0))
                self._recorded[name, field] = now

    def run(self) -> None:
        """Call `record` every second, without end. Run it in a greenlet."""
        while True:
            self.record()
            gevent.sleep(EVERY)
