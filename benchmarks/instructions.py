"""Count the instructions of user code that the main rows take, under valgrind, beside those of a peer in the same run.

Unlike times these do not depend on the neighbours, and unlike counts their ratio to the peer's hardly depends on versions and compilers.
`STORED` has the ratios that were counted last on some interpreters; a test holds new ones against them.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, which_build
from benchmarks.harness import ELSEWHERE, LocalBench, surroundings
from benchmarks.model import ChildFailed, Entry
from benchmarks.rows import ROWS

STORED = Path(__file__).with_name("instructions.json")
MOST_GROWTH = 0.05
LIMIT = 120
IMPORT = "import ctypes, sys; c = ctypes.CDLL(sys.argv[1]); c.start(); c.begin(); import {modules}; c.end(); c.report(b'{label}')"


@dataclass(frozen=True)
class Counted:
    """A row whose first contender is counted beside a peer, so often. `served` names the class of its clients, if it is a server's."""

    row: str
    peer: str
    rounds: int
    served: str = ""
    size: int = 0
    peer_row: str = ""

    def entries(self) -> dict[str, Entry]:
        """Return the row's first contender, and the peer, by labels that tell them from those of other rows."""
        ours, peer_row = ROWS[self.row].entries[0], self.peer_row or self.row
        [peer] = [entry for entry in ROWS[peer_row].entries if entry.label == self.peer]
        return {f"{self.row}: {ours.label}": ours, f"{peer_row}: {peer.label}": peer}


COUNTED: dict[str, Counted] = {
    counted.row: counted
    for counted in (
        Counted("echo", "gevent-makefile", 6, "Lines"),
        Counted("echo-plain", "gevent-makefile", 4, "Lines"),
        Counted("tls-echo", "gevent-makefile", 4, "Lines"),
        Counted("callback-echo", "gevent-makefile", 6, "Lines", peer_row="echo"),
        Counted("callback-echo-chunks", "least", 6, "Lines"),
        Counted("accept", "gevent-makefile", 4, "ShortConnections"),
        Counted("bulk-receive", "gevent", 20, "Pieces"),
        Counted("readline", "BufferedReader.readline", 10),
        Counted("makefile-readline", "gevent's makefile", 5),
        Counted("wait", "gevent.select.poll", 10, size=100),
        Counted("wait-set", "gevent.selectors", 20, size=100),
        Counted("import", "gevent", 1),
    )
}


class CannotCount(Exception):
    """This machine lacks what counting needs, or a process failed."""


