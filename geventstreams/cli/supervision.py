"""`--workers N`: the supervisor. Its workers run the same command, with listeners that it passes on."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import gevent

from geventstreams.cli import listeners, notices, signals, systemd, watching
from geventstreams.cli.statuses import CommandError, Status
from geventstreams.workers import Supervisor, Worker

START = "import sys; sys.path[:] = {path}; from geventstreams.__main__ import main; sys.exit(main())"
"""The program of a worker."""


def run(args: argparse.Namespace, what: str, groups: Sequence[Sequence[Any]]) -> int:
    """Supervise until a signal comes, then let all workers drain."""
    stops = signals.Stops()
    metrics = watching.Workers(args)
    supervisor = Supervisor(
        lambda listeners: command(args.words, listeners),
        groups,
        tell=notices.warn,
        ended=metrics.ended,
        environment=metrics.environment,
    )
    try:
        return supervise(args, what, groups, supervisor, metrics, stops)
    finally:
        metrics.stop()


def supervise(
    args: argparse.Namespace,
    what: str,
    groups: Sequence[Sequence[Any]],
    supervisor: Supervisor,
    metrics: watching.Workers,
    stops: signals.Stops,
) -> int:
    """Run from the start of all workers to their end."""
    stops.signals.handle(signal.SIGHUP, supervisor.replace_all)
    stops.signals.handle(signal.SIGUSR1, partial(pass_on, signal.SIGUSR1, supervisor))
    if not started(supervisor, stops):
        if stops.second.is_set():
            raise CommandError(Status.INTERRUPTED)
        if not stops.first.is_set():  # else a signal to all processes has ended workers that could not drain yet
            raise CommandError(Status.FAILED, "the workers do not start")
        return Status.DONE
    notices.announce(args, f"{what} with {len(groups)} workers on {listeners.names([each.getsockname() for each in groups[0]])}")
    metrics.start()
    with systemd.notified(stops.first):
        drained = stops.drained(supervisor.stop)
    if drained is None:
        supervisor.stop()  # a second signal for each worker
        raise CommandError(Status.INTERRUPTED)
    drained.get()  # raises the error that kept it from stopping them all
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


def pass_on(number: int, supervisor: Supervisor) -> None:
    """Send a signal to all workers, as soon as they serve: before that it would end them."""

    def send(worker: Worker) -> None:
        with suppress(ProcessLookupError):
            if worker.is_ready():
                os.kill(worker.pid, number)

    for worker in supervisor.workers:
        gevent.spawn(send, worker)


def command(words: Sequence[str], listeners: Sequence[Any]) -> list[str]:
    """Return the command line of a worker. It imports from where this process does: `-m` would look into the current folder first."""
    numbers = ",".join(str(listener.fileno()) for listener in listeners)
    return [sys.executable, "-c", START.format(path=[str(folder) for folder in sys.path]), words[0], "--worker", numbers, *words[1:]]
