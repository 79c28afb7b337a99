"""Draw a run: the cost of each contender, growth curves, how far every goal is met, and the command that made it."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin

from benchmarks.contenders import OURS
from benchmarks.figures import Spread, judge
from benchmarks.model import LEAST, Result
from benchmarks.report import goal_text, number

#: The rows with panels of their own in a run over all rows. The others are in the panel of the goals only.
FEATURED = (
    *("echo", "echo-timeouts", "accept", "bulk-receive", "tls-echo", "callback-echo", "memory-idle", "memory-tls"),
    *("growth-connections", "growth-waiting", "growth-lines", "growth-reads"),
)
COLUMNS = 3
BLUE, MET, UNMET = "#0b5fa5", "#2b8a3e", "#c92a2a"
COLOURS = {
    **dict.fromkeys(OURS, BLUE),
    "floor": "#adb5bd",
    "gevent": "#f2b15c",
    "gevent-makefile": "#d9730d",
    "asyncio": "#b8486b",
    "asyncio-protocol": "#dd8ca8",
    "uvloop": "#7b4fa3",
    "uvloop-protocol": "#b39bd0",
    "trio": "#3a9d8f",
    "anyio": "#8a6d3b",
    "threads": "#868e96",
    "stdlib": "#868e96",
    "cl-async": "#495057",
    LEAST: "#343a40",
}
DPI = 110
SHADES = 64
"""Colours of a PNG: enough for smooth edges of text, and a third of the size of one with all of them."""

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text, in place of a line for each glyph
    "svg.hashsalt": "geventstreams",
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(about: Mapping[str, Any], results: Sequence[Result], path: Path) -> None:
    """Write the plot to a file: SVG if its name ends so, else PNG."""
    featured = [result for result in results if result.row.name in FEATURED]
    panels: list[tuple[Callable[[Axes, Result], None], Result]] = [
        (lines if result.row.size_name else bars, result) for result in featured or results
    ]
    rows = -(-len(panels) // COLUMNS)
    count = sum(goal.bound is not None for result in results for goal in result.row.goals)
    heights = [2.6 * rows, max(1.2, 0.16 * count + 0.8)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13, sum(heights) + 0.6), layout="constrained")
        grid = figure.add_gridspec(2, 1, height_ratios=heights)
        above, below = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
        for position, (panel, result) in enumerate(panels):
            panel(above.add_subplot(rows, COLUMNS, position + 1), result)
        goals(below.add_subplot(), results)
        below.supxlabel(footer(about), x=0.01, ha="left", fontsize=7, color="#495057")
        if path.suffix == ".svg":
            figure.savefig(path, format="svg", metadata={"Date": None, "Title": about["command"]})
        else:
            save_small(figure, path, about["command"])


def save_small(figure: Figure, path: Path, name: str) -> None:
    """Write a PNG with few colours, and with the title in its metadata."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", name)
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(SHADES, dither=Image.Dither.NONE).save(path, format="png", optimize=True, pnginfo=text)


def footer(about: Mapping[str, Any]) -> str:
    """Return the command, the versions and the machine, as the lines below the plot."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    machine = ", ".join(f"{name} {value}" for name, value in about["machine"].items())
    return f"{about['command']}   ({about['date']})\n{versions}\n{machine}; {about['build']}; {about['cores']}"


def colours(result: Result) -> dict[str, str]:
    """Return the colour of each contender: one for each peer, in every panel."""
    return {entry.label: COLOURS[entry.peer] for entry in result.row.entries}


def title(axes: Axes, result: Result) -> None:
    """Write the title of a panel."""
    axes.set_title("\n".join(textwrap.wrap(result.row.what, 48)))


def nothing(axes: Axes) -> None:
    """Mark a panel as one without figures."""
    axes.text(0.5, 0.5, "no figures in this run", ha="center", transform=axes.transAxes)
    axes.set_axis_off()


def bars(axes: Axes, result: Result) -> None:
    """Draw one bar for each contender, the lowest first, with its quartiles."""
    title(axes, result)
    spreads = {label: Spread.of(points[0]) for label, points in result.points.items()}
    if not spreads:
        return nothing(axes)
    ordered = sorted(spreads, key=lambda label: spreads[label].median, reverse=result.row.more_is_better)
    tints = colours(result)
    medians = [spreads[label].median for label in ordered]
    errors = (
        [spreads[label].median - spreads[label].low for label in ordered],
        [spreads[label].high - spreads[label].median for label in ordered],
    )
    axes.barh(ordered, medians, xerr=errors, color=[tints[label] for label in ordered], ecolor="#343a40", height=0.7)
    for place, median in enumerate(medians):
        axes.annotate(
            number(median), (median, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=7
        )
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.set_xlabel(result.row.unit)
    return None


def lines(axes: Axes, result: Result) -> None:
    """Draw one curve for each contender, both scales logarithmic."""
    title(axes, result)
    if not result.points:
        return nothing(axes)
    tints = colours(result)
    shapes, strokes = iter("osv^Dph*" * 4), {tint: iter(("-", "--", ":", "-.") * 4) for tint in tints.values()}
    for label, points in result.points.items():
        sizes = sorted(points)
        medians = [Spread.of(points[size]).median for size in sizes]
        wide = 2.0 if tints[label] == BLUE else 1.2
        look: dict[str, Any] = {"color": tints[label], "linewidth": wide, "linestyle": next(strokes[tints[label]])}
        axes.plot(sizes, medians, marker=next(shapes), markersize=3.5, label=label, **look)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(result.row.size_name)
    axes.set_ylabel(result.row.unit)
    axes.legend(frameon=False, fontsize=7)
    return None


def goals(axes: Axes, results: Sequence[Result]) -> None:
    """Draw every goal that has a figure: the ratio divided by its bound; a goal is met left of the line."""
    judged = [(result, judge(result, goal)) for result in results for goal in result.row.goals]
    shown = [(result, verdict) for result, verdict in judged if verdict.ratio is not None and verdict.goal.bound]
    axes.set_title("Goals: measured ratio / bound")
    if not shown:
        return nothing(axes)
    labels, used, tints = [], [], []
    for result, verdict in shown:
        assert verdict.ratio is not None
        assert verdict.goal.bound is not None
        part = verdict.ratio.median / verdict.goal.bound
        used.append(1 / part if verdict.goal.at_least else part)
        tints.append(MET if verdict.word == "met" else UNMET)
        labels.append(f"{result.row.name}: {verdict.of} / {verdict.against}")
    places = range(len(shown))
    axes.barh(places, used, color=tints, height=0.7)
    axes.set_yticks(places, labels)
    for place, (_, verdict) in zip(places, shown, strict=True):
        assert verdict.ratio is not None
        text = f"{number(verdict.ratio.median)} × ({goal_text(verdict.goal)}) {verdict.word}"
        axes.annotate(text, (used[place], place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7)
    axes.axvline(1, color="#343a40", linewidth=1, linestyle="--")
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.set_xlabel("ratio ÷ bound; up to 1 the goal is met")
    return None
