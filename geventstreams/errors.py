"""What can go wrong with a stream, and whose doing it is.

Rules for the next editor: a class says who ended the call (we, the peer, the network, two of us at once, a limit); the text names
the peer; an instance is made where it is raised and never kept by a stream, so that no traceback forms a cycle.
"""

from __future__ import annotations

import errno as codes
import os
import ssl
from typing import Any

__all__ = [
    "ConnectError",
    "ConnectTimeout",
    "EndOfFile",
    "HandshakeTimeout",
    "IncompleteRead",
    "LineTooLong",
    "ReadTimeout",
    "StreamBusy",
    "StreamClosed",
    "StreamError",
    "StreamReset",
    "StreamTimeout",
    "StreamTruncated",
    "TLSError",
    "TLSVerificationError",
    "UnsuitableSocket",
    "WriteTimeout",
]


class StreamError(OSError):
    """Something failed on a stream. `stream` is the stream, where there is one; `unsent` the octets it still holds, where that matters."""

    default_errno = codes.EIO

    def __init__(self, message: str = "", errno: int | None = None, *, stream: Any = None, unsent: int | None = None) -> None:
        super().__init__(self.default_errno if errno is None else errno, message)
        self.stream = stream
        self.unsent = unsent

    def __reduce__(self) -> tuple[Any, ...]:
        state = dict(self.__dict__)
        state["stream"] = None
        return _rebuilt, (type(self), self.strerror, self.errno, state)


def noted(error: StreamError) -> tuple[Any, ...]:
    """What to keep of an error that must be raised later, perhaps often: no instance, and so no traceback and no cycle."""
    return type(error), error.strerror, error.errno, {**error.__dict__, "stream": None}


def renewed(note: tuple[Any, ...], stream: Any, unsent: int | None = None) -> StreamError:
    """A new instance of an error that was noted."""
    error = _rebuilt(*note)
    error.stream = stream
    error.unsent = unsent
    return error


def _rebuilt(kind: type[StreamError], message: str, errno: int, state: dict[str, Any]) -> StreamError:
    error = kind.__new__(kind, errno, message)
    OSError.__init__(error, errno, message)
    error.__dict__.update(state)
    return error


class StreamClosed(StreamError, ValueError):
    """We closed the stream (or ended this half of it) before or during the call."""

    default_errno = codes.EBADF


class UnsuitableSocket(StreamError, ValueError):
    """What was given is no connected stream socket: a listener, a datagram socket, an unconnected or closed one, a file."""

    default_errno = codes.ENOTCONN


class StreamReset(StreamError, ConnectionResetError):
    """The peer or the network broke the connection."""

    default_errno = codes.ECONNRESET


class StreamTruncated(StreamError, EOFError):
    """A TLS connection ended without its close_notify: what came may not be all that was sent."""

    default_errno = codes.ECONNABORTED


class StreamBusy(StreamError, RuntimeError):
    """Two greenlets wanted the same half of a stream at once; the first one, named in the text, is not disturbed."""

    default_errno = codes.EBUSY


class StreamTimeout(StreamError, TimeoutError):
    """The common base of the four limits."""

    default_errno = codes.ETIMEDOUT


class ReadTimeout(StreamTimeout):
    """Nothing arrived for `read_timeout` seconds. All that had arrived stays readable: simply call again."""


class WriteTimeout(StreamTimeout):
    """The peer took nothing for `write_timeout` seconds. `accepted` is 0 or the whole length of the write, `unsent` what the stream
    holds."""

    accepted: int = 0


class ConnectTimeout(StreamTimeout):
    """No address answered within `timeout` seconds."""


class HandshakeTimeout(StreamTimeout):
    """The TLS handshake was not complete after `handshake_timeout` seconds in all."""


class ConnectError(StreamError):
    """No address could be connected to. `errors` is `[(address, exception), ...]`, a failed look-up included."""

    default_errno = codes.ECONNREFUSED

    def __init__(self, message: str = "", errno: int | None = None, *, errors: Any = (), stream: Any = None) -> None:
        super().__init__(message, errno, stream=stream)
        self.errors = list(errors)


