"""The figures for Prometheus: their names, their types, and the page that curl fetches."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kit.command_line import Serving, geventstreams, run, serving
from kit.conditions import until
from kit.network import HOST
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.parser import text_string_to_metric_families
from servers import curl

from geventstreams import metrics
from geventstreams._net.connect import open_tcp_stream
from geventstreams.cli.statuses import Status
from geventstreams.cli.watching import Recorded
from geventstreams.metrics import ServerCollector, ServerRecorder
from geventstreams.server.server import SocketStreamServer
from geventstreams.workers import shared_listeners

TYPES = {
    "geventstreams_connections_accepted": "counter",
    "geventstreams_connections_refused": "counter",
    "geventstreams_connections_active": "gauge",
    "geventstreams_handshake_failures": "counter",
    "geventstreams_timeouts": "counter",
    "geventstreams_received_bytes": "counter",
    "geventstreams_sent_bytes": "counter",
}


def echo(stream, _address) -> None:
    for line in stream:
        stream.write(line)


@pytest.fixture
def server():
    made = SocketStreamServer((HOST, 0), echo, proxy_protocol=["10.0.0.0/8"])
    made.start()
    yield made
    made.stop(0)


def figures(text: str, server: str) -> dict[str, float]:
    """The samples of one server on a page."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name: sample.value for sample in samples if sample.labels == {"server": server}}


def test_figures_are_those_of_the_moment(server) -> None:
    """A collector tells what `server.stats` says when it is asked, with the types that belong to the names."""
    registry = CollectorRegistry()
    registry.register(ServerCollector([server]))
    with open_tcp_stream(HOST, server.port, read_timeout=20) as client:
        client.write_line("hello")
        assert client.read_line() == ("hello", False)
        text = generate_latest(registry).decode()
        assert {family.name: family.type for family in text_string_to_metric_families(text)} == TYPES
        assert figures(text, f"{HOST}:{server.port}") == {
            "geventstreams_connections_accepted_total": 1,
            "geventstreams_connections_refused_total": 0,
            "geventstreams_connections_active": 1,
            "geventstreams_handshake_failures_total": 0,
            "geventstreams_timeouts_total": 0,
            "geventstreams_received_bytes_total": 6,
            "geventstreams_sent_bytes_total": 6,
        }
    until(lambda: not server.connections, 20)
    assert figures(generate_latest(registry).decode(), f"{HOST}:{server.port}")["geventstreams_connections_active"] == 0


def test_every_figure_of_stats_is_there(server) -> None:
    """No field of `server.stats` is missing among the metrics, and each has a text that explains it."""
    known = [*metrics.COUNTERS, metrics.ACTIVE]
    assert {field for field, _, _ in known} == set(server.stats._fields)
    assert all(text.endswith(".") for _, _, text in known)


def test_servers_on_one_address_have_one_sum() -> None:
    """Two servers that listen on one address together are one series, whose counters do not go back."""
    servers = [SocketStreamServer(one, echo) for one in shared_listeners(HOST, 0, 2)]
    for server in servers:
        server.start()
    registry, recorded = CollectorRegistry(), CollectorRegistry()
    registry.register(ServerCollector(servers))
    recorder = ServerRecorder(servers, recorded)
    address = f"{HOST}:{servers[0].port}"
    try:
        for count in range(1, 20):
            with open_tcp_stream(HOST, servers[0].port, read_timeout=20) as client:
                client.write_line("hello")
                assert client.read_line() == ("hello", False)
            recorder.record()
            for text in (generate_latest(registry).decode(), generate_latest(recorded).decode()):
                assert figures(text, address)["geventstreams_connections_accepted_total"] == count
                assert text.count("geventstreams_connections_accepted_total{") == 1
    finally:
        for server in servers:
            server.stop(0)


def test_a_recorder_adds_what_has_come(server) -> None:
    """A recorder's counters grow by what came since the last record, however often that is made."""
    registry = CollectorRegistry()
    recorder = ServerRecorder([server], registry)
    for count in (1, 2, 3):
        with open_tcp_stream(HOST, server.port, read_timeout=20) as client:
            client.write_line("hello")
            assert client.read_line() == ("hello", False)
            recorder.record()
            recorder.record()
            told = figures(generate_latest(registry).decode(), f"{HOST}:{server.port}")
            assert told["geventstreams_connections_accepted_total"] == count
            assert told["geventstreams_received_bytes_total"] == 6 * count


