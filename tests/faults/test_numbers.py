"""The system reuses descriptor numbers at once: a greenlet that waited on the old one must not receive from the new one."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
from kit.pairs import Pairs
from kit.tls import VERSIONS, TLSKit
from servers.certificates import Certificates

from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import StreamClosed
from geventstreams.testing.claims import outcome, started

MESSAGE = bytes(400_000)


def fill(stream: Any) -> None:
    """Leave no room in the system."""
    stream.write_timeout = 1e-9
    outcome(stream.write, MESSAGE)
    stream.write_timeout = None


WAITS: dict[str, Callable[[Any], Any]] = {
    "read": lambda stream: stream.read(1),
    "write": lambda stream: stream.write(MESSAGE),
    "flush": lambda stream: (fill(stream), stream.flush()),
    "read of a line": lambda stream: stream.readline(),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tcp", "unix", *VERSIONS])
def test_a_thousand_numbers_that_are_used_again(pairs: Pairs, kind: str, certificates: Certificates) -> None:
    """1,000 times: a greenlet waits in a read, a write, a flush or a handshake, the stream is closed, the number is another
    connection's: the greenlet gets StreamClosed, and the connection its bytes."""
    options: dict[str, Any] = {}
    waits = dict(WAITS)
    if kind in VERSIONS:
        kit = TLSKit(certificates, pairs, kind)
        options = {"ssl_ctx": kit.context("client"), "peer": {"ssl_ctx": kit.context("server")}}
        for side in ("client", "server"):
            arguments = kit.arguments(side)
            waits[f"handshake of a {side}"] = lambda stream, arguments=arguments: stream.attach_ssl(**arguments)
    for turn in range(1000):
        name = list(waits)[turn % len(waits)]
        if name.startswith("handshake"):
            near, far = pairs.sockets("tcp")
            stream, peer = pairs.keep(SocketStream(near)), far
        else:
            stream, peer = pairs.streams(kind, buffers=4096, linger_timeout=0.001, **options)
        connection = socket.socketpair()
        connection[1].sendall(b"not for you")
        number = stream.fileno()
        waiter = started(waits[name], stream)
        assert not waiter.ready(), waiter.value
        closing = started(stream.close) if turn % 2 and name.startswith("read") else stream.abort()
        os.dup2(connection[0].fileno(), number)
        assert isinstance(waiter.get(), StreamClosed), waiter.value
        if closing is not None:
            assert closing.get() is None
        second = SocketStream(number)
        assert second.read(11) == b"not for you"
        second.close()
        for one in (*connection, peer):
            one.abort() if isinstance(one, SocketStream) else one.close()
        pairs.made.clear()
