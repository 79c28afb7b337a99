"""The claims about the two halves of a stream together."""

from __future__ import annotations

from random import Random
from typing import Any

import gevent

from geventstreams.errors import StreamClosed
from geventstreams.testing.claims import (
    LIMIT,
    Claim,
    MakePair,
    beside,
    claim,
    fresh,
    has,
    raises,
    same,
    sample,
    send,
    started,
    stuffed,
)


@claim("read read_exactly write sendall send_eof", peer="read read_exactly sendall send_eof")
def the_other_half_goes_on_after_an_end(make_pair: MakePair, random: Random) -> None:
    """The peer ends its output and still gets a megabyte from us; we end ours and still read a megabyte."""
    data = sample(2**20, random.getrandbits(32))
    with fresh(make_pair) as (stream, peer):
        peer.send_eof()
        same(stream.read(), b"", "the end")
        with beside(stream.sendall, data):
            same(peer.read_exactly(len(data)), data, "what the peer got")
    with fresh(make_pair) as (stream, peer):
        stream.send_eof()
        with beside(peer.sendall, data):
            same(stream.read_exactly(len(data)), data, "what we got")
        raises(StreamClosed, stream.write, b"x")


@claim("read write flush", peer="read write flush", tries="send_eof")
def both_ways_at_once(make_pair: MakePair, random: Random) -> None:
    """Random pieces both ways at the same time arrive whole."""
    there, back = sample(500_000, random.getrandbits(32)), sample(500_000, random.getrandbits(32))

    def write(one: Any, data: bytes, own: Random) -> None:
        at = 0
        while at < len(data):
            at += one.write(data[at : at + own.choice((1, 100, 9000, 70_000))])
            if own.random() < 0.2:
                one.flush()
        one.flush()
        if has(one, "send_eof"):
            one.send_eof()

    def read(one: Any, size: int, ends: bool) -> bytes:
        data: bytes = one.read() if ends else one.read(size)
        return data

    seeds = random.getrandbits(32), random.getrandbits(32)
    with (
        fresh(make_pair) as (stream, peer),
        beside(write, stream, there, Random(seeds[0])),
        beside(write, peer, back, Random(seeds[1])),
    ):
        reading = started(read, peer, len(there), has(stream, "send_eof"))
        same(read(stream, len(back), has(peer, "send_eof")), back, "what came")
        same(reading.get(), there, "what went")


@claim("write_timeout unsent accepted write flush readline sendall", peer="write flush readline read_exactly")
def a_blocked_half_leaves_the_other_alone(make_pair: MakePair, _random: Random) -> None:
    """While a write waits for room, reads go on; while a read waits, writes go on."""
    with fresh(make_pair) as (stream, peer):
        data, _ = stuffed(stream)
        stream.write_timeout = None
        writer = started(stream.flush)
        for _ in range(20):
            send(peer, b"ping\n")
            same(stream.readline(), b"ping\n", "a line beside the write")
        assert not writer.ready(), "the flush did not wait for the peer"
        same(peer.read_exactly(len(data)), data, "what the peer got")
        same(writer.get(), None, "what flush returned")
        reader = started(stream.readline)
        for _ in range(20):
            stream.sendall(b"pong\n")
            same(peer.readline(), b"pong\n", "a line beside the read")
        send(peer, b"at last\n")
        same(reader.get(), b"at last\n", "what the reader got")


@claim("write readline", peer="write flush readline")
def waiting_sends_first(make_pair: MakePair, _random: Random) -> None:
    """A read that has to wait sends what was written before it, so a forgotten flush is no deadlock."""
    with fresh(make_pair) as (stream, peer):
        stream.write(b"question\n")
        asking = started(stream.readline)
        with gevent.Timeout(50 * LIMIT, AssertionError("what was written did not arrive while a read waited")):
            same(peer.readline(), b"question\n", "the question")
        send(peer, b"answer\n")
        same(asking.get(), b"answer\n", "the answer")


@claim("write abort closed __enter__ __exit__", peer="read")
def an_error_in_a_with_block_sends_nothing(make_pair: MakePair, _random: Random) -> None:
    """Leaving `with` by an exception closes without sending what is buffered; leaving it well sends it."""
    with fresh(make_pair) as (stream, peer):
        error = raises(KeyError, _fail_inside, stream)
        assert error.args == ("mine",), error
        assert stream.closed, "it is not closed"
        received = started(peer.read, 1).get()
        assert received == b"" or isinstance(received, ConnectionResetError), f"the peer got {received!r}"
    with fresh(make_pair) as (stream, peer):
        with stream:
            stream.write(b"well")
        same(peer.read(), b"well", "what the peer got")


def _fail_inside(stream: Any) -> None:
    with stream:
        stream.write(b"half a message")
        raise KeyError("mine")


CLAIMS: list[Claim] = [
    the_other_half_goes_on_after_an_end,
    both_ways_at_once,
    a_blocked_half_leaves_the_other_alone,
    waiting_sends_first,
    an_error_in_a_with_block_sends_nothing,
]
