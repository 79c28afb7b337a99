"""Many greenlets, threads and processes: one reader at a time, writers in turn, and no greenlet occupies the hub."""

import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from random import Random
from typing import Any

import gevent
import pytest
from kit.conditions import until
from kit.forking import CHILDREN, child
from kit.pairs import Pairs

from geventstreams import WaitSet, noticed_socket_stream, process_wait, wait_for_input_streams
from geventstreams._constants import BLOCK, SLICE, WOULD_WAIT
from geventstreams._streams.lisp import LispStream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import StreamBusy, StreamClosed, StreamError, WriteTimeout
from geventstreams.testing import HostileTransport, memory_pair
from geventstreams.testing.claims import ATTEMPTS, beside, outcome, sample, settle, started, stuffed
from geventstreams.testing.transports import TransportOver

# Readers.

TAKING: dict[str, Callable[[Any], Any]] = {
    "read": lambda stream: stream.read(1), "read nothing": lambda stream: stream.read(0), "read all": lambda stream: stream.read(),
    "read1": lambda stream: stream.read1(), "readinto": lambda stream: stream.readinto(bytearray(1)),
    "readinto1": lambda stream: stream.readinto1(bytearray(1)), "peek": lambda stream: stream.peek(),
    "readline": lambda stream: stream.readline(), "readlines": lambda stream: stream.readlines(), "iteration": next,
    "read_exactly": lambda stream: stream.read_exactly(0), "read_until": lambda stream: stream.read_until(b"x"),
    "discard_line": lambda stream: stream.discard_line(), "read_available": lambda stream: stream.read_available(),
    "read_char": lambda stream: stream.read_char(), "unread_char": lambda stream: stream.unread_char("x"),
    "peek_char": lambda stream: stream.peek_char(), "read_char_no_hang": lambda stream: stream.read_char_no_hang(),
    "read_line": lambda stream: stream.read_line(), "read_string": lambda stream: stream.read_string(0),
    "read_byte": lambda stream: stream.read_byte(), "read_sequence": lambda stream: stream.read_sequence(bytearray()),
    "clear_input": lambda stream: stream.clear_input(),
}  # fmt: skip
FREE: dict[str, Callable[[Any, Any], Any]] = {
    "listen": lambda stream, _peer: stream.listen(), "buffered": lambda stream, _peer: stream.buffered,
    "at_eof": lambda stream, _peer: stream.at_eof, "write": lambda stream, peer: (stream.write(b"x"), stream.flush()),
    "shutdown": lambda stream, _peer: stream.shutdown("output"), "addresses": lambda stream, _peer: stream.peer_address,
    "timeouts": lambda stream, _peer: stream.__setattr__("read_timeout", 50),
}  # fmt: skip
GREENLET = r'Greenlet ("[^"]+" )?at'
"""How gevent shows a greenlet: with its name, where one was asked for."""



@pytest.mark.parametrize("buffered", [b"", b"buffered\nbuffered"], ids=["empty", "buffered"])
@pytest.mark.parametrize("name", TAKING)
def test_a_second_reader_is_refused(pairs: Pairs, kind: str, name: str, buffered: bytes) -> None:
    """While a greenlet reads, every call that takes input is StreamBusy within 1 ms, for all buffers, and names the reader."""
    stream, peer = pairs.streams(kind, element_type=bytes)
    first = started(stream.read, 100)
    if buffered:
        peer.sendall(buffered)
        until(lambda: stream.buffered == len(buffered))
    took = []
    for _ in range(ATTEMPTS):
        before = time.monotonic()
        with pytest.raises(StreamBusy, match=GREENLET) as caught:
            TAKING[name](stream)
        took.append(time.monotonic() - before)
        assert caught.value.stream is stream
    assert min(took) < 0.001
    peer.sendall(sample(100 - len(buffered)))
    assert first.get() == buffered + sample(100 - len(buffered))
    peer.sendall(b"x\n")
    assert stream.readline() == b"x\n"


