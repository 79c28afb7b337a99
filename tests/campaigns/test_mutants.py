"""Each campaign finds the faults that are planted: a lost byte, a doubled one, a timer left running, a descriptor left open …

A mutant is put where it works in both builds: between stream and transport, or into a subclass.
"""

import contextlib
import contextvars
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from greenlet import greenlet
from servers import Certificates

from campaigns import calling_back, system_calls, tally
from campaigns.callers import Caller, Planned
from campaigns.calling_back import call_back
from campaigns.characters import read_characters
from campaigns.forks import fork_often
from campaigns.hooks import call_hooks
from campaigns.hubs import outlive_hubs
from campaigns.leaks import connect_and_close
from campaigns.machine import make_up
from campaigns.proxy_headers import read_headers
from campaigns.reading import read
from campaigns.runs import CALLS_BACK, RATE, Kit
from campaigns.tally import tallied
from campaigns.threads import outlive_threads, share_files, wait_elsewhere
from campaigns.tls_records import change_records
from campaigns.writing import write
from geventstreams._constants import ENDED, WOULD_WAIT
from geventstreams._files.makefile import makefile
from geventstreams._streams.buffered import engine_of
from geventstreams._streams.engine import StreamEngine
from geventstreams._streams.lisp import LispStream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.callbacks import TCPEOF, TCPReset
from geventstreams.errors import StreamError
from geventstreams.proxy_protocol import ProxyError, read_proxy
from geventstreams.testing import TransportOver

SEED = 3


