"""Deadlines, and the slice after which a user of the hub lets others run."""

import time
from typing import Any

import gevent
import pytest

from geventstreams._constants import FRESH, NEVER, SLICE
from geventstreams._core.clock import CLOCK, deadline_after, seconds_until
from geventstreams._core.fairness import Fairness, yield_to_hub
from geventstreams._core.hub_hold import hold_of


def test_a_deadline_is_a_moment_of_the_clock() -> None:
    """A timeout becomes a deadline, and the deadline the seconds left until it, negative afterwards."""
    before = CLOCK.now()
    deadline = deadline_after(5)
    assert before + 5 <= deadline <= CLOCK.now() + 5
    left = seconds_until(deadline)
    assert before + 5 - CLOCK.now() <= left <= 5
    assert seconds_until(deadline_after(-1)) < 0


def test_no_timeout_is_no_deadline() -> None:
    """NEVER stays NEVER both ways."""
    assert deadline_after(NEVER) == seconds_until(NEVER) == NEVER


def spin(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def test_the_slice_begins_with_the_second_call() -> None:
    """The first call after a wait costs no look at the clock, however long ago the wait was."""
    fairness, hub = Fairness(), gevent.get_hub()
    spin(2 * SLICE)
    assert not fairness.let_others_run(hub)
    spin(2 * SLICE)
    assert not fairness.let_others_run(hub)
    spin(2 * SLICE)
    assert fairness.let_others_run(hub)
    assert not fairness.let_others_run(hub)


def test_a_wait_begins_a_new_slice() -> None:
    """A user that waited owes the others nothing."""
    fairness, hub = Fairness(), gevent.get_hub()
    for _ in range(3):
        fairness.let_others_run(hub)
    spin(2 * SLICE)
    fairness.state = FRESH
    assert not fairness.let_others_run(hub)


def test_others_run_when_the_slice_is_over() -> None:
    """A greenlet that is ready has run when `let_others_run` returns True."""
    fairness, hub = Fairness(), gevent.get_hub()
    ran = gevent.spawn(lambda: None)
    while not fairness.let_others_run(hub):
        assert not ran.ready()
        spin(SLICE)
    assert ran.ready()


@pytest.mark.parametrize("place", ["hub", "thread"])
def test_nothing_can_be_let_run_from_elsewhere(place: str) -> None:
    """In the hub's own greenlet, and in another thread, the slice is never over."""
    fairness, hub = Fairness(), gevent.get_hub()
    answers: list[bool] = []

    def ask() -> None:
        fairness.is_overdue(hub)
        spin(2 * SLICE)
        answers.append(fairness.is_overdue(hub))

    if place == "hub":
        hub.loop.run_callback(ask)
        gevent.sleep(0)
    else:
        hub.threadpool.apply(ask)
    assert answers == [False]
    assert fairness.is_overdue(hub)


class WatchedLoop:
    """A loop that records what is used of it."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self.used: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.used.add(name)
        return getattr(self._loop, name)


def test_a_yield_makes_no_watcher() -> None:
    """To yield makes no watcher, which a signal handler that raises could leave unclosed: then the loop does not end, or libuv crashes."""
    hub = gevent.get_hub()
    hold, loop = hold_of(hub), hub.loop
    watched: Any = WatchedLoop(loop)
    hub.loop = hold.loop = watched
    try:
        yield_to_hub(hub)
    finally:
        hub.loop = hold.loop = loop
    assert watched.used.isdisjoint({"async", "async_", "timer", "io", "idle", "check", "prepare"})
    assert "run_callback" in watched.used


class InterruptedLoop(WatchedLoop):
    """A loop beside whose first `run_callback` a signal handler waits."""

    was_interrupted = False

    def run_callback(self, *call: Any) -> None:
        self._loop.run_callback(*call)
        if not self.was_interrupted:
            self.was_interrupted = True
            gevent.sleep(0.01)


def test_a_yield_ends_though_its_round_was_over_before_it_waited() -> None:
    """A signal handler that waits between the order of the callback and the wait for it, as one does that closes a stream, lets the loop go
    round: the yield ends all the same."""
    hub = gevent.get_hub()
    hold, loop = hold_of(hub), hub.loop
    interrupted: Any = InterruptedLoop(loop)
    hub.loop = hold.loop = interrupted
    try:
        with gevent.Timeout(5, AssertionError("the yield does not end")):
            yield_to_hub(hub)
    finally:
        hub.loop = hold.loop = loop
