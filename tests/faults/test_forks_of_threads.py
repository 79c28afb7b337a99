"""A process that forks while other threads have streams and files: the child drops these threads, and may use their numbers again."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from kit.conditions import reported, until
from kit.forking import CHILDREN
from kit.pairs import Pairs

from geventstreams import ReadTimeout, SocketStream, StreamError, makefile
from geventstreams._core.fork import ForkGeneration
from geventstreams.testing.claims import outcome, started
from geventstreams.testing.virtual_time import virtual_time

FORKS = pytest.mark.parametrize("fork", CHILDREN)
SMALL = 4096


class Resting:
    """A thread that has made a call, and then runs neither its hub nor anything else until `finish`. It alone has what the call keeps."""

    def __init__(self, call: Callable[[Any], object], finish: Callable[[Any], object] = lambda _kept: None) -> None:
        self._kept = threading.local()
        self._call, self._finish = call, finish
        self._rests, self._goes_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._rests.wait(20)

    def _run(self) -> None:
        self._call(self._kept)
        self._rests.set()
        self._goes_on.wait()
        self._finish(self._kept)

    def finish(self) -> None:
        self._goes_on.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


def received(far: Any) -> bytes:
    """What has arrived at a socket of the standard library."""
    far.setblocking(False)
    try:
        return bytes(far.recv(2**20))
    except BlockingIOError:
        return b""


@FORKS
@pytest.mark.parametrize("dropped", ["by the fork", "before it"])
def test_a_child_sends_nothing_of_a_file_that_it_drops_with_a_thread(fork: str, dropped: str) -> None:
    """What a thread has written to a file, and not sent, is not sent by a forked child, which drops that thread and all that only it had:
    its files, and what is left of those that it has dropped itself."""
    pairs = Pairs()
    plain, far = pairs.sockets("unix", SMALL)
    data = bytes(200_000)

    def write(kept: Any) -> None:
        gevent.sleep(0)  # the thread has a hub, which would send the rest
        file = makefile(plain, "wb", 2 * len(data))
        file.write(data)
        if dropped == "by the fork":
            kept.file = file

    thread = Resting(write)
    while received(far):
        pass
    CHILDREN[fork](lambda: None)
    assert received(far) == b""
    plain.close()
    thread.finish()
    pairs.close()


@FORKS
def test_a_stream_that_a_child_drops_with_a_thread_is_not_reset(fork: str) -> None:
    """A stream that only another thread has, with output that is not sent yet, is not reset by a forked child, which drops that thread: the
    parent's peer gets all, and an end in order."""
    pairs = Pairs()
    plain, far = pairs.sockets("tcp")

    def write(kept: Any) -> None:
        kept.stream = SocketStream(plain)
        kept.stream.write(b"for the peer")

    thread = Resting(write, lambda kept: kept.stream.close())
    CHILDREN[fork](lambda: None)
    thread.finish()
    assert b"".join(iter(lambda: far.recv(100), b"")) == b"for the peer"
    pairs.close()


@FORKS
def test_a_file_is_free_in_a_thread_of_the_child_that_has_the_number_of_its_reader(fork: str) -> None:
    """A file that a thread reads when the process forks is free in a thread of the child, which may have the number of the first."""
    pairs = Pairs()
    plain, far = pairs.sockets("unix")
    file = makefile(plain, "rb")
    waits = threading.Event()
    lines: list[bytes] = []

    def read() -> None:
        gevent.spawn(waits.set)  # it runs when the call switches to the hub
        lines.append(file.readline())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert waits.wait(20)

    def use() -> None:
        outcomes: list[Any] = []

        def read_there() -> None:
            try:
                file.readline()
            except TimeoutError as error:
                outcomes.append(error)

        plain.settimeout(0.05)
        there = threading.Thread(target=read_there, daemon=True)
        there.start()
        there.join(10)
        assert outcomes

    CHILDREN[fork](use)
    far.sendall(b"for the parent\n")
    reader.join(20)
    assert lines == [b"for the parent\n"]
    pairs.close()


