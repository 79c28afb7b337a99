"""Many greenlets whose events come in one turn of the loop: on libev each that waits again switches to the next, not to the hub."""

import os
from collections.abc import Callable
from typing import Any

import gevent
import greenlet
import pytest
from kit.conditions import until
from kit.forking import child
from kit.loops import ON_LIBUV
from kit.pairs import Pairs

from geventstreams import ReadTimeout, StreamError

COUNT = 20

batches = pytest.mark.skipif(ON_LIBUV, reason="only libev's loop says how many of its events are left")


class Echoes:
    """Streams, the sockets at their far ends, and a greenlet for each that reads lines and calls `with_line(number, line)`."""

    def __init__(self, pairs: Pairs, with_line: Callable[[int, bytes], object], spawn: Callable[..., Any] = gevent.spawn) -> None:
        ends = [pairs.stream() for _ in range(COUNT)]
        self.streams, self.sockets = [near for near, _ in ends], [far for _, far in ends]
        self.lines: list[tuple[int, bytes]] = []
        self.errors: dict[int, BaseException] = {}
        self._with_line = with_line
        self.greenlets = [spawn(self._read, number) for number in range(COUNT)]
        gevent.sleep(0)

    def _read(self, number: int) -> None:
        try:
            while line := self.streams[number].readline():
                self.lines.append((number, line))
                self._with_line(number, line)
        except (StreamError, ReadTimeout) as error:
            self.errors[number] = error

    def send(self, line: bytes) -> None:
        """Send a line to each stream, all before the loop runs."""
        for far in self.sockets:
            far.sendall(line)

    def wait(self, count: int) -> None:
        """Wait until so many lines were read and reads have failed."""
        until(lambda: len(self.lines) + len(self.errors) >= count, 5)

    def numbers(self, line: bytes) -> list[int]:
        return sorted(number for number, other in self.lines if other == line)

    def close(self) -> None:
        for far in self.sockets:
            far.close()
        gevent.joinall([reader for reader in self.greenlets if isinstance(reader, gevent.Greenlet)], timeout=5)


def interrupt(reader: Any, error: type[BaseException]) -> None:
    """Throw an error into a greenlet at once, before any other runs, and come back later."""
    gevent.get_hub().loop.run_callback(gevent.getcurrent().switch)
    reader.throw(error)


@batches
def test_a_greenlet_that_waits_again_switches_to_the_next(pairs: Pairs) -> None:
    """Of twenty greenlets with a line each, only the first is switched to by the hub, and only the last switches back to it."""
    echoes = Echoes(pairs, lambda number, line: None)
    switches: list[tuple[Any, Any]] = []
    echoes.send(b"one\n")
    greenlet.settrace(lambda event, ends: switches.append(ends))
    try:
        echoes.wait(COUNT)
    finally:
        greenlet.settrace(None)
    hub = gevent.get_hub()
    readers = set(echoes.greenlets)
    assert echoes.numbers(b"one\n") == list(range(COUNT))
    assert len([ends for ends in switches if ends[0] is hub and ends[1] in readers]) <= 2
    assert len([ends for ends in switches if ends[0] in readers and ends[1] is hub]) <= 2
    assert len([ends for ends in switches if ends[0] in readers and ends[1] in readers]) >= COUNT - 2
    echoes.close()


def test_every_line_comes_once_and_in_order(pairs: Pairs) -> None:
    """Twenty greenlets get a hundred lines each, in order, while others of them write, sleep and spawn between two reads."""

    def busy(number: int, line: bytes) -> None:
        if number % 4 == 1:
            gevent.sleep(0)
        elif number % 4 == 2:
            gevent.spawn(gevent.sleep, 0)
        elif number % 4 == 3:
            echoes.streams[number].write(line)
            echoes.streams[number].flush()

    echoes = Echoes(pairs, busy)
    for turn in range(100):
        echoes.send(b"%d\n" % turn)
        echoes.wait(COUNT * (turn + 1))
    for number in range(COUNT):
        assert [line for other, line in echoes.lines if other == number] == [b"%d\n" % turn for turn in range(100)]
    echoes.close()


