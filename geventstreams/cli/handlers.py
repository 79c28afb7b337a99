"""What `serve` does with a connection: a handler for each WHAT."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, NamedTuple

from geventstreams._constants import BLOCK
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli.files import File
from geventstreams.cli.options import folder, regular_file
from geventstreams.cli.programs import Exec

Handler = Callable[[SocketStream, Any], None]

WORDS = ("echo", "discard", "time", "http", "http:", "file:", "exec:")
"""What the name of a handler is, or begins with."""


def echo(stream: SocketStream, _address: Any) -> None:
    """Send back what comes (RFC 862). A read that has to wait sends first."""
    while data := stream.read1():
        stream.write(data)


def discard(stream: SocketStream, _address: Any) -> None:
    """Read what comes (RFC 863)."""
    space = bytearray(BLOCK)
    while stream.readinto1(space):
        pass


def time(stream: SocketStream, _address: Any) -> None:
    """Send the time in one line, as RFC 867 has it, in the form of ISO 8601."""
    stream.write_line(datetime.now(timezone.utc).isoformat(timespec="seconds"))


def http(path: str) -> Handler:
    """Return a handler that sends the files of a folder. Its module is loaded here: the standard library's HTTP takes long."""
    handler: Handler = importlib.import_module("geventstreams.cli.http_files").Folder(path)
    return handler


class What(NamedTuple):
    """A handler, and its name on the command line."""

    text: str
    serve: Handler

    def __str__(self) -> str:
        return self.text


def named(text: str) -> What:
    """The name of a handler."""
    word, colon, rest = text.partition(":")
    if not colon and word in {"echo", "discard", "time"}:
        return What(text, {"echo": echo, "discard": discard, "time": time}[word])
    if word == "http" and (rest or not colon):
        return What(text, http(folder(rest or ".")))
    if word == "file" and rest:
        return What(text, File(regular_file(rest)))
    if word == "exec" and rest.strip() and "\0" not in rest:
        return What(text, Exec(rest))
    raise argparse.ArgumentTypeError(f"{text!r} is not one of echo, discard, time, http[:FOLDER], file:PATH, exec:CMD")
