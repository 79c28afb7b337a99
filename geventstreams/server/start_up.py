"""LispWorks' servers: `start_up_server` binds a port and serves it in one call, `server_terminate` ends that."""

# Invariants: all arguments are checked before anything is bound. What ends a server calls its `close()`, which announces the end.

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, overload

import gevent
from gevent import Greenlet, GreenletExit, get_hub, getcurrent
from gevent.queue import Queue

from geventstreams._constants import NEVER
from geventstreams._core import arguments
from geventstreams._core.transport import OwnedFd, address_name
from geventstreams._net.addresses import Query, family_of, host_name, port_or_name
from geventstreams._net.listening import listen
from geventstreams._streams.options import keywords_for, takes_keywords_of
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.server.draining import DrainReport
from geventstreams.server.server import S_co, SocketStreamServer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from geventstreams._types import Address, HandleServerArguments, Host, IPv6, Service, StartUpArguments, TLSContext

Announcer = Callable[[Any, "OSError | None"], object]


class Call:
    """A call of a server's function or announcer. `server_terminate()` in it ends the server when it returns."""

    def __init__(self, server: LispServer) -> None:
        self.server = server
        self.ends_server = False


_calls: dict[Any, Call] = {}
"""The innermost call that each greenlet is in. Calls nest: a function may start or end another server, whose announcer then runs in it."""


@contextmanager
def call_of(server: LispServer) -> Iterator[None]:
    """Run the body as a call of a server's function or announcer."""
    greenlet = getcurrent()
    outer = _calls.get(greenlet)
    call = _calls[greenlet] = Call(server)
    try:
        yield
    finally:
        if outer is None:
            del _calls[greenlet]
        else:
            _calls[greenlet] = outer
        if call.ends_server:
            server.close()


class LispServer(SocketStreamServer):
    """A server that calls `function(stream)`."""

    family: int  # pyright infers a type of their own for what a subclass assigns to
    address: Address

    def __init__(self, query: Query, function: Callable[[Any], object], announce: Announcer | None, name: str | None,
                 **options: Any) -> None:
        self._query = query
        self._function = function
        self._announce = announce
        self._name = name
        SocketStreamServer.__init__(self, ("", 0), **options)

    def init_socket(self) -> None:
        """Listen on the first of the addresses that this machine has."""
        self.socket: Any = listen(self._query, self.backlog)
        self.family, self.address = self.socket.family, self.socket.getsockname()
        SocketStreamServer.init_socket(self)

    def handle(self, stream: Any, address: Any) -> None:
        """Call the function."""
        if self._name is not None and isinstance(getcurrent(), Greenlet):
            getcurrent().name = self._name
        with call_of(self):
            self._function(stream)

    def announce(self, socket: Any, condition: Any) -> None:
        """Call the announcer, if there is one."""
        if self._announce is not None:
            with call_of(self):
                self._announce(socket, condition)

    def close(self) -> None:
        """Close the listener and announce that. Connections continue."""
        was_up = self.started
        SocketStreamServer.close(self)
        if was_up and getcurrent() is get_hub():
            gevent.spawn(self.announce, None, None)
        elif was_up:
            self.announce(None, None)


class HandleServer(LispServer):
    """A server that calls `function(descriptor)`, always in the same greenlet, and accepts the next client when it returns.

    LispWorks 7.1 calls the function in the process that accepts. Here the hub accepts, so the server has one place for a handler, and
    what it would spawn goes through a queue to its one greenlet.
    """

    def __init__(self, query: Query, function: Callable[[Any], object], announce: Announcer | None, name: str | None,
                 **options: Any) -> None:
        self._jobs: Queue[Any] = Queue()
        self._busy = False
        self._process = Greenlet(self._work)
        LispServer.__init__(self, query, function, announce, name, spawn=self._enqueue, max_connections=1, **options)

    def start(self) -> None:
        """Bind, listen, and start the greenlet."""
        LispServer.start(self)
        self._jobs, self._process = Queue(), Greenlet(self._work)  # anew, since a stop ends them
        if self._name is not None:
            self._process.name = self._name
        self._process.start()

    def _enqueue(self, serve: Callable[..., None], *arguments: Any) -> None:
        self._jobs.put((serve, arguments))

    def _work(self) -> None:
        """Serve one client after another. An exception of the function is printed by the hub, like that of a greenlet."""
        jobs = self._jobs
        try:
            while (job := jobs.get()) is not None:
                serve, arguments = job
                try:
                    serve(*arguments)
                except GreenletExit:
                    raise
                except BaseException:  # noqa: BLE001  # the next client is served all the same
                    get_hub().handle_error(self, *sys.exc_info())
                del job, serve, arguments
        finally:
            if getcurrent() is self._process:
                self.close()

    def _serve_client(self, client: OwnedFd, address: Any, handle: Callable[..., object]) -> None:
        """Call the function with the descriptor, which it owns."""
        client.on_closed = None  # the place is released below
        self._busy = True
        try:
            with call_of(self):
                self._function(client.take())
        finally:
            self._busy = False
            self._release_place()

    def close(self) -> None:
        """Close the listener. A function that runs goes on."""
        self._jobs.put(None)
        LispServer.close(self)

    def _drain_connections(self, seconds: float, hurry: bool) -> DrainReport:
        """Wait for the function that runs, and kill it after `seconds`."""
        if getcurrent() is self._process:
            return DrainReport(0, 0, 0)
        busy = int(self._busy)
        self._process.join(None if seconds == NEVER else seconds)
        if self._process.dead:
            return DrainReport(busy, 0, 0)
        self._process.kill(timeout=1.0)
        return DrainReport(0, 0, 1)


