"""Counts of what a test may leave behind: descriptors, greenlets, objects."""

import contextlib
import gc
import os
from collections.abc import Iterable, Iterator

import gevent
from greenlet import greenlet

from kit.conditions import until


def descriptors(pid: int | str = "self") -> int:
    """Return how many descriptors a process has open; this one, by default."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def descriptors_in_use() -> int:
    """Return how many descriptors this process has open after garbage is collected."""
    gc.collect()
    return descriptors()


def open_descriptor(number: int) -> bool:
    """Return whether this process has such a descriptor."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def greenlets() -> int:
    """Return how many greenlets have begun and not ended."""
    return sum(isinstance(thing, greenlet) and bool(thing) for thing in gc.get_objects())


def running_timers(*, besides: Iterable[object] = ()) -> list[object]:
    """Return the timers of gevent that run in this process, those of cycles too, without those that ran before: `besides`."""
    with gevent.get_hub().loop.timer(1) as timer:  # libuv keeps what is not closed in a list, though its memory is gone: a fork crashes
        kind = type(timer)
    known = {id(one) for one in besides}
    return [thing for thing in gc.get_objects() if type(thing) is kind and thing.active and id(thing) not in known]


def instances(kind: type) -> int:
    """Return how many objects of a class (not of its subclasses) are alive; cycles are collected first."""
    gc.collect()
    return sum(type(one) is kind for one in gc.get_objects())


@contextlib.contextmanager
def nothing_left(greenlets_too: bool = True) -> Iterator[None]:
    """Fail if more descriptors or greenlets exist at the end than at the beginning; the garbage collector is off in between."""
    gevent.sleep(0)  # lets the loop open its own descriptors
    gc.collect()
    gc.disable()
    try:
        open_before, running_before = descriptors(), greenlets()
        yield
        until(lambda: descriptors() <= open_before)
        if greenlets_too:
            until(lambda: greenlets() <= running_before)
    finally:
        gc.enable()
