"""`demo`: many connections to a server of our own, plain and then TLS, and every octet that comes back compared."""

from __future__ import annotations

import argparse
import importlib.resources
import itertools
import logging
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gevent.pool import Pool

from geventstreams._net.connect import open_tcp_stream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli import certificates, notices, options
from geventstreams.cli.progress import Progress
from geventstreams.cli.signals import interruptible
from geventstreams.cli.statuses import EXPLANATION, CommandError, Status
from geventstreams.errors import StreamError
from geventstreams.server.server import SocketStreamServer
from geventstreams.waiting import wait_for_input_streams

PATIENCE = 5.0
"""Seconds without any answer after which what is outstanding counts as lost."""

AT_ONCE = 20
"""Connections that are opened side by side."""

BAR = "{desc} {percentage:3.0f}% |{bar}|{postfix}"

EXAMPLES = f"""examples:
  geventstreams demo
  geventstreams demo --connections 1000 --seconds 10
  geventstreams demo --plain                           without TLS

A server with a greenlet for each connection sends back what it gets. Each connection asks line after line of the files
of this package; the answers are collected as they come, from all connections, by wait_for_input_streams.

{EXPLANATION}"""


def add_parser(commands: options.Commands) -> None:
    """Makes the command known."""
    parser = commands.add_parser(
        "demo",
        help="see it work, in ten seconds: a server and many clients, plain and TLS",
        epilog=EXAMPLES,
        description="Sends real data over many connections at once, and looks at every octet that comes back.",
    )
    parser.add_argument("--connections", type=options.count, default=100, metavar="N", help="streams at once (default: %(default)s)")
    parser.add_argument(
        "--seconds",
        type=options.seconds,
        default=3.0,
        metavar="SECONDS",
        help="so long for plain text, and so long for TLS (default: %(default)s)",
    )
    parser.add_argument("--plain", action="store_true", help="leave TLS out")
    options.add_common(parser)
    parser.set_defaults(run=run, outlets=("stderr",))


def run(given: argparse.Namespace) -> int:
    """Both halves, and the table."""
    logging.basicConfig(level=logging.CRITICAL)  # what the server would tell is counted here
    notices.tell_build(given)
    with interruptible():
        return show(given)


def show(given: argparse.Namespace) -> int:
    """The same, where nobody looks at signals."""
    lines = package_lines()
    halves = [measure("plain", lines, given, None)]
    missing = None
    if not given.plain:
        try:
            halves.append(measure("TLS", lines, given, certificates.make_contexts()))
        except CommandError as error:
            missing = error
    print("\n".join(table(halves)), flush=True)
    if missing is not None:
        raise missing
    return Status.FAILED if any(half.lost for half in halves) else Status.DONE


def package_lines() -> list[bytes]:
    """The lines of the package's own source files, in the order of their names."""

    def files(folder: Any) -> Iterator[Any]:
        for entry in sorted(folder.iterdir(), key=lambda entry: str(entry.name)):
            if entry.is_dir():
                yield from files(entry)
            elif entry.name.endswith((".py", ".pxd")):
                yield entry

    content = b"".join(entry.read_bytes() for entry in files(importlib.resources.files("geventstreams")))
    return content.splitlines(keepends=True)


@dataclass
class Half:
    """What one half of the demo did."""

    name: str
    connections: int = 0
    lines: int = 0
    octets: int = 0
    lost: int = 0
    seconds: float = 0.0


class Asker:
    """One connection: it has one question outstanding, and knows what the answer must be."""

    def __init__(self, stream: SocketStream, questions: Iterator[bytes], half: Half) -> None:
        self.stream = stream
        self._questions = questions
        self._half = half
        self._expected = b""

    def ask(self) -> None:
        """Sends the next line, and does not wait."""
        self._expected = next(self._questions)
        self.stream.write(self._expected)
        self.stream.force_output()

    def hear(self) -> bool:
        """Takes the answer; whether another question makes sense."""
        try:
            answer = self.stream.readline()
        except StreamError:
            answer = b""
        wrong = differing(answer, self._expected)
        self._half.lines += not wrong
        self._half.octets += len(self._expected)
        self._half.lost += wrong
        return not wrong

    def give_up(self) -> None:
        """No answer came, so all of it is lost."""
        self._half.lost += len(self._expected)
        self.stream.abort()

    def part(self) -> None:
        """Ends our half; the server must have nothing more to say, and end its own."""
        if self.stream.closed:
            return
        try:
            self.stream.send_eof()
            self._half.lost += len(self.stream.read())
            self.stream.close()
        except StreamError:
            self._half.lost += 1
            self.stream.abort()


