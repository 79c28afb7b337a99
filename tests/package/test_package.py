"""What is built and installed: sdist, wheel, and both builds of the hot modules."""

import ast
import os
import re
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kit.builds import BUILT, CHECKOUT, HOT, install, run, shared_files, sources_in, who_runs
from servers.base import Server
from servers.programs import PACKAGES

import geventstreams


@dataclass
class Distributions:
    """What `python -m build` made of the checkout, and the wheel installed into a folder of its own."""

    sdist: Path
    wheel: Path
    installed: Path


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    folder = tmp_path_factory.mktemp("distributions")
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", sources_in(folder), cwd=folder, CFLAGS="-O0")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    install(wheel, folder / "installed")
    return Distributions(sdist, wheel, folder / "installed")


def test_hot_modules_are_found() -> None:
    """There are hot modules: a `.pxd` beside a `.py` of the package that is more than the twin of it."""
    assert HOT


def test_modules_that_need_optimisation_are_hot() -> None:
    """What setup.py has to say about the optimisation of single modules is about modules that are compiled."""
    tree = ast.parse((CHECKOUT / "setup.py").read_text(encoding="utf-8"))
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    (value,) = (node.value for node in assigned if ast.unparse(node.targets[0]) == "OPTIMISED")
    listed = ast.literal_eval(value)
    assert listed
    assert {name.replace(".", "/") for name in listed} <= set(HOT)


@pytest.mark.parametrize(
    ("flags", "options"),
    [("", ["-O2", "-g0"]), ("-O1", ["-g0"]), ("-Wall -O0 -g3", []), ("-g", ["-O2"]), ("-Wall", ["-O2", "-g0"])],
)
def test_cflags_count_instead_of_ours(flags: str, options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where CFLAGS names a level of optimising or debugging, the build has none of its own."""
    tree = ast.parse((CHECKOUT / "setup.py").read_text(encoding="utf-8"))
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "optimisation")
    names: dict[str, Any] = {"os": os, "OPTIMISED": {}, "LEVEL": "-O2"}
    exec(ast.unparse(function), names)  # what setup.py imports is not there where nothing is built
    monkeypatch.setenv("CFLAGS", flags)
    assert names["optimisation"]("_streams.engine") == options


def test_the_version_is_written_once() -> None:
    """The metadata's version is read from `geventstreams._build`, and CHANGES.md tells what is in it."""
    project = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'version = { attr = "geventstreams._build.__version__" }' in project
    assert not re.search(r'^version = "', project, re.MULTILINE)
    assert f"\n## {geventstreams.__version__} (" in (CHECKOUT / "CHANGES.md").read_text(encoding="utf-8")


def test_ci_installs_the_packages_of_all_programs() -> None:
    """The list that `.ci/run` installs from has the packages of all programs that tests may ask for."""
    text = re.sub(r"#.*", "", (CHECKOUT / ".ci" / "packages.txt").read_text(encoding="utf-8"))
    needed = {package for packages in PACKAGES.values() for package in packages.split()}
    assert {server.program for server in Server.__subclasses__()} <= set(PACKAGES)
    assert needed
    assert needed <= set(text.split())


def test_ci_tests_with_the_oldest_versions_that_are_allowed() -> None:
    """Each lower bound of the package and of its extras for users is a version in the constraints that `.ci/run` tests with."""
    project = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    of_users = "".join(re.findall(r"^(?:dependencies|cli|metrics|proxy) = \[[^]]*\]", project, re.MULTILINE))
    bounds = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', of_users))
    tested = dict(re.findall(r"^([\w-]+) == ([\d.]+)", (CHECKOUT / ".ci" / "oldest.txt").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"gevent", "greenlet", "rich"} <= set(bounds)
    assert [name for name, bound in bounds.items() if not f"{tested[name]}.".startswith(f"{bound}.")] == []


@pytest.mark.long
@pytest.mark.timeout(600)
def test_wheel_holds_both_builds_and_their_sources(distributions: Distributions) -> None:
    """Each hot module as `.py`, `.pxd` and built, `py.typed`, the man page and completions, and no rest, is in the wheel."""
    names = {name for name in zipfile.ZipFile(distributions.wheel).namelist() if ".dist-info/" not in name}
    expected = {f"geventstreams/{module}{suffix}" for module in HOT for suffix in (".py", ".pxd", BUILT)}
    assert expected | {"geventstreams/py.typed", "geventstreams/__init__.py"} <= names
    allowed = re.compile(r"geventstreams/[\w/]+(\.pyi?|\.pxd|\.typed|\.[\w-]+\.so)|pytest_geventstreams\.py")
    shared = {name for name in names if ".data/data/" in name}
    assert not [name for name in names - shared if not allowed.fullmatch(name)]
    assert {name.partition(".data/data/")[2] for name in shared} == shared_files()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_sdist_holds_what_a_build_and_the_tests_need(distributions: Distributions) -> None:
    """The sdist has the sources, the tests, the examples of the tree, and nothing that a build makes."""
    with tarfile.open(distributions.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    hot = {f"geventstreams/{module}{suffix}" for module in HOT for suffix in (".py", ".pxd")}
    others = {"setup.py", "pyproject.toml", "LICENSE", "README.md", "CHANGES.md", "tests/package/test_package.py"}
    assert hot | shared_files() | others <= names
    assert not [name for name in names if re.search(r"\.(so|o|pyc)$|^geventstreams/.*\.c$|^build/", name)]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_installed_wheel_runs_compiled_outside_the_checkout(distributions: Distributions) -> None:
    """A program that starts outside the checkout gets the installed package, with every hot module compiled."""
    package = distributions.installed / "geventstreams"
    assert who_runs(distributions.installed) == ["True", *(str(package / f"{module}{BUILT}") for module in HOT)]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_pure_python_at_run_time_runs_every_hot_module_plain(distributions: Distributions) -> None:
    """With `PURE_PYTHON=1` the very same installation runs its `.py` files; `0` and the empty string change nothing."""
    package = distributions.installed / "geventstreams"
    plain = ["False", *(str(package / f"{module}.py") for module in HOT)]
    assert who_runs(distributions.installed, PURE_PYTHON="1") == plain
    assert who_runs(distributions.installed, PURE_PYTHON="0")[0] == "True"
    assert who_runs(distributions.installed, PURE_PYTHON="")[0] == "True"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_console_script_is_installed(distributions: Distributions) -> None:
    """The wheel brings the command `geventstreams`, and it answers `--help`."""
    folder = distributions.installed
    output = run(sys.executable, folder / "bin" / "geventstreams", "--help", cwd=folder, PYTHONPATH=str(folder))
    assert "usage: geventstreams" in output
