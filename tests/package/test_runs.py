"""What a run of the tests prints where it fails: the reason, and nothing that only follows from it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FAILING = """
import socket

def test_that_fails():
    near, far = socket.socketpair()
    assert near.fileno() == "a reason"

def test_that_passes():
    pass

def test_that_fails_last():
    kept = [socket.socket() for _ in range(3)]
    raise LookupError("another reason")
"""
WARNING = """
import socket

def test_that_leaves_a_socket():
    socket.socket()
"""

SERVICES = {"CI", "BUILD_NUMBER"}
"""Variables of services that run tests. pytest shortens no line where one of them is set."""


def pytest_output(folder: Path, program: str, *options: str) -> list[str]:
    """The lines that pytest prints for a file of tests, with the settings of this project's."""
    (folder / "test_it.py").write_text(program)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_") and name not in SERVICES}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    words = ["-p", "conftest", "-p", "no:cacheprovider", "-W", "error", "-o", "timeout=60", "--rootdir", folder, *options]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, folder / "test_it.py"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["one process", "pytest-xdist"])
def test_a_failing_run_ends_with_the_reasons(tmp_path: Path, options: list[str]) -> None:
    """What failed tests left open is not told: the last lines are what failed and why, and tests that pass stay passed."""
    *_, first, second, last = pytest_output(tmp_path, FAILING, "-ra", *options)
    assert first.startswith("FAILED test_it.py::test_that_fails - ")
    assert second == "FAILED test_it.py::test_that_fails_last - LookupError: another reason"
    assert "2 failed, 1 passed in " in last


@pytest.mark.slow
def test_what_a_passing_test_leaves_open_fails_the_run(tmp_path: Path) -> None:
    """A socket that a test forgets is a failure as before."""
    assert any("unclosed <socket.socket" in line for line in pytest_output(tmp_path, WARNING))
