"""gevent.Timeout, kill, throw and signals may end any wait: no byte is lost, doubled or moved by them."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from types import FrameType
from typing import Any

import gevent
import pytest
from kit.conditions import until
from kit.loops import ON_LIBUV
from kit.pairs import Pairs
from kit.vocabulary import TAKES, many

import geventstreams
from geventstreams._streams.lisp import LispStream
from geventstreams.testing import PiecemealTransport, TransportOver, memory_pair
from geventstreams.testing.claims import beside, outcome, sample, settle, started

LINES = b"".join(b"%d:" % number + b"x" * (number * 37 % 90) + b"\n" for number in range(4000))
WAYS: dict[str, Callable[[Any], Any]] = {
    "kill": lambda greenlet: greenlet.kill(),
    "timeout": lambda greenlet: greenlet.kill(gevent.Timeout()),
    "error": lambda greenlet: greenlet.kill(KeyError("mine")),
}


CONTENT = {"read1", "readinto1", "peek", "read_available", "read_char", "read_byte", "unread_char", "read_char_no_hang"}
"""Calls that are content with a single byte."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TAKES)
def test_a_read_that_is_ended_takes_nothing(pairs: Pairs, kind: str, name: str, way: str) -> None:
    """Each call that takes input, ended in its wait with part of what it wants there: the bytes stay, in order."""
    stream, peer = pairs.streams(kind, element_type=bytes)
    for part in (b"", b"y", b"y" * 9000):
        if part and name in CONTENT:
            continue
        before = stream.octets_in
        reader = started(TAKES[name], stream, 20_000)
        peer.sendall(part)
        until(lambda before=before, part=part: stream.octets_in == before + len(part))
        assert not reader.ready(), reader.value
        WAYS[way](reader)
        peer.sendall(b"z\n")
        assert stream.read(len(part) + 2) == part + b"z\n"


def test_what_went_into_the_callers_memory_comes_back(pairs: Pairs, kind: str) -> None:
    """A large readinto that is ended puts back what was already in the caller's memory, in front of what comes later."""
    stream, peer = pairs.streams(kind)
    data = sample(100_000)
    for at in range(0, 90_000, 10_000):
        reader = started(stream.readinto, bytearray(200_000))
        peer.sendall(data[at : at + 10_000])
        until(lambda at=at: stream.octets_in == at + 10_000)
        reader.kill()
        assert stream.buffered == at + 10_000
    assert stream.read_exactly(90_000) == data[:90_000]


def test_a_write_of_which_nothing_was_accepted_leaves_no_trace(pairs: Pairs) -> None:
    """While more than a buffer is unsent a write waits outside: ended there, it was not accepted, and none of it is sent."""
    stream, peer = pairs.streams("memory", buffers=1000)
    started(stream.write, b"a" * 150_000).kill()
    assert (stream.accepted, stream.unsent) == (150_000, 149_000)
    for way in WAYS.values():
        writer = started(stream.write, b"never")
        way(writer)
        assert (stream.accepted, stream.unsent) == (0, 149_000)
    reader = started(peer.read)
    stream.close()
    assert reader.get() == b"a" * 150_000


def test_a_message_that_was_begun_is_finished_before_the_next(pairs: Pairs, kind: str) -> None:
    """A write ended in the middle, then another message: the first arrives whole, then the second."""
    stream, peer = pairs.streams(kind)
    first, second = sample(2**24, 1), sample(2**19, 2)
    writer = started(stream.write, first)
    settle(stream)
    writer.kill()
    assert stream.accepted == len(first)
    with beside(lambda: (stream.write(second), stream.close())):
        assert peer.read_exactly(len(first)) == first
        assert peer.read() == second


def test_the_callers_memory_is_his_own_after_an_ended_write(pairs: Pairs) -> None:
    """The rest of an interrupted write was copied: the caller may change or resize the buffer at once."""
    stream, peer = pairs.streams("memory", buffers=1000)
    data = bytearray(sample(200_000))
    writer = started(stream.write, data)
    writer.kill()
    data[:] = bytes(200_000)
    data.clear()
    reader = started(peer.read)
    stream.close()
    assert reader.get() == sample(200_000)


def test_a_throw_from_outside_ends_a_wait(pairs: Pairs) -> None:
    """greenlet.throw of a raw greenlet ends a wait like a kill, and the stream stays usable."""
    stream, peer = pairs.streams("unix")
    said: list[Any] = []
    reader = gevent.getcurrent().__class__ and gevent.Greenlet(lambda: said.append(outcome(stream.readline)))
    reader.start()
    gevent.sleep(0)
    peer.sendall(b"half ")
    until(lambda: stream.buffered == 5)
    gevent.get_hub().loop.run_callback(reader.throw, KeyError, KeyError("thrown"))
    reader.join()
    assert isinstance(said[0], KeyError)
    peer.sendall(b"a line\n")
    assert stream.readline() == b"half a line\n"


