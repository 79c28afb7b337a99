"""Tests of line_protocol.py with the test kit: no ports, no processes, and the hard cases on purpose.

Run them by pytest: pytest test_line_protocol.py
"""

from random import Random

import gevent
import pytest
from line_protocol import serve

from geventstreams import BufferedStream, StreamReset
from geventstreams.testing import FailingTransport, HostileTransport, PiecemealTransport, StallingTransport, memory_pair


@pytest.fixture
def connect():
    """Give a function that starts `serve` at one end of a connection in memory and returns the client's stream.

    `over` may put something between the server's stream and the connection; other arguments are the server stream's.
    """
    servers, clients = [], []

    def connect(over=lambda transport: transport, **options):
        near, far = memory_pair()
        server_stream = BufferedStream(over(far), **options)

        def run():
            with server_stream:
                serve(server_stream)

        servers.append(gevent.spawn(run))
        clients.append(BufferedStream(near, read_timeout=5))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()
    gevent.joinall(servers, timeout=5)


def test_totals(connect):
    """Each number is answered with the total so far."""
    client = connect()
    client.write(b"1\n2\n39\n")
    assert [client.readline() for _ in range(3)] == [b"1\n", b"3\n", b"42\n"]


@pytest.mark.parametrize("seed", range(5))
def test_pieces_of_any_size(connect, seed):
    """The protocol does not depend on how the network cuts the bytes into pieces."""
    client = connect(over=lambda transport: HostileTransport(transport, Random(seed), most=3))
    client.write(b"1000\n" * 10)
    client.send_eof()
    assert client.readlines() == [b"%d\n" % (1000 * count) for count in range(1, 11)]


def test_one_byte_at_a_time(connect):
    """A line that arrives byte by byte is one line."""
    client = connect(over=PiecemealTransport)
    client.write(b"123\n")
    assert client.readline() == b"123\n"


def test_a_silent_client_is_sent_away(connect):
    """A client that sends half a line and stops is told so after the read timeout."""
    client = connect(read_timeout=0.05)
    client.write(b"12")
    assert client.readline() == b"timeout: closing\n"
    assert client.readline() == b""


def test_a_stalled_network_is_a_silent_client(connect):
    """The network stops delivering: the server's timeout ends the wait, and what arrived later is not answered."""
    stalling = []

    def over(transport):
        stalling.append(StallingTransport(transport))
        return stalling[0]

    client = connect(over=over, read_timeout=0.05)
    client.write(b"1\n")
    assert client.readline() == b"1\n"
    stalling[0].stall("input")
    client.write(b"2\n")
    assert client.readline() == b"timeout: closing\n"


def test_a_line_without_end(connect):
    """A line that is too long is refused, and the next one is understood."""
    client = connect(line_limit=20)
    client.write(b"9" * 1000 + b"\n7\n")
    assert client.readline() == b"error: line too long\n"
    assert client.readline() == b"7\n"


def test_a_reset_ends_the_server(connect):
    """An error of the connection reaches the handler as what it is, and the server's greenlet ends."""
    client = connect(over=lambda transport: FailingTransport(transport, 3, ConnectionResetError(104, "reset")))
    client.write(b"1\n")
    assert client.readline() == b"1\n"
    client.write(b"2\n")
    with pytest.raises(StreamReset):
        client.readline()
