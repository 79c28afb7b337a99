"""The test kit: streams in memory, hostile transports, and checks of one's own streams."""

from random import Random

import gevent.socket

from geventstreams import BufferedStream, SocketStream
from geventstreams.testing import (
    FailingTransport,
    HostileTransport,
    PiecemealTransport,
    StallingTransport,
    check_input_stream,
    check_io_stream,
    check_output_stream,
    memory_pair,
)


def pair() -> tuple[BufferedStream, BufferedStream]:
    here, there = memory_pair(capacity=1000)
    return BufferedStream(HostileTransport(here, Random(1), most=10)), BufferedStream(PiecemealTransport(there))


def sockets() -> tuple[SocketStream, SocketStream]:
    one, other = gevent.socket.socketpair()
    return SocketStream(one), SocketStream(other)


def test_mine() -> None:
    check_io_stream(pair)
    check_input_stream(sockets)
    check_output_stream(lambda: (BufferedStream(memory_pair()[0]), BufferedStream(memory_pair()[1])))


def test_stalls() -> None:
    here, _ = memory_pair()
    StallingTransport(here).stall("input")
    print(FailingTransport(here, 1, ConnectionResetError()).calls)
