"""Replacing `socket.makefile` by `geventstreams.makefile`, for code that was written for the standard library.

`patch_makefile()` in a program, or `python -m geventstreams.monkey SCRIPT` for one that is not to be changed.
"""

# Invariants: only programs import this module, not the package, so that `python -m geventstreams.monkey` finds it not loaded yet. An
# original method is kept, and restored only if our replacement is still in its place.

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import io
import os
import runpy
import sys
from collections.abc import Callable
from typing import Any

import gevent.monkey
import gevent.socket

from geventstreams._files.buffered_file import file_on
from geventstreams._files.transports import CannotBorrow

_BLOCKING_SOCKET: Any = gevent.monkey.get_original("socket", "socket")
_originals: dict[Any, Any] = {}


def _replacement(original: Any, applies: Callable[[], bool]) -> Any:
    """Return a `makefile` to replace `original`. It calls `original` where it does not apply, and for sockets that ours does not take."""

    @functools.wraps(original)
    def makefile(self: Any, mode: str = "r", buffering: int | None = None, *, encoding: str | None = None, errors: str | None = None,
                 newline: str | None = None) -> Any:
        if isinstance(mode, str) and "b" not in mode:
            encoding = io.text_encoding(encoding)  # type: ignore[attr-defined]  # typeshed lacks it; it warns at our caller
        try:
            if applies():
                return file_on(self, mode, buffering, encoding, errors, newline)
        except CannotBorrow:
            pass
        return original(self, mode, buffering, encoding=encoding, errors=errors, newline=newline)

    return makefile


_REPLACEMENTS: dict[Any, Any] = {
    gevent.socket.socket: _replacement(gevent.socket.socket.makefile, lambda: True),
    _BLOCKING_SOCKET: _replacement(_BLOCKING_SOCKET.makefile, lambda: gevent.monkey.is_module_patched("socket")),
}


def patch_makefile() -> None:
    """Replace the `makefile` method of gevent's sockets, TLS sockets included, by `geventstreams.makefile`.

    Sockets of the standard library get it too once `gevent.monkey.patch_all()` has been called. A socket that our `makefile` does not take,
    such as a blocking `ssl.SSLSocket` that is older than `patch_all()`, still gets the standard library's file. A second call does nothing.
    """
    for kind, replacement in _REPLACEMENTS.items():
        if kind.makefile is not replacement:
            _originals[kind] = kind.makefile
            kind.makefile = replacement


def unpatch_makefile() -> None:
    """Restore the methods that `patch_makefile` replaced. Files that were made stay as they are."""
    for kind, original in _originals.items():
        if kind.makefile is _REPLACEMENTS[kind]:
            kind.makefile = original
    _originals.clear()


def is_makefile_patched() -> bool:
    """Return whether gevent's sockets have our `makefile`."""
    return gevent.socket.socket.makefile is _REPLACEMENTS[gevent.socket.socket]


def main(arguments: list[str]) -> int:
    """Run the command line. Return the exit status, unless the script exits by itself."""
    parts = [name for name in inspect.signature(gevent.monkey.patch_all).parameters if name != "kwargs"]
    parser = argparse.ArgumentParser(
        prog="python -m geventstreams.monkey", usage="%(prog)s [OPTION ...] SCRIPT [ARGUMENT ...]", allow_abbrev=False,
        description="Run a script after gevent.monkey.patch_all() and geventstreams.monkey.patch_makefile().",
    )
    parser.add_argument("--module", action="store_true", help="SCRIPT is the name of a module")
    parser.add_argument("--verbose", action="store_true", help="say what is patched")
    group = parser.add_argument_group("parts of the standard library", "--PART patches this part only, --no-PART all others")
    for part in parts:
        group.add_argument(f"--{part}", action=argparse.BooleanOptionalAction)
    parser.add_argument("script", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if not args.script:
        parser.error("which script?")
    if not (args.module or os.path.exists(args.script[0])):
        parser.error(f"there is no file {args.script[0]!r}")
    switches = {part: chosen for part in parts if (chosen := getattr(args, part)) is not None}
    if any(switches.values()):
        switches = {part: False for part in parts if hasattr(gevent.monkey, f"patch_{part}")} | switches
    if args.verbose:
        print(f"gevent.monkey.patch_all({', '.join(f'{name}={value}' for name, value in switches.items())})")
        print("geventstreams.monkey.patch_makefile()")
    gevent.monkey.patch_all(**switches)
    patch_makefile()
    sys.argv[:] = args.script
    if args.module:
        runpy.run_module(args.script[0], run_name="__main__")
        return 0
    if os.path.isfile(args.script[0]) and not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.abspath(args.script[0]))
    runpy.run_path(args.script[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    # Imported by its name, so that the script's `from geventstreams import monkey` finds the same state.
    sys.exit(importlib.import_module("geventstreams.monkey").main(sys.argv[1:]))