@pytest.mark.parametrize("name", FREE)
def test_everything_else_is_free_beside_a_reader(pairs: Pairs, name: str) -> None:
    """What takes no input can be called while a greenlet reads, which is not disturbed."""
    stream, peer = pairs.streams("tcp")
    first = started(stream.read, 4)
    FREE[name](stream, peer)
    peer.sendall(b"mine")
    assert first.get() == b"mine"


def test_what_needs_an_idle_stream_is_refused_while_one_waits(pairs: Pairs) -> None:
    """replace_socket and setting the socket are StreamBusy while a greenlet reads or writes, and leave both sockets alone."""
    for occupy in (lambda stream: stream.read(1), lambda stream: stream.write(bytes(2**24))):
        stream, far = pairs.stream()
        new, _ = pairs.sockets()
        occupant = started(occupy, stream)
        settle(stream)
        for attempt in (stream.replace_socket, lambda new, stream=stream: stream.__setattr__("socket", new)):
            with pytest.raises(StreamBusy):
                attempt(new)
        assert new.fileno() >= 0
        assert not occupant.ready()
        occupant.kill()
        assert far.fileno() >= 0


def test_readers_may_take_turns(pairs: Pairs) -> None:
    """A reader that was served, killed or timed out leaves the stream free for the next one."""
    stream, peer = pairs.streams("unix")
    for number in range(50):
        reader = started(stream.readline)
        if number % 2:
            reader.kill()
        peer.sendall(b"%d\n" % number)
        assert (stream.readline() if number % 2 else reader.get()) == b"%d\n" % number


# Writers.


def test_ten_writers_of_a_thousand_messages(pairs: Pairs, kind: str) -> None:
    """Ten greenlets write a thousand framed messages each, of all sizes: all arrive whole."""
    stream, peer = pairs.streams(kind)
    random = Random(41)
    sizes = [[random.choice((0, 1, 30, 500, 5000 if count % 20 else 100_000)) for count in range(1000)] for _ in range(10)]

    def write(number: int) -> None:
        for size in sizes[number]:
            stream.write(b"%d %d\n" % (number, size) + bytes([number]) * size)

    writers = [gevent.spawn(write, number) for number in range(10)]
    gevent.spawn(lambda: (gevent.joinall(writers), stream.send_eof()))
    seen: list[list[int]] = [[] for _ in range(10)]
    while head := peer.readline():
        number, size = map(int, head.split())
        assert peer.read_exactly(size) == bytes([number]) * size
        seen[number].append(size)
    assert seen == sizes
    gevent.joinall(writers, raise_error=True)


def test_first_come_first_served(pairs: Pairs) -> None:
    """Writers that wait are served in the order in which they came, and one that comes later does not overtake them."""
    stream, peer = pairs.streams("memory", buffers=1000)
    first = started(stream.write, b"0" * 100_000)
    queued = [started(stream.write, b"%d" % number * 70_000) for number in range(1, 6)]
    late: list[Any] = []

    def overtake() -> None:
        first.join()
        late.append(outcome(stream.write, b"9"))

    overtaking = gevent.spawn(overtake)
    order = bytearray()
    for wanted in (b"0" * 100_000, *(b"%d" % number * 70_000 for number in range(1, 6))):
        if wanted.startswith(b"5"):
            stream_end = started(lambda: (overtaking.join(), stream.send_eof()))
        assert peer.read_exactly(len(wanted)) == wanted
        order += wanted[:1]
    assert peer.read() == b"9"
    assert (bytes(order), late) == (b"012345", [1])
    gevent.joinall([first, *queued, stream_end], raise_error=True)


def test_a_flush_waits_for_its_turn(pairs: Pairs) -> None:
    """flush returns only when all that was accepted before it is with the system, even if others write at the same time."""
    stream, peer = pairs.streams("memory", buffers=1000)
    writer = started(stream.write, b"w" * 200_000)
    flusher = started(stream.flush)
    reader = started(peer.read_exactly, 200_000)
    assert flusher.get() is None
    assert writer.get() == 200_000
    assert stream.unsent == 0
    assert reader.get() == b"w" * 200_000


