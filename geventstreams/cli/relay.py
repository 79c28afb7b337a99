"""`relay`: pass each connection on to another server, in plain text or TLS on either side."""

from __future__ import annotations

import argparse

from geventstreams.cli import options, service, tls
from geventstreams.cli.parser import Commands
from geventstreams.cli.statuses import SEE_STATUSES, available
from geventstreams.relay import RelayHandler, Upstream

EXAMPLES = (
    ("pass a port on to another machine", "geventstreams relay --listen :8080 --to 127.0.0.1:80"),
    ("TLS for a server that has none", "geventstreams relay --listen :443 --tls-in chain.pem key.pem --to 127.0.0.1:80"),
    ("TLS for a client that has none", "geventstreams relay --listen 3306 --to db.example.org:3307 --tls-out"),
    ("a port for a server on a Unix socket", "geventstreams relay --listen 8080 --to unix:/run/app.sock"),
    ("behind a load balancer, and in front of one",
     "geventstreams relay --listen :80 --proxy-from 10.0.0.0/8 --to 10.1.0.7:80 --send-proxy 2"),
)

NOTES = f"""When either side ends its half, the other side is told, while the other direction goes on. A connection that breaks on one
side is reset on the other. On a terminal, bytes and bytes per second are shown for both directions.

{service.SIGNALS}

{SEE_STATUSES}"""


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "relay",
        help="pass connections on to another server, with or without TLS on either side",
        usage="%(prog)s --to ADDRESS ...",
        description="Accept connections, connect to --to for each of them, and pass on what comes from either side, until SIGINT or "
        "SIGTERM.",
        examples=EXAMPLES,
        notes=NOTES,
    )
    parser.add_argument(
        "--to",
        type=options.target,
        required=True,
        metavar="ADDRESS",
        help="the server to pass connections on to: HOST:PORT, [IPV6]:PORT, unix:PATH or @NAME",
    )
    parser.add_argument(
        "--timeout",
        type=options.timeout,
        default=10.0,
        metavar="SECONDS",
        help="give up if connecting to it, or the TLS handshake with it, takes longer than this (default: %(default)s)",
    )
    service.add_options(parser)
    parser.add_argument(
        "--send-proxy",
        type=int,
        choices=(1, 2),
        metavar="VERSION",
        help="send the server the client's address in a PROXY protocol header of version 1 or 2",
    )
    tls.add_relay_options(parser)
    parser.set_defaults(run=run, finish=finish, outlets=("stdout", "stderr"))


def finish(args: argparse.Namespace, rest: list[str]) -> None:
    """Refuse what cannot be relayed to."""
    if rest:
        raise argparse.ArgumentTypeError(f"unexpected argument: {rest[0]}")
    options.check_certificate_name(args.to, args.tls_out, args)


def run(args: argparse.Namespace) -> int:
    """Relay until a signal comes, then drain."""
    inner, outer = tls.relay_contexts(args)
    upstream = Upstream(
        args.to.host or None,
        args.to.port or None,
        path=args.to.path or None,
        ssl_ctx=outer,
        server_name=args.server_name,
        proxy_version=args.send_proxy,
        timeout=args.timeout,
        read_timeout=args.read_timeout,
        write_timeout=args.write_timeout,
    )
    handler = available(lambda: RelayHandler(upstream))
    return service.run(args, f"relaying to {upstream}", handler, inner, rows=("from clients", "to clients"))