class TLSError(StreamError, ssl.SSLError):
    """TLS refused: `reason` and `library` say what OpenSSL said."""

    default_errno = codes.EPROTO

    def __init__(self, message: str = "", errno: int | None = None, *, stream: Any = None, unsent: int | None = None,
                 reason: str | None = None, library: str | None = None) -> None:
        super().__init__(message, errno, stream=stream, unsent=unsent)
        self.reason: str | None = reason  # type: ignore[assignment]  # typeshed: str; the standard library itself gives None
        self.library: str | None = library  # type: ignore[assignment]  # as above


class TLSVerificationError(TLSError, ssl.SSLCertVerificationError):
    """The peer's certificate was not accepted: `verify_code` and `verify_message` say why."""

    def __init__(self, message: str = "", errno: int | None = None, *, stream: Any = None, reason: str | None = None,
                 library: str | None = None, verify_code: int = 0, verify_message: str = "") -> None:
        super().__init__(message, errno, stream=stream, reason=reason, library=library)
        self.verify_code = verify_code
        self.verify_message = verify_message


class HandshakeEnded(TLSError, StreamTruncated):
    """The peer ended the connection in the middle of the TLS handshake."""

    default_errno = codes.ECONNABORTED


class IncompleteRead(StreamError, EOFError):
    """The input ended before all was there. `partial` is what came, and it stays readable; `expected` what was asked for (octets, or a
    separator)."""

    default_errno = codes.ENODATA

    def __init__(self, message: str = "", errno: int | None = None, *, stream: Any = None, expected: Any = None,
                 partial: bytes = b"") -> None:
        super().__init__(message, errno, stream=stream)
        self.expected = expected
        self.partial = partial


class LineTooLong(StreamError, ValueError):
    """No separator within `limit` octets. Nothing was consumed: `discard_line()` drops the line."""

    default_errno = codes.EMSGSIZE

    def __init__(self, message: str = "", errno: int | None = None, *, stream: Any = None, limit: float | None = None) -> None:
        super().__init__(message, errno, stream=stream)
        self.limit = limit


class EndOfFile(EOFError):
    """Common Lisp's end-of-file condition. `timed_out` is true where a read timeout, not the end, is behind it."""

    def __init__(self, message: str = "", *, stream: Any = None, timed_out: bool = False) -> None:
        super().__init__(message)
        self.stream = stream
        self.timed_out = timed_out

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, {"stream": None, "timed_out": self.timed_out}


def line_too_long(limit: float, peer: str, stream: Any) -> LineTooLong:
    """The error of a line, or of what ends in another separator, that is longer than `limit` bytes."""
    return LineTooLong(f"no end of line within {in_bytes(int(limit))} from {peer}", stream=stream, limit=int(limit))


# How texts say numbers and addresses.


def in_bytes(count: int) -> str:
    """A number of bytes, as people write it."""
    return "1 byte" if count == 1 else f"{count} bytes"


def in_seconds(seconds: float) -> str:
    """A number of seconds, as people write it: neither an exponent nor zeros at the end, exact to the nanosecond."""
    text = f"{seconds:.9f}".rstrip("0").rstrip(".")
    return f"{text} s"


def without_name(text: str, name: str, instead: str) -> str:
    """The same text with something shorter in place of an address, where the reader knows it already."""
    pieces = text.split(name)
    said = pieces[0]
    for piece in pieces[1:]:
        goes_on = piece.lstrip(".:")[:1].isalnum() and not piece.startswith(": ")
        said += (name if said[-1:].isalnum() or said.endswith((".", ":")) or goes_on else instead) + piece
    return said


BROKEN = frozenset({codes.ECONNRESET, codes.EPIPE, codes.ECONNABORTED, codes.ETIMEDOUT, codes.ENETRESET, codes.ENETDOWN,
                    codes.ENETUNREACH, codes.EHOSTUNREACH, codes.EHOSTDOWN, codes.ENOTCONN, codes.ESHUTDOWN})
"""Error numbers after which the connection is no more."""


def from_system(error: OSError, doing: str, peer: str, stream: Any) -> StreamError:
    """The stream error for an error of a system call; one of ours passes as it is, with the stream in it."""
    if isinstance(error, StreamError):
        if error.stream is None:
            error.stream = stream
        return error
    kind = StreamReset if error.errno in BROKEN else StreamError
    said = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return kind(f"{doing} {peer}: {said}", error.errno, stream=stream)
