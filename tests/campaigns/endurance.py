"""A campaign against real server processes: 200 connections at once, every kind of fault mixed in, every byte compared."""

# Invariants: a campaign is a pure function of its seed, as far as the system lets it; a fault affects its own connection only, and
# does to no other one.

import contextlib
import gc
import itertools
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
from kit.command_line import GEVENTSTREAMS, LIMIT
from kit.conditions import until
from kit.leftovers import descriptors
from kit.network import HOST
from servers import Certificates

from geventstreams._net.connect import open_tcp_stream
from geventstreams.errors import ReadTimeout, StreamReset, StreamTruncated

CONNECTIONS = 200
CLIENT = b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n"
SPARE = 12 * 2**20
"""Bytes of memory by which a process may differ between two moments of rest, once it has had all clients at the same time.

What it has had room for it keeps, in pieces: 35 MiB after 200 connections at once, which `malloc_trim` gives back. From
then on it goes up and down by 2 MiB, while what is in use is the same to some KiB after 6,000 connections and after
60,000: that is measured in `test_relay.py`.
"""


@dataclass
class Front:
    """A port to talk to: an echo server, or a relay to one. `pace`: how many seconds its clients may pause, at most."""

    name: str
    port: int
    context: ssl.SSLContext | None = None
    greeting: bytes = b""
    pace: float = 0.0
    compared: int = 0
    """How many bytes came back as they should."""

    def pause(self, chance: random.Random) -> None:
        """A client has nothing to say for a while."""
        gevent.sleep(chance.random() * self.pace)

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
            Front("relay", start("relay", "--timeout", 30, "--to", f"{HOST}:{plain}")),
            Front("relay that ends TLS and begins it",
                  start("relay", "--timeout", 30, "--to", f"{HOST}:{secure}", *inwards, *outwards), context),
            Front("relay that sends a PROXY header",
                  start("relay", "--timeout", 30, "--to", f"{HOST}:{proxied}", "--proxy-protocol", "--send-proxy", 2, *outwards),
                  greeting=CLIENT),
        ]
        yield made


@contextlib.contextmanager
def _quiet_server(*words: object) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    # No client of ours comes too late or is one too many, however slow the machine is.
    limits = [f"--{name}-timeout=30" for name in ("read", "write", "handshake")] + [f"--max-connections={2 * CONNECTIONS}"]
    command = [*GEVENTSTREAMS, *map(str, words), *limits, "--listen", f"{HOST}:0"]
    # Its log of broken clients has a line per second, which is not worth reading for an hour.
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
        self.counts: Counter[tuple[str, str]] = Counter()
        self._fleet = fleet
        self._chance = random.Random(seed)
        self._over = 0.0

    def crowd(self) -> None:
        """All clients at once, at each front: no process will ever need more memory than that."""
        for front in self._fleet.fronts:
            coming = [gevent.spawn(front.dial) for _ in range(CONNECTIONS)]
            gevent.joinall(coming, raise_error=True)
            echoing = [gevent.spawn(_echoed, each.get(), random.Random(self._chance.random()).randbytes(200_000)) for each in coming]
            gevent.joinall(echoing, raise_error=True)

    def run(self, seconds: float) -> None:
        """Keep 200 connections busy for so many seconds; raise on a wrong byte, and on an error without a cause."""
        self._over = time.monotonic() + seconds
        chances = [random.Random(self._chance.random()) for _ in range(CONNECTIONS)]
        gevent.joinall([gevent.spawn(self._client, chance) for chance in chances], raise_error=True)

    def _client(self, chance: random.Random) -> None:
        while time.monotonic() < self._over:
            behaviour, front = chance.choice(BEHAVIOURS), chance.choice(self._fleet.fronts)
            behaviour(front, chance)
            self.counts[behaviour.__name__, front.name] += 1


def _echoed(stream: Any, data: bytes) -> None:
    """Send one thing, and read it back."""
    with stream:
        sending = gevent.spawn(stream.write, data)
        assert stream.read_exactly(len(data)) == data
        sending.get()
        stream.send_eof()
        assert stream.read() == b""


def _talk(front: Front, chance: random.Random, take: Any) -> None:
    """Send random bytes in random pieces while `take(stream, count)` reads the echo, which is compared."""
    sent = chance.randbytes(chance.choice((1, 100, 5_000, 100_000)))
    sizes = random.Random(chance.random())
    with front.dial() as stream:
        front.pause(chance)

        def send() -> None:
            at = 0
            while at < len(sent):
                if sizes.random() < 0.2:
                    front.pause(sizes)
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
        front.compared += len(came)
        assert stream.read() == b"", front.name


def converse(front: Front, chance: random.Random) -> None:
    """Read as it comes."""
    _talk(front, chance, lambda stream, count: stream.read1(count) or _cut(front))


def _cut(front: Front) -> bytes:
    raise AssertionError(f"{front.name}: the end came too early")


def read_in_pieces(front: Front, chance: random.Random) -> None:
    """Read exact pieces, slowly."""

    def take(stream: Any, count: int) -> bytes:
        gevent.sleep(chance.choice((0, 0, 0.001)))
        data: bytes = stream.read_exactly(min(count, chance.randint(1, 20_000)))
        return data

    _talk(front, chance, take)


def be_interrupted(front: Front, chance: random.Random) -> None:
    """Have its reads ended by timeouts of its own at any moment, and ask again."""

    def take(stream: Any, count: int) -> bytes:
        wanted = min(count, chance.randint(1, 50_000))
        while True:
            # Most of them come in the middle of a wait.
            with gevent.Timeout(chance.random() * 0.02, False):
                data: bytes = stream.read_exactly(wanted)
                return data

    _talk(front, chance, take)


