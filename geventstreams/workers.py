"""Several worker processes on one port: a supervisor keeps the listeners open and replaces workers that end.

`Supervisor(command, groups)` runs `command(listeners)` for each group of listeners; `shared_listeners` makes listeners on one address.
A worker finds its listeners under the numbers of their descriptors. `descriptors_given` gets listeners from systemd.
"""

# Invariant: a listener outlives its workers. Closing it would reset the clients in its queue, so the supervisor keeps each one open until
# all workers have ended, and a new worker takes over the listener of the one that it replaces.

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import gevent
from gevent import subprocess
from gevent.event import AsyncResult, Event
from gevent.pool import Group

import geventstreams._native.syscalls as _system
from geventstreams._core import arguments
from geventstreams._core.clock import CLOCK
from geventstreams._net.addresses import Query, family_of, host_name, port_or_name
from geventstreams._net.listening import BACKLOG, descriptors_given, listen_together
from geventstreams.errors import in_seconds

if TYPE_CHECKING:
    from geventstreams._types import Host, IPv6, Service

__all__ = ["Supervisor", "Worker", "descriptors_given", "shared_listeners"]

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
STEADY = 10.0
"""A worker that ran at least this many seconds is replaced at once, without a pause."""

LEAST_DESCRIPTOR = 3
"""The lowest descriptor under which a worker can inherit a listener."""

NOT_FOR_WORKERS = (signal.SIGINT, signal.SIGHUP)
"""Signals that a terminal, or `kill` with a group, sends to the supervisor and all workers. A starting worker must survive them."""

IN_ORDER = (0, -signal.SIGTERM)
"""Statuses of workers that a signal to all processes ended: drained, or before they could."""

OBEY_TIMEOUT = 10.0
"""Seconds in which a worker must end after its second signal."""

READY_TIMEOUT = 60.0
"""Seconds in which a new worker must report that it is ready."""


def shared_listeners(host: Host | None, port: Service, count: int, *, ipv6: IPv6 = "any", backlog: int = BACKLOG) -> list[Any]:
    """Make sockets that listen on one address together, one for each worker: the system distributes clients (SO_REUSEPORT).

    Args:
        host: A name or an IP address of this machine; None for all of its addresses.
        port: A port, or the name of a service; 0 for one that the system chooses.
        count: How many sockets.
        ipv6: `"any"`, True for IPv6 only, False for IPv4 only.
        backlog: How many clients the system may queue for each socket.

    Returns:
        gevent sockets, for the groups of a `Supervisor`.

    Raises:
        StreamError: The address is not one of this machine, or another socket listens there.
    """
    name, is_literal = (None, True) if host is None else host_name("host", host)
    query = Query(name, is_literal, port_or_name("port", port), family_of(ipv6))
    return listen_together(query, arguments.positive("backlog", backlog), arguments.positive("count", count))


