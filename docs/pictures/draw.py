"""Draw the pictures of README.md and docs/speed.md, and write the tables of goals there, from the figures of two runs of the bench.

    python -m benchmarks --quick --repeat 15 --json docs/pictures/figures.json
    python -m benchmarks --quick --repeat 15 --least --json docs/pictures/least.json
    python docs/pictures/draw.py

Each picture is one question. It is a small SVG with colours for light and dark, and can be read at the width of a phone.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent
WIDTH = 400
LEAST = "\n## What the goals cost at least\n"
OURS = {"geventstreams", "wait_for_input…", "WaitSet"}
STYLE = """
text{font:14px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}
.title{font-weight:600;font-size:16px}.small{font-size:12px;fill:#59636e}.own{font-weight:600}
.ground{fill:#fff}.grid{stroke:#d1d9e0}.line{fill:none;stroke-width:2}
.c0{--c:#0b5fa5}.c1{--c:#bc4c00}.c2{--c:#8250df}.c3{--c:#1a7f37}.c4{--c:#6e7781}
.bar{fill:var(--c)}.line{stroke:var(--c)}.dot{fill:var(--c)}.key{fill:var(--c)}.dashed{stroke-dasharray:5 3}
@media (prefers-color-scheme:dark){
text{fill:#f0f6fc}.small{fill:#9198a1}.ground{fill:#0d1117}.grid{stroke:#3d444d}
.c0{--c:#4da3f5}.c1{--c:#f0883e}.c2{--c:#b083f0}.c3{--c:#3fb950}.c4{--c:#9198a1}}
"""


class Bars(NamedTuple):
    """One group of bars: ours and three others, in one row of the bench."""

    title: str
    row: str
    size: int
    unit: str
    divided_by: float
    bars: tuple[tuple[str, str], ...]  # what the picture calls it, what the bench calls it


class Curves(NamedTuple):
    """One picture of curves: how a cost grows."""

    name: str
    title: str
    row: str
    unit: str
    divided_by: float
    across: str
    curves: tuple[tuple[str, str], ...]


OVERVIEW = (
    Bars(
        "A request of one line",
        "growth-connections",
        100,
        "µs of CPU time, 100 connections",
        1,
        (
            ("geventstreams", "geventstreams"),
            ("uvloop streams", "uvloop"),
            ("gevent makefile", "gevent-makefile"),
            ("asyncio streams", "asyncio"),
        ),
    ),
    Bars(
        "An idle connection",
        "memory-idle",
        0,
        "KiB of memory in a server",
        1,
        (
            ("geventstreams", "geventstreams"),
            ("asyncio streams", "asyncio"),
            ("gevent socket", "gevent"),
            ("gevent makefile", "gevent-makefile"),
        ),
    ),
    Bars(
        "A wait for 100 streams",
        "growth-waiting",
        100,
        "µs of CPU time, one stream is ready",
        1000,
        (
            ("geventstreams", "wait_for_input_streams"),
            ("gevent selectors", "gevent.selectors"),
            ("gevent select", "gevent.select.select"),
            ("gevent poll", "gevent.select.poll"),
        ),
    ),
)
GROWTH = (
    Curves(
        "connections",
        "A request, as connections grow",
        "growth-connections",
        "µs of CPU time per request",
        1,
        "connections, all busy",
        (
            ("geventstreams", "geventstreams"),
            ("gevent makefile", "gevent-makefile"),
            ("uvloop", "uvloop"),
            ("asyncio", "asyncio"),
            ("C program", "floor"),
        ),
    ),
    Curves(
        "lines",
        "Receiving lines, as they get longer",
        "growth-lines",
        "ns of CPU time per byte",
        1,
        "bytes in a line",
        (("geventstreams", "geventstreams"), ("gevent makefile", "gevent-makefile"), ("uvloop", "uvloop"), ("asyncio", "asyncio")),
    ),
    Curves(
        "waiting",
        "A wait, as streams grow",
        "growth-waiting",
        "µs of CPU time per wait",
        1000,
        "streams, one of them ready",
        (
            ("wait_for_input…", "wait_for_input_streams"),
            ("gevent poll", "gevent.select.poll"),
            ("gevent selectors", "gevent.selectors"),
            ("WaitSet", "WaitSet.wait"),
        ),
    ),
)


def medians(figures: Mapping[str, Any], row: str) -> dict[str, dict[int, float]]:
    """Return the medians of a row, by contender and size."""
    found = next(each for each in figures["rows"] if each["name"] == row)
    return {each["name"]: {point["size"]: point["median"] for point in each["points"]} for each in found["contenders"]}


def number(value: float) -> str:
    """Write a figure with two digits that count, or three."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def power(value: float) -> str:
    """Write a power of ten."""
    if value >= 1:
        return f"{value:,.0f}" if value < 1_000_000 else f"{value / 2**20:.0f} MiB"
    return f"{value:g}"


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    classes = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{classes}>{escape(content)}</text>'


def picture(height: float, title: str, parts: Iterator[str]) -> str:
    """Put the parts of a picture together."""
    size = f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}"'
    ground = f'<rect class="ground" width="{WIDTH}" height="{height:.0f}" rx="8"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{escape(title)}</title><style>{STYLE}</style>{ground}'
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def bars(figures: Mapping[str, Any]) -> Iterator[str]:
    """Draw the groups of the overview, one below the other."""
    top = 12.0
    for group in OVERVIEW:
        yield text(12, top + 16, group.title, "title")
        yield text(12, top + 33, group.unit, "small")
        top += 42
        values = [(name, medians(figures, group.row)[label][group.size] / group.divided_by) for name, label in group.bars]
        most = max(value for _, value in values)
        for name, value in values:
            length = max(2, 190 * value / most)
            yield text(142, top + 15, name, "own" if name in OURS else "", "end")
            yield f'<rect class="bar {"c0" if name in OURS else "c4"}" x="150" y="{top + 2:.0f}" width="{length:.1f}" height="17" rx="2"/>'
            yield text(150 + length + 6, top + 15, number(value), "own" if name in OURS else "")
            top += 23
        top += 16


def spread_out(places: list[float], apart: float, lowest: float) -> list[float]:
    """Move labels that are too close apart, as little as possible, and none below `lowest`."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = list(places)
    for _ in range(200):
        for above, below in pairwise(order):
            lacking = apart - (moved[below] - moved[above])
            if lacking > 0:
                moved[above] -= lacking / 2
                moved[below] += lacking / 2
        over = moved[order[-1]] - lowest
        if over > 0:
            moved[order[-1]] -= over
    return moved


def curves(figures: Mapping[str, Any], what: Curves) -> Iterator[str]:
    """Draw curves over logarithmic axes, each with its name at its end."""
    left, right, top, bottom = 52.0, 246.0, 62.0, 262.0
    found = medians(figures, what.row)
    lines = [(name, {size: value / what.divided_by for size, value in sorted(found[label].items())}) for name, label in what.curves]
    sizes = sorted({size for _, points in lines for size in points})
    values = [value for _, points in lines for value in points.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def x(size: float) -> float:
        return left + (right - left) * (math.log10(size) - math.log10(sizes[0])) / (math.log10(sizes[-1]) - math.log10(sizes[0]))

    def y(value: float) -> float:
        return bottom - (bottom - top) * (math.log10(value) - low) / (high - low)

    yield text(12, 28, what.title, "title")
    yield text(12, 46, what.unit, "small")
    for exponent in range(low, high + 1):
        place = y(10.0**exponent)
        yield f'<line class="grid" x1="{left:.0f}" x2="{right:.0f}" y1="{place:.1f}" y2="{place:.1f}"/>'
        yield text(left - 6, place + 4, power(10.0**exponent), "small", "end")
    whole = [size for size in sizes if math.log10(size).is_integer()]
    for size in sizes if len(sizes) < 5 else whole:
        anchor = "start" if size == sizes[0] else "end" if size == sizes[-1] else "middle"
        yield text(x(size), bottom + 18, power(size), "small", anchor)
    yield text((left + right) / 2, bottom + 38, what.across, "small", "middle")
    ends = [y(points[max(points)]) for _, points in lines]
    labels = spread_out(ends, 17, bottom)
    for index, (name, points) in reversed(list(enumerate(lines))):
        colour = "c0" if name in OURS else f"c{index}"
        dashed = " dashed" if name in OURS and index else ""
        path = " ".join(f"{x(size):.1f},{y(value):.1f}" for size, value in points.items())
        yield f'<polyline class="line {colour}{dashed}" points="{path}"/>'
        yield from (f'<circle class="dot {colour}" cx="{x(size):.1f}" cy="{y(value):.1f}" r="3"/>' for size, value in points.items())
        end = x(max(points))
        leader = f"M{end + 4:.0f} {ends[index]:.1f}L{right + 10:.0f} {labels[index]:.1f}"
        yield f'<path class="line {colour}" opacity=".4" style="stroke-width:1" d="{leader}"/>'
        yield text(right + 13, labels[index] + 4, name, f"key {colour}" + (" own" if name in OURS else ""))


def pictures(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each picture's file name and content."""
    height = sum(42 + 23 * len(group.bars) + 16 for group in OVERVIEW) + 12
    yield "overview.svg", picture(height, "What a request, an idle connection and a wait cost", bars(figures))
    for what in GROWTH:
        yield f"{what.name}.svg", picture(312, f"{what.title}: {what.unit}", curves(figures, what))


def table(figures: Mapping[str, Any]) -> str:
    """Return the table of goals, in Markdown."""
    lines = ["| measure | of | to | goal | measured | quartiles | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in figures["rows"]:
        for goal in (goal for goal in row["goals"] if goal["bound"] is not None):  # others are only compared
            digits = 4 if goal["bound"] < 0.02 else 3 if goal["bound"] < 0.1 else 2
            ratio, *quartiles = (f"{value:.{digits}f}" for value in (goal["ratio"], *goal["quartiles"]))
            bound = f"{'≥' if goal['at_least'] else '≤'} {goal['bound']:g}"
            cells = (row["what"], goal["of"], goal["against"], bound, ratio, " to ".join(quartiles), goal["verdict"])
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def least_table(figures: Mapping[str, Any]) -> str:
    """Return the table of what goals cost at least, in Markdown."""
    lines = ["| goal | of | to | at most | ours | least | quartiles | |", "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in figures["rows"]:
        for goal in row["goals"]:
            least = goal["least"]
            ratios = [f"{value:.2f}" for value in (goal["ratio"], least["ratio"], *least["quartiles"])]
            cells = (row["what"], goal["of"], goal["against"], f"{goal['bound']:g}", *ratios[:2], " to ".join(ratios[2:]), least["verdict"])
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def replaced(text: str, first: str, table: str, date: str) -> str:
    """Return the text with this table in place of the one whose first column is `first`, and this day before it."""
    head, _, rest = text.partition(f"| {first} |")
    _, _, rest = rest.partition("\n\n")
    head = re.sub(r"\d{4}-\d\d-\d\d", date, head)
    return f"{head}{table}\n{rest}"


def with_table(page: str, figures: Mapping[str, Any]) -> str:
    """Return the page about speed with this table of goals, and the day of it."""
    return replaced(page, "measure", table(figures), figures["date"])


def with_least_table(page: str, figures: Mapping[str, Any]) -> str:
    """Return the page about speed with this table of what goals cost at least, and the day of it."""
    before, heading, section = page.partition(LEAST)
    return f"{before}{heading}{replaced(section, 'goal', least_table(figures), figures['date'])}"


def slimmed(file: Path) -> dict[str, Any]:
    """Return the figures of a run, without samples: medians and quartiles are enough, and a fiftieth of the size."""
    figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    for row in figures["rows"]:
        for contender in row["contenders"]:
            for point in contender["points"]:
                point.pop("samples", None)
    file.write_text(json.dumps(figures, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n", encoding="utf-8")
    return figures


def main() -> None:
    page = FOLDER.parent / "speed.md"
    figures, least = slimmed(FOLDER / "figures.json"), slimmed(FOLDER / "least.json")
    page.write_text(with_least_table(with_table(page.read_text(encoding="utf-8"), figures), least), encoding="utf-8")
    for name, content in pictures(figures):
        (FOLDER / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
