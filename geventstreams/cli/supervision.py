"""`--workers N`: the supervisor of the command line. Its workers run the same command, with listeners that it passes on."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any

import gevent

from geventstreams._core.transport import address_name
from geventstreams.cli import notices, signals, watching
from geventstreams.cli.statuses import CommandError, Status
from geventstreams.workers import Supervisor

START = "import sys; sys.path[:] = {path}; from geventstreams.__main__ import main; sys.exit(main())"
"""The program of a worker."""


def run(given: argparse.Namespace, what: str, groups: Sequence[Sequence[Any]]) -> int:
    """Supervises until a signal comes, then lets all workers drain."""
    stops = signals.Stops()
    metrics = watching.Workers(given)
    supervisor = Supervisor(
        lambda listeners: command(given.words, listeners),
        groups,
        tell=notices.warn,
        ended=metrics.ended,
        environment=metrics.environment,
    )
    try:
        return supervise(given, what, groups, supervisor, metrics, stops)
    finally:
        metrics.stop()


def supervise(
    given: argparse.Namespace,
    what: str,
    groups: Sequence[Sequence[Any]],
    supervisor: Supervisor,
    metrics: watching.Workers,
    stops: signals.Stops,
) -> int:
    """From the start of all workers to their end."""
    addresses = notices.listed(address_name(listener.getsockname()) for listener in groups[0])
    stops.signals.handle(signal.SIGHUP, supervisor.replace_all)
    if not started(supervisor, stops):
        raise CommandError(Status.INTERRUPTED) if stops.second.is_set() else CommandError(Status.FAILED, "the workers do not start")
    notices.announce(given, f"{what} with {len(groups)} workers on {addresses}")
    metrics.start()
    drained = stops.drained(supervisor.stop)
    if drained is None:
        supervisor.stop()  # for a worker it is the second signal, too
        raise CommandError(Status.INTERRUPTED)
    drained.get()  # raises what kept it from stopping them all
    return Status.DONE


def started(supervisor: Supervisor, stops: signals.Stops) -> bool:
    """Start the workers. A second signal does not wait until they are ready."""

    def give_up(_: Any) -> None:
        gevent.spawn(supervisor.kill)

    stops.second.rawlink(give_up)
    try:
        return supervisor.start()
    finally:
        stops.second.unlink(give_up)


def command(words: Sequence[str], listeners: Sequence[Any]) -> list[str]:
    """The command line of a worker. It imports from where this process does: `-m` would look into the current folder first."""
    numbers = ",".join(str(listener.fileno()) for listener in listeners)
    return [sys.executable, "-c", START.format(path=[str(folder) for folder in sys.path]), words[0], "--worker", numbers, *words[1:]]
