"""Builds that go wrong or go another way: without a compiler, of edited sources, in plain Python."""

import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from kit.builds import BUILT, HOT, install, run, shared_files, sources_in, who_runs

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


@pytest.fixture
def small_sources(tmp_path: Path) -> Path:
    return small_package_in(tmp_path)


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
