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
import contextlib
import errno
import io
import sys
from typing import Any

import gevent
from gevent import get_hub, getcurrent, monkey
from gevent._hub_local import get_hub_if_exists

import geventstreams._native.attributes as _attributes
import geventstreams._native.memory as _bytes
import geventstreams._native.syscalls as _system
from geventstreams._constants import CALLS, NEVER, WOULD_WAIT
from geventstreams._core.at_exit import send_at_exit
from geventstreams._core.buffers import NO_OUTPUT, OutputBuffer
from geventstreams._core.fair_lock import FairLock, fair_lock_between
from geventstreams._core.fork import FORK, NO_PERMIT
from geventstreams._core.reader import ByteReader
from geventstreams._files.raw_file import RawSocketFile
from geventstreams._files.transports import FileTransport
from geventstreams.errors import BROKEN

LOST = BROKEN - {errno.ENOTCONN}
"""Error numbers that end the input for good: what comes after them is not an orderly end."""


class FileEngine(ByteReader):
    """What every buffered file on a foreign socket stands on: who may read and write, the waits, and the closing."""

    def __cinit__(self) -> None:  # compiled code only: an object whose __init__() was not called has no permit, and says so
        self.output: OutputBuffer = NO_OUTPUT

    def __init__(self, raw: RawSocketFile, transport: FileTransport, buffering: int) -> None:
        ByteReader.__init__(self, raw.readable(), raw.writable())
        self._has_own_readline = False  # a pair of two directions has, and calls it within no other call
        self.output = OutputBuffer()
        self._raw: RawSocketFile | None = raw
        self._transport = transport
        self._buffering = buffering
        self.between_threads: bool = transport.between_threads
        """Whether greenlets of several threads may use this file at once."""
        self._needs_lock = transport.between_threads and not _system.compiled()
        self._input_lock = fair_lock_between(transport.between_threads)
        self._output_lock = fair_lock_between(transport.between_threads)
        self._reader: Any = None
        self._writer: Any = None
        self._closer: Any = None
        self._lost: tuple[Any, ...] | None = None
        self._closed = False
        self._generation = FORK.generation
        self.input.permit = FORK.generation if self._is_readable and not self._needs_lock else NO_PERMIT
        self.output.permit = FORK.generation if self._is_writable and not self._needs_lock else NO_PERMIT
        self._alive = True
        raw.keep(True)

    # Who may do what. A call may begin at once while the buffer's permit is the fork generation. In the plain build another thread may run
    # between that question and the call, so a file that threads may share has no permit there and acquires the lock for each call.

    def _refuse(self) -> None:
        """Raise ValueError if the file is closed, or its raw file was taken away."""
        if self._raw is None:
            raise ValueError("raw stream has been detached")
        if self._closed:
            raise ValueError("I/O operation on closed file")

    def _refuse_interrupted(self) -> None:
        """Raise ValueError after a wait if another greenlet closed the file."""
        if self._closer is not getcurrent():
            self._refuse()

    def _begin_read(self) -> None:
        """Wait until no other call reads."""
        self._refuse()
        if not self._is_readable:
            raise io.UnsupportedOperation("not readable")
        if self._reader is getcurrent():
            raise RuntimeError(f"reentrant call inside {self!r}")
        self._acquire(self._input_lock)
        self._reader = getcurrent()
        self.input.permit = NO_PERMIT
        try:
            self._look_at_clock()
        except BaseException:
            self._end_read()
            raise

    def _look_at_clock(self) -> None:
        """Let others run after CALLS calls that found all they need in the buffer, if these took long."""
        if self.input.calls <= 0:
            self.input.calls = CALLS
            self._let_others_run()

    def _end_read(self) -> None:
        self._reader = None
        self._input_lock.release()
        usable = self._input_lock.holder is None and not self._closed and not self._needs_lock
        self.input.permit = FORK.generation if usable else NO_PERMIT

    def _enter_output(self) -> None:
        """Wait until no other call writes."""
        self._refuse()
        if not self._is_writable:
            raise io.UnsupportedOperation("not writable")
        if self._writer is getcurrent():
            raise RuntimeError(f"reentrant call inside {self!r}")
        self._acquire(self._output_lock)
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
            self.output.permit = self._generation

    def _drop_inherited(self) -> None:
        """Forget, in a forked child, what the parent has written, which the parent sends."""
        if self._generation != FORK.generation:
            self._generation = FORK.generation
            self.output.clear()

    def _acquire(self, lock: FairLock) -> None:
        if lock.acquire(get_hub(), NEVER) and (self._closed or self._raw is None):
            lock.release()
        self._refuse()

    def _let_others_run(self) -> None:
        if self._transport.let_others_run():
            self._refuse_interrupted()

    # Input.

    def _fill(self, target: memoryview | None, at: int, lacking: int) -> int:
        """Wait for bytes. Into the buffer come at most `lacking` or what the file reads ahead; a file that may not wait is WOULD_WAIT."""
        while True:
            count = self._receive_now(target, at, lacking)
            if count != WOULD_WAIT or not self._await_input():
                return count

    def _receive_now(self, target: memoryview | None, at: int, lacking: int) -> int:
        if self._lost is not None:
            raise OSError(*self._lost)
        self._let_others_run()
        try:
            if target is not None:
                count = self._transport.recv_into(target, at, self.input.counts)
                if count > 0:
                    _bytes.take_last(self.input.counts)
                return count
            space = self.input.space()
            most = max(lacking, self._buffering)
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

    def _await_input(self) -> bool:
        """Wait until there may be input. Return False where the socket may not wait."""
        self.input.settle()
        if not self._transport.await_input():
            return False
        self._refuse_interrupted()
        return True

    # Output.

    def _send(self, view: memoryview, start: int, stop: int) -> int:
        """Wait until some of `view[start:stop]` is sent. Return how many bytes, or WOULD_WAIT where the socket may not wait."""
        while True:
            self._let_others_run()
            count = self._transport.send(view, start, stop)
            if count != WOULD_WAIT:
                return count
            if not self._transport.await_output():
                return WOULD_WAIT
            self._refuse_interrupted()

    def _send_buffered(self) -> bool:
        """Send some of what is buffered. Return False where the socket may not wait."""
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
        """Flush, and give the socket's reference back even if the flush fails. Greenlets that wait in this file get ValueError."""
        if self._closed or self._raw is None:
            return
        flush = self._own_flush()
        try:
            if flush is not None:
                flush()
        finally:
            self._close()

    def _own_flush(self) -> Any:
        return _attributes.override(self, "flush")

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
            _let_go(self.output, self._raw, self._generation)  # type: ignore[arg-type]  # there is one
            self.input.clear()
            self.output.clear()

    def _flush_at_close(self) -> None:
        """Send the rest, once the greenlet that was woken in the middle of a write has left."""
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
        if len(self.output) and not self._transport.closed and self._generation == FORK.generation:
            _LeftOutput(self.output, self._transport, self._raw).send()  # type: ignore[arg-type]  # there is one
        else:
            self._raw.close()  # type: ignore[union-attr]  # there is one

    def _send_at_exit(self) -> None:
        """Send, at the end of the program, what the system takes now."""
        alive = getattr(self, "_alive", False) and not self._closed and self._raw is not None and self._generation == FORK.generation
        if alive and self._output_lock.holder is None:
            self._transport.send_at_once(self.output, True)


