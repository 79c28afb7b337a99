"""Waiting for streams: answered when one is closed, for thousands of them, and as often as one likes with nothing left."""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from gevent import get_hub
from kit.pairs import Pairs

from geventstreams import SocketStream, WaitSet, wait_for_input_streams
from geventstreams.testing.claims import ATTEMPTS, SOON, started

LOCAL = ("tcp", "unix")


def wait_in_set(streams: list[Any]) -> list[Any]:
    """Wait by a WaitSet."""
    with WaitSet(streams) as members:
        return members.wait()


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_stream_that_is_closed_during_the_wait_is_answered(pairs: Pairs, kind: str, end: str) -> None:
    """A stream that is closed while greenlets wait for it and others is in their answers, within 5 ms."""
    late = 0.0
    for _ in range(ATTEMPTS):
        streams = [pairs.streams(kind)[0] for _ in range(3)]
        answered: list[float] = []

        def wait(wait: Callable[[list[Any]], list[Any]], streams: Any = streams, answered: list[float] = answered) -> Any:
            answer = wait(streams)
            answered.append(time.monotonic())
            return answer

        waiters = [started(wait, one) for one in (wait_for_input_streams, wait_in_set)]
        began = time.monotonic()
        getattr(streams[1], end)()
        assert [waiter.get() for waiter in waiters] == [[streams[1]]] * 2
        late = max(answered) - began
        if late <= SOON:
            return
    pytest.fail(f"{ATTEMPTS} times too late, at last after {late * 1000:.1f} ms")


@contextmanager
def descriptors_for(count: int) -> Iterator[None]:
    """Let this process have so many descriptors, and take the first 1,100 away."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    padding = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        yield
    finally:
        for number in padding:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOCAL)
def test_four_thousand_streams(pairs: Pairs, kind: str) -> None:
    """4,000 streams with descriptors above 1,023: those that are ready are answered, in order, by a list and by a set, again and again."""
    with descriptors_for(10_000):
        ends = [pairs.sockets(kind) for _ in range(4000)]
        streams = [pairs.keep(SocketStream(near)) for near, _ in ends]
        assert min(stream.fileno() for stream in streams) > 1023
        with WaitSet(streams) as members:
            for chosen in ((0,), (17, 1900, 3999), tuple(range(1, 4000, 7)), (2000,)):
                assert wait_for_input_streams(streams, timeout=0.001) == []
                waiter, other = started(wait_for_input_streams, streams), started(members.wait)
                for number in chosen:
                    ends[number][1].sendall(b"x")
                wanted = [streams[number] for number in chosen]
                assert set(waiter.get()) <= set(wanted)
                assert set(other.get()) <= set(wanted)
                assert wait_for_input_streams(streams) == wanted
                assert set(members.wait()) <= set(wanted)
                assert [stream.read(1) for stream in wanted] == [b"x"] * len(wanted)
        pairs.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOCAL)
def test_a_hundred_thousand_waits_leave_nothing(pairs: Pairs, kind: str) -> None:
    """100,000 waits, half of them timing out, 1,000 killed: watchers, timers and objects are as many as before."""
    ends = [pairs.streams(kind) for _ in range(10)]
    streams = [stream for stream, _ in ends]
    loop = get_hub().loop

    def time_out(count: int) -> None:
        for _ in range(count):
            assert wait_for_input_streams(streams[:5], timeout=1e-6) == []

    def waits(count: int) -> None:
        gevent.joinall([gevent.spawn(time_out, count // 20) for _ in range(10)], raise_error=True)
        for number in range(count // 2 - count // 100):
            stream, peer = ends[5 + number % 5]
            if number % 10 == 0:
                peer.sendall(b"x" * 10)
            if number % 50 < 10:
                ready = wait_for_input_streams(streams[5:])
            else:
                ready = wait_for_input_streams([stream], timeout=0) or wait_for_input_streams(streams[5:], timeout=1)
            assert ready
            ready[0].read(1)
        for _, peer in ends:
            peer.flush()
        for stream in wait_for_input_streams(streams, timeout=0):
            stream.read_available()
        for _ in range(count // 100):
            victim = gevent.spawn(wait_for_input_streams, streams)
            gevent.sleep(0)
            assert not victim.ready()
            victim.kill()

    def state() -> tuple[int, int]:
        gc.collect()
        return loop.activecnt, len(gc.get_objects())

    waits(2000)
    watchers, objects = state()
    waits(100_000)
    watchers_after, objects_after = state()
    assert watchers_after == watchers
    assert objects_after <= objects + 50
