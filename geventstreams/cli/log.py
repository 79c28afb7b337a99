"""`--log text|json`: lines about connections on standard error, and the form of all other lines there."""

from __future__ import annotations

import argparse
import json
import logging
import os
from datetime import datetime, timezone
from typing import Any

from geventstreams.cli import notices
from geventstreams.server.stats import quoted

FACTS = ("server", "peer", "reason", "suppressed")
"""What the library's log records have in attributes of their own."""


def configure(args: argparse.Namespace) -> None:
    """Set up the library's log; with `--log json` everything on standard error is JSON, one object in a line."""
    handler = logging.StreamHandler()
    handler.setFormatter(Records() if args.log == "json" else logging.Formatter("geventstreams: %(message)s"))
    logging.basicConfig(level=logging.CRITICAL if args.quiet else logging.WARNING, handlers=[handler])
    if args.log == "json":
        notices.in_form = lambda text: as_json(event="notice", text=text)


def write(args: argparse.Namespace, **facts: Any) -> None:
    """Write a line about a connection."""
    texts = {name: quoted(f"{value:.3f}" if isinstance(value, float) else value) for name, value in facts.items()}
    notices.show_line(as_json(**facts) if args.log == "json" else " ".join([now(), *map("=".join, texts.items())]))


def now() -> str:
    """Return the time in UTC, in the form of ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_json(**facts: Any) -> str:
    """Return a line of JSON with the time and this process."""
    return json.dumps({"time": now(), "pid": os.getpid(), **facts})


class Records(logging.Formatter):
    """The library's log records as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        facts = {name: getattr(record, name) for name in FACTS if getattr(record, name, None) is not None}
        text = {} if facts else {"text": super().format(record)}
        return as_json(event=getattr(record, "event", "notice"), **facts, **text)
