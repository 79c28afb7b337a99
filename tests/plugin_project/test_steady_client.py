"""What users write with the plugin's fixtures."""

import gevent
import pytest
from steady_client import GaveUp, ask, keep_alive

from geventstreams import ReadTimeout
from geventstreams.testing import PiecemealTransport


def echo(stream, _):
    for line in stream:
        stream.write(line)
        stream.flush()


@pytest.mark.leaves_nothing
def test_an_answer(stream_server):
    assert ask(stream_server(echo).port, b"hello") == b"hello"


@pytest.mark.leaves_nothing
def test_back_off_over_ten_minutes(stream_server, virtual_clock):
    calls = []

    def busy(stream, _):
        calls.append(virtual_clock.now)
        if len(calls) == 6:
            echo(stream, _)

    assert ask(stream_server(busy).port, b"hello", pause=20.0) == b"hello"
    assert calls == [0, 20, 60, 140, 300, 620]


@pytest.mark.leaves_nothing
def test_a_reset_in_mid_answer(memory_network, stream_server, virtual_clock):
    network = memory_network(latency=0.1)
    network.next_link(to_client={"reset_after": 3})
    assert ask(stream_server(echo).port, b"hello") == b"hello"
    assert len(network.links) == 2
    assert virtual_clock.now == pytest.approx(10.8, abs=0.1)


@pytest.mark.leaves_nothing
def test_silence_is_given_up(stream_server, virtual_clock):
    silent = stream_server(lambda stream, _: gevent.sleep(10**6))
    with pytest.raises(GaveUp):
        ask(silent.port, b"hello", attempts=2)
    assert virtual_clock.now == pytest.approx(20, abs=0.5)


@pytest.mark.leaves_nothing
def test_keep_alive(stream_pair, virtual_clock):
    near, far = stream_pair()
    beating = gevent.spawn(keep_alive, near)
    for _ in range(12):
        assert far.readline() == b"\n"
    assert virtual_clock.now == 3600
    beating.kill()


def test_pieces(faulty_link):
    near, far = faulty_link(lambda transport: PiecemealTransport(transport, 1), read_timeout=5)
    far.write(b"one line\n")
    far.flush()
    assert near.readline() == b"one line\n"


def test_timeout(stream_pair, virtual_clock):
    near, _ = stream_pair(read_timeout=3600)
    with pytest.raises(ReadTimeout):
        near.readline()
    assert virtual_clock.now == 3600