def test_a_kill_while_others_are_let_run_takes_nothing(pairs: Pairs) -> None:
    """A reader that never waits for its peer can be ended where it lets others run; what it had stays."""
    near, far = memory_pair(2**24)
    stream = pairs.keep(LispStream(PiecemealTransport(near, 64)))
    data = sample(2**21)
    far.send(memoryview(data), 0, len(data))
    for way in WAYS.values():
        reader = started(stream.read_exactly, 2**24)
        assert not reader.ready()
        way(reader)
    assert stream.read_exactly(len(data)) == data


# Signals.


class Interrupt(KeyboardInterrupt):
    """What a signal handler raises here; gevent gives it to the main greenlet."""


@contextmanager
def signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """SIGUSR1 for this thread, every millisecond or so."""
    stopped = threading.Event()
    here = threading.get_ident()

    def send() -> None:
        while not stopped.wait(0.0012):
            signal.pthread_kill(here, signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, handler)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        stopped.set()
        sender.join()
        signal.signal(signal.SIGUSR1, previous)


def feed(plain: socket.socket, data: bytes, seed: int) -> threading.Thread:
    """A thread that sends in random pieces and then ends; signals are not its business."""

    def send() -> None:
        random = Random(seed)
        at = 0
        while at < len(data):
            count = random.choice((1, 100, 5000, 50_000))
            plain.sendall(data[at : at + count])
            at += count
            if random.random() < 0.3:
                threading.Event().wait(0.0005)
        plain.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def may_strike(frame: FrameType | None) -> bool:
    """Return whether the handler may raise: not in the test itself, and in the plain build only in waits and system calls.

    Elsewhere it can strike between bytes' leaving the buffer and their reaching the caller, as in any Python code. It may not strike
    gevent's own code for libuv, which is Python: an error there can end the hub.
    """
    name = str(frame.f_globals.get("__name__")) if frame else ""
    if name.startswith(("gevent._ffi", "gevent.libuv")):
        return False
    if geventstreams.compiled:
        return name.partition(".")[0] in ("gevent", "greenlet", "geventstreams")
    return name.partition(".")[0] in ("gevent", "greenlet") or name == "geventstreams._native.syscalls"


class StruckTransport(TransportOver):
    """A signal handler raises when bytes have just been received and noted, every second time."""

    strikes = True

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        count = TransportOver.recv_into(self, space, start, counts)
        self.strikes = not self.strikes
        if count > 0 and not self.strikes:
            raise Interrupt
        return count


@pytest.mark.parametrize("size", [1, 500, 9000, 200_000])
def test_a_handler_that_raises_right_after_a_receive_call_costs_nothing(size: int) -> None:
    """Bytes that were received when a signal handler raised belong to the next read, in their place, in any kind of memory."""
    near, far = memory_pair(100_000)
    stream, peer = LispStream(StruckTransport(near)), LispStream(far)
    data = sample(300_000)
    sender = started(lambda: (peer.write(data), peer.send_eof()))
    got, space, random = bytearray(), bytearray(size), Random(size)
    reads: list[Callable[[], Any]] = [
        lambda: stream.read(size), lambda: space[: stream.readinto(space)], lambda: stream.read1(size), lambda: stream.readline(size),
        lambda: space[: stream.readinto1(space)],
    ]  # fmt: skip
    while not stream.at_eof:
        with suppress(Interrupt):
            got += random.choice(reads)()
    sender.get()
    assert got == data
    stream.close()
    peer.close()


@pytest.mark.timeout(60)
def test_signal_handlers_that_raise_cost_no_byte(pairs: Pairs, socket_kind: str) -> None:
    """A handler that raises in the midst of reads: every byte is there, once and in order, in the next reads."""
    near, far = pairs.sockets(socket_kind)
    stream = pairs.keep(geventstreams._streams.socket_stream.SocketStream(near, element_type=bytes))
    data = sample(many(3_000_000))
    struck = 0

    def handler(_number: int, frame: FrameType | None) -> None:
        nonlocal struck
        if may_strike(frame):
            struck += 1
            raise Interrupt

    random = Random(9)
    got = bytearray()
    sender = feed(far, data, 9)
    space = memoryview(bytearray(60_000))
    with signals(handler):
        while len(got) < len(data):
            size = random.choice((1, 500, 9000, 60_000))
            try:
                match random.randrange(4):
                    case 0:
                        got += stream.read(size)
                    case 1:
                        got += space[: stream.readinto1(space[:size])]
                    case _:
                        got += space[: stream.readinto(space[:size])]
            except Interrupt:
                continue
    sender.join()
    assert got == data
    if struck <= 5 and ON_LIBUV:
        pytest.skip("on libuv, gevent's own code gets nearly all signals")
    assert struck > 5


