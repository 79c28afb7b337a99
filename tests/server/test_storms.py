"""Servers under storms: no descriptors left, full queues, thousands of connections, handlers that raise, restarts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import gevent
import psutil
import pytest
from gevent import get_hub
from kit.conditions import until
from kit.leftovers import descriptors
from kit.network import HOST

from geventstreams._net.connect import open_tcp_stream
from geventstreams.errors import ConnectError, StreamError, StreamReset
from geventstreams.server.server import SocketStreamServer
from geventstreams.testing.claims import ATTEMPTS
from geventstreams.waiting import wait_for_input_streams

PROGRAM = Path(__file__).with_name("storm_server.py")


class Storm:
    """A server in another process, and what it says on standard error."""

    def __init__(self, directory: Path, most: int, hoarded: int = 0) -> None:
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(most), str(hoarded)], stdout=subprocess.PIPE, stderr=log
            )
        self.port = int(self.process.stdout.readline())
        self.facts = psutil.Process(self.process.pid)

    def processor_time(self) -> float:
        times = self.facts.cpu_times()
        return times.user + times.system

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def dial(self):
        return open_tcp_stream(HOST, self.port, timeout=30, read_timeout=30)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture
def storm(tmp_path):
    started = []

    def start(most, hoarded=0):
        started.append(Storm(tmp_path, most, hoarded))
        return started[-1]

    yield start
    for each in started:
        each.end()


def unanswered(server, clients):
    """Those of the clients that get no answer: the server has told that it rests, and has nothing more to do."""
    until(server.lines, 60)
    left = list(clients)
    while (ready := wait_for_input_streams(left, timeout=0.5)) or server.facts.status() != psutil.STATUS_SLEEPING:
        left = [client for client in left if client not in ready]
    return left


@pytest.mark.slow
def test_out_of_descriptors(storm):
    """64 descriptors, 150 clients: the server serves as many as it can, pauses accepting, logs it, and goes on at once."""
    server = storm(64)
    at_first = time.monotonic()
    clients = [server.dial() for _ in range(150)]
    for client in clients:
        client.write_line("hello")
        client.flush()
    left = unanswered(server, clients)
    served = [client for client in clients if client not in left]
    assert 30 < len(served) < 64
    before, began = server.processor_time(), time.monotonic()
    gevent.sleep(3)  # nothing is waited for: this is what is measured
    share = (server.processor_time() - before) / (time.monotonic() - began)
    assert share < 0.02
    assert wait_for_input_streams(left, timeout=0) == []
    lines = server.lines()
    assert 1 <= len(lines) <= 1 + (time.monotonic() - at_first)
    assert all("event=accept_paused" in line and "Too many open files" in line for line in lines)

    took = []
    while left:
        leaver = served.pop()
        assert leaver.read_line() == ("hello", False)
        began = time.monotonic()
        leaver.close()
        [newcomer] = wait_for_input_streams(left, timeout=30)
        took.append(time.monotonic() - began)
        left.remove(newcomer)
        served.append(newcomer)
    assert sum(each >= 0.25 for each in took) < ATTEMPTS, took  # a few of ninety are late where the machine is busy with others
    for client in served:
        assert client.read_line() == ("hello", False)
        client.close()


@pytest.mark.slow
def test_descriptors_that_become_free_elsewhere(storm):
    """Accepting goes on within 0.25 s of a descriptor becoming free, also where no connection has ended."""
    for _ in range(ATTEMPTS):
        server = storm(64, hoarded=40)
        clients = [server.dial() for _ in range(30)]
        for client in clients:
            client.write_line("hello")
            client.flush()
        left = unanswered(server, clients)
        assert left
        began = time.monotonic()
        os.kill(server.process.pid, signal.SIGUSR1)
        assert wait_for_input_streams(left, timeout=30)
        took = time.monotonic() - began
        for client in clients:
            assert client.read_line() == ("hello", False)
            client.close()
        if took < 0.25:
            return
    pytest.fail(f"{ATTEMPTS} times too late, at last after {took:.2f} s")


@pytest.mark.slow
def test_many_idle_connections(storm):
    """10,000 idle connections do not disturb 100 busy ones, and all of them end in order when the server is stopped."""
    server = storm(12_000)
    idle = [server.dial() for _ in range(10_000)]
    busy = [server.dial() for _ in range(100)]

    def ask(client, number):
        for question in range(50):
            client.write_line(f"{number}.{question}")
            assert client.read_line() == (f"{number}.{question}", False)

    gevent.joinall([gevent.spawn(ask, client, number) for number, client in enumerate(busy)], raise_error=True)
    for client in idle[::100]:
        client.write_line("still there")
        assert client.read_line() == ("still there", False)
    server.process.terminate()
    for client in idle + busy:
        assert client.read() == b""
        client.close()
    assert server.process.wait(20) == 0


@pytest.mark.slow
def test_a_queue_that_overflows():
    """Clients that find the queue full come through by the system's own retries, none answered wrongly."""
    server = SocketStreamServer((HOST, 0), lambda stream, _address: stream.write(stream.readline()), backlog=4)
    server.start()
    server.stop_accepting()
    queued = []

    def ask(number):
        with open_tcp_stream(HOST, server.port, timeout=30, read_timeout=30) as client:
            queued.append(number)
            client.write_line(str(number))
            return client.read_line()

    asking = [gevent.spawn(ask, number) for number in range(40)]
    until(lambda: len(queued) > 4)
    assert len(queued) < 40
    server.start_accepting()
    gevent.joinall(asking, raise_error=True)
    assert [each.get() for each in asking] == [(str(number), False) for number in range(40)]
    server.stop()


