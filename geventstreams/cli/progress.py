"""How far something has come: a bar, or counts and rates, on standard error, if that is a terminal, after a second of work.

`rich` draws them, which the extra `cli` installs; without it nothing is drawn.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

import gevent

from geventstreams.cli.outlets import finish_errors

PATIENCE = 1.0
"""Seconds before anything is drawn."""

EVERY = 0.2
"""Seconds between two drawings."""


def size(count: float) -> str:
    """Return a number of bytes for people: in one notation, the one of rich's bars."""
    if count < 1000:
        return "1 byte" if count == 1 else f"{count:.0f} bytes"
    for unit in "kMGT":
        count /= 1000
        if count < 999.95:
            return f"{count:,.1f} {unit}B"
    return f"{count / 1000:,.1f} PB"


class Progress:
    """A row for each name, with a count of bytes and a rate; or one bar, with a total. A context manager.

    `poll`, if there is one, is called before each drawing; nothing is drawn before `patience` seconds.
    """

    def __init__(self, *rows: str, total: float | None = None, shown: bool = True, poll: Callable[[], object] | None = None,
                 patience: float = PATIENCE) -> None:
        self._counts = dict.fromkeys(rows, 0.0)
        self._total = total
        self._poll = poll
        self._patience = patience
        self._notes = dict.fromkeys(rows, "")
        self._is_shown = shown and sys.stderr is not None and sys.stderr.isatty() and importlib.util.find_spec("rich") is not None
        self._drawing: Any = None

    def add(self, row: str, amount: float) -> None:
        """Add to a row's count."""
        self._counts[row] += amount

    def set(self, row: str, count: float, note: str = "") -> None:
        """Set a row's count, and the note behind it."""
        self._counts[row] = count
        self._notes[row] = note

    def __enter__(self) -> Progress:
        if self._is_shown:
            self._drawing = gevent.spawn(self._draw)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._drawing is not None:
            self._drawing.kill()
            finish_errors()  # the drawing is gone before standard output says more

    def _draw(self) -> None:
        gevent.sleep(self._patience)
        from rich.console import Console  # noqa: PLC0415  # it takes long to load, and few commands run for a second
        from rich.progress import BarColumn, FileSizeColumn, TextColumn, TimeElapsedColumn, TransferSpeedColumn  # noqa: PLC0415
        from rich.progress import Progress as Drawing  # noqa: PLC0415

        text, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
        counts = (text, FileSizeColumn(), TransferSpeedColumn(), TimeElapsedColumn(), note)
        columns = counts if self._total is None else (text, BarColumn(20), note)
        drawing = Drawing(*columns, console=Console(file=sys.stderr), auto_refresh=False, transient=True, redirect_stdout=False)
        tasks = {row: drawing.add_task(row, total=self._total, note="") for row in self._counts}
        with drawing:
            while True:
                if self._poll is not None:
                    self._poll()
                for row, count in self._counts.items():
                    drawing.update(tasks[row], completed=count, note=self._notes[row])
                drawing.refresh()
                gevent.sleep(EVERY)
