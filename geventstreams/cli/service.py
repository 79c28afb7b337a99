"""What `serve` and `relay` share: their options, and a server that runs until a signal ends it."""

# Invariants: `make_server` needs options, a service and a listener only, so that more than one process can call it. A mistake in the
# options is reported before anything listens.

from __future__ import annotations

import argparse
import signal
import ssl
from typing import TYPE_CHECKING, Any

import gevent

from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli import listeners, log, notices, options, signals, supervision, systemd, watching
from geventstreams.cli.connections import Service
from geventstreams.cli.progress import Progress
from geventstreams.cli.statuses import CommandError, Status
from geventstreams.server.draining import DrainReport
from geventstreams.server.server import SocketStreamServer

if TYPE_CHECKING:
    from geventstreams._types import Handler

SIGNALS = """SIGINT (Ctrl-C) and SIGTERM drain: the port is closed at once, idle connections are ended in order, busy ones have --drain
seconds to become idle. A second signal ends everything at once. SIGHUP replaces workers one by one; without
workers it drains, too. SIGUSR1 lists the open connections on
standard error."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a server."""
    parser.add_argument(
        "--listen",
        type=options.listen_address,
        metavar="ADDRESS",
        help="HOST:PORT, [IPV6]:PORT, :PORT for all addresses, PORT for this machine only, unix:PATH, @NAME, fd:NUMBER for a "
        "listening socket that was passed on (default: the listeners of systemd's socket activation, else a free port)",
    )
    parser.add_argument("--workers", type=options.count, metavar="N", help="processes that share the port; SIGHUP replaces them one by one")
    parser.add_argument(
        "--metrics", type=options.page_address, metavar="ADDRESS", help="a page for Prometheus on http://ADDRESS/metrics, for all workers"
    )
    parser.add_argument("--worker", type=options.descriptors, help=argparse.SUPPRESS)  # given by a supervisor
    options.add_timeouts(parser)
    parser.add_argument(
        "--idle-timeout",
        type=options.timeout,
        metavar="SECONDS",
        help="end connections in order on which nothing is sent or received for this time",
    )
    parser.add_argument(
        "--handshake-timeout",
        type=options.timeout,
        default=10.0,
        metavar="SECONDS",
        help="the time for a TLS handshake (default: %(default)s)",
    )
    parser.add_argument("--max-connections", type=options.count, metavar="N", help="serve at most N at once; others wait")
    parser.add_argument(
        "--drain",
        type=options.seconds_or_zero,
        metavar="SECONDS",
        help="the time for busy connections at the end; 0 ends all at once (default: 10)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="a line on standard error for each connection and for its end")
    parser.add_argument(
        "--log",
        choices=("text", "json"),
        help="a line on standard error for each connection that has ended: bytes, seconds, and how it ended; with json every line is JSON",
    )
    options.add_proxy_protocol(parser)
    options.add_common(parser)


def run(
    args: argparse.Namespace, what: str, serve: Handler, context: ssl.SSLContext | None, rows: tuple[str, str] | None = None
) -> int:
    """Serve until a signal comes, then drain.

    `what` begins the line that says what is done where. `rows` are names for the bytes from clients and to clients, if these are shown.
    """
    log.configure(args)
    balancers = options.balancers(args)
    notices.tell_build(args)
    groups = listeners.groups(args)
    if args.workers and args.worker is None:
        return supervision.run(args, what, groups)
    metrics = watching.Process(args)
    stops = signals.WorkerStops() if args.worker is not None else signals.Stops()
    service = Service(args, serve)
    stops.signals.handle(signal.SIGUSR1, service.list_open)
    servers = [make_server(args, listener, service, context, balancers) for listener in groups[0]]
    for server in servers:
        server.start()
    notices.announce(args, f"{what} on {listeners.names([server.address for server in servers])}")
    metrics.start(servers)
    with systemd.notified(stops.first, notices.is_worker(args)), counts(servers, rows, args):
        drained = stops.drained(stop_all, servers, args.drain)
    if drained is None:
        stop_all(servers, 0)
        raise CommandError(Status.INTERRUPTED)
    metrics.stop()
    notices.tell(args, "drained: {0.finished} finished, {0.idle} idle, {0.killed} killed".format(drained.get()))
    return Status.DONE


def counts(servers: list[SocketStreamServer], rows: tuple[str, str] | None, args: argparse.Namespace) -> Progress:
    """Return what shows the bytes of all connections on a terminal, unless lines about connections do."""

    def poll() -> None:
        assert rows is not None
        stats = [server.stats for server in servers]
        progress.set(rows[0], sum(each.octets_in for each in stats))
        progress.set(rows[1], sum(each.octets_out for each in stats), f"{sum(each.active for each in stats):,} open")

    progress = Progress(*rows or (), shown=rows is not None and not (args.quiet or args.verbose or args.log), poll=poll)
    return progress


def stop_all(servers: list[SocketStreamServer], timeout: float | None) -> DrainReport:
    """Stop them side by side. Return one report for all."""
    stopping = [gevent.spawn(server.stop, timeout) for server in servers]
    return DrainReport(*map(sum, zip(*(each.get() for each in stopping), strict=True)))


def make_server(
    args: argparse.Namespace, listener: Any, service: Service, context: ssl.SSLContext | None, balancers: Any
) -> SocketStreamServer:
    """Return a server as the options want it, on a listening socket, which does not accept yet."""
    return SocketStreamServer(
        listener,
        service,
        read_timeout=args.read_timeout,
        write_timeout=args.write_timeout,
        ssl_ctx=context,
        handshake_timeout=args.handshake_timeout,
        max_connections=args.max_connections,
        proxy_protocol=balancers,
        stream_class=getattr(service.serve, "stream_class", SocketStream),
    )
