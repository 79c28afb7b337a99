"""Runs test classes of the standard library and tells the outcome of each test; started under gevent's monkey-patching.

`python -m geventstreams.monkey suite.py SECONDS NAME...` prints a line of JSON when a test begins and when it ends: its
name, its outcome, what it said. NAME is a module of the interpreter's own `test` package, or (with its whole name) of
`gevent.tests`, or `module.Class`, or a test in one; a test after a minus is left out. A test that takes longer than SECONDS fails.
"""

import json
import os
import signal
import sys
import tempfile
import unittest
from collections.abc import Callable
from typing import Any

import gevent
from test import support


class Overdue(Exception):
    """A test outlived its time."""


class Reporter(unittest.TestResult):
    """Prints outcomes as they come, and ends what takes too long."""

    def __init__(self, limit: float, report: Callable[[str, str, str], None]) -> None:
        super().__init__()
        self._report = report
        self._outcome = ("passed", "")
        self._main = gevent.getcurrent()
        self._limit = limit
        self._timer = gevent.get_hub().loop.timer(limit, limit)
        signal.signal(signal.SIGALRM, self._on_alarm)

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self._report(test.id(), "started", "")
        self._outcome = ("passed", "")
        # Again and again: what a test does to clean up may wait, too.
        self._timer.start(self._main.throw, Overdue(f"waits for more than {self._limit} s"))
        signal.setitimer(signal.ITIMER_REAL, self._limit + 1, self._limit)

    def _on_alarm(self, *_: object) -> None:
        if gevent.getcurrent() is not gevent.get_hub():  # which would be the timer's case
            raise Overdue(f"runs for more than {self._limit} s without a switch")

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._timer.stop()
        super().stopTest(test)
        self._report(test.id(), *self._outcome)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addError(test, err)
        self._outcome = ("failed", self._exc_info_to_string(err, test))
        if not isinstance(test, unittest.TestCase):  # a class or a module that cannot be set up
            self._report(test.id(), *self._outcome)

    addFailure = addError  # noqa: N815

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._outcome = ("failed", self._exc_info_to_string(err, subtest))

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        super().addSkip(test, reason)
        self._outcome = ("skipped", reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addExpectedFailure(test, err)

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        super().addUnexpectedSuccess(test)
        self._outcome = ("failed", "unexpected success")


def without(suite: unittest.TestSuite, left_out: set[str]) -> unittest.TestSuite:
    """Return a suite without some of its tests."""
    parts = [without(part, left_out) if isinstance(part, unittest.TestSuite) else part for part in suite]
    return unittest.TestSuite(
        part for part in parts if isinstance(part, unittest.TestSuite) or part.id() not in left_out
    )


def full_name(name: str) -> str:
    """The name that `unittest` loads: gevent's own tests are in `gevent.tests`, all others in `test`."""
    return name if name.startswith("gevent.") else f"test.{name}"


def main() -> None:
    """The command line."""
    limit, names = float(sys.argv[1]), [name for name in sys.argv[2:] if not name.startswith("-")]
    left_out = {full_name(name[1:]) for name in sys.argv[2:] if name.startswith("-")}
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the tests print is no outcome

    def report(name: str, outcome: str, said: str) -> None:
        channel.write(json.dumps({"test": name, "outcome": outcome, "said": said}) + "\n")
        channel.flush()

    # "network" is the world outside, but for the module that says so and stays on this machine.
    support.use_resources = ["network"] if all(name.split(".")[0] == "test_socketserver" for name in names) else []
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        suite = unittest.defaultTestLoader.loadTestsFromNames([full_name(name) for name in names])
        without(suite, left_out).run(Reporter(limit, report))
    channel.close()
    os._exit(0)  # threads that the tests left behind are no reason to stay


if __name__ == "__main__":
    main()