def test_killed_writers_in_the_queue_leave_it(pairs: Pairs) -> None:
    """A queued writer that is killed is not served, and those behind it are; one killed as it gets the lock passes it on."""
    stream, peer = pairs.streams("memory", buffers=1000)
    first = started(stream.write, b"0" * 100_000)
    queued = [started(stream.write, b"%d" % number * 70_000) for number in range(1, 6)]
    queued[1].kill()
    queued[3].kill()
    first.rawlink(lambda _: queued[0].kill(block=False))
    got = bytearray()
    collecting = gevent.spawn(lambda: [got.extend(data) for data in iter(peer.read1, b"")])
    gevent.joinall([first, queued[2], queued[4]], raise_error=True)
    stream.close()
    collecting.get()
    runs = [(character, got.count(character)) for character in dict.fromkeys(got)]
    assert runs[0] == (48, 100_000)
    assert [run for run in runs if run[0] in b"35"] == [(51, 70_000), (53, 70_000)]
    assert dict(runs).get(49, 0) in (0, 70_000)
    assert 50 not in dict(runs)
    assert 52 not in dict(runs)


def test_accepted_is_of_ones_own_write(pairs: Pairs) -> None:
    """Each writer's error says of its own message whether it was taken over, and stream.accepted of the last that failed."""
    stream, peer = pairs.streams("memory", buffers=1000)
    begun = started(stream.write, b"0" * 100_000)
    queued = started(stream.write, b"1" * 70_000)
    queued.kill()
    assert stream.accepted == 0
    begun.kill()
    assert stream.accepted == 100_000
    stream.write_timeout = 0.01
    error = outcome(stream.write, b"x")
    assert isinstance(error, WriteTimeout)
    assert (error.accepted, stream.accepted) == (0, 0)
    started(stream.write, b"2" * 70_000).kill()
    assert (stream.accepted, stream.unsent) == (0, 99_000)
    assert peer.read_exactly(1000) == b"0" * 1000
    stream.abort()
    stream_two, _ = pairs.streams("memory", buffers=1000)
    started(stream_two.write, b"0" * 100_000).kill()
    assert stream_two.accepted == 100_000
    stream_two.close(abort=True)
    with pytest.raises(StreamClosed):
        stream_two.write(b"x")
    assert stream_two.accepted == 0


# Both ways.


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_full_duplex_in_random_pieces(pairs: Pairs, kind: str, seed: int) -> None:
    """Both ends write and read random pieces at the same time, over a hostile transport too: everything arrives in order."""
    data = {0: sample(400_000, seed), 1: sample(400_000, seed + 50)}
    if kind == "memory":
        random = Random(seed)
        ends = [pairs.keep(LispStream(HostileTransport(one, random, most=20_000))) for one in memory_pair()]
    else:
        ends = list(pairs.streams(kind))

    def write(end: int) -> None:
        random = Random(seed * 7 + end)
        at = 0
        while at < len(data[end]):
            at += ends[end].write(data[end][at : at + random.choice((1, 50, 3000, 120_000))])
            if random.random() < 0.2:
                ends[end].flush()
        ends[end].send_eof()

    def read(end: int) -> bytes:
        random = Random(seed * 11 + end)
        got = bytearray()
        while piece := ends[end].read(random.choice((1, 100, 9000, 70_000))):
            got += piece
        return bytes(got)

    tasks = [gevent.spawn(work, end) for work in (write, read) for end in (0, 1)]
    gevent.joinall(tasks, raise_error=True)
    assert (tasks[2].value, tasks[3].value) == (data[1], data[0])


def test_a_blocked_half_leaves_the_other_alone(pairs: Pairs, kind: str) -> None:
    """A write that waits for room does not keep reads from going on, nor a read that waits writes."""
    stream, peer = pairs.streams(kind, buffers=2**16)  # which the system lets grow with time where it chooses their size
    data, _ = stuffed(stream)
    stream.write_timeout = None
    flushing = started(stream.flush)
    for _ in range(50):
        peer.sendall(b"ping\n")
        assert stream.readline() == b"ping\n"
    assert not flushing.ready()
    assert peer.read_exactly(len(data)) == data
    flushing.get()
    reader = started(stream.readline)
    for _ in range(50):
        stream.sendall(b"pong\n")
        assert peer.readline() == b"pong\n"
    assert not reader.ready()
    peer.sendall(b"done\n")
    assert reader.get() == b"done\n"