@overload
def start_up_server(function: Callable[[SocketStream], object], service: Service | None = None, *, create_stream: Literal[True] = True,
                    wait: Literal[False] = False, error: Literal[True] | None = None,
                    **options: Unpack[StartUpArguments]) -> tuple[SocketStreamServer, None]: ...
@overload
def start_up_server(function: Callable[[S_co], object], service: Service | None = None, *, create_stream: Literal[True] = True,
                    stream_class: type[S_co], wait: Literal[False] = False, error: Literal[True] | None = None,
                    **options: Unpack[StartUpArguments]) -> tuple[SocketStreamServer[S_co], None]: ...
@overload
def start_up_server(function: Callable[[int], object], service: Service | None = None, *, create_stream: Literal[False],
                    wait: Literal[False] = False, error: Literal[True] | None = None,
                    **options: Unpack[HandleServerArguments]) -> tuple[SocketStreamServer, None]: ...
@overload
def start_up_server(function: Callable[[SocketStream], object], service: Service | None = None, *, create_stream: Literal[True] = True,
                    wait: bool = False, error: bool | None = None,
                    **options: Unpack[StartUpArguments]) -> tuple[SocketStreamServer, None] | tuple[None, OSError]: ...
@overload
def start_up_server(function: Callable[[S_co], object], service: Service | None = None, *, create_stream: Literal[True] = True,
                    stream_class: type[S_co], wait: bool = False, error: bool | None = None,
                    **options: Unpack[StartUpArguments]) -> tuple[SocketStreamServer[S_co], None] | tuple[None, OSError]: ...
@overload
def start_up_server(function: Callable[[int], object], service: Service | None = None, *, create_stream: Literal[False],
                    wait: bool = False, error: bool | None = None,
                    **options: Unpack[HandleServerArguments]) -> tuple[SocketStreamServer, None] | tuple[None, OSError]: ...
@takes_keywords_of(SocketStreamServer.__init__)
def start_up_server(function: Callable[[Any], object], service: Service | None = None, *, address: Host | None = None,
                    announce: Announcer | Literal[True] | None = None, backlog: int | None = None, nodelay: bool = True,
                    keepalive: bool = False, process_name: str | None = None, wait: bool = False, error: bool | None = None,
                    create_stream: bool = True, ipv6: IPv6 = "any", ssl_ctx: TLSContext | None = None,
                    **stream_arguments: Any) -> tuple[SocketStreamServer, None] | tuple[None, OSError]:
    """Start a server and return `(server, None)` when it listens, or `(None, condition)`. LispWorks: `comm:start-up-server`.

    Args:
        function: Called as `function(stream)` in a greenlet for each connection.
        service: A port, digits, or the name of a service; None means a free port.
        address: The address to listen on; None means all addresses of this machine.
        announce: Called as `announce(socket, None)` when the server is up, `announce(None, None)` when it ended, and
            `announce(None, condition)` when it could not start and that is not raised. True prints a line.
        backlog: How many clients the system may queue.
        nodelay: Send small packets at once (TCP_NODELAY).
        keepalive: Let the system probe idle connections (SO_KEEPALIVE).
        process_name: The name of the server's greenlets in `gevent.util.format_run_info()`.
        wait: Accepted for compatibility: the call returns when the server listens in any case.
        error: Whether a server that cannot start is raised; None means that it is unless `wait` is true.
        create_stream: With False it is `function(descriptor)`, which owns the descriptor and is always called in the same greenlet; no
            other client is accepted until it returns.
        ipv6: `"any"`, True for IPv6 only, False for IPv4 only.
        ssl_ctx: The TLS context of the streams, as for `SocketStream`.
        **stream_arguments: The other arguments of `SocketStreamServer`.

    Raises:
        StreamError: The server cannot start, for example because the port is in use.
    """
    arguments.function("function", function)
    if not (announce is None or announce is True or callable(announce)):
        raise TypeError(f"announce must be None, True or callable, not {announce!r}")
    if process_name is not None:
        arguments.string("process_name", process_name)
    keywords_for(start_up_server, stream_arguments)  # refuses unknown ones
    if not create_stream and (ssl_ctx is not None or stream_arguments):
        raise TypeError(f"create_stream=False makes no stream to take {['ssl_ctx', *stream_arguments]}")
    host: tuple[str | None, bool] = (None, True) if address is None else host_name("address", address)
    query = Query(*host, port_or_name("service", 0 if service is None else service), family_of(ipv6))
    announcer = _print if announce is True else announce
    kind = LispServer if create_stream else HandleServer
    options = {"backlog": backlog, "nodelay": nodelay, "keepalive": keepalive, **stream_arguments}
    if create_stream:
        options["ssl_ctx"] = ssl_ctx
    try:
        server = kind(query, function, announcer, process_name, **options)
        server.start()
    except OSError as condition:
        if error if error is not None else not wait:
            raise
        if announcer is not None:
            announcer(None, condition)
        return None, condition
    try:
        server.announce(server.socket, None)
    except BaseException:
        server.close()
        raise
    return server, None


def _print(socket: Any, condition: Any) -> None:
    if condition is not None:
        print(f"no server: {condition}", flush=True)
    elif socket is not None:
        print(f"server on {address_name(socket.getsockname())}", flush=True)


def server_terminate(server: SocketStreamServer | None = None) -> bool:
    """End a server and return whether it was running. Connections continue. LispWorks: `comm:server-terminate`.

    Args:
        server: The server. None means the server in whose own function or announcer this is called; it ends when that returns.
    """
    if server is None:
        call = _calls.get(getcurrent())
        if call is None or not call.server.started:
            return False
        call.ends_server = True
        return True
    arguments.instance("server", server, SocketStreamServer)
    was_running = bool(server.started)
    server.close()
    return was_running
