"""The choice between the two builds: the compiled hot modules, or the same files as plain Python (`PURE_PYTHON=1`).

Python prefers a built module to the `.py` of the same name. A finder in front of the usual ones finds the `.py`.
"""

# Invariant: nothing of this package is imported here, and nothing that is not loaded at start-up anyway; this runs before everything else.

import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType

__version__ = "1.0.0"

_PACKAGE = __name__.rpartition(".")[0]
_DIRECTORY = os.path.dirname(__file__)


class PlainFinder:
    """Finds the `.py` files of the modules that it is given, and nothing else."""

    def __init__(self, folders: dict[str, str]) -> None:
        self._finders = {name: FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)) for name, folder in folders.items()}

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of the `.py` of a module that also exists built; None leaves every other name to the usual finders."""
        finder = self._finders.get(fullname)
        return None if finder is None else finder.find_spec(fullname, target)

    def invalidate_caches(self) -> None:
        """Forget the directories' entries (part of Python's protocol for finders)."""
        for finder in self._finders.values():
            finder.invalidate_caches()


def plain_wanted() -> bool:
    """Return whether the environment asks for plain Python: `PURE_PYTHON` is set, and neither empty nor `0`."""
    return os.environ.get("PURE_PYTHON", "") not in {"", "0"}


def built_modules() -> dict[str, str]:
    """Return the full names of the modules of this package that exist built, each with its folder."""
    built = {}
    for folder, _, entries in os.walk(_DIRECTORY):
        package = ".".join([_PACKAGE, *os.path.relpath(folder, _DIRECTORY).split(os.sep)]).removesuffix("..")
        for entry in entries:
            if entry.endswith(tuple(EXTENSION_SUFFIXES)):
                built[f"{package}.{entry.partition('.')[0]}"] = folder
    return built


def prefer_plain_modules() -> None:
    """Apply `PURE_PYTHON` to later imports. Must be called before the first hot module is imported."""
    if plain_wanted() and (names := built_modules()):
        sys.meta_path.insert(0, PlainFinder(names))


def runs_compiled(module: ModuleType) -> bool:
    """Return whether this module, already imported, runs from its built file."""
    return str(module.__file__).endswith(tuple(EXTENSION_SUFFIXES))


def why_plain() -> str:
    """Return, for people, why the hot modules do not run compiled, and how to get them compiled."""
    if built_modules():
        return "because PURE_PYTHON is set; unset it for the compiled modules"
    try:
        with open(os.path.join(_DIRECTORY, "_not_compiled.txt"), encoding="utf-8") as file:  # setup.py writes it
            reason = f"because {file.read().strip()}"
    except OSError:
        return "because this source tree is not built; for the compiled modules: pip install --editable ."
    return (
        f"{reason}; for the compiled modules, with a C compiler (Debian: gcc, libc6-dev, python3-dev): "
        "pip install --force-reinstall --no-deps --no-cache-dir geventstreams"
    )
