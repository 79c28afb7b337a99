"""The public test kit: our streams pass it, streams with a planted fault do not, its transports do as they say."""

import errno
import re
from collections.abc import Callable
from random import Random
from typing import Any

import gevent
import pytest
from kit.conditions import until
from kit.pairs import Pairs

from geventstreams._constants import ENDED, WOULD_WAIT
from geventstreams._core.hub_hold import EventHandler
from geventstreams._core.transport_base import Transport
from geventstreams._streams.buffered import BufferedStream
from geventstreams._streams.lisp import LispStream
from geventstreams.errors import ReadTimeout, StreamReset, TLSError, WriteTimeout
from geventstreams.testing import (
    FailingTransport,
    HostileTransport,
    PiecemealTransport,
    StallingTransport,
    TransportOver,
    check_input_stream,
    check_io_stream,
    check_output_stream,
    memory_pair,
    virtual_time,
)
from geventstreams.testing.checks import BOTH, INPUT, OUTPUT
from geventstreams.testing.claims import outcome, started

Make = Callable[[Transport], Transport]

BUFFERS = 2**16
"""The buffers of sockets: set, because one that the system sizes may grow while a claim waits, and let stuck output pass."""


def over(make: Make, stream: Callable[[Transport], Any] = LispStream) -> Callable[[], tuple[Any, Any]]:
    """A maker of pairs of streams over memory, with a hindrance at both ends."""

    def make_pair() -> tuple[Any, Any]:
        near, far = memory_pair()
        return stream(make(near)), LispStream(make(far))

    return make_pair


def hostile(transport: Transport) -> Transport:
    return HostileTransport(transport, Random(5), most=5000)


@pytest.mark.parametrize("claim", [*INPUT, *OUTPUT, *BOTH], ids=lambda claim: claim.__name__)
def test_every_claim_holds_for_every_kind(pairs: Pairs, kind: str, claim: Callable[[Any], None]) -> None:
    """TCP, Unix sockets and memory: each claim about streams holds."""
    claim(lambda: pairs.streams(kind, buffers=BUFFERS))


@pytest.mark.parametrize(
    "make",
    [lambda one: PiecemealTransport(one, 1000), TransportOver, StallingTransport, hostile],
    ids=["pieces of 1,000", "nothing", "stalling", "hostile"],
)
def test_the_checks_pass_over_hindrances(make: Make) -> None:
    """A stream over a hindered transport passes all that a stream has to."""
    with virtual_time():
        check_io_stream(over(make), seed=0)


@pytest.mark.slow
def test_the_checks_pass_one_byte_at_a_time() -> None:
    """A stream whose input comes byte by byte passes what is said about input."""
    with virtual_time():
        check_input_stream(over(PiecemealTransport), seed=0)


def test_a_binary_stream_without_the_lisp_vocabulary_passes() -> None:
    """The checks need the Python vocabulary only, and skip nothing of it."""
    with virtual_time():
        for check in (check_input_stream, check_output_stream, check_io_stream):
            result = check(over(TransportOver, BufferedStream), seed=0)
            assert (result.skipped, result.untried) == ({}, {})


class LosesAByte(LispStream):
    """Loses a byte of every long read."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        return data[1:] if len(data) > 500 else data


class LosesWhatTimedOut(LispStream):
    """Drops what arrived when a limit passes, as most file objects do."""

    def readline(self, size: int | None = -1) -> bytes:
        try:
            return super().readline(size)
        except ReadTimeout:
            self.clear_input()
            raise


class LetsTwoRead(LispStream):
    """Does not refuse a second reader that asks for nothing."""

    def read(self, size: int | None = -1) -> bytes:
        return b"" if size == 0 and not self.closed else super().read(size)


class WritesTwice(LispStream):
    """Sends the bytes of a write that timed out again."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except WriteTimeout:
            if len(data) > 10**6:
                self.output.put(data, 0, len(data))
            raise


class NeverEnds(LispStream):
    """Waits for ever where it should end."""

    def send_eof(self) -> None:
        gevent.sleep(100)


