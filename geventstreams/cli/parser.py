"""The argument parser of the commands: mistakes in one line, help that fits the terminal, options in any order."""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from geventstreams.cli.layout import epilog, fill, width_of_help
from geventstreams.cli.statuses import Status, one_line

Commands = Any
"""What `add_subparsers` returns; argparse has no public name for its class."""

class Layout(argparse.HelpFormatter):
    """Help that fits the terminal."""

    def __init__(self, prog: str, **settings: Any) -> None:
        width, position = width_of_help()
        super().__init__(prog, width=width, max_help_position=position, **settings)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return fill(text, width)


def colourful(prog: str) -> argparse.HelpFormatter:
    """Return a formatter that writes in colours where `rich-argparse` is installed and standard output shows them."""
    if sys.stdout is not None and sys.stdout.isatty() and importlib.util.find_spec("rich_argparse"):
        coloured: argparse.HelpFormatter = importlib.import_module("geventstreams.cli.colours").ColouredLayout(prog)
        return coloured
    return Layout(prog)


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one line."""

    def __init__(self, *, examples: Sequence[tuple[str, str]] = (), notes: str = "", **settings: Any) -> None:
        settings.setdefault("formatter_class", colourful)
        settings.setdefault("epilog", epilog(examples, notes))
        super().__init__(**settings)

    def parse_known_args(  # type: ignore[override]  # typeshed has more forms
        self, *arguments: Any, **options: Any
    ) -> tuple[argparse.Namespace, list[str]]:
        self._has_negative_number_optionals.clear()  # `--timeout -1` is an option and its value, though there is an option -4
        return super().parse_known_args(*arguments, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(Status.USAGE, f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print a help text or a mistake. Only a mistake may be lost: Python's parsers differ in what they do about errors here."""
        if message and file is sys.stdout and file is not None:
            file.write(message)
        else:
            with suppress(OSError):
                super()._print_message(message, file)

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Report words that no option or argument takes."""
        word = words[0]
        name = word.partition("=")[0]
        if not name.startswith("-"):
            self.error(f"unexpected argument: {word}")
        similar = difflib.get_close_matches(name, self._option_string_actions, 1)
        self.error(f"there is no option {name}" + (f"; is {similar[0]} meant?" if similar else ""))

    def refuse_misplaced(self, words: Sequence[str], commands: dict[str, Parser]) -> None:
        """Report an option of a command that stands before the command."""
        if not words or not words[0].startswith("-"):
            return
        name = words[0].partition("=")[0]
        if any(option.startswith(name) for option in self._option_string_actions):
            return
        owners = [command for command, parser in commands.items() if name in parser._option_string_actions]
        if owners:
            chosen = next((word for word in words if word in owners), owners[0])
            self.exit(
                Status.USAGE,
                f"{self.prog}: {name} comes after the command: {self.prog} {chosen} {name} (see {self.prog} {chosen} --help)\n",
            )
        self.refuse(words)
