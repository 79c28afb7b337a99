"""The ways to measure: a served load, a bulk transfer, short connections, memory, operations in a process, an import."""

# Invariants:
# * All contenders of a row run at the same time and take turns, in an order that balances who follows whom, so a disturbance of the machine
#   affects all of them alike.
# * CPU time is read when the load is idle, so it belongs to exactly the requests that are counted.
# * A contender that fails drops out with its reason; the others go on.

from __future__ import annotations

import re
import resource
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from benchmarks import real_servers
from benchmarks.model import Bench, Child, ChildFailed, Effort, Entry, Found, Load, Operations, Points, Server
from benchmarks.order import in_turn

SPARE_DESCRIPTORS = 500
BUSY = 100
LINE = 64
#: The least cost of a call, in bytes that could have been moved instead: bounds the time that tiny pieces take.
LEAST_COST_OF_A_CALL = 1024


@dataclass(frozen=True)
class Sizes:
    """The points of a growth curve."""

    quick: tuple[int, ...]
    full: tuple[int, ...]

    def of(self, effort: Effort) -> tuple[int, ...]:
        """Return the sizes of this run."""
        return self.quick if effort.quick else self.full

    def key(self, size: int) -> int:
        """Return the key of this size's samples: 0 where there is only one size."""
        return size if len(self.full) > 1 else 0


ONE = Sizes((0,), (0,))


def page_length(port: int) -> int:
    """Return the length of a page as a server of HTTP sends it on a kept connection, with its header."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while b"\r\n\r\n" not in answer:
            chunk = connection.recv(65536)
            if not chunk:
                raise ChildFailed(f"an answer without a header: {answer!r}")
            answer += chunk
    header, _, _ = answer.partition(b"\r\n\r\n")
    [length] = re.findall(rb"^content-length: *(\d+)", header, re.MULTILINE | re.IGNORECASE)
    return len(header) + 4 + int(length)


class Turns:
    """The contenders of a row, their samples and their failures."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = {entry.label: entry for entry in entries}
        self.points: dict[str, Points] = {}
        self.failed: dict[str, str] = {}

    def alive(self, size: int = 0) -> list[Entry]:
        """Return the contenders that have not failed and take part at this size."""
        return [
            entry
            for label, entry in self.entries.items()
            if label not in self.failed and (entry.largest is None or size <= entry.largest)
        ]

    @contextmanager
    def trying(self, *entries: Entry) -> Iterator[None]:
        """Record a ChildFailed in the block as the failure of these contenders."""
        try:
            yield
        except ChildFailed as failure:
            for entry in entries:
                self.failed[entry.label] = f"failed: {failure}"
                self.points.pop(entry.label, None)

    def add(self, entry: Entry, size: int, samples: Sequence[float]) -> None:
        """Add samples of a contender."""
        self.points.setdefault(entry.label, {}).setdefault(size, []).extend(samples)

    def found(self) -> Found:
        """Return all samples and failures."""
        return self.points, self.failed


@contextmanager
def _closing(children: list[Child]) -> Iterator[None]:
    try:
        yield
    finally:
        for child in children:
            child.close()


@contextmanager
def _servers(bench: Bench, turns: Turns) -> Iterator[dict[str, tuple[Server, Load]]]:
    """Start every contender's server with its load, at the same time, and close them all at the end of the block."""
    children: list[Child] = []
    with _closing(children):
        servers: dict[str, Server] = {}
        for entry in turns.alive():
            with turns.trying(entry):
                servers[entry.label] = bench.server(entry)
                children.append(servers[entry.label])
        loaded = {}
        for entry in turns.alive():
            server = servers[entry.label]
            with turns.trying(entry):
                server.await_ready()
                load = bench.load(server, bool(entry.options.get("tls")))
                children.append(load)
                loaded[entry.label] = (server, load)
        yield loaded


@dataclass(frozen=True)
class Echo:
    """A line is sent and comes back: CPU time of the server per request in µs, or requests per second.

    With `pages` the server is one of HTTP, and what comes back is a page.
    """

    sizes: Sizes = ONE  # of a growth curve: the number of connections; all are busy
    per_second: bool = False
    pages: bool = False

    def __call__(self, bench: Bench, entries: Sequence[Entry], effort: Effort) -> Found:
        turns = Turns(entries)
        for _ in range(effort.launches):
            with _servers(bench, turns) as servers:
                for size in self.sizes.of(effort):
                    self._measure(turns, servers, size, effort)
        return turns.found()

    def _measure(self, turns: Turns, servers: Mapping[str, tuple[Server, Load]], size: int, effort: Effort) -> None:
        requests = {}
        for entry in turns.alive(size):
            server, load = servers[entry.label]
            with turns.trying(entry):
                load.do(f"open {effort.crowd if entry.crowd else size or BUSY} {int(not self.pages)}")
                answer = f"{size or BUSY} {page_length(server.port) if self.pages else LINE}"
                requests[entry.label] = "get {} " + answer if self.pages else "echo {} " + answer
                load.do(requests[entry.label].format(effort.window / 5))
        for number in range(effort.rounds):
            for entry in in_turn(turns.alive(size), number):
                server, load = servers[entry.label]
                with turns.trying(entry):
                    before = server.cpu()
                    count, seconds = load.do(requests[entry.label].format(effort.window))
                    used = server.cpu() - before
                    turns.add(entry, size, [count / seconds if self.per_second else used / count * 1e6])


