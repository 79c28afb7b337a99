"""`serve`: a server that echoes, discards, tells the time, sends a file or runs a command, until a signal ends it.

Rules for the next editor: `make_server` needs options and a listener only, so that more than one process can call it.
"""

from __future__ import annotations

import argparse
import logging
import ssl
import sys
from typing import Any

import gevent

from geventstreams.addresses import Query, family_of, host_name
from geventstreams.cli import handlers, options, signals, tls
from geventstreams.cli.statuses import EXPLANATION, CommandError, Status, said
from geventstreams.errors import StreamError
from geventstreams.server import SocketStreamServer
from geventstreams.start_up import bound
from geventstreams.stream import SocketStream
from geventstreams.transport import address_name

EXAMPLES = f"""examples:
  geventstreams serve echo --listen 127.0.0.1:7000
  geventstreams serve file:answer.txt --listen :8000                      to whoever connects, on all addresses
  geventstreams serve 'exec:tr a-z A-Z' --listen '[::1]:7001'             a program for each connection
  geventstreams serve echo --listen 7002 --tls chain.pem key.pem --max-connections 100

SIGINT (Ctrl-C) and SIGTERM drain: the port is closed at once, idle connections are ended in order, busy ones have
--drain seconds to become idle. A second signal ends everything at once.

{EXPLANATION}"""


def add_parser(commands: options.Commands) -> None:
    """Makes the command known."""
    parser = commands.add_parser(
        "serve",
        help="a server: echo, discard, time, file:PATH or exec:CMD",
        epilog=EXAMPLES,
        description="Accepts connections and serves each in the same way, until SIGINT or SIGTERM.",
    )
    parser.add_argument(
        "what",
        metavar="WHAT",
        type=handlers.named,
        help="echo: what comes goes back; discard: what comes is thrown away; time: a line; "
        "file:PATH: its octets; exec:CMD: a shell command with the connection as standard input and output",
    )
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
    tls.add_server_options(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Serves until a signal comes, then drains."""
    logging.basicConfig(level=logging.CRITICAL if given.quiet else logging.WARNING, format="geventstreams: %(message)s")
    context = tls.server_context(given)
    stops = signals.Stops()
    server = make_server(given, listening(*given.listen), context)
    server.start()
    if not given.quiet and sys.stdout is not None:
        print(f"serving {given.what} on {address_name(server.address)}", flush=True)
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


def make_server(given: argparse.Namespace, listener: Any, context: ssl.SSLContext | None) -> SocketStreamServer:
    """A server as the options say, on a listening socket, not yet accepting."""
    return SocketStreamServer(
        listener,
        Service(given),
        read_timeout=given.read_timeout,
        write_timeout=given.write_timeout,
        ssl_ctx=context,
        handshake_timeout=given.handshake_timeout,
        max_connections=given.max_connections,
        proxy_protocol=options.balancers(given),
    )


class Service:
    """What happens to each connection."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given

    def __call__(self, stream: SocketStream, address: Any) -> None:
        peer = address_name(address)
        self._tell(f"{peer}: connected")
        try:
            self._given.what.serve(stream, address)
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
