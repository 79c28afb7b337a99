"""Servers the gevent way: a greenlet and a stream for each connection, under limits, and an end that loses nothing.

Rules for the next editor: what happens in the hub (accepting) never waits; what a connection needs before its handler
runs (a handshake) happens in its own greenlet, in `_open_stream`. A handler's place is taken before the handler runs
and given back by whoever forgets the connection.
"""

from __future__ import annotations

import _socket
from collections.abc import Callable, Set
from typing import Any

import gevent
from gevent import get_hub, getcurrent
from gevent.lock import DummySemaphore, Semaphore
from gevent.pool import Pool
from gevent.server import StreamServer

import geventstreams._native.syscalls as _system
from geventstreams._core import arguments
from geventstreams._core.host_names import is_literal
from geventstreams._core.transport import address_name
from geventstreams._net.addresses import Query, look_up_own, port_or_name
from geventstreams._net.listener import GONE, Client, Listener
from geventstreams._net.listening import is_listening, listening_socket
from geventstreams._streams.elements import ElementType
from geventstreams._streams.options import StreamOptions
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import StreamClosed
from geventstreams.proxy_protocol import Balancers, read_proxy
from geventstreams.server.draining import Connections, Drain, DrainReport
from geventstreams.server.stats import ServerStats, StatsRecorder, StreamsView, is_of_connection

HANDSHAKES = 100
"""Handshakes in progress at once, where `max_connections` does not say more or less."""

QUEUED = 4096
"""Clients that are taken out of the queue before a listener is closed, at most: as many as the system keeps there."""

NO_TIME = 0.001
"""Seconds that a handshake has which begins in the last moment."""


