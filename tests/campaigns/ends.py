"""Connections for campaigns: both transports of one over memory, TCP, a Unix socket, or TLS of either version over TCP.

A network in memory stands beside TCP, with links whose pieces are of random size.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from kit.pairs import Pairs
from kit.tls import NAME, VERSIONS, TLSKit
from servers import Certificates

from geventstreams._core.tls_context import Session
from geventstreams._core.tls_transport import DONE, NEEDS_INPUT, TLSTransport
from geventstreams._core.transport import transport_of
from geventstreams._core.transport_base import Transport
from geventstreams._streams.lisp import LispStream
from geventstreams.testing import MemoryNetwork, memory_pair

KINDS = ("memory", "tcp", "unix", *VERSIONS, "network", "network TLSv1.3")

Over = Callable[[Transport], Transport]
"""Puts something over a transport: a hindrance, or a planted fault."""


def itself(transport: Transport) -> Transport:
    """Nothing is put over it."""
    return transport


class Ends:
    """Makes connections of any kind. `buffers` is how many bytes the system (or memory) holds, each way; `link` is how a network is."""

    def __init__(self, certificates: Certificates, buffers: int = 65536, **link: Any) -> None:
        self.buffers = buffers
        self._link = {"chunks": (1, 9000), "window": buffers, **link}
        self._networks = 0
        self._contexts: dict[str, tuple[ssl.SSLContext, ssl.SSLContext]] = {}
        for version in VERSIONS:
            kit = TLSKit(certificates, Pairs(), version)
            self._contexts[version] = kit.context("client"), kit.context("server")

    def transports(self, kind: str, below: Over = itself) -> tuple[Transport, Transport]:
        """The near and the far end; `below` is put over the near one's socket, under any TLS."""
        if kind == "memory":
            near, far = memory_pair(self.buffers)
            return below(near), far
        plain = self.sockets(kind)
        near, far = below(transport_of(plain[0])), transport_of(plain[1])
        version = kind.removeprefix("network ")
        if version in VERSIONS:
            client, server = self._contexts[version]
            return shaken(Session(client, "client", NAME), near, Session(server, "server", None), far)
        return near, far

    def sockets(self, kind: str) -> tuple[Any, Any]:
        """Two connected sockets: of Unix, of a network in memory, or of TCP."""
        if kind.startswith("network"):
            self._networks += 1
            return MemoryNetwork(seed=self._networks, **self._link).socketpair()
        return Pairs().sockets("unix" if kind == "unix" else "tcp", self.buffers)

    def contexts(self, version: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """The client's and the server's context of a version of TLS."""
        return self._contexts[version]

    @contextlib.contextmanager
    def streams(self, kind: str, below: Over = itself, above: Over = itself, make: Any = LispStream, **options: Any) -> Iterator[Any]:
        """A stream over the near end, with `above` between the two, and one over the far end. Neither is open afterwards."""
        near, far = self.transports(kind, below)
        stream, peer = make(above(near), **options), LispStream(far)
        try:
            yield stream, peer
        finally:
            stream.abort()
            peer.abort()


def shaken(here: Session, near: Transport, there: Session, far: Transport) -> tuple[TLSTransport, TLSTransport]:
    """TLS over both ends of a connection, both handshakes complete."""
    made = TLSTransport(near), TLSTransport(far)
    for transport, session in zip(made, (here, there), strict=True):
        transport.begin(session)
    beside = gevent.spawn(shake, made[1])
    shake(made[0])
    beside.get()
    return made


def shake(transport: TLSTransport) -> None:
    """Drives one side's handshake to its end."""
    while (needs := transport.shake_hands()) != DONE:
        if needs == NEEDS_INPUT:
            transport.wait_input(20)
        else:
            transport.wait_output(20)
