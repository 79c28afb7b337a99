"""What a buffered file on a socket of other code stands on: two buffers, who may use them, the waits, and the closing."""

# Invariants:
# * Every wait of a buffered file is in this file. Between two waits each byte is in a buffer, so any exception may end any wait and the
#   same call be made again.
# * A call that may wait holds the lock of its direction until it ends, and asks after each wait whether the file was closed.
# * Errors of the socket come out as they are: files raise what the standard library's raise, not the classes of `errors.py`.
# * In a forked child a call that began in the parent ends in StreamError. A new call is served, but what the parent wrote is the parent's
#   to send.

from __future__ import annotations

import atexit
import errno
import io
import sys
from typing import Any

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.exceptions import BlockingSwitchOutError

import geventstreams._native.greenlets as _greenlets
import geventstreams._native.interpreter as _interpreter
import geventstreams._native.memory as _bytes
from geventstreams._constants import CALLS, NEVER, NO_PERMIT, WOULD_WAIT
from geventstreams._core.buffers import NO_INPUT, NO_OUTPUT, ByteQueue, OutputBuffer
from geventstreams._core.fair_lock import FairLock, fair_lock_between
from geventstreams._core.fork import FORK
from geventstreams._core.hub_hold import of_this_thread
from geventstreams._core.living import send_at_exit
from geventstreams._core.reader import ByteSource
from geventstreams._files.raw_file import RawSocketFile
from geventstreams._files.transports import FileTransport
from geventstreams.errors import BROKEN

LOST = BROKEN - {errno.ENOTCONN}
"""Error numbers that end the input for good: what comes after them is not an orderly end."""

_NO_LOCK = FairLock()


