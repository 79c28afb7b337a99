"""Servers the Lisp way: one call binds a port and serves it, another one ends that.

Rules for the next editor: all arguments are checked before anything is bound. Whatever a server does at its end happens
in `close()`, which everything that ends a server calls.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import gevent
from gevent import Greenlet, GreenletExit, get_hub, getcurrent
from gevent.queue import Queue

from geventstreams._constants import NEVER
from geventstreams._core.transport import address_name
from geventstreams._net.addresses import Query, family_of, host_name, port_or_name
from geventstreams._net.listener import Client
from geventstreams._net.listening import listen
from geventstreams.server.draining import DrainReport
from geventstreams.server.server import SocketStreamServer

Announcer = Callable[[Any, Any], object]

_running: dict[Any, Call] = {}


class Call:
    """A server's own function while it runs in a greenlet: there `server_terminate()` knows which server is meant."""

    def __init__(self, server: LispServer) -> None:
        self.server = server
        self.ends_server = False
        self._outer: Call | None = None

    def __enter__(self) -> None:
        self._outer = _running.get(getcurrent())
        _running[getcurrent()] = self

    def __exit__(self, *ended_by: object) -> None:
        if self._outer is None:
            del _running[getcurrent()]
        else:
            _running[getcurrent()] = self._outer
        if self.ends_server:
            self.server.close()


class LispServer(SocketStreamServer):
    """A server whose function gets a stream and nothing else."""

    def __init__(self, query: Query, function: Callable[[Any], object], announce: Announcer | None, name: str | None,
                 **options: Any) -> None:
        self._query = query
        self._function = function
        self._announce = announce
        self._name = name
        SocketStreamServer.__init__(self, ("", 0), **options)

    def init_socket(self) -> None:
        """Binds to the first of its addresses that this machine has, and listens."""
        self.socket = listen(self._query, self.backlog)
        self.family, self.address = self.socket.family, self.socket.getsockname()
        SocketStreamServer.init_socket(self)

    def handle(self, stream: Any, address: Any) -> None:
        """Calls the function."""
        if self._name is not None and isinstance(getcurrent(), Greenlet):
            getcurrent().name = self._name
        with Call(self):
            self._function(stream)

    def announce(self, socket: Any, condition: Any) -> None:
        """Tells whoever wants to know that it is up, that it could not be, or that it ended."""
        if self._announce is not None:
            with Call(self):
                self._announce(socket, condition)

    def close(self) -> None:
        """Closes the listener, and announces that. Connections go on."""
        was_up = self.started
        SocketStreamServer.close(self)
        if was_up and getcurrent() is get_hub():
            gevent.spawn(self.announce, None, None)
        elif was_up:
            self.announce(None, None)


class HandleServer(LispServer):
    """A server as LispWorks 7.1 has it: its function owns a descriptor, and nobody is accepted until it returns."""

    def __init__(self, query: Query, function: Callable[[Any], object], announce: Announcer | None, name: str | None,
                 **options: Any) -> None:
        self._jobs: Queue[Any] = Queue()
        self._busy = False
        self._process = Greenlet(self._work)
        if name is not None:
            self._process.name = name
        LispServer.__init__(self, query, function, announce, name, spawn=self._employ, max_connections=1, **options)

    def start(self) -> None:
        """Binds, listens, and starts the one greenlet."""
        LispServer.start(self)
        self._process.start()

    def _employ(self, function: Callable[..., object], *arguments: Any) -> None:
        self._jobs.put((function, arguments))

    def _work(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                function, arguments = job
                with Reported(self):
                    function(*arguments)
                del job, function, arguments
        finally:
            self.close()

    def serve_client(self, client: Client, address: Any, handle: Callable[..., object]) -> None:
        """A connection, as far as it is the server's: until the function returns."""
        client.take_place()
        self._busy = True
        try:
            with Call(self):
                self._function(client.take())
        finally:
            self._busy = False
            self.client_left()

    def close(self) -> None:
        """Closes the listener; the function that runs goes on."""
        self._jobs.put(None)
        LispServer.close(self)

    def drain(self, seconds: float, hurry: bool) -> DrainReport:
        """Waits for the function that runs, and kills it when the time is over."""
        if getcurrent() is self._process:
            return DrainReport(0, 0, 0)
        busy = int(self._busy)
        self._process.join(None if seconds == NEVER else seconds)
        if self._process.dead:
            return DrainReport(busy, 0, 0)
        self._process.kill(timeout=1.0)
        return DrainReport(0, 0, 1)


class Reported:
    """Hands what a function raises to the hub, which prints it, as it does for a greenlet that ends so."""

    def __init__(self, context: object) -> None:
        self._context = context

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if kind is None or issubclass(kind, GreenletExit):
            return False
        get_hub().handle_error(self._context, kind, error, trace)
        return True


def start_up_server(
    function: Callable[[Any], object], service: Any = None, *, address: Any = None, announce: Any = None,
    backlog: int | None = None, nodelay: bool = True, keepalive: bool = False, process_name: str | None = None,
    wait: bool = False, error: bool | None = None, create_stream: bool = True, ipv6: Any = "any", ssl_ctx: Any = None,
    **stream_arguments: Any,
) -> tuple[SocketStreamServer | None, OSError | None]:
    """Starts a server, which listens when this returns `(server, None)`. Modelled on LispWorks' `comm:start-up-server`.

    `function(stream)` is called in a greenlet for each connection; with `create_stream=False` it is `function(handle)`,
    owns the descriptor, is always called in the same greenlet, and nobody is accepted until it returns. `service` is a
    port, digits, or a service name; None takes a free port. `address` is ours (None: all, as `ipv6` says).

    `announce(socket, condition)` is called with `(socket, None)` when the server is up, `(None, None)` when it ended,
    and `(None, condition)` when it could not start, unless that is raised; True prints a line. `error` says whether it
    is raised; otherwise the answer is `(None, condition)`. By default it is raised unless `wait` is true; waiting for
    the start is what happens in any case. `process_name` names the server's greenlets (`gevent.util.format_run_info`).
    Everything else is as `SocketStreamServer` has it.
    """
    if not callable(function):
        raise TypeError(f"function must be callable, not {function!r}")
    if not (announce is None or announce is True or callable(announce)):
        raise TypeError(f"announce must be None, True or callable, not {announce!r}")
    if not (process_name is None or isinstance(process_name, str)):
        raise TypeError(f"process_name must be a string or None, not {process_name!r}")
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
    """Ends a server; whether it was running. Connections go on. LispWorks' `comm:server-terminate`.

    Without a server it is the one in whose own function this is called, and it ends when that function returns.
    """
    if server is None:
        call = _running.get(getcurrent())
        if call is None or not call.server.started:
            return False
        call.ends_server = True
        return True
    if not isinstance(server, SocketStreamServer):
        raise TypeError(f"server must be a SocketStreamServer or None, not {server!r}")
    was_running = bool(server.started)
    server.close()
    return was_running
