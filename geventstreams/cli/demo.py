"""`demo`: the same work through geventstreams, through gevent's own `makefile`, and over TLS; every byte that comes back is compared."""

from __future__ import annotations

import _socket
import argparse
import importlib.resources
import itertools
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gevent.server
import gevent.socket
from gevent.pool import Group, Pool

from geventstreams._net.connect import open_tcp_stream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli import certificates, notices, options
from geventstreams.cli.layout import fill, width_of_help
from geventstreams.cli.parser import Commands
from geventstreams.cli.progress import Progress, size
from geventstreams.cli.signals import interruptible
from geventstreams.cli.standard import require_output
from geventstreams.cli.statuses import SEE_STATUSES, Status
from geventstreams.cli.table import table
from geventstreams.errors import StreamError
from geventstreams.server.server import SocketStreamServer

PATIENCE = 5.0
"""Seconds without an answer after which what is outstanding counts as lost."""

AT_ONCE = 20
"""Connections that are opened side by side."""

EXAMPLES = (
    ("see it work", "geventstreams demo"),
    ("more of it", "geventstreams demo --connections 1000 --seconds 10"),
    ("without TLS", "geventstreams demo --plain"),
)

STORY = """A server and {connections:,} clients run in this process, each connection in a greenlet of its own. A client sends a line of
this package's source code, reads the server's answer, and compares every byte, again and again for {seconds:g} seconds: through streams
of this package, through gevent's own makefile, {tls}."""

NEXT = """Next: `geventstreams serve echo --listen 7000`, and in another terminal `geventstreams connect localhost:7000`. `geventstreams
--help` has more commands; the guide is in docs/ of https://github.com/geventstreams/geventstreams"""


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="see it work, in ten seconds, beside gevent's own makefile",
        usage="%(prog)s [OPTION ...]",
        description="Send real data over many connections at once, and compare every byte that comes back.",
        examples=EXAMPLES,
        notes=SEE_STATUSES,
    )
    parser.add_argument("--connections", type=options.count, default=100, metavar="N", help="clients at once (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=options.seconds, default=3.0, metavar="SECONDS", help="the time for each of the three (default: %(default)s)"
    )
    parser.add_argument("--plain", action="store_true", help="leave TLS out")
    options.add_common(parser)
    parser.set_defaults(run=run, outlets=("stderr",))


def run(args: argparse.Namespace) -> int:
    """Tell the story, do the work, and print the table."""
    require_output()
    logging.basicConfig(level=logging.CRITICAL)  # what the server would log is counted here
    notices.tell_build(args)
    with interruptible():
        return show(args)


def show(args: argparse.Namespace) -> int:
    """Run the demo, signals apart."""
    contexts = missing = None
    if not args.plain:
        try:
            contexts = certificates.make_contexts()
        except ImportError as error:
            missing = str(error)
    tls = "and through streams over TLS" if contexts else "but not over TLS"
    tell(STORY.format(connections=args.connections, seconds=args.seconds, tls=tls))
    lines = package_lines()
    ways = [Streams("streams", None), Makefile("makefile")]
    if contexts:
        ways.append(Streams("over TLS", contexts))
    results = [measured(way, lines, args) for way in ways]
    lost = sum(result.lost for result in results)
    print(f"\n{summary(results)}\n\nlost: {lost:,}\n", flush=True)
    if missing:
        tell(f"TLS was left out: {missing}")
    if not lost:
        tell(NEXT)
    return Status.FAILED if lost else Status.DONE


def tell(text: str) -> None:
    """Print a text that fits the terminal on standard output."""
    width, _ = width_of_help()
    print(fill(text, width), flush=True)


def package_lines() -> list[bytes]:
    """Return the lines of the package's own source files, in the order of their names."""

    def files(folder: Any) -> Iterator[Any]:
        for entry in sorted(folder.iterdir(), key=lambda entry: str(entry.name)):
            if entry.is_dir():
                yield from files(entry)
            elif entry.name.endswith((".py", ".pxd")):
                yield entry

    content = b"".join(entry.read_bytes() for entry in files(importlib.resources.files("geventstreams")))
    return content.splitlines(keepends=True)


@dataclass
class Result:
    """What was done in one way."""

    name: str
    lines: int = 0
    bytes: int = 0
    lost: int = 0
    seconds: float = 0.0


