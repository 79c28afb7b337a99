"""How a command ends: its exit status, and one line on standard error for each status but success."""

from __future__ import annotations

import enum
import os
import ssl
from collections.abc import Callable
from typing import TypeVar

from geventstreams.cli.hints import hint
from geventstreams.errors import ConnectError, ConnectTimeout, HandshakeTimeout, TLSError

Made = TypeVar("Made")

EXPLANATION = """exit status:
  0    success; `serve`, `relay`: drained after SIGINT or SIGTERM
  1    a failure while running: bytes lost, a connection reset, cut off or timed out, a full disk, no standard output (`>&-`)
  2    wrong options or arguments, a bad address, a file that is missing or cannot be read
  3    no connection: unknown host, refused, unreachable, timed out, refused by the proxy
  4    cannot listen: the port is in use, or not permitted
  5    TLS: no handshake, a certificate that is not accepted, STARTTLS refused
  130  ended by Ctrl-C; `serve`, `relay`: by the second one
  141  the reader of standard output has gone (`serve` and `relay` go on)"""

SEE_STATUSES = "The exit statuses are in `geventstreams --help`."


class Status(enum.IntEnum):
    """What the shell gets."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_CONNECTION = 3
    CANNOT_LISTEN = 4
    TLS = 5
    INTERRUPTED = 130
    OUTPUT_CLOSED = 141


class CommandError(Exception):
    """The end of a command: a status, and one line for standard error (empty where it would say nothing new)."""

    def __init__(self, status: Status, line: str = "") -> None:
        super().__init__(line)
        self.status = status
        self.line: str = one_line(line)


def one_line(text: str) -> str:
    """Return a text without line breaks, and with escapes for what a terminal would obey instead of show."""
    return escaped(" ".join(text.split()))


def escaped(text: str) -> str:
    """Return a text with escapes for what is not printable, ends of lines included."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def message_of(error: BaseException) -> str:
    """Return the text of an error, without numbers and brackets."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    name = getattr(error, "filename", None)
    return one_line(f"{text}: {os.fsdecode(name)}" if isinstance(name, (str, bytes)) and name else str(text))


def error_of(work: Callable[[], object]) -> BaseException | None:
    """Do the work of a second greenlet of a connection. Return the error that ended it, which the first one must raise, or None."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001  # an error that is only printed would let the connection pass for a whole one
        return error
    return None


def available(need: Callable[[], Made]) -> Made:
    """Return what is made with a library of an extra. Where that is not installed, the command ends with a line that names it."""
    try:
        return need()
    except ImportError as missing:
        raise CommandError(Status.USAGE, str(missing)) from None


def end_of(error: OSError) -> CommandError:
    """Return the end that belongs to an error of a stream or of the system."""
    if isinstance(error, (TLSError, HandshakeTimeout, ssl.SSLError)):
        status = Status.TLS
    elif isinstance(error, (ConnectError, ConnectTimeout)):
        status = Status.NO_CONNECTION
    else:
        status = Status.FAILED
    return CommandError(status, message_of(error) + hint(error))
