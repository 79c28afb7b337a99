"""Run the bench: `python -m benchmarks [--quick] [--only ROW ...] [--peers NAME,...] [--json FILE] [--plot FILE]`.

With `--least` it measures the rows that have a least program beside it, and says which goals can be reached on this machine. With
`--instructions` it counts instructions instead of measuring time.

Exit status: 0 if all contenders ran, whether goals are met or not; 1 if a contender failed; 2 for wrong arguments, or if no
compiled package is found and PURE_PYTHON=1 does not ask for plain Python; 130 if it is interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import resource
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import instructions, machine, report, which_build
from benchmarks.available import lacking, why_not
from benchmarks.contenders import OURS, PEERS
from benchmarks.harness import LocalBench
from benchmarks.model import LEAST, Bench, ChildFailed, Effort, Entry, Result, Row
from benchmarks.rows import BESIDE_LEAST, ROWS

FULL = Effort(False, launches=3, rounds=5, window=0.5, bulk=2**28, tiny_rounds=200, memory=10_000, crowd=10_000)
QUICK = Effort(True, launches=1, rounds=5, window=0.04, bulk=2**25, tiny_rounds=60, memory=1_000, crowd=2_000)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures geventstreams and its peers in the same run, and holds the ratios against goals.",
        epilog="example: python -m benchmarks --quick --only echo readline --peers floor,uvloop,stdlib --plot echo.png",
    )
    made.add_argument("--quick", action="store_true", help="all rows in under a minute, with rough figures")
    made.add_argument("--only", nargs="+", default=[], metavar="ROW", help="these rows")
    made.add_argument("--list", action="store_true", help="list rows and peers, and measure nothing")
    made.add_argument("--peers", metavar="NAME,...", help="geventstreams and these peers only; 'none' for no peers")
    made.add_argument("--repeat", type=int, metavar="N", help="measurements of a contender between two starts of it")
    made.add_argument("--least", action="store_true", help="rows that have a least program beside it, and which goals it can reach")
    made.add_argument("--instructions", action="store_true", help="count instructions under valgrind; --json replaces the counts in FILE")
    made.add_argument("--json", type=Path, metavar="FILE", help="write figures, with all samples")
    made.add_argument("--plot", type=Path, metavar="FILE", help="write a plot, PNG or SVG by the name (needs matplotlib)")
    return made


def complaints(options: argparse.Namespace) -> Iterator[str]:
    """Yield what is wrong with the arguments, each in one line."""
    for name in options.only:
        if name not in ROWS:
            yield f"no row {name!r}; --list shows them"
        elif options.least and name not in BESIDE_LEAST:
            yield f"row {name!r} has no least program; these have: {', '.join(BESIDE_LEAST)}"
        elif options.instructions and name not in instructions.COUNTED:
            yield f"row {name!r} is not counted; these are: {', '.join(instructions.COUNTED)}"
    if options.least and options.peers:
        yield "--least measures the peers of the goals; --peers chooses others"
    if options.instructions and (options.quick or options.least or options.peers or options.repeat or options.plot):
        yield "--instructions goes with --only and --json, and with no other option"
    for name in (options.peers or "none").split(","):
        if name not in PEERS and name != "none":
            yield f"no peer {name!r}; --list shows them"
    if options.repeat is not None and options.repeat < 1:
        yield f"--repeat {options.repeat}: at least 1"
    if options.plot is not None and importlib.util.find_spec("matplotlib") is None:
        yield "--plot needs matplotlib, which the extra 'bench' installs"
    for path in (options.json, options.plot):
        if path is not None and not path.parent.is_dir():
            yield f"no directory {str(path.parent)!r} to write {path.name!r} to"


def list_rows_and_peers() -> None:
    """Print the names of rows and peers."""
    print("rows")
    for row in ROWS.values():
        print(f"  {row.name:22} {row.what}")
        print(f"  {'':22} {', '.join(entry.label for entry in row.entries)}")
    print("peers")
    for peer in PEERS.values():
        print(f"  {peer.name:22} {peer.what}{'' if (why := why_not(peer.needs)) is None else f': {why}'}")


def measure(bench: Bench, row: Row, peers: frozenset[str], effort: Effort) -> Result:
    """Measure one row. The result has the reason for each contender that cannot run here."""
    began = time.monotonic()
    asked = [entry for entry in row.entries if entry.peer in peers]
    missing = {entry.label: why for entry in asked if (why := reason_against(entry)) is not None}
    able = [entry for entry in asked if entry.label not in missing]
    try:
        points, failed = row.measure(bench, [entry for entry in able if entry.fixed is None], effort)
    except ChildFailed as failure:
        points, failed = {}, {entry.label: f"failed: {failure}" for entry in able}
    points.update({entry.label: {0: [entry.fixed]} for entry in able if entry.fixed is not None})
    ordered = {entry.label: points[entry.label] for entry in able if entry.label in points}
    return Result(row, ordered, {**missing, **failed}, time.monotonic() - began)


def reason_against(entry: Entry) -> str | None:
    """Return why this contender cannot run here, by its peer's needs and its own, or None."""
    return why_not((*PEERS[entry.peer].needs, *entry.needs))