class Worker:
    """A process that serves some listeners.

    It reports that it is ready by a line on its standard output. It gets SIGTERM, and the end of its standard input, also when the
    supervisor ends: the first of the two makes it drain, the second ends it at once. Another SIGTERM should change nothing, because a
    service manager may send it to all processes. It starts with the signals in `NOT_FOR_WORKERS` ignored.
    """

    def __init__(self, command: Sequence[str | os.PathLike[str]], listeners: Sequence[Any], environment: Mapping[str, str] | None) -> None:
        self.is_leaving: bool = False
        self._ready: AsyncResult[bool] = AsyncResult()
        inherited = [listener.fileno() for listener in listeners]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=inherited, env=environment,
                                         preexec_fn=_ignore_signals)
        self.pid: int = self._process.pid
        self._listening = gevent.spawn(self._listen)

    def _listen(self) -> None:
        """Wait for the line, and read all other output, so that the worker never waits for room in the pipe."""
        output = self._process.stdout
        self._ready.set(bool(output.readline()))
        while output.read(4096):
            pass

    def is_ready(self) -> bool:
        """Wait until the worker serves. Return False if it ended before, or took too long."""
        return bool(self._ready.wait(READY_TIMEOUT))

    def leave(self) -> None:
        """Make the worker drain."""
        self.is_leaving = True
        self._signal(signal.SIGTERM)

    def leave_at_once(self) -> None:
        """End the worker without a drain, by SIGKILL if it does not end in time.

        The system may deliver two signals as one, but not a signal and the end of the standard input.
        """
        self.leave()
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(OBEY_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()

    def leave_when_ready(self) -> None:
        """Make the worker drain once it serves: before that, a signal would end it."""
        self.is_leaving = True
        self.is_ready()
        self.leave()

    def kill(self) -> None:
        """End the worker by SIGKILL."""
        self.is_leaving = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def wait(self) -> int:
        """Wait until the worker has ended, and return its exit status."""
        status: int = self._process.wait()
        self._listening.kill()
        if not self._ready.ready():
            self._ready.set(False)  # a program that it started may keep its output open
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()
        return status


def _ignore_signals() -> None:
    for number in NOT_FOR_WORKERS:
        signal.signal(number, signal.SIG_IGN)


def told(error: Exception) -> str:
    """Return the text of an error for the user who supervises."""
    return str(error) if isinstance(error, OSError) else repr(error)


class Slot:
    """A group of listeners, and the worker that serves them now."""

    def __init__(self, supervisor: Supervisor, listeners: Sequence[Any]) -> None:
        self._supervisor = supervisor
        self.listeners = listeners
        self.worker: Worker | None = None
        self._pause = 0.0

    def begin(self) -> Worker:
        """Start a worker, which is replaced when it ends unasked."""
        worker = self._supervisor.started(self)
        if self.worker is None:
            self._take(worker)
        else:  # starting it was a wait, during which `replace` has started another one
            self._supervisor.greenlets.spawn(worker.leave_when_ready)
        return worker

    def _take(self, worker: Worker) -> None:
        self.worker = worker
        self._supervisor.greenlets.spawn(self._watch, worker, CLOCK.now())

    def _watch(self, worker: Worker, began: float) -> None:
        status = worker.wait()
        if worker.is_leaving:
            return
        steady = CLOCK.now() - began >= STEADY
        self._pause = 0.0 if steady else self._longer_pause()
        self.worker = None
        line = f"worker {worker.pid} ended with status {status}; the next one starts"
        if status not in IN_ORDER:
            self._supervisor.tell(f"{line} in {in_seconds(self._pause)}")
        gevent.sleep(self._pause)
        if self._is_served():
            return
        if status in IN_ORDER:  # not told before the pause: a signal to all processes may end a worker first, and then stop this one
            self._supervisor.tell(line)
        self._restart()

    def _is_served(self) -> bool:
        """Return whether no worker needs to be started."""
        return self.worker is not None or self._supervisor.is_stopping

    def _longer_pause(self) -> float:
        return min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)

    def _restart(self) -> None:
        """Start the next worker. If the system cannot start it, try again after a pause."""
        while not self._is_served():
            try:
                self.begin()
            except Exception as error:  # noqa: BLE001  # of the system, of `subprocess`, or of the user's `command`
                self._pause = self._longer_pause()
                self._supervisor.tell(f"a worker cannot be started: {told(error)}; the next attempt in {self._pause:g} s")
                gevent.sleep(self._pause)

    def replace(self) -> None:
        """Start a new worker, and make the old one drain when the new one serves. If it does not serve, the old one stays."""
        if self.worker is None:
            return  # a new one is being started
        try:
            new = self._supervisor.started(self)
        except Exception as error:  # noqa: BLE001  # see `_restart`
            self._supervisor.tell(f"a worker cannot be started: {told(error)}{self._kept()}")
            return
        if not new.is_ready() and not self._supervisor.is_stopping:
            new.kill()
            status = new.wait()
            if not self._supervisor.is_stopping:  # else a signal to all processes has ended it
                self._supervisor.tell(f"worker {new.pid} does not serve, status {status}{self._kept()}")
            return
        if self._supervisor.is_stopping:
            return  # `stop` ends it with all others
        old = self.worker
        self._take(new)
        if old is not None:
            old.leave()
            old.wait()

    def _kept(self) -> str:
        return "" if self.worker is None else f"; worker {self.worker.pid} stays"

    def serve_queue(self) -> None:
        """Start a last worker if there is none and clients wait in the queue."""
        if self.worker is None and _system.readable_of([listener.fileno() for listener in self.listeners]):
            try:
                self.worker = self._supervisor.started(self)
            except Exception as error:  # noqa: BLE001  # see `_restart`
                self._supervisor.tell(f"a worker for the clients in the queue cannot be started: {told(error)}")


