"""A signal handler that strikes at one bytecode after the other: here it is a trace function."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def looks_for_signals(frame: FrameType) -> bool:
    """Return whether Python looks for signals before this bytecode: at the beginning of a function, and behind a call."""
    names = {one.offset: one.opname for one in dis.get_instructions(frame.f_code)}
    before = max((offset for offset in names if offset < frame.f_lasti), default=-1)
    return before >= 0 and (names[before].startswith("CALL") or names[before] == "RESUME")


class Handler:
    """Calls `handle` before the bytecode `at` of the frames that `strikes` chooses; `place` is empty if there are not so many.

    Only bytecodes count for which `is_place` holds.
    """

    def __init__(self, at: int, handle: Callable[[], object], strikes: Callable[[FrameType], bool],
                 is_place: Callable[[FrameType], bool] = lambda _frame: True) -> None:
        self._left = at
        self._handle = handle
        self._strikes = strikes
        self._is_place = is_place
        self.place = ""

    def __enter__(self) -> Handler:
        sys.settrace(self._enter)
        return self

    def __exit__(self, *ended_by: object) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        if self.place or not self._strikes(frame):
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "opcode" and not self.place and self._is_place(frame):
            self._left -= 1
            if not self._left:
                self.place = f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_qualname}, {frame.f_lasti})"
                self._handle()
        return self._step
