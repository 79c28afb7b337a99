"""More than one process on one port: a supervisor that keeps the listeners open, and the workers that serve them.

Rules for the next editor: a listener outlives its workers. Closing one resets the clients that wait in its queue, so the
supervisor holds a copy of each until the end of all, and a worker is replaced by one that takes over the same listener.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import gevent
from gevent import subprocess
from gevent.event import AsyncResult, Event
from gevent.pool import Group

import geventstreams._native.syscalls as _system
from geventstreams._net.listening import descriptors_given, shared_listeners
from geventstreams.errors import in_seconds

__all__ = ["Supervisor", "Worker", "descriptors_given", "shared_listeners"]

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
STEADY = 10.0
"""Seconds that a worker has to run for its end to be an accident: another one is started at once, and not after a pause."""

LEAST_DESCRIPTOR = 3
"""The first number under which a worker can inherit a listener."""

NOT_FOR_WORKERS = (signal.SIGINT, signal.SIGHUP)
"""Signals that a terminal, or `kill` with a group, sends to the supervisor and all workers: one that still starts must not die of them."""

OBEY_TIMEOUT = 10.0
"""Seconds that a worker has to end after its second signal."""

READY_TIMEOUT = 60.0
"""Seconds that a new worker has to say that it is ready."""


class Worker:
    """A process that serves some listeners.

    It says by a first line on its standard output that it is ready. SIGTERM, and the end of its standard input, which comes
    whenever the supervisor ends: the first of the two makes it drain, the second ends it at once. Another SIGTERM should change
    nothing, since a service manager may send it to all processes. It starts with the signals of `NOT_FOR_WORKERS` ignored.
    """

    def __init__(self, command: Sequence[str], listeners: Sequence[Any], environment: Mapping[str, str] | None) -> None:
        self.is_leaving = False
        self._ready: AsyncResult[bool] = AsyncResult()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[listener.fileno() for listener in listeners],
            env=environment,
            preexec_fn=_ignore_signals,
        )
        self.pid: int = self._process.pid
        self._listening = gevent.spawn(self._listen)

    def _listen(self) -> None:
        """Waits for the line, and takes whatever else is said, so that the worker never waits for us."""
        output = self._process.stdout
        self._ready.set(bool(output.readline()))
        while output.read(4096):
            pass

    def is_ready(self) -> bool:
        """Waits until it serves; False where it ended before, or took too long."""
        return bool(self._ready.wait(READY_TIMEOUT))

    def leave(self) -> None:
        """Lets it drain."""
        self.is_leaving = True
        self._signal(signal.SIGTERM)

    def leave_at_once(self) -> None:
        """End it without a drain, by force where it does not obey.

        The system may report two signals as one, but not a signal and the end of its input.
        """
        self.leave()
        self._close(self._process.stdin)
        try:
            self._process.wait(OBEY_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()

    def leave_when_ready(self) -> None:
        """The same for one that may still be starting: before it serves, a signal would end it."""
        self.is_leaving = True
        self.is_ready()
        self.leave()

    def kill(self) -> None:
        """Ends it by force."""
        self.is_leaving = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def wait(self) -> int:
        """Waits for its end: its exit status."""
        status: int = self._process.wait()
        self._listening.kill()
        if not self._ready.ready():
            self._ready.set(False)  # its output may be held open by a program of its own
        self._close(self._process.stdin)
        self._close(self._process.stdout)
        return status

    @staticmethod
    def _close(pipe: Any) -> None:
        with suppress(OSError):
            pipe.close()


def _ignore_signals() -> None:
    for number in NOT_FOR_WORKERS:
        signal.signal(number, signal.SIG_IGN)


class Slot:
    """Some listeners, and the worker that serves them now."""

    def __init__(self, supervisor: Supervisor, listeners: Sequence[Any]) -> None:
        self._supervisor = supervisor
        self.listeners = listeners
        self.worker: Worker | None = None
        self._pause = 0.0

    def begin(self) -> Worker:
        """Starts a worker, and another one whenever that ends unasked."""
        worker = self._supervisor.started(self)
        if self.worker is None:
            self._take(worker)
        else:  # starting it was a wait, and a successor of the one before has come meanwhile
            self._supervisor.greenlets.spawn(worker.leave_when_ready)
        return worker

    def _take(self, worker: Worker) -> None:
        self.worker = worker
        self._supervisor.greenlets.spawn(self._watch, worker, _system.monotonic())

    def _watch(self, worker: Worker, began: float) -> None:
        status = worker.wait()
        if worker.is_leaving:
            return
        steady = _system.monotonic() - began >= STEADY
        self._pause = 0.0 if steady else self._longer_pause()
        self._supervisor.tell(f"worker {worker.pid} ended with status {status}; the next one starts in {in_seconds(self._pause)}")
        self.worker = None
        self._restart()

    def _longer_pause(self) -> float:
        return min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)

    def _restart(self) -> None:
        """Start the next worker after the pause; where the system cannot start one, try again after a longer one."""
        while True:
            gevent.sleep(self._pause)
            if self.worker is not None or self._supervisor.is_stopping:
                return
            try:
                self.begin()
            except OSError as error:
                self._pause = self._longer_pause()
                self._supervisor.tell(f"a worker cannot be started: {error}; the next attempt in {self._pause:g} s")
            else:
                return

    def replace(self) -> None:
        """Starts a new worker, and lets the old one go when the new one serves; where it does not, the old one stays."""
        if self.worker is None:
            return  # a new one is coming
        try:
            new = self._supervisor.started(self)
        except OSError as error:
            self._supervisor.tell(f"a worker cannot be started: {error}{self._kept()}")
            return
        is_ready = new.is_ready()
        if self._supervisor.is_stopping:
            return  # it leaves with all others
        old = self.worker
        if not is_ready:
            new.kill()
            kept = self._kept()
            self._supervisor.tell(f"worker {new.pid} does not serve, status {new.wait()}{kept}")
            return
        if old is not None:
            old.is_leaving = True
        self._take(new)
        if old is not None:
            old.leave()
            old.wait()

    def _kept(self) -> str:
        return "" if self.worker is None else f"; worker {self.worker.pid} stays"

    def serve_queue(self) -> None:
        """Starts a worker for the last time, where there is none now and clients wait."""
        if self.worker is None and _system.readable_of([listener.fileno() for listener in self.listeners]):
            try:
                self.worker = self._supervisor.started(self)
            except OSError as error:
                self._supervisor.tell(f"a worker for those who wait cannot be started: {error}")


class Supervisor:
    """Runs a worker for each group of listeners, until it is stopped.

    `command(listeners)` gives the command line of a worker (see `Worker`), which inherits these listeners under their
    descriptors' numbers, and `environment`. `tell` gets a line for whatever the user should know, `ended` a worker that
    ended.
    """

    def __init__(
        self, command: Callable[[Sequence[Any]], Sequence[str]], groups: Sequence[Sequence[Any]], *,
        tell: Callable[[str], object] = print, ended: Callable[[Worker], object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        low = [listener for group in groups for listener in group if listener.fileno() < LEAST_DESCRIPTOR]
        if low:
            raise ValueError(f"a listener's descriptor must be {LEAST_DESCRIPTOR} or more: below, a worker has its pipes; not {low[0]!r}")
        self._tell = tell
        self.is_stopping = False
        self.greenlets = Group()
        self._command = command
        self._environment = environment
        self._on_end = ended
        self._slots = [Slot(self, group) for group in groups]
        self._living: set[Worker] = set()
        self._starting = 0
        self._changed = Event()
        self._replacing: Any = None
        self._is_replacement_wanted = False
        self._is_started = False

    @property
    def workers(self) -> list[Worker]:
        """Those that run now."""
        return [slot.worker for slot in self._slots if slot.worker is not None]

    def start(self) -> bool:
        """Starts them all, and waits until all serve; False where one does not: then none is left."""
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
        """Hands a line to the user's `tell`; one that fails, as `print` does where nobody reads, is no reason to supervise less."""
        with suppress(Exception):
            self._tell(line)

    def started(self, slot: Slot) -> Worker:
        """A new worker for a slot."""
        self._starting += 1  # starting a process is a wait
        try:
            worker = Worker(self._command(slot.listeners), slot.listeners, self._environment)
        finally:
            self._starting -= 1
            self._changed.set()
        self._living.add(worker)
        self.greenlets.spawn(self._see_off, worker)
        return worker

    def _see_off(self, worker: Worker) -> None:
        worker.wait()
        try:
            if self._on_end is not None:
                self._on_end(worker)
        finally:
            self._living.discard(worker)
            self._changed.set()

    def replace_all(self) -> None:
        """Replaces the workers one by one, in the background: no client loses its connection.

        A call while workers start or are being replaced counts, too: those that began before it are replaced afterwards, once for
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
        """Closes the listeners, lets all workers drain, and waits for their end.

        Each worker serves first whom it finds in the queue of its listener; one that is starting does so, too, and where
        one is dead, another one is started for that. A second call does not wait for them: each worker gets its second signal,
        and the end of its standard input.
        """
        if not self.is_stopping:
            self.is_stopping = True
            for slot in self._slots:
                slot.serve_queue()
            self._end(Worker.leave_when_ready)
        else:
            self._end(Worker.leave_at_once)

    def kill(self) -> None:
        """Lets nobody drain."""
        self.is_stopping = True
        self._end(Worker.kill)

    def _end(self, end: Callable[[Worker], None]) -> None:
        for slot in self._slots:
            for listener in slot.listeners:
                listener.close()
        told: set[Worker] = set()
        while self._living or self._starting:
            # One that is being started now joins the others later, and must not serve until they have ended.
            self._changed.clear()
            for worker in self._living - told:
                told.add(worker)
                gevent.spawn(end, worker)
            self._changed.wait()
        if self._replacing is not None:
            self._replacing.join()
        self.greenlets.kill()  # there may be one that waits for the time to start another worker
