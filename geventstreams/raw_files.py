"""Unbuffered files on a socket that others own: each call is one receipt or one send, so nothing is read ahead."""

from __future__ import annotations

import contextlib
import io
import socket as sockets
from typing import Any

import geventstreams._system as _system
import geventstreams.arguments as arguments
from geventstreams.borrowed import FileTransport
from geventstreams.limits import WOULD_WAIT


class RawSocketFile(sockets.SocketIO):
    """The standard library's raw file, but that a timeout does not end it; it waits by its transport.

    It counts once in the socket's `_io_refs` and gives that back once, when it is closed or dropped; no other class
    touches them.
    """

    def __init__(self, socket: Any, mode: Any, transport: FileTransport) -> None:
        self._transport = transport
        super().__init__(socket, mode)
        socket._io_refs += 1

    @property
    def _sock(self) -> Any:
        """The socket, which other people's code looks for under this name."""
        return self._transport.socket

    @_sock.setter
    def _sock(self, socket: Any) -> None:
        """Called by the base class; the transport has the socket, and a file refers to it once."""

    def readinto(self, buffer: Any) -> int | None:
        """One receipt into `buffer`: its octets, 0 at the end of the input, None where the socket may not wait."""
        if not self.readable():
            raise io.UnsupportedOperation("not readable")
        space = arguments.octet_space("buffer", buffer)
        if not len(space):
            return 0
        counts: list[int] = []
        while (count := self._transport.recv_into(space, 0, counts)) == WOULD_WAIT:
            if not self._transport.await_input():
                return None
        return count

    def write(self, data: Any) -> int | None:
        """One send: how many octets of `data` it took, None where the socket may not wait."""
        if not self.writable():
            raise io.UnsupportedOperation("not writable")
        octets = file_octets(data)
        while (count := self._transport.send(octets, 0, len(octets))) == WOULD_WAIT:
            if not self._transport.await_output():
                return None
        return count

    def give_up(self) -> None:
        """Close with output left unsent. Where that closes the socket too, the connection is reset, so that the peer cannot take a part
        for the whole."""
        socket = self._transport.socket
        if not self.closed and getattr(socket, "_closed", False) and socket._io_refs <= 1:
            with contextlib.suppress(OSError):  # the owner took the descriptor away
                _system.reset_on_close(socket.fileno())
        self.close()

    def close(self) -> None:
        """Lets go of the socket, and wakes whoever waits here."""
        if not self.closed:
            socket = self._transport.socket
            self._transport.close()
            io.RawIOBase.close(self)
            socket._decref_socketios()


def file_octets(data: Any) -> memoryview:
    """The octets of what is written to a file."""
    if isinstance(data, str):
        raise TypeError(f"data must be bytes-like, not str {data!r}")
    return arguments.octets("data", data)