def count(bench: LocalBench, folder: Path, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return instructions per item for each contender of these rows, and the `ratio` of the first to the peer."""
    if shutil.which("valgrind") is None:
        raise CannotCount("--instructions needs valgrind (Debian: valgrind)")
    try:
        counter = bench.program("counter", "-shared", "-fPIC")
        groups: dict[bool, dict[str, Any]] = {}
        for name in names:
            for label, entry in COUNTED[name].entries().items() if name != "import" else ():
                groups.setdefault(bool(entry.options.get("plain")), {})[label] = job(bench, COUNTED[name], entry)
        found: dict[str, float] = {}
        for jobs in groups.values():
            found |= count_operations(folder, counter, jobs)
        for label, entry in COUNTED["import"].entries().items() if "import" in names else ():
            found |= count_import(folder, counter, label, entry.options["modules"])
    except ChildFailed as failure:
        raise CannotCount(str(failure)) from None
    return {name: with_ratio({entry.label: found[label] for label, entry in COUNTED[name].entries().items()}) for name in names}


def job(bench: LocalBench, counted: Counted, entry: Entry) -> dict[str, Any]:
    """Return what a measured process does for one contender."""
    found = bench.job(entry)
    return {**found, "options": {**found["options"], "size": counted.size}, "served": counted.served, "rounds": counted.rounds}


def count_operations(folder: Path, counter: str, jobs: Mapping[str, Any]) -> dict[str, float]:
    """Return the instructions of each job, per item."""
    output, counts = under_valgrind(folder, ["-m", "benchmarks.counted", counter, json.dumps(jobs)])
    items = json.loads(output)
    return {label: (counts[label] - counts[f"{label} idle"]) / items[label] for label in jobs}


def count_import(folder: Path, counter: str, label: str, modules: str) -> dict[str, float]:
    """Return the instructions of an import. Its bytecode is written by a first one, which is not counted."""
    program = ["-c", IMPORT.format(modules=modules, label=label), counter]
    run([sys.executable, *program], folder)
    _, counts = under_valgrind(folder, program)
    return {label: float(counts[label])}


def under_valgrind(folder: Path, program: Sequence[str]) -> tuple[str, dict[str, int]]:
    """Run Python with these arguments. Return its output, and the counts that it reported, by their labels."""
    files = folder / "counts"
    command = [*("valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no"), f"--callgrind-out-file={files}"]
    output = run([*command, sys.executable, *program], folder)
    counts = {}
    for part in sorted(folder.glob("counts.*")):
        text = part.read_text()
        label = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
        total = re.search(r"^totals: (\d+)$", text, re.MULTILINE)
        if label is not None and total is not None:
            counts[label[1]] = int(total[1])
        part.unlink()
    return output, counts


def run(command: Sequence[str], folder: Path) -> str:
    """Return the output of a process in which sets have the same order in every run."""
    environment = {**surroundings(), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment.pop("GEVENT_LOOP", None)
    try:
        done = subprocess.run(command, env=environment, cwd=ELSEWHERE, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise ChildFailed(f"{command[-1]}: no answer in {LIMIT} s") from None
    if done.returncode:
        raise ChildFailed((done.stderr.strip() or f"ended with status {done.returncode}").splitlines()[-1])
    return done.stdout


def with_ratio(counts: Mapping[str, float]) -> dict[str, float]:
    """Return the counts of two contenders, and the first divided by the second."""
    ours, peers = counts.values()
    return {**{label: round(value, 1) for label, value in counts.items()}, "ratio": round(ours / peers, 4)}


# What is stored.


def interpreter() -> str:
    """Return the name under which the counts of this interpreter are stored."""
    return f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]} {platform.machine()}"


def versions() -> dict[str, str]:
    """Return what the counts depend on."""
    found = machine.versions()
    kept = {name: found[name] for name in ("Python", "gevent", "greenlet")}
    return {**kept, "compiler": compiler(), "C library": " ".join(platform.libc_ver())}


def compiler() -> str:
    """Return which compiler has compiled the hot modules: it writes its name into each of them."""
    for package in which_build.packages()[:1]:
        for path in package.rglob("engine*.so"):
            name = re.search(rb"GCC: \([^)]*\) [\d.]+|clang version [\d.]+", path.read_bytes())
            return "unknown" if name is None else name[0].decode()
    return "none"


def stored(path: Path = STORED) -> dict[str, Any]:
    """Return what is stored for each interpreter."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def store(rows: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Replace what is stored for this interpreter, in the rows that were counted."""
    content = stored(path)
    rows = {**content.get(interpreter(), {}).get("rows", {}), **rows}
    content[interpreter()] = {"versions": versions(), "rows": rows}
    path.write_text(json.dumps(content, indent=1) + "\n")


def grown(before: Mapping[str, Mapping[str, float]], now: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the rows whose ratio has grown by more than MOST_GROWTH, each with its growth."""
    growth = {name: row["ratio"] / before[name]["ratio"] - 1 for name, row in now.items() if name in before}
    return {name: value for name, value in growth.items() if value > MOST_GROWTH}


def table(rows: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yield the lines of the table, each ratio beside the one that is stored."""
    before = stored().get(interpreter(), {}).get("rows", {})
    yield f"{'instructions of user code per item':20} {'':34}{'ratio':>7} {'stored':>7}"
    for name, row in rows.items():
        ours, peer = (label for label in row if label != "ratio")
        was = f"{before[name]['ratio']:7.3f}" if name in before else "      -"
        growth = f"  {row['ratio'] / before[name]['ratio'] - 1:+.1%}" if name in before else ""
        yield f"  {name:18} {row[ours]:>12,.0f} {peer:>24} {row[peer]:>12,.0f} {row['ratio']:7.3f} {was}{growth}"
