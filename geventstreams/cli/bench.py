"""`bench`: measures this machine, with the benchmark suite of a checkout."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from collections.abc import Sequence

from geventstreams.cli import options
from geventstreams.cli.statuses import CommandError, Status

SUITE = "benchmarks"


def add_parser(commands: options.Commands) -> None:
    """Makes the command known."""
    parser = commands.add_parser("bench", add_help=False, help="measure this machine (in a checkout of the project)")
    parser.set_defaults(run=run, takes_rest=True)


def run(given: argparse.Namespace) -> int:
    """Hands all arguments to the suite."""
    return measure(given.rest)


def measure(arguments: Sequence[str]) -> int:
    """What `python -m benchmarks` does, where the suite is."""
    if importlib.util.find_spec(SUITE) is None or importlib.util.find_spec(f"{SUITE}.rows") is None:
        raise CommandError(
            Status.FAILED,
            "the benchmark suite is not installed with the package: get the project's source, "
            "install its extra 'bench', and run this in its folder",
        )
    suite = importlib.import_module(f"{SUITE}.__main__")
    return int(suite.main(arguments))
