"""Forked children for the tests: each calls a function, and what goes wrong there is told here."""

# Invariants: the parent does not run its hub while the child runs, so what is ready for both is still there when the child ends.

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent.os

LIMIT = 30
"""Seconds that a child may take."""


def child(function: Callable[[], Any], fork: Callable[[], int] = os.fork) -> None:
    """Run a function in a forked child, and raise here if it failed there."""
    reading, writing = os.pipe()
    pid = fork()
    if not pid:
        os.close(reading)
        os._exit(outcome_of(function, writing))
    os.close(writing)
    with open(reading, "rb") as said:
        text = said.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, text or f"ended with status {status}"


def child_of_multiprocessing(function: Callable[[], Any]) -> None:
    """Run a function in a child that multiprocessing forks, and raise here if it failed there."""
    reading, writing = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(outcome_of(function, writing)))
    process.start()
    os.close(writing)
    with open(reading, "rb") as said:
        text = said.read().decode()
    process.join()
    assert process.exitcode == 0, text or f"ended with status {process.exitcode}"


def outcome_of(function: Callable[[], Any], writing: int) -> int:
    """Call a function and return 0, or 1 when it failed, with the traceback written to a descriptor."""
    signal.alarm(LIMIT)
    try:
        function()
    except BaseException:  # noqa: BLE001  # the parent tells it
        os.write(writing, traceback.format_exc().encode())
        return 1
    return 0


CHILDREN: dict[str, Callable[[Callable[[], Any]], None]] = {
    "os": child, "gevent": partial(child, fork=gevent.os.fork), "multiprocessing": child_of_multiprocessing,
}  # fmt: skip
"""What forks, by name."""
