"""What `serve` and `relay` have in common: their options, and running a server until a signal ends it.

Rules for the next editor: `make_server` needs options, a handler and a listener only, so that more than one process can
call it. What is wrong with an option is told before anything listens.
"""

from __future__ import annotations

import argparse
import logging
import ssl
from typing import Any

import gevent

from geventstreams._core.transport import address_name
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli import listeners, notices, options, signals, supervision, watching
from geventstreams.cli.handlers import Handler
from geventstreams.cli.statuses import CommandError, Status, said
from geventstreams.errors import StreamError
from geventstreams.server.draining import DrainReport
from geventstreams.server.server import SocketStreamServer

DRAINING = """SIGINT (Ctrl-C) and SIGTERM drain: the port is closed at once, idle connections are ended in order, busy ones have
--drain seconds to become idle. A second signal ends everything at once. SIGHUP replaces workers one by one."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a server."""
    parser.add_argument(
        "--listen",
        type=options.listen_address,
        metavar="ADDRESS",
        help="HOST:PORT, [IPV6]:PORT, :PORT for all addresses, PORT for this machine only, fd:NUMBER for a listening socket "
        "that was passed on (default: those of systemd's socket activation, else a free port)",
    )
    parser.add_argument(
        "--workers", type=options.count, metavar="N", help="so many processes on one port; SIGHUP replaces them one by one"
    )
    parser.add_argument(
        "--metrics",
        type=options.page_address,
        metavar="ADDRESS",
        help="a page of figures for Prometheus on http://ADDRESS/metrics, with all workers' together",
    )
    parser.add_argument("--worker", type=options.descriptors, help=argparse.SUPPRESS)  # said by a supervisor
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
        type=options.patience,
        metavar="SECONDS",
        help="busy connections have so long at the end; 0 ends all at once (default: 10)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="a line on standard error for each connection, and for its end")
    options.add_proxy_protocol(parser)
    options.add_common(parser)


def run(given: argparse.Namespace, what: str, serve: Handler, context: ssl.SSLContext | None) -> int:
    """Serves until a signal comes, then drains; `what` is the line that says what it does, up to the address."""
    logging.basicConfig(level=logging.CRITICAL if given.quiet else logging.WARNING, format="geventstreams: %(message)s")
    balancers = options.balancers(given)
    notices.tell_build(given)
    groups = listeners.groups(given)
    if given.workers and given.worker is None:
        return supervision.run(given, what, groups)
    metrics = watching.Process(given)
    stops = signals.WorkerStops() if given.worker is not None else signals.Stops()
    servers = [make_server(given, listener, serve, context, balancers) for listener in groups[0]]
    for server in servers:
        server.start()
    addresses = notices.listed(address_name(server.address) for server in servers)
    notices.announce(given, f"{what} on {addresses}")
    metrics.start(servers)
    drained = stops.drained(stop_all, servers, given.drain)
    if drained is None:
        stop_all(servers, 0)
        raise CommandError(Status.INTERRUPTED)
    metrics.stop()
    notices.tell(given, "drained: {0.finished} finished, {0.idle} idle, {0.killed} killed".format(drained.get()))
    return Status.DONE


def stop_all(servers: list[SocketStreamServer], timeout: float | None) -> DrainReport:
    """Stops them side by side: one report about all."""
    stopping = [gevent.spawn(server.stop, timeout) for server in servers]
    return DrainReport(*map(sum, zip(*(each.get() for each in stopping), strict=True)))


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
        stream_class=getattr(serve, "stream_class", SocketStream),
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
            notices.warn(f"{peer}: {said(error)}")
        finally:
            self._tell(f"{peer}: ended, {stream.octets_in:,} octets in, {stream.octets_out:,} out")

    def _tell(self, line: str) -> None:
        if self._given.verbose:
            notices.tell(self._given, line)
