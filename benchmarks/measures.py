"""The ways to measure: a served load, a bulk transfer, short connections, memory, operations in a process, an import.

Rules for the next editor:

* All contenders of a row run at the same time and take turns, so what disturbs the machine disturbs all of them alike.
* CPU time is read when the load has come to rest, so it belongs to exactly the requests that are counted.
* A contender that fails drops out of the turns with its reason; the others go on.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from benchmarks import real_servers
from benchmarks.harness import Bench, Child, ChildFailed, Load, Operations, Server
from benchmarks.model import Effort, Entry, Points

Found = tuple[dict[str, Points], dict[str, str]]
SPARE_DESCRIPTORS = 500
BUSY = 100
#: What a call costs at least, in octets that could have been moved instead: bounds the time that tiny pieces take.
LEAST_COST_OF_A_CALL = 1024


@dataclass(frozen=True)
class Sizes:
    """The points of a growth curve."""

    quick: tuple[int, ...]
    full: tuple[int, ...]

    def of(self, effort: Effort) -> tuple[int, ...]:
        """Those of this run."""
        return self.quick if effort.quick else self.full

    def key(self, size: int) -> int:
        """What the samples of this size are kept under: 0 where there is only one size."""
        return size if len(self.full) > 1 else 0


ONE = Sizes((0,), (0,))


class Turns:
    """Calls the contenders one after the other, again and again, and keeps their samples and their failures."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = {entry.label: entry for entry in entries}
        self.points: dict[str, Points] = {}
        self.failed: dict[str, str] = {}

    def alive(self, size: int = 0) -> list[Entry]:
        """The contenders still in the race, at this size."""
        return [
            entry
            for label, entry in self.entries.items()
            if label not in self.failed and (entry.largest is None or size <= entry.largest)
        ]

    @contextmanager
    def trying(self, *entries: Entry) -> Iterator[None]:
        """What fails in here is the failure of these contenders only."""
        try:
            yield
        except ChildFailed as failure:
            for entry in entries:
                self.failed[entry.label] = f"failed: {failure}"
                self.points.pop(entry.label, None)

    def add(self, entry: Entry, size: int, samples: Sequence[float]) -> None:
        """Keeps samples."""
        self.points.setdefault(entry.label, {}).setdefault(size, []).extend(samples)

    def found(self) -> Found:
        """All of it."""
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
    """Every contender's server with its load. They start at the same time."""
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
    """Question and answer in lines; CPU time of the server for one request in µs, or requests per second."""

    sizes: Sizes = ONE  # of a growth curve: how many connections; all are busy
    per_second: bool = False

    def __call__(self, bench: Bench, entries: Sequence[Entry], effort: Effort) -> Found:
        turns = Turns(entries)
        for _ in range(effort.launches):
            with _servers(bench, turns) as servers:
                for size in self.sizes.of(effort):
                    self._measure(turns, servers, size, effort)
        return turns.found()

    def _measure(self, turns: Turns, servers: Mapping[str, tuple[Server, Load]], size: int, effort: Effort) -> None:
        for entry in turns.alive(size):
            _, load = servers[entry.label]
            with turns.trying(entry):
                load.do(f"open {effort.crowd if entry.crowd else size or BUSY} 1")
                load.do(f"echo {effort.window / 5} {size or BUSY} 64")
        for _ in range(effort.rounds):
            for entry in turns.alive(size):
                server, load = servers[entry.label]
                with turns.trying(entry):
                    before = server.cpu()
                    count, seconds = load.do(f"echo {effort.window} {size or BUSY} 64")
                    used = server.cpu() - before
                    turns.add(entry, size, [count / seconds if self.per_second else used / count * 1e6])


@dataclass(frozen=True)
class Bulk:
    """Octets in one direction on one connection; CPU time of the server for one octet in ns.

    `send` and `lines` are what the load sends and the server receives; `fetch` is the other way round.
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
        for warm in range(effort.rounds + 1):
            for entry in turns.alive(size):
                server, load = servers[entry.label]
                with turns.trying(entry):
                    before = server.cpu()
                    load.do(command)
                    used = server.cpu() - before
                    if warm:
                        turns.add(entry, self.sizes.key(size), [used / total * 1e9])


@dataclass(frozen=True)
class ShortConnections:
    """Connect, one line, its answer, the end; CPU time of the server for one connection in µs."""

    at_once: int = 16

    def __call__(self, bench: Bench, entries: Sequence[Entry], effort: Effort) -> Found:
        turns = Turns(entries)
        for _ in range(effort.launches):
            with _servers(bench, turns) as servers:
                for warm in range(effort.rounds + 1):
                    for entry in turns.alive():
                        server, load = servers[entry.label]
                        with turns.trying(entry):
                            before = server.cpu()
                            count, _ = load.do(f"connect {effort.window} {self.at_once}")
                            server.settle()
                            used = server.cpu() - before
                            if warm:
                                turns.add(entry, 0, [used / count * 1e6])
        return turns.found()


@dataclass(frozen=True)
class Memory:
    """Private memory of a server for a connection, in KiB, which has exchanged a line and, if `held`, begun another."""

    held: int = 0
    part: int = 1  # only this part of the connections is made: those under TLS take their time, and 280 KiB in asyncio

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
    """Operations timed within their process; CPU time of one in ns. `together`: all contenders share one process."""

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
        in_turn = 1 if self.together else 5  # so often the processes take turns
        for turn in range(in_turn + 1):
            for group, operations in racing:
                running = [entry for entry in turns.alive(size) if entry in group]
                if not running:
                    continue
                with turns.trying(*running):
                    samples = operations.rounds(size, max(1, rounds // in_turn if turn else rounds // 10))
                    for entry in running if turn else ():  # the first turn warms up
                        turns.add(entry, self.sizes.key(size), samples[entry.label])


@dataclass(frozen=True)
class WithServer:
    """Clients of a real server, which is started for this row and told to them as an option; they share a process."""

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
    """What an import costs a fresh interpreter; CPU time in ms."""

    def __call__(self, bench: Bench, entries: Sequence[Entry], effort: Effort) -> Found:
        turns = Turns(entries)
        for warm in range(effort.launches * effort.rounds + 1):
            for entry in turns.alive():
                with turns.trying(entry):
                    sample = bench.import_once(entry.options["modules"])
                    if warm:
                        turns.add(entry, 0, [sample])
        return turns.found()