def time_out(front: Front, chance: random.Random) -> None:
    """Have read timeouts, and ask again."""

    def take(stream: Any, count: int) -> bytes:
        stream.read_timeout = 0.001 + chance.random() * 0.02
        try:
            data: bytes = stream.read_exactly(min(count, chance.randint(1, 50_000)))
        except ReadTimeout:
            return b""
        finally:
            stream.read_timeout = LIMIT
        return data

    _talk(front, chance, take)


def leave(front: Front, chance: random.Random) -> None:
    """Reset the connection in the middle of a transfer, of which it has read what was there, or nothing."""
    sent, came = chance.randbytes(chance.randint(1, 200_000)), b""
    stream = front.dial()
    try:
        front.pause(chance)
        stream.write(sent)
        stream.read_timeout = 0.02
        with contextlib.suppress(ReadTimeout):
            while chance.random() < 0.7:
                came += stream.read1() or _cut(front)
        gevent.sleep(chance.random() * 0.02)
    finally:
        stream.abort()
    assert sent.startswith(came), front.name


def be_killed(front: Front, chance: random.Random) -> None:
    """Is killed while it reads and writes."""
    talking = gevent.spawn(converse, front, chance)
    talking.join(chance.random() * (0.05 + front.pace))
    talking.kill()
    if isinstance(talking.exception, BaseException):
        raise talking.exception


def be_silent(front: Front, chance: random.Random) -> None:
    """Connect, send nothing, not even a hello or a header, and leave: nothing may answer."""
    with front.plain() as plain:
        gevent.sleep(chance.random() * 0.1)
        front.pause(chance)
        _finish(plain)
        _is_answer(front, b"", _heard(plain))


def speak_nonsense(front: Front, chance: random.Random) -> None:
    """Say what is neither a hello nor a header, in pieces, and reset the connection: only an echo may answer."""
    said = [chance.randbytes(chance.randint(1, 50)) for _ in range(chance.randint(1, 5))]
    with contextlib.closing(front.plain()) as plain:
        front.pause(chance)
        with contextlib.suppress(ConnectionError):  # it has heard enough
            for piece in said:
                plain.sendall(piece)
                gevent.sleep(chance.random() * 0.005)
            if chance.random() < 0.5:
                _finish(plain)
        plain.settimeout(0.02)
        _is_answer(front, b"".join(said), _heard(plain))
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _finish(plain: socket.socket) -> None:
    """Say that this was all, unless the connection is no more."""
    with contextlib.suppress(OSError):
        plain.shutdown(socket.SHUT_WR)


def _heard(plain: socket.socket) -> bytes:
    """What comes up to the end, to a reset, or to a timeout."""
    heard = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while data := plain.recv(65536):
            heard += data
    return heard


def _is_answer(front: Front, said: bytes, heard: bytes) -> None:
    """Fail on a wrong answer: an echo must give the bytes back, TLS an alert, and a front that wants a header nothing."""
    if front.context is not None:
        assert heard[:2] in (b"", b"\x15\x03"), (front.name, heard)  # with the version that the nonsense seemed to have
    else:
        assert (b"" if front.greeting else said).startswith(heard), (front.name, heard)


def be_cut_off(front: Front, chance: random.Random) -> None:
    """End the connection below TLS, without close_notify: a truncation with TLS, an orderly end without."""
    sent = chance.randbytes(chance.randint(1, 1000))
    stream = front.dial()
    try:
        front.pause(chance)
        stream.write(sent)
        stream.flush()
        with socket.socket(fileno=os.dup(stream.fileno())) as below:
            below.shutdown(socket.SHUT_WR)
        came = b""
        try:
            while data := stream.read1():
                came += data
        except (StreamReset, StreamTruncated):
            assert front.context is not None, front.name
            assert sent.startswith(came), front.name
        else:
            assert front.context is None, front.name
            assert came == sent, front.name
    finally:
        stream.abort()


BEHAVIOURS = (converse, converse, read_in_pieces, be_interrupted, time_out, leave, be_killed, be_silent, speak_nonsense, be_cut_off)


def endure(certificates: Certificates, seconds: float, seed: int, pace: float = 0.0) -> Counter[tuple[str, str]]:
    """A campaign of so many seconds, a quarter of them to warm up: descriptors and memory are the same at its end.

    The counts are of each kind of behaviour at each front. With a `pace` the clients pause so many seconds at most, now
    and then, and leave the machine to others.
    """
    print(f"seed {seed}, {seconds} s")
    with fleet(certificates) as servers:
        campaign = Campaign(servers, seed)
        campaign.crowd()
        for front in servers.fronts:
            front.pace = pace
        campaign.run(seconds / 4)
        before = servers.rest()
        campaign.run(seconds * 3 / 4)
        after = servers.rest()
        print(f"descriptors and memory before {before}, after {after}")
        print(f"{campaign.counts.total()} connections, {sum(front.compared for front in servers.fronts):,} bytes compared")
        for behaviour, front in itertools.product(BEHAVIOURS, servers.fronts):
            print(f"{campaign.counts[behaviour.__name__, front.name]:8} {behaviour.__name__} at {front.name}")
            assert campaign.counts[behaviour.__name__, front.name]
        for (fds_before, memory_before), (fds_after, memory_after) in zip(before, after, strict=True):
            assert fds_after <= fds_before
            assert memory_after <= memory_before + SPARE
        return campaign.counts
