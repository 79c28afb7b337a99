"""The least program in Python alone: what a line echo costs with gevent, greenlet, and the standard library's socket.

One class with the vocabulary of a file; a watcher that stays armed; nothing of what streams promise.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import gevent
import gevent.socket
import greenlet
from gevent.event import Event

SPACE = 8192
MOST_ACCEPTED = 100


class Stream:
    """A connection, used by the greenlet that makes it."""

    __slots__ = ("_begun", "_output", "_recv", "_send", "_socket", "_wait", "_watcher")

    def __init__(self, connection: socket.socket) -> None:
        hub = gevent.get_hub()
        self._socket = connection
        self._recv, self._send = connection.recv, connection.send
        self._begun = self._output = b""
        self._wait = greenlet.greenlet.switch.__get__(hub)  # without the hub's own look at hooks
        self._watcher = hub.loop.io(connection.fileno(), 1)
        self._watcher.start(greenlet.getcurrent().switch)

    def readline(self) -> bytes:
        """Return a line, or what is left at the end."""
        begun = self._begun
        while not (end := begun.find(b"\n") + 1):
            self._wait()
            chunk = self._recv(SPACE)
            if not chunk:
                self._begun = b""
                return begun
            begun += chunk
        self._begun = begun[end:]
        return begun[:end]

    def write(self, data: bytes) -> None:
        """Keep these bytes for `flush`."""
        self._output += data

    def flush(self) -> None:
        """Send what was written."""
        output, self._output = self._output, b""
        try:
            sent = self._send(output)
        except BlockingIOError:
            sent = 0
        if sent < len(output):
            self._send_rest(output[sent:])

    def _send_rest(self, rest: bytes) -> None:
        self._watcher.stop()
        while rest:
            gevent.socket.wait_write(self._socket.fileno())
            rest = rest[self._send(rest) :]
        self._watcher.start(greenlet.getcurrent().switch)

    def close(self) -> None:
        """Close the connection."""
        self._watcher.stop()
        self._socket.close()


def _echo(connection: socket.socket) -> None:
    stream = Stream(connection)
    try:
        while line := stream.readline():
            stream.write(line)
            stream.flush()
    except ConnectionError:
        pass  # the load closed the connection
    stream.close()


def echo(listener: socket.socket, _options: Mapping[str, Any]) -> None:
    """Send lines back, in a greenlet for each connection."""
    hub = gevent.get_hub()

    def accept() -> None:
        for _ in range(MOST_ACCEPTED):
            try:
                connection, _address = listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            greenlet.greenlet(_echo, hub).switch(connection)

    listener.setblocking(False)
    watcher = hub.loop.io(listener.fileno(), 1)
    watcher.start(accept)
    try:
        Event().wait()
    finally:
        watcher.stop()
