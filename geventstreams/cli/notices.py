"""Lines for the user who started a command: where a server listens, notices, and errors that do not end it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from geventstreams._build import plain_wanted, runs_compiled, why_plain
from geventstreams._streams import engine

compiled: bool = runs_compiled(engine)
"""Whether the hot modules run compiled."""

in_form: Callable[[str], str] = str
"""The form of a line; `geventstreams.cli.log` sets it."""


def announce(args: argparse.Namespace, line: str) -> None:
    """Print where a server listens, on standard output. The line of a worker tells its supervisor that it is ready."""
    if (is_worker(args) or not args.quiet) and sys.stdout is not None:
        print(line, flush=True)


def tell(args: argparse.Namespace, line: str) -> None:
    """Print a notice on standard error, unless `--quiet` is given."""
    if not args.quiet:
        show(f"worker {os.getpid()} {line}" if is_worker(args) else line)


def warn(line: str) -> None:
    """Print an error on standard error."""
    show(f"geventstreams: {line}")


def show(text: str) -> None:
    """Print on standard error, in the form of all lines there."""
    show_line(in_form(text))


def show_line(line: str) -> None:
    """Print on standard error as it is."""
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


def is_worker(args: argparse.Namespace) -> bool:
    """Return whether this process was started by a supervisor."""
    return getattr(args, "worker", None) is not None


def tell_build(args: argparse.Namespace) -> None:
    """Print a notice if plain Python runs although the user did not ask for it: it is several times slower."""
    if not (compiled or plain_wanted() or is_worker(args)):
        tell(args, f"geventstreams runs as plain Python, several times slower, {why_plain()}")
