"""Medians with their quartiles, ratios, whether a goal is met, and whether it can be met.

A ratio is the median of the ratios of samples of the same turn, one contender's against the other's: a disturbance of the
machine slows both down, and the ratio stays. If the numbers of samples differ it is the ratio of the medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.model import Goal, Result


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Return the median and quartiles of samples."""
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0])
        low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Verdict:
    """One goal, its ratio, and the verdict on it."""

    goal: Goal
    of: str
    against: str
    ratio: Spread | None
    word: str  # "met", "NOT MET", "" without a bound, or why there is no ratio


def ratio(one: Sequence[float], other: Sequence[float]) -> Spread:
    """Return the samples of `one` divided by those of `other`."""
    if len(one) == len(other):
        return Spread.of([a / b for a, b in zip(one, other, strict=True)])
    middle = statistics.median(other)
    return Spread.of([a / middle for a in one])


def judge(result: Result, goal: Goal) -> Verdict:
    """Return whether these samples meet this goal."""
    of = goal.of or result.row.entries[0].label
    rivals = [label for label in goal.against if label in result.points]
    against = goal.against[0] if len(goal.against) == 1 else f"the best of {len(goal.against)}"
    if goal.sizes is not None:
        against = f"itself at {goal.sizes[1]:,}"
    if of not in result.points:
        return Verdict(goal, of, against, None, _reason(result, (of,)))
    if goal.sizes is not None:
        large, small = goal.sizes
        return _judged(goal, of, against, ratio(result.points[of][large], result.points[of][small]))
    if not rivals:
        return Verdict(goal, of, against, None, _reason(result, goal.against))
    best = min(rivals, key=lambda label: statistics.median(result.points[label][0]))
    return _judged(goal, of, best, ratio(result.points[of][0], result.points[best][0]))


def _judged(goal: Goal, of: str, against: str, found: Spread) -> Verdict:
    if goal.bound is None:
        return Verdict(goal, of, against, found, "")
    met = found.median >= goal.bound if goal.at_least else found.median <= goal.bound
    return Verdict(goal, of, against, found, "met" if met else "NOT MET")


def _reason(result: Result, labels: Sequence[str]) -> str:
    reasons = [result.missing[label].partition(" (")[0] for label in labels if label in result.missing]
    return reasons[0] if reasons else "not asked for"


@dataclass(frozen=True)
class Reach:
    """Whether a goal can be met on this machine: what the least program has for it."""

    least: str
    ratio: Spread
    word: str  # "met", "reachable", or "not reachable here"


def reach(result: Result, goal: Goal) -> Reach | None:
    """Return what the cheapest least program of the row has for this goal; None if none was measured, or no peer."""
    bounds = [entry.label for entry in result.row.entries if entry.is_bound and entry.label in result.points]
    if not bounds:
        return None
    least = min(bounds, key=lambda label: statistics.median(result.points[label][0]))
    verdict, possible = judge(result, goal), judge(result, replace(goal, of=least))
    if verdict.ratio is None or possible.ratio is None:
        return None
    return Reach(least, possible.ratio, "met" if verdict.word == "met" else "reachable" if possible.word == "met" else "not reachable here")