@pytest.fixture
def kit(certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    """What campaigns need. What is planted may make a call wait for ever, and hypothesis looks at that a second time."""
    monkeypatch.setattr(tally, "LIMIT", 10)
    return Kit(certificates, tmp_path)


def finds(campaign: Callable[..., Any], *args: Any, **planted: Any) -> None:
    """The campaign ends with an AssertionError that tells the seed."""
    with pytest.raises(AssertionError, match=f"seed {SEED}, "), tallied("mutant", SEED) as counts:
        campaign(counts, *args, **planted)


class Flawed(TransportOver):
    """A transport that does something wrong, every so many times."""

    every = 300

    def __init__(self, transport: Any) -> None:
        TransportOver.__init__(self, transport)
        self.times = 0

    def _now(self) -> bool:
        self.times += 1
        return self.times % self.every == 0


# Reading.


class LosesAByte(Flawed):
    """Loses the last byte of a receive call."""

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        count = TransportOver.recv_into(self, space, start, counts)
        if count > 1 and self._now():
            counts[-1] -= 1
            count -= 1
        return count


class DoublesAByte(Flawed):
    """Doubles the last byte of a receive call."""

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        count = TransportOver.recv_into(self, space, start, counts)
        if 0 < count < len(space) - start and self._now():
            space[start + count] = space[start + count - 1]
            counts[-1] += 1
            count += 1
        return count


class SwapsTwoBytes(Flawed):
    """Swaps two bytes of a receive call."""

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        count = TransportOver.recv_into(self, space, start, counts)
        if count > 1 and self._now():
            space[start], space[start + 1] = space[start + 1], space[start]
        return count


class EndsTooEarly(Flawed):
    """An end that was not sent."""

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        return ENDED if self._now() else TransportOver.recv_into(self, space, start, counts)


class LosesWhatComesWhenItIsStruck(TransportOver):
    """What has arrived when a wait is ended by an exception is lost."""

    def wait_input(self, limit: float) -> bool:
        try:
            return TransportOver.wait_input(self, limit)
        except BaseException:
            self.below.below.recv_into(memoryview(bytearray(1)), 0, [])  # type: ignore[attr-defined]  # below the hindrance
            raise


class ReadsLinesByteByByte(LispStream):
    """Keeps half a line where an exception loses it."""

    def readline(self, size: int | None = -1) -> bytes:
        line = b""
        while not line.endswith(b"\n") and (size is None or size < 0 or len(line) < size) and (byte := self.read(1)):
            line += byte
        return line


@pytest.mark.parametrize("kind", ["memory", "tcp", "TLSv1.3"])
@pytest.mark.parametrize("flaw", [LosesAByte, DoublesAByte, SwapsTwoBytes, EndsTooEarly])
def test_differential_reading_finds_a_flaw(kit: Kit, kind: str, flaw: Any) -> None:
    """A byte that is lost, doubled or moved, and an end that comes too early, are found over each kind of connection."""
    finds(read, kit.ends, kind, 100_000, flaw=flaw)


@pytest.mark.parametrize("planted", [{"flaw": LosesWhatComesWhenItIsStruck}, {"make": ReadsLinesByteByByte}], ids=["transport", "stream"])
def test_reading_with_faults_finds_what_faults_lose(kit: Kit, planted: dict[str, Any]) -> None:
    """What is lost only when an exception strikes is found where exceptions strike, and nowhere else."""
    finds(read, kit.ends, "memory", 100_000, rate=RATE, **planted)
    with tallied("the same without faults", SEED) as tally:
        read(tally, kit.ends, "memory", 10_000, **planted)


# Writing.


class SendsOneLess(Flawed):
    """Says that it has sent a byte more than it has."""

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        if stop - start < 2 or not self._now():
            return TransportOver.send(self, data, start, stop)
        count = TransportOver.send(self, data, start, stop - 1)
        return count if count == WOULD_WAIT else count + 1


class SendsOneTwice(Flawed):
    """Sends a byte and says nothing of it."""

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        if self._now():
            TransportOver.send(self, data, start, start + 1)
        return TransportOver.send(self, data, start, stop)


class EndsInOrder(TransportOver):
    """Ends the connection in order although output is unsent."""

    def close(self, abort: bool = False) -> None:
        TransportOver.close(self, False)


class SaysNothingWasAccepted(LispStream):
    """Does not tell of a write that was ended and accepted."""

    accepted = property(lambda self: 0, lambda self, value: None)


class KeepsTheCallersMemory(LispStream):
    """Takes the rest of a message from the caller's memory when that has changed."""

    def write(self, data: Any) -> int:
        if isinstance(data, bytearray) and data:
            gevent.spawn(LispStream.write, self, data)
            return len(data)
        return LispStream.write(self, data)


@pytest.mark.parametrize("kind", ["memory", "tcp", "TLSv1.3"])
@pytest.mark.parametrize("flaw", [SendsOneLess, SendsOneTwice])
def test_writing_finds_a_flaw(kit: Kit, kind: str, flaw: Any) -> None:
    """A byte that is not sent, or sent twice, is found."""
    finds(write, kit.narrow, kind, 100_000, flaw=flaw)


def test_writing_finds_memory_that_is_not_its_own(kit: Kit) -> None:
    """A stream that sends what the caller's memory holds later is found."""
    finds(write, kit.narrow, "memory", 10_000, make=KeepsTheCallersMemory)


def test_writing_with_faults_finds_a_wrong_account(kit: Kit) -> None:
    """A message that arrives although the stream says that it was not accepted is found."""
    finds(write, kit.narrow, "memory", 100_000, rate=RATE, make=SaysNothingWasAccepted)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "tcp"])
def test_writing_with_faults_finds_a_part_that_passes_for_the_whole(kit: Kit, kind: str) -> None:
    """A close that gives up and ends the connection in order is found."""
    finds(write, kit.narrow, kind, 100_000, rate=RATE, flaw=EndsInOrder)


# Characters.


@pytest.mark.parametrize(
    ("name", "planted"),
    [("cp1252", {"taken_for": "cp1250"}), ("shift_jis", {"taken_for": "cp932"}), ("utf-16-le", {"taken_for": "utf-16-be"}),
     ("utf-8", {"flaw": LosesAByte}), ("gb18030", {"flaw": SwapsTwoBytes})],
)  # fmt: skip
def test_characters_that_are_decoded_wrongly_are_found(kit: Kit, name: str, planted: dict[str, Any]) -> None:
    """A codec that is nearly the right one, and bytes that are not those that came, are found."""
    finds(read_characters, kit.ends, name, 100_000, **planted)


