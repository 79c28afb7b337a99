"""The pytest plugin, in a project of its own: its fixtures, what it says of tests that leave something behind, and of one that hangs."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each test is a run of pytest, or several

PROJECT = Path(__file__).resolve().parent.parent / "plugin_project"
IS_INSTALLED = any(point.value == "pytest_geventstreams" for point in entry_points(group="pytest11"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, outside of this one."""
    return Path(shutil.copytree(PROJECT, tmp_path / "project"))


def run(project: Path, *arguments: str, patched: bool = False) -> tuple[dict[str, int], str]:
    """Run pytest there: how many tests passed, failed, and so on, and all that was printed."""
    start = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    if patched:
        start = "import gevent.monkey; gevent.monkey.patch_all(); " + start
    plugins = [] if IS_INSTALLED else ["-p", "pytest_geventstreams"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-c", start, *plugins, "-p", "no:cacheprovider", *arguments],
        cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100, check=False,
    )
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", done.stdout.splitlines()[-1])}
    return counts, done.stdout


@pytest.mark.parametrize("patched", [False, True], ids=["unpatched", "patched"])
@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_fixtures_serve_a_project(project: Path, processes: tuple[str, ...], patched: bool) -> None:
    """Tests of a client with pairs, servers, faults and virtual time pass and leave nothing, in one process and several, patched or not."""
    counts, output = run(project, "test_steady_client.py", *processes, patched=patched)
    assert counts == {"passed": 7}, output


def test_what_is_left_behind_fails_a_test(project: Path) -> None:
    """An open stream, a running greenlet and an active watcher fail the test that left them; a mark allows it."""
    counts, output = run(project, "test_what_fails.py", "-k", "not hangs")
    assert counts == {"passed": 5, "errors": 3}, output
    assert re.search(r"left 1 things behind:\s+an open stream: <SocketStream", output), output
    assert "a greenlet that runs: <Greenlet" in output
    assert "1 active watchers more than before" in output


def test_all_tests_are_checked_where_the_project_says_so(project: Path) -> None:
    """With `--leaves-nothing`, or the setting of that name, each test is checked, except those that may leave something."""
    for how in (["--leaves-nothing"], ["-o", "leaves_nothing=true"]):
        counts, output = run(project, "test_what_fails.py", "-k", "not hangs", *how)
        assert counts == {"passed": 5, "errors": 4}, output


def test_a_test_that_hangs_is_ended_and_reported(project: Path) -> None:
    """With `--hang-timeout` a test that waits for longer fails, and its report shows where each greenlet waits."""
    counts, output = run(project, "test_what_fails.py", "-k", "hangs", "--hang-timeout", "0.2")
    assert counts == {"failed": 2}, output
    assert "waited in the hub for more than 0.2 s" in output
    assert "what each greenlet waits for" in output
    assert "waits_for_a_line" in output


def test_an_hour_of_virtual_time_is_no_hang(project: Path) -> None:
    """`--hang-timeout` counts real seconds, also in tests that take an hour of virtual time."""
    counts, output = run(project, "test_steady_client.py", "--hang-timeout", "5")
    assert counts == {"passed": 7}, output


def test_a_bad_setting_is_a_clear_error(project: Path) -> None:
    """A hang timeout that is no positive number is refused before any test runs."""
    for value, words in (("soon", "number of seconds"), ("-1", "positive")):
        output = run(project, "-o", f"hang_timeout={value}")[1]
        assert "ERROR" in output
        assert words in output


def test_nothing_is_imported_until_it_is_asked_for(project: Path) -> None:
    """The plugin alone imports neither gevent nor the package."""
    (project / "test_alone.py").write_text(
        "import sys\n\ndef test_alone():\n    assert 'pytest_geventstreams' in sys.modules\n"
        "    assert not {'gevent', 'geventstreams'} & set(sys.modules)\n"
    )
    counts, output = run(project, "test_alone.py")
    assert counts == {"passed": 1}, output
