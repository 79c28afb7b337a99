"""Choose the build of geventstreams that is measured: the compiled one, or plain Python only if PURE_PYTHON asks for it.

In a checkout the folder `geventstreams/` hides an installed package, even if only the installed one is compiled.
"""

from __future__ import annotations

import atexit
import filecmp
import importlib
import os
import shutil
import sys
import tempfile
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path

PACKAGE = "geventstreams"
HOW = "pip install --editable '.[bench]' compiles it in this folder; PURE_PYTHON=1 measures plain Python"


class NotCompiled(Exception):
    """No compiled package of these sources was found."""


def plain_wanted() -> bool:
    """Return whether the environment asks for plain Python."""
    return os.environ.get("PURE_PYTHON", "") not in {"", "0"}


def packages() -> list[Path]:
    """Return the folders of all packages of that name on `sys.path`; the first is the one that `import` finds."""
    folders = []
    for place in sys.path:
        spec = PathFinder.find_spec(PACKAGE, [place or os.getcwd()])
        if spec is not None and spec.origin is not None:
            folders.append(Path(spec.origin).resolve().parent)
    return list(dict.fromkeys(folders))


def is_built(package: Path) -> bool:
    """Return whether this package has compiled modules for this Python."""
    return any(path.name.endswith(tuple(EXTENSION_SUFFIXES)) for path in package.rglob("*.so"))


def same_sources(one: Path, other: Path) -> bool:
    """Return whether two packages are made from the same files."""
    sources = [path.relative_to(one) for path in one.rglob("*.p*") if path.suffix in {".py", ".pxd"}]
    return all((other / name).is_file() and filecmp.cmp(one / name, other / name, shallow=False) for name in sources)


def take_compiled() -> None:
    """Let child processes find the compiled package first. Raise NotCompiled if there is none of these sources."""
    found = packages()
    if plain_wanted() or not found or is_built(found[0]):
        return
    built = next((package for package in found if is_built(package)), None)
    if built is None:
        raise NotCompiled(f"geventstreams is not compiled in {found[0]}: {HOW}")
    if not same_sources(found[0], built):
        raise NotCompiled(f"the compiled geventstreams in {built.parent} has other sources than {found[0]}; install it again, or: {HOW}")
    folder = tempfile.mkdtemp()  # with nothing else in it that could hide a module
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (Path(folder) / PACKAGE).symlink_to(built)
    sys.path.insert(0, folder)
    importlib.invalidate_caches()


def described() -> str:
    """Return which build the children run, in a few words."""
    compiled = not plain_wanted() and any(map(is_built, packages()[:1]))
    return f"geventstreams runs {'compiled' if compiled else 'in plain Python, not compiled'}"