def test_shutdown_of_the_input_wakes_its_reader(pairs: Pairs, kind: str) -> None:
    """shutdown("input") while a greenlet reads: what had arrived is returned, or StreamClosed; no greenlet is left waiting."""
    stream, peer = pairs.streams(kind)
    peer.sendall(b"half")
    reader = started(stream.read, 8)
    until(lambda: stream.buffered == 4)
    stream.shutdown("input")
    assert reader.get() == b"half"
    assert isinstance(outcome(stream.read, 1), StreamClosed)


# Fairness.


def test_a_flood_does_not_keep_others_from_running(pairs: Pairs, kind: str) -> None:
    """Beside a reader and a writer that never have to wait, a ticker of 1 ms is never held up for 20 ms."""
    for _ in range(ATTEMPTS):
        stream, peer = pairs.streams(kind)
        gaps: list[float] = []
        until = time.monotonic() + 0.4

        def tick(gaps: list[float] = gaps, until: float = until) -> None:
            while time.monotonic() < until:
                last, worked = time.monotonic(), time.process_time()
                gevent.sleep(0.001)
                # The processor's time counts where it is less: then the machine worked for others.
                gaps.append(min(time.monotonic() - last, time.process_time() - worked))

        def flood(peer: Any = peer, until: float = until) -> None:
            block = bytes(30_000)
            while time.monotonic() < until:
                peer.write(block)
            peer.close()

        ticking, flooding = gevent.spawn(tick), gevent.spawn(flood)
        space = memoryview(bytearray(30_000))
        total = 0
        while count := stream.readinto(space):
            total += count
        gevent.joinall([ticking, flooding], raise_error=True)
        assert total > 10**6
        if len(gaps) > 3 and sorted(gaps)[-3] <= 0.02:
            return
    pytest.fail(f"held up for {sorted(gaps)[-3:]} s")


def test_a_reader_of_what_is_all_there_lets_others_run(pairs: Pairs) -> None:
    """A greenlet that reads line by line what never runs out still lets others run, though it never has to wait."""
    near, far = memory_pair(2**26)
    stream = pairs.keep(LispStream(near))
    line = b"x" * 99 + b"\n"
    far.send(memoryview(line * 600_000), 0, 60_000_000)
    ran = 0

    def tick() -> None:
        nonlocal ran
        while True:
            ran += 1
            gevent.sleep(0)

    ticking = gevent.spawn(tick)
    before = time.process_time()  # not what the machine gives to others
    for _ in range(600_000):
        stream.readline()
    took = time.process_time() - before
    ticking.kill()
    assert ran >= took / 0.02


# Threads.


def in_thread(function: Callable[[], Any]) -> Any:
    """The outcome of a call in another thread."""
    said: list[Any] = []
    thread = threading.Thread(target=lambda: said.append(outcome(function)))
    thread.start()
    thread.join(20)
    return said[0]


def test_another_threads_hub_is_refused(pairs: Pairs, kind: str) -> None:
    """A call from another thread that would wait or touch the socket is a StreamError that says so, and nothing is lost."""
    stream, peer = pairs.streams(kind)
    peer.sendall(b"safe")
    for call in (
        lambda: stream.read(1), stream.readline, stream.listen, lambda: stream.write(bytes(10**6)), stream.close,
        lambda: stream.sendall(b"x"), stream.read_available, stream.force_output, lambda: stream.readinto(bytearray(99999)),
        stream.abort, stream.read_char_no_hang, lambda: stream.shutdown("io"), stream.send_eof,
    ):  # fmt: skip
        said = in_thread(call)
        assert isinstance(said, StreamError), (call, said)
        assert "thread" in str(said)
        stream.clear_output()
    if kind != "memory":
        assert isinstance(in_thread(lambda: stream.replace_socket(None)), StreamError)
    assert (stream.closed, stream.read(4)) == (False, b"safe")
    stream.sendall(b"still")
    assert peer.read(5) == b"still"


