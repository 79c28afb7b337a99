"""The standard library's own tests of sockets' files and of its network clients, and gevent's of its servers and sockets, with our
`makefile` in place, and the standard library's tests of its buffered files, with streams in place of these.

Each suite runs twice, from the interpreter's or gevent's own installation: under gevent's monkey-patching, with gevent's `makefile`
and with ours; or with the buffered files of `io` and with streams. What passes there must pass here, but for the tests in
expected.txt, which must fail; each names its reason.
"""

import collections
import fnmatch
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from servers import require

HERE = Path(__file__).parent
EACH = 10
"""Seconds after which a test that waits has failed. gevent alone lets one of test_ssl's wait for ever."""
ALL = 180
"""Seconds after which a suite is ended."""
AT_ONCE = 4
PATCHING = {"gevent": "gevent.monkey", "ours": "geventstreams.monkey"}

IO = "test_io"
FILES = [
    f"test_socket.{kind}FileObjectClassTestCase"
    for kind in ("", "Unbuffered", "LineBuffered", "SmallBuffered", "UnicodeRead", "UnicodeWrite", "UnicodeReadWrite")
]
GEVENT = "gevent.tests."
GEVENTS = [f"test__{name}" for name in ("pywsgi", "backdoor", "socket", "ssl", "makefile_ref", "server", "server_pywsgi")]
SUITES = {
    "test_ssl": ["test_ssl.ThreadedTests", "test_ssl.SimpleBackgroundTests", "test_ssl.TestPostHandshakeAuth"],
    "test_socket": FILES,
    # What io tells of an error in a destructor, and of a raw file that is its own, is not the same in all its versions.
    IO: [
        *(f"{IO}.{kind}" for kind in ("CBufferedReaderTest", "CBufferedWriterTest", "CBufferedRWPairTest")),
        *(f"-{IO}.CBuffered{kind}Test.test_{test}"
          for kind in ("Reader", "Writer") for test in ("error_through_destructor", "recursive_repr")),
    ],
    **{
        name: [name]
        for name in (*("test_imaplib", "test_ftplib", "test_poplib", "test_httplib", "test_smtplib", "test_xmlrpc"),)
    },
    # The one left out sends a signal to a thread by its number, which under gevent is no thread's.
    "test_socketserver": ["test_socketserver", "-test_socketserver.SocketWriterTest.test_write"],
    **{name: [GEVENT + name] for name in GEVENTS},
}

Outcomes = dict[str, tuple[str, str]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * ALL)]


def run(whose: str, names: list[str]) -> Outcomes:
    """The outcome of each test of these names and what it said, with the makefile of "gevent" or with "ours"."""
    if names[0].startswith(IO):
        script = ["-W", "ignore", str(HERE / "io_suite.py"), whose]
    else:
        script = ["-m", PATCHING[whose], str(HERE / "suite.py")]
    command = [sys.executable, *script, str(EACH), *names]
    # gevent's usual resolver leaves a thread behind, and the tests wait for threads to end.
    environment = os.environ | {"GEVENT_RESOLVER": "block"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    timer = threading.Timer(ALL, os.killpg, (process.pid, signal.SIGKILL))  # it, and what its tests have forked
    timer.start()
    output, errors = process.communicate()
    timer.cancel()
    reports = [json.loads(line) for line in output.splitlines()]
    assert process.returncode == 0, f"{command} ended with {process.returncode} in {reports[-1:]}: {errors[-2000:]}"
    return {report["test"]: (report["outcome"], report["said"]) for report in reports}


def expected_to_fail() -> dict[str, str]:
    """The tests in expected.txt, as patterns, with their reasons."""
    lines = (line.strip() for line in (HERE / "expected.txt").read_text(encoding="utf-8").splitlines())
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


def suite_of(test: str) -> str:
    """The name of the suite that a test belongs to, from `test.test_socket.Class.method` or `gevent.tests.test__ssl.Class.method`."""
    return test.removeprefix(GEVENT).removeprefix("test.").partition(".")[0]


def is_installed(suite: str) -> bool:
    """Return whether gevent was installed with this one of its own suites; all others belong to the interpreter."""
    try:
        return suite not in GEVENTS or importlib.util.find_spec(GEVENT + suite) is not None
    except ModuleNotFoundError:
        return False


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[tuple[str, str], "Future[Outcomes]"]]:
    """All runs, some at a time: most of them mostly wait."""
    require("test.test_socket")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started = {
            (suite, whose): pool.submit(run, whose, names)
            for suite, names in SUITES.items()
            if is_installed(suite)
            for whose in ("gevent", "ours")
        }
        yield started
        for future in started.values():
            future.cancel()


@pytest.mark.parametrize("suite", SUITES)
def test_what_passes_with_gevents_makefile_passes_with_ours(
    suite: str, runs: dict[tuple[str, str], "Future[Outcomes]"], capsys: pytest.CaptureFixture[str]
) -> None:
    """No test that passes with gevent's makefile fails with ours, but for the expected ones, and these do."""
    if not is_installed(suite):
        pytest.skip(f"gevent was installed without its tests: there is no {GEVENT}{suite}")
    before, after = runs[suite, "gevent"].result(), runs[suite, "ours"].result()
    patterns = [pattern for pattern in expected_to_fail() if suite_of(pattern) == suite]
    passed = {test for test, (outcome, _) in before.items() if outcome == "passed"}
    expected = {test for test in passed if any(fnmatch.fnmatchcase(test, pattern) for pattern in patterns)}
    with capsys.disabled():
        counts = [
            dict(collections.Counter(outcome for outcome, _ in outcomes.values())) for outcomes in (before, after)
        ]
        print(f"\n{suite}: with gevent's makefile {counts[0]}, with ours {counts[1]}, {len(expected)} expected to fail")
    lost = {test for test in passed if after.get(test, ("missing", ""))[0] != "passed"}
    assert len(passed) > len(expected)
    assert not [test for test in expected if after[test][0] != "failed"], "a test that is expected to fail did not"
    # Some of these tests are sensitive to load, with gevent's makefile as with ours: a lost one has to pass twice of four times, alone.
    again = {test: [run("ours", [test.removeprefix("test.")])[test] for _ in range(4)] for test in lost - expected}
    broken = {test: alone for test, alone in again.items() if [outcome for outcome, _ in alone].count("passed") < 2}
    assert not broken, broken


def test_every_expected_failure_names_a_suite_and_a_reason() -> None:
    """expected.txt lists only tests of the suites that run here, each with a reason."""
    for test, reason in expected_to_fail().items():
        assert suite_of(test) in SUITES, test
        assert len(reason.split()) > 3, test


def test_tests_come_from_this_interpreters_installation() -> None:
    """The test package that is run is the one beside the interpreter's own standard library."""
    require("test.test_socket")
    spec = importlib.util.find_spec("test.test_socket")
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).parent.parent == Path(os.__file__).parent
