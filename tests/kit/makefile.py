"""What the tests of `makefile` share: sockets of every kind that it takes, each with the plain end that feeds it."""

# Invariants: everything that is made here is closed after the test, so a test may leave it in any state.

import socket
from collections.abc import Callable
from typing import Any

import gevent
import gevent.monkey
import gevent.socket
import gevent.ssl
import pytest
from servers.certificates import Certificates

from geventstreams import makefile
from kit.pairs import Pairs

KINDS = ("gevent", "unix", "blocking", "tls", "duck")
TIMEOUT = 0.03


class Duck:
    """The least that a socket needs for a file: what urllib3's class for pyOpenSSL has, and no more."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self._io_refs = 0
        self._closed = False

    def recv_into(self, space: Any) -> int:
        return int(self.inner.recv_into(space))

    def send(self, data: Any) -> int:
        return int(self.inner.send(data))

    def fileno(self) -> int:
        return int(self.inner.fileno())

    def settimeout(self, seconds: float | None) -> None:
        self.inner.settimeout(seconds)

    def gettimeout(self) -> Any:
        return self.inner.gettimeout()

    def _decref_socketios(self) -> None:
        if self._io_refs > 0:
            self._io_refs -= 1
        if self._closed:
            self.close()

    def close(self) -> None:
        self._closed = True
        if self._io_refs <= 0:
            self.inner.close()


class Ends:
    """Makes sockets, the other ends of them, and files."""

    def __init__(self, pairs: Pairs, certificates: Callable[[], Certificates]) -> None:
        self.pairs = pairs
        self.certificates = certificates

    def sockets(self, kind: str = "gevent", buffers: int | None = None) -> tuple[Any, Any]:
        """A socket of that kind, and the gevent socket at its other end (for "tls" a TLS one)."""
        near, far = self.pairs.sockets("unix" if kind == "unix" else "tcp", buffers)
        if kind == "blocking":
            return near, self.pairs.far(far)
        mine, other = self.pairs.far(near), self.pairs.far(far)
        if kind == "duck":
            return Duck(mine), other
        return self.secured(mine, other) if kind == "tls" else (mine, other)

    def secured(self, mine: Any, other: Any) -> tuple[Any, Any]:
        """Put TLS on two connected sockets."""
        certificates = self.certificates()
        serving = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(certificates.server.chain, certificates.server.key)
        trusting = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
        trusting.load_verify_locations(certificates.ca)
        server = gevent.spawn(serving.wrap_socket, other, server_side=True)
        client = trusting.wrap_socket(mine, server_hostname="localhost")
        return self.pairs.keep(client), self.pairs.keep(server.get())

    def file(self, kind: str = "gevent", mode: str = "rb", buffering: int | None = None, **options: Any) -> Any:
        """A file, its socket, and the other end."""
        near, far = self.sockets(kind, options.pop("buffers", None))
        near.settimeout(options.pop("timeout", None))
        return self.pairs.keep(makefile(near, mode, buffering, **options)), near, far


@pytest.fixture
def ends(pairs: Pairs, request: pytest.FixtureRequest) -> Ends:
    return Ends(pairs, lambda: request.getfixturevalue("certificates"))


def blocking_file(near: socket.socket, mode: str, buffering: int | None = None, **options: Any) -> Any:
    """What the standard library's own `makefile` gives."""
    return gevent.monkey.get_original("socket", "socket").makefile(near, mode, buffering, **options)
