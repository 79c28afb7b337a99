"""The claims about the writing half of any stream."""

from __future__ import annotations

import array
import time
from random import Random
from typing import Any

import gevent

from geventstreams.errors import StreamClosed, StreamError, WriteTimeout
from geventstreams.testing.claims import (
    LIMIT,
    MESSAGE,
    MOST_ON_THE_WAY,
    Claim,
    MakePair,
    beside,
    fresh,
    outcome,
    raises,
    same,
    sample,
    started,
    stuffed,
    wakes_soon,
)

SEED = 20_12
"""The seed of all random numbers here."""

HELD_BELOW = 320 * 1024
"""Bytes that a layer below may hold beside the message: TLS makes sixteen records for one send, each a little longer than its text."""


def all_kinds_of_bytes_arrive(make_pair: MakePair) -> None:
    """write accepts any bytes-like object whole and says how many bytes; close sends all of it, then the end."""
    data = sample(200_000)
    kinds = [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"--view--")[2:6],
        memoryview(b"s-t-e-p-")[::2],
        b"",
        array.array("i", [1, 2, 3]),
        data,
        memoryview(data),
    ]
    wanted = b"".join(kind.tobytes() if hasattr(kind, "tobytes") else bytes(kind) for kind in kinds)
    with fresh(make_pair) as (stream, peer):
        reading = started(peer.read)
        same([stream.write(kind) for kind in kinds], [5, 9, 4, 4, 0, 12, 200_000, 200_000], "what write returned")
        stream.writelines([b"li", b"nes"])
        stream.close()
        same(reading.get(), wanted + b"lines", "what arrived")


def other_objects_are_refused(make_pair: MakePair) -> None:
    """write refuses what is not bytes-like, and accepts nothing of it."""
    with fresh(make_pair) as (stream, peer):
        for wrong in ("text", 5, None, [1, 2]):
            raises(TypeError, stream.write, wrong)
        same(stream.unsent, 0, "unsent")
        stream.close()
        same(peer.read(), b"", "what arrived")


def an_ended_output_stays_ended(make_pair: MakePair) -> None:
    """send_eof sends what was written and the end, once; a later write is StreamClosed."""
    with fresh(make_pair) as (stream, peer):
        stream.write(b"before")
        stream.send_eof()
        same(peer.read(), b"before", "what arrived")
        stream.send_eof()
        for wrong in (b"after", b""):
            raises(StreamClosed, stream.write, wrong)
        same(peer.read(), b"", "what arrived after that")


def a_write_timeout_is_exact(make_pair: MakePair) -> None:
    """WriteTimeout says whether the write was taken over and what is unsent; nothing is lost or doubled by it."""
    second = sample(MESSAGE // 2, 99)
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


def kills_lose_nothing(make_pair: MakePair) -> None:
    """Writers killed or timed out in write and flush: what was accepted arrives once, what was not does not."""
    random = Random(SEED)
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


def writers_take_turns(make_pair: MakePair) -> None:
    """The bytes of one write are never between those of another that runs at the same time."""

    def write(stream: Any, number: int) -> None:
        for count in range(100):
            size = (7, 900, 30_000, 140_000)[(number + count) % 4] if count % 25 == 0 else 7 + count
            stream.write(b"%d:%d:" % (number, size) + bytes([number]) * size)

    def write_all(stream: Any) -> None:
        gevent.joinall([gevent.spawn(write, stream, number) for number in range(10)], raise_error=True)
        stream.send_eof()

    with fresh(make_pair) as (stream, peer), beside(write_all, stream):
        messages = 0
        while head := peer.read_until(b":") if peer.peek(1) else b"":
            number, size = int(head[:-1]), int(peer.read_until(b":")[:-1])
            same(peer.read_exactly(size), bytes([number]) * size, f"message {messages}")
            messages += 1
        same(messages, 1000, "the number of messages")


def closing_is_bounded(make_pair: MakePair) -> None:
    """close with unsent bytes and a peer that never reads ends in time, closes the stream, and raises once."""
    with fresh(make_pair) as (stream, _peer):
        stuffed(stream)
        before = time.monotonic()
        error = raises(StreamError, stream.close)
        assert time.monotonic() - before < 20 * LIMIT + 2, "it took too long"
        assert error.unsent, "the error does not say what was unsent"
        same((stream.closed, stream.fileno()), (True, -1), "closed and fileno")
        stream.close()


def a_timeout_inside_close_closes(make_pair: MakePair) -> None:
    """gevent.Timeout inside close: it comes out itself, and the stream is closed."""
    with fresh(make_pair) as (stream, _peer):
        stuffed(stream)
        stream.write_timeout = 30
        with gevent.Timeout(LIMIT) as limit:
            same(outcome(stream.close) is limit, True, "close ended by the timeout")
        same((stream.closed, stream.fileno()), (True, -1), "closed and fileno")


def aborting_wakes_a_writer(make_pair: MakePair) -> None:
    """A writer or flusher that waits while the stream is aborted gets StreamClosed at once."""

    def stuff(stream: Any) -> None:
        stuffed(stream)
        stream.write_timeout = None

    def abort(stream: Any) -> None:
        stream.abort()

    wakes_soon(make_pair, lambda stream: stream.write(bytes(MOST_ON_THE_WAY * MESSAGE)), abort, StreamClosed)
    wakes_soon(make_pair, lambda stream: stream.write(b"behind"), abort, StreamClosed, stuff)
    wakes_soon(make_pair, lambda stream: stream.flush(), abort, StreamClosed, stuff)


def after_closing_nothing_writes(make_pair: MakePair) -> None:
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
    a_write_timeout_is_exact,
    kills_lose_nothing,
    writers_take_turns,
    closing_is_bounded,
    a_timeout_inside_close_closes,
    aborting_wakes_a_writer,
    after_closing_nothing_writes,
]
