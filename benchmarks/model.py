"""Rows, contenders, goals and results as plain data, and the protocols between the measures and the harness."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

#: The samples of one contender at each size of a growth curve. A row without sizes has the one size 0.
Points = dict[int, list[float]]


LEAST = "least"
"""The peer of the least programs, which only `--least` measures."""


@dataclass(frozen=True)
class Peer:
    """One way to write a server: its name for `--peers`, and its file in `servers/`."""

    name: str
    what: str
    module: str = ""
    needs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One contender of a row: a peer, the function that runs there, and its options."""

    label: str
    peer: str
    role: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    module: str = ""  # where the function is, if not in the peer's own file
    native: str = ""  # a module in C of `native/`, whose path is the option `library`
    is_bound: bool = False  # nothing that does the same on gevent can cost less
    crowd: bool = False  # most of its connections are idle
    fixed: float | None = None  # not measured here: a published figure
    largest: int | None = None  # where its growth curve ends


@dataclass(frozen=True)
class Goal:
    """An upper bound for the row's first contender (or `of`) divided by `against`; of several, the best counts.

    A goal without a bound is only reported. `sizes` compares the first contender with itself at two points of its curve.
    """

    against: tuple[str, ...] = ()
    bound: float | None = None
    of: str = ""
    at_least: bool = False
    note: str = ""
    sizes: tuple[int, int] | None = None


@dataclass(frozen=True)
class Effort:
    """How much a run measures."""

    quick: bool
    launches: int  # how often every process is started afresh
    rounds: int  # how often it is measured between two starts, in turns with the others
    window: float  # seconds of one measurement of a server
    bulk: int  # bytes of one measurement of a bulk transfer
    tiny_rounds: int  # measurements, where one takes microseconds
    memory: int  # connections whose memory is measured
    crowd: int  # connections at once, of which 100 are busy


class ChildFailed(Exception):
    """A process of the bench died, did not answer in time, or reported an error."""


class Child(Protocol):
    """A process of the bench."""

    def close(self) -> None:
        """End the process."""


class Server(Child, Protocol):
    """A server that is measured."""

    port: int

    def await_ready(self) -> None:
        """Return when it listens."""

    def cpu(self) -> float:
        """Return the seconds of CPU time it has used so far, by its own account."""

    def settle(self) -> None:
        """Return when it is idle: it uses no CPU time but that of answering."""

    def private_memory(self) -> int:
        """Return how many bytes of memory belong to this process alone."""


class Load(Child, Protocol):
    """The program at the other end of a server's connections."""

    def do(self, command: str) -> tuple[int, float]:
        """Run a command; return how many operations it did, and in how many seconds."""


class Operations(Child, Protocol):
    """A process that times operations within itself."""

    def rounds(self, size: int, count: int) -> dict[str, list[float]]:
        """Return nanoseconds of CPU time per operation, for each contender in the process."""


class Bench(Protocol):
    """What a measure needs: it starts the processes. Each raises ChildFailed when it fails."""

    def server(self, entry: Entry) -> Server:
        """Start a server; it is ready after `await_ready`, so that several can start at the same time."""

    def load(self, server: Server, tls: bool = False) -> Load:
        """Start a load for this server, without connections yet."""

    def operations(self, entries: Sequence[Entry]) -> Operations:
        """Start a process that runs these contenders' operations in turn."""

    def import_once(self, modules: str) -> float:
        """Return the milliseconds of CPU time in which a fresh interpreter imports these modules."""


Found = tuple[dict[str, Points], dict[str, str]]
"""The samples of those contenders that could be measured, and for the others the reason."""

Measure = Callable[[Bench, Sequence[Entry], Effort], Found]


@dataclass(frozen=True)
class Row:
    """One line of the table: what is measured, how, for which contenders, and the goals."""

    name: str
    what: str
    unit: str
    measure: Measure
    entries: tuple[Entry, ...]
    goals: tuple[Goal, ...] = ()
    size_name: str = ""  # what the sizes of a growth curve count
    more_is_better: bool = False


@dataclass(frozen=True)
class Result:
    """The samples of a row; `missing` has the reason for each contender without figures."""

    row: Row
    points: dict[str, Points]
    missing: dict[str, str]
    seconds: float