WRITES: dict[str, tuple[Callable[[Any], Any], int]] = {
    "write": (lambda stream: stream.write(b"four"), 4), "a bytearray": (lambda stream: stream.write(bytearray(b"four")), 4),
    "write_string": (lambda stream: stream.write_string("four"), 4), "write_line": (lambda stream: stream.write_line("one"), 4),
    "write_char": (lambda stream: stream.write_char("x"), 1), "terpri": (lambda stream: stream.terpri(), 1),
    "write_sequence": (lambda stream: stream.write_sequence([1, 2]), 2), "write_byte": (lambda stream: stream.write_byte(1), 1),
    "a long one": (lambda stream: stream.write(bytes(20_000)), 20_000),
}  # fmt: skip
REFUSED: dict[str, Callable[[Any], Any]] = {
    "write": lambda stream: stream.write("text"), "write_string": lambda stream: stream.write_string("\u20ac"),
    "write_line": lambda stream: stream.write_line("\u20ac"), "write_char": lambda stream: stream.write_char("\u20ac"),
    "write_sequence": lambda stream: stream.write_sequence([256]), "write_byte": lambda stream: stream.write_byte(256),
}  # fmt: skip


@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("accepted", WRITES)
def test_accepted_is_of_the_last_write(accepted: str, refused: str) -> None:
    """`accepted` is right when a write returns, so also for a caller whom a signal handler's exception keeps from the return value."""
    near, _far = memory_pair()
    stream = LispStream(near, element_type=bytes)
    call, count = WRITES[accepted]
    for _ in range(2):
        call(stream)
        assert stream.accepted == count
        assert outcome(REFUSED[refused], stream) is not None
        assert stream.accepted == 0
    stream.close()


@pytest.mark.slow
def test_a_handler_that_raises_behind_a_write_doubles_nothing(pairs: Pairs, socket_kind: str) -> None:
    """After a handler that raised right behind a small write `accepted` says whether to write again: each message arrives once."""
    stream, peer = pairs.streams(socket_kind)
    reader = gevent.spawn(peer.read)
    struck = 0

    def handler(_number: int, frame: FrameType | None) -> None:
        nonlocal struck
        if frame is not None and frame.f_code is write.__code__ and frame.f_lineno == line:
            struck += 1
            raise Interrupt

    def write() -> None:
        stream.write(message)

    line = write.__code__.co_firstlineno + 1
    number, limit = 0, time.monotonic() + 60
    with signals(handler):
        while number < 100_000 or (geventstreams.compiled and struck < 20 and time.monotonic() < limit):
            message = b"%d\n" % number
            try:
                write()
            except Interrupt:
                if not stream.accepted:
                    continue
            number += 1
            if number % 1000 == 0:
                stream.flush()
    stream.close()
    assert reader.get(timeout=20) == b"".join(b"%d\n" % each for each in range(number))
    assert struck >= 20 or not geventstreams.compiled


def test_signals_that_do_not_raise_do_nothing(pairs: Pairs, socket_kind: str) -> None:
    """Fifty and more signals during reads, writes and waits: no call ends by them, and nothing is lost."""
    near, far = pairs.sockets(socket_kind)
    stream = pairs.keep(geventstreams._streams.socket_stream.SocketStream(near))
    data = sample(many(2_000_000))
    seen: list[int] = []
    got = bytearray()
    with signals(lambda number, _frame: seen.append(number)):
        while len(seen) < 50:
            gevent.sleep(0.01)
        sender = feed(far, data, 4)
        got += stream.read()
        echoing = threading.Thread(target=lambda: drain(far, len(data)))
        echoing.start()
        stream.write(data)
        stream.flush()
        echoing.join()
    sender.join()
    assert got == data


def drain(plain: socket.socket, count: int) -> None:
    while count:
        count -= len(plain.recv(65536))


def test_an_interrupt_in_the_main_greenlet_leaves_the_others_alone(pairs: Pairs) -> None:
    """A handler that raises while the hub runs ends the main greenlet's wait; readers in other greenlets go on."""
    stream, peer = pairs.streams("unix")
    other, other_peer = pairs.streams("unix")
    beside_us = started(other.readline)

    def handler(_number: int, _frame: FrameType | None) -> None:
        raise Interrupt

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        # A function in Python: behind one in C older gevents notice a signal when their loop wakes up for something else.
        gevent.get_hub().loop.run_callback(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        with pytest.raises(Interrupt):
            stream.readline()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    peer.sendall(b"mine\n")
    other_peer.sendall(b"not mine\n")
    assert stream.readline() == b"mine\n"
    assert beside_us.get() == b"not mine\n"
    assert sys.exc_info() == (None, None, None)
