"""`SocketStreamServer`: a greenlet and a stream for each connection, with limits, and a stop that drains."""

# Invariants: what happens in the hub (accepting) never waits; what a connection needs before its handler runs (a PROXY header, a TLS
# handshake) happens in the connection's own greenlet. A handler's place is reserved before the handler runs and released when the
# connection is forgotten.

from __future__ import annotations

import _socket
import sys
from collections.abc import Callable, Set
from typing import TYPE_CHECKING, Any, Generic, overload

import gevent
from gevent import get_hub, getcurrent
from gevent.lock import Semaphore

from geventstreams._constants import LARGEST_INT
from geventstreams._core import arguments
from geventstreams._core.clock import deadline_after, seconds_until
from geventstreams._core.host_names import is_literal
from geventstreams._core.transport import OwnedFd, address_name
from geventstreams._net.addresses import Query, look_up_own, port_or_name
from geventstreams._net.listener import TRANSIENT, Listener, listener_of
from geventstreams._net.listening import BACKLOG, listening_socket
from geventstreams._streams.options import StreamOptions, keywords_for, takes_keywords_of
from geventstreams._streams.socket_stream import SocketStream, StreamFactory
from geventstreams.errors import StreamClosed, StreamError
from geventstreams.proxy_protocol import Balancers, read_proxy
from geventstreams.server.checks import check_arguments
from geventstreams.server.draining import Connections, Drain, DrainReport
from geventstreams.server.stats import ServerStats, StatsRecorder, StreamsView, is_of_connection

if TYPE_CHECKING:
    from typing_extensions import TypeVar, Unpack

    from geventstreams._types import Address, Listen, MaybeNone, ServerArguments, Spawn
    from geventstreams._types import Balancers as BalancersArgument
    from geventstreams._types import GeventServer as StreamServer

    S_co = TypeVar("S_co", bound=SocketStream, default=SocketStream, covariant=True)
else:
    from typing import TypeVar

    from gevent.server import StreamServer

    S_co = TypeVar("S_co", covariant=True)


HANDSHAKES = 100
"""Handshakes in progress at once, unless `max_connections` sets another number."""

UNDISTURBED = 0.5
"""Seconds for which a handshake is not dropped for a newer one: until then new clients wait in the queue of the listener."""

QUEUED = 4096
"""Clients that are accepted from the queue before a listener is closed, at most: as many as the system keeps there."""

SHORTEST_HANDSHAKE = 0.001
"""Seconds for a TLS handshake after a PROXY header that took all of `handshake_timeout`."""


