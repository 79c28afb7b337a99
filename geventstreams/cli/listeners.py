"""The listening sockets of a server: bound to an address, or passed on as descriptors, by a service manager for one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from geventstreams._net.addresses import Query, family_of, host_name
from geventstreams._net.listening import adopt, descriptors_given, listen, shared_listeners
from geventstreams.cli.options import Descriptor
from geventstreams.cli.statuses import CommandError, Status, message_of
from geventstreams.errors import StreamError
from geventstreams.server.server import SocketStreamServer

LOCAL = ("127.0.0.1", 0)
"""Where to listen by default: a free port of this machine."""


def groups(args: argparse.Namespace) -> list[list[Any]]:
    """Return the listening sockets of each worker, or of the only process."""
    count = args.workers or 1
    passed = descriptors(args)
    for number in args.moved.keys() - set(passed):  # it would stay open when the others are closed
        os.close(args.moved[number])
    if passed:
        return count * [adopted(passed, args.moved)]
    host, port = LOCAL if args.listen is None else args.listen
    if not args.workers:
        return [[listening(host, port)]]
    return [[one] for one in _made(host, port, lambda query: shared_listeners(query, SocketStreamServer.backlog, count))]


def descriptors(args: argparse.Namespace) -> list[int]:
    """Return the descriptors of listeners that the parent process passed on, if it did."""
    if args.worker is not None:
        return list(args.worker)
    if isinstance(args.listen, Descriptor):
        return [args.listen.number]
    if args.listen is not None:
        return []
    try:
        return descriptors_given()
    except ValueError as error:
        raise CommandError(Status.USAGE, str(error)) from None


def adopted(numbers: Sequence[int], moved: Mapping[int, int]) -> list[Any]:
    """Return the listening sockets that were passed on under these numbers. Programs that we start do not inherit them."""
    sockets = []
    for number in dict.fromkeys(numbers):
        try:
            sockets.append(adopt("descriptor", moved.get(number, number)))
        except ValueError:
            raise CommandError(Status.CANNOT_LISTEN, f"descriptor {number} is not a listening stream socket") from None
    for socket in sockets:
        socket.set_inheritable(False)
    return sockets


def listening(host: str, port: int) -> Any:
    """Return a listening socket; without a host, on all addresses of the machine."""
    return _made(host, port, lambda query: listen(query, SocketStreamServer.backlog))


def _made(host: str, port: int, make: Callable[[Query], Any]) -> Any:
    """Return what is made for an address. An error of the system ends the command."""
    name, is_literal = host_name("host", host) if host else (None, True)
    try:
        return make(Query(name, is_literal, port, family_of("any")))
    except StreamError as error:
        raise CommandError(Status.CANNOT_LISTEN, message_of(error)) from None
    except OSError as error:
        raise CommandError(Status.CANNOT_LISTEN, f"cannot listen on {host}:{port}: {message_of(error)}") from None
