"""A campaign against real server processes: 200 connections at once, every kind of fault mixed in, every octet compared.

Rule for the next editor: a campaign is a pure function of its seed, as far as the system lets it; whatever a fault does
to its own connection, it does to no other one.
"""

import contextlib
import gc
import os
import random
import socket
import ssl
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
import psutil
from command_line import GEVENTSTREAMS, LIMIT
from network import HOST, descriptors, until
from servers import Certificates

from geventstreams.connect import open_tcp_stream
from geventstreams.errors import ReadTimeout, StreamError, StreamReset, StreamTruncated

CONNECTIONS = 200
CLIENT = b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n"
SPARE = 16 * 2**20
"""Octets of memory by which a process may differ between two moments of rest: what its allocators keep in pieces."""


@dataclass
class Front:
    """A port to talk to: an echo server, or a relay to one."""

    name: str
    port: int
    context: ssl.SSLContext | None = None
    greeting: bytes = b""

    def dial(self, **options: Any) -> Any:
        """A stream to it."""
        if self.context is not None:
            options |= {"ssl_ctx": self.context, "tlsext_host_name": "localhost", "handshake_timeout": LIMIT}
        stream = open_tcp_stream(HOST, self.port, timeout=LIMIT, write_timeout=LIMIT, **{"read_timeout": LIMIT, **options})
        stream.write(self.greeting)
        return stream

    def plain(self) -> socket.socket:
        """A gevent socket to it."""
        return gevent.socket.create_connection((HOST, self.port), timeout=LIMIT)


@dataclass
class Fleet:
    """The server processes of a campaign, and the ports that they serve."""

    fronts: list[Front]
    processes: list[psutil.Process] = field(default_factory=list)

    def rest(self) -> list[tuple[int, int]]:
        """Descriptors and memory of each process, ours first, when nothing is connected any more."""
        gc.collect()
        last: list[int] = []

        def is_at_rest() -> bool:
            nonlocal last
            now = [process.num_fds() for process in self.processes]
            before, last = last, now
            gevent.sleep(0.5)
            return before == now

        until(is_at_rest, 60)
        return [(descriptors(), psutil.Process().memory_info().rss)] + [
            (process.num_fds(), process.memory_info().rss) for process in self.processes
        ]


@contextlib.contextmanager
def fleet(certificates: Certificates) -> Iterator[Fleet]:
    """Echo servers in plain text and TLS, one behind PROXY headers, and relays in front of them that begin and end TLS."""
    chain = ["--tls", certificates.server.chain, certificates.server.key]
    inwards = ["--tls-in", certificates.server.chain, certificates.server.key]
    outwards = ["--tls-out", "--ca", certificates.ca, "--server-name", "localhost"]
    context = ssl.create_default_context(cafile=certificates.ca)
    made = Fleet([])
    with contextlib.ExitStack() as running:

        def start(*words: object) -> int:
            port, process = running.enter_context(_quiet_server(*words))
            made.processes.append(psutil.Process(process.pid))
            return port

        plain, secure, proxied = start("serve", "echo"), start("serve", "echo", *chain), start("serve", "echo", "--proxy-protocol", *chain)
        made.fronts += [
            Front("plain", plain),
            Front("TLS", secure, context),
            Front("relay", start("relay", "--to", f"{HOST}:{plain}")),
            Front("relay that ends TLS and begins it", start("relay", "--to", f"{HOST}:{secure}", *inwards, *outwards), context),
            Front("relay that sends a PROXY header",
                  start("relay", "--to", f"{HOST}:{proxied}", "--proxy-protocol", "--send-proxy", 2, *outwards), greeting=CLIENT),
        ]
        yield made


@contextlib.contextmanager
def _quiet_server(*words: object) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    command = [*GEVENTSTREAMS, *map(str, words), "--listen", f"{HOST}:0", "--read-timeout", "30", "--write-timeout", "30",
               "--handshake-timeout", "10"]
    # What it tells of broken clients is one line a second: nobody reads that for an hour.
    with subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().rpartition(b":")[2]), process
            process.terminate()
            assert process.wait(LIMIT) == 0
        finally:
            process.kill()


