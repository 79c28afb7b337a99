"""The choice between the two builds: the compiled hot modules, or the same files as plain Python (`PURE_PYTHON=1`).

Python prefers a built module to the `.py` of the same name. The plain build has finders of its own for its folders, which know only `.py`.
"""

# Invariant: nothing of this package is imported here, and nothing that is not loaded at start-up anyway; this runs before everything else.

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from types import ModuleType

__version__ = "1.0.0"

_DIRECTORY = os.path.dirname(__file__)


def plain_wanted() -> bool:
    """Return whether the environment asks for plain Python: `PURE_PYTHON` is set, and neither empty nor `0`."""
    return os.environ.get("PURE_PYTHON", "") not in {"", "0"}


def built_modules() -> list[str]:
    """Return the paths of the modules of this package that exist built."""
    files = [os.path.join(folder, entry) for folder, _, entries in os.walk(_DIRECTORY) for entry in entries]
    return [path for path in files if path.endswith(tuple(EXTENSION_SUFFIXES))]


def prefer_plain_modules() -> None:
    """Apply `PURE_PYTHON` to later imports. Must be called before the first hot module is imported."""
    if plain_wanted():
        for folder in map(os.path.dirname, built_modules()):
            sys.path_importer_cache[folder] = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES))


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
