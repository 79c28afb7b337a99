"""The claims about the writing half of any stream."""

from __future__ import annotations

import array
from random import Random
from typing import Any

import gevent

from geventstreams._core.clock import CLOCK
from geventstreams.errors import StreamClosed, StreamError, WriteTimeout
from geventstreams.testing.claims import (
    LIMIT,
    MESSAGE,
    MOST_ON_THE_WAY,
    Claim,
    MakePair,
    beside,
    claim,
    end_output,
    fresh,
    has,
    outcome,
    raises,
    same,
    sample,
    started,
    stuffed,
    wakes_soon,
)

HELD_BELOW = 64 * 2**14
"""Bytes that a layer below may hold beside the message: TLS makes 64 records for one send."""


@claim("write close", peer="read", tries="writelines")
def all_kinds_of_bytes_arrive(make_pair: MakePair, random: Random) -> None:
    """write accepts any bytes-like object whole and says how many bytes; close sends all of it, then the end."""
    data = sample(200_000, random.getrandbits(32))
    kinds = [b"bytes", bytearray(b"bytearray"), memoryview(b"--view--")[2:6], b"", array.array("i", [1, 2, 3]), data, memoryview(data)]
    wanted = b"".join(bytes(kind) for kind in kinds)
    with fresh(make_pair) as (stream, peer):
        reading = started(peer.read)
        same([stream.write(kind) for kind in kinds], [5, 9, 4, 0, 12, 200_000, 200_000], "what write returned")
        if has(stream, "writelines"):
            stream.writelines([b"li", b"nes"])
            wanted += b"lines"
        stream.close()
        same(reading.get(), wanted, "what arrived")


@claim("write send_eof", peer="read")
def memory_with_gaps_arrives(make_pair: MakePair, _random: Random) -> None:
    """write accepts memory that is not contiguous, and says how many bytes that is."""
    with fresh(make_pair) as (stream, peer):
        same(stream.write(memoryview(b"s-t-e-p-")[::2]), 4, "what write returned")
        stream.send_eof()
        same(peer.read(), b"step", "what arrived")


@claim("write close", peer="read", tries="unsent")
def other_objects_are_refused(make_pair: MakePair, _random: Random) -> None:
    """write refuses what is not bytes-like, and accepts nothing of it."""
    with fresh(make_pair) as (stream, peer):
        for wrong in ("text", 5, None, [1, 2]):
            raises(TypeError, stream.write, wrong)
        same(getattr(stream, "unsent", 0), 0, "unsent")
        stream.close()
        same(peer.read(), b"", "what arrived")


@claim("write send_eof", peer="read")
def an_ended_output_stays_ended(make_pair: MakePair, _random: Random) -> None:
    """send_eof sends what was written and the end, once; a later write is StreamClosed."""
    with fresh(make_pair) as (stream, peer):
        stream.write(b"before")
        stream.send_eof()
        same(peer.read(), b"before", "what arrived")
        stream.send_eof()
        for wrong in (b"after", b""):
            raises(StreamClosed, stream.write, wrong)
        same(peer.read(), b"", "what arrived after that")


