"""Write docs/compatibility.md from what ran: the logs of .ci/run and .ci/newer-pythons.

    .ci/run | tee run.log; .ci/newer-pythons | tee newer.log
    python docs/compatibility.py run.log newer.log > docs/compatibility.md

Each run of tests prints one line with its build, loop and versions; nothing else is taken from a log.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

RUN = re.compile(
    r"^ *geventstreams (?P<build>compiled|plain), loop gevent\.(?P<loop>[\w.]+), gevent (?P<gevent>\S+), greenlet (?P<greenlet>\S+), "
    r"CPython (?P<python>\S+): (?P<passed>\d+) passed, (?P<failed>\d+) failed, (?P<errors>\d+) errors?, (?P<skipped>\d+) skipped"
)
OUTCOME = re.compile(r"^=== outcome, commit (\w+)")
STEP = re.compile(r"^ *\d+ s  (?P<step>.*?)  +(?P<outcome>ok|FAILED.*)$")
SERVERS = re.compile(r"^ *real servers: (.*)$")
LOOPS = {"libev.corecext": "libev", "libuv.loop": "libuv", "libev.corecffi": "libev (cffi)"}

PAGE = """\
# Compatibility

What ran, and how it ended. This page is made from the logs of `.ci/run` and `.ci/newer-pythons` by
[docs/compatibility.py](compatibility.py), not by hand; what is not in the table was not tested in that run.
[Systems](installing.md#systems) says what is expected of others."""


class Row(NamedTuple):
    """One run of tests."""

    step: str
    found: dict[str, str]

    def __str__(self) -> str:
        wrong = int(self.found["failed"]) + int(self.found["errors"])
        loop = LOOPS.get(self.found["loop"], self.found["loop"])
        outcome = f"{wrong} failed" if wrong else "all passed"
        tests = f"{int(self.found['passed']) + wrong:,}, {self.found['skipped']} skipped"
        cells = [self.found["python"], self.found["build"], loop, self.found["gevent"], self.found["greenlet"], self.step, tests, outcome]
        return f"| {' | '.join(cells)} |"


def lines_after_outcome(text: str) -> tuple[str, list[str]]:
    """Return the commit and the summary of a log of .ci/run; of another log "" and all of it."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if found := OUTCOME.match(line):
            return found[1], lines[number + 1 :]
    return "", lines


def rows_of(lines: list[str], name: str) -> Iterator[Row]:
    """Yield the runs of tests of a log, each with the step that it belongs to."""
    step = name
    for line in lines:
        if found := STEP.match(line):
            step = found["step"]
        elif found := RUN.match(line):
            yield Row(step, found.groupdict())


def page(logs: list[Path]) -> str:
    """Return the page."""
    pieces = [PAGE]
    for log in logs:
        commit, lines = lines_after_outcome(log.read_text(encoding="utf-8", errors="replace"))
        rows = list(rows_of(lines, log.stem))
        if not rows:
            raise SystemExit(f"{log}: no run of tests in it")
        pieces += [
            f"\n## {'.ci/run, commit ' + commit if commit else log.name}\n",
            "| CPython | build | loop | gevent | greenlet | step | tests | outcome |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *map(str, rows),
        ]
        failed = [found["step"] for found in map(STEP.match, lines) if found and found["outcome"] != "ok"]
        if failed:
            pieces.append(f"\nSteps that failed: {'; '.join(failed)}.")
        servers = sorted({server for found in map(SERVERS.match, lines) if found for server in found[1].split(", ")})
        if servers:
            pieces.append(f"\nReal servers on the other end: {', '.join(servers)}.")
    return "\n".join(pieces) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page(list(map(Path, sys.argv[1:]))))
