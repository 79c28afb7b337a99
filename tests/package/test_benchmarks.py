"""The bench: its table and files, what it reports as missing, and what it refuses; no test is about speed."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from servers import require

import geventstreams
from benchmarks import plot, which_build
from benchmarks.__main__ import main
from benchmarks.model import Result
from benchmarks.order import in_turn
from benchmarks.rows import ROWS as ROW_BY_NAME

CHECKOUT = Path(__file__).resolve().parents[2]
LIMIT = 60
# One row within a process and one with servers and loads, both compiled C programs among them.
ROWS = ("read-exactly", "echo")
PEERS = ("floor", "gevent-makefile", "stdlib")


def bench(*arguments: str, first: str = "") -> "subprocess.CompletedProcess[str]":
    """Run `python -m benchmarks` in the checkout, after the lines of `first`."""
    program = f"{first}\nimport sys\nfrom benchmarks.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, *(["-c", program] if first else ["-m", "benchmarks"]), *arguments]
    kept = os.environ if geventstreams.compiled else os.environ | {"PURE_PYTHON": "1"}  # else it refuses to measure plain Python
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=LIMIT, check=False, env=kept)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> "tuple[subprocess.CompletedProcess[str], Path]":
    """Return one quick run of two rows, and the folder with the files that it wrote."""
    require("cc")
    folder = tmp_path_factory.mktemp("bench")
    files = ("--json", str(folder / "figures.json"), "--plot", str(folder / "plot.png"))
    return bench("--quick", "--only", *ROWS, "--peers", ",".join(PEERS), *files), folder


@pytest.mark.slow
def test_table(written: "tuple[subprocess.CompletedProcess[str], Path]") -> None:
    """A quick run of two rows prints a table with each row, each contender, and each goal with its verdict."""
    done, _ = written
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.partition(":")[0] for line in done.stdout.splitlines() if ": " in line and line.startswith(ROWS)]
    assert rows == list(ROWS)
    for contender in ("geventstreams", "BufferedReader.read(8)", "floor", "gevent-makefile"):
        assert any(line.split()[0] == contender for line in done.stdout.splitlines() if line.startswith("    "))
    verdicts = [line for line in done.stdout.splitlines() if line.startswith("  goal ") and "<=" in line]
    assert len(verdicts) == 5


@pytest.mark.slow
def test_json(written: "tuple[subprocess.CompletedProcess[str], Path]") -> None:
    """The JSON file holds every contender's samples in both rows, a verdict for every goal with peers, and versions."""
    _, folder = written
    figures = json.loads((folder / "figures.json").read_text())
    assert [row["name"] for row in figures["rows"]] == list(ROWS)
    assert figures["versions"]["gevent"]
    small, echo = figures["rows"]
    assert [contender["name"] for contender in small["contenders"]] == ["geventstreams", "BufferedReader.read(8)"]
    assert [contender["name"] for contender in echo["contenders"]] == ["geventstreams", "floor", "gevent-makefile"]
    for row in figures["rows"]:
        assert row["missing"] == {}
        for contender in row["contenders"]:
            (point,) = contender["points"]
            assert len(point["samples"]) >= 3
            assert all(sample > 0 for sample in point["samples"])
    verdicts = {goal["against"]: goal["verdict"] for goal in echo["goals"]}
    assert verdicts["uvloop"] == "not asked for"
    assert all(verdicts[peer] in {"met", "NOT MET"} for peer in ("floor", "gevent-makefile"))


@pytest.mark.slow
def test_plot(written: "tuple[subprocess.CompletedProcess[str], Path]") -> None:
    """The plot is a PNG of less than 100 kB, titled with the command that made it."""
    _, folder = written
    assert (folder / "plot.png").stat().st_size < 100_000
    with Image.open(folder / "plot.png") as image:
        assert image.format == "PNG"
        assert image.size[0] > 1000
        assert image.info["Title"].startswith("python -m benchmarks --quick --only read-exactly echo")


def test_plot_as_svg(tmp_path: Path) -> None:
    """A plot whose name ends in .svg is a well-formed SVG whose text names the contenders and the command that made it."""
    row = ROW_BY_NAME["read-exactly"]
    points = {entry.label: {0: [50.0, 51.0, 49.0]} for entry in row.entries}
    about = {"command": "the command", "date": "2026-01-01", "versions": {}, "machine": {}, "build": "compiled", "cores": "two"}
    plot.draw(about, [Result(row, points, {}, 1.0)], tmp_path / "plot.svg")
    root = ElementTree.parse(tmp_path / "plot.svg").getroot()
    text = " ".join(root.itertext())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "BufferedReader.read(8)" in text
    assert "the command" in text


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7])
def test_each_contender_follows_each_other_one_equally_often(count: int) -> None:
    """In `count` rounds, or twice as many where that is odd, all take part in each round, and every pair of neighbours comes as often."""
    rounds = [in_turn(range(count), number) for number in range(count * (1 + count % 2))]
    assert all(sorted(order) == list(range(count)) for order in rounds)
    neighbours = Counter(pair for order in rounds for pair in pairwise(order))
    assert len(neighbours) == count * (count - 1)
    assert len(set(neighbours.values())) <= 1