def differing(answer: bytes, expected: bytes) -> int:
    """Octets of the answer that are not what was expected, those that are missing, and those that are too many."""
    if answer == expected:
        return 0
    return sum(a != b for a, b in zip(answer, expected, strict=False)) + abs(len(answer) - len(expected))


def answer(stream: SocketStream, _address: Any) -> None:
    """The server's side of a connection. A read that has to wait sends first, so nothing needs flushing."""
    for line in stream:
        stream.write(line)


def measure(name: str, lines: list[bytes], given: argparse.Namespace, contexts: certificates.Contexts | None) -> Half:
    """One half: a server, all connections to it, and questions until the time is over."""
    half = Half(name, given.connections)
    server = SocketStreamServer((certificates.ADDRESS, 0), answer, backlog=1024, ssl_ctx=contexts.server if contexts else None)
    server.start()
    try:
        streams = opened(server.port, given.connections, contexts.client if contexts else None)
        if contexts:
            half.name = str(streams[0].ssl.version())
        starts = (index * len(lines) // len(streams) for index in range(len(streams)))
        askers = [
            Asker(stream, itertools.islice(itertools.cycle(lines), start, None), half)
            for stream, start in zip(streams, starts, strict=True)
        ]
        with Progress(half.name, total=given.seconds, shown=not given.quiet, layout=BAR) as progress:
            converse(askers, half, given.seconds, progress)
        for asker in askers:
            asker.part()
    finally:
        server.stop(PATIENCE)
    return half


def opened(port: int | None, connections: int, context: ssl.SSLContext | None) -> list[SocketStream]:
    """So many streams to the server, or the error of the first that could not be opened."""

    def one(_index: int) -> Any:
        return open_tcp_stream(
            certificates.ADDRESS,
            port,
            errorp=False,
            timeout=PATIENCE,
            read_timeout=PATIENCE,
            write_timeout=PATIENCE,
            ssl_ctx=context,
            handshake_timeout=PATIENCE,
        )

    outcomes = Pool(AT_ONCE).map(one, range(connections))
    streams = [stream for stream, _ in outcomes if stream is not None]
    for _, error in outcomes:
        if error is not None:
            for stream in streams:
                stream.abort()
            raise error
    return streams


def converse(askers: list[Asker], half: Half, seconds: float, progress: Progress) -> None:
    """Asks on all connections at once, until the time is over and every answer is there or lost."""
    began = shown = time.monotonic()
    outstanding: dict[SocketStream, Asker] = {}
    for asker in askers:
        asker.ask()
        outstanding[asker.stream] = asker
    while outstanding:
        ready = wait_for_input_streams(list(outstanding), timeout=PATIENCE)
        now = time.monotonic()
        if not ready:
            for asker in outstanding.values():
                asker.give_up()
            break
        for stream in ready:
            asker = outstanding[stream]
            if asker.hear() and now - began < seconds:
                asker.ask()
            else:
                del outstanding[stream]
        progress.add(min(now - began, seconds) - min(shown - began, seconds), f"{half.lines:,} round trips")
        shown = now
    half.seconds = time.monotonic() - began


def table(halves: list[Half]) -> list[str]:
    """What was done, for people, and the verdict."""
    rows = [
        ("", [half.name for half in halves]),
        ("connections", [f"{half.connections:,}" for half in halves]),
        ("lines", [f"{half.lines:,}" for half in halves]),
        ("octets", [f"{half.octets:,}" for half in halves]),
        ("seconds", [f"{half.seconds:.2f}" for half in halves]),
        ("round trips per second", [f"{half.lines / half.seconds:,.0f}" for half in halves]),
        ("lost octets", [f"{half.lost:,}" for half in halves]),
    ]
    drawn = [f"{name:24}" + "".join(f"{figure:>14}" for figure in figures) for name, figures in rows]
    return [*drawn, "", f"lost octets: {sum(half.lost for half in halves)}"]