def build() -> str:
    """Return which build of geventstreams is measured, in a few words."""
    why = lacking("geventstreams:compiled")
    if why is not None:
        return f"geventstreams: {why}"
    return which_build.described()


def about(bench: LocalBench, arguments: Sequence[str]) -> dict[str, Any]:
    """Return the command, versions, machine and build of this run."""
    return {
        "command": shlex.join(["python", "-m", "benchmarks", *arguments]),
        "date": time.strftime("%Y-%m-%d"),
        "versions": machine.versions(),
        "machine": machine.machine(),
        "build": build(),
        "cores": "servers on one core, loads on another"
        if bench.pinned
        else "NOT PINNED, one core only: rough figures",
    }


def allow_descriptors() -> None:
    """Raise the limit of descriptors to the hard limit; child processes inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def chosen_peers(options: argparse.Namespace) -> frozenset[str]:
    """Return the peers that the options name; the least programs are measured with `--least`, or by their name."""
    if options.peers is not None:
        return frozenset(options.peers.split(","))
    return frozenset(PEERS) if options.least else frozenset(PEERS) - {LEAST}


def run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Measure, print, write the files; return the exit status."""
    allow_descriptors()
    effort = QUICK if options.quick else FULL
    if options.repeat is not None:
        effort = replace(effort, rounds=options.repeat)
    named = chosen_peers(options)
    rows = BESIDE_LEAST if options.least else ROWS
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = LocalBench(Path(folder))
        details = about(bench, arguments)
        print("\n".join(report.heading(details)))
        for row in [rows[name] for name in options.only] or rows.values():
            results.append(measure(bench, row, named | OURS, effort))
            print("\n".join(report.table(results[-1])), flush=True)
    print("\n".join(report.reaches(results) if options.least else report.summary(results)))
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(details, results), indent=1) + "\n")
    if options.plot is not None:
        importlib.import_module("benchmarks.plot").draw(details, results, options.plot)
    return any(reason.startswith("failed") for result in results for reason in result.missing.values())


def count(options: argparse.Namespace) -> int:
    """Count instructions, print them beside those that are stored, write the file; return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        rows = instructions.count(LocalBench(Path(folder)), Path(folder), options.only or list(instructions.COUNTED))
    print("\n".join(instructions.table(rows)))
    if options.json is not None:
        instructions.store(rows, options.json)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the program; return the exit status."""
    options = parser().parse_args(arguments)
    wrong = next(complaints(options), None)
    if wrong is not None:
        print(f"python -m benchmarks: {wrong}", file=sys.stderr)
        return 2
    if options.list:
        list_rows_and_peers()
        return 0
    try:
        which_build.take_compiled()
        return count(options) if options.instructions else run(options, arguments)
    except (which_build.NotCompiled, instructions.CannotCount) as refusal:
        print(f"python -m benchmarks: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