# Sequences.


class ForgetsToClear(SocketStream):
    def clear_input(self) -> None:
        """Do nothing."""


class ReadsNewlinesTwice(SocketStream):
    def read_char(self, eof_error: bool = True, eof_value: Any = None) -> Any:
        character = super().read_char(eof_error, eof_value)
        if character == "\n":
            self.unread_char(character)
        return character


class LosesHalfALine(SocketStream):
    readline = ReadsLinesByteByByte.readline


class FlushesAfterClearing(SocketStream):
    def clear_output(self) -> None:
        self.flush()


class DoublesNewlines(SocketStream):
    def fresh_line(self) -> bool:
        super().fresh_line()
        self.terpri()
        return True


@pytest.mark.parametrize(
    "plant", [ForgetsToClear, ReadsNewlinesTwice, LosesHalfALine, FlushesAfterClearing, DoublesNewlines], ids=lambda kind: kind.__name__
)
def test_made_up_sequences_find_a_wrong_method(kit: Kit, plant: type[SocketStream]) -> None:
    """A method that does something else than the model is found by the programs that call it."""
    finds(make_up, kit.ends, 2000, plant=plant)


# System calls.


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("plant", "said"), [("closes twice", "one too often"), ("never closes", "0 closed"), ("waits for ever", "waits for more than")]
)
def test_failing_system_calls_find_a_careless_stream(kit: Kit, plant: str, said: str) -> None:
    """A descriptor that is closed twice or never when something failed, and a wait without end, are found."""
    found = system_calls.run(kit.directory, kit.certificates, 12, 1, plant, 1.0 if plant.startswith("waits") else 60)
    assert any(said in finding for finding in found["findings"]), found


# PROXY headers and TLS records.


def lax(stream: Any, timeout: float) -> Any:
    """Take what is no header for one."""
    try:
        return read_proxy(stream, timeout)
    except ProxyError:
        if stream.buffered > 20:
            return None
        raise


def greedy(stream: Any, timeout: float) -> Any:
    """Take a byte too much."""
    said = read_proxy(stream, timeout)
    stream.read(1)
    return said


@pytest.mark.parametrize("reader", [lax, greedy])
def test_mutated_headers_find_a_careless_reader(kit: Kit, reader: Any) -> None:
    """Something that is no header and was accepted, and a byte too much, are found."""
    finds(read_headers, kit.ends, 5000, reader)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_changed_records_find_a_truncation_that_is_hidden(kit: Kit, version: str) -> None:
    """A stream that takes a connection that was cut off for one that has ended is found."""
    finds(change_records, kit.ends, version, 2000, allow_truncation=True)


# Callbacks.


class LosesWhatCameLast(Caller):
    """Is not given the last byte of some pieces."""

    def read(self, socket: Any, data: Any) -> None:
        super().read(socket, data[:-1] if type(data) is bytes and len(data) > 100 else data)


class IsCalledForNothing(Caller):
    """Is called back with no bytes, or with a stream to which none has come."""

    def read(self, socket: Any, data: Any) -> None:
        super().read(socket, data)
        if not (socket.closed or self.over or self.paused):
            super().read(socket, b"" if type(data) is bytes else data)


class IsCalledTwiceAtOnce(Caller):
    """Is called back again while a callback waits."""

    def read(self, socket: Any, data: Any) -> None:
        self.tasks.append(gevent.spawn(super().read, socket, data))


class IsCalledInAnotherContext(Caller):
    """Has a new context in each callback."""

    def read(self, socket: Any, data: Any) -> None:
        contextvars.Context().run(super().read, socket, data)