class Campaign:
    """Clients that come and go, well and badly behaved, until it is over."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._fleet = fleet
        self._chance = random.Random(seed)
        self._over = 0.0

    def run(self, seconds: float) -> None:
        """Keeps 200 connections busy for so long; an octet that is wrong, or an error that nobody has caused, is raised."""
        self._over = time.monotonic() + seconds
        chances = [random.Random(self._chance.random()) for _ in range(CONNECTIONS)]
        gevent.joinall([gevent.spawn(self._client, chance) for chance in chances], raise_error=True)

    def _client(self, chance: random.Random) -> None:
        while time.monotonic() < self._over:
            behaviour = chance.choice(BEHAVIOURS)
            behaviour(chance.choice(self._fleet.fronts), chance)
            self.counts[behaviour.__name__] += 1


def _talk(front: Front, chance: random.Random, take: Any) -> None:
    """Sends random octets in random pieces while `take(stream, count)` reads the echo, which is compared."""
    sent = chance.randbytes(chance.choice((1, 100, 5_000, 100_000)))
    sizes = random.Random(chance.random())
    with front.dial() as stream:

        def send() -> None:
            at = 0
            while at < len(sent):
                size = sizes.randint(1, 30_000)
                stream.write(sent[at:at + size])
                at += size
            stream.send_eof()

        sending = gevent.spawn(send)
        try:
            came = b""
            while len(came) < len(sent):
                came += take(stream, len(sent) - len(came))
            sending.get()
        finally:
            sending.kill()
        assert came == sent, front.name
        assert stream.read() == b"", front.name


def converse(front: Front, chance: random.Random) -> None:
    """Reads as it comes."""
    _talk(front, chance, lambda stream, count: stream.read1(count) or _cut(front))


def _cut(front: Front) -> bytes:
    raise AssertionError(f"{front.name}: the end came too early")


def read_in_pieces(front: Front, chance: random.Random) -> None:
    """Reads exact pieces, and is slow about it."""

    def take(stream: Any, count: int) -> bytes:
        gevent.sleep(chance.choice((0, 0, 0.001)))
        octets: bytes = stream.read_exactly(min(count, chance.randint(1, 20_000)))
        return octets

    _talk(front, chance, take)


def be_interrupted(front: Front, chance: random.Random) -> None:
    """Has its reads ended by timeouts of its own at any moment, and asks again."""

    def take(stream: Any, count: int) -> bytes:
        wanted = min(count, chance.randint(1, 50_000))
        while True:
            # Most of them come in the middle of a wait.
            with gevent.Timeout(chance.random() * 0.02, False):
                octets: bytes = stream.read_exactly(wanted)
                return octets

    _talk(front, chance, take)


def time_out(front: Front, chance: random.Random) -> None:
    """Has read timeouts, and asks again."""

    def take(stream: Any, count: int) -> bytes:
        stream.read_timeout = 0.001 + chance.random() * 0.02
        try:
            octets: bytes = stream.read_exactly(min(count, chance.randint(1, 50_000)))
        except ReadTimeout:
            return b""
        finally:
            stream.read_timeout = LIMIT
        return octets

    _talk(front, chance, take)


def leave(front: Front, chance: random.Random) -> None:
    """Resets the connection in the middle of a transfer that it does not read."""
    with contextlib.suppress(StreamError):
        stream = front.dial()
        stream.write(chance.randbytes(chance.randint(1, 200_000)))
        gevent.sleep(chance.random() * 0.02)
        stream.abort()


def be_killed(front: Front, chance: random.Random) -> None:
    """Is killed while it reads and writes."""
    talking = gevent.spawn(converse, front, chance)
    talking.join(chance.random() * 0.05)
    talking.kill()
    if isinstance(talking.exception, AssertionError):
        raise talking.exception


def be_silent(front: Front, chance: random.Random) -> None:
    """Connects, says nothing, not even a hello, and goes."""
    with front.plain():
        gevent.sleep(chance.random() * 0.1)


def speak_nonsense(front: Front, chance: random.Random) -> None:
    """Says what is neither a hello nor a header, in pieces, and resets the connection."""
    with contextlib.closing(front.plain()) as plain, contextlib.suppress(OSError):
        for _ in range(chance.randint(1, 5)):
            plain.sendall(chance.randbytes(chance.randint(1, 50)))
            gevent.sleep(chance.random() * 0.005)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def be_cut_off(front: Front, chance: random.Random) -> None:
    """Ends the connection below TLS, without a goodbye."""
    with contextlib.suppress(StreamReset, StreamTruncated), front.dial() as stream:
        stream.write(chance.randbytes(chance.randint(1, 1000)))
        stream.flush()
        with socket.socket(fileno=os.dup(stream.fileno())) as below:
            below.shutdown(socket.SHUT_WR)
        stream.read()


BEHAVIOURS = (converse, converse, read_in_pieces, be_interrupted, time_out, leave, be_killed, be_silent, speak_nonsense, be_cut_off)


def endure(certificates: Certificates, seconds: float, seed: int) -> Counter[str]:
    """A campaign of so many seconds, a quarter of them to warm up: descriptors and memory are the same at its end."""
    print(f"seed {seed}, {seconds} s")
    with fleet(certificates) as servers:
        campaign = Campaign(servers, seed)
        campaign.run(seconds / 4)
        before = servers.rest()
        campaign.run(seconds * 3 / 4)
        after = servers.rest()
        print(f"descriptors and memory before {before}, after {after}; {dict(campaign.counts)}")
        for (fds_before, memory_before), (fds_after, memory_after) in zip(before, after, strict=True):
            assert fds_after <= fds_before
            assert memory_after <= memory_before + SPARE
        assert set(campaign.counts) == {behaviour.__name__ for behaviour in BEHAVIOURS}
        return campaign.counts