def test_a_greenlet_killed_before_its_turn_takes_no_byte(pairs: Pairs) -> None:
    """The first greenlet that gets its line kills another, which is ready: that one ends, and its line stays readable."""
    killed: list[int] = []

    def kill_another(number: int, line: bytes) -> None:
        if not killed:
            killed.append((number + COUNT // 2) % COUNT)
            interrupt(echoes.greenlets[killed[0]], gevent.GreenletExit)

    echoes = Echoes(pairs, kill_another)
    echoes.send(b"one\n")
    echoes.wait(COUNT - 1)
    assert echoes.numbers(b"one\n") == [number for number in range(COUNT) if number != killed[0]]
    assert echoes.greenlets[killed[0]].dead
    assert echoes.streams[killed[0]].readline() == b"one\n"
    echoes.close()


def test_a_stream_closed_before_its_turn(pairs: Pairs) -> None:
    """The first greenlet closes the streams of all others, which are ready: each read ends in StreamClosed, none hangs."""
    first: list[int] = []

    def close_others(number: int, line: bytes) -> None:
        if not first:
            first.append(number)
            for other, stream in enumerate(echoes.streams):
                if other != number:
                    stream.close(abort=True)

    echoes = Echoes(pairs, close_others)
    echoes.send(b"one\n")
    echoes.wait(COUNT)
    assert echoes.numbers(b"one\n") == first
    assert len(echoes.errors) == COUNT - 1
    echoes.close()


@batches
def test_an_old_event_does_not_resume_a_new_wait(pairs: Pairs) -> None:
    """A ready greenlet that is interrupted, reads its line in another wait's place and waits again is next resumed by its timeout."""
    ends = [pairs.stream(), pairs.stream()]
    order: list[int] = []
    switched_to: list[Any] = []

    def reads(number: int) -> None:
        stream = ends[number][0]
        try:
            assert stream.readline() == b"one\n"
        except ZeroDivisionError:
            assert stream.readline() == b"one\n"
            stream.read_timeout = 0.05
            del switched_to[:]
            with pytest.raises(ReadTimeout):
                stream.readline()
            order.append(number)
        else:
            order.append(number)
            interrupt(readers[1 - number], ZeroDivisionError)

    readers = [gevent.spawn(reads, number) for number in (0, 1)]
    gevent.sleep(0)
    for _, far in ends:
        far.sendall(b"one\n")
    greenlet.settrace(lambda event, switch: switched_to.append(switch[1]))
    try:
        assert len(gevent.joinall(readers, timeout=5, raise_error=True)) == 2
    finally:
        greenlet.settrace(None)
    assert sorted(order) == [0, 1]
    assert switched_to.count(readers[order[1]]) == 1


def test_an_error_of_a_raw_greenlet_does_not_hold_up_the_others(pairs: Pairs, capfd: pytest.CaptureFixture[str]) -> None:
    """Raw greenlets that end with an error, which comes out in the hub, leave every other ready greenlet its turn."""

    def spawn(function: Callable[[int], None], number: int) -> Any:
        raw = greenlet.greenlet(function, gevent.get_hub())
        gevent.get_hub().loop.run_callback(raw.switch, number)
        return raw

    def fail(number: int, line: bytes) -> None:
        if number % 3 == 0:
            raise ZeroDivisionError(number)

    echoes = Echoes(pairs, fail, spawn)
    echoes.send(b"one\n")
    echoes.wait(COUNT)
    assert echoes.numbers(b"one\n") == list(range(COUNT))
    assert capfd.readouterr().err.count("ZeroDivisionError") >= COUNT // 3
    echoes.close()


def test_a_fork_while_others_are_ready(pairs: Pairs) -> None:
    """A greenlet forks while others are ready: in the child each of their waits ends in StreamError, in the parent each gets its line."""
    first: list[int] = []

    def in_child() -> None:
        until(lambda: len(echoes.errors) == COUNT - 1)
        assert echoes.numbers(b"one\n") == first
        assert all(type(error) is StreamError for error in echoes.errors.values())

    def fork(number: int, line: bytes) -> None:
        if not first:
            first.append(number)
            child(in_child, os.fork)

    parent = os.getpid()
    echoes = Echoes(pairs, fork)
    echoes.send(b"one\n")
    echoes.wait(COUNT)
    if os.getpid() != parent:
        gevent.sleep(60)  # the test is the parent's: `child` ends this process
    assert echoes.numbers(b"one\n") == list(range(COUNT))
    assert not echoes.errors
    echoes.close()
