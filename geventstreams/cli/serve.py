"""`serve`: a server that echoes, discards, sends the time, files or the output of programs, until a signal ends it."""

from __future__ import annotations

import argparse

from geventstreams.cli import handlers, service, tls
from geventstreams.cli.parser import Commands
from geventstreams.cli.statuses import SEE_STATUSES

EXAMPLES = (
    ("something to test a client with", "geventstreams serve echo --listen 127.0.0.1:7000"),
    ("the files of a folder, on all addresses of this machine", "geventstreams serve http:public --listen :8000"),
    ("the same over TLS", "geventstreams serve http:public --listen :8443 --tls chain.pem key.pem"),
    ("the bytes of a file to each client", "geventstreams serve file:answer.txt --listen :8001"),
    ("a program for each connection", "geventstreams serve 'exec:tr a-z A-Z' --listen '[::1]:7001'"),
    ("one line of JSON for each connection", "geventstreams serve echo --listen 7002 --log json --idle-timeout 60"),
    ("four processes, and a page for Prometheus", "geventstreams serve echo --listen :7003 --workers 4 --metrics 9100"),
)

NOTES = f"""WHAT is one of these: echo sends back what a client sends; discard reads it; time sends the time in one line; http:FOLDER
serves the files of a folder (http: the current one) to browsers; file:PATH sends the bytes of a file; exec:CMD runs a shell command whose
standard input and output are the connection.

{service.SIGNALS}

{SEE_STATUSES}"""


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "serve",
        help="a server: echo, discard, time, http, file:PATH or exec:CMD",
        usage="%(prog)s WHAT [OPTION ...]",
        description="Accept connections and serve them all in the same way, until SIGINT or SIGTERM.",
        examples=EXAMPLES,
        notes=NOTES,
    )
    parser.add_argument("what", metavar="WHAT", type=handlers.named, help="echo, discard, time, http[:FOLDER], file:PATH or exec:CMD")
    service.add_options(parser)
    tls.add_server_options(parser)
    parser.set_defaults(run=run, outlets=("stdout", "stderr"))


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes, then drain."""
    return service.run(args, f"serving {args.what}", args.what.serve, tls.server_context(args))
