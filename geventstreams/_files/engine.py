"""Two buffers joined to a borrowed socket: what fills the one, drains the other, and lets both go.

Rules for the next editor: every wait of a file is in this file, and between two waits each octet is in a buffer, so
that any exception may end any wait and the same call be made again. A call that may wait has the turn of its direction
for all it does, and asks after each wait whether the file was closed meanwhile. What a socket says comes out as it is:
files speak the standard library's language, not that of `errors.py`. In a forked child a call that began in the parent ends in
StreamError; a new call is served, but what the parent wrote is the parent's to send.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import sys
from typing import Any

import gevent
from gevent import get_hub, getcurrent, monkey
from gevent._hub_local import get_hub_if_exists

import geventstreams._native.attributes as _attributes
import geventstreams._native.syscalls as _system
from geventstreams._constants import CALLS, NEVER, WOULD_WAIT
from geventstreams._core.at_exit import send_at_exit
from geventstreams._core.binary_file import BinaryFile
from geventstreams._core.buffers import NO_INPUT, NO_OUTPUT, InputBuffer, OutputBuffer
from geventstreams._core.fair_lock import FairLock, fair_lock_between
from geventstreams._core.fork import FORK, NO_PERMIT
from geventstreams._files.raw_file import RawSocketFile
from geventstreams._files.transports import FileTransport
from geventstreams.errors import BROKEN

LOST = BROKEN - {errno.ENOTCONN}
"""Error numbers that end the input for good: nobody may take what comes after them for its orderly end."""


class FileEngine(BinaryFile):
    """What every buffered file on a borrowed socket stands on: who may read and write, the waiting, and the closing."""

    def __cinit__(self) -> None:  # compiled code only: one whose __init__() was not called has no permits, and says so
        self.input = NO_INPUT
        self.output = NO_OUTPUT

    def __init__(self, raw: RawSocketFile, transport: FileTransport, buffering: int) -> None:
        BinaryFile.__init__(self, raw.readable(), raw.writable())
        self.input = InputBuffer()
        self.output = OutputBuffer()
        self._raw: RawSocketFile | None = raw
        self._transport = transport
        self._buffering = buffering
        self.between_threads = transport.between_threads
        """Whether greenlets of several threads may use this file at once."""
        self._needs_lock = transport.between_threads and not _system.compiled()
        self._input_lock = fair_lock_between(transport.between_threads)
        self._output_lock = fair_lock_between(transport.between_threads)
        self._reader: Any = None
        self._writer: Any = None
        self._closer: Any = None
        self._lost: tuple[Any, ...] | None = None
        self._closed = False
        self._process = FORK.generation
        self.input.permit = self._is_readable and not self._needs_lock
        self.output.permit = FORK.generation if self._is_writable and not self._needs_lock else NO_PERMIT
        self._alive = True
        raw.keep(True)

    # Who may do what. A call may begin at once while `input.permit` is true, and `output.permit` is the process's number. In the plain
    # build another thread may come between that question and the call: a file that threads may share asks for the turn each time there.

    def _refuse(self) -> None:
        """Raises what keeps any call from this file: it is closed, or its raw file was taken away."""
        if self._raw is None:
            raise ValueError("raw stream has been detached")
        if self._closed:
            raise ValueError("I/O operation on closed file")

    def _refuse_interrupted(self) -> None:
        """Raises what ends a call that has waited: another greenlet closed the file."""
        if self._closer is not getcurrent():
            self._refuse()

    def _enter_input(self) -> None:
        """Waits for the turn to read."""
        self._refuse()
        if not self._is_readable:
            raise io.UnsupportedOperation("not readable")
        if self._reader is getcurrent():
            raise RuntimeError(f"reentrant call inside {self!r}")
        self._take(self._input_lock)
        self._reader = getcurrent()
        self.input.permit = False
        try:
            self._look_at_the_clock()
        except BaseException:
            self._leave_input()
            raise

    def _look_at_the_clock(self) -> None:
        """Let others run once calls that found all they need in the buffer were so many that the clock has to be looked at."""
        if self.input.calls <= 0:
            self.input.calls = CALLS
            self._let_others_run()

    def _leave_input(self) -> None:
        self._reader = None
        self._input_lock.release()
        self.input.permit = self._input_lock.holder is None and not self._closed and not self._needs_lock

    def _enter_output(self) -> None:
        """Waits for the turn to write."""
        self._refuse()
        if not self._is_writable:
            raise io.UnsupportedOperation("not writable")
        if self._writer is getcurrent():
            raise RuntimeError(f"reentrant call inside {self!r}")
        self._take(self._output_lock)
        self._drop_inherited()
        self._writer = getcurrent()
        self.output.permit = NO_PERMIT
        if self.output.calls <= 0:
            self.output.calls = CALLS
            try:
                self._let_others_run()
            except BaseException:
                self._leave_output()
                raise

    def _leave_output(self) -> None:
        self._writer = None
        self._output_lock.release()
        if self._output_lock.holder is None and not self._closed and not self._needs_lock:
            self.output.permit = self._process

    def _drop_inherited(self) -> None:
        """In a forked child: forget what the parent has written, which the parent sends."""
        if self._process != FORK.generation:
            self._process = FORK.generation
            self.output.clear()

    def _take(self, turn: FairLock) -> None:
        if turn.acquire(get_hub(), NEVER) and (self._closed or self._raw is None):
            turn.release()
        self._refuse()

    def _let_others_run(self) -> None:
        if self._transport.let_others_run():
            self._refuse_interrupted()

    # Input.

    def _fill(self, lacking: int) -> int:
        """Waits for a receipt into the buffer: its octets, 0 at the end of the input, WOULD_WAIT where the socket may
        not wait."""
        return self._receive(None, 0, max(lacking, self._buffering))

    def _receive(self, target: memoryview | None, at: int, most: int) -> int:
        """The same, of `most` octets at most into the buffer, or straight into `target[at:]`."""
        while True:
            count = self._receive_now(target, at, most)
            if count != WOULD_WAIT:
                return count
            self.input.settle()
            if not self._transport.await_input():
                return WOULD_WAIT
            self._refuse_interrupted()

    def _receive_now(self, target: memoryview | None, at: int, most: int) -> int:
        if self._lost is not None:
            raise OSError(*self._lost)
        self._let_others_run()
        try:
            if target is not None:
                count = self._transport.recv_into(target, at, self.input.counts)
                if count > 0:
                    self.input.counts.pop()
                return count
            space = self.input.space()
            if most < len(space) - self.input.end:
                space = space[: self.input.end + most]
            count = self._transport.recv_into(space, self.input.end, self.input.counts)
        except OSError as error:
            if error.errno in LOST:
                self._lost = (error.errno, error.strerror)
            raise
        self._refuse()
        self.input.absorb()
        return count

    # Output.

    def _send(self, octets: memoryview, start: int, stop: int) -> int:
        """Waits until some of `octets[start:stop]` are sent: how many, or WOULD_WAIT where the socket may not wait."""
        while True:
            self._let_others_run()
            count = self._transport.send(octets, start, stop)
            if count != WOULD_WAIT:
                return count
            if not self._transport.await_output():
                return WOULD_WAIT
            self._refuse_interrupted()

    def _send_buffered(self) -> bool:
        """Sends some of what is buffered; False where the socket may not wait."""
        count = self._send(self.output.view, self.output.start, self.output.end)  # type: ignore[arg-type]  # not empty
        if count > 0:
            self.output.strike(count)
        return count != WOULD_WAIT

    def _flush_buffer(self) -> None:
        while len(self.output):
            if not self._send_buffered():
                raise BlockingIOError(errno.EAGAIN, "write could not complete without blocking", 0)

    # Closing.

    @property
    def closed(self) -> bool:
        """True from the first moment of closing."""
        if self._raw is None:
            raise ValueError("raw stream has been detached")
        return self._closed or self._transport.closed

    def close(self) -> None:
        """Flushes and gives the socket's reference back, whatever the flush ends with; wakes whoever waits in this
        file."""
        if self._closed or self._raw is None:
            return
        # The standard library's pair of two directions, unlike its files of one, does not ask the object itself for a `flush`.
        flush = None if self._is_readable and self._is_writable else _attributes.override(self, "flush")
        try:
            if flush is not None:
                flush()
        finally:
            self._close()

    def _close(self) -> None:
        self._closed = True
        self.input.permit = self.output.permit = NO_PERMIT
        try:
            self._input_lock.cancel_waiters()
            self._output_lock.cancel_waiters()
            self._transport.wake()
            if len(self.output) or self._output_lock.holder is not None:
                self._flush_at_close()
        finally:
            _let_go(self.output, self._raw, self._process)  # type: ignore[arg-type]  # there is one
            self.input.clear()
            self.output.clear()

    def _flush_at_close(self) -> None:
        """Sends the rest, once the greenlet that was woken in the middle of a write has left."""
        self._closer = getcurrent()
        self._output_lock.acquire(get_hub(), NEVER)
        self._drop_inherited()
        try:
            self._flush_buffer()
        finally:
            self._output_lock.release()

    def __del__(self) -> None:
        # Never waits, since a collector may run it anywhere.
        if not getattr(self, "_alive", False) or self._closed or self._raw is None:
            return
        try:
            self._drop()
        except (AttributeError, TypeError):
            if sys is not None and not sys.is_finalizing():  # at the end of the program the modules are emptied
                raise

    def _drop(self) -> None:
        if (close := _attributes.override(self, "close")) is not None:
            with contextlib.suppress(Exception):  # as the destructor of any file of io
                close()
            if not self._closed:
                self._raw.keep(False)  # type: ignore[union-attr]  # there is one, whose own destructor closes it
            return
        self._closed = True
        if len(self.output) and not self._transport.closed and self._process == FORK.generation:
            _LeftOutput(self.output, self._transport, self._raw).send()  # type: ignore[arg-type]  # there is one
        else:
            self._raw.close()  # type: ignore[union-attr]  # there is one

    def _send_at_exit(self) -> None:
        """Send, at the end of the program, what the system takes now."""
        alive = getattr(self, "_alive", False) and not self._closed and self._raw is not None and self._process == FORK.generation
        if alive and self._output_lock.holder is None:
            self._transport.send_at_once(self.output, True)


class _LeftOutput:
    """What a dropped file still held. Errors are not told: there is no caller."""

    def __init__(self, output: OutputBuffer, transport: FileTransport, raw: RawSocketFile) -> None:
        self._output = output
        self._transport = transport
        self._raw = raw
        self._process = FORK.generation

    def send(self) -> None:
        """Send what the system takes now, and the rest in a greenlet where the thread has a hub that may run; then close the raw file."""
        if self._send_now() or not _hub_may_run():
            self.give_up()
            return
        _of_thread.left.add(self)
        gevent.spawn(self._send_waiting)

    def give_up(self) -> None:
        """Close the raw file at the end of the program or of the thread, after a last attempt."""
        if not self._transport.closed and self._process == FORK.generation:
            self._send_now(last=True)
        _let_go(self._output, self._raw, self._process)

    def _send_now(self, last: bool = False) -> bool:
        """Return whether nothing is left that can be sent."""
        try:
            return self._transport.send_at_once(self._output, last)
        except Exception:  # noqa: BLE001  # of any socket's own method
            return True

    def _send_waiting(self) -> None:
        try:
            while self._transport.await_output() and self._process == FORK.generation and not self._transport.send_at_once(self._output):
                pass
        except (OSError, ValueError):
            pass
        finally:
            _of_thread.left.discard(self)
            _let_go(self._output, self._raw, self._process)


class _LeftOutputs(set[_LeftOutput]):
    """The outputs that greenlets of a thread are sending. If the thread ends first, their files are closed with it."""

    def give_up(self) -> None:
        while self:
            self.pop().give_up()

    def __del__(self) -> None:
        self.give_up()


class _OfThread(monkey.get_original("threading", "local")):  # type: ignore[misc]  # the native threads', whatever is patched
    def __init__(self) -> None:
        self.left = _LeftOutputs()


_of_thread = _OfThread()
send_at_exit(FileEngine, lambda file: file._send_at_exit())
atexit.register(lambda: _of_thread.left.give_up())  # noqa: PLW0108  # of the thread that ends the program


def _hub_may_run() -> bool:
    """Whether this thread has a hub, and a greenlet of that may still come to run."""
    if sys.is_finalizing():
        return False
    hub = get_hub_if_exists()
    return hub is not None and hub.loop is not None and not hub.dead


def _let_go(output: OutputBuffer, raw: RawSocketFile, process: int) -> None:
    """Close a raw file. Where output is left and the socket is closed with it, the connection is reset; not by a forked child."""
    if len(output) and process == FORK.generation:
        raw.give_up()
    else:
        raw.close()
