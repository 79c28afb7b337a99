"""Leaks: thousands of connections made, used and closed with the collector off leave nothing that grows.

Counted are descriptors, threads, the loop's watchers and timers, what only the collector could free, all objects, and memory.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from operator import le
from typing import Any

import gevent
from kit.conditions import until
from kit.tls import NAME, VERSIONS

from campaigns.ends import Ends
from campaigns.tally import Tally
from geventstreams._net.connect import open_tcp_stream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.server.server import SocketStreamServer

GROWTH = 5 * 2**20
"""Bytes by which memory may be more afterwards."""

FEW = 200
"""Connections before it is counted for the first time; and objects by which the interpreter's own caches may differ."""

HOSTS = [f"127.0.0.{number}" for number in range(1, 21)]
"""More than one, so that ports do not become scarce."""


@dataclass
class Sizes:
    """What there is of a process."""

    descriptors: int
    threads: int
    watchers: int

    @classmethod
    def now(cls) -> Sizes:
        """The sizes at this moment."""
        return cls(len(os.listdir("/proc/self/fd")), threading.active_count(), sum(map(is_watcher, gc.get_objects())))


def is_watcher(thing: object) -> bool:
    """Return whether it watches a descriptor, or is a timer."""
    kind = type(thing)
    return kind.__name__ in ("io", "timer") and kind.__module__.startswith("gevent.")


def _memory() -> int:
    """Bytes of memory that the process has."""
    with open("/proc/self/statm", encoding="ascii") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Collect no garbage meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _echo(stream: Any, address: Any) -> None:
    for line in stream:
        stream.write(line)


def connect_and_close(tally: Tally, ends: Ends, kind: str, connections: int, make: type[SocketStream] = SocketStream) -> None:
    """So many connections to a server of this process, of TCP or of a version of TLS; `make` is the class of the clients' streams."""
    server_context = client_context = None
    if kind in VERSIONS:
        client_context, server_context = ends.contexts(kind)
    server = SocketStreamServer(("0.0.0.0", 0), _echo, ssl_ctx=server_context)
    server.start()
    names = {"ssl_ctx": client_context, "tlsext_host_name": NAME} if client_context else {}

    def once() -> None:
        tally.operations += 1
        stream = open_tcp_stream(tally.chance.choice(HOSTS), server.server_port, stream_class=make, timeout=20, read_timeout=20, **names)
        try:
            line = b"%d\n" % tally.operations
            stream.write(line)
            tally.same(stream.readline(), line, "the echo")
            tally.note(line)
        finally:
            stream.close()

    def counted() -> Sizes:
        until(lambda: not server.connections, 20)
        gevent.sleep(0.01)
        return Sizes.now()

    try:
        for _ in range(FEW):
            once()
        counted()
        with without_collector():
            before, objects, memory = counted(), len(gc.get_objects()), _memory()
            for _ in range(connections):
                once()
            after, more, grown = counted(), len(gc.get_objects()) - objects, _memory() - memory
            tally.expect(all(map(le, astuple(after), astuple(before))), f"{after} instead of {before}")
            tally.expect(more < FEW, f"{more} objects more after {connections} connections")
            tally.expect(grown <= GROWTH, f"{grown} bytes of memory more after {connections} connections")
            unreachable = gc.collect()
            tally.expect(not unreachable, f"{unreachable} objects that only the collector frees")
    finally:
        server.stop()