class _LeftOutput:
    """What a dropped file still held. Errors are not reported: there is no caller."""

    def __init__(self, output: OutputBuffer, transport: FileTransport, raw: RawSocketFile) -> None:
        self._output = output
        self._transport = transport
        self._raw = raw
        self._generation = FORK.generation

    def send(self) -> None:
        """Send what the system takes now, and the rest in a greenlet where the thread has a hub that may run; then close the raw file."""
        if self._send_now() or not _hub_may_run():
            self.give_up()
            return
        _of_thread.left.add(self)
        gevent.spawn(self._send_waiting)

    def give_up(self) -> None:
        """Close the raw file at the end of the program or of the thread, after a last attempt."""
        if not self._transport.closed and self._generation == FORK.generation:
            self._send_now(last=True)
        _let_go(self._output, self._raw, self._generation)

    def _send_now(self, last: bool = False) -> bool:
        """Return whether nothing is left that can be sent."""
        try:
            return self._transport.send_at_once(self._output, last)
        except Exception:  # noqa: BLE001  # of any socket's own method
            return True

    def _send_waiting(self) -> None:
        try:
            while self._transport.await_output() and self._generation == FORK.generation and not self._transport.send_at_once(self._output):
                pass
        except (OSError, ValueError):
            pass
        finally:
            _of_thread.left.discard(self)
            _let_go(self._output, self._raw, self._generation)


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
