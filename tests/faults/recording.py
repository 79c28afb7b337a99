"""`pytest --cases FILE` notes which tests passed over which kind of connection; `faults.table` makes a table of such notes."""

# Invariants: a kind is read off a test's own parameters. Where a test has none, `faults.cases` says what it runs over.

from __future__ import annotations

import importlib
import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gevent
import pytest

PARAMETERS = {
    "tcp": "TCP", "unix": "Unix", "memory": "memory", "network": "memory",
    "TLSv1.2": "TLS 1.2", "1.2": "TLS 1.2", "TLSv1.3": "TLS 1.3", "1.3": "TLS 1.3",
}  # fmt: skip
"""The kinds of connection by the words in the ids of parametrized tests."""

FIXTURES = {"tls12": "TLS 1.2", "tls13": "TLS 1.3"}
"""Fixtures that are a kind of connection."""

UNKNOWN = "?"
"""The kind of a test that does not say."""


def origin_of(item: pytest.Function) -> str:
    """Where a test is defined, which need not be where it runs: `test_closing.test_the_end_is_sticky`."""
    module = str(item.function.__module__).rpartition(".")[2]
    return f"{module}.{item.function.__qualname__}"


def kinds_of(item: pytest.Function) -> set[str]:
    """The kinds of connection in a test's parameters and fixtures."""
    words = item.callspec.id.split("-") if hasattr(item, "callspec") else []
    found = {PARAMETERS[word] for word in words if word in PARAMETERS}
    return found | {FIXTURES[name] for name in item.fixturenames if name in FIXTURES} or {UNKNOWN}


class Recorder:
    """Collects the outcomes of tests, by their origin and kind; the worst of several counts."""

    ORDER = ("passed", "collected", "skipped", "failed")

    def __init__(self, file: Path) -> None:
        self._file = file
        self._tests: dict[str, dict[str, str]] = {}

    def _note(self, item: pytest.Item, outcome: str) -> None:
        if isinstance(item, pytest.Function):
            kinds = kinds_of(item)
            names = [origin_of(item)]
            if kinds == {UNKNOWN} and hasattr(item, "callspec"):  # one of several that are proofs of different things
                names.append(f"{names[0]}[{item.callspec.id}]")
            for name in names:
                outcomes = self._tests.setdefault(name, {})
                for kind in kinds:
                    outcomes[kind] = max(outcome, outcomes.get(kind, "passed"), key=self.ORDER.index)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
        report = yield
        if report.when == "call" or not report.passed:
            self._note(item, report.outcome)
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.config.getoption("collectonly"):
            for item in session.items:
                self._note(item, "collected")
        compiled = importlib.import_module("geventstreams").compiled
        loop = gevent.config.loop.__module__
        run = {
            "build": "compiled" if compiled else "plain",
            "loop": "libuv" if "libuv" in loop else "libev",
            "versions": f"CPython {platform.python_version()}, gevent {version('gevent')}, greenlet {version('greenlet')}, "
            f"{platform.system()}",
            "tests": {name: dict(sorted(outcomes.items())) for name, outcomes in sorted(self._tests.items())},
        }
        self._file.write_text(json.dumps(run, indent=1), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cases", metavar="FILE", type=Path, help="write which tests passed over which kind of connection (JSON)")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("--cases", default=None)
    if file is not None:
        if getattr(config.option, "numprocesses", None):
            raise pytest.UsageError("--cases notes the tests of one process: leave out -n")
        config.pluginmanager.register(Recorder(file.absolute()), "faults-recorder")
