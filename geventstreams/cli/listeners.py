"""The listening sockets of a server: bound to an address, or passed on as descriptors, by a service manager for one."""

from __future__ import annotations

import argparse
import atexit
import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from socket import AF_UNIX, socket
from typing import Any

from geventstreams._core.transport import address_name
from geventstreams._net.addresses import Query, family_of, host_name
from geventstreams._net.listening import BACKLOG, adopt, descriptors_given, listen, listen_together, listening_socket
from geventstreams._net.unix_paths import BoundPath
from geventstreams.cli.options import Descriptor, Destination
from geventstreams.cli.statuses import CommandError, Status, message_of
from geventstreams.errors import StreamError

LOCAL = Destination("127.0.0.1")
"""Where to listen by default: a free port of this machine."""


def groups(args: argparse.Namespace) -> list[list[Any]]:
    """Return the listening sockets of each worker, or of the only process."""
    count = args.workers or 1
    passed = descriptors(args)
    for number in args.moved.keys() - set(passed):  # it would stay open when the others are closed
        os.close(args.moved[number])
    if passed:
        return count * [adopted(passed, args.moved)]
    where = LOCAL if args.listen is None else args.listen
    if where.path:
        return count * [[at_path(where)]]
    if not args.workers:
        return [[listening(where)]]
    return [[one] for one in _made(where, lambda query: listen_together(query, BACKLOG, count))]


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
    for one in sockets:
        one.set_inheritable(False)
    return sockets


def listening(where: Destination) -> Any:
    """Return a listening socket; without a host, on all addresses of the machine."""
    return _made(where, lambda query: listen(query, BACKLOG))


def names(addresses: Sequence[Any]) -> str:
    """Return the addresses of listening sockets as text that `connect` takes."""
    return ", ".join(map(address_name, addresses))


def at_path(where: Destination) -> Any:
    """Return a listening Unix socket, whose file is removed at the end of this process."""
    try:
        listener = listening_socket(AF_UNIX, where.path, BACKLOG)
    except StreamError as error:
        hint = " (no server listens there: remove the file)" if is_left(where.path) else ""
        raise CommandError(Status.CANNOT_LISTEN, message_of(error) + hint) from None
    atexit.register(BoundPath(where.path).remove)
    return listener


def is_left(path: str) -> bool:
    """Return whether a server that was killed has left the file of its Unix socket."""
    with suppress(OSError, ValueError), socket(AF_UNIX) as probe:  # a name without a file has a NUL, which is a ValueError
        probe.setblocking(False)
        return stat.S_ISSOCK(os.lstat(path).st_mode) and probe.connect_ex(path) == errno.ECONNREFUSED
    return False


def _made(where: Destination, make: Callable[[Query], Any]) -> Any:
    """Return what is made for an address. An error of the system ends the command."""
    name, is_literal = host_name("host", where.host) if where.host else (None, True)
    try:
        return make(Query(name, is_literal, where.port, family_of("any")))
    except StreamError as error:
        raise CommandError(Status.CANNOT_LISTEN, message_of(error)) from None
    except OSError as error:
        raise CommandError(Status.CANNOT_LISTEN, f"cannot listen on {where}: {message_of(error)}") from None
