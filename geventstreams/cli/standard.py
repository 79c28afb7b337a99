"""Standard input and output for a program with a hub: other greenlets run while one waits for a file."""

# Invariants: each file has one thread of its own, because only threads can wait for every kind of file (disk files are always "ready",
# terminals and pipes may be shared with other programs). The file's own blocking mode is never changed: other programs have it, too.
# gevent's FileObjectThread has threads as well, but prints errors of the system with a traceback, and does not wait for non-blocking pipes.

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from geventstreams._constants import BLOCK
from geventstreams.cli.statuses import CommandError, Status, message_of
from geventstreams.cli.threads import Threads

T = TypeVar("T")


def closed(name: str) -> CommandError:
    """Return the end of a command whose output has no file."""
    return CommandError(Status.FAILED, f"{name}: closed (`>/dev/null` discards it)")


def require_output() -> None:
    """Raise the end of a command that has nothing but its output, where the shell has closed that (`>&-`)."""
    if sys.stdout is None:
        raise closed("standard output")


class Descriptor:
    """A file whose calls may wait; each is made in the file's own thread."""

    def __init__(self, name: str, file: Any) -> None:
        self.name = name
        # Where the shell closed it, its number may be another file's by now.
        self.number = -1 if file is None else file.fileno()
        self._file = file  # it stays open
        self._thread = Threads(1)

    def call(self, event: int, call: Callable[[], T]) -> T:
        """Return what the call returns. Where another program left the file in non-blocking mode, wait for `event` first."""
        try:
            result: T = self._thread.call(self._attempt, event, call)
            return result
        except BrokenPipeError:
            raise CommandError(Status.OUTPUT_CLOSED) from None
        except OSError as error:
            raise CommandError(Status.FAILED, f"{self.name}: {message_of(error)}") from None

    def _attempt(self, event: int, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except BlockingIOError:
                poll = select.poll()
                poll.register(self.number, event)
                poll.poll()


class StandardInput:
    """What is typed, piped or read from a file. Closed by the shell (`<&-`) it is empty."""

    def __init__(self) -> None:
        self._file = Descriptor("standard input", sys.stdin)
        self.is_waiting: bool = False
        """Whether a greenlet waits for it now."""

    def read(self) -> bytes:
        """Return the next bytes, waiting for them; b"" at the end."""
        if self._file.number < 0:
            return b""
        self.is_waiting = True
        try:
            return self._file.call(select.POLLIN, partial(os.read, self._file.number, BLOCK))
        finally:
            self.is_waiting = False


class OutputFile:
    """A file to write to, such as standard output. Closed by the shell (`>&-`) it refuses the first byte."""

    def __init__(self, name: str, file: Any) -> None:
        self._file = Descriptor(name, file)

    def write(self, data: bytes) -> None:
        """Return when the system has all bytes."""
        if self._file.number < 0:
            raise closed(self._file.name)
        sent = 0
        while sent < len(data):
            sent += self._file.call(select.POLLOUT, partial(os.write, self._file.number, data[sent:]))

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._file.number >= 0 and os.isatty(self._file.number)
