"""Reads by our `makefile` of a gevent socket that has 128 KiB of 64-byte lines to read."""

from __future__ import annotations

from typing import Any

import geventstreams
from benchmarks.operations import files


class FromFile(files.FromFile):
    """Our file on a gevent socket."""

    def open(self) -> Any:
        """Return our file."""
        return geventstreams.makefile(self.socket, self.mode, **self.keywords())


class ReadLine(FromFile, files.ReadLine):
    """`readline`."""


class TextLine(FromFile, files.TextLine):
    """`readline` of a text file."""


class Read(FromFile, files.Read):
    """`read(64)`."""


class ReadInto(FromFile, files.ReadInto):
    """`readinto` 64 bytes."""


class ReadLarge(FromFile, files.ReadLarge):
    """`read(65536)`."""
