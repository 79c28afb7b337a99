"""Virtual time: the order of events, what it jumps over, what holds it back, and what is left afterwards."""

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from time import sleep
from typing import Any

import gevent
import gevent.event
import gevent.lock
import gevent.monkey
import gevent.pool
import pytest
from kit.command_line import run
from kit.pairs import Pairs

from geventstreams import (
    ConnectTimeout,
    HandshakeTimeout,
    ReadTimeout,
    SocketStream,
    SocketStreamServer,
    WaitSet,
    WriteTimeout,
    open_tcp_stream,
    wait_for_input_streams,
)
from geventstreams.testing import virtual_time
from geventstreams.testing.virtual_time import VirtualClock

HOUR = 3600.0


def test_a_thousand_timers_fire_in_the_order_of_their_times() -> None:
    """An hour with a thousand timers: each fires at its own time, and the clock is then where the last one was due."""
    seen = []
    with virtual_time() as clock:
        for number in range(1000):
            gevent.spawn_later((number * 617) % 1000 * 3.6, lambda: seen.append(clock.now))
        gevent.sleep(HOUR)
        assert clock.now == HOUR
    assert seen == sorted(seen)
    assert len(seen) == 1000
    assert sum(clock.jumps) == pytest.approx(HOUR)


def test_an_hour_with_a_thousand_timers_costs_a_tenth_of_a_second() -> None:
    """The CPU time of a thousand timers over one hour, taken as the least of a few: below 100 ms."""
    costs = []
    for _ in range(5):
        started = time.thread_time()
        with virtual_time():
            gevent.joinall([gevent.spawn(gevent.sleep, number * 3.6) for number in range(1001)])
        costs.append(time.thread_time() - started)
    assert min(costs) < 0.1


def test_equal_timers_fire_in_the_order_in_which_they_were_started() -> None:
    """Timers of the same time fire in the order of their starts, whatever kind they are."""
    seen: list[str] = []

    def wait(name: str, seconds: float) -> None:
        gevent.sleep(seconds)
        seen.append(name)

    with virtual_time():
        greenlets = [gevent.spawn(wait, "first", 5), gevent.spawn_later(5, seen.append, "second"), gevent.spawn(wait, "third", 5)]
        greenlets += [gevent.spawn(wait, "early", 4)]
        gevent.joinall(greenlets)
    assert seen == ["early", "second", "first", "third"]


def test_timeouts_of_gevent_end_waits_at_their_time() -> None:
    """`gevent.Timeout`, waits for events, locks and greenlets with a timeout end at their time of the virtual clock."""
    with virtual_time() as clock:
        with pytest.raises(gevent.Timeout), gevent.Timeout(100):
            gevent.event.Event().wait()
        assert clock.now == 100
        assert gevent.event.Event().wait(50) is False
        assert clock.now == 150
        lock = gevent.lock.Semaphore(0)
        assert lock.acquire(timeout=50) is False
        assert clock.now == 200
        assert gevent.wait([gevent.event.Event()], timeout=50) == []
        assert clock.now == 250


def test_a_timeout_that_is_cancelled_is_not_jumped_to() -> None:
    """Only timers that are active when the hub is idle are jumped to."""
    with virtual_time() as clock:
        with gevent.Timeout(1000):
            gevent.sleep(1)
        gevent.sleep(1)
        assert clock.jumps == [1, 1]


def test_what_follows_from_a_timer_happens_before_the_next_one(pairs: Pairs) -> None:
    """A reader gets each byte at the time at which it was written, though the next timer is due at the same time."""
    near, far = pairs.streams("tcp", read_timeout=61)
    seen = []
    with virtual_time() as clock:

        def write() -> None:
            for _ in range(10):
                gevent.sleep(60)
                far.write(b"x")
                far.flush()

        writer = gevent.spawn(write)
        ticks = gevent.spawn(lambda: [gevent.sleep(60) for _ in range(10)])
        for _ in range(10):
            assert near.read_exactly(1) == b"x"
            seen.append(clock.now)
        gevent.joinall([writer, ticks], raise_error=True)
    assert seen == [60.0 * minute for minute in range(1, 11)]


def wait_for_reads(near: Any) -> None:
    near.read_timeout = 100
    near.read(1)


def wait_for_room(near: Any) -> None:
    near.write_timeout = 100
    near.write(b"x" * 10**7)


