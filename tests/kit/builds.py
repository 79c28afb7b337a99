"""Building and installing the package, and running what is installed."""

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

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


def install(package: Path, folder: Path, **environment: str) -> str:
    """Install a wheel or a source tree, without its dependencies, into a folder; what pip printed."""
    pip = [sys.executable, "-m", "pip", "install", "--verbose", "--no-deps"]
    return run(*pip, "--target", folder, package, cwd=folder.parent, **environment)


def who_runs(folder: Path, code: str = WHO_RUNS, **environment: str) -> list[str]:
    """The lines that a program prints that imports geventstreams from this folder, and starts far from the checkout."""
    return run(sys.executable, "-c", code, cwd=folder.parent, PYTHONPATH=str(folder), **environment).splitlines()
