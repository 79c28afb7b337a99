"""Standard error and output of programs that serve connections: writing never waits, and never fails."""

# Invariants: only the thread of an outlet calls the system, so a reader that is slow or gone blocks that thread only. A line is written by
# one call, or counted as dropped; the count is written before the next line that the file takes.

from __future__ import annotations

import io
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ROOM = 1 << 18
"""Characters that wait for the file; lines that come then are dropped."""

LAST_WAIT = 1.0
"""Seconds without progress after which the end of the program does not wait for the file any more."""


class Outlet(io.TextIOBase):
    """A text file in place of another one. Lines go to a thread, which writes them as fast as the other file takes them."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._number: int = file.fileno()
        self._line = ""
        self._texts: deque[str] = deque()
        self._waiting = 0
        self._dropped = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]  # as text files have it
        """The encoding of the file."""
        return str(self._file.encoding)

    @property
    def dropped(self) -> int:
        """Lines that were dropped and not reported yet."""
        return self._dropped

    def fileno(self) -> int:
        """The file's descriptor."""
        return self._number

    def isatty(self) -> bool:
        """Return whether the file is a terminal."""
        return os.isatty(self._number)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take a text. Whole lines are handed over at once, the rest with the end of its line or by `flush`."""
        with self._changed:
            whole, end, self._line = (self._line + text).rpartition("\n")
            if end:
                self._hand_over(whole + end)
        return len(text)

    def flush(self) -> None:
        """Hand over what has no end of line yet. This does not wait."""
        with self._changed:
            text, self._line = self._line, ""
            if text:
                self._hand_over(text)

    def finish(self) -> None:
        """Wait until all is written, and the count of what was dropped, as long as the file takes something."""
        self.flush()
        with self._changed:
            if self._dropped and not self._waiting:
                self._hand_over("")
            while self._texts or self._waiting:
                if not self._changed.wait(LAST_WAIT):
                    return

    def _hand_over(self, text: str) -> None:
        if self._waiting + len(text) > ROOM:
            self._dropped += lines_in(text)
            return
        self._texts.append(text)
        self._waiting += len(text)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"descriptor {self._number}", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._texts:
                    self._changed.wait()
                text = self._texts.popleft()
                dropped = self._dropped
            is_reported = bool(dropped) and self._written(f"geventstreams: {dropped} lines dropped, since they could not be written\n")
            is_written = self._written(text)
            with self._changed:
                if is_reported:
                    self._dropped -= dropped
                if not is_written:
                    self._dropped += lines_in(text)
                self._waiting -= len(text)
                self._changed.notify_all()

    def _written(self, text: str) -> bool:
        """Return whether the file has taken all of it, however long that took."""
        data = text.encode(self.encoding, "backslashreplace")
        while data:
            try:
                data = data[os.write(self._number, data) :]
            except BlockingIOError:  # other programs may have set this mode
                poll = select.poll()
                poll.register(self._number, select.POLLOUT)
                poll.poll()
            except OSError:
                return False
        return True


def finish_errors() -> None:
    """Wait until standard error has what was printed there, before another way writes to it or to standard output."""
    if isinstance(sys.stderr, Outlet):
        sys.stderr.finish()


def lines_in(text: str) -> int:
    """Return how many lines a text has; one without an end of line counts."""
    return text.count("\n") + (text != "" and not text.endswith("\n"))


@contextmanager
def installed(*names: str) -> Iterator[None]:
    """Put outlets in the place of `stderr` or `stdout`; at the end, wait a moment for their readers."""
    before = {name: getattr(sys, name) for name in names}
    made = {name: Outlet(file) for name, file in before.items() if has_descriptor(file)}
    for name, outlet in made.items():
        before[name].flush()
        setattr(sys, name, outlet)
    try:
        yield
    finally:
        for name, outlet in made.items():
            outlet.finish()
            setattr(sys, name, before[name])


def flush(file: Any) -> None:
    """Write what Python still holds for a standard stream. If that fails, raise OSError and drop it.

    Python would report it at the end of the program, and exit with a status of its own.
    """
    if file is None:
        return
    try:
        file.flush()
    except OSError:
        if has_descriptor(file):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, file.fileno())
            os.close(null)
        raise


def has_descriptor(file: Any) -> bool:
    """Return whether this is a file of the system: the shell may have closed it, a test may have replaced it."""
    try:
        return file is not None and file.fileno() >= 0
    except (OSError, ValueError):
        return False
