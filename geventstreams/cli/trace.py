"""`--trace`, `--hex`: write down what is sent and received, with the time, as text or as a hex dump."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from gevent.lock import RLock

from geventstreams.cli.standard import OutputFile
from geventstreams.cli.statuses import CommandError, Status, escaped, message_of
from geventstreams.cli.threads import Threads

FULL_ROW = 16
"""Bytes in a row of a hex dump; half as many where a terminal has no room."""

FULL_WIDTH = 78
"""Columns of such a row."""

ARROWS = {"sent": ">", "received": "<"}


def opened(args: argparse.Namespace) -> Trace | None:
    """Return the trace that the options ask for, on standard error or in a file, or None."""
    if not (args.trace or args.hex) and args.trace_file is None:
        return None
    row = FULL_ROW
    file: Any = sys.stderr
    if args.trace_file is not None:
        try:
            file = Threads(1).call(partial(open, args.trace_file, "wb", buffering=0))
        except OSError as error:
            raise CommandError(Status.USAGE, f"cannot write the trace: {message_of(error)}") from None
    elif file is not None and file.isatty() and shutil.get_terminal_size().columns < FULL_WIDTH:
        row //= 2
    return Trace(OutputFile("trace", file), row if args.hex else 0)


class Trace:
    """A record of a connection. Each entry is written whole; the greenlet that makes it waits for the file."""

    def __init__(self, file: OutputFile, row: int) -> None:
        self._file = file
        self._row = row
        self._offsets = dict.fromkeys(ARROWS, 0)
        self._lock = RLock()

    def add(self, direction: str, data: bytes) -> None:
        """Write down bytes that were "sent" or "received"."""
        now = datetime.now().time().isoformat("microseconds")
        offset = self._offsets[direction]
        self._offsets[direction] += len(data)
        lines = hex_rows(data, offset, self._row) if self._row else text_rows(data)
        count = "1 byte" if len(data) == 1 else f"{len(data):,} bytes"
        entry = [f"{ARROWS[direction]} {now} {direction} {count}", *lines, ""]
        with self._lock:
            self._file.write("\n".join(entry).encode(errors="replace"))


def hex_rows(data: bytes, offset: int, row: int) -> Iterator[str]:
    """Yield rows of a hex dump, in the form of `hexdump -C`."""
    for start in range(0, len(data), row):
        part = data[start : start + row]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        halves = "  ".join(part[half : half + 8].hex(" ").ljust(23) for half in range(0, row, 8))
        yield f"{offset + start:08x}  {halves}  |{text}|"


def text_rows(data: bytes) -> Iterator[str]:
    """Yield the lines of a text, with escapes for their ends and for what is not printable."""
    for line in data.splitlines(keepends=True):
        yield "  " + escaped(line.decode("utf-8", "backslashreplace"))
