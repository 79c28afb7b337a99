"""The exceptions of streams. The class says what ended a call: this program, the peer, the network, or a timeout.

`StreamError` is an `OSError`, and the base of all of them except `EndOfFile`. The message names the peer.
"""

# Invariant: an instance is made where it is raised, and a stream keeps only what `noted` returns, so no traceback forms a cycle.

from __future__ import annotations

import errno as codes
import os
from _ssl import SSLCertVerificationError, SSLError
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geventstreams._types import Address, AnyStream

__all__ = [
    "ConnectError", "ConnectTimeout", "EndOfFile", "HandshakeTimeout", "IncompleteRead", "LineTooLong", "ReadTimeout", "StreamBusy",
    "StreamClosed", "StreamError", "StreamReset", "StreamTimeout", "StreamTruncated", "TLSError", "TLSVerificationError",
    "UnsuitableSocket", "WriteTimeout",
]


class StreamError(OSError):
    """Something failed on a stream.

    Attributes:
        errno: The error number of the system, or one that fits the class.
        stream: The stream, or None.
        unsent: How many accepted bytes the system, and so the peer, does not have, where that matters, or None. Under TLS they are
            counted as plain text.
    """

    default_errno: int = codes.EIO

    def __init__(self, message: str = "", errno: int | None = None, *, stream: AnyStream | None = None, unsent: int | None = None) -> None:
        super().__init__(self.default_errno if errno is None else errno, message)
        self.stream: AnyStream | None = stream
        self.unsent: int | None = unsent

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, noted(self)


def noted(error: StreamError) -> tuple[Any, ...]:
    """Return what to keep of an error that must be raised later, perhaps often. It has no traceback."""
    return type(error), error.strerror, error.errno, {**error.__dict__, "stream": None}


def renewed(note: tuple[Any, ...], stream: Any, unsent: int | None = None) -> StreamError:
    """Return a new instance of an error that was noted."""
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
    """The stream, or this half of it, was closed by this program before or during the call."""

    default_errno: int = codes.EBADF


class UnsuitableSocket(StreamError, ValueError):
    """Not a connected stream socket, but a listener, a datagram socket, an unconnected or closed socket, or a file; or another stream's."""

    default_errno: int = codes.ENOTCONN


class StreamReset(StreamError, ConnectionResetError):
    """The peer or the network reset the connection."""

    default_errno: int = codes.ECONNRESET


class StreamTruncated(StreamError, EOFError):
    """A TLS connection ended without close_notify, so data that the peer sent may be missing."""

    default_errno: int = codes.ECONNABORTED


class StreamBusy(StreamError, RuntimeError):
    """Another greenlet, which the message names, is using this half of the stream. It is not disturbed."""

    default_errno: int = codes.EBUSY


class StreamTimeout(StreamError, TimeoutError):
    """A timeout has passed. The base of ReadTimeout, WriteTimeout, ConnectTimeout and HandshakeTimeout."""

    default_errno: int = codes.ETIMEDOUT


class ReadTimeout(StreamTimeout):
    """Nothing arrived for `read_timeout` seconds. No data is lost: what had arrived stays in the buffer, and the call can be repeated."""


class WriteTimeout(StreamTimeout):
    """The peer took no data for `write_timeout` seconds.

    Attributes:
        accepted: How many bytes of the write the stream has accepted: none or all. Accepted bytes are sent later.
        unsent: How many accepted bytes the system does not have.
    """

    accepted: int = 0
    unsent: int


class ConnectTimeout(StreamTimeout):
    """No address answered within `timeout` seconds."""


class HandshakeTimeout(StreamTimeout):
    """The TLS handshake, or a PROXY header, took longer than `handshake_timeout` seconds."""


class ConnectError(StreamError):
    """No address could be connected to.

    Attributes:
        errors: `[(address, exception), ...]`, one for each address, or one for a failed look-up.
    """

    default_errno: int = codes.ECONNREFUSED

    def __init__(self, message: str = "", errno: int | None = None, *, errors: Iterable[tuple[Address, Exception]] = (),
                 stream: AnyStream | None = None) -> None:
        super().__init__(message, errno, stream=stream)
        self.errors: list[tuple[Address, Exception]] = list(errors)


class TLSError(StreamError, SSLError):
    """TLS failed.

    Attributes:
        reason: OpenSSL's name of the error, or None.
        library: The part of OpenSSL that it comes from, or None.
    """

    default_errno: int = codes.EPROTO

    def __init__(self, message: str = "", errno: int | None = None, *, stream: AnyStream | None = None, unsent: int | None = None,
                 reason: str | None = None, library: str | None = None) -> None:
        super().__init__(message, errno, stream=stream, unsent=unsent)
        self.reason: str | None = reason  # type: ignore[assignment]  # typeshed: str; the standard library itself gives None
        self.library: str | None = library  # type: ignore[assignment]  # as above