def wait_in_a_set(near: Any) -> None:
    assert WaitSet([near]).wait(100) == []
    raise ReadTimeout("nothing was ready")


def wait_for_a_list(near: Any) -> None:
    assert wait_for_input_streams([near], timeout=100) == []
    raise ReadTimeout("nothing was ready")


def wait_for_a_handshake(near: Any) -> None:
    near.attach_ssl(ssl_side="client", tlsext_host_name="name.example", ssl_ctx=True, handshake_timeout=100)


LIMITS: dict[str, tuple[Callable[[Any], None], type[Exception]]] = {
    "read": (wait_for_reads, ReadTimeout),
    "write": (wait_for_room, WriteTimeout),
    "WaitSet": (wait_in_a_set, ReadTimeout),
    "wait_for_input_streams": (wait_for_a_list, ReadTimeout),
    "handshake": (wait_for_a_handshake, HandshakeTimeout),
}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("born", ["inside", "before, and used"])
def test_limits_of_streams_are_of_virtual_time(pairs: Pairs, name: str, born: str) -> None:
    """Every limit of a stream ends its wait at its time, also that of a stream which has waited in real time before."""
    call, error = LIMITS[name]

    def streams() -> Any:
        near, far = pairs.streams("tcp", buffers=2**16)
        near.read_timeout = 50
        reader = gevent.spawn(near.read, 1)
        gevent.sleep(0)
        far.write(b"x")
        far.flush()
        assert reader.get() == b"x"  # its timer runs on
        near.read_timeout = None
        return near, far

    if born != "inside":
        near, _ = streams()
    started = time.monotonic()
    with virtual_time() as clock:
        if born == "inside":
            near, _ = streams()
        before = clock.now
        with pytest.raises(error):
            call(near)
        assert clock.now - before == pytest.approx(100, abs=0.1)
    assert time.monotonic() - started < 20


def test_a_server_drains_in_virtual_time(pairs: Pairs) -> None:
    """`stop` waits its seconds of virtual time for a handler that is busy, and reports it."""
    with virtual_time() as clock:
        server = SocketStreamServer(("127.0.0.1", 0), lambda stream, _: gevent.sleep(HOUR))
        server.start()
        client = pairs.keep(open_tcp_stream("127.0.0.1", server.server_port))
        gevent.sleep(1)
        before = clock.now
        server.stop(timeout=60)
        assert clock.now - before == pytest.approx(60, abs=0.1)
        client.abort()


def test_timers_that_are_left_go_on_in_real_time() -> None:
    """What still waits when virtual time ends goes on in real time, with what is left of its time."""
    with virtual_time():
        short = gevent.spawn(gevent.sleep, 60.03)
        long = gevent.spawn(gevent.sleep, HOUR)
        gevent.sleep(60)
    started = time.monotonic()
    with gevent.Timeout(20):
        short.join()
    assert short.ready()
    assert 0.01 < time.monotonic() - started < 20
    assert not long.ready()
    long.kill()


@pytest.mark.parametrize("way", ["return", "error"])
def test_the_hub_is_as_before(way: str) -> None:
    """Whatever ends the block, the hub has its own loop afterwards, sleeps take real time, and a new virtual time can begin."""
    loop = gevent.get_hub().loop
    real_sleep = time.sleep
    with contextlib.suppress(ZeroDivisionError), virtual_time():
        gevent.sleep(5)
        if way == "error":
            raise ZeroDivisionError
    assert gevent.get_hub().loop is loop
    assert time.sleep is sleep is real_sleep
    started = time.monotonic()
    gevent.sleep(0.02)
    assert time.monotonic() - started > 0.01
    with virtual_time() as clock:
        assert clock.now == 0
        gevent.sleep(5)


def test_limits_that_began_inside_hold_afterwards(pairs: Pairs) -> None:
    """The package's clock goes on where virtual time has left it: a limit that began in the block ends when its rest has passed."""
    near, _ = pairs.streams("tcp", read_timeout=10.05)
    with virtual_time():
        reader = gevent.spawn(near.read, 1)
        gevent.sleep(10)
    started = time.monotonic()
    reader.join(20)
    assert isinstance(reader.exception, ReadTimeout)
    assert time.monotonic() - started < 20


