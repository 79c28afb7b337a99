"""What a connection tells its event callback: one event for each cause, once.

Rule for the next editor: an event only says in the words of the callback half what an error of errors.py says; which error numbers mean
what is decided there and by the system, never twice.
"""

from __future__ import annotations

import errno as codes
import socket as sockets
import ssl
from typing import Any

from geventstreams.errors import ConnectError, StreamError, StreamReset, StreamTimeout, StreamTruncated


class TCPEvent(Exception):
    """Something happened to a connection. An exception, so that a callback may raise it.

    `socket` is the connection's `AsyncSocket`, `stream` its stream where it has one, `code` the system's number for the cause where it
    has one, `error` the error behind the event (None for an end of file).
    """

    def __init__(self, message: str, socket: Any = None, code: int | None = None, error: OSError | None = None) -> None:
        super().__init__(message)
        self.socket = socket
        self.code = code
        self.error = error

    @property
    def stream(self) -> Any:
        """The stream of the socket, or None where it has none."""
        return None if self.socket is None else self.socket.stream

    def __reduce__(self) -> Any:
        return type(self), (str(self), None, self.code, self.error)


class TCPEOF(TCPEvent):
    """The peer said that it has sent everything."""


class TCPError(TCPEvent):
    """The connection failed, or was never made."""


class TCPReset(TCPError):
    """The peer or the network broke the connection."""


class TCPRefused(TCPError):
    """Nobody listens at that address."""


class TCPTimeout(TCPError):
    """No answer while connecting, nothing arrived for `read_timeout` seconds, or the peer took nothing for `write_timeout` seconds."""


class DNSError(TCPError):
    """The name of the host could not be looked up; `code` is the resolver's."""


class TCPTLSError(TCPError):
    """TLS refused or was cut off: `error` says what OpenSSL said."""


def end_of_file(socket: Any, peer: str) -> TCPEOF:
    """The event for the orderly end of the input."""
    return TCPEOF(f"end of file from {peer}", socket)


def event_for(error: OSError, socket: Any) -> TCPError:
    """The event for an error of a connection."""
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
    """A name that is not found is the resolver's doing; of several addresses, one that refused says most."""
    causes = [cause for _, cause in error.errors]
    for cause in causes:
        if isinstance(cause, (sockets.gaierror, UnicodeError)):
            return DNSError, getattr(cause, "errno", None)
    told = [getattr(cause, "errno", None) for cause in causes] or [error.errno]
    for code, kind in ((codes.ECONNREFUSED, TCPRefused), (codes.ETIMEDOUT, TCPTimeout), (codes.ECONNRESET, TCPReset)):
        if code in told:
            return kind, code
    return TCPError, told[0]