class TLSVerificationError(TLSError, SSLCertVerificationError):
    """The peer's certificate was not accepted.

    Attributes:
        verify_code: OpenSSL's number of the error.
        verify_message: OpenSSL's text of the error.
    """

    def __init__(self, message: str = "", errno: int | None = None, *, stream: AnyStream | None = None, reason: str | None = None,
                 library: str | None = None, verify_code: int = 0, verify_message: str = "") -> None:
        super().__init__(message, errno, stream=stream, reason=reason, library=library)
        self.verify_code: int = verify_code
        self.verify_message: str = verify_message


class HandshakeEnded(TLSError, StreamTruncated):
    """The peer ended the connection during the TLS handshake. The package does not export it: catch TLSError, or StreamTruncated."""

    default_errno: int = codes.ECONNABORTED


class IncompleteRead(StreamError, EOFError):
    """The input ended before a read was complete.

    Attributes:
        partial: The bytes that had arrived. They stay in the buffer.
        expected: What the read asked for: a number of bytes, or a separator.
    """

    default_errno: int = codes.ENODATA

    def __init__(self, message: str = "", errno: int | None = None, *, stream: AnyStream | None = None, expected: int | bytes | None = None,
                 partial: bytes = b"") -> None:
        super().__init__(message, errno, stream=stream)
        self.expected: int | bytes | None = expected
        self.partial: bytes = partial


class LineTooLong(StreamError, ValueError):
    """A line has more than `line_limit` bytes. Nothing was consumed; `discard_line()` skips the line.

    Attributes:
        limit: The limit in bytes.
    """

    default_errno: int = codes.EMSGSIZE

    def __init__(self, message: str = "", errno: int | None = None, *, stream: AnyStream | None = None, limit: float | None = None) -> None:
        super().__init__(message, errno, stream=stream)
        self.limit: float | None = limit


class EndOfFile(EOFError):
    """The input ended, in LispWorks' vocabulary. Common Lisp: `end-of-file`.

    Attributes:
        stream: The stream, or None.
        timed_out: Whether a read timeout, not the end of the input, is the cause.
    """

    def __init__(self, message: str = "", *, stream: AnyStream | None = None, timed_out: bool = False) -> None:
        super().__init__(message)
        self.stream: AnyStream | None = stream
        self.timed_out: bool = timed_out

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, {"stream": None, "timed_out": self.timed_out}


def line_too_long(limit: float, peer: str, stream: Any) -> LineTooLong:
    """Return the error of a line, or of data up to another separator, that is longer than `limit` bytes."""
    return LineTooLong(f"no end of line within {in_bytes(int(limit))} from {peer}", stream=stream, limit=int(limit))


# Numbers and addresses in messages.


def in_bytes(count: int) -> str:
    """Return a number of bytes as people write it."""
    return "1 byte" if count == 1 else f"{count} bytes"


def in_seconds(seconds: float) -> str:
    """Return a number of seconds as people write it, to the nanosecond: without an exponent, or zeros at the end."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + " s"


def without_name(text: str, name: str, instead: str) -> str:
    """Return a text with `instead` in place of an address that the reader knows already. Parts of longer addresses are not replaced."""
    pieces = text.split(name)
    shortened = pieces[0]
    for piece in pieces[1:]:
        is_part = piece.lstrip(".:")[:1].isalnum() and not piece.startswith(": ")
        is_part = is_part or shortened[-1:].isalnum() or shortened.endswith((".", ":"))
        shortened += (name if is_part else instead) + piece
    return shortened


BROKEN = frozenset({codes.ECONNRESET, codes.EPIPE, codes.ECONNABORTED, codes.ETIMEDOUT, codes.ENETRESET, codes.ENETDOWN,
                    codes.ENETUNREACH, codes.EHOSTUNREACH, codes.EHOSTDOWN, codes.ENOTCONN, codes.ESHUTDOWN})
"""Error numbers after which the connection is broken."""


def from_system(error: OSError, doing: str, peer: str, stream: Any) -> StreamError:
    """Return the stream error for an error of a system call. A StreamError is returned as it is, with `stream` set."""
    if isinstance(error, StreamError):
        if error.stream is None:
            error.stream = stream
        return error
    kind = StreamReset if error.errno in BROKEN else StreamError
    cause = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return kind(f"{doing} {peer}: {cause}", error.errno, stream=stream)
