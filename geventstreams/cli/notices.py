"""What servers say to the people who started them: one line at a time, and nothing where nobody wants to hear it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable

from geventstreams import compiled
from geventstreams._build import plain_wanted, why_plain


def announce(given: argparse.Namespace, line: str) -> None:
    """A line on standard output: where a server listens. Of a worker it says that it is ready, and nobody else reads it."""
    if (given.worker is not None or not given.quiet) and sys.stdout is not None:
        print(line, flush=True)


def tell(given: argparse.Namespace, line: str) -> None:
    """A notice on standard error."""
    if not given.quiet:
        _say(line if getattr(given, "worker", None) is None else f"worker {os.getpid()} {line}")


def warn(line: str) -> None:
    """A line on standard error that is never left out."""
    _say(f"geventstreams: {line}")


def _say(line: str) -> None:
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


def tell_build(given: argparse.Namespace) -> None:
    """A notice where plain Python runs although nobody asked for it: it is several times slower."""
    if not (compiled or plain_wanted()) and getattr(given, "worker", None) is None:
        tell(given, f"geventstreams runs as plain Python, several times slower, {why_plain()}")


def listed(things: Iterable[str]) -> str:
    """Several things in a line."""
    return ", ".join(things)
