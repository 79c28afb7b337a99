"""The layout of help texts: paragraphs are filled to the terminal's width, and a long command is continued on the next line."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from collections.abc import Iterator, Sequence

WIDEST = 100
"""Columns of a help text, at most."""

COMMAND_INDENT = 4
"""Spaces before an example's command; its comment has two."""


def width_of_help() -> tuple[int, int]:
    """Return the columns of a help text, and the column where the options' texts begin."""
    width = min(shutil.get_terminal_size().columns, WIDEST) - 2
    return width, min(28, width // 3)


def fill(text: str, width: int) -> str:
    """Return a text whose paragraphs fit into `width` columns. Indented lines stay lines; a long command is continued on the next."""
    return "\n\n".join("\n".join(laid_out(paragraph, width)) for paragraph in text.split("\n\n"))


def laid_out(paragraph: str, width: int) -> Iterator[str]:
    """Yield the lines of a paragraph: filled, unless some of them are indented."""
    if "\n " not in paragraph:
        yield from textwrap.wrap(paragraph, width, break_long_words=False, break_on_hyphens=False)
        return
    for line in paragraph.splitlines():
        indent = " " * (len(line) - len(line.lstrip()))
        if len(indent) == COMMAND_INDENT:
            yield from continued(line.strip(), width, indent)
        else:
            hanging = indent + " " * (line.find("  ", len(indent)) + 2 if "  " in line.strip() else 0)
            yield from textwrap.wrap(line, width, subsequent_indent=hanging) or [""]


def continued(command: str, width: int, indent: str) -> Iterator[str]:
    """Yield a shell command in lines of at most `width` columns, as far as its words allow: each but the last ends in a backslash."""
    line = indent
    for word in shlex.split(command, posix=False):
        if line.strip() and len(line) + len(word) + 3 > width:
            yield line + "\\"
            line = indent + "    "
        line += word + " "
    yield line.rstrip()


def epilog(examples: Sequence[tuple[str, str]], notes: str) -> str:
    """Return the end of a help text: examples, each a comment and a command, and then paragraphs."""
    lines = [f"  {comment}:\n{' ' * COMMAND_INDENT}{command}" for comment, command in examples]
    return "\n\n".join(filter(None, ["\n".join(["examples:", *lines]) if lines else "", notes]))
