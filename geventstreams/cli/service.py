"""What `serve` and `relay` have in common: their options, and running a server until a signal ends it.

Rules for the next editor: `make_server` needs options, a handler and a listener only, so that more than one process can
call it. What is wrong with an option is told before anything listens.
"""

from __future__ import annotations

import argparse
import logging
import ssl
import sys
from typing import Any

import gevent

from geventstreams.addresses import Query, family_of, host_name
from geventstreams.cli import options, signals
from geventstreams.cli.handlers import Handler
from geventstreams.cli.statuses import CommandError, Status, said
from geventstreams.errors import StreamError
from geventstreams.server import SocketStreamServer
from geventstreams.start_up import bound
from geventstreams.stream import SocketStream
from geventstreams.transport import address_name

DRAINING = """SIGINT (Ctrl-C) and SIGTERM drain: the port is closed at once, idle connections are ended in order, busy ones have
--drain seconds to become idle. A second signal ends everything at once."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a server."""
    parser.add_argument(
        "--listen",
        type=options.listen_address,
        default=("127.0.0.1", 0),
        metavar="ADDRESS",
        help="HOST:PORT, [IPV6]:PORT, :PORT for all addresses, PORT for this machine only (default: a free port)",
    )
    options.add_timeouts(parser)
    parser.add_argument(
        "--handshake-timeout",
        type=options.seconds,
        default=10.0,
        metavar="SECONDS",
        help="a TLS handshake may take so long (default: %(default)s)",
    )
    parser.add_argument("--max-connections", type=options.count, metavar="N", help="serve so many at once; others wait for their turn")
    parser.add_argument(
        "--drain",
        type=options.seconds,
        metavar="SECONDS",
        help="busy connections have so long at the end (default: 10)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="a line on standard error for each connection, and for its end")
    options.add_proxy_protocol(parser)
    options.add_common(parser)


def run(given: argparse.Namespace, what: str, serve: Handler, context: ssl.SSLContext | None) -> int:
    """Serves until a signal comes, then drains; `what` is the line that says what it does, up to the address."""
    logging.basicConfig(level=logging.CRITICAL if given.quiet else logging.WARNING, format="geventstreams: %(message)s")
    balancers = options.balancers(given)
    stops = signals.Stops()
    server = make_server(given, listening(*given.listen), serve, context, balancers)
    server.start()
    if not given.quiet and sys.stdout is not None:
        print(f"{what} on {address_name(server.address)}", flush=True)
    stops.first.wait()
    draining = gevent.spawn(server.stop, given.drain)
    gevent.wait([draining, stops.second], count=1)
    if stops.second.is_set():
        server.stop(0)
        raise CommandError(Status.INTERRUPTED)
    tell(given, "drained: {0.finished} finished, {0.idle} idle, {0.killed} killed".format(draining.get()))
    return Status.DONE


def listening(host: str, port: int) -> Any:
    """A listening socket; without a host on all addresses of the machine."""
    name, is_literal = host_name("host", host) if host else (None, True)
    try:
        return bound(Query(name, is_literal, port, family_of("any")), SocketStreamServer.backlog)
    except StreamError as error:
        raise CommandError(Status.CANNOT_LISTEN, said(error)) from None
    except OSError as error:
        raise CommandError(Status.CANNOT_LISTEN, f"cannot listen on {host}:{port}: {said(error)}") from None


def make_server(
    given: argparse.Namespace, listener: Any, serve: Handler, context: ssl.SSLContext | None, balancers: Any
) -> SocketStreamServer:
    """A server as the options say, on a listening socket, not yet accepting."""
    return SocketStreamServer(
        listener,
        Service(given, serve),
        read_timeout=given.read_timeout,
        write_timeout=given.write_timeout,
        ssl_ctx=context,
        handshake_timeout=given.handshake_timeout,
        max_connections=given.max_connections,
        proxy_protocol=balancers,
    )


class Service:
    """What happens to each connection."""

    def __init__(self, given: argparse.Namespace, serve: Handler) -> None:
        self._given = given
        self._serve = serve

    def __call__(self, stream: SocketStream, address: Any) -> None:
        peer = address_name(address)
        self._tell(f"{peer}: connected")
        try:
            self._serve(stream, address)
        except StreamError:
            raise  # the connection's doing, which the server tells
        except OSError as error:
            stream.abort()
            print(f"geventstreams: {peer}: {said(error)}", file=sys.stderr, flush=True)
        finally:
            self._tell(f"{peer}: ended, {stream.octets_in:,} octets in, {stream.octets_out:,} out")

    def _tell(self, line: str) -> None:
        if self._given.verbose:
            tell(self._given, line)


def tell(given: argparse.Namespace, line: str) -> None:
    """A notice on standard error."""
    if not given.quiet and sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)
