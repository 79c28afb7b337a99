"""Files from `makefile` while they wait: an interrupted wait loses no data, and no call is refused."""

import gc
import random
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import Any

import gevent
import gevent.event
import gevent.socket
import pytest
from kit.conditions import until
from kit.engines import engine_below
from kit.leftovers import open_descriptor
from kit.makefile import KINDS, TIMEOUT, Ends
from kit.network import reset

from geventstreams import makefile
from geventstreams._constants import BLOCK
from geventstreams.testing import VirtualClock

Read = Callable[[Any], Any]


def filled(file: Any, size: int) -> bytes:
    """What `readinto` puts into memory of that size."""
    space = bytearray(size)
    return bytes(space[: file.readinto(space)])


# What a call wants, in two pieces: it has to wait after the first.
BINARY: dict[str, tuple[Read, bytes, bytes]] = {
    "readline": (methodcaller("readline"), b"half a li", b"ne\n"),
    "readline of a long line": (methodcaller("readline"), b"x" * 200_000, b"\n"),
    "readline with a size": (methodcaller("readline", 8), b"half", b" of it"),
    "read": (methodcaller("read", 11), b"first", b" then!"),
    "a large read": (methodcaller("read", 300_000), b"a" * 150_000, b"b" * 150_001),
    "readinto": (lambda file: filled(file, 11), b"first", b" then!"),
    "a large readinto": (lambda file: filled(file, 300_000), b"a" * 150_000, b"b" * 150_000),
    "readlines": (methodcaller("readlines", 10), b"one\ntwo\nhal", b"f\nmore\n"),
    "iteration": (next, b"half a li", b"ne\n"),
}
TEXT: dict[str, tuple[Read, bytes, bytes]] = {
    "readline": (methodcaller("readline"), "hälf \N{SNOWMAN}".encode()[:-1], "\N{SNOWMAN}".encode()[-1:] + b"\n"),
    "read": (methodcaller("read", 8), "fürst".encode(), b" then"),
    "readlines": (methodcaller("readlines", 8), "öne\ntwo\nh".encode(), b"alf\nmore\n"),
    "iteration": (next, b"half a li", b"ne\n"),
}


def expected(read: Read, data: bytes, ends: Ends, mode: str) -> Any:
    """What the call gives where all has arrived."""
    file, _near, far = ends.file(mode=mode, encoding=None if "b" in mode else "utf-8")
    writer = gevent.spawn(lambda: (far.sendall(data), far.shutdown(socket.SHUT_WR)))
    result = read(file)
    writer.get()
    return result


def given_up_by_timeout(read: Read, file: Any, near: Any) -> None:
    """End a read by the socket's timeout."""
    near.settimeout(TIMEOUT)
    with pytest.raises(TimeoutError, match="timed out") as caught:
        read(file)
    assert caught.type is TimeoutError
    near.settimeout(20)


def given_up_by_gevent(read: Read, file: Any, _near: Any) -> None:
    """End a read by gevent.Timeout."""
    with pytest.raises(gevent.Timeout), gevent.Timeout(TIMEOUT):
        read(file)


def given_up_by_kill(read: Read, file: Any, _near: Any) -> None:
    """End a read by killing its greenlet."""
    reader = gevent.spawn(read, file)
    gevent.sleep(TIMEOUT)
    reader.kill()
    assert isinstance(reader.value, gevent.GreenletExit)


GIVEN_UP = [given_up_by_timeout, given_up_by_gevent, given_up_by_kill]


@pytest.mark.usefixtures("virtual_clock")
@pytest.mark.parametrize("give_up", GIVEN_UP)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*BINARY, *(f"text {name}" for name in TEXT)])
def test_what_ends_a_read_loses_nothing(ends: Ends, name: str, kind: str, give_up: Callable[..., None]) -> None:
    """Half of what a read wants arrives, then a timeout, gevent.Timeout or a kill: the same call completes, twice."""
    text = name.startswith("text ")
    read, first, second = TEXT[name[5:]] if text else BINARY[name]
    mode = "r" if text else "rb"
    wanted = expected(read, first + second, ends, mode)
    file, near, far = ends.file(kind, mode, encoding="utf-8" if text else None)
    writer = gevent.spawn(far.sendall, first)
    give_up(read, file, near)
    writer.get()
    give_up(read, file, near)
    writer = gevent.spawn(far.sendall, second)
    assert read(file) == wanted
    writer.get()


