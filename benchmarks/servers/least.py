"""The least programs: servers that do nothing but what every library with a greenlet for each connection has to do on gevent's loop.

The option `library` is the path of `native/least.c`, compiled. A handler is Python; what it calls is C, and promises nothing else.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from typing import Any

from gevent import Greenlet
from gevent.event import Event

from benchmarks.servers.common import echo_lines, echo_one_line, receive_pieces, send_pieces, tls_context


def native(options: Mapping[str, Any]) -> Any:
    """Return the compiled module."""
    loader = ExtensionFileLoader("least", options["library"])
    module = importlib.util.module_from_spec(ModuleSpec("least", loader, origin=options["library"]))
    loader.exec_module(module)
    return module


def makefile(options: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a method for gevent's sockets that makes the least file to read from, for every mode."""
    file = native(options).file
    return lambda connection, *_mode: file(connection)


def _run(handle: Callable[..., object], is_pushing: bool, listener: socket.socket, options: Mapping[str, Any]) -> None:
    listener.setblocking(False)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
    spawner = Greenlet.spawn if options.get("spawns") else None
    watcher = native(options).serve(listener.fileno(), handle, is_pushing, spawner)
    try:
        Event().wait()
    finally:
        watcher.stop()


def _serve(talk: Callable[[Any], object], listener: socket.socket, options: Mapping[str, Any]) -> None:
    context = tls_context(options)
    is_counted = options.get("counted", True)

    def talk_by_memory(connection: Any) -> None:
        assert context is not None
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secured = context.wrap_bio(incoming, outgoing, server_side=True)
        connection.secure(secured._sslobj, incoming, outgoing, is_counted)  # type: ignore[attr-defined]
        talk(connection)

    def talk_by_socket(connection: Any) -> None:
        assert context is not None
        with socket.socket(fileno=os.dup(connection.fileno())) as held:
            held.setblocking(False)
            connection.secure(context._wrap_socket(held, server_side=True), None, None, is_counted)  # type: ignore[attr-defined]
            talk(connection)

    handle = talk if context is None else talk_by_memory if options.get("memory", True) else talk_by_socket
    _run(handle, False, listener, options)


echo = partial(_serve, echo_lines)
echo_in_c = partial(_serve, lambda connection: connection.echo())
one_line = partial(_serve, echo_one_line)
receive = partial(_serve, lambda connection: receive_pieces(connection.read, connection.readinto, connection.send))
send = partial(_serve, lambda connection: send_pieces(connection.read, connection.send))
echo_chunks = partial(_run, lambda connection, data: connection.push(data), True)
