"""The command line: `python -m geventstreams COMMAND …`, and the console script `geventstreams`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata

from geventstreams import __version__, compiled
from geventstreams._build import why_plain
from geventstreams.cli import bench, connect, demo, descriptors, outlets, relay, serve
from geventstreams.cli.options import Parser
from geventstreams.cli.statuses import EXPLANATION, CommandError, Status, explained

ENDS = (CommandError, OSError, KeyboardInterrupt, SystemExit)
"""What ends a command, other than its return."""

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
    try:
        given = parsed(arguments)
    except ENDS as error:
        return finished(ended(error))
    given.moved = moved
    with outlets.installed(*given.outlets):
        try:
            end = CommandError(Status(given.run(given)))
        except ENDS as error:
            end = ended(error)
        return finished(end)


def ended(error: BaseException) -> CommandError:
    """How a command ended that raised one of `ENDS`."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, SystemExit):  # argparse: what was asked for, or what is wrong, has been printed
        return CommandError(Status(int(error.code or 0)))
    if isinstance(error, KeyboardInterrupt):
        return CommandError(Status.INTERRUPTED)
    if isinstance(error, BrokenPipeError):
        return CommandError(Status.NOBODY_READS)
    assert isinstance(error, OSError)  # the last of `ENDS`
    return explained(error)


def finished(end: CommandError) -> int:
    """Print the line of an end; its exit status. Output that Python still holds counts: if it cannot be written, that is the end."""
    try:
        outlets.flush(sys.stdout)
    except OSError as error:
        if end.status is Status.DONE:
            end = ended(error)
    with suppress(OSError):
        if end.line and sys.stderr is not None:
            print(f"geventstreams: {end.line}", file=sys.stderr)
        outlets.flush(sys.stderr)
    return end.status


if __name__ == "__main__":
    sys.exit(main())