class SocketStreamServer(StreamServer):  # type: ignore[misc]  # gevent has no types of its own
    """A server whose handler gets a `SocketStream` for each connection.

    `handle(stream, address)` (given, or a method of a subclass) runs in the connection's own greenlet. The stream is
    flushed and closed when it returns, aborted when it raises. `spawn` is gevent's: `"default"`, a number or a
    `gevent.pool.Pool` of greenlets, `gevent.spawn_raw` or the like. While `max_connections` handlers run, or the pool
    is full, other clients wait in the listener's queue (`backlog`). TLS handshakes have `handshake_timeout` seconds and
    take no handler's place. With `proxy_protocol` (True, or a list of networks: those peers must, others are served
    without) each connection begins with a PROXY header of a balancer, before TLS and within the same
    `handshake_timeout`: the stream's `peer_address` and the handler's `address` are the client's then, and
    `stream.proxy` has the header. Everything else is said to each stream.

    `stop()` drains. A subclass may set `stop_timeout`, the seconds it has by default.
    """

    backlog = 1024
    stop_timeout = 10.0

    accept_pause = 0.1
    """Seconds without accepting after the system refused to: it has no descriptors or no memory left."""

    def __init__(
        self, listener: Any, handle: Callable[[Any, Any], object] | None = None, *, backlog: int | None = None,
        spawn: Any = "default", direction: str = "io", element_type: Any = ElementType.BASE_CHAR,
        encoding: str = "latin-1", read_timeout: float | None = None, write_timeout: float | None = None,
        line_limit: float | None = 2**20, linger_timeout: float | None = 2.0, ssl_ctx: Any = None,
        ssl_side: str = "server", ctx_configure_callback: Callable[[Any], object] | None = None,
        ssl_configure_callback: Callable[[Any], object] | None = None, handshake_timeout: float | None = 10.0,
        allow_truncation: bool = False, max_connections: int | None = None, proxy_protocol: Any = False,
        nodelay: bool = True, keepalive: bool = False, stream_class: type[SocketStream] = SocketStream,
    ) -> None:
        self._options = StreamOptions(
            stream_class, direction=direction, element_type=element_type, encoding=encoding, read_timeout=read_timeout,
            write_timeout=write_timeout, line_limit=line_limit, linger_timeout=linger_timeout, ssl_ctx=ssl_ctx,
            ssl_side=ssl_side, ctx_configure_callback=ctx_configure_callback,
            ssl_configure_callback=ssl_configure_callback, handshake_timeout=handshake_timeout, tlsext_host_name=None,
            allow_truncation=allow_truncation,
        )
        _check(listener, handle if handle is not None else getattr(self, "handle", None), backlog, spawn)
        self._balancers = None if proxy_protocol is False else Balancers(proxy_protocol)
        self._is_greeted = self._options.is_secure or self._balancers is not None
        most = None if max_connections is None else arguments.positive("max_connections", max_connections)
        self._room: Any = DummySemaphore() if most is None else Semaphore(most)
        self._handshakes_at_once = HANDSHAKES if most is None else 4 * most
        self._nodelay = nodelay
        self._keepalive = keepalive
        self._listener: Listener | None = None
        self._room_watch: Any = None
        self._gone = 0
        self._at_once = 1
        self._connections = Connections()
        self._drain: Drain | None = None
        self._streams = StreamsView(self._connections.served)
        self._recorder = StatsRecorder(self._streams)
        StreamServer.__init__(self, listener, handle, backlog=backlog, spawn=spawn)

    # What it is.

    @property
    def port(self) -> int | None:
        """The port that it listens on; None for a Unix socket."""
        return self.address[1] if isinstance(self.address, tuple) else None

    @property
    def connections(self) -> Set[SocketStream]:
        """The streams that have a handler now."""
        return self._streams

    @property
    def stats(self) -> ServerStats:
        """What it has done so far."""
        return self._recorder.stats()

    # Accepting. The names without an underscore are gevent's.

    @classmethod
    def get_listener(cls, address: Any, backlog: int | None = None, family: int | None = None) -> Any:
        """A socket that listens on an address."""
        family = _socket.AF_INET if family is None else family
        if family in (_socket.AF_INET, _socket.AF_INET6) and address[0] and not is_literal(address[0]):
            # `bind` would look the name up, too, and hold the hub up while it does.
            _, address = look_up_own(Query(address[0], False, port_or_name("listener", address[1]), family))[0]
        return listening_socket(family, address, cls.backlog if backlog is None else backlog)

    def init_socket(self) -> None:
        """Binds and listens, if the listener was given as an address."""
        StreamServer.init_socket(self)
        self._recorder.log.server = address_name(self.address)
        if self.family in (_socket.AF_INET, _socket.AF_INET6):  # whoever is accepted inherits these
            self.socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, int(bool(self._nodelay)))
            self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, int(bool(self._keepalive)))

    def _listening(self) -> Listener:
        if self._listener is None:
            if self.closed:
                raise StreamClosed("this server does not listen")
            self._listener = Listener(get_hub(), self.socket, self._accept_clients)
            self._listener.hold.tell_end_to(self)
        return self._listener

    def start_accepting(self) -> None:
        """Accepts clients from now on."""
        self.refuse_thread()
        self._listening().start()

    def stop_accepting(self) -> None:
        """Accepts nobody until `start_accepting()`; clients wait in the queue."""
        self.refuse_thread()
        if self._listener is not None:
            self._listener.stop()

    def do_read(self) -> tuple[int, Any] | None:
        """The descriptor and the address of the next client, or None."""
        return self._listening().accept()

    def _accept_clients(self) -> None:
        """Called by the hub while clients wait in the queue.

        It takes one, and twice as many each time that there were as many: nobody asks in vain unless a crowd has ended.
        """
        for _ in range(self._at_once):
            if self.full() or self._room.locked():
                self._rest_until_room()
                return
            try:
                client = self.do_read()
            except OSError as error:
                self._accept_failed(error)
                return
            except BaseException:
                self._listening().rest(self.accept_pause)
                raise
            if client is None:
                self._at_once = 1
                return
            self._gone = 0
            self._recorder.accepted()
            try:
                self.do_handle(*client)
            except BaseException as error:
                self._recorder.refused(client[1], error)
                self._listening().rest(self.accept_pause)
                raise
        self._at_once = min(2 * self._at_once, self.max_accept)

    def _accept_failed(self, error: OSError) -> None:
        if error.errno in GONE and self._gone < self.max_accept:
            self._gone += 1  # nothing has happened; if there are more clients, the hub calls again
        elif self.is_fatal_error(error):
            self._recorder.listener_failed(error)
            self.close()
        else:
            self._recorder.accepting_paused(error)
            self._listening().rest(self.accept_pause)

    def _rest_until_room(self) -> None:
        """Rests; a handler that ends gives the word, or somebody else's greenlet that leaves a full pool."""
        self._listening().rest()
        if self.full() and self._room_watch is None:
            self._room_watch = gevent.spawn(self._watch_pool, self.pool)

    def _watch_pool(self, pool: Any) -> None:
        pool.wait_available()
        self._room_watch = None
        self._resume()

    def _resume(self) -> None:
        if self._listener is not None:
            self._listener.resume()

    # Serving.

    def do_handle(self, handle: Any, address: Any) -> None:
        """Begins to serve a client."""
        descriptor = handle if isinstance(handle, int) else handle.detach()
        spawn = self._spawn
        if self._is_greeted:
            client = Client(descriptor, self.family, address)
            if self.pool is not None:
                spawn = gevent.spawn  # it joins the pool after its handshake
        else:
            self._room.acquire(blocking=False)
            client = Client(descriptor, self.family, address, self._room)
        try:
            spawn(self.serve_client, client, address, self._handle)
        except BaseException:
            client.close()
            raise

    def serve_client(self, client: Client, address: Any, handle: Callable[..., object]) -> None:
        """A connection from its acceptance to its end, in its own greenlet."""
        client.take_place()
        stream = self._open_stream(client, address)
        if stream is None:
            return
        if stream.proxy is not None:
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
                self._recorder.was_late(address)
        finally:
            self._connections.leave(stream)
            self._recorder.ended(stream)
            self.client_left()

    def client_left(self) -> None:
        """Gives the place of a handler back."""
        self._room.release()
        self._resume()

    def _open_stream(self, client: Client, address: Any) -> SocketStream | None:
        """The stream of a client, together with a handler's place; None for a client that is not served."""
        if self._is_greeted:
            stream = self._shake_hands(client, address)
            if stream is not None:
                self._take_place(stream)
            return stream
        try:
            return self._options.make(client)
        except BaseException as error:
            self.client_left()
            self._recorder.refused(address, error)
            if not isinstance(error, OSError):
                raise
            return None

    def _shake_hands(self, client: Client, address: Any) -> SocketStream | None:
        handshakes = self._connections.handshakes
        while len(handshakes) >= self._handshakes_at_once:
            oldest = next(iter(handshakes))
            del handshakes[oldest]
            gevent.kill(oldest)
        handshakes[getcurrent()] = address
        try:
            if self._balancers is not None and self._balancers.include(address):
                return self._introduced(client)
            return self._options.make(client)
        except gevent.GreenletExit:
            self._recorder.refused(address, "its handshake was given up, for newer ones or for the end")
            raise
        except BaseException as error:
            self._recorder.handshake_failed(address, error)
            if not isinstance(error, OSError):
                raise
            return None
        finally:
            handshakes.pop(getcurrent(), None)

    def _introduced(self, client: Client) -> SocketStream:
        """The stream of a balancer's client: a PROXY header comes first, and what is left of the time is TLS's."""
        until = _system.monotonic() + self._options.handshake_limit
        stream = self._options.make_plain(client)
        try:
            stream._introduce(read_proxy(stream, self._options.handshake_limit))
            self._options.secure(stream, max(until - _system.monotonic(), NO_TIME))
        except BaseException:
            stream.abort()
            raise
        return stream

    def _take_place(self, stream: SocketStream) -> None:
        """Waits until a handler may run."""
        self._connections.queued[stream] = getcurrent()
        try:
            self._room.acquire()
            try:
                stream.refuse_in_child()
                if self.pool is not None:
                    self.pool.add(getcurrent())
            except BaseException:
                self.client_left()
                raise
        except BaseException:
            stream.abort()
            raise
        finally:
            del self._connections.queued[stream]

    # The end.

    def close(self) -> None:
        """Closes the listener. Connections go on."""
        self.refuse_thread()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        if self._room_watch is not None:
            gevent.kill(self._room_watch)
            self._room_watch = None
        StreamServer.close(self)

    def thread_has_ended(self) -> None:
        """Nothing accepts or serves here any more: the listener is closed, and connections are reset."""
        self.close()
        for connections in (self._connections.served, self._connections.queued):
            for stream in list(connections):
                stream.abort()
            connections.clear()
        self._connections.handshakes.clear()

    def stop(self, timeout: float | None = None) -> DrainReport:
        """Closes the listener, and waits until no connection is left: how they ended.

        Clients that wait in the listener's queue by now are still accepted, as far as there is room for them.

        A connection is idle when a greenlet waits for input on its stream and there is none, and nothing is unsent:
        then its reads see the end of file, so that its handler returns and the client sees a flushed, orderly close.
        One that is busy is left alone until it ends or becomes idle. After `timeout` seconds (None: `stop_timeout`; 0:
        at once) the rest is killed. A second call waits for the same end, and may bring it nearer. A handler may call
        it; its own connection goes on.
        """
        seconds = self.stop_timeout if timeout is None else _seconds_to_stop(timeout)
        self.refuse_thread()
        if seconds:
            self._accept_queued()
        self.close()
        return self.drain(seconds, timeout is not None)

    def _accept_queued(self) -> None:
        """Serves those whom closing the listener would reset."""
        listener = self._listener
        if listener is None or not listener.is_wanted:
            return
        for _ in range(QUEUED):
            if self.full() or self._room.locked():
                return
            try:
                client = listener.accept()
            except OSError:
                return
            if client is None:
                return
            self._recorder.accepted()
            self.do_handle(*client)

    def drain(self, seconds: float, hurry: bool) -> DrainReport:
        """The second half of `stop`. One that goes on already is joined, and hurried if that is wanted."""
        drain = self._drain
        if drain is None or drain.report is not None:
            drain = self._drain = Drain(self._connections, seconds)
        elif hurry:
            drain.hurry(seconds)
        return drain.wait()

    def refuse_thread(self) -> None:
        """Raise StreamError where another thread's hub serves here, before its loop is touched; not once that thread has ended."""
        if self._listener is not None:
            self._listener.refuse_thread()

    # For those who wait for a client among other input.

    def fileno(self) -> int:
        """The listener's descriptor, or -1."""
        return -1 if self.closed else int(self.socket.fileno())

    def readable_now(self) -> bool:
        """Whether a client can be accepted, or the server was closed."""
        return self.closed or self._listening().readable_now()

    def watch_input(self, listener: Callable[[], object]) -> None:
        """Calls `listener()` when `readable_now` may have become true, once the input is armed."""
        self._listening().watch(listener)

    def unwatch_input(self, listener: Callable[[], object]) -> None:
        """The reverse of `watch_input`."""
        if self._listener is not None:
            self._listener.unwatch(listener)

    def arm_input(self) -> None:
        """Makes the next client known to those who watch."""
        if self._listener is not None:
            self._listener.arm()

    def send_before_wait(self) -> None:
        """A server has nothing to send."""