class FileEngine(ByteSource):
    """What every buffered file on a foreign socket stands on: who may read and write, the waits, and the closing."""

    def __cinit__(self) -> None:  # compiled code only: an object whose __init__() was not called has no permit, and says so
        self.output: OutputBuffer = NO_OUTPUT

    def _init_engine(self, transport: FileTransport, buffering: int, readable: bool, writable: bool) -> None:
        self._init_source()
        # The half that a file does not have is shared by all such files: it is empty, without a permit, and never locked.
        if not readable:
            self.input = NO_INPUT
        self.output = OutputBuffer() if writable else NO_OUTPUT
        self.input_lock = fair_lock_between(transport.between_threads) if readable else _NO_LOCK
        self.output_lock = fair_lock_between(transport.between_threads) if writable else _NO_LOCK
        self._raw: RawSocketFile | None = None
        self.detached = False
        self.transport = transport
        self.buffering = buffering
        self._needs_lock = transport.between_threads and not _interpreter.compiled()
        self._reader: Any = None
        self._writer: Any = None
        self.closer: Any = None
        self._lost: tuple[Any, ...] | None = None
        self.closed = False
        self.generation = FORK.generation
        if readable and not self._needs_lock:
            self.input.permit = FORK.generation
        if writable and not self._needs_lock:
            self.output.permit = FORK.generation

    def raw_file(self) -> RawSocketFile:
        """Return the raw file, which is made when it is first asked for."""
        if self.detached:
            raise ValueError("raw stream has been detached")
        if self._raw is None:
            readable, writable = self.input is not NO_INPUT, self.output is not NO_OUTPUT
            self._raw = RawSocketFile(self.transport, readable, writable, kept=True)
        return self._raw

    def detach(self) -> RawSocketFile:
        """Take the raw file away, whose user closes it from now on."""
        raw, self._raw = self.raw_file(), None
        raw.kept = False
        self.detached = True
        self.input.permit = self.output.permit = NO_PERMIT
        return raw

    # Who may do what. A call may begin at once while the buffer's permit is the fork generation. In the plain build another thread may run
    # between that question and the call, so a file that threads may share has no permit there and acquires the lock for each call.

    def refuse(self) -> None:
        """Raise ValueError if the file is closed, or its raw file was taken away."""
        if self.detached:
            raise ValueError("raw stream has been detached")
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def refuse_interrupted(self) -> None:
        """Raise ValueError after a wait if another greenlet closed the file."""
        if self.closer is not _greenlets.current():
            self.refuse()

    def _enter(self, buffer: ByteQueue, lock: FairLock, user: object, ability: str) -> None:
        """Wait until no other call uses the half of this buffer."""
        self.refuse()
        if buffer is NO_INPUT or buffer is NO_OUTPUT:
            raise io.UnsupportedOperation(f"not {ability}")
        if user is _greenlets.current():
            raise RuntimeError(f"reentrant call inside a file of {self.transport.socket!r}")
        if lock.acquire(None, NEVER) and (self.closed or self.detached):
            lock.release()
        self.refuse()
        buffer.permit = NO_PERMIT

    def _leaves_free(self, lock: FairLock) -> bool:
        """Release a lock. Return whether a call may begin at once after that."""
        lock.release()
        return lock.holder is None and not self.closed and not self._needs_lock

    def begin_read(self) -> None:
        """Wait until no other call reads."""
        self._enter(self.input, self.input_lock, self._reader, "readable")
        self._reader = _greenlets.current()
        try:
            self.look_at_clock()
        except BaseException:
            self.end_read()
            raise

    def look_at_clock(self) -> None:
        self._count_calls(self.input)

    def _count_calls(self, buffer: ByteQueue) -> None:
        """Let others run after CALLS calls that found all they need in the buffer, if these took long."""
        if buffer.calls <= 0:
            buffer.calls = CALLS
            self._let_others_run()

    def end_read(self) -> None:
        self._reader = None
        if self._leaves_free(self.input_lock):
            self.input.permit = FORK.generation

    def enter_output(self) -> None:
        """Wait until no other call writes."""
        self._enter(self.output, self.output_lock, self._writer, "writable")
        self._writer = _greenlets.current()
        self._drop_inherited()
        try:
            self._count_calls(self.output)
        except BaseException:
            self.leave_output()
            raise

    def leave_output(self) -> None:
        self._writer = None
        if self._leaves_free(self.output_lock):
            self.output.permit = self.generation

    def _drop_inherited(self) -> None:
        """Forget, in a forked child, what the parent has written, which the parent sends."""
        if self.generation != FORK.generation:
            self.generation = FORK.generation
            self.output.clear()

    def _let_others_run(self) -> None:
        if self.transport.fairness.let_others_run(None):
            self.refuse_interrupted()

    # Input.

    def receive(self, target: memoryview | None, at: int, lacking: int) -> int:
        if self._lost is not None:
            raise OSError(*self._lost)
        self._let_others_run()
        try:
            if target is not None:
                count = self.transport.recv_into(target, at, self.input.counts)
                if count > 0:
                    _bytes.take_last(self.input.counts)
                return count
            space = self.input.space()
            most = max(lacking, self.buffering)
            if most < len(space) - self.input.end:
                space = space[: self.input.end + most]
            count = self.transport.recv_into(space, self.input.end, self.input.counts)
        except OSError as error:
            if error.errno in LOST:
                self._lost = (error.errno, error.strerror)
            raise
        self.refuse()
        self.input.absorb()
        return count

    def await_input(self, first: bool, begun: int, lacking: int) -> bool:
        if first and not self.transport.emptied:
            return True
        self.input.settle()
        try:
            if not self.transport.await_input():
                return first
        except BlockingSwitchOutError:  # in the hub, where nothing can wait
            if not first:
                raise
        self.refuse_interrupted()
        return True

    # Output.

    def send(self, view: bytes | memoryview, start: int, stop: int) -> int:
        """Wait until some of `view[start:stop]` is sent. Return how many bytes, or WOULD_WAIT where the socket may not wait."""
        while True:
            self._let_others_run()
            count = self.transport.send(view, start, stop)
            if count != WOULD_WAIT:
                return count
            if not self.transport.await_output():
                return WOULD_WAIT
            self.refuse_interrupted()

    def send_buffered(self) -> bool:
        """Send some of what is buffered. Return False where the socket may not wait."""
        count = self.send(self.output.view, self.output.start, self.output.end)  # type: ignore[arg-type]  # not empty
        if count > 0:
            self.output.strike(count)
        return count != WOULD_WAIT

    def flush(self) -> None:
        while len(self.output):
            if not self.send_buffered():
                raise BlockingIOError(errno.EAGAIN, "write could not complete without blocking", 0)

    # Closing.

    def close(self) -> None:
        """Send what is left, and let go of the socket. Greenlets that wait in the file get ValueError."""
        self.closed = True
        self.input.permit = self.output.permit = NO_PERMIT
        try:
            self.input_lock.cancel_waiters()
            self.output_lock.cancel_waiters()
            if len(self.output) or self.output_lock.holder is not None:
                self._flush_at_close()
        finally:
            self._let_go()
            self.input.clear()
            self.output.clear()

    def _flush_at_close(self) -> None:
        """Send the rest, once the greenlet in the middle of a write, which is woken, has left."""
        self.transport.wake()
        self.closer = _greenlets.current()
        self.output_lock.acquire(None, NEVER)
        self._drop_inherited()
        try:
            self.flush()
        finally:
            self.output_lock.release()

    def _let_go(self) -> None:
        """Close the transport. Where output is left and the socket is closed with it, the connection is reset; not by a forked child."""
        if len(self.output) and self.generation == FORK.generation:
            self.transport.give_up()
        else:
            self.transport.close()

    def send_last(self) -> None:
        """Send, at the end of the program, what the system takes now."""
        if self.generation == FORK.generation and not self.closed and not self.detached and self.output_lock.holder is None:
            self.transport.send_at_once(self.output, True)

    # The output of a file that nothing refers to any more. Errors are not reported: there is no caller.

    def drop(self) -> None:
        """Close the file. What the system does not take now is sent by a greenlet, where the thread has a hub that may run."""
        FORK.look()
        self.closed = True
        if not len(self.output) or self.transport.closed or self.generation != FORK.generation:
            self.transport.close()
        elif self._send_left(False) or not _hub_may_run():
            self.give_up()
        else:
            _left_outputs().add(self)
            gevent.spawn(self._send_waiting)

    def give_up(self) -> None:
        """Close the transport after a last attempt: at the end of the program or of the thread."""
        FORK.look()
        if not self.transport.closed and self.generation == FORK.generation:
            self._send_left(True)
        self._let_go()

    def _send_left(self, last: bool) -> bool:
        """Return whether nothing is left that can be sent."""
        try:
            return self.transport.send_at_once(self.output, last)
        except Exception:  # noqa: BLE001  # of any socket's own method
            return True

    def _send_waiting(self) -> None:
        transport = self.transport
        try:
            while transport.await_output() and self.generation == FORK.generation and not transport.send_at_once(self.output):
                pass
        except (OSError, ValueError):
            pass
        finally:
            _left_outputs().discard(self)
            self._let_go()


class _LeftOutputs(set[FileEngine]):
    """The dropped files whose output greenlets of a thread are sending. If the thread ends first, they are closed with it."""

    def give_up(self) -> None:
        while self:
            self.pop().give_up()

    def __del__(self) -> None:
        self.give_up()


def _left_outputs() -> _LeftOutputs:
    if not hasattr(of_this_thread, "left_outputs"):
        of_this_thread.left_outputs = _LeftOutputs()
    return of_this_thread.left_outputs  # type: ignore[no-any-return]  # a thread's variables have no types


send_at_exit(FileEngine, lambda engine: engine.send_last())
atexit.register(lambda: _left_outputs().give_up())  # of the thread that ends the program


def _hub_may_run() -> bool:
    """Whether this thread has a hub, and a greenlet of that may still come to run."""
    if sys.is_finalizing():
        return False
    hub = get_hub_if_exists()
    return hub is not None and hub.loop is not None and not hub.dead
