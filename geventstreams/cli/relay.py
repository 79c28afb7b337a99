"""`relay`: each connection is passed on to another server, octet by octet, in plain text or TLS on either side."""

from __future__ import annotations

import argparse

from geventstreams.cli import options, service, tls
from geventstreams.cli.statuses import EXPLANATION, available
from geventstreams.relay import RelayHandler, Upstream

EXAMPLES = f"""examples:
  geventstreams relay --listen :8080 --to 127.0.0.1:80
  geventstreams relay --listen :443 --tls-in chain.pem key.pem --to 127.0.0.1:80                 TLS ends here
  geventstreams relay --listen 3306 --to db.example.org:3307 --tls-out                          TLS begins here
  geventstreams relay --listen :80 --proxy-from 10.0.0.0/8 --to 10.1.0.7:80 --send-proxy 2      behind and before a balancer

Either side's end is passed on to the other, while the other way goes on. A connection that breaks on one side is reset
on the other.

{service.DRAINING}

{EXPLANATION}"""


def add_parser(commands: options.Commands) -> None:
    """Makes the command known."""
    parser = commands.add_parser(
        "relay",
        help="pass connections on to another server, with or without TLS on either side",
        epilog=EXAMPLES,
        description="Connects to --to for each connection that it accepts, and passes on what comes on either, until SIGINT or SIGTERM.",
    )
    parser.add_argument(
        "--to", type=options.target, required=True, metavar="HOST:PORT", help="the server to pass connections on to; [IPV6]:PORT"
    )
    parser.add_argument(
        "--timeout",
        type=options.seconds,
        default=10.0,
        metavar="SECONDS",
        help="give up if connecting to it, or the TLS handshake with it, takes longer than this (default: %(default)s)",
    )
    service.add_options(parser)
    parser.add_argument(
        "--send-proxy", type=int, choices=(1, 2), metavar="VERSION", help="tell it the client's address by a PROXY protocol header: 1 or 2"
    )
    tls.add_relay_options(parser)
    parser.set_defaults(run=run, outlets=("stdout", "stderr"))


def run(given: argparse.Namespace) -> int:
    """Relays until a signal comes, then drains."""
    inner, outer = tls.relay_contexts(given)
    host, port = given.to
    upstream = Upstream(
        host,
        port,
        ssl_ctx=outer,
        server_name=given.server_name,
        proxy_version=given.send_proxy,
        timeout=given.timeout,
        read_timeout=given.read_timeout,
        write_timeout=given.write_timeout,
    )
    return service.run(given, f"relaying to {upstream}", available(lambda: RelayHandler(upstream)), inner)
