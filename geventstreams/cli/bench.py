"""`bench`: measure this machine, with the benchmark suite of a checkout of the project.

The suite is part of the project's source and not of the installed package, so the command is listed only where it is found.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys

from geventstreams.cli.parser import Commands
from geventstreams.cli.statuses import CommandError, Status

SUITE = "benchmarks"
HOW_TO_GET_IT = (
    "the benchmark suite is not installed with the package: get the project's source, "
    "run pip install --editable '.[bench]' in its folder, and then this command there"
)


def add_parser(commands: Commands) -> None:
    """Add the command."""
    listed = {"help": "measure this machine, against other libraries"} if suite_is_here() else {}
    parser = commands.add_parser("bench", add_help=False, **listed)
    parser.set_defaults(run=run, takes_rest=True)


def suite_is_here() -> bool:
    """Return whether the suite can be imported, or lies in the current folder, where a console script does not look."""
    return _importable() or os.path.isfile(os.path.join(SUITE, "rows.py"))


def _importable() -> bool:
    return importlib.util.find_spec(SUITE) is not None and importlib.util.find_spec(f"{SUITE}.rows") is not None


def run(args: argparse.Namespace) -> int:
    """Do what `python -m benchmarks` does, where the suite is, with all arguments."""
    if not suite_is_here():
        raise CommandError(Status.FAILED, HOW_TO_GET_IT)
    if not _importable():
        sys.modules.pop(SUITE, None)  # another package of that name
        sys.path.insert(0, os.getcwd())
    suite = importlib.import_module(f"{SUITE}.__main__")
    return int(suite.main(args.rest))
