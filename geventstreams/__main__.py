"""The command line: `python -m geventstreams COMMAND …`, and the console script `geventstreams`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from geventstreams import __version__, compiled
from geventstreams._build import why_plain
from geventstreams.cli import bench, connect, demo, descriptors, outlets, relay, serve
from geventstreams.cli.options import Parser
from geventstreams.cli.statuses import EXPLANATION, CommandError, Status, explained

COMMANDS = (demo, connect, serve, relay, bench)
EXAMPLES = f"""examples:
  geventstreams demo                                   see it work, in ten seconds
  geventstreams serve echo --listen 127.0.0.1:7000     a server
  geventstreams connect 127.0.0.1 7000                 a client for it, or for anything else
  geventstreams connect --help                         more about a command

{EXPLANATION}"""


def version() -> str:
    """What runs here."""
    build = "compiled" if compiled else f"plain Python ({why_plain()})"
    return f"geventstreams {__version__}, {build}, gevent {metadata.version('gevent')}"


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    made = Parser(
        prog="geventstreams",
        epilog=EXAMPLES,
        description="Streams over sockets, for people who debug network services.",
    )
    made.set_defaults(outlets=())
    made.add_argument("-V", "--version", action="version", version=version())
    commands = made.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return made


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options. A command that `takes_rest` gets what it does not know in `rest`; `words` are all that were given."""
    made = parser()
    given, rest = made.parse_known_args(arguments)
    if rest and "takes_rest" not in given:
        made.error(f"unrecognized arguments: {' '.join(rest)}")
    given.rest = rest
    given.words = sys.argv[1:] if arguments is None else list(arguments)
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; its exit status."""
    moved = descriptors.secured()
    given = parsed(arguments)
    given.moved = moved
    with outlets.installed(*given.outlets):
        end = ended(given)
        if end.line and sys.stderr is not None:
            print(f"geventstreams: {end.line}", file=sys.stderr)
    return end.status


def ended(given: argparse.Namespace) -> CommandError:
    """Runs the command; how it ended."""
    try:
        return CommandError(Status(given.run(given)))
    except BrokenPipeError:
        # What Python still holds for standard output has nowhere to go; it must not complain about that at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return CommandError(Status.NOBODY_READS)
    except (CommandError, OSError) as error:
        return error if isinstance(error, CommandError) else explained(error)
    except KeyboardInterrupt:
        return CommandError(Status.INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
