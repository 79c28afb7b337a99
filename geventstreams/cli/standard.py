"""Standard input and output for a program that has a hub: whatever they are, nobody else waits while they do.

Rules for the next editor: each has one thread of its own, because only threads can wait for every kind of file (disk
files are always "ready", terminals and pipes may be shared with other programs). The file's own mode is never changed:
it belongs to them, too.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from geventstreams._constants import BLOCK
from geventstreams.cli.statuses import CommandError, Status, said
from geventstreams.cli.threads import Threads

T = TypeVar("T")


class Descriptor:
    """A file whose calls may take their time, each in the one thread that the file has."""

    def __init__(self, name: str, file: Any) -> None:
        self.name = name
        # Where the shell closed it, its number may be another file's by now.
        self.number = -1 if file is None else file.fileno()
        self._thread = Threads(1)

    def patiently(self, event: int, call: Callable[[], T]) -> T:
        """What the call gives. Where other programs left the file in non-blocking mode, `event` is waited for."""
        try:
            outcome: T = self._thread.call(self._attempt, event, call)
            return outcome
        except BrokenPipeError:
            raise CommandError(Status.NOBODY_READS) from None
        except OSError as error:
            raise CommandError(Status.FAILED, f"{self.name}: {said(error)}") from None

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
        self.asking = False
        """Whether somebody waits for it right now."""

    def read(self) -> bytes:
        """What there is, waiting for it; b"" at the end."""
        if self._file.number < 0:
            return b""
        self.asking = True
        try:
            return self._file.patiently(select.POLLIN, partial(os.read, self._file.number, BLOCK))
        finally:
            self.asking = False


class StandardOutput:
    """Where what comes goes. Closed by the shell (`>&-`) it refuses at the first octet."""

    def __init__(self) -> None:
        self._file = Descriptor("standard output", sys.stdout)

    def write(self, octets: bytes) -> None:
        """Returns when the system has all of it."""
        if self._file.number < 0:
            raise CommandError(Status.FAILED, "standard output: closed")
        sent = 0
        while sent < len(octets):
            sent += self._file.patiently(select.POLLOUT, partial(os.write, self._file.number, octets[sent:]))

    def isatty(self) -> bool:
        """Whether somebody reads along."""
        return self._file.number >= 0 and os.isatty(self._file.number)
