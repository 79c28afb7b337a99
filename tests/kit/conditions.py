"""Waiting for a condition, as tests do in place of sleeping."""

import select
import time
from collections.abc import Callable
from typing import Any

import gevent


def until(
    condition: Callable[[], Any], seconds: float = 10.0, *, what: str = "the condition", sleep: Callable[[float], object] = gevent.sleep
) -> Any:
    """Wait until `condition()` is true and return its value; fail after `seconds`. `sleep` waits between two calls."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true in {seconds} s"
        sleep(0.002)
    return value


def reported(descriptor: int, events: int, milliseconds: int) -> bool:
    """Return whether the system reports one of these events, also of a descriptor that is too high for select(2)."""
    poll = select.poll()
    poll.register(descriptor, events)
    return bool(poll.poll(milliseconds))
