"""The least programs: servers that do nothing but what every library with a greenlet for each connection has to do on gevent's loop.

The option `library` is the path of `native/least.c`, compiled. A handler is Python; what it calls is C, and promises nothing else.
"""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable, Mapping
from functools import partial
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from typing import Any

from gevent.event import Event


def native(options: Mapping[str, Any]) -> Any:
    """Return the compiled module."""
    loader = ExtensionFileLoader("least", options["library"])
    module = importlib.util.module_from_spec(ModuleSpec("least", loader, origin=options["library"]))
    loader.exec_module(module)
    return module


def _serve(handle: Callable[[Any], object], listener: socket.socket, options: Mapping[str, Any]) -> None:
    listener.setblocking(False)
    watcher = native(options).serve(listener.fileno(), handle)
    try:
        Event().wait()
    finally:
        watcher.stop()


def _echo(connection: Any) -> None:
    while line := connection.readline():
        connection.write(line)
        connection.flush()


def _one_line(connection: Any) -> None:
    connection.write(connection.readline())
    connection.flush()


echo = partial(_serve, _echo)
echo_in_c = partial(_serve, lambda connection: connection.echo())
one_line = partial(_serve, _one_line)
