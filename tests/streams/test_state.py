"""What one can read of a stream at three in the morning: its `repr`, the run info of gevent, and the list of the open ones."""

import gc
import re
import sys
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent import socket as gsocket
from kit.command_line import run
from kit.conditions import until

import geventstreams
from geventstreams import AsyncSocket, SocketStream, SocketStreamServer, WaitSet, open_streams, open_tcp_stream, tcp_connect
from geventstreams.errors import in_bytes
from geventstreams.testing import virtual_time


@pytest.fixture
def pair() -> Iterator[tuple[SocketStream, SocketStream]]:
    """Two streams over TCP that are each other's peer."""
    with gsocket.create_server(("127.0.0.1", 0)) as listener:
        one = open_tcp_stream(*listener.getsockname(), read_timeout=30)
        other = SocketStream(listener.accept()[0])
    yield one, other
    one.abort()
    other.abort()


def waits() -> str:
    """What the run info prints below the spawn tree locals of this hub; the whole of it lists every greenlet that tests have left."""
    return repr(gevent.get_hub().spawn_tree_locals["geventstreams"])


def test_a_stream_shows_its_state(pair: tuple[SocketStream, SocketStream]) -> None:
    """Descriptor, both ends, what is held, and how each half ended."""
    one, other = pair
    ends = f"peer=127.0.0.1:{one.peer_address[1]} address=127.0.0.1:{one.address[1]}"
    assert repr(one) == f"<SocketStream fd={one.fileno()} {ends} open buffered=0 unsent=0>"
    other.write(b"one\ntwo\n")
    other.send_eof()
    assert one.readline() == b"one\n"
    one.write(b"unsent")
    assert "open buffered=4 unsent=6" in repr(one)
    assert one.read() == b"two\n"
    assert " half-closed-by-peer " in repr(one)
    assert " half-closed " in repr(other)
    one.send_eof()
    assert " ended " in repr(one)
    one.close()
    assert repr(one) == f"<SocketStream closed peer=127.0.0.1:{one.peer_address[1]}>"


def test_a_reset_and_a_timeout_are_shown(pair: tuple[SocketStream, SocketStream]) -> None:
    """A connection that was reset says so, and one whose read timed out."""
    one, other = pair
    one.read_timeout = 0.01
    with pytest.raises(geventstreams.ReadTimeout):
        one.read(1)
    assert " open timed-out " in repr(one)
    other.abort()
    with pytest.raises(geventstreams.StreamReset):
        one.read(1)
    assert " reset " in repr(one)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda stream: stream.readline(), "reads a line from"),
        (lambda stream: stream.read_line(), "reads a line from"),
        (lambda stream: stream.discard_line(), "reads a line from"),
        (lambda stream: stream.read_until(b"\r\n"), "reads up to a separator from"),
        (lambda stream: stream.read_exactly(112), "reads 100 bytes more from"),
        (lambda stream: stream.read(), "reads up to the end from"),
        (lambda stream: stream.read_string(113), "reads input from"),
    ],
)
def test_what_a_greenlet_waits_for_is_shown(
    pair: tuple[SocketStream, SocketStream], call: Callable[[SocketStream], object], told: str
) -> None:
    """Each greenlet that waits in a stream is named, with what it reads, from whom, since when, and what is there already."""
    one, other = pair
    other.sendall(b"twelve bytes")
    until(lambda: one.listen() and one.buffered == 12)
    with virtual_time():
        reader = gevent.spawn(call, one)
        gevent.sleep(7.5)
        what = f"{told} 127.0.0.1:{one.peer_address[1]}, "
        (line,) = [line for line in waits().splitlines() if what in line]
    assert f", 7.5 s, {in_bytes(one.buffered)} buffered" in line
    assert f"<Greenlet at {id(reader):#x}" in line
    assert told in repr(one)
    reader.kill()
    assert what not in waits()


def test_a_read_of_any_number_of_bytes_is_none_up_to_the_end(pair: tuple[SocketStream, SocketStream]) -> None:
    """`read1()` waits for any bytes."""
    one, _ = pair
    reader = gevent.spawn(one.read1)
    until(lambda: "reads input from" in repr(one))
    reader.kill()


def test_the_run_info_shows_the_waits() -> None:
    """`gevent.util.format_run_info()` prints them with the hub that they belong to."""
    program = """
import gevent.util
from gevent import socket, spawn, sleep
from geventstreams import SocketStream

one, other = socket.socketpair()
stream = SocketStream(one)
reader = spawn(stream.readline)
sleep(0)
print("\\n".join(gevent.util.format_run_info()))
"""
    printed = run(sys.executable, "-c", program)
    assert printed.errors == ""
    assert re.search(r"what greenlets wait for:\n.*<Greenlet .*> reads a line from ", printed.output.decode())


def test_a_writer_and_a_connection_that_calls_back_are_shown(pair: tuple[SocketStream, SocketStream]) -> None:
    """So is a greenlet that waits for room, and the one of a connection that calls back."""
    one, _ = pair
    writer = gevent.spawn(one.sendall, bytes(2**24))
    until(lambda: "writes to" in repr(one))
    assert re.search(rf"writes to 127.0.0.1:{one.peer_address[1]}, \d+\.\d s", waits())
    writer.kill()
    with gsocket.create_server(("127.0.0.1", 0)) as listener:
        calling: AsyncSocket = tcp_connect(*listener.getsockname(), lambda socket, data: None)
        what = f"receives from 127.0.0.1:{listener.getsockname()[1]}"
        until(lambda: what in waits())
        assert f"fd={calling.fileno()}" in repr(calling)
        calling.close(True)


def test_open_streams_are_listed(pair: tuple[SocketStream, SocketStream]) -> None:
    """The open streams of the hub, without those that are closed or dropped."""
    one, other = pair
    assert {one, other} <= set(open_streams())
    other.close()
    assert one in open_streams()
    assert other not in open_streams()
    before = len(open_streams())
    calling = tcp_connect("127.0.0.1", 1, None)
    assert len(open_streams()) == before + 1
    calling.close(True)
    del calling
    gc.collect()


def test_streams_of_other_threads_are_not_listed(pair: tuple[SocketStream, SocketStream]) -> None:
    """A thread lists its own hub's streams."""
    assert gevent.get_hub().threadpool.apply(open_streams) == []


def test_servers_and_sets_show_their_state(pair: tuple[SocketStream, SocketStream]) -> None:
    """A server says where it listens and how many connections it has; a set how many members."""
    server = SocketStreamServer(("127.0.0.1", 0), lambda stream, address: stream.read())
    server.start()
    assert repr(server) == f"<SocketStreamServer fd={server.fileno()} address=127.0.0.1:{server.port} accepting connections=0 handshakes=0>"
    client = open_tcp_stream("127.0.0.1", server.port)
    until(lambda: "connections=1" in repr(server))
    client.close()
    server.stop()
    assert repr(server) == "<SocketStreamServer closed>"
    with WaitSet(pair) as waiting:
        assert repr(waiting) == "<WaitSet 2 members, 2 signalled>"
    assert repr(waiting) == "<WaitSet closed>"
