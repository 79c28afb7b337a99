"""Makes the table of docs/reliability.md of what `pytest --cases FILE` noted; files of one build and loop count as one run.

    pytest -m 'not soak' --cases compiled-libev.json $(python tests/faults/table.py)
    python tests/faults/table.py compiled-libev.json compiled-libuv.json … > docs/reliability.md

Without arguments it prints the files of the tests that the cases point to.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faults.cases import CASES, KINDS, Case
from faults.recording import UNKNOWN

TESTS = Path(__file__).resolve().parent.parent
HEAD = """\
# What a stream survives

Each line is a case that every stream must survive, and where its tests ran. A letter stands for one run of all tests of the case over
that kind of connection. Without the letter they did not run there; struck (~~A~~), at least one failed. A dot means that the case
does not apply to that kind of connection. `tests/faults/cases.py` names the tests of each case.

This page is generated:
"""


@dataclass
class Run:
    """What one run of the tests noted."""

    letter: str
    build: str
    loop: str
    versions: str
    tests: dict[str, dict[str, str]]

    def outcome(self, case: Case, kind: str) -> str | None:
        """What became of a case over a kind: None where none of its tests ran over it."""
        found = [
            outcome
            for proof in case.proofs
            for ran, outcome in self.tests.get(proof.test, {}).items()
            if kind in (proof.over if ran == UNKNOWN else (ran,)) and outcome != "skipped"
        ]
        return None if not found else next((outcome for outcome in found if outcome != "passed"), "passed")


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """Files that `pytest --cases` wrote."""
    runs: dict[tuple[str, str], Run] = {}
    for path in paths:
        noted = json.loads(path.read_text(encoding="utf-8"))
        key = noted["build"], noted["loop"]
        run = runs.setdefault(key, Run("ABCDEFGH"[len(runs)], *key, noted["versions"], {}))
        for name, outcomes in noted["tests"].items():  # several files may run one test, each over kinds of its own
            run.tests.setdefault(name, {}).update(outcomes)
    return list(runs.values())


def files() -> list[Path]:
    """The files of the tests that the cases point to, and of those that run again over TLS."""
    modules = {proof.test.partition(".")[0] for case in CASES for proof in case.proofs} | {"test_tls_matrix"}
    return sorted(path for path in TESTS.rglob("test_*.py") if path.stem in modules and path.parent.name != "soak")


def cell(case: Case, kind: str, runs: Iterable[Run]) -> str:
    """Which runs a case passed in over a kind."""
    said = {run.letter: run.outcome(case, kind) for run in runs}
    letters = [letter if outcome == "passed" else f"~~{letter}~~" for letter, outcome in said.items() if outcome is not None]
    return "".join(letters) or ("·" if kind not in case.over else "")


def table(runs: list[Run]) -> Iterable[str]:
    """The lines of the page."""
    yield HEAD
    yield "```sh"
    for run in runs:
        plain, uv = run.build == "plain", run.loop == "libuv"
        settings = f"{'PURE_PYTHON=1 ' if plain else ''}{'GEVENT_LOOP=libuv-cffi ' if uv else ''}"
        yield f"{settings}pytest -m 'not soak' --cases {run.build}-{run.loop}.json $(python tests/faults/table.py)"
    yield f"python tests/faults/table.py {' '.join(f'{run.build}-{run.loop}.json' for run in runs)} > docs/reliability.md"
    yield "```\n"
    wanted = {path.stem for path in files()}
    for run in runs:
        left_out = ", ".join(sorted(wanted - {test.partition(".")[0] for test in run.tests} - {"test_tls_matrix"}))
        yield f"* {run.letter}: {run.build}, {run.loop} ({run.versions}){' without ' * bool(left_out)}{left_out}"
    section = ""
    for case in CASES:
        if case.section != section:
            section = case.section
            yield f"\n## {section}\n"
            yield f"| case | {' | '.join(KINDS)} |"
            yield f"| --- |{' --- |' * len(KINDS)}"
        yield f"| {case.claim} | {' | '.join(cell(case, kind, runs) for kind in KINDS)} |"


def main(paths: list[str]) -> None:
    """Print the page, or without files the tests to run."""
    if paths:
        print("\n".join(table(read_runs(map(Path, paths)))))
    else:
        print(*(os.path.relpath(path) for path in files()))


if __name__ == "__main__":
    main(sys.argv[1:])
