"""How far something has come: a bar on standard error, if that is a terminal, once it takes longer than a second.

The bar is tqdm's, which the extra `cli` installs.
"""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING

try:
    from tqdm import tqdm
except ImportError:  # the extra `cli` is not installed: commands work without a bar
    if not TYPE_CHECKING:
        tqdm = None

PATIENCE = 1.0
"""Seconds that pass before anything is shown."""

USUAL_SIZE = os.terminal_size((80, 24))
"""The size of a terminal that says 0, as a new one does; tqdm would stay silent."""


class Progress:
    """Counts octets, or anything else; a context manager. Without a terminal, or without tqdm, it does nothing."""

    def __init__(self, what: str, *, total: float | None = None, unit: str = "B", shown: bool = True, layout: str | None = None) -> None:
        self._bar: tqdm[None] | None = None
        if shown and tqdm is not None and sys.stderr is not None and sys.stderr.isatty():
            # Its monitor is a thread, and wakes bars that nobody updates: not needed here.
            tqdm.monitor_interval = 0
            known = all(os.get_terminal_size(sys.stderr.fileno()))
            self._bar = tqdm(
                desc=what,
                total=total,
                unit=unit,
                unit_scale=layout is None,
                unit_divisor=1024,
                delay=PATIENCE,
                file=sys.stderr,
                leave=False,
                ncols=None if known else USUAL_SIZE.columns,
                nrows=None if known else USUAL_SIZE.lines,
                dynamic_ncols=known,
                bar_format=layout,
            )

    def add(self, amount: float, note: str = "") -> None:
        """So much more is done; `note` stands behind the bar."""
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(amount)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
