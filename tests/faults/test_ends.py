"""Ends and closings over every kind of connection: tails are kept, last words arrive, a descriptor is closed once."""

import gc
import os
import socket
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from kit.leftovers import open_descriptor
from kit.pairs import Pairs
from kit.tls import VERSIONS

from geventstreams.errors import IncompleteRead, WriteTimeout
from geventstreams.testing.claims import outcome, same, sample, started

MIB = 2**20
NETWORK = ("tcp", *VERSIONS)
SOCKETS = ("tcp", "unix", *VERSIONS)


def test_an_end_in_the_middle(pairs: Pairs, kind: str) -> None:
    """The end inside a line is the line's tail; inside `read_exactly(20)` after 10 bytes it is IncompleteRead, and they stay readable."""
    stream, peer = pairs.streams(kind)
    peer.sendall(b"a line\na tail")
    peer.close()
    assert [stream.readline() for _ in range(4)] == [b"a line\n", b"a tail", b"", b""]
    stream, peer = pairs.streams(kind)
    peer.sendall(b"0123456789")
    peer.close()
    for _ in range(3):
        with pytest.raises(IncompleteRead) as caught:
            stream.read_exactly(20)
        assert (caught.value.expected, caught.value.partial) == (20, b"0123456789")
    assert (stream.read(20), stream.read(20)) == (b"0123456789", b"")


@pytest.mark.parametrize("kind", NETWORK)
def test_an_byte_that_comes_late_does_not_cost_our_output(pairs: Pairs, kind: str) -> None:
    """2 MiB to a slow peer, which says something 0.2 s after our close began: all 2,097,152 bytes arrive, and then the end."""
    stream, peer = pairs.streams(kind, buffers=2**14, linger_timeout=20)
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**18)  # so that the last bytes are with our system for long
    data = sample(2 * MIB)
    stream.write_timeout = 0.05
    assert isinstance(outcome(stream.write, data), WriteTimeout)
    stream.write_timeout = None
    closing = started(stream.close)
    got = bytearray(peer.read_exactly(MIB))
    gevent.sleep(0.2)
    assert not closing.ready()
    peer.sendall(b"!")
    while piece := peer.read(2**15):
        got += piece
        gevent.sleep(0.001)
    same(bytes(got), data)
    closing.get()


def leave_by_an_error(stream: Any) -> Any:
    """Leave `with` by an exception."""

    def fail() -> None:
        with stream:
            raise KeyError

    return outcome(fail)


ENDINGS: dict[str, Callable[[Any, Any], Any]] = {
    "close": lambda stream, _peer: stream.close(),
    "abort": lambda stream, _peer: stream.abort(),
    "the peer closed": lambda stream, peer: (peer.close(), stream.read(), stream.close()),
    "the peer reset": lambda stream, peer: (peer.abort(), outcome(stream.read), stream.close()),
    "reset and unsent": lambda stream, peer: (stream.write(b"x"), peer.abort(), outcome(stream.close)),
    "with": lambda stream, _peer: leave_by_an_error(stream),
    "send_eof": lambda stream, _peer: (stream.send_eof(), stream.close()),
    "shutdown": lambda stream, _peer: (stream.shutdown("io"), stream.close()),
    "killed": lambda stream, _peer: (full(stream), started(stream.close).kill()),
    "timeout": lambda stream, _peer: (full(stream), outcome(stream.close)),
    "dropped": lambda _stream, _peer: None,
}


def full(stream: Any) -> None:
    """Write more than the system takes from it."""
    stream.write_timeout = 0.03
    outcome(stream.write, bytes(MIB))
    assert stream.unsent


@pytest.mark.parametrize("kind", SOCKETS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_descriptor_is_closed_exactly_once(pairs: Pairs, kind: str, ending: str) -> None:
    """Each end of a stream closes its descriptor, and closing it three times more does not touch the next owner of the number."""
    stream, peer = pairs.streams(kind, buffers=4096)
    pairs.made.remove(stream)
    number = stream.fileno()
    spare = os.open(os.devnull, os.O_RDONLY)
    ENDINGS[ending](stream, peer)
    if ending == "dropped":
        del stream
    assert not open_descriptor(number)
    os.dup2(spare, number)
    if ending != "dropped":
        for _ in range(3):
            stream.close()
        stream.abort()
        outcome(stream.__exit__, None, None, None)
        del stream
    gc.collect()
    assert open_descriptor(number)
    os.close(number)
    os.close(spare)
