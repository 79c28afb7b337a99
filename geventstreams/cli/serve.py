"""`serve`: a server that echoes, discards, tells the time, sends a file or runs a command, until a signal ends it."""

from __future__ import annotations

import argparse

from geventstreams.cli import handlers, options, service, tls
from geventstreams.cli.statuses import EXPLANATION

EXAMPLES = f"""examples:
  geventstreams serve echo --listen 127.0.0.1:7000
  geventstreams serve file:answer.txt --listen :8000                      to whoever connects, on all addresses
  geventstreams serve 'exec:tr a-z A-Z' --listen '[::1]:7001'             a program for each connection
  geventstreams serve echo --listen 7002 --tls chain.pem key.pem --max-connections 100
  geventstreams serve echo --listen :7003 --workers 4 --metrics 9100      four processes, and figures for Prometheus

{service.DRAINING}

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
        "file:PATH: the bytes of a regular file; exec:CMD: a shell command with the connection as standard input and output",
    )
    service.add_options(parser)
    tls.add_server_options(parser)
    parser.set_defaults(run=run, outlets=("stdout", "stderr"))


def run(given: argparse.Namespace) -> int:
    """Serves until a signal comes, then drains."""
    return service.run(given, f"serving {given.what}", given.what.serve, tls.server_context(given))
