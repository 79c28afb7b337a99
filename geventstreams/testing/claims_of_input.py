"""The claims about the reading half of any stream."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from random import Random
from typing import Any

import gevent

from geventstreams.errors import IncompleteRead, LineTooLong, ReadTimeout, StreamBusy, StreamClosed
from geventstreams.testing.claims import (
    LIMIT,
    Claim,
    MakePair,
    beside,
    fires_in_time,
    fresh,
    outcome,
    raises,
    same,
    sample,
    send,
    started,
    wakes_soon,
)

SEED = 20_11
"""The seed of all random numbers here."""

KILLS = 300
"""Interruptions of calls in one claim."""


def lines_then_the_end(make_pair: MakePair) -> None:
    """Lines come as they were sent, then the end of file as often as it is asked for."""
    with fresh(make_pair) as (stream, peer), beside(_send_and_end, peer, b"one\n\ntwo\r\n" + b"x" * 70000 + b"\nlast"):
        same(
            [stream.readline() for _ in range(5)],
            [b"one\n", b"\n", b"two\r\n", b"x" * 70000 + b"\n", b"last"],
            "the lines",
        )
        for _ in range(10):
            same(
                [stream.readline(), stream.read(5), stream.read(), stream.read1(5), stream.peek(), list(stream)],
                [b"", b"", b"", b"", b"", []],
                "after the end",
            )
            same(stream.readinto(bytearray(3)), 0, "readinto after the end")
        assert stream.at_eof, "at_eof is false after the end"


def the_end_inside_a_call_keeps_what_came(make_pair: MakePair) -> None:
    """An end inside read_exactly or read_until is IncompleteRead with what came, which stays readable."""
    with fresh(make_pair) as (stream, peer), beside(_send_and_end, peer, b"ten bytes!"):
        error = raises(IncompleteRead, stream.read_exactly, 20)
        same((error.expected, error.partial), (20, b"ten bytes!"), "what IncompleteRead says")
        error = raises(IncompleteRead, stream.read_until, b"\n")
        same((error.expected, error.partial), (b"\n", b"ten bytes!"), "what IncompleteRead says")
        same(stream.read(), b"ten bytes!", "what stayed")


def what_came_before_a_timeout_is_kept(make_pair: MakePair) -> None:
    """Half of what a call waits for, then silence: ReadTimeout, and the same call made again completes."""
    with fresh(make_pair) as (stream, peer):
        space = bytearray(11)
        whole = b"binary and\n"
        calls: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = [
            (stream.read, (11,), whole),
            (stream.readline, (), whole),
            (stream.read_until, (b"d\n",), whole),
            (stream.read_exactly, (11,), whole),
            (stream.readinto, (space,), 11),
        ]
        for call, args, wanted in calls:
            send(peer, whole[:5])
            stream.read_timeout = LIMIT
            raises(ReadTimeout, call, *args)
            stream.read_timeout = None
            with beside(send, peer, whole[5:]):
                same(call(*args), wanted, f"{call.__name__} after a timeout")
        same(bytes(space), whole, "what readinto filled")
        send(peer, whole[:5])
        stream.read_timeout = LIMIT
        raises(ReadTimeout, stream.read)
        stream.read_timeout = None
        with beside(_send_and_end, peer, whole[5:]):
            same(stream.read(), whole, "read to the end after a timeout")


def limits_fire_in_time(make_pair: MakePair) -> None:
    """A read timeout of any size fires never early and not much late, in each call."""
    with fresh(make_pair) as (stream, _peer):
        for limit in (1e-9, 0.001, 0.03, 0.1, 0.02, 0.02):
            stream.read_timeout = limit
            fires_in_time(limit, ReadTimeout, stream.read, 1)


def a_dripping_peer_is_no_timeout(make_pair: MakePair) -> None:
    """The read timeout counts from the last receive call: a byte every quarter of it keeps a long read going."""
    with fresh(make_pair) as (stream, peer):
        stream.read_timeout = 4 * LIMIT

        def drip() -> None:
            for byte in b"dripping":
                gevent.sleep(LIMIT)
                send(peer, bytes([byte]))

        with beside(drip):
            same(stream.read(8), b"dripping")


def an_outer_timeout_comes_out_itself(make_pair: MakePair) -> None:
    """gevent.Timeout around a call: the very object that was started comes out, and nothing that arrived is lost."""
    with fresh(make_pair) as (stream, peer):
        stream.read_timeout = 30
        send(peer, b"half")
        for call, args in (
            (stream.read, (8,)),
            (stream.readline, ()),
            (stream.readinto, (bytearray(8),)),
            (stream.readlines, ()),
        ):
            with gevent.Timeout(30), gevent.Timeout(LIMIT) as started_one:
                same(outcome(call, *args) is started_one, True, f"{call.__name__} ended by the timeout")
        with beside(send, peer, b"half"):
            same(stream.read_exactly(8), b"halfhalf")


def kills_lose_nothing(make_pair: MakePair) -> None:
    """Readers that are killed and replaced repeatedly, in any read, get every byte once and in order."""
    random = Random(SEED)
    wanted = sample(40 * KILLS)
    got = bytearray()

    def read_on(stream: Any) -> None:
        while True:
            piece = random.choice(READS)(stream, random.randint(1, 200))
            if not piece:
                return
            got.extend(piece)

    with fresh(make_pair) as (stream, peer):
        sent = 0
        for _ in range(KILLS):
            reader = started(read_on, stream)
            count = random.randint(0, 80)
            send(peer, wanted[sent : sent + count])
            sent += count
            reader.kill(gevent.Timeout if random.random() < 0.5 else gevent.GreenletExit)
        with beside(_send_and_end, peer, wanted[sent:]):
            read_on(stream)
    same(got, wanted, "what the readers got")


def random_pieces_arrive_whole(make_pair: MakePair) -> None:
    """For all sizes of writes and reads, the bytes read are those written."""
    random = Random(SEED)
    wanted = sample(600_000, 3)

    def write(peer: Any) -> None:
        at = 0
        while at < len(wanted):
            count = random.choice((1, 10, 1000, 50_000))
            at += peer.write(wanted[at : at + count])
            if random.random() < 0.3:
                peer.flush()
        peer.send_eof()

    with fresh(make_pair) as (stream, peer), beside(write, peer):
        file = io.BytesIO(wanted)
        while piece := random.choice(READS)(stream, random.choice((1, 10, 1000, 90_000))):
            same(piece, file.read(len(piece)), "a read")
        same(file.read(), b"", "what was never read")


def a_second_reader_is_refused(make_pair: MakePair) -> None:
    """A second reader gets StreamBusy at once, and the first one is not disturbed."""
    with fresh(make_pair) as (stream, peer):
        first = started(stream.read, 4)
        for call, args in (
            (stream.read, (1,)),
            (stream.read, (0,)),
            (stream.readline, ()),
            (stream.peek, ()),
            (stream.discard_line, ()),
            (stream.readinto, (bytearray(1),)),
            (stream.read_available, ()),
            (next, (stream,)),
        ):
            before = time.monotonic()
            raises(StreamBusy, call, *args)
            assert time.monotonic() - before < 1, "it waited before it refused"
        send(peer, b"mine")
        same(first.get(), b"mine", "what the first reader got")


def closing_wakes_a_reader(make_pair: MakePair) -> None:
    """A reader that waits while the stream is closed or aborted gets StreamClosed at once."""
    for end in (lambda stream: stream.close(), lambda stream: stream.abort()):
        wakes_soon(make_pair, lambda stream: stream.readline(), end, StreamClosed)


def after_closing_nothing_reads(make_pair: MakePair) -> None:
    """After close every read is StreamClosed, even of nothing; closing again and asking whether it is closed is not."""
    with fresh(make_pair) as (stream, peer):
        send(peer, b"unread")
        stream.close()
        for call, args in (
            (stream.read, ()),
            (stream.read, (0,)),
            (stream.readinto, (bytearray(0),)),
            (stream.read_exactly, (0,)),
            (stream.readline, (0,)),
            (stream.peek, ()),
            (next, (stream,)),
            (stream.read_available, ()),
            (stream.readable, ()),
            (stream.__enter__, ()),
        ):
            raises(StreamClosed, call, *args)
        stream.close()
        stream.abort()
        same((stream.closed, stream.fileno(), stream.buffered), (True, -1, 0), "closed, fileno, buffered")
        assert repr(stream), "it has no repr"


def bad_sizes_are_refused(make_pair: MakePair) -> None:
    """A wrong size is refused with its value in the text, and takes nothing."""
    with fresh(make_pair) as (stream, peer):
        send(peer, b"kept")
        for call in (stream.read, stream.read1, stream.readline):
            for size, kind in ((-2, ValueError), (1.5, TypeError), ("5", TypeError)):
                assert repr(size) in str(raises(kind, call, size)), f"the text does not name {size!r}"
        raises(TypeError, stream.readinto, b"read only")
        raises(ValueError, stream.read_until, b"")
        same(stream.read(4), b"kept")


def a_limit_of_a_line_is_exact(make_pair: MakePair) -> None:
    """read_until takes as much as its limit, separator included, and refuses one byte more with nothing consumed."""
    with fresh(make_pair) as (stream, peer):
        send(peer, b"1234567\n")
        raises(LineTooLong, stream.read_until, b"\n", 7)
        same(stream.read_until(b"\n", 8), b"1234567\n")
        send(peer, b"much too long\nnext\n")
        raises(LineTooLong, stream.read_until, b"\n", 4)
        stream.discard_line()
        same(stream.readline(), b"next\n")


def _send_and_end(peer: Any, data: bytes) -> None:
    send(peer, data)
    peer.send_eof()


def _read_into(stream: Any, size: int) -> bytes:
    space = bytearray(size)
    return bytes(space[: stream.readinto(space)])


READS: tuple[Callable[[Any, int], bytes], ...] = (
    lambda stream, size: stream.read(size),
    lambda stream, size: stream.read1(size),
    lambda stream, size: stream.readline(size),
    lambda stream, size: stream.read_available() or stream.read1(size),
    _read_into,
)

CLAIMS: list[Claim] = [
    lines_then_the_end,
    the_end_inside_a_call_keeps_what_came,
    what_came_before_a_timeout_is_kept,
    limits_fire_in_time,
    a_dripping_peer_is_no_timeout,
    an_outer_timeout_comes_out_itself,
    kills_lose_nothing,
    random_pieces_arrive_whole,
    a_second_reader_is_refused,
    closing_wakes_a_reader,
    after_closing_nothing_reads,
    bad_sizes_are_refused,
    a_limit_of_a_line_is_exact,
]
