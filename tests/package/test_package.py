"""What is built and installed: sdist, wheel, both builds of the hot modules, and what happens without a compiler."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest
from servers.base import Server
from servers.programs import PACKAGES

import geventstreams

CHECKOUT = Path(__file__).resolve().parents[2]
BUILT = EXTENSION_SUFFIXES[0]
PACKAGE = CHECKOUT / "geventstreams"
HOT = sorted(str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.rglob("*.pxd") if path.parent.name != "_native")
"""The hot modules, as paths. What is in `_native` has a .pxd that holds its functions once more, in C; its .py is not built."""

NOT_SOURCES = shutil.ignore_patterns(
    ".git", ".venv*", ".tox", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "*.so", "build", "dist"
)
WHO_RUNS = f"""
import importlib, geventstreams
print(geventstreams.compiled)
for name in {HOT}:
    print(importlib.import_module("geventstreams." + name.replace("/", ".")).__file__)
"""
# The smallest package with two hot modules, one calling the other in C; setup.py and _build.py are the real ones.
SMALL_PACKAGE = {
    "__init__.py": "from geventstreams import _build\n_build.prefer_plain_modules()\n"
    "from geventstreams import _first, _second\n__version__ = '1.0.0'\ncompiled = _build.runs_compiled(_second)\n",
    "_first.py": "def twice(n):\n    return n * 2\n",
    "_first.pxd": "cpdef long twice(long n)\n",
    "_second.py": "from typing import TYPE_CHECKING\nimport geventstreams._first as _first\n"
    "if TYPE_CHECKING:\n    from typing import overload\n"
    "def four(n):\n    return _first.twice(_first.twice(n))\n"
    "class Sum:\n    if TYPE_CHECKING:\n        @overload\n        def of(self, n: int) -> int: ...\n"
    "        @overload\n        def of(self, n: str) -> str: ...\n    def of(self, n):\n        return n + n\n",
    "_second.pxd": "cimport geventstreams._first as _first\ncpdef long four(long n)\ncdef class Sum:\n    pass\n",
}


def run(*command: object, cwd: Path, **environment: str) -> str:
    """What a program printed; it runs without the variables that decide which geventstreams is found and built."""
    inherited = {k: v for k, v in os.environ.items() if k not in {"PURE_PYTHON", "PYTHONPATH", "PYTEST_ADDOPTS", "CC"}}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=inherited | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def sources_in(folder: Path) -> Path:
    """A copy of the checkout without anything built."""
    return Path(shutil.copytree(CHECKOUT, folder / "sources", ignore=NOT_SOURCES))


def shared_files() -> set[str]:
    """Return the man page and the completions, by their paths in the checkout."""
    return {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "share").rglob("*") if path.is_file()}


def small_package_in(folder: Path) -> Path:
    """A copy of the checkout whose package is the small one, so that building it takes seconds, with one test of it."""
    sources = sources_in(folder)
    for path in (sources / "geventstreams").iterdir():
        if path.name != "_build.py":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, text in SMALL_PACKAGE.items():
        (sources / "geventstreams" / name).write_text(text)
    (sources / "tests" / "test_it.py").write_text("def test_it():\n    import geventstreams\n")
    return sources


def install(package: Path, folder: Path, **environment: str) -> str:
    """Install a wheel or a source tree, without its dependencies, into a folder; what pip printed."""
    pip = [sys.executable, "-m", "pip", "install", "--verbose", "--no-deps"]
    return run(*pip, "--target", folder, package, cwd=folder.parent, **environment)


def who_runs(folder: Path, code: str = WHO_RUNS, **environment: str) -> list[str]:
    """The lines that a program prints that imports geventstreams from this folder, and starts far from the checkout."""
    return run(sys.executable, "-c", code, cwd=folder.parent, PYTHONPATH=str(folder), **environment).splitlines()


@dataclass
class Distributions:
    """What `python -m build` made of the checkout, and the wheel installed into a folder of its own."""

    sdist: Path
    wheel: Path
    installed: Path


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    folder = tmp_path_factory.mktemp("distributions")
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", sources_in(folder), cwd=folder, CFLAGS="-O1")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    install(wheel, folder / "installed")
    return Distributions(sdist, wheel, folder / "installed")


@pytest.fixture
def small_sources(tmp_path: Path) -> Path:
    return small_package_in(tmp_path)


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


@pytest.mark.long
@pytest.mark.timeout(600)
def test_without_a_compiler_the_package_installs_plain(tmp_path: Path) -> None:
    """Where the C compiler fails, installing warns, and leaves the whole package, running as plain Python."""
    output = install(sources_in(tmp_path), tmp_path / "installed", CC="/bin/false")
    assert "geventstreams is not compiled, the plain Python files run instead" in output
    package = tmp_path / "installed" / "geventstreams"
    assert who_runs(tmp_path / "installed") == ["False", *(str(package / f"{module}.py") for module in HOT)]


@pytest.mark.long
def test_pure_python_when_installing_builds_nothing(small_sources: Path, tmp_path: Path) -> None:
    """With `PURE_PYTHON=1` no compiler is called, and the wheel is one for every platform."""
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path / "dist"]
    run(*pip, small_sources, cwd=tmp_path, PURE_PYTHON="1", CC="/bin/false")
    (wheel,) = (tmp_path / "dist").iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    archive = zipfile.ZipFile(wheel)
    assert archive.read("geventstreams/_not_compiled.txt") == b"PURE_PYTHON was set when it was built\n"
    assert {name.partition(".data/data/")[2] for name in archive.namelist() if ".data/data/" in name} == shared_files()


@pytest.mark.long
@pytest.mark.parametrize(
    ("compiler", "reason"),
    [("/bin/false", "the C compiler (/bin/false) failed"), ("/nowhere/cc", "there was no C compiler (/nowhere/cc)")],
)
def test_a_wheel_without_built_modules_is_for_every_machine(small_sources: Path, tmp_path: Path, compiler: str, reason: str) -> None:
    """Without a working compiler the wheel is tagged py3-none-any, as it holds nothing compiled, and holds the reason."""
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path / "dist"]
    run(*pip, small_sources, cwd=tmp_path, CC=compiler)
    (wheel,) = (tmp_path / "dist").iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    archive = zipfile.ZipFile(wheel)
    assert archive.read("geventstreams/_not_compiled.txt").decode() == f"{reason} when it was built\n"
    assert not [name for name in archive.namelist() if name.endswith(".so")]
    assert b"Root-Is-Purelib: true" in archive.read(next(name for name in archive.namelist() if name.endswith("/WHEEL")))


@pytest.mark.long
def test_one_module_that_does_not_compile_leaves_all_plain(small_sources: Path, tmp_path: Path) -> None:
    """A compiler that fails for one hot module leaves none built: compiled ones cannot call plain ones in C."""
    fails_once = tmp_path / "cc"
    fails_once.write_text('#!/bin/sh\ncase "$*" in *_second.c*) exit 1;; esac\nexec cc "$@"\n')
    fails_once.chmod(0o755)
    output = install(small_sources, tmp_path / "installed", CC=str(fails_once))
    assert "geventstreams is not compiled" in output
    assert not list((tmp_path / "installed" / "geventstreams").glob("*.so"))
    code = "import geventstreams; print(geventstreams.compiled, geventstreams._second.four(3))"
    assert who_runs(tmp_path / "installed", code) == ["False 12"]


@pytest.mark.long
def test_overloads_do_not_take_the_place_of_methods(small_sources: Path, tmp_path: Path) -> None:
    """Cython's processes leave out what only type checkers read, also where a Python (from 3.14 on) would not fork them."""
    setup = small_sources / "setup.py"
    setup.write_text("import multiprocessing\nmultiprocessing.set_start_method('spawn')\n" + setup.read_text(encoding="utf-8"))
    install(small_sources, tmp_path / "installed")
    code = "import geventstreams; print(geventstreams.compiled, geventstreams._second.Sum().of(3))"
    assert who_runs(tmp_path / "installed", code) == ["True 6"]