def test_what_is_buffered_may_be_used_anywhere(pairs: Pairs) -> None:
    """What neither waits nor touches the socket works in any thread."""
    stream, peer = pairs.streams("tcp")
    peer.sendall(b"line\nmore")
    assert stream.peek() == b"line\nmore"
    assert in_thread(stream.readline) == b"line\n"
    assert in_thread(lambda: stream.write(b"x")) == 1
    assert in_thread(lambda: (stream.closed, stream.fileno(), stream.peer_address)) == (
        False, stream.fileno(), stream.peer_address,
    )  # fmt: skip


def test_streams_of_several_threads_work_beside_each_other(pairs: Pairs) -> None:
    """Each thread has its own hub and its own streams, and they talk to each other."""
    near, far = pairs.sockets()
    data = sample(2**20)

    def serve() -> int:
        with SocketStream(far) as stream:
            return stream.write(stream.read())

    said: list[Any] = []
    thread = threading.Thread(target=lambda: said.append(outcome(serve)))
    thread.start()
    with SocketStream(near) as stream:
        stream.write(data)
        stream.send_eof()
        assert stream.read() == data
    thread.join(20)
    assert said == [len(data)]


# Processes.


@pytest.mark.parametrize("fork", CHILDREN)
def test_a_forked_child_cannot_use_the_parents_stream(pairs: Pairs, socket_kind: str, fork: str) -> None:
    """In a forked child only fileno, the addresses, closed and close work; everything else is a StreamError."""
    stream, peer = pairs.streams(socket_kind, element_type=bytes)
    peer.sendall(b"for the parent")
    assert stream.peek(1)
    stream.write(b"unflushed")
    number, addresses = stream.fileno(), (stream.address, stream.peer_address)
    members = WaitSet([stream])
    assert wait_for_input_streams([stream]) == [stream]

    def noticed(stream: Any) -> None:
        with noticed_socket_stream(stream):
            process_wait("for ever", lambda: False)

    def check() -> None:
        assert stream.fileno() == number
        assert (stream.address, stream.peer_address) == addresses
        assert stream.closed is False
        calls: list[Callable[[], Any]] = [
            lambda: stream.read(1), lambda: stream.read(0), stream.readline, stream.flush, lambda: stream.write(b"x"),
            stream.listen, lambda: stream.readinto(bytearray(1)), stream.read_char, lambda: stream.write_string(""),
            stream.force_output, stream.send_eof, lambda: stream.shutdown("io"), stream.clear_output, stream.clear_input,
            lambda: stream.replace_socket(None), lambda: stream.socket, stream.__enter__, lambda: next(stream),
            lambda: wait_for_input_streams([stream]), lambda: wait_for_input_streams([stream], timeout=0),
            lambda: WaitSet([stream]).wait(), lambda: members.wait(0), lambda: noticed(stream), lambda: iter(stream), stream.isatty,
            stream.makefile, stream.read_byte, lambda: stream.write_sequence(b""),
        ]  # fmt: skip
        for call in calls:
            said = outcome(call)
            assert isinstance(said, StreamError), said
            assert not isinstance(said, StreamClosed)
            assert "fork" in str(said)
        stream.close()
        assert (stream.closed, stream.fileno()) == (True, -1)
        assert isinstance(outcome(os.fstat, number), OSError)
        stream.close()
        stream.abort()

    CHILDREN[fork](check)
    assert stream.read(14) == b"for the parent"
    stream.flush()
    assert peer.read(9) == b"unflushed"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("fork", CHILDREN)