@claim("write_timeout unsent accepted write flush close", peer="read")
def a_write_timeout_is_exact(make_pair: MakePair, random: Random) -> None:
    """WriteTimeout says whether the write was taken over and what is unsent; nothing is lost or doubled by it."""
    second = sample(MESSAGE // 2, random.getrandbits(32))
    with fresh(make_pair) as (stream, peer):
        first, error = stuffed(stream)
        same(error.unsent, stream.unsent, "unsent")
        assert 0 < stream.unsent <= MESSAGE + HELD_BELOW, f"unsent is {stream.unsent}"
        error = raises(WriteTimeout, stream.write, second)
        same((error.accepted, stream.accepted), (0, 0), "accepted of a write that did not begin")
        same(raises(WriteTimeout, stream.flush).accepted, 0, "accepted of a flush")
        stream.write_timeout = None
        reading = started(peer.read)
        stream.flush()
        same(stream.unsent, 0, "unsent after a flush")
        stream.write(second)
        stream.close()
        same(reading.get(), first + second, "what arrived")


@claim("write_timeout accepted write flush close", peer="read read_exactly")
def killed_writers_lose_nothing(make_pair: MakePair, random: Random) -> None:
    """Writers killed or timed out in write and flush: what was accepted arrives once, what was not does not."""
    with fresh(make_pair) as (stream, peer):
        wanted = bytearray()
        for number in range(60):
            data = sample(random.choice((10, 70_000, 300_000)), number)
            if random.random() < 0.3:
                stream.write_timeout = 0.001
            writer = started(stream.write, data)
            if not writer.ready() and random.random() < 0.5:
                gevent.sleep(0.001)
            writer.kill(gevent.Timeout)
            stream.write_timeout = None
            if not isinstance(writer.value, BaseException) or stream.accepted:
                wanted += data
            flusher = started(stream.flush)
            flusher.kill()
            if random.random() < 0.3:
                with beside(stream.flush):
                    same(peer.read_exactly(len(wanted)), bytes(wanted), f"what arrived up to message {number}")
                wanted.clear()
        reading = started(peer.read)
        stream.close()
        same(reading.get(), bytes(wanted), "what arrived at last")


@claim("write flush", peer="read")
def writes_are_not_mixed(make_pair: MakePair, random: Random) -> None:
    """The bytes of one write are never between those of another that runs at the same time."""
    first = random.randrange(4)

    def write(stream: Any, number: int) -> None:
        for count in range(100):
            size = (7, 900, 30_000, 140_000)[(first + number + count) % 4] if count % 25 == 0 else 7 + count
            stream.write(b"%d:%d:" % (number, size) + bytes([number]) * size)

    def write_all(stream: Any) -> list[Any]:
        results = [writer.get() for writer in [started(write, stream, number) for number in range(10)]]
        results.append(outcome(stream.flush))
        end_output(stream)
        return results

    with fresh(make_pair) as (stream, peer):
        with beside(write_all, stream) as writing:
            arrived = peer.read()
        same(writing.value, [None] * 11, "what ten writers and a flush gave")
        at = messages = 0
        while at < len(arrived):
            number, size = map(int, arrived[at : at + 20].split(b":", 2)[:2])
            at += len(b"%d:%d:" % (number, size))
            same(arrived[at : at + size], bytes([number]) * size, f"message {messages}")
            at += size
            messages += 1
        same(messages, 1000, "the number of messages")


@claim("write_timeout unsent accepted write flush close closed fileno")
def closing_is_bounded(make_pair: MakePair, _random: Random) -> None:
    """close with unsent bytes and a peer that never reads ends in time, closes the stream, and raises once."""
    with fresh(make_pair) as (stream, _peer):
        stuffed(stream)
        before = CLOCK.now()
        error = raises(StreamError, stream.close)
        assert CLOCK.now() - before < 20 * LIMIT + 2, "it took too long"
        assert error.unsent, "the error does not say what was unsent"
        same((stream.closed, stream.fileno()), (True, -1), "closed and fileno")
        stream.close()


@claim("write_timeout unsent accepted write flush close closed fileno")
def a_timeout_inside_close_closes(make_pair: MakePair, _random: Random) -> None:
    """gevent.Timeout inside close: it comes out itself, and the stream is closed."""
    with fresh(make_pair) as (stream, _peer):
        stuffed(stream)
        stream.write_timeout = 30
        with gevent.Timeout(LIMIT) as limit:
            same(outcome(stream.close), limit, "what ended close")
        same((stream.closed, stream.fileno()), (True, -1), "closed and fileno")


@claim("write_timeout unsent accepted write flush abort")
def aborting_wakes_a_writer(make_pair: MakePair, _random: Random) -> None:
    """A writer or flusher that waits while the stream is aborted gets StreamClosed at once."""

    def stuff(stream: Any) -> None:
        stuffed(stream)
        stream.write_timeout = None

    def abort(stream: Any) -> None:
        stream.abort()

    wakes_soon(make_pair, lambda stream: stream.write(bytes(MOST_ON_THE_WAY * MESSAGE)), abort, StreamClosed)
    wakes_soon(make_pair, lambda stream: stream.write(b"behind"), abort, StreamClosed, stuff)
    wakes_soon(make_pair, lambda stream: stream.flush(), abort, StreamClosed, stuff)


@claim("write close closed", tries="flush writelines")
def a_closed_stream_refuses_to_write(make_pair: MakePair, _random: Random) -> None:
    """After close every write is a ValueError, `closed` is true, and closing again is allowed."""
    with fresh(make_pair) as (stream, _peer):
        stream.close()
        for name, args in (("write", (b"x",)), ("flush", ()), ("writelines", ([b"x"],))):
            if has(stream, name):
                raises(ValueError, getattr(stream, name), *args)
        stream.close()
        same(stream.closed, True, "closed")


@claim("write flush writelines send_eof writable close")
def after_closing_nothing_writes(make_pair: MakePair, _random: Random) -> None:
    """After close every write is StreamClosed, even of nothing."""
    with fresh(make_pair) as (stream, _peer):
        stream.close()
        for call, args in (
            (stream.write, (b"x",)),
            (stream.write, (b"",)),
            (stream.flush, ()),
            (stream.writelines, ([],)),
            (stream.send_eof, ()),
            (stream.writable, ()),
        ):
            raises(StreamClosed, call, *args)


CLAIMS: list[Claim] = [
    all_kinds_of_bytes_arrive,
    other_objects_are_refused,
    an_ended_output_stays_ended,
    memory_with_gaps_arrives,
    a_write_timeout_is_exact,
    killed_writers_lose_nothing,
    writes_are_not_mixed,
    closing_is_bounded,
    a_timeout_inside_close_closes,
    aborting_wakes_a_writer,
    a_closed_stream_refuses_to_write,
    after_closing_nothing_writes,
]