FAULTS = [
    (check_input_stream, LosesAByte, "random_pieces_arrive_whole"),
    (check_input_stream, LosesWhatTimedOut, "what_came_before_a_timeout_is_kept"),
    (check_input_stream, LetsTwoRead, "a_second_reader_is_refused"),
    (check_output_stream, WritesTwice, "a_write_timeout_is_exact"),
    (check_io_stream, NeverEnds, "an_ended_output_stays_ended"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("check", "stream", "name"), FAULTS, ids=[fault[2] for fault in FAULTS])
def test_planted_faults_are_found(
    check: Callable[[Any], None], stream: type[Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream with a fault fails the claim that it breaks, by an AssertionError that has the claim's name."""
    monkeypatch.setattr("geventstreams.testing.checks.LONGEST", 3)
    with virtual_time(), pytest.raises(AssertionError) as caught:
        check(over(TransportOver, stream), seed=0)
    assert f"{name}: promised: " in str(caught.value)


def test_a_maker_must_be_callable() -> None:
    """An argument that does not make pairs is refused by name."""
    with pytest.raises(TypeError, match="make_pair"):
        check_input_stream(None)  # type: ignore[arg-type]


def test_memory_pairs_carry_bytes_both_ways() -> None:
    """What one end of a memory pair sends the other receives, up to the capacity; then it would have to wait."""
    near, far = memory_pair(10)
    space, counts = bytearray(20), [0]
    assert near.send(memoryview(b"twelve bytes"), 0, 12) == 10
    assert near.send(memoryview(b"et"), 0, 2) == WOULD_WAIT
    assert far.recv_into(memoryview(space), 1, counts) == 10
    assert (bytes(space[1:11]), counts) == (b"twelve byt", [0, 10])
    assert far.recv_into(memoryview(space), 0, counts) == WOULD_WAIT
    near.end_output()
    assert (far.readable(), far.recv_into(memoryview(space), 0, counts)) == (ENDED, ENDED)
    far.close()
    with pytest.raises(BrokenPipeError):
        near.send(memoryview(b"x"), 0, 1)
    with pytest.raises(ValueError, match="capacity"):
        memory_pair(0)


def test_an_aborted_memory_pair_is_reset() -> None:
    """An abort shows the other end what was sent before, and then a reset, in both directions."""
    near, far = (LispStream(one) for one in memory_pair())
    near.sendall(b"before")
    near.abort()
    assert far.read(10) == b"before"
    for call, *args in ((far.read, 1), (far.sendall, b"x")):
        with pytest.raises(StreamReset):
            call(*args)
    far.abort()


def test_a_dropped_memory_end_ends_the_other() -> None:
    """A memory transport without references is closed, as a socket would be."""
    near, far = memory_pair()
    stream = LispStream(far)
    del near
    assert stream.read() == b""
    stream.close()


def test_pieces_are_never_larger() -> None:
    """A transport that gives n bytes at a time gives and takes exactly that while there is more."""
    near, far = memory_pair()
    hindered, counts = PiecemealTransport(far, 3), [0]
    near.send(memoryview(b"0123456789"), 0, 10)
    for wanted in (3, 3, 3, 1):
        assert hindered.recv_into(memoryview(bytearray(50)), 0, counts) == wanted
    assert hindered.send(memoryview(b"0123456789"), 2, 10) == 3
    with pytest.raises(ValueError, match="n must"):
        PiecemealTransport(far, 0)


def test_stalling_stops_one_direction_or_both() -> None:
    """While a transport stalls nothing passes, and limits fire; after resume everything goes on."""
    near, far = memory_pair()
    stalling = StallingTransport(near)
    stream, peer = LispStream(stalling, read_timeout=0.02, write_timeout=0.02), LispStream(far)
    stalling.stall("input")
    peer.sendall(b"late\n")
    stream.sendall(b"in time\n")
    assert peer.readline() == b"in time\n"
    with pytest.raises(ReadTimeout):
        stream.readline()
    assert not stream.listen()
    stalling.stall()
    stream.write(b"stuck\n")
    with pytest.raises(WriteTimeout):
        stream.flush()
    stream.read_timeout = 5
    reader = started(stream.readline)
    gevent.sleep(0.05)
    assert not reader.ready()
    stalling.resume()
    assert reader.get() == b"late\n"
    assert peer.readline() == b"stuck\n"
    for one in (stream, peer):
        one.abort()


class Events(EventHandler):
    """Counts the events that are reported to it."""

    count = 0

    def _on_event(self) -> Any:
        self.count += 1
        return 0  # it is an integer in the compiled build


@pytest.mark.parametrize("over", [lambda transport: transport, TransportOver, PiecemealTransport, StallingTransport])
def test_a_transport_that_is_watched_reports_what_waiting_would_find(over: Any) -> None:
    """`watch_input` reports the next byte; where bytes have arrived already it returns False, and says nothing."""
    near, far = memory_pair()
    transport, events = over(near), Events()
    assert transport.watch_input(events, 10)
    far.send(memoryview(b"x"), 0, 1)
    until(lambda: events.count)
    assert not transport.watch_input(events, 10)
    if isinstance(transport, StallingTransport):
        transport.stall()
        assert transport.watch_input(events, 10)
        before = events.count
        transport.resume()
        assert events.count > before
    near.close()
    far.close()


def test_closing_wakes_those_who_wait_for_a_stalled_transport() -> None:
    """A stalled wait ends when the stream is closed."""
    stalling = StallingTransport(memory_pair()[0])
    stalling.stall()
    stream = LispStream(stalling)
    reader = started(stream.readline)
    with virtual_time() as clock:
        stream.abort()
        assert isinstance(reader.get(), ValueError)
        assert clock.now == 0


@pytest.mark.parametrize("k", range(1, 9))
def test_the_kth_call_fails(k: int) -> None:
    """Exactly the k-th call fails, with a fresh error of the given kind and number; the others work."""
    near, far = memory_pair()
    error = ConnectionResetError(errno.ECONNRESET, "planted")
    failing = FailingTransport(near, k, error)
    failures = []
    for number in range(1, 9):
        said = outcome(failing.send, memoryview(b"x"), 0, 1)
        if said != 1:
            failures.append((number, type(said), said.args, said is error))
    assert failures == [(k, ConnectionResetError, (errno.ECONNRESET, "planted"), False)]
    assert failing.calls == 8
    assert far.readable() == 7


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "text", "file"), StreamReset("the message"), TLSError("the message", reason="REASON")], ids=repr
)
def test_the_error_of_a_failing_call_is_a_copy(error: OSError) -> None:
    """The call fails with another object each time, which says the same."""
    failing = FailingTransport(memory_pair()[0], 1, error)
    with pytest.raises(type(error)) as caught:
        failing.send(b"x", 0, 1)
    assert caught.value is not error
    assert (str(caught.value), caught.value.args, vars(caught.value)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: memory_pair(0), "capacity must be positive, not 0"),
        (lambda: PiecemealTransport(memory_pair()[0], 0), "n must be positive, not 0"),
        (lambda: HostileTransport(memory_pair()[0], Random(1), most=0), "most must be positive, not 0"),
        (lambda: StallingTransport(memory_pair()[0]).stall("in"), "direction must be one of 'io', 'input', 'output', not 'in'"),
    ],
    ids=["pair", "pieces", "hostile", "stalling"],
)
def test_wrong_arguments_of_transports_are_refused(make: Callable[[], object], text: str) -> None:
    """A size that is not positive, or a direction that does not exist, is a ValueError that names it."""
    with pytest.raises(ValueError, match=re.escape(text)):
        make()


@pytest.mark.parametrize("kind", [TransportOver, PiecemealTransport, StallingTransport])
def test_what_is_no_transport_is_refused(kind: Callable[[Any], object]) -> None:
    """A stream in the place of a transport, or a number, is a TypeError that names the argument."""
    with BufferedStream(memory_pair()[0]) as stream:
        for wrong in (stream, 1):
            with pytest.raises(TypeError, match="transport must be a Transport, not"):
                kind(wrong)


def test_a_hostile_transport_repeats_itself() -> None:
    """One seed gives one sequence of pieces and refusals, and in the end all bytes."""

    def run() -> list[Any]:
        near, far = memory_pair()
        hindered = HostileTransport(far, Random(1), most=7, spite=0.3)
        near.send(memoryview(b"x" * 200), 0, 200)
        said: list[Any] = []
        while far.readable() > 0:
            said.append(hindered.recv_into(memoryview(bytearray(50)), 0, []))
        return said

    once = run()
    assert once == run()
    assert WOULD_WAIT in once
    assert sum(count for count in once if count > 0) == 200
