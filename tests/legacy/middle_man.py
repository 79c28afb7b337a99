"""A TCP proxy that holds an answer back: it passes so many bytes on to the client, and the rest when it is told to."""

import socket
from types import TracebackType
from typing import Any

import gevent
import gevent.event
from gevent.server import StreamServer

HOST = "127.0.0.1"
PIECE = 4096
LIMIT = 20.0


class MiddleMan:
    """`with MiddleMan(port) as man:` clients connect to `man.port`, and talk with the server on `port`.

    It receives only what it passes on, so the server gets stuck as well.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._left: int | None = None
        self._holding = gevent.event.Event()
        self._go = gevent.event.Event()
        self._go.set()
        self._connections: list[gevent.Greenlet] = []
        self._listener = StreamServer((HOST, 0), self._connect)

    def hold_after(self, data: int) -> None:
        """Pass so many more bytes on to the clients, and then hold back what comes."""
        self._left = data
        self._holding.clear()
        self._go.clear()

    def wait_until_held(self) -> None:
        """Return when an answer is held back."""
        assert self._holding.wait(LIMIT), "fewer bytes came"

    def let_go(self) -> None:
        """Pass everything on, first what was held back."""
        self._left = None
        self._go.set()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._listener.server_port)

    def __enter__(self) -> "MiddleMan":
        self._listener.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._listener.stop()
        gevent.killall(self._connections)

    def _connect(self, client: Any, _address: object) -> None:
        server = socket.create_connection((HOST, self._server_port), LIMIT)
        server.settimeout(None)
        with client, server:
            ways = [gevent.spawn(self._pass_on, client, server), gevent.spawn(self._pass_back, server, client)]
            self._connections.extend(ways)
            gevent.joinall(ways)

    @staticmethod
    def _pass_on(client: Any, server: Any) -> None:
        try:
            while data := client.recv(PIECE):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _pass_back(self, server: Any, client: Any) -> None:
        try:
            while data := server.recv(PIECE):
                if self._left is not None:
                    passed, data = data[: self._left], data[self._left :]
                    client.sendall(passed)
                    self._left -= len(passed)
                    if data:
                        self._holding.set()
                        self._go.wait()
                client.sendall(data)
        except OSError:
            pass
        finally:
            try:
                client.shutdown(socket.SHUT_RDWR)
                server.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