def test_a_connection_limit_is_of_virtual_time(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that never answers is ended by `timeout` as soon as nothing else can run."""
    monkeypatch.setattr(gevent.get_hub().resolver, "getaddrinfo", lambda *_: gevent.event.Event().wait(), raising=False)
    with virtual_time() as clock, pytest.raises(ConnectTimeout):
        open_tcp_stream("name.example", 80, timeout=30)
    assert clock.now == pytest.approx(30, abs=0.1)


def test_work_in_the_thread_pool_holds_the_clock_back() -> None:
    """The clock does not jump while the hub's thread pool works: what it answers comes first."""
    real_sleep = gevent.monkey.get_original("time", "sleep")
    pool = gevent.get_hub().threadpool
    with virtual_time() as clock, gevent.Timeout(1000):
        assert pool.apply(lambda: real_sleep(0.1) or "answer") == "answer"
        assert clock.now == 0


def test_results_of_the_thread_pool_come_before_a_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that a thread ends while the clock looks whether it may jump is not jumped over."""
    pool = gevent.get_hub().threadpool
    may_end = threading.Event()
    real_sleep = time.sleep
    look = VirtualClock._can_run

    def end_the_work_behind_a_look(clock: VirtualClock) -> bool:
        can_run = look(clock)
        if not can_run:
            may_end.set()
            while len(pool):
                real_sleep(0.001)
        return can_run

    monkeypatch.setattr(VirtualClock, "_can_run", end_the_work_behind_a_look)
    with virtual_time() as clock, gevent.Timeout(1000):
        assert pool.apply(may_end.wait, (10,)) is True
        assert (clock.now, clock.jumps) == (0, [])


def test_threshold_gives_others_their_time(pairs: Pairs) -> None:
    """With `threshold`, what another thread sends within these real seconds is read before the clock jumps."""
    near, far = pairs.sockets()
    reading = pairs.keep(SocketStream(near, read_timeout=1000))

    def send() -> None:
        gevent.monkey.get_original("time", "sleep")(0.05)
        far.send(b"x")

    thread = threading.Thread(target=send)
    with virtual_time(threshold=5) as clock:
        thread.start()
        assert reading.read(1) == b"x"
        assert clock.now == 0
    thread.join()


def test_without_jumps_time_passes_by_advance() -> None:
    """`autojump=False`: timers fire when `advance` has brought the clock to their time, in order, and `jumps` stays empty."""
    seen: list[float] = []
    with virtual_time(autojump=False) as clock:
        later = [gevent.spawn_later(seconds, lambda: seen.append(clock.now)) for seconds in (30, 10, 20, 99)]
        gevent.sleep(0)
        clock.advance(25)
        gevent.sleep(0)
        assert seen == [25, 25]
        clock.advance(50)
        gevent.sleep(0)
        assert seen == [25, 25, 75]
        assert (clock.now, clock.jumps) == (75, [])
    gevent.killall(later)  # the last one would run on in real time


def test_a_timer_whose_callback_fails_does_not_end_the_others() -> None:
    """An exception in a timer's callback goes to the hub's handler, as in real time, and later timers fire."""
    seen: list[Any] = []
    hub = gevent.get_hub()
    handler = hub.handle_error
    hub.handle_error = lambda context, kind, value, tb: seen.append(kind)
    try:
        with virtual_time():
            timer = hub.loop.timer(1)
            timer.start(lambda: 1 / 0)
            gevent.sleep(2)
            timer.close()
    finally:
        hub.handle_error = handler
    assert seen == [ZeroDivisionError]


def test_a_repeating_timer() -> None:
    """A timer with `repeat` fires again and again until it is stopped."""
    seen = []
    with virtual_time() as clock:
        timer = gevent.get_hub().loop.timer(1, 2)
        timer.start(lambda: seen.append(clock.now))
        gevent.sleep(6)
        timer.stop()
        gevent.sleep(6)
        timer.close()
    assert seen == [1, 3, 5]


def in_another_thread(function: Callable[[], Any]) -> BaseException | None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    return errors[0] if errors else None


def test_a_hub_without_work_ends() -> None:
    """Timers without a reference do not keep the hub: a wait for nothing is LoopExit, as in real time."""

    def wait() -> None:
        with virtual_time():
            timer = gevent.get_hub().loop.timer(5, ref=False)
            timer.start(lambda: None)
            try:
                gevent.get_hub().switch()
            finally:
                timer.close()

    assert isinstance(in_another_thread(wait), gevent.exceptions.LoopExit)


def begun() -> None:
    with virtual_time():
        pass


BAD: dict[str, tuple[Callable[[VirtualClock], Any], type[Exception], str]] = {
    "nested": (lambda _: begun(), RuntimeError, "runs already"),
    "advance by less than nothing": (lambda clock: clock.advance(-1), ValueError, "cannot go back"),
    "advance by no number": (lambda clock: clock.advance(float("nan")), ValueError, "cannot go back"),
    "time.sleep": (lambda _: time.sleep(0.01), RuntimeError, "gevent.sleep"),
    "a time.sleep that was imported": (lambda _: sleep(0.01), RuntimeError, "gevent.sleep"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_use_is_a_clear_error(name: str) -> None:
    """Nested virtual time, time that goes back, and a real `time.sleep` are refused, and virtual time goes on."""
    call, error, words = BAD[name]
    with virtual_time() as clock:
        with pytest.raises(error, match=words):
            call(clock)
        gevent.sleep(7)
        assert clock.now == 7


def test_another_thread_is_refused() -> None:
    """Virtual time in a second thread, and the clock of another thread, are RuntimeError there; that thread's `time.sleep` is real."""
    with virtual_time() as clock:
        assert "another thread" in str(in_another_thread(begun))
        assert "another thread" in str(in_another_thread(lambda: clock.advance(1)))
        assert in_another_thread(lambda: time.sleep(0.001)) is None


PATCHED = """
from time import sleep
import gevent.monkey
gevent.monkey.patch_all()
import time
from geventstreams.testing import virtual_time
with virtual_time() as clock:
    time.sleep(3600)
    assert clock.now == 3600
    try:
        sleep(1)
    except RuntimeError as error:
        print(error)
assert time.sleep is gevent.sleep
sleep(0)
"""


def test_where_gevent_has_patched_sleeps_are_virtual() -> None:
    """After `patch_all` a `time.sleep` takes virtual time; one that was imported before that is refused."""
    done = run(sys.executable, "-c", PATCHED)
    assert (done.status, done.errors) == (0, "")
    assert done.output.startswith(b"time.sleep would block the hub in virtual time")


def test_an_ended_clock_and_bad_arguments() -> None:
    """`advance` after the end is RuntimeError; a negative threshold is ValueError before anything begins."""
    with virtual_time() as clock:
        pass
    with pytest.raises(RuntimeError, match="ended"):
        clock.advance(1)
    with pytest.raises(ValueError, match="threshold"), virtual_time(threshold=-1):
        pass
    begun()


def retries(scale: float, log: Callable[[str], None]) -> None:
    """Ten minutes of a client that tries again with longer and longer pauses, beside a heartbeat and a limit for the whole."""

    def heartbeat() -> None:
        while True:
            gevent.sleep(40 * scale)
            log("heartbeat")

    def client() -> None:
        for attempt in itertools.count():
            log(f"attempt {attempt}")
            with gevent.Timeout(21 * scale, False):
                gevent.event.Event().wait()
                log("never")
            log(f"timeout {attempt}")
            gevent.sleep(10 * 2**attempt * scale)

    beating = gevent.spawn(heartbeat)
    with gevent.Timeout(610 * scale, False):
        client()
    log("the end")
    beating.kill()


@pytest.mark.slow
def test_ten_minutes_of_retries_end_in_less_than_a_second() -> None:
    """A retry loop of ten minutes takes no second, and has the very order of events that it has in real time, a hundredth as long.

    Where other programs keep the machine busy, events of real time that are close together may change places: it is then done slower.
    """
    virtual: list[str] = []
    started = time.thread_time()
    with virtual_time() as clock:
        retries(1, virtual.append)
        assert clock.now == 610
    assert time.thread_time() - started < 1
    for parts in (100, 50, 20):
        real: list[str] = []
        retries(1 / parts, real.append)
        if real == virtual:
            break
    assert virtual == real
    assert (virtual[0], virtual[-1], virtual.count("heartbeat"), len(virtual)) == ("attempt 0", "the end", 15, 28)


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    """No test leaves virtual time running."""
    yield
    begun()
