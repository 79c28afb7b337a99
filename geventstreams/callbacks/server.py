"""The server of the callback half: it accepts, and every connection calls back in a greenlet of its own.

Rule for the next editor: accepting is done in the hub and never waits; handshakes are the connections' own business.
"""

from __future__ import annotations

import _socket
from collections.abc import Callable, KeysView
from typing import Any

from gevent import get_hub

import geventstreams._native.syscalls as _system
from geventstreams._core.owned_fd import OwnedFd
from geventstreams._core.transport import SocketTransport, address_name
from geventstreams._net.listener import GONE, Listener
from geventstreams._net.unix_paths import BoundPath
from geventstreams._streams.tls_upgrade import UpgradableStream
from geventstreams.callbacks.connection import AsyncSocket
from geventstreams.callbacks.options import ConnectionOptions

AT_ONCE = 64
"""Clients that are accepted in one turn of the hub."""

PAUSE = 0.1
"""Seconds that accepting rests where there are no descriptors."""

REPORT = 1.0
"""Seconds between two reports of failed accepting."""

Securer = Callable[[OwnedFd], UpgradableStream]
"""Makes a client's TLS stream, waiting for its handshake."""


class AsyncServer:
    """A listener whose connections call back. `tcp_server` makes it."""

    def __init__(
        self, socket: Any, connection_options: ConnectionOptions, securer: Securer | None, nodelay: bool, path: BoundPath | None = None
    ) -> None:
        self._socket = socket
        self._connection_options = connection_options
        self._securer = securer
        self._address = socket.getsockname()
        self._path = path
        if socket.family != _socket.AF_UNIX:  # whoever is accepted inherits it
            socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, int(bool(nodelay)))
        self._connections: dict[AsyncSocket, None] = {}
        self._reported = 0.0
        self._hub = get_hub()
        self._listener: Listener | None = Listener(self._hub, socket, self._accept)
        self._listener.hold.tell_end_to(self)
        self._listener.start()

    @property
    def port(self) -> int | None:
        """The port; None on a Unix socket."""
        return self._address[1] if isinstance(self._address, tuple) else None

    @property
    def address(self) -> Any:
        """Where it listens, as `getsockname` gives it; still known after closing."""
        return self._address

    @property
    def connections(self) -> KeysView[AsyncSocket]:
        """The sockets of the connections that are not over: a live view, like a set."""
        return self._connections.keys()

    @property
    def closed(self) -> bool:
        """Whether it accepts no more."""
        return self._listener is None

    def close(self) -> None:
        """Accepts no more; the connections go on. A second call does nothing."""
        if self._listener is not None:
            self._listener.refuse_thread()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
            if self._path is not None:
                self._path.remove()
            self._socket.close()

    def thread_has_ended(self) -> None:
        """Nothing accepts here any more: the listener is closed."""
        self.close()

    def __enter__(self) -> AsyncServer:
        return self

    def __exit__(self, *ended_by: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self._connections)} connections"
        return f"<{type(self).__name__} {address_name(self._address)} {state}>"

    def _accept(self) -> None:
        """Called by the hub while clients are waiting."""
        for _ in range(AT_ONCE):
            if self._listener is None:
                return
            try:
                accepted = self._listener.accept()
            except OSError as error:
                if error.errno not in GONE:
                    self._rest_because_of(error)
                    return
                continue
            if accepted is None:
                return
            self._welcome(*accepted)

    def _welcome(self, handle: int, address: Any) -> None:
        client = OwnedFd(handle, self._socket.family, address)
        try:
            connection = self._made(client)
        except OSError:
            return  # it went away before anybody could speak with it
        self._connections[connection] = None
        connection.start()

    def _made(self, client: OwnedFd) -> AsyncSocket:
        securer = self._securer
        if securer is None:
            return AsyncSocket(self._connection_options, SocketTransport(client), departed=self._departed)
        peer = address_name(client.peer_address)
        return AsyncSocket(self._connection_options, opener=lambda: securer(client), peer=peer, departed=self._departed)

    def _departed(self, connection: AsyncSocket) -> None:
        self._connections.pop(connection, None)

    def _rest_because_of(self, error: OSError) -> None:
        """Accepts nothing for a while: the clients wait in the system's queue."""
        now = _system.monotonic()
        if now - self._reported > REPORT:
            self._reported = now
            self._hub.handle_error(self, type(error), error, None)
        if self._listener is not None:
            self._listener.rest(PAUSE)
