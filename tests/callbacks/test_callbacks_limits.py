"""Upper bounds for callback connections: memory of unread data, and the time that a flood takes from others."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import gevent
import pytest
from kit.callbacks import rounds
from kit.conditions import until
from kit.memory import peak_memory
from kit.network import HOST

from geventstreams import tcp_server

pytestmark = pytest.mark.usefixtures("reports")

MIB = 2**20
ALLOWED = 2 * MIB
HIGH = 262144


def stand_still(state):
    """Return when a state has not changed for a quarter of a second."""
    last, same = state(), 0
    with gevent.Timeout(30):
        while same < 50:
            gevent.sleep(0.005)
            now = state()
            last, same = now, same + 1 if now == last else 0


def test_256_mib_to_a_peer_that_never_reads(endpoints):
    """A writer that heeds `write` and `drain` waits when 256 MiB go to a peer that never reads: memory grows by 2 MiB at most."""
    client, _peer = endpoints.joined(receive=4096)
    until(lambda: client.fileno() >= 0)
    written = []

    def pour():
        for number in range(4096):
            piece = bytes([number & 255]) * 65536
            written.append(number)
            if not client.write(piece):
                client.drain()

    with peak_memory() as peak:
        writer = endpoints.spawn(pour)
        stand_still(lambda: (len(written), client.unsent))
    assert not writer.ready()
    assert 0 < client.unsent <= HIGH + 65536
    assert peak.size <= ALLOWED


def test_256_mib_written_by_one_who_does_not_ask(endpoints):
    """A writer that ignores both is not waited for, and what it writes large is not copied: 256 MiB of one object cost 2 MiB at most."""
    client, _peer = endpoints.joined(receive=4096, stream=True)
    until(lambda: client.fileno() >= 0)
    piece = os.urandom(65536)
    with peak_memory() as peak:
        for _ in range(4096):
            client.write_sequence(piece)
        stand_still(lambda: client.unsent)
    assert client.unsent > 240 * MIB
    assert peak.size <= ALLOWED


def test_256_mib_to_a_stream_that_is_not_read(endpoints):
    """256 MiB sent to a stream that is not read wait in the sender: memory grows by 2 MiB at most, and then not at all."""
    client, peer = endpoints.joined(lambda _socket, _stream: None, stream=True)
    until(lambda: client.fileno() >= 0)
    piece = bytes(65536)
    sent = []

    def pour():
        for _ in range(4096):
            sent.append(peer.send(piece))

    with peak_memory() as peak:
        sender = endpoints.spawn(pour)
        until(lambda: client.buffered > HIGH)
        stand_still(lambda: (len(sent), client.buffered))
    assert not sender.ready()
    assert client.buffered < 2 * HIGH + 65536
    assert peak.size <= ALLOWED


POUR = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as out:
    while True:
        out.sendall(bytes(65536))
"""


class Flood:
    """A process that sends as fast as it can to a port, until it is ended."""

    def __init__(self, port):
        self._process = subprocess.Popen([sys.executable, "-S", "-c", POUR, str(port)], stderr=subprocess.DEVNULL)

    def close(self):
        """End it."""
        self._process.kill()
        self._process.wait(10)


def largest_gap(seconds):
    """The longest time between two ticks of a greenlet that sleeps a millisecond each time, but for what the machine itself took."""
    largest = 0.0
    end = time.monotonic() + seconds
    last, worked = time.monotonic(), time.process_time()
    while last < end:
        gevent.sleep(0.001)
        now, cpu = time.monotonic(), time.process_time()
        largest = max(largest, min(now - last, cpu - worked))
        last, worked = now, cpu
    return largest


@pytest.mark.parametrize("draining", [True, False])
def test_a_flood_leaves_time_for_others(draining):
    """Beside a connection whose peer sends without end, a 1 ms ticker sees no gap above 20 ms."""
    taken = [0]

    def read(_socket, data):
        taken[0] += len(data if draining else data.read())

    with tcp_server(HOST, 0, read, lambda _event: None, stream=not draining) as server:
        flood = Flood(server.port)
        try:
            until(lambda: taken[0] > MIB)
            before = taken[0]
            gap = largest_gap(0.9)
            assert taken[0] > before + MIB
            assert gap <= 0.02
        finally:
            flood.close()
        until(lambda: not server.connections)


def test_a_flood_of_one_leaves_the_others_served(endpoints):
    """While one peer floods a server, another one's questions are answered."""
    server = endpoints.server(lambda socket, data: socket.write(data) if len(data) < 100 else None, lambda _event: None)
    flood = Flood(server.port)
    try:
        peer = endpoints.peer(server.port)
        for number in range(50):
            peer.sendall(b"%d" % number)
            with gevent.Timeout(10):
                assert peer.recv(100) == b"%d" % number
    finally:
        flood.close()


def test_a_hundred_thousand_short_messages_cost_no_more_than_they_are(endpoints):
    """What was written small and cannot leave is kept together, not each for itself: 100,000 messages of 100 bytes cost no more than
    twice their bytes."""
    client, peer = endpoints.joined(receive=4096)
    until(lambda: client.fileno() >= 0)
    client.write(bytes(8 * MIB))
    rounds()
    with peak_memory() as peak:
        for number in range(100_000):
            client.write(b"%099d\n" % number)
    assert peak.size < 2 * 100_000 * 100
    client.close()
    with gevent.Timeout(30):
        left = 8 * MIB
        while left:
            left -= len(peer.recv(min(left, 65536)))
        file = peer.makefile("rb")
        for number in range(100_000):
            assert file.readline() == b"%099d\n" % number
        file.close()
