"""How four protocols agree on TLS before it starts: what is said on both sides, up to the server's consent."""

from __future__ import annotations

import re
from collections.abc import Callable

from geventstreams.cli.statuses import CommandError, Status, one_line
from geventstreams.stream import SocketStream

MOST_LINES = 1000
"""Lines of one answer before we stop believing that it ends."""


class Dialogue:
    """Questions and answers in lines, on a stream in plain text."""

    def __init__(self, stream: SocketStream, protocol: str) -> None:
        self._stream = stream
        self._protocol = protocol

    def ask(self, command: str) -> None:
        """Sends a line."""
        self._stream.write(command.encode("ascii") + b"\r\n")

    def expect(self, what: str, good: bytes, passing: bytes) -> list[bytes]:
        """All lines up to the first that is not `passing`, which has to be `good`."""
        lines: list[bytes] = []
        while len(lines) < MOST_LINES:
            line = self._stream.readline()
            lines.append(line.rstrip(b"\r\n"))
            if not line.endswith(b"\n"):
                raise self._refused(what, "the server ended the connection")
            if re.match(good, line, re.IGNORECASE):
                return lines
            if not re.match(passing, line, re.IGNORECASE):
                raise self._refused(what, one_line(line.decode("latin-1")))
        raise self._refused(what, "an answer without end")

    def _refused(self, what: str, reason: str) -> CommandError:
        return CommandError(Status.TLS, f"no TLS over {self._protocol}, {what}: {reason}")


def smtp(dialogue: Dialogue, ours: str) -> None:
    """RFC 3207."""
    dialogue.expect("greeting", b"220[ \r\n]", b"220-")
    dialogue.ask(f"EHLO {ours}")
    dialogue.expect("EHLO", b"250[ \r\n]", b"250-")
    dialogue.ask("STARTTLS")
    dialogue.expect("STARTTLS", b"220[ \r\n]", b"220-")


def imap(dialogue: Dialogue, _ours: str) -> None:
    """RFC 9051, section 6.2.1."""
    dialogue.expect("greeting", rb"\* OK", b"(?!)")
    dialogue.ask("tls STARTTLS")
    dialogue.expect("STARTTLS", b"tls OK", rb"\*")


def pop3(dialogue: Dialogue, _ours: str) -> None:
    """RFC 2595, section 4."""
    dialogue.expect("greeting", rb"\+OK", b"(?!)")
    dialogue.ask("STLS")
    dialogue.expect("STLS", rb"\+OK", b"(?!)")


def ftp(dialogue: Dialogue, _ours: str) -> None:
    """RFC 4217."""
    dialogue.expect("greeting", b"220[ \r\n]", b"220-|120|(?![0-9]{3}[- ])")
    dialogue.ask("AUTH TLS")
    dialogue.expect("AUTH TLS", b"234[ \r\n]", b"234-")


PROTOCOLS: dict[str, Callable[[Dialogue, str], None]] = {"smtp": smtp, "imap": imap, "pop3": pop3, "ftp": ftp}


def agree(stream: SocketStream, protocol: str) -> None:
    """Talks until the server has agreed to start TLS: the very next octet is the handshake's."""
    address = stream.address
    host = address[0] if isinstance(address, tuple) else "127.0.0.1"
    PROTOCOLS[protocol](Dialogue(stream, protocol), f"[IPv6:{host}]" if ":" in host else f"[{host}]")
