"""What the tests of the callback half share: a record of what was called back, and servers and clients that end with the test."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.socket
import pytest

from geventstreams import TCPEvent, tcp_connect, tcp_server
from kit.conditions import until
from kit.network import HOST


class Calls:
    """Notes what is called back, in order; `bytes` are those that came, together."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.data = b""
        self.pieces: list[bytes] = []
        self.events: list[TCPEvent] = []
        self.sockets: list[Any] = []
        self.connected: list[Any] = []
        self.streams: list[Any] = []

    def read(self, socket: Any, data: Any) -> None:
        """A read callback, for bytes or for a stream, from which it takes all."""
        self.names.append("read")
        self.sockets.append(socket)
        if not isinstance(data, bytes):
            self.streams.append(data)
            data = data.read_available()
        self.pieces.append(data)
        self.data += data

    def leave(self, socket: Any, stream: Any) -> None:
        """A read callback that takes nothing."""
        self.names.append("read")
        self.sockets.append(socket)
        self.streams.append(stream)

    def event(self, event: TCPEvent) -> None:
        """An event callback."""
        self.names.append("event")
        self.events.append(event)

    def connect(self, one: Any) -> None:
        """A connect callback."""
        self.names.append("connect")
        self.connected.append(one)

    def write(self, socket: Any) -> None:
        """A write callback."""
        self.names.append("write")

    @property
    def kinds(self) -> list[type[TCPEvent]]:
        """The classes of the events."""
        return [type(event) for event in self.events]


class Endpoints:
    """Makes servers, clients and plain peers, and closes them all."""

    def __init__(self) -> None:
        self._ends = contextlib.ExitStack()
        self.close = self._ends.close

    def server(self, read_cb: Any = None, event_cb: Any = None, **options: Any) -> Any:
        """A server on a free port."""
        server = tcp_server(HOST, 0, read_cb, event_cb, **options)
        self._ends.callback(end_server, server)
        return server

    def client(self, port: int, read_cb: Any = None, event_cb: Any = None, host: Any = HOST, **options: Any) -> Any:
        """A client of that port: its socket, or its stream."""
        client = tcp_connect(host, port, read_cb, event_cb, **options)
        self._ends.callback(client.close, True)
        return client

    def listener(self, backlog: int = 16, receive: int | None = None) -> Any:
        """A listening gevent socket; `receive` is the size of its clients' receive buffers."""
        listener = self.keep(gevent.socket.socket())
        if receive is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        listener.bind((HOST, 0))
        listener.listen(backlog)
        return listener

    def joined(self, read_cb: Any = None, event_cb: Any = None, receive: int | None = None, **options: Any) -> tuple[Any, Any]:
        """A client and the gevent socket at its other end."""
        listener = self.listener(receive=receive)
        client = self.client(listener.getsockname()[1], read_cb, event_cb, **options)
        return client, self.accept(listener)

    def accept(self, listener: Any) -> Any:
        """The next client of a listener."""
        with gevent.Timeout(10):
            return self.keep(listener.accept()[0])

    def peer(self, port: int) -> Any:
        """A gevent socket that is a client of that port."""
        return self.keep(gevent.socket.create_connection((HOST, port)))

    def spawn(self, function: Callable[[], Any]) -> Any:
        """A greenlet, which is killed before anything is closed that it uses."""
        greenlet = gevent.spawn(function)
        self._ends.callback(greenlet.kill)
        return greenlet

    def keep(self, plain: Any) -> Any:
        """Have a plain socket closed."""
        self._ends.callback(plain.close)
        return plain


def end_server(server: Any) -> None:
    """Close a server and its connections."""
    for connection in list(server.connections):
        connection.close(force=True)
    server.close()


class Reports:
    """What reached the hub's `handle_error`."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.expected: tuple[type[BaseException], ...] = ()

    def __call__(self, context: Any, kind: Any, error: Any, traceback: Any) -> None:
        self.errors.append(error)

    def expect(self, *kinds: type[BaseException]) -> None:
        """Errors of these classes are no failure of the test."""
        self.expected = kinds


@pytest.fixture
def endpoints() -> Iterator[Endpoints]:
    """Servers and clients of this test."""
    made = Endpoints()
    yield made
    made.close()


@pytest.fixture
def calls() -> Calls:
    """The record of this test."""
    return Calls()


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reports]:
    """What the hub is told in this test, which fails by what it did not expect."""
    reports = Reports()
    monkeypatch.setattr(gevent.get_hub(), "handle_error", reports)
    yield reports
    unexpected = [error for error in reports.errors if not isinstance(error, reports.expected)]
    assert not unexpected, unexpected


def received(peer: Any, count: int) -> bytes:
    """So many bytes from a plain socket, or fewer at its end."""
    data = bytearray()
    with gevent.Timeout(20):
        while len(data) < count and (piece := peer.recv(min(count - len(data), 65536))):
            data += piece
    return bytes(data)


def rest_of(peer: Any) -> bytes:
    """All that a plain socket still gives, to its end."""
    return received(peer, 2**40)


def settled(calls: Calls, count: int = 1) -> None:
    """Return when so many events were told."""
    until(lambda: len(calls.events) >= count)


def rounds(count: int = 20) -> None:
    """Let the hub iterate so many times, so that everything that is ready has run."""
    for _ in range(count):
        gevent.sleep(0)


def attempt(function: Callable[[], Any]) -> Any:
    """A greenlet that calls a function; it gives the error that ended it, or None."""
    def call() -> BaseException | None:
        try:
            function()
        except OSError as error:
            return error
        return None

    return gevent.spawn(call)


def in_greenlet(function: Callable[[], Any]) -> Any:
    """Call a function in a greenlet of its own, within ten seconds."""
    results: list[Any] = []
    with gevent.Timeout(10):
        error = attempt(lambda: results.append(function())).get()
    if error is not None:
        raise error
    return results[0]
