"""Two buffers joined to a transport: what fills the one, drains the other, and closes all three.

Rules for the next editor: every wait of a stream is in this file, and between two waits each octet is in a buffer: received means in
`input`, accepted means in `output` or named by `_rest`, sent means struck off. So any exception may end any wait. `input.permit` and
`output.permit` equal the process's pass while that half may be used at once; a call compares one, and asks why only when they differ.
"""

from __future__ import annotations

import contextlib
import errno
import io
import sys
import warnings
import weakref
from typing import Any

from gevent import get_hub

import geventstreams._native.greenlets as _greenlets
import geventstreams._native.memory as _bytes
import geventstreams._native.syscalls as _system
from geventstreams._constants import A_LINE, A_SEPARATOR, BLOCK, CALLS, ENDED, INPUT, NEVER, NO_TAIL, TOLD, WANTED, WOULD_WAIT
from geventstreams._core.at_exit import send_at_exit
from geventstreams._core.buffers import NO_OUTPUT, OutputBuffer
from geventstreams._core.clock import CLOCK
from geventstreams._core.deadline import deadline_after, seconds_until
from geventstreams._core.fair_lock import FairLock
from geventstreams._core.fairness import Fairness, let_ready_run, yield_to_hub
from geventstreams._core.fork import FORK, NO_PERMIT
from geventstreams._core.linger import linger
from geventstreams._core.reader import ByteReader
from geventstreams._core.run_info import show_waits_in
from geventstreams._core.transport import Transport
from geventstreams._core.wakeup import OTHER_THREAD, Wakeup, hold_of
from geventstreams._streams.options import StreamOptions
from geventstreams.errors import (
    BROKEN,
    ReadTimeout,
    StreamBusy,
    StreamClosed,
    StreamError,
    StreamReset,
    StreamTruncated,
    TLSError,
    WriteTimeout,
    from_system,
    in_bytes,
    in_seconds,
    noted,
    renewed,
)

ORDERLY = ("end of file",)
"""The end state of an input whose peer said that it had sent everything; other ends are errors that were `noted`."""

FLUSH = 8
WORTH = 256
"""A flush counts as so many calls, and as one more for so many bytes."""