@pytest.mark.slow
def test_ten_thousand_handlers_that_raise(monkeypatch):
    """10,000 handlers that raise: each is told once, no descriptor is left, and the next client is served."""
    told = []
    monkeypatch.setattr(get_hub(), "handle_error", lambda context, kind, error, trace: told.append(kind))

    def handle(stream, _address):
        if stream.readline() == b"raise\n":
            raise LookupError("on purpose")
        stream.write(b"fine\n")

    server = SocketStreamServer((HOST, 0), handle, max_connections=10)
    server.start()
    before = descriptors()
    for _ in range(10_000):
        with open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10) as client:
            client.write(b"raise\n")
            with contextlib.suppress(StreamReset):
                client.read()
    until(lambda: len(told) == 10_000)
    assert set(told) == {LookupError}
    assert descriptors() == before
    with open_tcp_stream(HOST, server.port, timeout=10) as client:
        client.write(b"speak\n")
        assert client.readline() == b"fine\n"
    server.stop()


@pytest.mark.slow
def test_restarts_under_load():
    """A server that is drained and replaced on its port under load answers nothing wrongly; clients come through."""

    def handle(stream, _address):
        for line in stream:
            stream.write(b"answer to " + line)

    def start(port):
        server = SocketStreamServer((HOST, port), handle)
        server.start()
        return server

    reserved = socket.socket()  # between two servers no other program gets the port
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((HOST, 0))
    port = reserved.getsockname()[1]
    server = start(port)
    counts = [0] * 20
    over = []

    def ask(number):
        while not over:
            with contextlib.suppress(ConnectError, StreamReset), \
                    open_tcp_stream(HOST, port, timeout=10, read_timeout=10) as client:
                for question in range(10):
                    client.write_line(f"{number}.{question}")
                    answer = client.readline()
                    assert answer in {b"", b"answer to %d.%d\n" % (number, question)}
                    if not answer:
                        break
                    counts[number] += 1

    asking = [gevent.spawn(ask, number) for number in range(20)]
    for _ in range(10):
        before = list(counts)
        until(lambda before=before: all(now > then + 10 for now, then in zip(counts, before, strict=True)))
        assert server.stop(10).killed == 0
        server = start(port)
    over.append(True)
    gevent.joinall(asking, raise_error=True)
    server.stop()
    reserved.close()


@pytest.mark.slow
def test_clients_that_abort_in_the_queue():
    """Thousands of clients that reset their connection before or right after they are accepted do no harm."""
    server = SocketStreamServer((HOST, 0), lambda stream, _address: stream.write(stream.readline()))
    server.start()
    before = descriptors()
    for _ in range(100):
        server.stop_accepting()
        for _ in range(20):
            with socket.create_connection((HOST, server.port)) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        server.start_accepting()
        with open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10) as client:
            client.write_line("hello")
            assert client.read_line() == ("hello", False)
    until(lambda: not server.connections)
    until(lambda: descriptors() <= before)
    assert server.stats.accepted == 2_100
    server.stop()


def test_stream_errors_are_what_clients_see():
    """A client of a server that is killed under it gets a stream error, not a hang."""
    server = SocketStreamServer((HOST, 0), lambda stream, _address: stream.readline())
    server.start()
    with open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10) as client:
        until(lambda: server.connections)
        server.stop(0)
        with pytest.raises(StreamError):
            client.read()