@dataclass(frozen=True)
class Bulk:
    """A transfer in one direction on one connection: CPU time of the server per byte in ns.

    With `send` and `lines` the load sends and the server receives; with `fetch` the server sends.
    """

    command: str
    sizes: Sizes  # of the pieces that are read or written, or of the lines

    def __call__(self, bench: Bench, entries: Sequence[Entry], effort: Effort) -> Found:
        turns = Turns(entries)
        for _ in range(effort.launches):
            with _servers(bench, turns) as servers:
                for entry in turns.alive():
                    with turns.trying(entry):
                        servers[entry.label][1].do("open 1 0")
                for size in self.sizes.of(effort):
                    self._measure(turns, servers, size, effort)
        return turns.found()

    def _measure(self, turns: Turns, servers: Mapping[str, tuple[Server, Load]], size: int, effort: Effort) -> None:
        total = min(effort.bulk // size, effort.bulk // LEAST_COST_OF_A_CALL) * size
        command = {
            "fetch": f"fetch {total} {size}",
            "send": f"send {total} 0 {size}",
            "lines": f"send {total} {size} 0",
        }[self.command]
        for number in range(effort.rounds):
            for entry in in_turn(turns.alive(size), number):
                server, load = servers[entry.label]
                with turns.trying(entry):
                    load.do(command)  # a transfer takes a few milliseconds: without this one it would pay for what ran before
                    before = server.cpu()
                    load.do(command)
                    used = server.cpu() - before
                    turns.add(entry, self.sizes.key(size), [used / total * 1e9])


@dataclass(frozen=True)
class ShortConnections:
    """Connect, send one line, read it back, close: CPU time of the server per connection in µs."""

    at_once: int = 16

    def __call__(self, bench: Bench, entries: Sequence[Entry], effort: Effort) -> Found:
        turns = Turns(entries)
        for _ in range(effort.launches):
            with _servers(bench, turns) as servers:
                for number in range(effort.rounds + 1):
                    for entry in in_turn(turns.alive(), number):
                        server, load = servers[entry.label]
                        with turns.trying(entry):
                            before = server.cpu()
                            count, _ = load.do(f"connect {effort.window} {self.at_once}")
                            server.settle()
                            used = server.cpu() - before
                            if number:
                                turns.add(entry, 0, [used / count * 1e6])
        return turns.found()


@dataclass(frozen=True)
class Memory:
    """Private memory of a server per connection, in KiB, after a line and, if `held`, so many bytes of the next one."""

    held: int = 0
    part: int = 1  # divides the number of connections: TLS connections are slow to make, and take 280 KiB each in asyncio

    def __call__(self, bench: Bench, entries: Sequence[Entry], effort: Effort) -> Found:
        turns = Turns(entries)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS - BUSY
        count = min(effort.memory // self.part, limit)
        for _ in range(effort.launches):
            for entry in turns.alive():
                alone = Turns([entry])
                with turns.trying(entry), _servers(bench, alone) as servers:
                    if alone.failed:
                        raise ChildFailed(alone.failed[entry.label].removeprefix("failed: "))
                    turns.add(entry, 0, [self._weigh(*servers[entry.label], count)])
        return turns.found()

    def _weigh(self, server: Server, load: Load, count: int) -> float:
        load.do(f"open {BUSY} 1")
        server.settle()
        before = server.private_memory()
        load.do(f"open {BUSY + count} 1")
        if self.held:
            load.do(f"drip {self.held}")
        server.settle()
        return (server.private_memory() - before) / count / 1024


@dataclass(frozen=True)
class Within:
    """Operations timed within their process: CPU time of one in ns. `together`: all contenders share one process."""

    sizes: Sizes = ONE
    together: bool = False
    lasting: bool = False  # one measurement takes milliseconds

    def __call__(self, bench: Bench, entries: Sequence[Entry], effort: Effort) -> Found:
        turns = Turns(entries)
        for _ in range(effort.launches):
            groups = [turns.alive()] if self.together else [[entry] for entry in turns.alive()]
            children: list[Child] = []
            with _closing(children):
                racing = [(group, bench.operations(group)) for group in groups if group]
                children.extend(operations for _, operations in racing)
                for size in self.sizes.of(effort):
                    self._measure(turns, racing, size, effort)
        return turns.found()

    def _measure(
        self, turns: Turns, racing: Sequence[tuple[list[Entry], Operations]], size: int, effort: Effort
    ) -> None:
        rounds = effort.rounds if self.lasting else effort.tiny_rounds
        times = 1 if self.together else 5  # so often the processes take turns
        for turn in range(times + 1):
            for group, operations in in_turn(racing, turn):
                running = [entry for entry in turns.alive(size) if entry in group]
                if not running:
                    continue
                with turns.trying(*running):
                    samples = operations.rounds(size, max(1, rounds // times if turn else rounds // 10))
                    for entry in running if turn else ():  # the first turn warms up
                        turns.add(entry, self.sizes.key(size), samples[entry.label])


@dataclass(frozen=True)
class WithServer:
    """Clients of a real server, which is started for this row and passed to them as an option; they share a process."""

    kind: str
    sizes: Sizes
    lasting: bool

    def __call__(self, bench: Bench, entries: Sequence[Entry], effort: Effort) -> Found:
        turns = Turns(entries)
        with turns.trying(*entries), real_servers.running(self.kind) as server:
            asking = [replace(entry, options={**entry.options, "server": server}) for entry in entries]
            return Within(self.sizes, together=True, lasting=self.lasting)(bench, asking, effort)
        return turns.found()


@dataclass(frozen=True)
class Import:
    """CPU time of an import in a fresh interpreter, in ms."""

    def __call__(self, bench: Bench, entries: Sequence[Entry], effort: Effort) -> Found:
        turns = Turns(entries)
        for number in range(effort.launches * effort.rounds + 1):
            for entry in in_turn(turns.alive(), number):
                with turns.trying(entry):
                    sample = bench.import_once(entry.options["modules"])
                    if number:
                        turns.add(entry, 0, [sample])
        return turns.found()
