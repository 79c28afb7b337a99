"""The words of the project are those of the field: in names, comments, docstrings, messages and documents."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PLACES = (
    *("geventstreams", "tests", "benchmarks", "examples", "docs", ".ci", "README.md", "CONTRIBUTING.md"),
    *("setup.py", "pyproject.toml", "tox.ini"),
)
TEXTS = {"", ".c", ".ini", ".md", ".pxd", ".py", ".pyi", ".toml", ".txt"}

WORDS = {
    r"octets?": "byte",
    r"conduits?": "engine",
    r"goodbyes?": "close_notify",
    r"part_in_anger": "abort the shutdown",
    r"rosters?": "ready set, remembered list",
    r"stirred": "input event",
    r"doom(ed)?": "connect timer",
    r"forsake\w*": "close in the child",
    r"securable": "TLS upgrade",
    r"go_round": "yield to the hub",
    r"under_the_name": "named frame",
    r"whoever|whomever": "a caller, the reader",
    r"nobody": "no caller, no client",
    r"somebody": "a caller, another greenlet",
    r"untold": "suppressed",
    r"in vain": "without effect",
    r"such a one": "such a stream",
    r"limits? of time": "timeout",
    r"(its|their) time has passed": "timed out",
    r"to (its|their) end of time": "forever",
}
"""Words that the project does not use, as regular expressions, with words of the field."""

QUOTED = re.compile(r'octets_(in|out)|octet-stream|"nobody"')
"""Where such a word is right: public names, and the names of other programs."""


def files() -> Iterator[Path]:
    """Every file whose words count."""
    for place in PLACES:
        path = CHECKOUT / place
        paths = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (one for one in paths if one.is_file() and one.suffix in TEXTS and one != Path(__file__).resolve())


@cache
def lines() -> list[tuple[str, str]]:
    """The lines of all these files, without what is quoted, each with its place."""
    numbered = []
    for path in files():
        name = path.relative_to(CHECKOUT)
        text = QUOTED.sub("", path.read_text(encoding="utf-8"))
        numbered += [(f"{name}:{number}", line) for number, line in enumerate(text.splitlines(), 1)]
    return numbered


@pytest.mark.parametrize("word", WORDS)
def test_the_word_of_the_field_is_used(word: str) -> None:
    """No file has this word, alone or within a name."""
    pattern = re.compile(rf"(?<![A-Za-z])(?:{word})(?![a-z])", re.IGNORECASE)
    places = [f"{place}: {line.strip()}" for place, line in lines() if pattern.search(line)]
    assert not places, f"use: {WORDS[word]}\n" + "\n".join(places)


def test_docstrings_can_be_read_alone() -> None:
    """No docstring begins with a reference to the one above it."""
    places = [f"{place}: {line.strip()}" for place, line in lines() if re.match(r'\s*"""(The same|The reverse)\b', line)]
    assert not places, "\n".join(places)
