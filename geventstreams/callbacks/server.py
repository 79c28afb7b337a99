"""A server whose connections call back."""

# Invariants: clients are accepted in the hub, which never waits; a TLS handshake is made in the greenlet of its connection.

from __future__ import annotations

import _socket
from collections.abc import KeysView
from typing import TYPE_CHECKING, Any

from gevent import get_hub

from geventstreams._core.clock import CLOCK
from geventstreams._core.transport import OwnedFd, address_name, transport_of
from geventstreams._net.listener import PAUSE, TRANSIENT, Listener, listener_of
from geventstreams._net.unix_paths import BoundPath
from geventstreams.callbacks.connection import AsyncSocket
from geventstreams.callbacks.options import ConnectionOptions

if TYPE_CHECKING:
    from geventstreams._types import Address, AsyncIOStream, MaybeNone, StreamFactory

AT_ONCE = 64
"""How many clients are accepted in one turn of the hub, at most."""

REPORT = 1.0
"""Seconds between two reports of such errors."""


class AsyncServer:
    """A listener whose connections call back. `tcp_server` and `pipe_server` make it. cl-async: `tcp-server`.

    As a context manager it is closed at the end of the block; its connections go on.
    """

    def __init__(self, socket: Any, options: ConnectionOptions, factory: StreamFactory, stream_class: type[AsyncIOStream], nodelay: bool,
                 path: BoundPath | None = None) -> None:
        self._socket = socket
        self._options = options
        self._factory = factory
        self._stream_class = stream_class
        self._address = socket.getsockname()
        self._path = path
        if socket.family != _socket.AF_UNIX:  # accepted sockets inherit it
            socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, int(bool(nodelay)))
        self._connections: dict[AsyncSocket, None] = {}
        self._reported = 0.0
        self._hub = get_hub()
        self._listener: Listener | None = listener_of(self._hub, socket, self._accept)
        self._listener.most_at_once = AT_ONCE
        self._listener.hold.tell_end_to(self, AsyncServer.close)
        self._listener.start()

    @property
    def port(self) -> int | MaybeNone:
        """The port it listens on; None for a Unix socket."""
        return self._address[1] if isinstance(self._address, tuple) else None

    @property
    def address(self) -> Address:
        """The address it listens on, as `getsockname` gives it; it does not change when the server is closed."""
        return self._address

    @property
    def connections(self) -> KeysView[AsyncSocket]:
        """The sockets of the connections that are not closed: a live view, like a set."""
        return self._connections.keys()

    @property
    def closed(self) -> bool:
        """Whether the listener is closed."""
        return self._listener is None

    def close(self) -> None:
        """Close the listener; the connections go on. A second call does nothing. cl-async: `close-tcp-server`."""
        listener = self._listener
        if listener is not None:
            listener.refuse_thread()
            self._listener = None
            listener.close()
            if self._path is not None:
                self._path.remove()
            listener.close_socket(self._socket)

    def __enter__(self) -> AsyncServer:
        return self

    def __exit__(self, *ended_by: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self._connections)} connections"
        return f"<{type(self).__name__} {address_name(self._address)} {state}>"

    def _accept(self) -> bool:
        """Accept a client. Return whether there was one. Called by the hub while some are waiting."""
        if self._listener is None:  # a signal handler closed it just now
            return False
        try:
            accepted = self._listener.accept()
        except OSError as error:
            if error.errno not in TRANSIENT:
                self._rest_after(error)
                return False
        else:
            if accepted is None:
                return False
            self._serve(*accepted)
        return True

    def _serve(self, handle: int, address: Any) -> None:
        client = OwnedFd(handle, self._socket.family, address)
        if self._factory.is_secure:
            peer = address_name(client.peer_address)
            connection = AsyncSocket(self._options, opener=lambda: self._factory.make(client), peer=peer, on_closed=self._forget)
        else:
            try:
                connection = AsyncSocket(self._options, transport_of(client), on_closed=self._forget)
            except OSError:
                return  # the client is gone already
        self._stream_class.__new__(self._stream_class)._claim(connection, self._options.of_streams)
        self._connections[connection] = None
        connection._start()

    def _forget(self, connection: AsyncSocket) -> None:
        self._connections.pop(connection, None)

    def _rest_after(self, error: OSError) -> None:
        """Accept nothing for a while; the clients wait in the system's queue."""
        now = CLOCK.now()
        if now - self._reported > REPORT:
            self._reported = now
            self._hub.handle_error(self, type(error), error, None)
        if self._listener is not None:
            self._listener.rest(PAUSE)