def test_with_gevents_own_makefile_the_same_is_lost(ends: Ends) -> None:
    """gevent's own file loses what had arrived when a read timed out, and says so for ever; its text file loses a begun
    line."""
    near, far = ends.sockets()
    near.settimeout(TIMEOUT)
    file = ends.pairs.keep(near.makefile("rb"))
    far.sendall(b"first")
    with pytest.raises(TimeoutError):
        file.read(11)
    far.sendall(b" second")
    with pytest.raises(OSError, match="cannot read from timed out object"):
        file.read(11)


@pytest.mark.parametrize("kind", ["gevent", "unix", "blocking"])
def test_a_read_behind_one_that_took_all_waits_at_once(ends: Ends, kind: str) -> None:
    """A receive call that brought less than there was room for took all: the next read of a plain socket waits first, and lets others
    run, and does not ask the system before."""
    file, _near, far = ends.file(kind)
    far.sendall(b"first\n")
    assert file.readline() == b"first\n"
    far.sendall(b"second\n")
    other = gevent.spawn(lambda: None)
    assert file.readline() == b"second\n"
    assert other.ready()


@pytest.mark.parametrize("kind", ["gevent", "unix", "blocking"])
def test_a_read_that_may_not_wait_asks_the_system_always(ends: Ends, kind: str) -> None:
    """Where the socket may not wait (a timeout of 0), and in the hub's own greenlet, a read takes what is there; it does so behind one
    that took all, too."""
    file, near, far = ends.file(kind)
    for piece in (b"first", b"second"):
        near.settimeout(0)
        far.sendall(piece)
        assert file.read(len(piece)) == piece
        near.settimeout(20)
        far.sendall(piece)
        results: list[bytes] = []
        gevent.get_hub().loop.run_callback(lambda piece=piece, results=results: results.append(file.read(len(piece))))
        assert until(lambda results=results: results) == [piece]


@pytest.mark.parametrize("kind", KINDS)
def test_the_timeout_of_the_moment_counts(virtual_clock: VirtualClock, ends: Ends, kind: str) -> None:
    """`settimeout` after `makefile`, and between calls, governs every wait: it fires in time, neither at an earlier one
    nor at a later one, and None takes it away."""
    file, near, far = ends.file(kind, timeout=60)
    for limit in (0.05, 0.2):
        near.settimeout(limit)
        began = virtual_clock.now
        with pytest.raises(TimeoutError):
            file.read(1)
        assert limit <= virtual_clock.now - began < limit + 0.001
    near.settimeout(None)
    late = gevent.spawn_later(0.3, far.sendall, b"!")
    assert file.read(1) == b"!"
    late.get()


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_reader_waits_its_turn(ends: Ends, kind: str) -> None:
    """Five greenlets read lines from one file at once: each gets a whole one, first come, first served."""
    file, _near, far = ends.file(kind)
    readers = []
    for _ in range(5):
        readers.append(gevent.spawn(file.readline))
        gevent.sleep(0)
    for piece in (b"on", b"e\nt", b"wo\nthree\nfour\n", b"five\n"):
        far.sendall(piece)
        gevent.sleep(0.01)
    lines = [reader.get(timeout=20) for reader in readers]
    assert lines == [b"one\n", b"two\n", b"three\n", b"four\n", b"five\n"]


def test_with_gevents_own_makefile_a_second_reader_is_turned_away(ends: Ends) -> None:
    """The C reader raises RuntimeError for the second greenlet."""
    near, far = ends.sockets()
    file = ends.pairs.keep(near.makefile("rb"))
    first = gevent.spawn(file.readline)
    gevent.sleep(0)
    with pytest.raises(RuntimeError, match="reentrant"):
        file.readline()
    far.sendall(b"one\n")
    assert first.get() == b"one\n"


