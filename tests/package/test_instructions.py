"""The instructions that the main rows take: counted under valgrind, and held against those that are stored."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from servers import require

import geventstreams
from benchmarks import instructions

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)  # half a minute on a machine that has nothing else to do
@pytest.mark.skipif(not geventstreams.compiled, reason="the counts are those of the compiled package")
def test_no_row_takes_more_instructions_than_stored(tmp_path: Path) -> None:
    """No main row takes more than 5 % more instructions, in relation to its peer in the same run, than `instructions.json` says."""
    require("cc", "valgrind")
    before = instructions.stored().get(instructions.interpreter())
    if before is None:
        pytest.skip(f"{instructions.STORED.name} has no counts of {instructions.interpreter()}; CONTRIBUTING.md says how to store them")
    counts = tmp_path / "counts.json"
    command = [sys.executable, "-m", "benchmarks", "--instructions", "--json", str(counts)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    now = instructions.stored(counts)[instructions.interpreter()]
    assert set(now["rows"]) == set(instructions.COUNTED) == set(before["rows"])
    assert not instructions.grown(before["rows"], now["rows"]), f"{before['versions']} then, {now['versions']} now\n{done.stdout}"


def rows(ratio: float) -> "dict[str, dict[str, float]]":
    """Return counts of two rows; the second one has this ratio."""
    return {"readline": {"ours": 500.0, "peer": 1000.0, "ratio": 0.5}, "echo": {"ours": 1000 * ratio, "peer": 1000.0, "ratio": ratio}}


@pytest.mark.parametrize(("ratio", "is_growth"), [(0.150, False), (0.200, False), (0.209, False), (0.211, True), (0.400, True)])
def test_growth_is_what_exceeds_five_percent(ratio: float, is_growth: bool) -> None:
    """A row that takes 6 % more than stored is reported, with its growth; one that takes 4 % more, or less, is not."""
    growth = instructions.grown(rows(0.2), rows(ratio))
    assert growth == ({"echo": pytest.approx(ratio / 0.2 - 1)} if is_growth else {})


def test_counts_are_stored_for_each_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`store` replaces the rows that were counted, with the versions, and keeps other rows and other interpreters."""
    path = tmp_path / "counts.json"
    monkeypatch.setattr(instructions, "interpreter", lambda: "another")
    instructions.store(rows(0.3), path)
    monkeypatch.setattr(instructions, "interpreter", lambda: "this")
    instructions.store(rows(0.3), path)
    instructions.store({"echo": rows(0.2)["echo"]}, path)
    content = json.loads(path.read_text())
    assert content["another"]["rows"] == rows(0.3)
    assert content["this"]["rows"] == {**rows(0.3), "echo": rows(0.2)["echo"]}
    assert {"Python", "gevent", "greenlet", "compiler"} <= set(content["this"]["versions"])


def test_every_stored_row_is_counted() -> None:
    """The file holds exactly the rows that are counted, for each interpreter."""
    assert instructions.stored()
    for counts in instructions.stored().values():
        assert set(counts["rows"]) == set(instructions.COUNTED)


def test_a_machine_without_valgrind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without valgrind the bench says which Debian package has it, with status 2."""
    monkeypatch.setenv("PATH", str(tmp_path))
    command = [sys.executable, "-m", "benchmarks", "--instructions", "--only", "import"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "python -m benchmarks: --instructions needs valgrind (Debian: valgrind)\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--only", "relay"), "row 'relay' is not counted; these are: echo, "),
        (("--quick",), "--instructions goes with --only and --json, and with no other option"),
    ],
)
def test_wrong_arguments(arguments: "tuple[str, ...]", complaint: str) -> None:
    """A row that is not counted, and an option for times, are refused with status 2."""
    command = [sys.executable, "-m", "benchmarks", "--instructions", *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"python -m benchmarks: {complaint}")
