"""A server and its clients in one process. A run is what the server does: clients send before it, and receive after it."""

# Invariant: nothing depends on the clock. The requests have arrived before the run begins, and a server gets a number of iterations of the
# loop, in which it has to be done.

from __future__ import annotations

import fcntl
import itertools
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import gevent

from benchmarks.operations.base import LINE, REFILLED, Operation

CLIENTS = 48
"""Fewer than libev takes from the system at once, so that one iteration of the loop serves all."""

PIECE = 65536
LIMIT = 20.0


class Lines(Operation):
    """A server that sends lines back. `serve` is a function of `benchmarks.servers`."""

    clients_at_once = CLIENTS
    iterations = 3
    family = socket.AF_INET

    def __init__(self, serve: Callable[..., Any], options: Mapping[str, Any]) -> None:
        listener = socket.socket(self.family)
        listener.bind(("127.0.0.1", 0) if self.family == socket.AF_INET else b"")  # the system chooses the rest
        listener.listen(CLIENTS)
        self._address = listener.getsockname()
        self._is_secure = bool(options.get("tls"))
        self._hub = gevent.get_hub()
        self._serving = gevent.spawn(serve, listener, options)
        self.clients = [self.connected() for _ in range(self.clients_at_once)]

    def connected(self) -> socket.socket:
        """Return a new client that the server has accepted; that of a server with TLS has shaken hands."""
        client = self.connection()
        if self._is_secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            client = context.wrap_socket(client, do_handshake_on_connect=False)
            handshake = threading.Thread(target=client.do_handshake)
            handshake.start()
            while handshake.is_alive():
                self.idle()
        self.idle()
        return client

    def connection(self) -> socket.socket:
        """Return a new client, which waits in the server's queue."""
        client = socket.socket(self.family)
        client.settimeout(LIMIT)
        client.connect(self._address)
        return client

    def prepare(self) -> None:
        """Send a line from each client."""
        for client in self.clients:
            client.sendall(LINE)
        self.await_arrival()

    def await_arrival(self) -> None:
        """Wait until the system has at the server's end what the clients sent."""
        deadline = time.monotonic() + LIMIT
        for client in self.clients:
            while any(fcntl.ioctl(client, termios.TIOCOUTQ, struct.pack("i", 0))):
                time.sleep(0.001)
                if time.monotonic() > deadline:
                    raise RuntimeError("what a client sent has not arrived")

    def idle(self) -> None:
        """Let the loop go round as often as `run` does."""
        for _ in itertools.repeat(None, self.iterations):
            self._hub.wait(self._hub.loop.timer(0.0))

    def run(self) -> int:
        """Serve what the clients sent."""
        self.idle()
        return len(self.clients)

    def finish(self) -> None:
        """Receive the lines. TimeoutError: the server was not done with them."""
        for client in self.clients:
            if client.recv(PIECE) != LINE:
                raise RuntimeError("the answer is not the line that was sent")

    def close(self) -> None:
        """Close the clients, and end the server."""
        for client in self.clients:
            client.close()
        self._serving.kill()
        self.idle()


class ShortConnections(Lines):
    """A server that accepts connections, sends one line back on each and closes it."""

    clients_at_once = 0
    iterations = 60
    """A server may accept one client in an iteration."""

    def prepare(self) -> None:
        """Connect, and send a line from each client. The server accepts none before the run: its loop does not go round."""
        self.clients = [self.connection() for _ in range(CLIENTS)]
        super().prepare()

    def finish(self) -> None:
        """Receive the lines and the ends."""
        super().finish()
        for client in self.clients:
            if client.recv(1):
                raise RuntimeError("the server has sent more than the line")
            client.close()


class Pieces(Lines):
    """A server that receives in pieces of 64 KiB, and answers when it has all."""

    clients_at_once = 1
    family = socket.AF_UNIX  # what was sent to one has arrived

    def prepare(self) -> None:
        """Send the header and the pieces."""
        [client] = self.clients
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * REFILLED)
        client.sendall(REFILLED.to_bytes(8, "big") + PIECE.to_bytes(8, "big") + bytes(REFILLED))

    def run(self) -> int:
        """Receive the pieces."""
        self.idle()
        return REFILLED // PIECE

    def finish(self) -> None:
        """Receive the answer."""
        if not self.clients[0].recv(1):
            raise RuntimeError("the server has ended the connection")