class IsConnectedLate(Caller):
    """Gets its input before it is connected."""

    def connected(self, one: Any) -> None:
        self.tasks.append(gevent.spawn(super().connected, one))


class IsToldTwice(Caller):
    """Is told of an event again."""

    def event(self, event: Any) -> None:
        super().event(event)
        super().event(event)


class IsToldNothing(Caller):
    """Is told of no event."""

    def event(self, event: Any) -> None:
        """Do nothing."""


class IsToldOfAReset(Caller):
    """Is told of an orderly end as of a reset."""

    def event(self, event: Any) -> None:
        super().event(TCPReset(str(event), event.socket) if type(event) is TCPEOF else event)


class IsCalledAfterTheEnd(Caller):
    """Is called back once more after the event that ends the connection."""

    def event(self, event: Any) -> None:
        super().event(event)
        self.wrote(event.socket)


class IsToldTooEarly(Caller):
    """Is told that its output was sent before it was."""

    def _write(self) -> None:
        super()._write()
        if self.connects and not self.inside and not self.over:
            self.wrote(self.socket)


class IsNeverToldThatItIsSent(Caller):
    """Has no write callback."""

    def wrote(self, socket: Any) -> None:
        """Do nothing."""


class IsNotPaused(Caller):
    """Asks for a pause, and has none."""

    def _pause(self) -> None:
        self.socket, socket = _Unpaused(self.socket), self.socket
        super()._pause()
        self.socket = socket


class _Unpaused:
    def __init__(self, socket: Any) -> None:
        self.pause = int
        self.resume = socket.resume


class ClosesInOrderWhatIsForced(Caller):
    """Sends what is left where it should be dropped."""

    def _close(self, how: str, force: bool) -> None:
        super()._close(how, False)
        self.ends = {"reset"} if force else self.ends


class DropsWhatIsUnsent(Caller):
    """Drops what is left where it should be sent."""

    def _close(self, how: str, force: bool) -> None:
        super()._close(how, True)
        self.ends = self.ends if force else {"orderly"}


class LosesAnException(Caller):
    """Goes on after a callback has raised."""

    def read(self, socket: Any, data: Any) -> None:
        with contextlib.suppress(Planned, gevent.Timeout):
            super().read(socket, data)

    def wrote(self, socket: Any) -> None:
        with contextlib.suppress(Planned, gevent.Timeout):
            super().wrote(socket)


class KeepsADescriptor(Caller):
    """Leaves a descriptor behind."""

    def connected(self, one: Any) -> None:
        KEPT.append(os.dup(one.fileno()))
        super().connected(one)


class KeepsATimer(Caller):
    """Leaves a timer running."""

    def event(self, event: Any) -> None:
        KEPT.append(gevent.get_hub().loop.timer(1000))
        KEPT[-1].start(id, None)
        super().event(event)


class KeepsAGreenlet(Caller):
    """Leaves a greenlet that waits."""

    def event(self, event: Any) -> None:
        KEPT.append(gevent.spawn(gevent.event.Event().wait))
        super().event(event)


CALLED_WRONGLY = (
    LosesWhatCameLast, IsCalledForNothing, IsCalledTwiceAtOnce, IsCalledInAnotherContext, IsConnectedLate, IsToldTwice, IsToldNothing,
    IsToldOfAReset, IsCalledAfterTheEnd, IsToldTooEarly, IsNeverToldThatItIsSent, IsNotPaused, ClosesInOrderWhatIsForced, DropsWhatIsUnsent,
    LosesAnException, KeepsADescriptor, KeepsATimer, KeepsAGreenlet,
)  # fmt: skip


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that does not get where it is going is given up early."""
    monkeypatch.setattr(calling_back, "PATIENCE", 2.0)


@pytest.mark.usefixtures("kept", "impatient")
@pytest.mark.parametrize("make", CALLED_WRONGLY, ids=lambda kind: kind.__name__)
def test_callbacks_find_what_is_called_wrongly(kit: Kit, make: type[Caller]) -> None:
    """A callback too many, too early, too late, with the wrong bytes or none, and what is left behind, are found by the short run."""
    finds(call_back, kit.ends, "tcp", CALLS_BACK["tcp"], make=make)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("flaw", [LosesAByte, DoublesAByte, SwapsTwoBytes, EndsTooEarly, SendsOneLess, SendsOneTwice])
def test_callbacks_find_a_flaw(kit: Kit, flaw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte that is lost, doubled or moved below a connection that calls back is found by the short run, and an end that was not sent."""
    monkeypatch.setattr(Flawed, "every", 3)
    finds(call_back, kit.ends, "hostile tcp", CALLS_BACK["hostile tcp"], flaw=flaw)