def test_no_reader_takes_what_another_waits_for(ends: Ends) -> None:
    """While one greenlet waits for ten bytes, of which five are there, another's smaller read waits behind it; text
    likewise."""
    for mode in ("rb", "r"):
        file, near, far = ends.file(mode=mode)
        far.sendall(b"12345")
        gevent.socket.wait_read(near.fileno(), timeout=20)
        first = gevent.spawn(file.read, 10)
        gevent.sleep(0)
        others = [gevent.spawn(call) for call in (partial(file.read, 1), file.readline, partial(file.readlines, 1))]
        gevent.sleep(0.01)
        assert not any(other.ready() for other in others)
        far.sendall(b"67890abc\nlast\n")
        far.close()
        results = [first.get(timeout=20), *(other.get(timeout=5) for other in others)]
        assert results == (
            [b"1234567890", b"a", b"bc\n", [b"last\n"]] if mode == "rb" else ["1234567890", "a", "bc\n", ["last\n"]]
        )


def test_a_killed_waiter_leaves_the_queue(ends: Ends) -> None:
    """A greenlet that is killed while it waits for the lock is passed over, and the next waiter gets it."""
    file, _near, far = ends.file()
    readers = []
    for _ in range(3):
        readers.append(gevent.spawn(file.readline))
        gevent.sleep(0)
    readers[1].kill()
    far.sendall(b"one\ntwo\n")
    assert [reader.get(timeout=20) for reader in (readers[0], readers[2])] == [b"one\n", b"two\n"]


@pytest.mark.parametrize("kind", ["gevent", "unix", "blocking", "tls"])
@pytest.mark.parametrize(("mode", "buffering"), [("rb", None), ("rb", 0), ("r", None), ("rwb", None)])
def test_closing_wakes_every_waiter(ends: Ends, kind: str, mode: str, buffering: int | None) -> None:
    """Closed by another greenlet, a file wakes its reader, and those who wait for their turn, with
    ValueError."""
    file, near, _far = ends.file(kind, mode, buffering)
    readers = [gevent.spawn(file.read, 10) for _ in range(1 if buffering == 0 else 3)]
    gevent.sleep(0)
    number = near.fileno()
    near.close()
    file.close()
    for reader in readers:
        with pytest.raises(ValueError, match="closed"):
            reader.get(timeout=20)
    assert not open_descriptor(number)


@pytest.mark.parametrize("kind", ["gevent", "blocking"])
def test_what_the_socket_does_meanwhile_is_seen(ends: Ends, kind: str) -> None:
    """A reader that waits sees the socket shut down as its end; and after `detach` it touches the number no more."""
    file, near, far = ends.file(kind)
    reader = gevent.spawn(file.read, 10)
    gevent.sleep(0)
    near.shutdown(socket.SHUT_RD)
    assert reader.get(timeout=20) == b""
    file, near, far = ends.file(kind)
    reader = gevent.spawn(file.read, 10)
    gevent.sleep(0)
    heir = ends.pairs.keep(gevent.socket.socket(fileno=near.detach()))
    far.sendall(b"for the heir")
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.get(timeout=20)
    assert heir.recv(100) == b"for the heir"


def test_a_wait_uses_the_sockets_own_watcher(ends: Ends) -> None:
    """A reader that waits has the watcher of a gevent socket, which is free after that; where it is in use, the reader has its own."""
    file, near, far = ends.file()
    reader = gevent.spawn(file.readline)
    gevent.sleep(0.01)
    assert near._read_event.callback is not None
    far.sendall(b"line\n")
    assert reader.get(timeout=20) == b"line\n"
    assert near._read_event.callback is None
    waits = [gevent.spawn(near.recv, 10)]
    gevent.sleep(0.01)
    waits += [gevent.spawn(other.read, 10) for other in (file, makefile(near, "rb"))]
    gevent.sleep(0.01)
    far.shutdown(socket.SHUT_WR)
    assert [wait.get(timeout=20) for wait in waits] == [b""] * 3


