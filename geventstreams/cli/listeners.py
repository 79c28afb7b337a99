"""Where a server's listeners come from: an address, a descriptor that was passed on, or a service manager."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from geventstreams._net.addresses import Query, family_of, host_name
from geventstreams._net.listening import adopt, descriptors_given, listen, shared_listeners
from geventstreams.cli.options import Descriptor
from geventstreams.cli.statuses import CommandError, Status, said
from geventstreams.errors import StreamError
from geventstreams.server.server import SocketStreamServer

LOCAL = ("127.0.0.1", 0)
"""Where to listen if nobody says where: a free port of this machine."""


def groups(given: argparse.Namespace) -> list[list[Any]]:
    """The listening sockets of each worker, or of the one process that there is."""
    count = given.workers or 1
    passed = descriptors(given)
    for number in given.moved.keys() - set(passed):  # one that is left open would outlive the others
        os.close(given.moved[number])
    if passed:
        return count * [adopted(passed, given.moved)]
    host, port = LOCAL if given.listen is None else given.listen
    if not given.workers:
        return [[listening(host, port)]]
    return [[one] for one in _told(host, port, lambda query: shared_listeners(query, SocketStreamServer.backlog, count))]


def descriptors(given: argparse.Namespace) -> list[int]:
    """Those that this process got from its parent, if it did."""
    if given.worker is not None:
        return list(given.worker)
    if isinstance(given.listen, Descriptor):
        return [given.listen.number]
    if given.listen is not None:
        return []
    try:
        return descriptors_given()
    except ValueError as error:
        raise CommandError(Status.USAGE, str(error)) from None


def adopted(numbers: Sequence[int], moved: Mapping[int, int]) -> list[Any]:
    """The listening sockets that were passed on under these numbers, which no program that we start shall inherit."""
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
    """A listening socket; without a host on all addresses of the machine."""
    return _told(host, port, lambda query: listen(query, SocketStreamServer.backlog))


def _told(host: str, port: int, make: Callable[[Query], Any]) -> Any:
    """What is made for an address; what keeps it from being made is told in a line."""
    name, is_literal = host_name("host", host) if host else (None, True)
    try:
        return make(Query(name, is_literal, port, family_of("any")))
    except StreamError as error:
        raise CommandError(Status.CANNOT_LISTEN, said(error)) from None
    except OSError as error:
        raise CommandError(Status.CANNOT_LISTEN, f"cannot listen on {host}:{port}: {said(error)}") from None
