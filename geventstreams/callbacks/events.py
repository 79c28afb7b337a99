"""The events that end a connection, as its event callback gets them: one for each cause, once."""

# Invariants: an event is made from an error of errors.py, in which the meaning of the system's error numbers is decided.

from __future__ import annotations

import errno as codes
import socket as sockets
import ssl
from typing import TYPE_CHECKING, Any

from geventstreams.errors import ConnectError, StreamError, StreamReset, StreamTimeout, StreamTruncated

if TYPE_CHECKING:
    from geventstreams._types import AsyncIOStream, AsyncSocket, MaybeNone


class TCPEvent(Exception):
    """What happened to a connection. It is an exception, so a callback may raise it. cl-async: `tcp-info`.

    When the event callback is called the socket is closed (except after a `TCPEOF` with `half_close`); what arrived before can be read.

    Attributes:
        socket: The `AsyncSocket`; None only in an event that was pickled, or made by hand.
        code: The system's or the resolver's number for the cause; None if there is none.
        error: The error behind the event, as a blocking stream would have raised it; None for an end of file.
    """

    def __init__(self, message: str, socket: AsyncSocket | None = None, code: int | None = None, error: OSError | None = None) -> None:
        super().__init__(message)
        self.socket: AsyncSocket | MaybeNone = socket
        self.code: int | None = code
        self.error: OSError | None = error

    @property
    def stream(self) -> AsyncIOStream | MaybeNone:
        """The stream of the socket; None if it has none."""
        return None if self.socket is None else self.socket.stream

    def __reduce__(self) -> Any:
        return type(self), (str(self), None, self.code, self.error)


class TCPEOF(TCPEvent):
    """The peer ended its output. cl-async: `tcp-eof`."""


class TCPError(TCPEvent):
    """The connection failed, or could not be established. cl-async: `tcp-error`."""


class TCPReset(TCPError):
    """The peer or the network broke the connection. cl-async: `tcp-reset`."""


class TCPRefused(TCPError):
    """Nothing listens at that address. cl-async: `tcp-refused`."""


class TCPTimeout(TCPError):
    """No answer while connecting, no input for `read_timeout` seconds, or no progress while sending for `write_timeout` seconds.

    After a failed send `error.unsent` is the number of bytes that are lost. cl-async: `tcp-timeout`.
    """


class DNSError(TCPError):
    """The name of the host could not be looked up; `code` is the resolver's. cl-async: `dns-error`."""


class TCPTLSError(TCPError):
    """A TLS handshake failed, or a TLS connection was cut off; `error` has OpenSSL's reason."""


def event_for(error: OSError, socket: Any) -> TCPError:
    """Return the event of an error."""
    kind, code = _kind_of(error)
    text = error.strerror if isinstance(error, StreamError) else str(error)
    return kind(text or str(error), socket, code, error)


def _kind_of(error: OSError) -> tuple[type[TCPError], int | None]:
    if isinstance(error, StreamTimeout) or error.errno == codes.ETIMEDOUT:
        return TCPTimeout, error.errno
    if isinstance(error, ConnectError):
        return _kind_of_failed_connect(error)
    if isinstance(error, (ssl.SSLError, StreamTruncated)):
        return TCPTLSError, error.errno
    return (TCPReset if isinstance(error, StreamReset) else TCPError), error.errno


def _kind_of_failed_connect(error: ConnectError) -> tuple[type[TCPError], int | None]:
    """Prefer the resolver's error; of several addresses, one that refused says more than one that did not answer."""
    causes = [cause for _, cause in error.errors]
    for cause in causes:
        if isinstance(cause, (sockets.gaierror, UnicodeError)):
            return DNSError, getattr(cause, "errno", None)
    codes_of_causes = [getattr(cause, "errno", None) for cause in causes] or [error.errno]
    for code, kind in ((codes.ECONNREFUSED, TCPRefused), (codes.ETIMEDOUT, TCPTimeout), (codes.ECONNRESET, TCPReset)):
        if code in codes_of_causes:
            return kind, code
    return TCPError, codes_of_causes[0]