class Interrupted:
    """The watcher of a socket, where a signal handler raises once: behind what `start` does, or before what `stop` does."""

    def __init__(self, watcher: Any, name: str) -> None:
        self._watcher = watcher
        self._name = name

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._watcher, name)
        if name != self._name:
            return method
        self._name = ""
        return partial(self._run, method if name == "start" else int)

    def _run(self, method: Any, *arguments: Any) -> None:
        method(*arguments)
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["start", "stop"])
def test_an_interrupted_wait_leaves_the_sockets_watcher(ends: Ends, name: str) -> None:
    """A signal handler that raises while the socket's watcher is started or stopped leaves that to the socket's own `recv`, at the latest
    when something arrives."""
    file, near, far = ends.file()
    near._read_event = Interrupted(near._read_event, name)
    gevent.spawn_later(0.01, far.sendall, b"line\n")
    with pytest.raises(KeyboardInterrupt):
        file.readline()
    until(lambda: near._read_event.callback is None)
    assert not near._read_event.active
    assert near.recv(5) == b"line\n"
    waiting = gevent.spawn(file.read, 1)
    gevent.sleep(0.01)
    assert near._read_event.active  # it is used again
    far.sendall(b"!")
    assert waiting.get(timeout=20) == b"!"


def test_a_detached_socket_ends_the_wait(ends: Ends) -> None:
    """A reader that waits on a gevent socket raises as soon as the socket is detached, also before anything else happens there."""
    file, near, _far = ends.file()
    reader = gevent.spawn(file.read, 10)
    gevent.sleep(0.01)
    ends.pairs.keep(socket.socket(fileno=near.detach()))
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.get(timeout=20)


@pytest.mark.parametrize("kind", ["gevent", "blocking"])
def test_a_reset_is_no_end(ends: Ends, kind: str) -> None:
    """What came before a reset can be read; then comes ConnectionResetError, every time, and never an end of file."""
    file, near, far = ends.file(kind)
    far.sendall(b"line\nhalf")
    assert file.readline() == b"line\n"
    reset(far)
    for call in (file.readline, lambda: file.read(10), file.read, lambda: file.readinto(bytearray(9))):
        with pytest.raises(ConnectionResetError):
            call()
    assert file.read(4) == b"half"
    with pytest.raises(ConnectionResetError):
        file.read(1)
    assert near.fileno() >= 0


def test_a_file_on_a_socket_that_may_not_wait(ends: Ends) -> None:
    """On a non-blocking socket reads give None, or what there is, as the standard library's; nothing waits."""
    for kind in ("gevent", "blocking", "duck"):
        file, near, far = ends.file(kind)
        near.settimeout(0)
        assert file.read() is None
        assert file.read(5) is None
        assert file.readinto(bytearray(5)) is None
        assert file.readinto1(bytearray(5)) is None
        assert file.readinto1(bytearray()) == 0
        assert file.readline() == b""
        assert file.read1() == b""
        assert file.peek() == b""
        assert file.readlines() == []
        far.sendall(b"some")
        until(lambda file=file: file.peek() == b"some")
        assert file.read(10) == b"some"
        assert file.read(10) is None
        raw = makefile(near, "rwb", 0)
        assert (raw.read(1), raw.readinto(bytearray(5))) == (None, None)
        while raw.write(b"x" * 100_000) is not None:
            pass


@pytest.mark.filterwarnings("ignore:libuv only supports millisecond timer resolution")  # it then takes one for less
def test_random_interruptions_lose_nothing(ends: Ends) -> None:
    """Ten thousand reads of random kinds, ended at random by timeouts, gevent.Timeout and kills: every byte comes
    once, in order."""
    chance = random.Random(5)
    data = bytes(chance.choice(b"abc\n") for _ in range(200_000))

    def feed(far: Any) -> None:
        at = 0
        while at < len(data):
            size = chance.choice((1, 3, 100, 1000))
            far.sendall(data[at : at + size])
            at += size
            gevent.sleep(chance.choice((0, 0, 0.0005)))
        far.close()

    for kind in ("gevent", "blocking"):
        file, near, far = ends.file(kind)
        feeder = gevent.spawn(feed, far)
        taken, interruptions = b"", 0
        while len(taken) < len(data):
            size, limit = chance.randrange(1, 300), chance.choice((0.00001, 0.0003, 0.001))
            call = chance.choice((file.readline, partial(file.read, size), partial(filled, file, size)))
            near.settimeout(limit if chance.random() < 0.5 else None)
            try:
                with gevent.Timeout(None if near.gettimeout() else limit):
                    taken += call()
            except (TimeoutError, gevent.Timeout):
                interruptions += 1
        assert taken == data
        assert interruptions > 50
        feeder.get()