def _seconds_to_stop(timeout: float) -> float:
    return 0.0 if timeout == 0 and not isinstance(timeout, bool) else arguments.seconds("timeout", timeout)


def _check(listener: Any, handle: Any, backlog: int | None, spawn: Any) -> None:
    """Refuses what gevent would take without asking, or refuse after closing the listener."""
    if not callable(handle):
        raise TypeError(f"handle must be callable, or a method of a subclass, not {handle!r}")
    if spawn is None:
        raise ValueError("spawn must not be None: handlers may wait, and the hub may not")
    if isinstance(spawn, int):
        arguments.positive("spawn", spawn)
    if isinstance(spawn, bool) or not (isinstance(spawn, int) or spawn == "default" or callable(spawn)
                                       or isinstance(spawn, Pool)):
        raise TypeError(f"spawn must be 'default', a number of greenlets, a gevent Pool or a callable, not {spawn!r}")
    if backlog is not None:
        arguments.positive("backlog", backlog)
    if hasattr(listener, "accept"):
        _check_socket(listener, backlog)
    elif isinstance(listener, tuple) and len(listener) >= 2:
        port_or_name("listener", listener[1])
    elif isinstance(listener, int):
        port_or_name("listener", listener)
    elif isinstance(listener, str) and ":" not in listener and not listener.isdigit():
        raise ValueError(f"listener must be a port or HOST:PORT, not {listener!r}; a Unix socket is given when it listens")
    elif not isinstance(listener, str):
        raise TypeError(f"listener must be an address, a port or a listening socket, not {listener!r}")


def _check_socket(listener: Any, backlog: int | None) -> None:
    if hasattr(listener, "do_handshake"):
        raise TypeError(f"listener must be a plain socket, and TLS be said by ssl_ctx=, not {listener!r}")
    if backlog is not None:
        raise TypeError(f"backlog must be None where the listener is a socket, not {backlog!r}")
    if not is_listening(listener.fileno()):
        raise ValueError(f"listener must be a listening socket, not {listener!r}")
