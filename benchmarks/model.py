"""What a row of the table, a contender in it and a goal for it are: plain data, which measures and prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.harness import Bench

#: The samples of one contender at each size of a growth curve. A row without sizes has the one size 0.
Points = dict[int, list[float]]


@dataclass(frozen=True)
class Peer:
    """One way to write a server, as `--peers` names it, and the file in `servers/` that does so."""

    name: str
    what: str
    module: str = ""
    needs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One contender of a row: a peer, what it does there (the name of a function), and what it is given to do it."""

    label: str
    peer: str
    role: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    module: str = ""  # where that function is, if not in the peer's own file
    crowd: bool = False  # most of its connections only stand there
    fixed: float | None = None  # not measured here: a published figure
    largest: int | None = None  # where its growth curve ends


@dataclass(frozen=True)
class Goal:
    """What the row's first contender (or `of`), divided by `against`, shall at most be; of several, the best counts.

    A goal without a bound is only told. `sizes` holds the first contender against itself at two points of its curve.
    """

    against: tuple[str, ...] = ()
    bound: float | None = None
    of: str = ""
    at_least: bool = False
    note: str = ""
    sizes: tuple[int, int] | None = None


@dataclass(frozen=True)
class Effort:
    """How much a run does for its figures."""

    quick: bool
    launches: int  # every process is started so many times afresh
    rounds: int  # and between two starts measured so many times, taking turns with the others
    window: float  # seconds of one measurement of a server
    bulk: int  # octets of one measurement of a bulk transfer
    tiny_rounds: int  # measurements where one takes microseconds
    memory: int  # connections that are weighed
    crowd: int  # connections at once, of which 100 are busy


#: Figures of those contenders that could be measured, and why the others could not.
Measure = Callable[["Bench", Sequence[Entry], Effort], tuple[dict[str, Points], dict[str, str]]]


@dataclass(frozen=True)
class Row:
    """One line of the table: what is measured, how, for whom, and what is aimed at."""

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
    """What came of a row; `missing` says of each contender without figures why it has none."""

    row: Row
    points: dict[str, Points]
    missing: dict[str, str]
    seconds: float