class StreamEngine(ByteReader):
    """What every stream stands on: it moves octets, keeps the limits, and knows how each half ended."""

    def __cinit__(self) -> None:  # compiled code only: one whose __init__() was not called has no permits, and says so
        self.output: OutputBuffer = NO_OUTPUT

    def _init_stream(self, transport: Transport, readable: bool, writable: bool, options: StreamOptions) -> None:
        """Initialize the fields of a class from checked options; each class calls its base. Constructors call this, and nothing else."""
        ByteReader.__init__(self, readable, writable, options.line_limit)
        self._read_limit = options.read_limit
        self._write_limit = options.write_limit
        self._linger_limit = options.linger_limit
        self.output = OutputBuffer()
        self.timed_out: bool = False
        self.accepted: int = 0
        self.octets_in: int = 0
        self.octets_out: int = 0
        self._transport = transport
        self._output_lock = FairLock()
        self._hub = get_hub()
        self._thread = _system.thread_id()
        self._generation = FORK.generation
        self._end: tuple[Any, ...] | None = None
        self._reset: tuple[Any, ...] | None = None
        self._reader: Any = None
        self._lacking = 0
        self._reading_since = 0.0
        self._writing_since = 0.0
        self._rest: Any = None
        self._rest_at = 0
        self._broken = False
        self._tls_failed = False
        self._failure: tuple[Any, ...] | None = None
        self._output_ended = False
        self._output_end = 0
        self._closed = False
        self._closer: Any = None
        self._background: BackgroundSender | None = None
        self._listeners: list[Any] | None = None
        self._tail = NO_TAIL
        self._fairness = Fairness()
        self._has_direct_input = type(self)._fill_buffer is _FILL
        self._flushed_here = type(self)._flush_buffer is _FLUSH
        self._renew_permits()
        self._alive = True

    # Who may do what.

    def _renew_permits(self) -> None:
        usable = not self._closed and self._generation == FORK.generation and self._transport.ready
        self.input.permit = FORK.generation if usable and self._is_readable and self._reader is None else NO_PERMIT
        self.output.permit = FORK.generation if usable and self._is_writable and not self._output_ended else NO_PERMIT

    def _refuse(self) -> None:
        """Raises what keeps any call from this stream: it was never made, is closed, or is another process's."""
        if not self._generation:  # in compiled code a number that was never set is 0
            raise ValueError("uninitialized stream: its __init__() was not called, or did not succeed")
        if self._generation != FORK.generation:
            raise StreamError("this stream belongs to the parent of a forked process", stream=self)
        if self._closed:
            raise StreamClosed(f"the stream to {self._transport.peer} is closed", stream=self)

    def refuse_in_child(self) -> None:
        """Raise StreamError where this stream is another process's."""
        if self._generation != FORK.generation:
            self._refuse()

    def _refuse_input(self) -> None:
        """Raises what keeps a call from taking input, if anything does."""
        self._refuse()
        if not self._is_readable:
            raise io.UnsupportedOperation("not readable: the direction of this stream is output")
        if self._reader is not None:
            raise StreamBusy(f"{self._reader!r} is reading from {self._transport.peer}", stream=self)
        if not self._transport.ready:
            raise self._transport.refusal(self)
        if self.input.calls <= 0:
            self._renew_input()

    def _refuse_output(self) -> None:
        """Raises what keeps a call from writing, if anything does."""
        self._refuse()
        if not self._is_writable:
            raise io.UnsupportedOperation("not writable: the direction of this stream is input")
        if self._output_ended:
            raise StreamClosed(f"the output to {self._transport.peer} was ended", stream=self)
        if not self._transport.ready:
            raise self._transport.refusal(self)
        if self.output.calls <= 0:
            self._renew_output()

    def _refuse_thread(self) -> None:
        if self._thread != _system.thread_id():
            raise StreamError(OTHER_THREAD, stream=self)

    def refuse_thread(self) -> None:
        """Raises StreamError where this stream is another thread's."""
        self._refuse_thread()

    def _is_left(self) -> bool:
        """Whether it is another thread's, which has ended: nothing runs its hub, and all that can be done is to close it."""
        return self._thread != _system.thread_id() and hold_of(self._hub).ended

    # Input.

    def _begin_read(self) -> None:
        if self.input.permit != FORK.generation:
            self._refuse_input()

    def _look_at_clock(self) -> None:
        self._begin_read()

    def _peer(self) -> str:
        return self._transport.peer

    def _was_shut_down(self) -> bool:
        return self._end is not None and self._end[0] is StreamClosed

    def _fill(self, target: memoryview | None, at: int, lacking: int) -> int:
        """Wait for bytes, by the class's own `_fill_buffer` where it has one. ReadTimeout when the limit passes first."""
        if not self._has_direct_input:
            return 1 if self._fill_buffer() else ENDED
        self._lacking = lacking
        return self._receive(target, at)

    def _fill_buffer(self) -> bool:
        """Wait until more bytes are in the input buffer. Return False at the end of the input; ReadTimeout when the limit passes first.

        A subclass may put its own in place of this. LispWorks: `stream:stream-fill-buffer`.
        """
        return self._receive(None, 0) > 0

    def _receive(self, target: memoryview | None, at: int) -> int:
        if target is None and self.input.counts and (count := self.input.absorb()):
            return count
        if self.input.permit != FORK.generation:
            self._refuse_input()
        if self._end is not None:
            return ENDED
        if self._thread != _system.thread_id():
            self._refuse_thread()
        self._reader = _greenlets.current()
        self.input.permit = NO_PERMIT
        try:
            return self._receive_waiting(target, at)
        finally:
            self._reader = None
            self._goal = INPUT
            self.input.permit = NO_PERMIT if self._closed else self._generation

    def _receive_waiting(self, target: memoryview | None, at: int) -> int:  # noqa: PLR0912  # one loop, each exit once
        if not self._transport.emptied:
            if self._fairness.let_others_run(self._hub) and self._closed:
                raise StreamClosed(f"the stream to {self._transport.peer} was closed", stream=self)
            if self._end is not None:
                return 0
            count = self._receive_now(target, at)
            if count != WOULD_WAIT:
                return count
        held = self.input.end - self.input.start
        self._reading_since = CLOCK.now()
        left = self._read_limit
        deadline = self._reading_since + left
        while True:
            if self.input.store is not None:
                self.input.settle()
            if self.output.end or self._transport.unsent:
                self._send_before_wait()
            received = self._transport.received
            fired = self._wait_input(left)
            self._fairness.waited()
            if self._closed:
                raise StreamClosed(f"the stream to {self._transport.peer} was closed", stream=self)
            if self.input.end - self.input.start > held:
                return self.input.end - self.input.start - held
            if self._end is not None:
                return 0
            count = self._receive_now(target, at)
            if count != WOULD_WAIT:
                return count
            if received != self._transport.received:
                deadline = deadline_after(self._read_limit)
            left = seconds_until(deadline)
            if not fired or left <= 0:
                self.timed_out = True
                raise ReadTimeout(f"nothing arrived from {self._transport.peer} for {in_seconds(self._read_limit)}", stream=self)

    def _wait_input(self, limit: float) -> bool:
        try:
            return self._transport.wait_input(limit)
        except StreamError as error:
            raise from_system(error, "waiting for", self._transport.peer, self)  # noqa: B904  # the very error, with the stream in it

    def _receive_now(self, target: memoryview | None, at: int) -> int:
        """Receives what is there: a count, 0 at the end, or WOULD_WAIT."""
        try:
            if target is None:
                space = self.input.space()
                count = self._transport.recv_into(space, self.input.end, self.input.counts)
            else:
                count = self._transport.recv_into(target, at, self.input.counts)
        except OSError as error:
            return self._input_failed(error)
        if count > 0:
            if target is None:
                self.input.absorb()
            else:
                _bytes.take_last(self.input.counts)
            self.octets_in += count
            self.timed_out = False
        elif count == 0:
            self._end = ORDERLY if self._reset is None else self._reset
        if self._listeners is not None and count >= 0:
            self._tell_listeners()
        return count

    def _input_failed(self, error: OSError) -> int:
        """An error that ends the input becomes its end, told when what arrived is taken; any other is raised."""
        if isinstance(error, (StreamReset, StreamTruncated, TLSError)) or error.errno in BROKEN:
            self._end = noted(from_system(error, "reading from", self._transport.peer, self))
            return 0
        raise from_system(error, "reading from", self._transport.peer, self)

    def _raise_end(self) -> None:
        """Raises the end of the input, unless it was an orderly one."""
        if self._end is not None and self._end is not ORDERLY:
            raise renewed(self._end, self)

    def _renew_input(self) -> None:
        """Called before input is taken once calls that did not wait were so many that the clock has to be looked at."""
        self.input.calls = CALLS
        self._renew_permits()
        if self._fairness.is_overdue(self._hub):
            self._reader = _greenlets.current()
            self.input.permit = NO_PERMIT
            try:
                yield_to_hub(self._hub)
            finally:
                self._reader = None
                self._renew_permits()
            self._refuse_input()

    def _renew_output(self) -> None:
        """The same before output is accepted."""
        self.output.calls = CALLS
        self._renew_permits()
        if self._fairness.is_overdue(self._hub):
            yield_to_hub(self._hub)
            self._refuse_output()

    # What others may ask while a greenlet reads.

    def readable_now(self) -> bool:
        """Whether a read would not wait: octets, the end, an error. Takes nothing."""
        if self._generation != FORK.generation:
            self._refuse()
        if self.input.end > self.input.start or self._end is not None or self._closed:
            return True
        return self._transport.readable() != WOULD_WAIT

    def at_rest(self) -> bool:
        """Whether it is open and holds nothing to send."""
        return not (self._closed or self.output.end or self._transport.unsent)

    def _look(self) -> bool:
        """Whether octets can be read without waiting; an end that lies there is noticed."""
        if self.input.end > self.input.start:
            self.input.calls -= 1
            if self.input.calls > 0:
                return True
            self.input.calls = CALLS
            self._renew_permits()
        elif self._end is not None:
            return False
        else:
            self._refuse_thread()
        if self._reader is None and self._fairness.is_overdue(self._hub):  # a loop that only asks must not keep others from running
            yield_to_hub(self._hub)
            self._refuse()
            return self._look()
        if self.input.end > self.input.start:
            return True
        if self._reader is not None:
            return self._transport.readable() > 0
        return self._receive_now(None, 0) > 0

    def watch_input(self, listener: Any) -> None:
        """Calls `listener()` when `readable_now` may have become true, once the input is armed."""
        self._transport.input_wakeup().listen(listener)
        if self._listeners is None:
            self._listeners = []
        self._listeners.append(listener)

    def unwatch_input(self, listener: Any) -> None:
        """The reverse of `watch_input`; of a listener that does not watch it is nothing."""
        if self._listeners is None:
            return
        self._listeners = [other for other in self._listeners if other is not listener] or None
        self._transport.input_wakeup().unlisten(listener)

    def arm_input(self) -> None:
        """Makes the next octets, end or error that the system has for this stream known to the listeners."""
        self._transport.input_wakeup().arm()

    def _waits(self, hub: Any) -> list[tuple[Any, str]]:
        """Return the greenlets of a hub that wait in this stream, each with what it waits for."""
        waits: list[tuple[Any, str]] = []
        if getattr(self, "_alive", False) and self._hub is hub and self._generation == FORK.generation:
            peer = self._transport.peer
            now = CLOCK.now()
            if self._reader is not None:
                held = f"{in_bytes(len(self.input))} buffered"
                waits.append((self._reader, f"{self._reading()} {peer}, {now - self._reading_since:.1f} s, {held}"))
            writer = self._transport.output_wakeup().waiter
            if writer is not None and writer is not self._reader:
                held = f"{in_bytes(self.unsent)} unsent"
                waits.append((writer, f"writes to {peer}, {now - self._writing_since:.1f} s, {held}"))
        return waits

    def _reading(self) -> str:
        """Return what the reader does, as a verb with its object."""
        if self._lacking > 0:
            return f"reads {in_bytes(self._lacking)} more from"
        if self._lacking < 0:
            return "reads up to the end from"
        return {INPUT: "reads input from", A_LINE: "reads a line from", A_SEPARATOR: "reads up to a separator from"}[self._goal]

    def _is_of(self, hub: Any) -> bool:
        """Return whether this is a stream of a hub in this process, and open."""
        return getattr(self, "_alive", False) and self._hub is hub and self._generation == FORK.generation and not self._closed

    def is_idle(self) -> bool:
        """Whether a greenlet waits for input here (in a read, or in a wait for several streams), none is there, and nothing is unsent."""
        return self._is_awaited() and not self.unsent and not self.readable_now()

    def _is_awaited(self) -> bool:
        if self._reader is not None:
            return True
        # Those who listen for a greenlet know whether it waits now; they may listen on afterwards.
        asked = (getattr(listener, "is_awaited", None) for listener in self._listeners or ())
        return any(ask is not None and ask() for ask in asked)

    def end_reads(self) -> None:
        """Lets reads see the end of file once what is buffered is taken, as if the peer had ended its output; whoever waits is woken."""
        if self._end is None:
            self._end = ORDERLY
            self._transport.wake()
            self._tell_listeners()

    def _tell_listeners(self) -> None:
        for listener in list(self._listeners or ()):
            listener()

    # Output.

    @property
    def unsent(self) -> int:
        """Octets accepted and not yet with the system."""
        rest = len(self._rest) - self._rest_at if self._rest is not None else 0
        return len(self.output) + rest + self._transport.unsent

    def _put(self, data: Any, count: int) -> None:
        """Accepts a message of `count` octets whole, or raises with nothing accepted."""
        if self.output.permit != FORK.generation:
            self._refuse_write()
        if self._output_lock.holder is None and count <= BLOCK - (self.output.end - self.output.start) and self._failure is None:
            self.accepted = 0
            self.output.put(data, 0, count)
            self.accepted = count  # at once: a signal handler that raises behind this call leaves the caller nothing else to ask
            self._remember(data, count)
        else:
            self._put_waiting(data, count)

    def _remember(self, data: Any, count: int) -> None:
        """Keeps the last octets of the output in mind, for whoever asks whether a line has begun."""
        if count >= 4 or self._tail == NO_TAIL:
            self._tail = _bytes.tail(data, count) if count else self._tail
        elif count:
            self._tail = (self._tail << 8 * count | _bytes.tail(data, count)) & 0xFFFFFFFF

    def _put_waiting(self, data: Any, count: int) -> None:
        accepted = 0
        try:
            self._acquire_output()
            try:
                if self.output.permit != FORK.generation:
                    self._refuse_output()
                self._raise_failure()
                while self.output.end - self.output.start > BLOCK:
                    self._send_or_wait(self._write_limit)
                accepted = count
                self._send_message(data, count)
                self.accepted = count
            finally:
                self._output_lock.release()
        except BaseException as error:
            self.accepted = accepted
            if isinstance(error, WriteTimeout):
                error.accepted = accepted
            if isinstance(error, StreamError):
                self._complete(error)
            raise

    def _refuse_write(self) -> None:
        """Raises what keeps a call from writing; nothing is accepted."""
        self.accepted = 0
        self._refuse_output()

    def _send_message(self, data: Any, count: int) -> None:
        """Sends what is older, then this message straight from the caller's memory, but for what fits into the buffer."""
        self._rest = data if isinstance(data, memoryview) else memoryview(data)
        self._rest_at = 0
        self._remember(data, count)
        try:
            while self.output.end and count > self.output.room():
                self._send_or_wait(self._write_limit)
            while self._rest is not None and count - self._rest_at > BLOCK:
                self._send_or_wait(self._write_limit)
            self._adopt_rest()
        except BaseException:
            self._adopt_rest()
            raise

    def _adopt_rest(self) -> None:
        """Copies what is left of the message being sent from the caller's memory into the output buffer."""
        rest, self._rest = self._rest, None
        if rest is None or len(rest) == self._rest_at:
            return
        if self._rest_at:
            self.output.put_rest(rest, self._rest_at, len(rest) - self._rest_at)
        else:
            self.output.put(rest, 0, len(rest))

    def _acquire_output(self) -> None:
        self._refuse_thread()
        taken = self._output_lock.acquire(self._hub, self._write_limit)
        if self._closed or self._generation != FORK.generation:
            if taken:
                self._output_lock.release()
            self._refuse()
        if not taken:
            raise self._write_timeout(self._write_limit)

    def _send_or_wait(self, limit: float) -> None:
        """Gets on with the output by some octets, waiting for room where there is none."""
        self._refuse_thread()
        if self._fairness.let_others_run(self._hub):
            self._refuse_if_ended()
        if self._send_now():
            return
        self._fairness.waited()
        held = self.unsent
        self._writing_since = CLOCK.now()
        left = limit
        deadline = self._writing_since + left
        while True:
            fired = self._transport.wait_output(left)
            self._refuse_if_ended()
            if self._send_now() or self.unsent < held:  # a reader or the hub may have sent in our place
                self._output_lock.progressed()
                return
            left = seconds_until(deadline)
            if not fired or left <= 0:
                raise self._write_timeout(limit)

    def _refuse_if_ended(self) -> None:
        """After a wait: only the greenlet that closes the stream may go on sending once it is closed."""
        if self.output.permit != FORK.generation and self._closer is not _greenlets.current():
            self._refuse()

    def _complete(self, error: StreamError) -> None:
        """Add to an error that ends a call what the caller may want to know."""
        error.unsent = self.unsent
        if error.stream is None:
            error.stream = self

    def _write_timeout(self, limit: float) -> WriteTimeout:
        return WriteTimeout(f"{self._transport.peer} took nothing for {in_seconds(limit)}", stream=self, unsent=self.unsent)

    def _send_now(self) -> bool:
        """Sends what the system takes now: whether it took anything, or nothing is left."""
        transport = self._transport
        before = transport.unsent
        try:
            if before and transport.flush() == WOULD_WAIT:
                return transport.unsent < before
            if self.output.end:
                count = transport.send(self.output.view, self.output.start, self.output.end)  # type: ignore[arg-type]  # not empty
                if count > 0:
                    self.output.strike(count)
                    self.octets_out += count
            elif self._rest is not None:
                count = transport.send(self._rest, self._rest_at, len(self._rest))
                if count > 0:
                    self._rest_at += count
                    self.octets_out += count
            else:
                return True
        except OSError as error:
            raise self._output_failed(error) from None
        return count > 0 or transport.unsent < before

    def _output_failed(self, error: OSError) -> StreamError:
        known = from_system(error, "writing to", self._transport.peer, self)
        known.unsent = self.unsent
        if isinstance(known, (StreamReset, TLSError)):
            self._broken = True
            self._tls_failed = isinstance(known, TLSError)
            if known.errno == errno.ECONNRESET and self._reset is None:
                self._reset = noted(known)
        return known

    def _raise_failure(self) -> None:
        """Raises, once, the error that ended the sending in the background."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise renewed(failure, self, self.unsent)

    def _flush(self) -> None:
        """Calls `_flush_buffer`, the class's own where it has one."""
        if self._flushed_here:
            StreamEngine._flush_buffer(self)
        else:
            self._flush_buffer()

    def _flush_buffer(self) -> None:
        """Waits until all that was accepted is with the system."""
        if self._output_lock.holder is None and self._failure is None:
            if not (self.output.end or self._transport.unsent):
                return
            if self._thread != _system.thread_id():
                self._refuse_thread()
            self.output.calls -= FLUSH + (self.output.end - self.output.start) // WORTH
            if self._send_now() and not (self.output.end or self._transport.unsent):
                return
        self._acquire_output()
        try:
            self._raise_failure()
            while self.output.end or self._transport.unsent:
                self._send_or_wait(self._write_limit)
        except StreamError as error:
            self._complete(error)
            raise
        finally:
            self._output_lock.release()

    def send_before_wait(self) -> None:
        """What every wait for input does first, so that a forgotten flush is no deadlock; an error is kept for the writers."""
        self._send_before_wait()

    def _send_before_wait(self) -> None:
        if StreamEngine.send_in_background(self) and self._background is None:
            self._background = BackgroundSender(self, self._transport.output_wakeup())

    def send_in_background(self) -> bool:
        """Sends what the system takes now, keeping an error for the next writer: whether there is more to send when room comes."""
        if self._failure is None and not self._broken and self._generation == FORK.generation:
            try:
                while self.output.end or self._transport.unsent:
                    if not self._send_now():
                        return True
                if self._output_end == WANTED and not self._tell_end_now():
                    return True
            except StreamError as error:
                self._failure = noted(error)
        self._stop_background()
        return False

    def _stop_background(self) -> None:
        if self._background is not None:
            self._background.stop()
            self._background = None

    # Another transport.

    def _plug(self, transport: Transport) -> Transport:
        """Puts another transport under the buffers, which stay as they are; the one it replaces."""
        self._stop_background()
        old, self._transport = self._transport, transport
        for listener in self._listeners or ():
            old.input_wakeup().unlisten(listener)
            transport.input_wakeup().listen(listener)
            listener()
        return old

    def _forget_ends(self) -> None:
        self._end = self._reset = self._failure = None
        self._broken = self._output_ended = self.timed_out = False
        self._output_end = 0
        self._renew_permits()

    def _refuse_while_waiting(self) -> None:
        """Raises StreamBusy where a greenlet waits in this stream."""
        holder = self._reader if self._reader is not None else self._output_lock.holder
        if holder is not None:
            raise StreamBusy(f"a greenlet waits in the stream to {self._transport.peer}", stream=self)

    # Ending and closing.

    def _end_output(self) -> None:
        """Flush and tell the peer that nothing more comes. A call that is ended by an exception is finished by the next one."""
        if self._output_end == TOLD:
            return
        self._refuse_thread()
        if not self._output_ended:
            if self.output.permit != FORK.generation:
                self._refuse_output()
            self._flush()
            self._output_ended = True
            self._renew_permits()
        self._output_end = max(self._output_end, WANTED)  # another greenlet may have come first while this one flushed
        self._acquire_output()
        try:
            self._tell_end(self._write_limit)
        finally:
            self._output_lock.release()

    def _tell_end(self, limit: float) -> None:
        """Wait until the peer was told that nothing more comes."""
        while not self._tell_end_now():
            if not self._transport.wait_output(limit):
                raise self._write_timeout(limit)
            self._refuse_if_ended()

    def _tell_end_now(self) -> bool:
        """Tell the peer that nothing more comes, as far as that needs no waiting. Return whether it was told, now or before."""
        if self._output_end != TOLD:
            try:
                if self._transport.end_output() == WOULD_WAIT:
                    return False
            except OSError as error:
                raise self._output_failed(error) from None
            self._output_end = TOLD
        return True

    def _end_input(self, drop: bool) -> None:
        """Takes no more from the system; what is buffered can be read, unless it is dropped."""
        if not self._is_readable:
            raise io.UnsupportedOperation("not readable: the direction of this stream is output")
        self._refuse_thread()
        if drop:
            self.input.clear()
        if self._end is None:
            self._end = noted(StreamClosed(f"the input from {self._transport.peer} was shut down"))
            try:
                self._transport.end_input()
            except OSError as error:
                if error.errno not in BROKEN:
                    raise from_system(error, "shutting down the input from", self._transport.peer, self) from None
            self._transport.wake()

    def _drop_output(self) -> None:
        """Drops what is buffered, but for the rest of a begun message."""
        if not self._is_writable:
            raise io.UnsupportedOperation("not writable: the direction of this stream is input")
        self.output.drop_unbegun()

    @property
    def closed(self) -> bool:
        """True from the first moment of closing."""
        return self._closed

    def close(self, abort: bool = False) -> None:
        """Flushes, tells the peer, lingers while that can save what was sent, and closes the descriptor whatever happens.

        The flush is limited by `write_timeout`, or by `linger_timeout` where that is None; one that fails is raised afterwards, once,
        with `.unsent`. A close that ends with output unsent, for whatever reason, resets the connection, so that the peer cannot take
        a part for the whole (a Unix socket can only end). Whoever waits in the stream gets StreamClosed. With `abort` nothing is sent
        and the peer sees a reset. A second call returns at once; with `abort` it ends the first. In another thread, once the stream's
        own has ended, only what needs no waiting is sent.
        """
        if self._closed:
            if abort and self._closer is not None:
                self._closer = None
                self._transport.close(True)
            return
        if self._generation != FORK.generation:
            self._closed = True
            self._transport.close_in_child()
            return
        if self._thread != _system.thread_id() and not self._is_left():
            self._refuse_thread()
        self._closed = True
        self._renew_permits()
        self._close_all(abort)

    def _close_all(self, abort: bool) -> None:
        try:
            self._stop_background()
            if abort:
                self._rest = None  # nobody wants it: a copy of many megabytes would only keep those who wait from waking
            elif self._rest is not None:
                self._adopt_rest()
            crowded = self._reader is not None or self._output_lock.holder is not None
            self._output_lock.cancel_waiters()
            self._transport.wake()
            if self._listeners is not None:
                self._tell_listeners()
            if not abort:
                self._closer = _greenlets.current()
                if self._closer is not self._hub and self._thread == _system.thread_id():
                    self._close_orderly(crowded)
                else:
                    self._close_at_once()
        except StreamError as error:
            self._complete(error)
            raise
        finally:
            self._closer = None
            self._transport.close(abort or self._leaves_a_part())
            if self.input.store is not None:
                self.input.clear()
            if self.output.store is not None:
                self.output.clear()

    def _leaves_a_part(self) -> bool:
        """Whether output is left over that the peer would miss without knowing. Where TLS has failed, the alert tells it."""
        return self.unsent > 0 and not self._tls_failed

    def _close_orderly(self, crowded: bool) -> None:
        if crowded:
            let_ready_run(self._hub)  # those who were woken leave before we wait in their place
        limit = self._write_limit if self._write_limit != NEVER else self._linger_limit
        if self._failure is not None:
            self._raise_failure()
        if self._is_writable and not self._broken:
            while self.output.end or self._transport.unsent:
                self._send_or_wait(limit)
            with contextlib.suppress(StreamReset):  # all was sent: a peer that is gone takes nothing from us
                self._tell_end(limit)
        linger(self._transport, self._linger_limit)

    def _close_at_once(self) -> None:
        """Send what needs no waiting, and the end behind it: where nothing can wait, as in the hub."""
        self._send_before_closing()
        if self._is_writable and not (self._broken or self.unsent):
            with contextlib.suppress(StreamError):
                self._tell_end_now()

    def _send_before_closing(self) -> None:
        if not self._broken:
            with contextlib.suppress(StreamError):
                while (self.output.end or self._transport.unsent) and self._send_now():
                    pass

    def _send_at_exit(self) -> None:
        """Send, at the end of the program, what the system takes now."""
        if getattr(self, "_alive", False) and not self._closed and self._is_here() and self._output_lock.holder is None:
            self._send_before_wait()

    def _is_here(self) -> bool:
        """Whether this is the process and the thread of the stream."""
        return self._generation == FORK.generation and self._thread == _system.thread_id()

    def __del__(self) -> None:
        if not getattr(self, "_alive", False) or self._closed:
            return
        try:
            warnings.warn(f"unclosed stream {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._drop()
        except (AttributeError, TypeError):
            if sys is not None and not sys.is_finalizing():  # at the end of the program the modules are emptied
                raise

    def _drop(self) -> None:
        """Send what the system takes now, and close. What is left is lost with the stream, which was not closed."""
        self._closed = True
        if self._generation != FORK.generation:
            self._transport.close_in_child()
        elif self._thread == _system.thread_id() or self._is_left():
            self._stop_background()
            self._send_before_closing()
            self._transport.close(self._leaves_a_part())
        elif self._leaves_a_part():
            self._transport.reset_at_end()


send_at_exit(StreamEngine, lambda stream: stream._send_at_exit())
show_waits_in(StreamEngine)
_FILL = vars(StreamEngine)["_fill_buffer"]
_FLUSH = vars(StreamEngine)["_flush_buffer"]


class BackgroundSender:
    """Sends what a stream holds as room comes, from the hub, without keeping the stream alive."""

    def __init__(self, engine: StreamEngine, wakeup: Wakeup) -> None:
        self._engine = weakref.ref(engine)
        self._wakeup = wakeup
        self._listener: Any = self.on_room
        wakeup.arm()
        wakeup.listen(self._listener)

    def on_room(self) -> None:
        """Called by the hub."""
        engine = self._engine()
        if engine is None or not engine.send_in_background():
            self.stop()
        else:
            self._wakeup.arm()

    def stop(self) -> None:
        """Ends the sending; what is left stays in the stream."""
        self._wakeup.unlisten(self._listener)
        self._listener = None
