"""The results of a run as a table for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.figures import Reach, Spread, Verdict, judge, ratio, reach
from benchmarks.model import LEAST, Goal, Result


def number(value: float) -> str:
    """Format a number with three significant digits."""
    if value >= 10_000:
        return f"{value:,.0f}"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:.{digits}f}"


def spread(found: Spread) -> str:
    """Format the quartiles."""
    return f"{number(found.low)} .. {number(found.high)}"


def goal_text(goal: Goal) -> str:
    """Format the bound of a goal."""
    if goal.bound is None:
        return ""
    return f"{'>=' if goal.at_least else '<='} {goal.bound:.2f}"


def table(result: Result) -> Iterator[str]:
    """Yield the lines of one row."""
    row = result.row
    better = "; more is better" if row.more_is_better else ""
    yield f"{row.name}: {row.what}"
    yield f"  [{row.unit}, median and quartiles{better}; {result.seconds:.1f} s]"
    yield from (growth_lines(result) if row.size_name else plain_lines(result))
    for label, reason in result.missing.items():
        yield f"    {label:28} {reason}"
    for goal in row.goals:
        yield "  " + verdict_line(judge(result, goal))
    yield ""


def plain_lines(result: Result) -> Iterator[str]:
    """Yield one line for each contender, with the ratio of the first one to it."""
    first = result.row.entries[0].label
    for label, points in result.points.items():
        found = Spread.of(points[0])
        line = f"    {label:28} {number(found.median):>9}   {spread(found):22}"
        if label != first and first in result.points:
            times = ratio(result.points[first][0], points[0])
            line += f" {first} is {times.median:.2f} x"
        yield line.rstrip()


def growth_lines(result: Result) -> Iterator[str]:
    """Yield one line for each contender, with one column for each size."""
    sizes = sorted({size for points in result.points.values() for size in points})
    yield f"    {result.row.size_name:28}" + "".join(f"{size:>11,}" for size in sizes)
    for label, points in result.points.items():
        cells = (number(Spread.of(points[size]).median) if size in points else "-" for size in sizes)
        yield f"    {label:28}" + "".join(f"{cell:>11}" for cell in cells)


def verdict_line(verdict: Verdict) -> str:
    """Format one goal with its verdict."""
    goal = verdict.goal
    what = f"{verdict.of} / {verdict.against}"
    if goal.sizes is not None:
        what = f"{verdict.of} at {goal.sizes[0]:,} / {verdict.against}"
    note = f"  ({goal.note})" if goal.note else ""
    if verdict.ratio is None:
        return f"{'goal' if goal_text(goal) else 'ratio':5} {what:52} {'':27} {goal_text(goal):8} {verdict.word}{note}"
    digits = 4 if verdict.ratio.median < 0.1 else 2
    times = f"{verdict.ratio.median:.{digits}f} x"
    quartiles = f"[{verdict.ratio.low:.{digits}f} .. {verdict.ratio.high:.{digits}f}]"
    kind = "goal" if goal_text(goal) else "ratio"
    return f"{kind:5} {what:52} {times:>8} {quartiles:18} {goal_text(goal):8} {verdict.word}{note}".rstrip()


def summary(results: Sequence[Result]) -> Iterator[str]:
    """Yield all goals that have a bound, in one table."""
    judged = [(result, judge(result, goal)) for result in results for goal in result.row.goals]
    bounded = [(result, verdict) for result, verdict in judged if verdict.goal.bound is not None]
    if not bounded:
        return
    yield "goals"
    for result, verdict in bounded:
        yield f"  {result.row.name:22} {verdict_line(verdict)[6:]}"
    met = sum(verdict.word == "met" for _, verdict in bounded)
    unmet = sum(verdict.word == "NOT MET" for _, verdict in bounded)
    yield f"  {met} met, {unmet} not met, {len(bounded) - met - unmet} without a figure"


def reaches(results: Sequence[Result]) -> Iterator[str]:
    """Yield each goal with our ratio and the least program's, in one table."""
    yield f"{'what the goals cost at least':30}{'':22}{'goal':>8}{'ours':>8}{'least':>8}"
    for result in results:
        for goal in result.row.goals:
            verdict, found = judge(result, goal), reach(result, goal)
            if verdict.ratio is None or found is None:
                yield f"  {result.row.name:22} / {verdict.against:24} {goal_text(goal):>8}  no figure"
            else:
                ratios = f"{verdict.ratio.median:8.2f}{found.ratio.median:8.2f}"
                note = "" if found.least == LEAST else f"  ({found.least})"
                yield f"  {result.row.name:22} / {verdict.against:24} {goal_text(goal):>8}{ratios}  {found.word}{note}"


def heading(about: Mapping[str, Any]) -> Iterator[str]:
    """Yield the command, the versions and the machine."""
    yield about["command"]
    yield ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    yield ", ".join(f"{name} {value}" for name, value in about["machine"].items())
    yield about["build"]
    yield about["cores"]
    yield ""


def as_json(about: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """Return everything, samples included."""
    return {**about, "rows": [_row_as_json(result) for result in results]}


def _row_as_json(result: Result) -> dict[str, Any]:
    contenders = [
        {
            "name": label,
            "points": [
                {"size": size, "median": found.median, "quartiles": [found.low, found.high], "samples": points[size]}
                for size in sorted(points)
                for found in (Spread.of(points[size]),)
            ],
        }
        for label, points in result.points.items()
    ]
    verdicts = [judge(result, goal) for goal in result.row.goals]
    return {
        "name": result.row.name,
        "what": result.row.what,
        "unit": result.row.unit,
        "more_is_better": result.row.more_is_better,
        "seconds": result.seconds,
        "contenders": contenders,
        "missing": result.missing,
        "goals": [
            {
                "of": verdict.of,
                "against": verdict.against,
                "bound": verdict.goal.bound,
                "at_least": verdict.goal.at_least,
                "ratio": None if verdict.ratio is None else verdict.ratio.median,
                "quartiles": None if verdict.ratio is None else [verdict.ratio.low, verdict.ratio.high],
                "verdict": verdict.word,
                **_reach_as_json(reach(result, verdict.goal)),
            }
            for verdict in verdicts
        ],
    }


def _reach_as_json(found: Reach | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {
        "least": {"of": found.least, "ratio": found.ratio.median, "quartiles": [found.ratio.low, found.ratio.high], "verdict": found.word}
    }