def page(server: Serving) -> str:
    """Where the second line says that the figures are."""
    line = server.process.stdout.readline().decode()
    assert line.startswith("metrics on http://")
    return line.split()[-1]


def fetched(address: str) -> str:
    """The page as curl gets it, with its content type."""
    done = run(curl(), "--silent", "--fail", "--write-out", "%{content_type}", address)
    assert done.status == 0
    text, _, kind = done.output.decode().rpartition("\n")
    assert kind.startswith("text/plain; version=")
    return f"{text}\n"


@pytest.mark.parametrize(
    "options", [[], pytest.param(["--workers", "3"], marks=pytest.mark.slow)], ids=["one process", "workers"]
)
def test_curl_fetches_the_page(options: list[str]) -> None:
    """curl fetches the figures of `serve --metrics`; with workers those of all, also of one that has died since."""
    with serving("echo", "--metrics", f"{HOST}:0", *options) as server:
        address = page(server)
        name = f"{HOST}:{server.port}"
        clients = []
        for number in range(30):
            clients.append(open_tcp_stream(HOST, server.port, timeout=20, read_timeout=20))
            clients[-1].write_line(f"{number:02}")
            assert clients[-1].read_line() == (f"{number:02}", False)
        for client in clients[10:]:
            client.close()
        wanted = {
            "geventstreams_connections_accepted_total": 30,
            "geventstreams_connections_active": 10,
            "geventstreams_received_bytes_total": 90,
            "geventstreams_sent_bytes_total": 90,
        }
        until(lambda: wanted.items() <= figures(fetched(address), name).items(), 20)
        text = fetched(address)
        assert {family.name: family.type for family in text_string_to_metric_families(text)} == TYPES
        if options:
            server.process.send_signal(signal.SIGHUP)  # all workers drain, and others take their places
            for client in clients[:10]:
                assert client.read() == b""
                client.close()
            wanted["geventstreams_connections_active"] = 0
            until(lambda: wanted.items() <= figures(fetched(address), name).items(), 20)
        for client in clients[:10]:
            client.close()
        assert server.end().status == Status.DONE
        with pytest.raises(AssertionError):
            fetched(address)


def test_the_file_of_a_worker_may_be_empty(tmp_path: Path) -> None:
    """What the other workers have recorded is on the page while one begins to record, and after one was killed then."""
    (tmp_path / "counter_1.db").touch()
    registry = CollectorRegistry()
    registry.register(Recorded(str(tmp_path)))
    assert generate_latest(registry) == b""
    record = MmapedDict(str(tmp_path / "counter_2.db"))
    record.write_value(mmap_key("things", "things_total", ["kind"], ["own"], "Things."), 3.0, 0.0)
    record.close()
    assert b'things_total{kind="own"} 3.0' in generate_latest(registry)


def test_without_the_library_it_says_what_to_install(server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where prometheus_client is missing, the classes raise an ImportError, and the command ends with a line."""
    monkeypatch.setattr(metrics, "prometheus_client", None)
    with pytest.raises(ImportError, match=r"geventstreams\[metrics\]"):
        ServerCollector([server])
    with pytest.raises(ImportError, match=r"geventstreams\[metrics\]"):
        ServerRecorder([server])
    code = "import sys; sys.modules['prometheus_client'] = None; from geventstreams.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", "echo", "--metrics", "0"], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == Status.USAGE
    assert done.stderr.startswith(b"geventstreams: metrics need the library prometheus_client: ")


def test_a_bad_address_is_one_line() -> None:
    """`--metrics` takes an address, and no descriptor."""
    assert "is not a port" in geventstreams("serve", "echo", "--metrics", "x").refused(Status.USAGE)
    assert "is not an address" in geventstreams("serve", "echo", "--metrics", "fd:3").refused(Status.USAGE)
