"""The claims about the reading half of any stream."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import gevent

from geventstreams._core.clock import CLOCK
from geventstreams.errors import IncompleteRead, LineTooLong, ReadTimeout, StreamBusy, StreamClosed
from geventstreams.testing.claims import (
    ATTEMPTS,
    LIMIT,
    Claim,
    MakePair,
    beside,
    claim,
    end_output,
    fires_in_time,
    fresh,
    has,
    outcome,
    raises,
    same,
    sample,
    send,
    started,
    wakes_soon,
)

KILLS = 300
"""Interruptions of calls in one claim."""


@claim("read readline", peer="write flush", tries="read1 peek readinto __iter__ at_eof")
def lines_then_the_end(make_pair: MakePair, _random: Random) -> None:
    """Lines come as they were sent, then the end of file as often as it is asked for."""
    with fresh(make_pair) as (stream, peer), beside(_send_and_end, peer, b"one\n\ntwo\r\n" + b"x" * 70000 + b"\nlast"):
        same(
            [stream.readline() for _ in range(5)],
            [b"one\n", b"\n", b"two\r\n", b"x" * 70000 + b"\n", b"last"],
            "the lines",
        )
        calls: list[tuple[str, tuple[Any, ...], Any]] = [
            ("readline", (), b""), ("read", (5,), b""), ("read", (), b""), ("read1", (5,), b""), ("peek", (), b""),
            ("readinto", (bytearray(3),), 0),
        ]
        for _ in range(10):
            for name, args, nothing in calls:
                if has(stream, name):
                    same(getattr(stream, name)(*args), nothing, f"{name} after the end")
            if has(stream, "__iter__"):
                same(list(stream), [], "iteration after the end")
        assert getattr(stream, "at_eof", True), "at_eof is false after the end"


@claim("read read_exactly read_until", peer="write flush")
def the_end_inside_a_call_keeps_what_came(make_pair: MakePair, _random: Random) -> None:
    """An end inside read_exactly or read_until is IncompleteRead with what came, which stays readable."""
    with fresh(make_pair) as (stream, peer), beside(_send_and_end, peer, b"ten bytes!"):
        error = raises(IncompleteRead, stream.read_exactly, 20)
        same((error.expected, error.partial), (20, b"ten bytes!"), "what IncompleteRead says")
        error = raises(IncompleteRead, stream.read_until, b"\n")
        same((error.expected, error.partial), (b"\n", b"ten bytes!"), "what IncompleteRead says")
        same(stream.read(), b"ten bytes!", "what stayed")


@claim("read_timeout read readline read_until read_exactly readinto", peer="write flush")
def what_came_before_a_timeout_is_kept(make_pair: MakePair, _random: Random) -> None:
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


@claim("read_timeout read")
def limits_fire_in_time(make_pair: MakePair, _random: Random) -> None:
    """A read timeout of any size fires never early and not much late, in each call."""
    with fresh(make_pair) as (stream, _peer):
        for limit in (1e-9, 0.001, 0.03, 0.1, 0.02, 0.02):
            stream.read_timeout = limit
            fires_in_time(limit, ReadTimeout, stream.read, 1)


@claim("read_timeout read", peer="write flush")
def a_dripping_peer_is_no_timeout(make_pair: MakePair, _random: Random) -> None:
    """The read timeout counts from the last receive call: a byte every quarter of it keeps a long read going."""
    for _ in range(ATTEMPTS):
        with fresh(make_pair) as (stream, peer):
            stream.read_timeout = 4 * LIMIT
            moments = [CLOCK.now()]

            def drip(peer: Any = peer, moments: list[float] = moments) -> None:
                for byte in b"dripping":
                    gevent.sleep(LIMIT)
                    send(peer, bytes([byte]))
                    moments.append(CLOCK.now())

            with beside(drip):
                result = outcome(stream.read, 8)
                moments.append(CLOCK.now())
            if result == b"dripping":
                return
            if max(later - earlier for earlier, later in pairwise(moments)) < 3 * LIMIT:  # else the machine was busy, and the peer late
                break
    same(result, b"dripping", "what a long read gives")


@claim("read", peer="write flush", tries="readline readinto readlines read_timeout")
def an_outer_timeout_comes_out_itself(make_pair: MakePair, _random: Random) -> None:
    """gevent.Timeout around a call: the very object that was started comes out, and nothing that arrived is lost."""
    with fresh(make_pair) as (stream, peer):
        if has(stream, "read_timeout"):
            stream.read_timeout = 30
        send(peer, b"half")
        for name, args in (("read", (8,)), ("readline", ()), ("readinto", (bytearray(8),)), ("readlines", ())):
            if has(stream, name):
                with gevent.Timeout(30), gevent.Timeout(LIMIT) as started_one:
                    same(outcome(getattr(stream, name), *args), started_one, f"what ended {name}")
        with beside(send, peer, b"half"), gevent.Timeout(50 * LIMIT, AssertionError("bytes that came before a timeout are lost")):
            same(stream.read(8), b"halfhalf", "what was read after the timeouts")


@claim("read", peer="write flush", tries="read1 readline read_available readinto")
def killed_readers_lose_nothing(make_pair: MakePair, random: Random) -> None:
    """Readers that are killed and replaced repeatedly, in any read, get every byte once and in order."""
    wanted = sample(40 * KILLS, random.getrandbits(32))
    got = bytearray()

    def read_on(stream: Any) -> None:
        reads = _reads_of(stream)
        while True:
            piece = random.choice(reads)(stream, random.randint(1, 200))
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
            ended = reader.value
            assert isinstance(ended, (gevent.Timeout, gevent.GreenletExit)), f"a reader that is killed ends with {ended!r:.200}"
        with beside(_send_and_end, peer, wanted[sent:]):
            read_on(stream)
    same(got, wanted, "what the readers got")


@claim("read", peer="write flush", tries="read1 readline read_available readinto")
def random_pieces_arrive_whole(make_pair: MakePair, random: Random) -> None:
    """For all sizes of writes and reads, the bytes read are those written."""
    wanted = sample(600_000, random.getrandbits(32))

    def write(peer: Any) -> None:
        at = 0
        while at < len(wanted):
            count = random.choice((1, 10, 1000, 50_000))
            at += peer.write(wanted[at : at + count])
            if random.random() < 0.3:
                peer.flush()
        peer.flush()
        end_output(peer)

    with fresh(make_pair) as (stream, peer), beside(write, peer):
        file, reads = io.BytesIO(wanted), _reads_of(stream)
        while piece := random.choice(reads)(stream, random.choice((1, 10, 1000, 90_000))):
            same(piece, file.read(len(piece)), "a read")
        same(file.read(), b"", "what was never read")


@claim("read readline peek discard_line readinto read_available __next__", peer="write flush")
def a_second_reader_is_refused(make_pair: MakePair, _random: Random) -> None:
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
            before = CLOCK.now()
            raises(StreamBusy, call, *args)
            assert CLOCK.now() - before < 1, "it waited before it refused"
        send(peer, b"mine")
        same(first.get(), b"mine", "what the first reader got")


@claim("readline close abort unsent")
def closing_wakes_a_reader(make_pair: MakePair, _random: Random) -> None:
    """A reader that waits while the stream is closed or aborted gets StreamClosed at once."""
    for end in (lambda stream: stream.close(), lambda stream: stream.abort()):
        wakes_soon(make_pair, lambda stream: stream.readline(), end, StreamClosed)


@claim("read close closed", peer="write flush", tries="read1 readline readinto peek __next__")
def a_closed_stream_refuses_to_read(make_pair: MakePair, _random: Random) -> None:
    """After close every read is a ValueError, `closed` is true, and closing again is allowed."""
    with fresh(make_pair) as (stream, peer):
        send(peer, b"unread\n")
        stream.close()
        for name, args in (
            ("read", ()), ("read", (1,)), ("read1", (1,)), ("readline", ()), ("readinto", (bytearray(1),)), ("peek", ()), ("__next__", ()),
        ):
            if has(stream, name):
                raises(ValueError, getattr(stream, name), *args)
        stream.close()
        same(stream.closed, True, "closed")


@claim("read readinto read_exactly readline peek __next__ read_available readable __enter__ abort closed fileno buffered",
       peer="write flush")
def after_closing_nothing_reads(make_pair: MakePair, _random: Random) -> None:
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


@claim("read read1 readline readinto read_until", peer="write flush")
def bad_sizes_are_refused(make_pair: MakePair, _random: Random) -> None:
    """A wrong size is refused with its value in the text, and takes nothing."""
    with fresh(make_pair) as (stream, peer):
        send(peer, b"kept")
        for call in (stream.read, stream.read1, stream.readline):
            for size, kind in ((-2, ValueError), (1.5, TypeError), ("5", TypeError)):
                assert repr(size) in str(raises(kind, call, size)), f"the text does not name {size!r}"
        raises(TypeError, stream.readinto, b"read only")
        raises(ValueError, stream.read_until, b"")
        same(stream.read(4), b"kept")


@claim("read_until readline discard_line", peer="write flush")
def a_limit_of_a_line_is_exact(make_pair: MakePair, _random: Random) -> None:
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
    end_output(peer)


def _read_into(stream: Any, size: int) -> bytes:
    space = bytearray(size)
    return bytes(space[: stream.readinto(space)])


READS: dict[str, Callable[[Any, int], bytes]] = {
    "read": lambda stream, size: stream.read(size),
    "read1": lambda stream, size: stream.read1(size),
    "readline": lambda stream, size: stream.readline(size),
    "read_available": lambda stream, size: stream.read_available() or stream.read(1),
    "readinto": _read_into,
}


def _reads_of(stream: Any) -> list[Callable[[Any, int], bytes]]:
    return [call for name, call in READS.items() if has(stream, name)]


CLAIMS: list[Claim] = [
    lines_then_the_end,
    the_end_inside_a_call_keeps_what_came,
    what_came_before_a_timeout_is_kept,
    limits_fire_in_time,
    a_dripping_peer_is_no_timeout,
    an_outer_timeout_comes_out_itself,
    killed_readers_lose_nothing,
    random_pieces_arrive_whole,
    a_second_reader_is_refused,
    closing_wakes_a_reader,
    a_closed_stream_refuses_to_read,
    after_closing_nothing_reads,
    bad_sizes_are_refused,
    a_limit_of_a_line_is_exact,
]