@FORKS
def test_waits_for_a_file_end_in_the_child_whose_other_thread_uses_it_first(fork: str) -> None:
    """Greenlets that read a file, and queue for that, when the process forks get StreamError in the child, also where another thread is the
    first to use the file there."""
    pairs = Pairs()
    plain, far = pairs.sockets("unix")
    file = makefile(plain, "rb")
    readers = [started(file.readline) for _ in range(2)]
    far.sendall(b"for the child\n")

    def use() -> None:
        lines: list[bytes] = []
        there = threading.Thread(target=lambda: lines.append(file.readline()), daemon=True)
        there.start()
        until(lambda: lines or not there.is_alive(), what="the line in the child's thread")
        for reader in readers:
            until(reader.ready, what="the end of a greenlet that waited in the parent")
            assert isinstance(reader.value, StreamError)
        assert lines == [b"for the child\n"]

    CHILDREN[fork](use)
    far.sendall(b"one\ntwo\n")
    assert [reader.get(timeout=10) for reader in readers] == [b"one\n", b"two\n"]
    pairs.close()


@pytest.mark.parametrize("fork", ["os", "multiprocessing"])
@pytest.mark.parametrize("had", [False, True], ids=["no stream", "a stream"])
def test_a_child_has_a_loop_of_its_own(fork: str, had: bool) -> None:
    """What a stream waits for in a child is not reported to the loop of the parent, whether that had a stream when it forked or not: a loop
    of libuv would end the process."""
    near, far = socket.socketpair()
    other, _end = sockets = socket.socketpair()
    reports: list[bool] = []

    def use() -> None:
        hub = gevent.get_hub()
        streams = [SocketStream(other)] if had else []
        waiting = [started(stream.readline) for stream in streams]
        gevent.sleep(0)  # libev looks for a fork before it resumes this greenlet

        def wait() -> None:
            reader = started(SocketStream(near).readline)
            gevent.sleep(0.01)  # the loop asks the system meanwhile
            assert not reader.ready()

        CHILDREN[fork](wait)
        far.sendall(b"for the child\n")
        reports.append(reported(hub.loop.fileno(), select.POLLIN, 0))
        gevent.killall(waiting)
        for stream in streams:
            stream.close()
        hub.destroy(destroy_loop=True)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    for one in (near, far, *sockets):
        one.close()
    assert reports == [False]


@pytest.mark.parametrize("fork", ["os", "multiprocessing"])
def test_time_passes_in_the_child_of_another_thread_than_that_of_virtual_time(fork: str) -> None:
    """A process that a thread forks while another one has virtual time has real time: its limits pass, and it may begin virtual time."""
    pairs = Pairs()
    plain, _far = pairs.sockets("unix")
    outcomes: list[Any] = []

    def wait() -> None:
        with SocketStream(plain, read_timeout=0.05) as stream, gevent.Timeout(10), pytest.raises(ReadTimeout):
            stream.readline()
        with virtual_time() as clock:
            gevent.sleep(3600)
            assert clock.now == 3600

    with virtual_time():
        thread = threading.Thread(target=lambda: outcomes.append(outcome(CHILDREN[fork], wait)))
        thread.start()
        thread.join()
    assert outcomes == [None]
    pairs.close()


def test_a_fork_is_noticed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork counts once, whether a destructor notices it first or the call for forked children, and also where the child has the number
    of its parent, as the first process in a namespace has."""
    fork = ForkGeneration()
    fork.look()
    assert fork.generation == 1
    fork.forking()
    fork.forked()
    assert fork.generation == 2
    fork.forking()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    fork.look()
    assert (fork.generation, fork.thread) == (3, threading.get_ident())
    fork.look()
    fork.forked()
    assert fork.generation == 3
