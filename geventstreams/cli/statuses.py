"""How the command line ends: its exit statuses, and the one line on standard error that goes with each but success."""

from __future__ import annotations

import enum
import os
import ssl
from collections.abc import Callable
from typing import TypeVar

from geventstreams.errors import ConnectError, ConnectTimeout, HandshakeTimeout, TLSError

Made = TypeVar("Made")

EXPLANATION = """exit status:
  0    all went well; `serve`, `relay`: drained after SIGINT or SIGTERM
  1    something went wrong on the way: lost octets, a connection reset, cut off or timed out, a full disk
  2    wrong options or arguments, a bad address, a file that is missing or cannot be read
  3    no connection: unknown host, refused, unreachable, timed out
  4    cannot listen: the port is in use, or not permitted
  5    TLS: no handshake, a certificate that is not accepted, STARTTLS refused
  130  ended by Ctrl-C (`serve`, `relay`: by the second one)
  141  nobody reads standard output any more (not `serve` and `relay`: they go on)"""


class Status(enum.IntEnum):
    """What a shell sees."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_CONNECTION = 3
    CANNOT_LISTEN = 4
    TLS = 5
    INTERRUPTED = 130
    NOBODY_READS = 141


class CommandError(Exception):
    """What ends a command: a status, and one line for standard error (none where that would say nothing new)."""

    def __init__(self, status: Status, line: str = "") -> None:
        super().__init__(line)
        self.status = status
        self.line = one_line(line)


def one_line(text: str) -> str:
    """The same text without line breaks, and with escapes for whatever else a terminal would obey and not show."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(text.split()))


def said(error: BaseException) -> str:
    """What an error says, without numbers and brackets."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    name = getattr(error, "filename", None)
    return one_line(f"{text}: {os.fsdecode(name)}" if isinstance(name, (str, bytes)) and name else str(text))


def guarded(work: Callable[[], object]) -> BaseException | None:
    """Do the work of a second greenlet of a connection: return the error that ended it, which the first one must raise, or None."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001  # an error that is only printed lets the connection pass for a whole one
        return error
    return None


def available(need: Callable[[], Made]) -> Made:
    """What is made with a library that not everybody has installed; where it is missing, a line says what to do."""
    try:
        return need()
    except ImportError as missing:
        raise CommandError(Status.USAGE, str(missing)) from None


def explained(error: OSError) -> CommandError:
    """The end that belongs to an error of a stream or of the system."""
    if isinstance(error, (TLSError, HandshakeTimeout, ssl.SSLError)):
        status = Status.TLS
    elif isinstance(error, (ConnectError, ConnectTimeout)):
        status = Status.NO_CONNECTION
    else:
        status = Status.FAILED
    return CommandError(status, said(error))
