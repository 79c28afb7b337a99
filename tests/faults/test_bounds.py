"""Bounds over every kind of connection: of lines, of memory, of sizes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kit.memory import peak_memory
from kit.pairs import Pairs
from kit.tls import VERSIONS, TLSKit
from servers.certificates import Certificates

from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import LineTooLong
from geventstreams.testing.claims import raises

KIB = 1024
LIMIT = 128 * KIB
FLOOD = 64 * 2**20
FLOODER = """
import socket, ssl, sys
plain = socket.socket(fileno=int(sys.argv[1]))
plain.setblocking(True)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[2:])
    plain = context.wrap_socket(plain, server_side=True)
block = bytes(65536)
for _ in range(1024):
    plain.sendall(block)
plain.sendall(b"\\nin step\\n")
plain.recv(1)
"""


@contextmanager
def flooded(pairs: Pairs, kind: str, certificates: Certificates, **options: Any) -> Iterator[SocketStream]:
    """A stream to which another process sends 64 MiB without a newline, and then a line."""
    near, far = pairs.sockets("unix" if kind == "unix" else "tcp")
    chain = [str(certificates.server.chain), str(certificates.server.key)] if kind in VERSIONS else []
    command = [sys.executable, "-c", FLOODER, str(far.fileno()), *chain]
    with subprocess.Popen(command, pass_fds=[far.fileno()]) as flooder:
        far.close()
        try:
            secure = TLSKit(certificates, pairs, kind).arguments("client") if kind in VERSIONS else {}
            with SocketStream(near, **secure, **options) as stream:
                yield stream
        finally:
            flooder.kill()


@pytest.mark.parametrize("kind", ["tcp", "unix", *VERSIONS])
def test_a_line_without_end_costs_little(pairs: Pairs, kind: str, certificates: Certificates) -> None:
    """64 MiB without a newline: LineTooLong with memory of at most 2 × line_limit + 256 KiB, dropped as cheaply, and then in step."""
    with flooded(pairs, kind, certificates, line_limit=LIMIT) as stream:
        with peak_memory() as peak:
            for call in (stream.readline, stream.read_line, lambda: stream.read_until(b"\n")):
                raises(LineTooLong, call)
        assert peak.size <= 2 * LIMIT + 256 * KIB
        with peak_memory() as peak:
            stream.discard_line()
        assert peak.size <= 2 * LIMIT + 256 * KIB
        assert stream.readline() == b"in step\n"


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_the_limit_of_a_line_is_exact(pairs: Pairs, kind: str, excess: int) -> None:
    """Lines of limit - 1, limit and limit + 1 bytes, whole and in single bytes: what fits passes, and the stream is in step."""
    stream, peer = pairs.streams(kind, line_limit=200)
    line = b"x" * (199 + excess) + b"\n"
    for piece in (len(line), 1):
        for at in range(0, len(line), piece):
            peer.sendall(line[at : at + piece])
        peer.sendall(b"next\n")
        for call in (stream.readline, stream.read_line, lambda: stream.read_until(b"\n")):
            if excess > 0:
                assert raises(LineTooLong, call).limit == 200
        if excess > 0:
            stream.discard_line()
        else:
            assert stream.readline() == line
        assert stream.readline() == b"next\n"


def test_sizes_that_are_none(pairs: Pairs, kind: str) -> None:
    """Sizes of -2, 1.5 and "5" are refused by their value and take nothing; None is the end, but not for `read_exactly`."""
    stream, peer = pairs.streams(kind)
    peer.sendall(b"a line\nthe rest")
    peer.send_eof()
    for call in (stream.read, stream.read1, stream.readline, stream.readlines, stream.peek, stream.read_exactly):
        for size, error in ((-2, ValueError), (1.5, TypeError), ("5", TypeError)):
            assert repr(size) in str(raises(error, call, size))
    raises((TypeError, ValueError), stream.read_exactly, None)
    assert stream.readline(None) == b"a line\n"
    assert stream.read(None) == b"the rest"
