"""Report which build of geventstreams is tested, and refuse one that is not made from the sources beside the tests.

A built module hides the `.py` that was edited after it, and an installed package hides the checkout: in both cases tests
would pass without the change.
"""

# Invariants: only what every test needs is here; fixtures are in the conftest of the folder whose tests use them.

import gc
import importlib.util
import os
import platform
import sys
import warnings
from collections.abc import Generator, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import version
from pathlib import Path
from typing import Any

if os.environ.get("GEVENTSTREAMS_BARE"):
    from kit import bare_system

    bare_system.take_away()  # before anything has taken what it takes away

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest_plugins = ["servers.fixtures", "faults.recording"]

CHECKOUT = Path(__file__).resolve().parent.parent
TOGETHER = {
    "conformance/test_conformance.py",
    "faults/test_cases.py",
    "legacy/test_clients.py",
    "package/test_benchmarks.py",
    "package/test_builds.py",
    "package/test_least.py",
    "package/test_package.py",
    "package/test_site.py",
    "servers/test_real_servers.py",
    "tls/test_tls_peers.py",
}
"""Files whose tests share what is expensive to make: servers, builds, whole runs of other programs."""

ENDED_EARLY = pytest.StashKey[bool]()


def tested_package() -> Path:
    """The directory of the package that the tests will import; nothing of it is imported yet."""
    spec = importlib.util.find_spec("geventstreams")
    if spec is None or spec.origin is None:
        raise pytest.UsageError("geventstreams is not installed; in the checkout use `python -m pytest`")
    return Path(spec.origin).resolve().parent


def stale_builds(package: Path) -> Iterator[str]:
    """What is wrong with the modules built inside a checkout: each must be younger than its source and every `.pxd`."""
    declarations = sorted(package.rglob("*.pxd"))
    for build in sorted(package.rglob(f"*{EXTENSION_SUFFIXES[0]}")):
        sources = [build.with_name(f"{build.name.partition('.')[0]}.py"), *declarations]
        newer = [path.name for path in sources if not path.exists() or path.stat().st_mtime > build.stat().st_mtime]
        if newer:
            yield f"{build.name} is older than {some(newer, ', ')}"


def some(words: list[str], separator: str) -> str:
    """The first of these, and how many more there are."""
    return separator.join(words[:3] if len(words) < 4 else [*words[:3], f"and {len(words) - 3} more"])


def foreign_sources(package: Path) -> Iterator[str]:
    """Where an installed package differs from the sources of the checkout that the tests belong to."""
    for source in sorted((CHECKOUT / "geventstreams").rglob("*.p*")):
        name = source.relative_to(CHECKOUT / "geventstreams")
        if source.suffix in {".py", ".pxd"} and (
            not (package / name).exists() or (package / name).read_bytes() != source.read_bytes()
        ):
            yield f"{name} of {package} differs from the one in {CHECKOUT}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`-n`: the tests of a file in TOGETHER run in one process, each other test where there is room."""
    if config.getoption("dist") != "load":
        return None  # chosen on the command line
    scheduling = importlib.import_module("xdist.scheduler.loadscope").LoadScopeScheduling

    class Together(scheduling):  # type: ignore[misc,valid-type]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file.removeprefix("tests/") in TOGETHER else nodeid

    return Together(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: two processes for each processor that this one may use, since most tests wait for the most part."""
    return 2 * (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_configure(config: pytest.Config) -> None:
    package = tested_package()
    installed = package != CHECKOUT / "geventstreams"
    plain = os.environ.get("PURE_PYTHON", "") not in {"", "0"}
    problems = list(foreign_sources(package)) if installed else [] if plain else list(stale_builds(package))
    if problems:
        mend = "install the checkout again" if installed else "run `python setup.py build_ext --inplace` again"
        raise pytest.UsageError(f"stale geventstreams; {mend}, or delete the build: {some(problems, '; ')}")
    sys.path.append(str(CHECKOUT))  # for the benchmarks; the installed package comes first
    if not any(package.rglob(f"*{EXTENSION_SUFFIXES[0]}")):  # else programs that tests start would say that they are not compiled
        os.environ["PURE_PYTHON"] = "1"
    if not installed:  # programs that tests start have to find the same package
        inherited = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CHECKOUT), inherited]))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that run for minutes or hours unless `-m` names their mark."""
    if "soak" not in config.option.markexpr:
        dropped = [item for item in items if item.get_closest_marker("soak")]
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=dropped)


@pytest.fixture(scope="session", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Programs that tests start by `-c` and `-m` find what is in their directory first: it must not be the package's sources."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


def tested_build() -> str:
    """One line about what is tested: the build, the loop, the versions."""
    compiled = importlib.import_module("geventstreams").compiled
    return (
        f"geventstreams {'compiled' if compiled else 'plain'}, loop {gevent.config.loop.__module__}, "
        f"gevent {version('gevent')}, greenlet {version('greenlet')}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [tested_build(), f"geventstreams from {tested_package()}"]


@settings(max_examples=1, database=None)
@given(st.none())
def draw_once(_: None) -> None:
    """Have Hypothesis make its source of random numbers: it asks the collector for the referrers of that."""


def pytest_collection_finish() -> None:
    """Hide from the garbage collector what imports and the collection made: hundreds of tests collect garbage, and count what is left."""
    draw_once()
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A test that outlived its time limit fails, even if the limit ended another greenlet than the test's own."""
    report = yield
    marker = item.get_closest_marker("timeout")
    option = item.config.getoption("timeout")
    limit = marker.args[0] if marker else float(item.config.getini("timeout")) if option is None else option
    if report.passed and 0 < limit < call.duration:
        report.outcome = "failed"
        report.longrepr = f"took {call.duration:.1f} s, more than its limit of {limit} s"
    if not report.passed:
        item.stash[ENDED_EARLY] = True
    return report


def collect_quietly() -> None:
    """Free what only the traceback of a failed or skipped test holds, without a ResourceWarning for each of its open streams."""
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        vars(sys).pop(name, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """What a failed or skipped test leaves open is a consequence of that: no error of its teardown, nor of a later test."""
    if item.stash.get(ENDED_EARLY, False):
        collect_quietly()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    result = yield
    if item.stash.get(ENDED_EARLY, False):
        collect_quietly()
    return result


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where tests failed, these are what the run ends with, not what else they and their fixtures left open."""
    if session.testsfailed:
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.simplefilter("ignore", pytest.PytestUnraisableExceptionWarning)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = ", ".join(
        f"{len(terminalreporter.getreports(outcome))} {outcome}" for outcome in ("passed", "failed", "error", "skipped")
    )
    terminalreporter.write_line(f"{tested_build()}: {counts}")
