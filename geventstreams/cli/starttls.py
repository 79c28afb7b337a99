"""`--starttls`: the dialogues in plain text with which four protocols agree to start TLS."""

# Invariants: a server may send as much as it likes, as slowly as it likes. `MOST_BYTES` limits the bytes, `agree` the time.

from __future__ import annotations

import re
from collections.abc import Callable

import gevent

from geventstreams._constants import TICK
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli.statuses import CommandError, Status, one_line
from geventstreams.errors import in_seconds

MOST_BYTES = 2**16
"""Bytes that a server may send before TLS, at most."""

MOST_SHOWN = 200
"""Characters of a server's refusal in an error message, at most."""


class Dialogue:
    """Questions and answers in lines, on a stream in plain text."""

    def __init__(self, stream: SocketStream, protocol: str) -> None:
        self._stream = stream
        self._protocol = protocol
        self._left = MOST_BYTES

    def ask(self, command: str) -> None:
        """Send a line."""
        self._stream.write(command.encode("ascii") + b"\r\n")

    def expect(self, what: str, good: bytes, passing: bytes) -> None:
        """Read lines up to the first that is not `passing`, which has to be `good`."""
        while not re.match(good, line := self._line(what), re.IGNORECASE):
            if not re.match(passing, line, re.IGNORECASE):
                raise self._refused(what, line)

    def reply(self, what: str, good: bytes, first: bytes = b"", free: bool = False) -> None:
        """Read a reply with the code `good`; any number of those with the code `first` may come before it.

        It is one line, or several where a hyphen follows the code, up to a line with the same code and no hyphen. Lines in between
        begin with the code and a hyphen, too, unless they are `free` (RFC 959, section 4.2).
        """
        while True:
            line = self._line(what)
            code = line[:3]
            if code not in (good, first or good) or line[3:4] not in (b"", b" ", b"-"):
                raise self._refused(what, line)
            if line[3:4] == b"-":
                self._rest(what, code, free)
            if code == good:
                return

    def _rest(self, what: str, code: bytes, free: bool) -> None:
        while (line := self._line(what))[:3] != code or line[3:4] not in (b"", b" "):
            if not free and not line.startswith(code + b"-"):
                raise self._refused(what, line)

    def _line(self, what: str) -> bytes:
        """The next line, without its end."""
        line = self._stream.readline(self._left)
        self._left -= len(line)
        if not line.endswith(b"\n"):
            raise self._failed(what, "the server ended the connection" if self._left else f"more than {MOST_BYTES:,} bytes before TLS")
        return line.rstrip(b"\r\n")

    def _refused(self, what: str, line: bytes) -> CommandError:
        text = one_line(line.decode("utf-8", "backslashreplace")) or "an empty line"
        return self._failed(what, text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "...")

    def _failed(self, what: str, reason: str) -> CommandError:
        return CommandError(Status.TLS, f"no TLS over {self._protocol}, {what}: {reason}")


def smtp(dialogue: Dialogue, ours: str) -> None:
    """RFC 3207."""
    dialogue.reply("greeting", b"220")
    dialogue.ask(f"EHLO {ours}")
    dialogue.reply("EHLO", b"250")
    dialogue.ask("STARTTLS")
    dialogue.reply("STARTTLS", b"220")


def imap(dialogue: Dialogue, _ours: str) -> None:
    """RFC 9051, section 6.2.1."""
    dialogue.expect("greeting", rb"\* OK", b"(?!)")
    dialogue.ask("tls STARTTLS")
    dialogue.expect("STARTTLS", b"tls OK", rb"\*(?! BYE\b)")


def pop3(dialogue: Dialogue, _ours: str) -> None:
    """RFC 2595, section 4."""
    dialogue.expect("greeting", rb"\+OK", b"(?!)")
    dialogue.ask("STLS")
    dialogue.expect("STLS", rb"\+OK", b"(?!)")


def ftp(dialogue: Dialogue, _ours: str) -> None:
    """RFC 4217."""
    dialogue.reply("greeting", b"220", first=b"120", free=True)
    dialogue.ask("AUTH TLS")
    dialogue.reply("AUTH TLS", b"234", free=True)


PROTOCOLS: dict[str, Callable[[Dialogue, str], None]] = {"smtp": smtp, "imap": imap, "pop3": pop3, "ftp": ftp}


def agree(stream: SocketStream, protocol: str, limit: float | None) -> None:
    """Talk for at most `limit` seconds until the server has agreed to start TLS: its very next byte is the handshake's."""
    address = stream.address
    host = address[0].partition("%")[0] if isinstance(address, tuple) else "127.0.0.1"  # its zone means nothing to others
    late = CommandError(Status.TLS, f"no TLS over {protocol}: the server has not agreed within {in_seconds(limit or 0)}")
    with gevent.Timeout(None if limit is None else max(TICK, limit), late):
        PROTOCOLS[protocol](Dialogue(stream, protocol), f"[IPv6:{host}]" if ":" in host else f"[{host}]")
