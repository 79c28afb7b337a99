"""Imported by itself: the least that `import geventstreams` can take, which is to import what it needs of gevent and to load its own files.

Nothing of ours runs: compiled code is loaded by the system, bytecode is read. The first import in a run makes the list of the modules, by
a real import of geventstreams; the bench does not count it.
"""

from __future__ import annotations

import _imp
import os
import sys
from importlib.machinery import PathFinder, SourceFileLoader

PACKAGE = "geventstreams"
LIST = os.path.join(sys.pycache_prefix or "", "least_import")


def make_list() -> None:
    """Write a line for each module that `import geventstreams` brings, in order: its name, and its file if it is one of ours."""
    before = set(sys.modules)
    __import__(PACKAGE)
    with open(LIST, "w", encoding="utf-8") as file:
        for name in [name for name in sys.modules if name not in before]:
            spec = getattr(sys.modules[name], "__spec__", None)
            if spec is not None:
                file.write(f"{name}\t{spec.origin if name.partition('.')[0] == PACKAGE else ''}\n")


def load(name: str, path: str) -> None:
    """Find a module again, as an import does, and load its code, but do not run it."""
    folder = os.path.dirname(path)
    spec = PathFinder.find_spec(name, [os.path.dirname(folder) if os.path.basename(path) == "__init__.py" else folder])
    if path.endswith(".py"):
        SourceFileLoader(name, path).get_code(name)
    elif spec is not None:
        _imp.create_dynamic(spec)


if os.path.exists(LIST):
    with open(LIST, encoding="utf-8") as lines:
        for line in lines:
            name, path = line.rstrip("\n").split("\t")
            if path:
                load(name, path)
            else:
                __import__(name)
elif sys.pycache_prefix is not None:
    make_list()