def test_lines_have_no_limit_and_large_sizes_cost_nothing(ends: Ends) -> None:
    """A line of 20 MiB is read whole; `read(2**40)` allocates only what arrives."""
    file, _near, far = ends.file()
    line = b"x" * 20 * 2**20 + b"\n"
    writer = gevent.spawn(far.sendall, line)
    assert file.readline() == line
    writer.get()
    far.sendall(b"few")
    far.close()
    tracemalloc.start()
    try:
        assert file.read(2**30) == b"few"
    finally:
        tracemalloc.stop()


def test_a_file_that_waits_holds_no_memory(ends: Ends) -> None:
    """The block for a receive call is given back before the wait, as half a line moves to a piece of its own size."""
    file, _near, far = ends.file()
    reader = gevent.spawn(file.readline)
    gevent.sleep(0)
    buffer = engine_below(file).input
    assert buffer.store is None
    far.sendall(b"half a line")
    until(lambda: len(buffer))
    assert len(buffer.store) < BLOCK
    far.sendall(b"\n")
    assert reader.get(timeout=20) == b"half a line\n"


def test_a_flood_lets_others_run(ends: Ends) -> None:
    """While a peer sends without pause and a greenlet reads it all, another one that wants to run every millisecond
    does, after at most a few milliseconds of what the reader takes of the processor."""
    near, far = ends.pairs.sockets(buffers=4 * 2**20)
    far.setblocking(True)
    data = b"x" * 2**20
    flood = threading.Thread(target=lambda: [far.sendall(data) for _ in range(200)] and far.shutdown(socket.SHUT_WR))
    file = ends.pairs.keep(makefile(ends.pairs.far(near), "rb"))
    gaps: list[float] = []

    def tick() -> None:
        before = time.thread_time()
        while True:
            gevent.sleep(0.001)
            now = time.thread_time()
            gaps.append(now - before)
            before = now

    ticker = gevent.spawn(tick)
    flood.start()
    total = 0
    while piece := file.read(1000):
        total += len(piece)
    ticker.kill()
    flood.join()
    assert total == 200 * 2**20
    assert sorted(gaps)[len(gaps) // 2] < 0.02
    assert len(gaps) > 5


def test_a_file_goes_from_thread_to_thread(ends: Ends) -> None:
    """A file on a socket made before patching can be used by one thread after another, each with its own hub."""
    near, far = ends.pairs.sockets()
    file = makefile(near, "rb")
    results: list[bytes] = []

    def use() -> None:
        results.append(file.readline())
        gevent.get_hub().destroy(destroy_loop=True)

    for line in (b"one\n", b"two\n"):
        thread = threading.Thread(target=use)
        thread.start()
        far.sendall(line)
        thread.join()
    far.sendall(b"three\n")
    assert [*results, file.readline()] == [b"one\n", b"two\n", b"three\n"]
    file.close()


def test_reading_in_the_hub_works_where_nothing_waits(ends: Ends) -> None:
    """A callback of the hub may read what has arrived; where it would wait it gets an error at once."""
    file, _near, far = ends.file()
    far.sendall(b"one\n")
    results: Any = gevent.event.AsyncResult()

    def callback() -> None:
        try:
            results.set((file.readline(), file.readline()))
        except gevent.exceptions.BlockingSwitchOutError as error:
            results.set_exception(error)

    gevent.get_hub().loop.run_callback(callback)
    with pytest.raises(gevent.exceptions.BlockingSwitchOutError):
        results.get(timeout=20)
    far.sendall(b"two\n")
    assert file.readline() == b"two\n"


def test_timeouts_kept_as_objects_are_no_cycle(ends: Ends) -> None:
    """A hundred reads that timed out leave nothing for the collector, and no watcher or timer behind."""
    file, near, _far = ends.file()
    near.settimeout(0.001)
    found: list[int] = []
    gc.disable()
    try:
        for _ in range(2):
            for _ in range(100):
                try:
                    file.read(1)
                except TimeoutError:
                    pass
            found.append(gc.collect())
        assert found[1] == 0  # the first has what the hub kept of earlier tests until it ran again
    finally:
        gc.enable()
