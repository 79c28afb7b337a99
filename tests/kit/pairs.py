"""Connected streams for the tests of the core, over TCP, Unix sockets and memory, and what those tests share."""

# Invariants: everything that is made here is closed after the test, so a test may leave it in any state.

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import gevent.socket
import pytest

from geventstreams._core.transport import SocketTransport
from geventstreams._streams.buffered import BufferedStream
from geventstreams._streams.lisp import LispStream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.testing import MemoryNetwork, memory_pair

KINDS = ("tcp", "unix", "memory", "network")
SOCKET_KINDS = ("tcp", "unix")


class Pairs:
    """Makes connected pairs of any kind, and closes them."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def sockets(self, kind: str = "tcp", buffers: int | None = None) -> tuple[socket.socket, socket.socket]:
        """Two connected standard-library sockets; `buffers` is the size of the system's, each way."""
        if kind == "unix":
            pair = socket.socketpair()
        else:
            with socket.socket() as listener:
                if buffers:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
                listener.bind(("127.0.0.1", 0))
                listener.listen(1)
                near = socket.socket()
                if buffers:
                    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
                near.connect(listener.getsockname())
                pair = near, listener.accept()[0]
            for one in pair:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as `open_tcp_stream` does
        for one in pair:
            if buffers:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
            self.made.append(one)
        return pair

    def streams(self, kind: str = "tcp", *, buffers: int | None = None, **options: Any) -> tuple[Any, Any]:
        """A stream with the given options, and a plain one at its other end."""
        if kind == "memory":
            near, far = memory_pair(buffers or 65536)
            return self.keep(LispStream(near, **options)), self.keep(LispStream(far))
        if kind == "network":
            first, second = MemoryNetwork(seed=0, window=buffers or 65536).socketpair()
        else:
            first, second = self.sockets(kind, buffers)
        return self.keep(SocketStream(first, **options)), self.keep(SocketStream(second))

    def stream(self, kind: str = "tcp", *, buffers: int | None = None, **options: Any) -> tuple[Any, Any]:
        """A stream with the given options, and the gevent socket at its other end."""
        first, second = self.sockets(kind, buffers)
        return self.keep(SocketStream(first, **options)), self.far(second)

    def keep(self, stream: Any) -> Any:
        """Have a stream closed after the test."""
        self.made.append(stream)
        return stream

    def far(self, plain: socket.socket) -> Any:
        """A gevent socket in place of a plain one."""
        family, kind = plain.family, plain.type
        return self.keep(gevent.socket.socket(family, kind, fileno=plain.detach()))

    def close(self) -> None:
        """Close all that was made."""
        for one in self.made:
            if isinstance(one, BufferedStream):
                one.abort()
        for one in self.made:
            one.close()
        self.made.clear()


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    made = Pairs()
    yield made
    made.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of connection in turn."""
    return str(request.param)


@pytest.fixture(params=SOCKET_KINDS)
def socket_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of socket in turn."""
    return str(request.param)


@pytest.fixture
def unsent_is_told() -> None:
    """Skip the test where the system does not say how much it has not sent yet, which only Linux does."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        near.setblocking(False)
        with listener.accept()[0]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    near.send(bytes(65536))
            transport = SocketTransport(near.detach())
            told = transport.not_yet_sent()
            transport.close()
    if not told:
        pytest.skip("the system does not say how much it has not sent")
