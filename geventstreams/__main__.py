"""The command line: `python -m geventstreams COMMAND …`, and the console script `geventstreams`."""

from __future__ import annotations

import sys

try:
    import argparse
    from collections.abc import Sequence
    from contextlib import suppress
    from importlib import metadata
    from typing import Any

    from geventstreams._build import __version__, why_plain
    from geventstreams.cli import bench, connect, demo, descriptors, doctor, outlets, relay, serve
    from geventstreams.cli.notices import compiled
    from geventstreams.cli.parser import Parser
    from geventstreams.cli.statuses import EXPLANATION, CommandError, Status, end_of
except KeyboardInterrupt:  # Ctrl-C; to load all this takes longest
    sys.exit(130)

ENDS = (CommandError, OSError, KeyboardInterrupt, SystemExit)
"""What ends a command, other than its return."""

COMMANDS = (demo, connect, serve, relay, doctor, bench)

EXAMPLES = (
    ("see it work, in ten seconds", "geventstreams demo"),
    ("a server", "geventstreams serve echo --listen 127.0.0.1:7000"),
    ("a client, for it or for another server", "geventstreams connect 127.0.0.1:7000"),
    ("more about a command, with examples", "geventstreams connect --help"),
)


def version() -> str:
    """Return what runs here."""
    build = "compiled" if compiled else f"plain Python ({why_plain()})"
    return f"geventstreams {__version__}, {build}, gevent {metadata.version('gevent')}"


class Version(argparse.Action):
    """`--version`. It is looked up only if it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002  # the name is argparse's
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser._print_message(version() + "\n", sys.stdout)
        parser.exit()


def parser() -> Parser:
    """Return the parser of all commands."""
    top = Parser(
        prog="geventstreams", usage="%(prog)s COMMAND [OPTION ...]", examples=EXAMPLES, notes=EXPLANATION,
        description="Connect to network services, serve them, and relay between them: TCP, Unix sockets, TLS.",
    )
    top.set_defaults(outlets=(), finish=None, takes_rest=False)
    top.add_argument("-V", "--version", action=Version, help="what runs here; more: geventstreams doctor")
    commands = top.add_subparsers(metavar="COMMAND", title="commands", dest="command", prog="geventstreams")
    for command in COMMANDS:
        command.add_parser(commands)
    return top


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options. A command that `takes_rest` gets the words that it does not know in `rest`; `words` are all of them.

    A command with `finish` checks what depends on more than one word, and gets the words that are not options.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    top = parser()
    commands: dict[str, Parser] = next(action.choices for action in top._actions if isinstance(action, argparse._SubParsersAction))
    top.refuse_misplaced(words, commands)
    args, rest = top.parse_known_args(words)
    if args.command is None:
        top.print_help(sys.stderr)
        raise SystemExit(Status.USAGE)
    command = commands[args.command]
    if not args.takes_rest and rest and (args.finish is None or any(word.startswith("-") for word in rest)):
        command.refuse(rest)
    if args.finish is not None:
        try:
            args.finish(args, rest)
        except argparse.ArgumentTypeError as error:
            command.error(str(error))
    args.rest = rest
    args.words = words
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Return its exit status."""
    moved = descriptors.secured()
    try:
        args = parsed(arguments)
    except ENDS as error:
        return finished(ended(error))
    args.moved = moved
    with outlets.installed(*args.outlets):
        try:
            end = CommandError(Status(args.run(args)))
        except ENDS as error:
            end = ended(error)
        return finished(end)


def ended(error: BaseException) -> CommandError:
    """Return how a command ended that raised one of `ENDS`."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, SystemExit):  # argparse has printed a help text or a mistake
        return CommandError(Status(int(error.code or 0)))
    if isinstance(error, KeyboardInterrupt):
        return CommandError(Status.INTERRUPTED)
    if isinstance(error, BrokenPipeError):
        return CommandError(Status.OUTPUT_CLOSED)
    assert isinstance(error, OSError)  # the last of `ENDS`
    return end_of(error)


def finished(end: CommandError) -> int:
    """Print the line of an end. Return its exit status, or that of output which Python still holds and cannot write."""
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