def _checked(groups: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return groups of listeners that workers can inherit."""
    try:
        lists = [list(group) for group in groups]
        low = [listener for group in lists for listener in group if listener.fileno() < LEAST_DESCRIPTOR]
    except (TypeError, AttributeError):
        raise TypeError(f"groups must be a list of lists of listening sockets, not {groups!r}") from None
    if low:
        raise ValueError(f"a listener's descriptor must be {LEAST_DESCRIPTOR} or more, not {low[0]!r}")
    return lists


class Supervisor:
    """Runs a worker for each group of listeners, and replaces workers that end, until it is stopped.

    Args:
        command: Called as `command(listeners)`; returns the command line of a worker (see `Worker`). The worker inherits the listeners
            under the numbers of their descriptors.
        groups: The listeners of each worker. The supervisor closes them when it is stopped.
        tell: Called with a line of text when a worker ends or cannot be started.
        ended: Called with each `Worker` that has ended.
        environment: The environment of the workers; None means that of this process.

    Raises:
        TypeError: An argument is wrong; `groups` is a list of lists, one for each worker.
        ValueError: A listener has one of the descriptors 0 to 2, under which a worker has its pipes.
    """

    def __init__(self, command: Callable[[Sequence[Any]], Sequence[str | os.PathLike[str]]], groups: Sequence[Sequence[Any]], *,
                 tell: Callable[[str], object] = print, ended: Callable[[Worker], object] | None = None,
                 environment: Mapping[str, str] | None = None) -> None:
        for name, function in (("command", command), ("tell", tell)):
            arguments.function(name, function)
        arguments.callback("ended", ended)
        if environment is not None:
            arguments.instance("environment", environment, Mapping)
        checked = _checked(groups)
        self._tell = tell
        self.is_stopping: bool = False
        self.greenlets: Group = Group()
        self._command = command
        self._environment = environment
        self._on_end = ended
        self._slots = [Slot(self, group) for group in checked]
        self._living: set[Worker] = set()
        self._starting = 0
        self._changed = Event()
        self._replacing: Any = None
        self._is_replacement_wanted = False
        self._is_started = False

    @property
    def workers(self) -> list[Worker]:
        """The workers that run now."""
        return [slot.worker for slot in self._slots if slot.worker is not None]

    def start(self) -> bool:
        """Start all workers and wait until they serve. If one does not, kill all and return False."""
        try:
            begun = [slot.begin() for slot in self._slots]
        except BaseException:
            self.kill()
            raise
        if all(worker.is_ready() for worker in begun):
            self._is_started = True
            self._replace_wanted()
            return True
        self.kill()
        return False

    def tell(self, line: str) -> None:
        """Pass a line to the user's `tell`. Its errors are ignored, such as those of `print` on a closed pipe."""
        with suppress(Exception):
            self._tell(line)

    def started(self, slot: Slot) -> Worker:
        """Start a process for a group of listeners."""
        self._starting += 1  # starting a process is a wait
        try:
            worker = Worker(self._command(slot.listeners), slot.listeners, self._environment)
        finally:
            self._starting -= 1
            self._changed.set()
        self._living.add(worker)
        self.greenlets.spawn(self._wait_for_end, worker)
        return worker

    def _wait_for_end(self, worker: Worker) -> None:
        worker.wait()
        try:
            if self._on_end is not None:
                self._on_end(worker)
        finally:
            self._living.discard(worker)
            self._changed.set()

    def replace_all(self) -> None:
        """Replace the workers one by one, in the background. No client loses its connection.

        After a call during a replacement, or while workers start, those that were started before the call are replaced afterwards, once for
        all such calls.
        """
        self._is_replacement_wanted = True
        self._replace_wanted()

    def _replace_wanted(self) -> None:
        if self._is_replacement_wanted and self._is_started and (self._replacing is None or self._replacing.ready()):
            self._replacing = self.greenlets.spawn(self._replace_all)

    def _replace_all(self) -> None:
        while self._is_replacement_wanted and not self.is_stopping:
            self._is_replacement_wanted = False
            for slot in self._slots:
                if not self.is_stopping:
                    slot.replace()

    def stop(self) -> None:
        """Close the listeners, make all workers drain, and wait until they have ended.

        Each worker first serves the clients in the queue of its listener, also one that is still starting; if a worker is dead, a last one
        is started for that. A second call ends the drains: each worker gets its second signal, and the end of its standard input.
        """
        if not self.is_stopping:
            self.is_stopping = True
            for slot in self._slots:
                slot.serve_queue()
            self._end(Worker.leave_when_ready)
        else:
            self._end(Worker.leave_at_once)

    def kill(self) -> None:
        """End all workers by SIGKILL."""
        self.is_stopping = True
        self._end(Worker.kill)

    def _end(self, end: Callable[[Worker], None]) -> None:
        for slot in self._slots:
            for listener in slot.listeners:
                listener.close()
        ending: set[Worker] = set()
        while self._living or self._starting:
            # A worker that is being started now is ended when it has been started.
            self._changed.clear()
            for worker in self._living - ending:
                ending.add(worker)
                gevent.spawn(end, worker)
            self._changed.wait()
        if self._replacing is not None:
            self._replacing.join()
        self.greenlets.kill()  # one may be in its pause before it starts another worker
