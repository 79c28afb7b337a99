"""Help in colours, by the library `rich-argparse`, which the extra `cli` installs."""

from __future__ import annotations

from typing import Any

from rich_argparse import RawDescriptionRichHelpFormatter

from geventstreams.cli.layout import fill, width_of_help


class ColouredLayout(RawDescriptionRichHelpFormatter):  # type: ignore[misc]  # not read by mypy: it need not be installed
    """The layout of the parser's help, in colours."""

    text_markup = False  # [IPV6]:PORT is not markup
    group_name_formatter = str

    def __init__(self, prog: str, **settings: Any) -> None:
        width, position = width_of_help()
        super().__init__(prog, width=width, max_help_position=position, **settings)

    def add_text(self, text: Any) -> None:
        super().add_text(fill(text, self._width) if isinstance(text, str) else text)
