"""The same reads by our `makefile`."""

from __future__ import annotations

from typing import Any

import geventstreams
from benchmarks.operations import files


class Own(files.FromFile):
    """Our file on the same socket."""

    def open(self) -> Any:
        """Makes it."""
        return geventstreams.makefile(self.socket, "rb")


class ReadLine(Own, files.ReadLine):
    """`readline`."""


class Read(Own, files.Read):
    """`read(64)`."""


class ReadInto(Own, files.ReadInto):
    """`readinto` 64 octets."""


class ReadLarge(Own, files.ReadLarge):
    """`read(65536)`."""