class Streams:
    """A server and clients of this package."""

    def __init__(self, name: str, contexts: certificates.Contexts | None) -> None:
        self.name = name
        self._server_context = contexts.server if contexts else None
        self._client_context = contexts.client if contexts else None

    def server(self) -> Any:
        """Return a server that sends each line back."""
        return SocketStreamServer((certificates.ADDRESS, 0), answer, backlog=1024, ssl_ctx=self._server_context)

    def opened(self, port: int) -> tuple[SocketStream, Callable[[], object]]:
        """Return a client's file, and a function that ends its half of the connection."""
        stream = open_tcp_stream(
            certificates.ADDRESS,
            port,
            timeout=PATIENCE,
            read_timeout=PATIENCE,
            write_timeout=PATIENCE,
            ssl_ctx=self._client_context,
            handshake_timeout=PATIENCE,
        )
        return stream, stream.send_eof


def answer(stream: SocketStream, _address: Any) -> None:
    """Send each line back. A read that has to wait sends first, so nothing needs flushing."""
    for line in stream:
        stream.write(line)


class Makefile:
    """A server and clients as gevent alone has them."""

    def __init__(self, name: str) -> None:
        self.name = name

    def server(self) -> Any:
        """Return a server that sends each line back."""
        return gevent.server.StreamServer((certificates.ADDRESS, 0), answer_by_makefile, backlog=1024)

    def opened(self, port: int) -> tuple[Any, Callable[[], object]]:
        """Return a client's file, and a function that ends its half of the connection."""
        sock = gevent.socket.create_connection((certificates.ADDRESS, port), PATIENCE)
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        with sock:  # the file keeps it open
            file = sock.makefile("rwb")
        return file, lambda: (file.flush(), sock.shutdown(socket.SHUT_WR))


def answer_by_makefile(sock: Any, _address: Any) -> None:
    """Send each line back."""
    sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    with sock.makefile("rwb") as file:
        for line in file:
            file.write(line)
            file.flush()


def measured(way: Any, lines: list[bytes], args: argparse.Namespace) -> Result:
    """Do the work in one way, with a bar on a terminal, and return what was done."""
    result = Result(way.name)
    server = way.server()
    server.start()
    clients = Group()
    files: list[Any] = []
    try:
        while len(files) < args.connections:
            numbers = range(min(AT_ONCE, args.connections - len(files)))
            outcomes = Pool(AT_ONCE).map(lambda _: attempted(way.opened, server.address[1]), numbers)
            files += [outcome for outcome in outcomes if not isinstance(outcome, OSError)]
            for outcome in outcomes:
                if isinstance(outcome, OSError):
                    raise outcome
        began = time.monotonic()
        until = began + args.seconds
        for index, (file, end) in enumerate(files):
            questions = itertools.islice(itertools.cycle(lines), index * len(lines) // len(files), None)
            clients.spawn(ask, file, end, questions, result, until)

        def poll() -> None:
            progress.set(way.name, min(time.monotonic() - began, args.seconds), f"{result.lines:,} lines")

        with Progress(way.name, total=args.seconds, shown=not args.quiet, poll=poll, patience=0) as progress:
            clients.join()
        result.seconds = time.monotonic() - began
    finally:
        clients.kill()
        for file, _ in files:
            with suppress(OSError):
                file.close()
        server.stop(PATIENCE)
    return result


def attempted(opened: Callable[[int], Any], port: int) -> Any:
    """Return what is opened, or the error: gevent prints errors that a greenlet raises."""
    try:
        return opened(port)
    except OSError as error:
        return error


def ask(file: Any, end: Callable[[], object], questions: Iterator[bytes], result: Result, until: float) -> None:
    """Send lines and compare the answers until the time is over; then nothing more may come."""
    line = b""
    try:
        for line in questions:  # an error is about the last one
            file.write(line)
            file.flush()
            wrong = differing(file.readline(), line)
            result.lines += not wrong
            result.bytes += len(line)
            result.lost += wrong
            if wrong or time.monotonic() >= until:
                break
        end()
        rest = file.read()
        result.lost += len(rest)
    except (StreamError, OSError):
        result.lost += len(line)


def differing(answer: bytes, expected: bytes) -> int:
    """Return how many bytes of an answer are wrong, missing or too many."""
    if answer == expected:
        return 0
    return sum(a != b for a, b in zip(answer, expected, strict=False)) + abs(len(answer) - len(expected))


def summary(results: list[Result]) -> str:
    """Return a table with a column for each way."""
    return table(
        ("", *(result.name for result in results)),
        [
            ("lines", *(f"{result.lines:,}" for result in results)),
            ("there and back", *(size(result.bytes) for result in results)),
            ("lines a second", *(f"{result.lines / result.seconds:,.0f}" for result in results)),
        ],
    )
