"""Errors that are kept, with their tracebacks and all that these refer to, keep no descriptor open and nothing running."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import get_hub
from kit.conditions import until
from kit.pairs import Pairs
from kit.tls import VERSIONS, TLSKit
from servers.certificates import Certificates

from geventstreams import (
    EndOfFile,
    IncompleteRead,
    LineTooLong,
    ReadTimeout,
    StreamBusy,
    StreamClosed,
    StreamReset,
    WriteTimeout,
)
from geventstreams.testing.claims import started

TIMES = 1000
SIDE_BY_SIDE = 20
MESSAGE = bytes(2**20)


def time_out(stream: Any, _peer: Any) -> None:
    """Ended by a Timeout of gevent's."""
    with gevent.Timeout(0.001):
        stream.read(1000)


def read_too_long(stream: Any, peer: Any) -> None:
    """Meets a line without an end."""
    peer.sendall(b"x" * 20)
    stream.readline()


def read_after_a_reset(stream: Any, peer: Any) -> None:
    """Meets a connection that the peer has broken."""
    peer.abort()
    stream.read()


ERRORS: list[tuple[float | None, type[BaseException], Callable[[Any, Any], Any]]] = [
    (1e-6, ReadTimeout, lambda stream, _: stream.read(1)),
    (1e-6, EndOfFile, lambda stream, _: stream.read_char()),
    (None, ValueError, lambda stream, _: stream.read(-5)),
    (None, TypeError, lambda stream, _: stream.write("text")),
    (None, UnicodeEncodeError, lambda stream, _: stream.write_string("€")),
    (None, LineTooLong, read_too_long),
    (None, gevent.Timeout, time_out),
    (1e-6, WriteTimeout, lambda stream, _: stream.write(MESSAGE)),
    (1e-6, WriteTimeout, lambda stream, _: stream.flush()),
    (None, StreamReset, read_after_a_reset),
    (None, StreamReset, lambda stream, _: stream.read_exactly(1000)),
    (None, StreamReset, lambda stream, _: stream.flush()),
    (None, StreamClosed, lambda stream, _: (stream.abort(), stream.read(0))),
    (None, StreamClosed, lambda stream, _: stream.write(b"")),
]
"""What goes wrong on one connection, one after the other, with its limits and the error."""


def failed(kind: type[BaseException], call: Callable[[Any, Any], Any], ends: tuple[Any, Any]) -> BaseException:
    """The error of a call, as it was raised."""
    try:
        call(*ends)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tcp", "TLSv1.3"])
def test_errors_that_are_kept_keep_nothing_else(pairs: Pairs, kind: str, certificates: Certificates) -> None:
    """Every error path of a stream 1,000 times, the exceptions kept, the collector off: descriptors and watchers +0."""
    options: dict[str, Any] = {}
    if kind in VERSIONS:
        kit = TLSKit(certificates, pairs, kind)
        options = {"ssl_ctx": kit.context("client"), "peer": {"ssl_ctx": kit.context("server")}}
    kept: list[BaseException] = []

    def fail_in_every_way() -> None:
        stream, peer = pairs.streams(kind, buffers=4096, line_limit=10, **options)
        for limit, error, call in ERRORS:
            if not stream.closed:
                stream.read_timeout = stream.write_timeout = limit
            kept.append(failed(error, call, (stream, peer)))
        stream, peer = pairs.streams(kind, **options)
        reader = started(stream.read, 100)
        kept.append(failed(StreamBusy, lambda stream, _: stream.read(1), (stream, peer)))
        reader.kill()
        peer.sendall(b"half")
        peer.close()
        kept.append(failed(IncompleteRead, lambda stream, _: stream.read_exactly(100), (stream, peer)))
        stream.close()

    def sizes() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), get_hub().loop.activecnt

    fail_in_every_way()
    gc.collect()
    gevent.sleep(0)  # the hub drops what the closed streams held
    gc.disable()
    try:
        before = sizes()
        failing = [gevent.spawn(lambda: [fail_in_every_way() for _ in range(TIMES // SIDE_BY_SIDE)]) for _ in range(SIDE_BY_SIDE)]
        gevent.joinall(failing, raise_error=True)
        until(lambda: sizes() == before, what="the end of all that was made")
        assert all(error.__traceback__ is not None for error in kept)
        pairs.made.clear()
        assert len(kept) == (TIMES + 1) * (len(ERRORS) + 2)
    finally:
        gc.enable()
