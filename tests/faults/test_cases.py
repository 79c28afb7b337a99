"""The list of cases keeps its word: each has tests that exist, and they run over the kinds that it must survive."""

from __future__ import annotations

import subprocess
import sys

import pytest

from faults.cases import CASES, KINDS, Proof
from faults.recording import UNKNOWN
from faults.table import TESTS, Run, cell, files, read_runs, table


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every test of the modules that the list points to, as pytest finds them."""
    file = tmp_path_factory.mktemp("cases") / "collected.json"
    options = ["-q", "-q", "-p", "no:cacheprovider", "--collect-only", "-m", "not soak", "--cases", file]
    command = [sys.executable, "-m", "pytest", *options, *files()]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    (run,) = read_runs([file])
    return run


@pytest.mark.slow
def test_every_test_of_a_case_exists(collected: Run) -> None:
    """No case points to a test that is not there, and every test over an unnamed kind has its kind in the list."""
    proofs = [proof for case in CASES for proof in case.proofs]
    assert [proof.test for proof in proofs if proof.test not in collected.tests] == []
    assert [proof.test for proof in proofs if UNKNOWN in collected.tests[proof.test] and not proof.over] == []


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_case_runs_over_its_kinds(collected: Run, case) -> None:
    """The tests of a case run over each kind of connection that the case is about."""
    assert case.proofs
    assert [kind for kind in case.over if collected.outcome(case, kind) is None] == []


def test_names_are_unique_and_kinds_are_known() -> None:
    """No two cases have one name, and none asks for a kind that there is not."""
    assert len({case.id for case in CASES}) == len(CASES)
    assert {kind for case in CASES for kind in case.over} == set(KINDS)


def test_the_table_tells_what_failed() -> None:
    """A case is struck out where one of its tests failed, empty where none ran, and a dot where it is none of that kind's."""
    case = next(case for case in CASES if case.over == ("TCP", "TLS 1.2", "TLS 1.3"))
    first = case.proofs[0].test
    good, bad = ({proof.test: {"TCP": "passed", UNKNOWN: "passed"} for proof in case.proofs} for _ in range(2))
    bad[first] = {"TCP": "failed"}
    runs = [Run("A", "compiled", "libev", "", good), Run("B", "plain", "libuv", "", bad)]
    assert cell(case, "TCP", runs) == "A~~B~~"
    assert cell(case, "memory", runs) == "·"
    assert cell(case, "TLS 1.2", [Run("A", "compiled", "libev", "", {})]) == ""
    text = "\n".join(table(runs))
    assert all(case.claim in text for case in CASES)
    assert Proof.parsed("a.test_b over TCP, Unix") == Proof("a.test_b", ("TCP", "Unix"))