# Forks, and hubs that die.


class TakesInTheChild(TransportOver):
    """What has waited in the parent takes its input in the child, too."""

    def wait_input(self, limit: float) -> bool:
        try:
            return TransportOver.wait_input(self, limit)
        except StreamError:
            os.read(self.below.fileno(), 65536)
            raise


class SendsInTheChild(TransportOver):
    """What has waited in the parent sends in the child, too."""

    def __init__(self, transport: Any) -> None:
        TransportOver.__init__(self, transport)
        self.process = os.getpid()

    def wait_input(self, limit: float) -> bool:
        try:
            return TransportOver.wait_input(self, limit)
        except StreamError:
            if self.process != os.getpid():
                with contextlib.suppress(BlockingIOError):
                    os.write(self.below.fileno(), b"again")
            raise


class ReadsOnInTheChild(TransportOver):
    """A wait that ends in the child does so without an error."""

    def wait_input(self, limit: float) -> bool:
        try:
            return TransportOver.wait_input(self, limit)
        except StreamError:
            raise gevent.GreenletExit from None


@pytest.mark.slow
@pytest.mark.parametrize("flaw", [TakesInTheChild, SendsInTheChild, ReadsOnInTheChild])
def test_forks_find_a_flaw(kit: Kit, flaw: Any) -> None:
    """A byte that the child takes or sends, and a wait there that is no StreamError, are found."""
    finds(fork_often, kit.narrow, 20, flaw=flaw)


class TriesAgain(LispStream):
    """Takes a hub that has died for one that was woken for nothing."""

    def read_exactly(self, n: int) -> bytes:
        limit = time.monotonic() + 2
        while True:
            try:
                return LispStream.read_exactly(self, n)
            except StreamError:
                if time.monotonic() > limit:
                    raise


class FindsTheEnd(LispStream):
    """Takes a hub that has died for the end of the input."""

    def readline(self, size: int | None = -1) -> bytes:
        try:
            return LispStream.readline(self, size)
        except StreamError:
            return b""


@pytest.mark.slow
@pytest.mark.parametrize("make", [TriesAgain, FindsTheEnd])
def test_hubs_that_die_find_a_careless_stream(kit: Kit, make: Any) -> None:
    """A call that spins in a hub that has died, and one that hides it, are found."""
    finds(outlive_hubs, kit.narrow, 50, make=make)


# Hooks and threads.


class PassesHooksOver(TransportOver):
    """Waits as a greenlet does that greenlet's own `switch` resumes."""

    def wait_input(self, limit: float) -> bool:
        waiting, helper = gevent.getcurrent(), gevent.spawn(TransportOver.wait_input, self, limit)
        helper.rawlink(lambda _: greenlet.switch(waiting))
        try:
            while not helper.ready():
                greenlet.switch(gevent.get_hub())
        finally:
            helper.kill(block=False)
        return bool(helper.value)


def test_hooks_that_are_passed_over_are_found(kit: Kit) -> None:
    """A wait that does not call a greenlet's hooks is found."""
    finds(call_hooks, kit.ends, 100, flaw=PassesHooksOver)