def test_a_plot_has_a_colour_for_each_contender() -> None:
    """Every contender of every row has a colour, those that only `--least` measures included."""
    for row in ROW_BY_NAME.values():
        assert set(plot.colours(Result(row, {}, {}, 1.0))) == {entry.label for entry in row.entries}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--only", "no-such-row"), "no row 'no-such-row'; --list shows them"),
        (("--peers", "floor,unknown"), "no peer 'unknown'; --list shows them"),
        (("--repeat", "0"), "--repeat 0: at least 1"),
        (("--json", "/no/such/directory/x.json"), "no directory '/no/such/directory' to write 'x.json' to"),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], complaint: str) -> None:
    """A row or peer that does not exist, or a place that cannot be written to, is one line and exit status 2."""
    done = bench("--quick", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"python -m benchmarks: {complaint}\n"


def test_list_shows_rows_and_peers() -> None:
    """`--list` names every row of the table and every peer, and measures nothing."""
    done = bench("--list")
    assert done.returncode == 0
    rows, _, peers = done.stdout.partition("peers\n")
    assert {"echo", "readline", "bulk-receive", "tls-echo", "wait", "memory-idle", "crowd"} <= set(rows.split())
    assert {"floor", "gevent", "uvloop", "trio", "anyio", "threads"} <= set(peers.split())


def test_absent_peer_is_named() -> None:
    """A peer that is not installed and a name that this build lacks are reported with the reason, beside what could run."""
    require("cc")
    without = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in ("uvloop", "geventstreams") else find(name)
"""
    done = bench("--quick", "--only", "callback-echo", "--peers", "uvloop-protocol,floor", first=without)
    assert (done.returncode, done.stderr) == (0, "")
    reports = {line.split()[0]: line.strip() for line in done.stdout.splitlines() if line.startswith("    ")}
    assert reports["uvloop-protocol"].endswith("missing: no module uvloop")
    assert reports["callbacks"].endswith("not available in this build (no geventstreams)")
    assert reports["floor"].split()[1].replace(".", "").isdigit()


def test_failing_contender_is_named_and_fails_the_run() -> None:
    """Without a C compiler every contender of a served row says so, nothing hangs, and the exit status is 1."""
    without = "import os; os.environ['CC'] = 'no-such-compiler'"
    done = bench("--quick", "--only", "echo", "--peers", "floor,gevent", first=without)
    assert (done.returncode, done.stderr) == (1, "")
    reports = {line.split()[0]: line.strip() for line in done.stdout.splitlines() if line.startswith("    ")}
    assert reports["floor"].endswith("failed: floor.c: no C compiler (no-such-compiler) here")
    assert reports["gevent"].endswith("failed: load.c: no C compiler (no-such-compiler) here")


# Which build is measured.


def package(folder: Path, source: str = "a = 1", built: bool = False) -> Path:
    """Make a small package named geventstreams in a folder; return the folder."""
    place = folder / which_build.PACKAGE
    place.mkdir(parents=True)
    (place / "__init__.py").write_text(source)
    if built:
        (place / f"waiting{which_build.EXTENSION_SUFFIXES[0]}").touch()
    return folder


def test_the_compiled_package_is_measured_where_a_checkout_hides_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a checkout without built modules the children find the installed compiled package first, and nothing else beside it."""
    monkeypatch.delenv("PURE_PYTHON", raising=False)
    plain, built = package(tmp_path / "checkout"), package(tmp_path / "installed", built=True)
    monkeypatch.setattr(sys, "path", [str(plain), str(built)])
    which_build.take_compiled()
    assert which_build.packages()[0] == (built / which_build.PACKAGE).resolve()
    assert which_build.described() == "geventstreams runs compiled"
    assert sys.path[1:] == [str(plain), str(built)]
    assert os.listdir(sys.path[0]) == [which_build.PACKAGE]
    shutil.rmtree(sys.path[0])


def test_plain_python_is_measured_only_if_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is built, or only from other sources, the bench refuses and says what to do; PURE_PYTHON=1 measures plain Python."""
    monkeypatch.delenv("PURE_PYTHON", raising=False)
    plain, other = package(tmp_path / "checkout"), package(tmp_path / "installed", "a = 2", built=True)
    monkeypatch.setattr(sys, "path", [str(plain)])
    with pytest.raises(which_build.NotCompiled, match=r"is not compiled in .*pip install --editable.*PURE_PYTHON=1"):
        which_build.take_compiled()
    monkeypatch.setattr(sys, "path", [str(plain), str(other)])
    with pytest.raises(which_build.NotCompiled, match="has other sources than"):
        which_build.take_compiled()
    monkeypatch.setenv("PURE_PYTHON", "1")
    which_build.take_compiled()
    assert sys.path == [str(plain), str(other)]
    assert which_build.described() == "geventstreams runs in plain Python, not compiled"


def test_the_refusal_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m benchmarks` prints why it does not measure, with status 2."""

    def refuse() -> None:
        raise which_build.NotCompiled("not compiled")

    monkeypatch.setattr(which_build, "take_compiled", refuse)
    assert main(["--quick"]) == 2
    assert capsys.readouterr().err == "python -m benchmarks: not compiled\n"