@pytest.mark.parametrize("end", ["close", "drop", "abort"])
def test_a_forked_child_sends_and_shuts_nothing(pairs: Pairs, fork: str, end: str) -> None:
    """close, abort and the destructor in a child close its descriptor and nothing else, while the parent waits and writes."""
    stream, peer = pairs.streams("tcp")
    reader = started(stream.readline)
    stream.write(b"unflushed")
    holder = [stream]
    del stream

    def finish() -> None:
        if end == "close":
            holder[0].close()
        elif end == "abort":
            holder[0].abort()
        else:
            warnings.simplefilter("ignore")
            reader.kill(block=False)
            holder.clear()
        gevent.sleep(0.01)

    CHILDREN[fork](finish)
    assert not peer.listen()
    peer.sendall(b"for the parent\n")
    assert reader.get() == b"for the parent\n"
    holder[0].flush()
    assert peer.read(9) == b"unflushed"
    holder[0].close()
    assert peer.read() == b""


ALIVE_AT_EXIT = """
import gevent, socket, sys
from geventstreams._streams.socket_stream import SocketStream
streams = [SocketStream(one, read_timeout=50) for _ in range(2) for one in socket.socketpair()]
reader = gevent.spawn(streams[0].readline)
writer = gevent.spawn(streams[2].write, bytes(10**8))
gevent.sleep(0)
assert not (reader.ready() or writer.ready())
streams[1].write(b"unflushed")
print("done")
"""


def test_streams_that_are_alive_at_exit_do_not_delay_it(pairs: Pairs) -> None:
    """An interpreter that ends while greenlets read and write neither hangs nor prints a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", ALIVE_AT_EXIT], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_fork_in_the_middle_of_a_write(pairs: Pairs) -> None:
    """A child forked while the parent's write waits owns nothing of it: the parent's message arrives whole and once."""
    stream, peer = pairs.streams("unix")
    data = sample(2**22)
    writer = started(stream.write, data)
    child(stream.close)
    CHILDREN["gevent"](lambda: None)
    with beside(lambda: (writer.get(), stream.send_eof())):
        assert peer.read() == data


class LayeredTransport(TransportOver):
    """Holds a part of what it is given until the next call, as TLS does; each send takes longer than others are kept waiting."""

    held = b""
    is_stuck = False

    def _note(self) -> None:
        self.unsent = len(self.held)

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        if self.flush() == WOULD_WAIT:
            return WOULD_WAIT
        time.sleep(2 * SLICE)
        self.held = bytes(data[start : min(stop, start + BLOCK)])
        self._note()
        return len(self.held) or WOULD_WAIT

    def flush(self) -> int:
        if self.is_stuck and self.held:
            return WOULD_WAIT
        held, self.held = self.held, b""
        self._note()
        return self.below.send(held, 0, len(held)) if held else 0

    def wait_output(self, limit: float) -> bool:
        if self.is_stuck:
            return self.output_wakeup().wait(limit)
        gevent.sleep(0.001)
        return True


class SharedWrite:
    """A write of several blocks to a `LayeredTransport`; a read beside it sends what is left of it before it waits."""

    def __init__(self) -> None:
        near, far = memory_pair(2**20)
        self.transport = LayeredTransport(near)
        self.stream, self.peer = LispStream(self.transport, element_type=bytes), LispStream(far, element_type=bytes)
        self.data = sample(8 * BLOCK)

    def ends(self, writing: Any, reading: Any) -> None:
        """The write returns, and the peer gets all of it."""
        assert writing.get(timeout=10) == len(self.data)
        self.stream.flush()
        assert self.peer.read_exactly(len(self.data)) == self.data
        reading.kill()
        self.stream.abort()
        self.peer.abort()


def test_a_write_ends_where_another_greenlet_has_sent_the_rest_of_it() -> None:
    """A write lets others run, one of which sends the rest before it waits for input: then the write has nothing to wait for."""
    shared = SharedWrite()
    shared.ends(gevent.spawn(shared.stream.write, shared.data), gevent.spawn(shared.stream.read, 1))


def test_a_write_that_waits_for_room_ends_where_another_greenlet_has_sent_the_rest_of_it() -> None:
    """What another greenlet sends of a write that waits for room ends that wait, although the system tells of no room."""
    shared = SharedWrite()
    shared.transport.is_stuck = True
    writing = started(shared.stream.write, shared.data)
    assert not writing.ready()
    shared.transport.is_stuck = False
    shared.ends(writing, gevent.spawn(shared.stream.read, 1))