class WithoutATurn:
    """A file that gathers a line from reads of one byte: another thread may read in between."""

    def __init__(self, *args: Any) -> None:
        self._file = makefile(*args)
        self.close = self._file.close

    def readline(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and (byte := self._file.read(1)):
            line += byte
        return line


def test_threads_that_read_one_file_out_of_turn_are_found(kit: Kit) -> None:
    """A file whose readers in several threads come between each other is found."""
    finds(share_files, kit.ends, 10, make=WithoutATurn)


class AnybodysEngine:
    def __init__(self, engine: StreamEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def refuse_thread(self) -> None:
        """Do nothing."""


class IsAnybodys:
    def __init__(self, socket: Any) -> None:
        self._stream = SocketStream(socket)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _waitable(self) -> AnybodysEngine:
        return AnybodysEngine(engine_of(self._stream))


def test_a_stream_that_other_threads_may_wait_for_is_found(kit: Kit) -> None:
    """A stream that does not refuse to be waited for by another thread is found."""
    finds(wait_elsewhere, kit.ends, 50, make=IsAnybodys)


class OutlivesItsThread(SocketStream):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        KEPT.append(self)


@pytest.mark.usefixtures("kept")
def test_a_descriptor_that_outlives_its_thread_is_found(kit: Kit) -> None:
    """A stream that is not gone when its thread has ended and another has dropped it is found."""
    finds(outlive_threads, kit.ends, 50, make=OutlivesItsThread)


# Leaks.

KEPT: list[Any] = []
PIPE: list[int] = []


@pytest.fixture
def kept() -> Iterator[None]:
    """What a mutant left behind is gone after the test."""
    PIPE[:] = os.pipe()
    yield
    KEPT.extend(PIPE)
    for thing in KEPT:
        if isinstance(thing, int):
            os.close(thing)
        elif isinstance(thing, threading.Event):
            thing.set()
        elif isinstance(thing, SocketStream):
            thing.abort()
        elif isinstance(thing, gevent.Greenlet):
            thing.kill()
        elif isinstance(thing, mmap.mmap):
            thing.close()
        else:
            thing.stop()
            thing.close()
    KEPT.clear()


class LeavesADescriptor(SocketStream):
    def close(self, abort: bool = False) -> None:
        KEPT.append(os.dup(self.fileno()))
        super().close(abort)


class LeavesATimer(SocketStream):
    def close(self, abort: bool = False) -> None:
        KEPT.append(gevent.get_hub().loop.timer(1000))
        KEPT[-1].start(id, None)
        super().close(abort)


class LeavesAWatcher(SocketStream):
    def close(self, abort: bool = False) -> None:
        KEPT.append(gevent.get_hub().loop.io(PIPE[0], 1))
        KEPT[-1].start(id, None)
        super().close(abort)


class LeavesAThread(SocketStream):
    def close(self, abort: bool = False) -> None:
        if len(KEPT) < 230:
            KEPT.append(threading.Event())
            threading.Thread(target=KEPT[-1].wait, daemon=True).start()
        super().close(abort)


class LeavesMemory(SocketStream):
    def close(self, abort: bool = False) -> None:
        pages = mmap.mmap(-1, 100_000)  # not from the heap, which may have as much to give back
        pages.write(b"x" * len(pages))
        KEPT.append(pages)
        super().close(abort)


class IsACycle(SocketStream):
    def close(self, abort: bool = False) -> None:
        self.myself = self
        super().close(abort)


PLANTS = {
    LeavesADescriptor: "descriptors", LeavesATimer: "watchers", LeavesAWatcher: "watchers", LeavesAThread: "threads",
    LeavesMemory: "bytes of memory", IsACycle: "collector|objects more",
}  # fmt: skip


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("plant", PLANTS, ids=lambda kind: kind.__name__)
def test_connections_that_leave_something_are_found(kit: Kit, plant: type[SocketStream]) -> None:
    """A descriptor, a timer, a watcher, a thread, memory or a cycle for each connection is found."""
    finds(connect_and_close, kit.ends, "tcp", 300, plant)