class SocketStreamServer(StreamServer, Generic[S_co]):
    """A server that calls `handle(stream, address)` for each connection, in a greenlet of its own.

    The stream is flushed and closed when the handler returns, and aborted when it raises. `stop` drains the connections.

    Args:
        listener: Where to listen: `(host, port)`, a port, `"HOST:PORT"`, or a listening socket.
        handle: The handler. A subclass may have a method `handle` instead.
        backlog: How many clients the system may queue.
        spawn: How handlers are run, as in gevent: `"default"`, a number or a `gevent.pool.Pool` of greenlets, `gevent.spawn_raw` …
        max_connections: How many handlers run at once. Other clients wait in the listener's queue; so they do while a pool is full.
            TLS handshakes do not count.
        proxy_protocol: True, or a list of networks whose peers are balancers: their connections must begin with a PROXY header, before
            TLS and within `handshake_timeout`. `stream.peer_address` and the handler's `address` are then the client's, and
            `stream.proxy` has the header.
        nodelay: Send small packets at once (TCP_NODELAY).
        keepalive: Let the system probe idle connections (SO_KEEPALIVE).
        stream_class: The class of the streams, a subclass of `SocketStream`; a type checker knows `connections` by it.
        **stream: The other arguments of `SocketStream`, for each stream. With `ssl_ctx` handlers run after the TLS handshake, which may
            take `handshake_timeout` seconds.
    """

    backlog: int = BACKLOG

    stop_timeout: float = 10.0
    """Seconds that `stop()` lets connections run. A subclass or an instance may set it."""

    accept_pause: float = 0.1
    """Seconds without accepting after the system refused to, because it has no descriptors or no memory left."""

    if TYPE_CHECKING:

        def handle(self, stream: Any, address: Address, /) -> object:
            """Serve a connection: for subclasses that are given no function."""

    @overload
    def __init__(
        self: SocketStreamServer, listener: Listen, handle: Callable[[SocketStream, Address], object] | None = None,
        **options: Unpack[ServerArguments],
    ) -> None: ...
    @overload
    def __init__(
        self, listener: Listen, handle: Callable[[S_co, Address], object] | None = None, *, stream_class: type[S_co],
        **options: Unpack[ServerArguments],
    ) -> None: ...
    @takes_keywords_of(StreamOptions.__init__, without=("tlsext_host_name",), handshake_timeout=10.0)
    def __init__(
        self, listener: Listen, handle: Callable[[Any, Address], object] | None = None, *, backlog: int | None = None,
        spawn: Spawn = "default", max_connections: int | None = None, proxy_protocol: BalancersArgument = False, nodelay: bool = True,
        keepalive: bool = False, stream_class: type[SocketStream] = SocketStream, **stream: Any,
    ) -> None:
        self._factory = StreamFactory(stream_class, **keywords_for(SocketStreamServer.__init__, stream))
        check_arguments(listener, handle if handle is not None else getattr(self, "handle", None), backlog, spawn)
        self._balancers = None if proxy_protocol is False else Balancers(proxy_protocol)
        self._has_greeting = self._factory.is_secure or self._balancers is not None
        most = None if max_connections is None else arguments.positive("max_connections", max_connections, LARGEST_INT)
        self._room: Semaphore | None = None if most is None else Semaphore(most)
        self._handshakes_at_once = HANDSHAKES if most is None else 4 * most
        self._nodelay = nodelay
        self._keepalive = keepalive
        self._listener: Listener | None = None
        self._latest: Listener | None = None  # `_listener`, also once it is closed
        self._room_watch: Any = None
        self._gone = 0
        self._connections = Connections()
        self._drain: Drain | None = None
        self._streams = StreamsView(self._connections.served)
        self._recorder = StatsRecorder(self._streams)
        StreamServer.__init__(self, listener, handle, backlog=backlog, spawn=spawn)
        if self._has_greeting and self.pool is not None:
            self._spawn = gevent.spawn  # a client joins the pool after its handshake

    def __repr__(self) -> str:
        if self.closed:
            return f"<{type(self).__name__} closed>"
        state = "accepting" if self._listener is not None and self._listener.is_wanted else "not-accepting"
        counts = f"connections={len(self._connections.served)} handshakes={len(self._connections.handshakes)}"
        return f"<{type(self).__name__} fd={self.fileno()} address={address_name(self.address)} {state} {counts}>"

    __str__ = __repr__  # gevent's says something else

    # For its user.

    @property
    def port(self) -> int | MaybeNone:
        """The port that the server listens on; None for a Unix socket."""
        return self.address[1] if isinstance(self.address, tuple) else None

    @property
    def connections(self) -> Set[S_co]:
        """The streams that have a handler now, as a live view."""
        return self._streams

    @property
    def stats(self) -> ServerStats:
        """Counts of what the server has done so far."""
        return self._recorder.stats()

    # Accepting. The names without an underscore are gevent's.

    @classmethod
    def get_listener(cls, address: Any, backlog: int | None = None, family: int | None = None) -> Any:
        """Return a socket that listens on an address."""
        family = _socket.AF_INET if family is None else family
        if family in (_socket.AF_INET, _socket.AF_INET6):
            host, port = address[0] or None, port_or_name("listener", address[1])
            is_number = host is None or is_literal(host)
            if is_number and isinstance(port, int):
                address = (address[0], port, *address[2:])
            else:  # `bind` would look up the host, and block the hub
                _, address = look_up_own(Query(host, is_number, port, family))[0]
        return listening_socket(family, address, cls.backlog if backlog is None else backlog)

    def init_socket(self) -> None:
        """Bind and listen, if the listener was given as an address."""
        if self._drain is not None and self._drain.report is None:
            raise StreamError("this server still stops: its `stop()` has not returned")
        StreamServer.init_socket(self)
        self._recorder.server = address_name(self.address)
        if self.family in (_socket.AF_INET, _socket.AF_INET6):  # accepted sockets inherit these options
            self.socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, int(bool(self._nodelay)))
            self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, int(bool(self._keepalive)))

    def _listening(self) -> Listener:
        if self._listener is None:
            if self.closed:
                raise StreamClosed("this server does not listen")
            self._listener = self._latest = listener_of(get_hub(), self.socket, self._accept_client)
            self._listener.most_at_once = self.max_accept
            self._listener.hold.tell_end_to(self, SocketStreamServer._thread_has_ended)
        return self._listener

    def start_accepting(self) -> None:
        """Accept clients from now on."""
        self._refuse_thread()
        self._listening().start()

    def stop_accepting(self) -> None:
        """Accept no client until `start_accepting()`; clients wait in the queue."""
        self._refuse_thread()
        if self._listener is not None:
            self._listener.stop()

    def do_read(self) -> tuple[int, Any] | None:
        """Return the descriptor and the address of the next client, or None if there is none."""
        return (self._listener or self._listening()).accept()

    def _accept_client(self) -> bool:
        """Accept a client and begin to serve it. Return whether there was one."""
        # gevent notes the stack for each greenlet that is spawned, which takes longer the more code lies before a call: here and in
        # `do_handle` it is short.
        client = self._next_client()
        if client is None:
            return False
        try:
            self.do_handle(client[0], client[1])
        except BaseException as error:
            self._recorder.refused(client[1], error)
            self._listening().rest(self.accept_pause)
            raise
        return True

    def _next_client(self) -> tuple[Any, Any] | None:
        """Return the descriptor and the address of the next client; None if there is none, or no place for its handler."""
        if self.full() or (self._room is not None and self._room.locked()):
            self._listening().rest()  # until a handler ends, or a greenlet that is not ours leaves a full pool
            if self.full() and self._room_watch is None:
                self._room_watch = gevent.spawn(self._watch_pool, self.pool)
            return None
        if self._has_greeting and len(self._connections.handshakes) >= self._handshakes_at_once and not self._drop_handshake():
            return None
        try:
            client = self.do_read()
        except OSError as error:
            self._accept_failed(error)
            return None
        except BaseException:
            self._listening().rest(self.accept_pause)
            raise
        if client is not None:
            self._gone = 0
            self._recorder.accepted += 1
        return client

    def _accept_failed(self, error: OSError) -> None:
        if error.errno in TRANSIENT and self._gone < self.max_accept:
            self._gone += 1  # not a failure of ours; if there are more clients, the hub calls again
        elif self.is_fatal_error(error):
            self._recorder.listener_failed(error)
            self.close()
        else:
            self._recorder.accepting_paused(error)
            self._listening().rest(self.accept_pause)

    def _drop_handshake(self) -> bool:
        """Drop the oldest handshake, if it has had its time. Else rest until then, and return False."""
        handshakes = self._connections.handshakes
        oldest, due = next(iter(handshakes.items()))
        left = seconds_until(due)
        if left > 0:
            self._listening().rest(left)
            return False
        del handshakes[oldest]
        gevent.kill(oldest)
        return True

    def _watch_pool(self, pool: Any) -> None:
        pool.wait_available()
        self._room_watch = None
        if self._listener is not None:
            self._listener.resume()

    # Serving.

    def do_handle(self, handle: Any, address: Any) -> None:
        """Begin to serve an accepted client."""
        client = self._client(handle, address)
        try:
            self._spawn(self._serve_client, client, address, self._handle)
        except BaseException:
            client.close()
            raise

    def _client(self, handle: Any, address: Any) -> OwnedFd:
        """Return an accepted client, for which a handler's place is reserved unless it shakes hands first."""
        client = OwnedFd(handle if isinstance(handle, int) else handle.detach(), self.family, address)
        if self._room is not None and not self._has_greeting:
            self._room.acquire(blocking=False)
            client.on_closed = self._room.release
        return client

    def _serve_client(self, client: OwnedFd, address: Any, handle: Callable[..., object]) -> None:
        """Serve a connection from its acceptance to its end. Runs in its own greenlet."""
        client.on_closed = None  # the place is released below
        stream = self._open_stream(client, address)
        if stream is None:
            return
        if self._balancers is not None and stream.proxy is not None:
            address = stream.peer_address
        self._connections.served[stream] = getcurrent()
        try:
            handle(stream, address)
            stream.close()
        except BaseException as error:
            stream.abort()
            if not is_of_connection(error, stream):
                raise
            self._recorder.failed(error, address)
        else:
            if stream.timed_out:
                self._recorder.timed_out(address)
        finally:
            self._connections.served.pop(stream, None)  # it is not there where its hub was destroyed
            if self._connections.departed is not None:
                self._connections.departed.append((stream, getcurrent()))
            self._recorder.octets_in += stream.octets_in
            self._recorder.octets_out += stream.octets_out
            self._release_place()

    def _release_place(self) -> None:
        """Release a handler's place; the next client may be accepted."""
        if self._room is not None:
            self._room.release()
        if self._listener is not None and self._listener.resting:
            self._listener.resume()

    def _open_stream(self, client: OwnedFd, address: Any) -> SocketStream | None:
        """Return the stream of a client that has a handler's place; None for a client that is not served."""
        if self._has_greeting:
            stream = self._shake_hands(client, address)
            if stream is not None:
                self._wait_for_place(stream)
            return stream
        try:
            return self._factory.make(client)
        except BaseException as error:
            self._release_place()
            self._recorder.refused(address, error)
            if not isinstance(error, OSError):
                raise
            return None

    def _shake_hands(self, client: OwnedFd, address: Any) -> SocketStream | None:
        handshakes = self._connections.handshakes
        handshakes[getcurrent()] = deadline_after(UNDISTURBED)
        try:
            if self._balancers is not None and self._balancers.include(address):
                return self._behind_balancer(client)
            return self._factory.make(client)
        except gevent.GreenletExit:
            self._recorder.refused(address, "handshake abandoned: too many are pending, or the server is stopping")
            raise
        except BaseException as error:
            self._recorder.handshake_failed(address, error)
            if not isinstance(error, OSError):
                raise
            return None
        finally:
            handshakes.pop(getcurrent(), None)
            if self._listener is not None and self._listener.resting:
                self._listener.resume()

    def _behind_balancer(self, client: OwnedFd) -> SocketStream:
        """Read the PROXY header, then shake hands if there is TLS; both together within the handshake timeout."""
        deadline = deadline_after(self._factory.handshake_limit)
        stream = self._factory.make(client, secure=False)
        try:
            stream._introduce(read_proxy(stream, self._factory.handshake_limit))
            self._factory.secure(stream, max(seconds_until(deadline), SHORTEST_HANDSHAKE))
        except BaseException:
            stream.abort()
            raise
        return stream

    def _wait_for_place(self, stream: SocketStream) -> None:
        """Wait until a handler may run."""
        self._connections.queued[stream] = getcurrent()
        try:
            if self._room is not None:
                self._room.acquire()
            try:
                stream._waitable().refuse_in_child()
                if self.pool is not None:
                    self.pool.add(getcurrent())
            except BaseException:
                self._release_place()
                raise
        except BaseException:
            stream.abort()
            raise
        finally:
            del self._connections.queued[stream]

    # The end.

    def close(self) -> None:
        """Close the listener. Connections continue."""
        self._refuse_thread()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        if self._room_watch is not None and not self._is_left():
            gevent.kill(self._room_watch)
        self._room_watch = None
        kept: dict[str, Any] = {name: self.__dict__[name] for name in ("handle", "_spawn", "full") if name in self.__dict__}
        StreamServer.close(self)
        self.__dict__.update(kept)  # gevent drops them, and then a server that is started again cannot serve

    def _thread_has_ended(self) -> None:
        """Close the listener and reset the connections: no loop serves them any more."""
        self.close()
        for connections in (self._connections.served, self._connections.queued):
            for stream in list(connections):
                stream.abort()
            connections.clear()
        self._connections.handshakes.clear()

    def stop(self, timeout: float | None = None) -> DrainReport:
        """Close the listener, wait until no connection is left, and return how they ended.

        Clients that are in the listener's queue by now are still accepted, as far as there is room for them; the others are reset.

        A connection is idle when a greenlet waits for input on its stream in a call that has received nothing yet, none is there, and
        nothing is unsent. Its reads then see the end of file, so its handler returns and the client sees a flushed, orderly close. A busy
        connection is left alone until it ends or becomes idle. When the time is up, the remaining handlers are killed.

        A second call waits for the same end, and may bring it forward. A handler may call `stop`; its own connection continues.
        `start` listens on the same address again.

        Args:
            timeout: Seconds that connections have; None means `stop_timeout`, 0 kills all handlers at once.
        """
        seconds = self.stop_timeout if timeout is None else arguments.seconds_or_zero("timeout", timeout)
        self._refuse_thread()
        if self._is_left():
            left = len(self._connections.served) + len(self._connections.queued)
            self._thread_has_ended()
            return DrainReport(finished=0, idle=0, killed=left)
        if seconds:
            self._accept_queued()
        self.close()
        return self._drain_connections(seconds, timeout is not None)

    def _accept_queued(self) -> None:
        """Serve the clients that closing the listener would reset."""
        if self._listener is None or not self._listener.is_wanted:
            return
        for _ in range(QUEUED):
            gone = self._gone
            try:
                if not self._accept_client() and self._gone == gone:  # else that client had gone away: others may wait behind it
                    return
            except Exception:  # noqa: BLE001  # it has cost that client its connection, and must not keep the server from stopping
                get_hub().handle_error(self, *sys.exc_info())

    def _drain_connections(self, seconds: float, hurry: bool) -> DrainReport:
        """Wait for the end of the connections. A drain in progress is joined; with `hurry` it ends in `seconds` at the latest."""
        drain = self._drain
        if drain is None or drain.report is not None:
            drain = self._drain = Drain(self._connections, seconds)
        elif hurry:
            drain.hurry(seconds)
        return drain.wait()

    def _is_left(self) -> bool:
        """Return whether the server's hub was destroyed: nothing serves its connections any more."""
        return self._latest is not None and self._latest.is_left()

    def _refuse_thread(self) -> None:
        """Raise StreamError if the server belongs to another thread that still runs, before its loop is touched."""
        if self._listener is not None:
            self._listener.refuse_thread()

    # For greenlets that wait for a client, among other input.

    def fileno(self) -> int:
        """Return the listener's descriptor, or -1."""
        return -1 if self.closed else int(self.socket.fileno())

    def _waitable(self) -> Listener | None:
        """Return what is asked and watched in place of this server: its listener, also once that is closed."""
        if not self.closed:
            self._listening()
        return self._latest