@pytest.mark.long
def test_an_error_in_a_declaration_ends_the_build(small_sources: Path, tmp_path: Path) -> None:
    """What Cython itself refuses is a mistake in the package, not a missing compiler, and is no mere warning."""
    (small_sources / "geventstreams" / "_first.pxd").write_text("cpdef nonsense twice(long n)\n")
    with pytest.raises(AssertionError, match="'nonsense' is not a type identifier"):
        install(small_sources, tmp_path / "installed")


@pytest.mark.long
def test_edited_source_beside_a_build_is_refused(small_sources: Path, tmp_path: Path) -> None:
    """pytest tests a build inside the checkout, but does not start once its source or any declaration is newer."""
    pytest_here = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_it.py"]
    install(small_sources, tmp_path / "installed")
    builds = [
        Path(shutil.copy(path, small_sources / "geventstreams"))
        for path in sorted((tmp_path / "installed" / "geventstreams").glob(f"*{BUILT}"))
    ]
    assert "geventstreams compiled" in run(*pytest_here, cwd=small_sources)

    built_at = max(path.stat().st_mtime for path in builds)
    for name, message in [
        ("_second.py", r"_second\S+ is older than _second\.py"),
        ("_first.pxd", r"older than _first\.pxd"),
    ]:
        source = small_sources / "geventstreams" / name
        edited_before = source.stat().st_mtime
        os.utime(source, (built_at, built_at + 1))
        with pytest.raises(AssertionError, match=message):
            run(*pytest_here, cwd=small_sources)
        assert "geventstreams plain" in run(*pytest_here, cwd=small_sources, PURE_PYTHON="1")
        os.utime(source, (edited_before, edited_before))
    assert "geventstreams compiled" in run(*pytest_here, cwd=small_sources)


@pytest.mark.long
def test_installed_package_of_other_sources_is_refused(small_sources: Path, tmp_path: Path) -> None:
    """pytest does not start on an installed package whose files differ from those of the checkout of the tests."""
    installed = tmp_path / "installed"
    install(small_sources, installed, PURE_PYTHON="1")
    pytest_outside = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", small_sources / "tests" / "test_it.py"]
    output = run(*pytest_outside, cwd=tmp_path, PYTHONPATH=str(installed))
    assert f"geventstreams from {installed / 'geventstreams'}" in output

    with (small_sources / "geventstreams" / "_second.py").open("a") as source:
        source.write("# edited after the installation\n")
    with pytest.raises(AssertionError, match=r"stale geventstreams; install the checkout again.*_second\.py"):
        run(*pytest_outside, cwd=tmp_path, PYTHONPATH=str(installed))
