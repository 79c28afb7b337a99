"""What a stream stands on: two buffers over a transport, and how each half ended. Nothing in this file waits.

`blocking.BlockingEngine` adds the waits of a stream that looks blocking, `callbacks.push_mode.PushedEngine` what a connection of the
callback half brings and takes away.
"""

# Invariants:
# * Every byte is in a buffer between two calls: received means in `input`, accepted means in `output` or named by `rest`, sent means struck
#   off. So an exception may end any call.
# * `input.permit` and `output.permit` equal the fork generation while that half may be used at once. A call compares one, and asks why
#   (`refuse_input`, `refuse_output`) only where they differ. A fork makes all of them differ, in the child.
# * An engine refers to its stream weakly, and keeps no exception: neither forms a cycle.
#
# One idea in more than 500 lines: all that a stream knows of its two halves, which end, fail and close together.

from __future__ import annotations

import contextlib
import errno
import io
from typing import Any
from weakref import ref

from gevent import get_hub

import geventstreams._native.greenlets as _greenlets
import geventstreams._native.interpreter as _interpreter
import geventstreams._native.memory as _bytes
from geventstreams._constants import CALLS, ENDED, NO_PERMIT, NO_TAIL, SOME, WOULD_WAIT
from geventstreams._core.buffers import NO_OUTPUT, OutputBuffer
from geventstreams._core.clock import CLOCK
from geventstreams._core.fork import FORK
from geventstreams._core.hub_hold import OTHER_THREAD, hold_of
from geventstreams._core.reader import ByteSource
from geventstreams._core.transport_base import Transport
from geventstreams._streams.states import OPEN, ORDERLY, TOLD
from geventstreams.errors import BROKEN, StreamBusy, StreamClosed, StreamError, StreamReset, TLSError, from_system, noted, renewed


class Unmade:
    """A part of a stream whose constructor was not called. Whatever is asked of it, it says so."""

    def __getattr__(self, _name: str) -> Any:
        raise ValueError("uninitialized stream: its __init__() was not called, or did not succeed")


class UnmadeTransport(Transport):
    """The transport of such a stream."""

    def addresses(self) -> tuple[Any, Any]:
        return UNMADE.addresses()  # type: ignore[no-any-return]  # it raises

    def close(self, abort: bool = False) -> None:
        UNMADE.close()


UNMADE: Any = Unmade()
UNMADE_TRANSPORT = UnmadeTransport()


class StreamEngine(ByteSource):
    """Moves bytes between two buffers and a transport, as far as that needs no waiting, and knows how each half ended."""

    __slots__ = (
        "_stream", "accepted", "broken", "closed", "end", "failure", "generation", "holds_text", "hub", "is_readable", "is_writable",
        "lacking", "linger_limit", "listeners", "output", "output_state", "read_limit", "reader", "reading_since", "reset", "rest",
        "rest_at", "sending", "tail", "thread", "timed_out", "tls", "tls_failed", "tls_options", "transport", "unbuffered", "unit",
        "write_limit", "writer", "writing_since",
    )

    def __cinit__(self) -> None:  # compiled code only: an object whose __init__() was not called has no permit, and says so
        self.output: OutputBuffer = NO_OUTPUT
        self.transport: Transport = UNMADE_TRANSPORT

    def _init_engine(self, transport: Transport, read_limit: float, write_limit: float, linger_limit: float) -> None:
        self._init_source()
        self.output = OutputBuffer()
        self.transport = transport
        self.tls: Any = None
        self.tls_options: Any = None
        self.read_limit: float = read_limit
        self.write_limit: float = write_limit
        self.linger_limit: float = linger_limit
        self.timed_out: bool = False
        self.accepted: int = 0
        self.unbuffered: int = 0
        self.hub: Any = get_hub()
        self.thread: int = _interpreter.thread_id()
        self.generation: int = FORK.generation
        self.is_readable: bool = False
        self.is_writable: bool = False
        self.closed: bool = False
        self.reader: Any = None
        self.lacking: int = SOME
        self.writer: Any = None
        self.reading_since: float = 0.0
        self.writing_since: float = 0.0
        self.end: tuple[Any, ...] | None = None
        self.reset: tuple[Any, ...] | None = None
        self.rest: Any = None
        self.rest_at: int = 0
        self.sending: bool = False
        self.tail: int = NO_TAIL
        self.unit: int = 1
        """How many bytes a newline has, and so how many of the last ones are in `tail`."""
        self.broken: bool = False
        self.tls_failed: bool = False
        self.failure: tuple[Any, ...] | None = None
        self.output_state: int = OPEN
        self.listeners: list[Any] | None = None
        self.holds_text: bool = False
        """Whether a text file that waits has decoded a part of what it waits for."""
        self._stream: Any = None

    def serve(self, stream: Any, readable: bool, writable: bool) -> None:
        """Be the engine of this stream, which has these directions, from now on."""
        self._stream = ref(stream)
        self.is_readable = readable
        self.is_writable = writable
        self.renew_permits()

    def stream(self) -> Any:
        """Return the stream that stands on this engine, for errors; None where there is none."""
        return None if self._stream is None else self._stream()

    @property
    def peer(self) -> str:
        return self.transport.peer

    @property
    def octets_out(self) -> int:
        """How many bytes the system has taken."""
        taken = self.output.sent + self.unbuffered
        return taken - self.transport.unsent_data() if self.transport.unsent else taken

    # Who may do what.

    def is_closed(self) -> bool:
        """Return whether the stream is closed for its user."""
        return self.closed

    def renew_permits(self) -> None:
        """Let each half be used at once if it may be."""
        may_pass = self.transport.ready or not self.transport.is_open()  # what arrived can be read when the connection is over
        usable = not self.closed and self.generation == FORK.generation and may_pass
        self.input.permit = FORK.generation if usable and self.is_readable and self.reader is None else NO_PERMIT
        self.output.permit = FORK.generation if usable and self.is_writable and self.output_state == OPEN else NO_PERMIT

    def refuse(self) -> None:
        """Raise the error of any call on a stream that was never made, is closed, or is another process's."""
        if not self.generation:  # in compiled code a number that was never set is 0
            UNMADE.refuse()
        if self.generation != FORK.generation:
            raise StreamError("this stream belongs to the parent of a forked process", stream=self.stream())
        if self.closed:
            raise StreamClosed(f"the stream to {self.peer} is closed", stream=self.stream())

    def refuse_in_child(self) -> None:
        """Raise StreamError where this stream is another process's."""
        if self.generation != FORK.generation:
            self.refuse()

    def refuse_input(self) -> None:
        """Raise the error that keeps a call from taking input, if there is one."""
        self.refuse()
        if not self.is_readable:
            raise io.UnsupportedOperation("not readable: the direction of this stream is output")
        if self.reader is not None:
            raise StreamBusy(f"{self.reader!r} is reading from {self.peer}", stream=self.stream())
        if not self.transport.ready and self.transport.is_open():
            raise self.transport.refusal(self.stream())
        if self.input.calls <= 0:
            self.renew_input()

    def refuse_output(self) -> None:
        """Raise the error that keeps a call from writing, if there is one."""
        self.refuse()
        if not self.is_writable:
            raise io.UnsupportedOperation("not writable: the direction of this stream is input")
        if self.output_state != OPEN:
            raise StreamClosed(f"the output to {self.peer} was ended", stream=self.stream())
        if not self.transport.ready and self.transport.is_open():
            raise self.transport.refusal(self.stream())
        if self.output.calls <= 0:
            self.renew_output()

    def refuse_write(self) -> None:
        """Raise the error that keeps a call from writing; no byte is accepted."""
        self.accepted = 0
        self.refuse_output()

    def refuse_thread(self) -> None:
        """Raise StreamError where this stream is another thread's."""
        if self.thread != _interpreter.thread_id():
            raise StreamError(OTHER_THREAD, stream=self.stream())

    def is_here(self) -> bool:
        """Return whether this is the process and the thread of the stream."""
        return self.generation == FORK.generation and self.thread == _interpreter.thread_id()

    def is_left(self) -> bool:
        """Return whether the stream's thread has ended: nothing runs its hub, and all that can be done is to close it."""
        return self.thread != _interpreter.thread_id() and hold_of(self.hub).ended

    def renew_input(self) -> None:
        """Let input be taken again after CALLS calls that did not wait."""
        self.input.calls = CALLS
        self.renew_permits()

    def renew_output(self) -> None:
        """Let output be accepted again after CALLS calls that did not wait."""
        self.output.calls = CALLS
        self.renew_permits()

    def refuse_while_waiting(self) -> None:
        """Raise StreamBusy where a greenlet waits in this stream."""
        if self.reader is not None:
            raise StreamBusy(f"a greenlet waits in the stream to {self.peer}", stream=self.stream())

    def occupy(self) -> None:
        """Take both halves, which are free, for what needs both."""
        self.reader = _greenlets.current()
        self.reading_since = CLOCK.now()
        self.begun = 0
        self.input.permit = NO_PERMIT

    def vacate(self) -> None:
        """Give both halves back."""
        self.reader = None
        self.renew_permits()

    # Input.

    def begin_read(self) -> None:
        if self.input.permit != FORK.generation:
            self.refuse_input()

    def look_at_clock(self) -> None:
        self.begin_read()

    def was_shut_down(self) -> bool:
        return self.end is not None and self.end[0] is StreamClosed

    def put_back(self, data: bytes | memoryview) -> None:
        self.input.put_back(data)
        if self.listeners is not None:
            self.tell_listeners()

    def raise_end(self) -> None:
        if self.end is not None and self.end is not ORDERLY:
            raise renewed(self.end, self.stream())

    def await_input(self, first: bool, begun: int, lacking: int) -> bool:
        return first and self.end is not None  # only the owner of an engine that never waits receives

    def receive(self, target: memoryview | None, at: int, lacking: int) -> int:
        if self.end is not None:
            return ENDED
        buffer = self.input
        try:
            if target is None:
                space = buffer.space()
                count = self.transport.recv_into(space, buffer.end, buffer.counts)
            else:
                count = self.transport.recv_into(target, at, buffer.counts)
        except OSError as error:
            self.input_failed(error)
            count = ENDED
        if count > 0:
            if buffer.counts:  # else a signal handler has read what came
                count = _bytes.take_last(buffer.counts)
                if target is None:
                    buffer.end += count
            self.timed_out = False
        elif count == WOULD_WAIT:
            return WOULD_WAIT
        elif self.end is None:
            self.end = ORDERLY if self.reset is None else self.reset
        if self.listeners is not None:
            self.tell_listeners()
        return count

    def input_failed(self, error: OSError) -> None:
        """Note an error of TLS or of a broken connection, to be raised when what arrived is taken; raise any other."""
        failure = self._failure(error, "reading from")
        if not (isinstance(error, TLSError) or error.errno in BROKEN):
            raise failure
        self.end = noted(failure)

    def _failure(self, error: OSError, doing: str) -> StreamError:
        """Return the stream error for one of the transport. Once a signal handler has closed the stream, system calls fail by EBADF."""
        if self.closed and error.errno == errno.EBADF:
            return StreamClosed(f"the stream to {self.peer} was closed", stream=self.stream())
        return from_system(error, doing, self.peer, self.stream())

    def receive_unasked(self) -> int:
        """Receive what is there for a call that must not wait. Return how many bytes, ENDED, or WOULD_WAIT."""
        return WOULD_WAIT

    def look(self) -> bool:
        """Return whether bytes can be read without waiting; an end that lies there is noticed."""
        return self.input.end > self.input.start

    # What others may ask while a greenlet reads.

    def readable_now(self) -> bool:
        """Return whether a read would not wait, because of bytes, the end, or an error. Takes nothing."""
        if self.generation != FORK.generation:
            self.refuse()
        return self.input.end > self.input.start or self.end is not None or self.is_closed()

    def polled_descriptor(self) -> int:
        """Return the descriptor if it alone tells whether a read would wait, because nothing is here and no layer lies between; else -1."""
        return -1

    def at_rest(self) -> bool:
        """Return whether the stream is open and holds nothing to send."""
        return not (self.closed or self.output.end or self.transport.unsent)

    def watch_input(self, listener: Any) -> None:
        """Call `listener()` when `readable_now` may have become true, once the input is armed."""
        self.transport.input_wakeup().listen(listener)
        if self.listeners is None:
            self.listeners = []
        self.listeners.append(listener)

    def unwatch_input(self, listener: Any) -> None:
        """Call `listener` no more. One that is not called is no error."""
        if self.listeners is None:
            return
        self.listeners = [other for other in self.listeners if other is not listener] or None
        self.transport.input_wakeup().unlisten(listener)

    def arm_input(self) -> None:
        """Make the next bytes, end or error known to the listeners. Where another receives, as here, they are told anyway."""

    def tell_listeners(self) -> None:
        """Call those who watch the input."""
        for listener in list(self.listeners or ()):
            listener()

    # Output.

    def unsent(self) -> int:
        """Return the number of bytes that were accepted and are not yet with the system."""
        held, below = self.to_send(), self.transport.unsent
        return held - below + self.transport.unsent_data() if below else held

    def to_send(self) -> int:
        """Return the number of bytes that are left to send. Those that TLS holds are counted as it sends them, and its own with them."""
        rest = self.rest
        held = self.output.end - self.output.start + self.transport.unsent
        return held if rest is None else held + len(rest) - self.rest_at

    def remember(self, data: Any, count: int) -> None:
        """Keep the last bytes of the output in mind, as many as a newline has, for `fresh_line`."""
        unit = self.unit
        if unit == 1 and count:
            self.tail = _bytes.byte_of(data, count - 1)
        elif count:
            last = int.from_bytes(memoryview(data)[-unit:], "big")
            if count < unit and self.tail != NO_TAIL:
                last |= self.tail << 8 * count
            self.tail = last & 0xFFFFFFFF >> 8 * (4 - unit)

    def send_now(self) -> bool:
        """Send what the system takes now. Return whether it took anything, or nothing is left."""
        transport, output = self.transport, self.output
        self.sending = True
        try:
            before = transport.unsent
            if before and transport.flush() == WOULD_WAIT:
                pass  # what is held back goes first
            elif output.end:
                count = transport.send(output.view, output.start, output.end)  # type: ignore[arg-type]  # not empty
                if count > 0:
                    output.strike(count)
                    return True
            elif (rest := self.rest) is not None and self.rest_at < len(rest):
                count = transport.send(rest, self.rest_at, len(rest))
                if count > 0:
                    self.rest_at += count
                    self.unbuffered += count
                    return True
            else:
                return True
            return transport.unsent < before
        except OSError as error:
            raise self.output_failed(error) from None
        finally:
            self.sending = False

    def output_failed(self, error: OSError) -> StreamError:
        """Note an error of the output, and return it as an error of the stream."""
        failure = self._failure(error, "writing to")
        failure.unsent = self.unsent()
        if isinstance(failure, (StreamReset, TLSError)):
            self.broken = True
            self.tls_failed = isinstance(failure, TLSError)
            if failure.errno == errno.ECONNRESET and self.reset is None:
                self.reset = noted(failure)
        return failure

    def raise_failure(self) -> None:
        """Raise, once, the error that ended the sending in the background."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise renewed(failure, self.stream(), self.unsent())

    def complete(self, error: StreamError) -> None:
        """Add to an error that ends a call what the caller may want to know."""
        error.unsent = self.unsent()
        if error.stream is None:
            error.stream = self.stream()

    def leaves_a_part(self) -> bool:
        """Return whether output is left over that the peer would miss without knowing. Where TLS has failed, the alert says so."""
        return self.to_send() > 0 and not self.tls_failed

    # Another transport.

    def plug(self, transport: Transport) -> Transport:
        """Put another transport under the buffers, which stay as they are. Return the one that it replaces."""
        old, self.transport = self.transport, transport
        for listener in self.listeners or ():
            old.input_wakeup().unlisten(listener)
            transport.input_wakeup().listen(listener)
            listener()
        return old

    def forget_ends(self) -> None:
        """Begin anew on another socket."""
        self.end = self.reset = self.failure = None
        self.broken = self.timed_out = False
        self.output_state = OPEN
        self.renew_permits()

    # Ending.

    def tell_end_now(self) -> bool:
        """Tell the peer that nothing more comes, as far as that needs no waiting. Return whether it was told, now or before."""
        if self.output_state != TOLD:
            self.sending = True
            try:
                if self.transport.end_output() != WOULD_WAIT:
                    self.output_state = TOLD
            except OSError as error:
                raise self.output_failed(error) from None
            finally:
                self.sending = False
        return self.output_state == TOLD

    def end_input(self, drop: bool) -> None:
        """Take no more from the system. What is buffered can be read, unless it is dropped."""
        if not self.is_readable:
            raise io.UnsupportedOperation("not readable: the direction of this stream is output")
        self.refuse_thread()
        if drop:
            self.input.clear()
        if self.end is None:
            self.end = noted(StreamClosed(f"the input from {self.peer} was shut down"))
            self.shut_input()

    def shut_input(self) -> None:
        """Tell the system that nothing more is wanted, and wake who waits for input."""
        try:
            self.transport.end_input()
        except OSError as error:
            if error.errno not in BROKEN:
                raise self._failure(error, "shutting down the input from") from None
        self.transport.wake()

    def drop_output(self) -> None:
        """Drop what is buffered, except for the rest of a message whose beginning was sent."""
        if not self.is_writable:
            raise io.UnsupportedOperation("not writable: the direction of this stream is input")
        self.output.drop_unbegun()
        self.transport.wake()  # who waits for room for what was dropped has nothing left to send

    # What an engine that waits and one that is pushed do in their own ways. A stream that was never made has neither: `refuse` says so.

    def begin_end(self) -> bool:
        """Begin to end the output. Return whether it has to be flushed first."""
        return False

    def put(self, data: Any, count: int) -> None:
        """Accept a message of `count` bytes whole, or raise with nothing accepted."""
        self.refuse()

    def flush(self) -> None:
        """Get what was accepted to the system."""
        self.refuse()

    def finish(self) -> None:
        """Wait until the system has all that was accepted."""
        self.refuse()

    def send_before_wait(self) -> None:
        """Send what can be sent without waiting; an error is kept for the writers."""
        self.refuse()

    def send_last(self) -> None:
        """Send what the system takes now, where no caller is left: at the end of the program, and of a file over the stream."""

    def end_the_output(self) -> None:
        """Tell the peer, behind all that was accepted, that nothing more comes."""
        self.refuse()

    def close(self, abort: bool = False) -> None:
        """Close the stream. With `abort` nothing is sent, and the peer sees a reset."""
        self.refuse()

    def close_failed(self, abort: bool) -> None:
        """Close because TLS failed; without `abort` so that the alert which says why arrives."""
        self.close(abort)

    def set_limits(self, read: float, write: float) -> None:
        """Set both timeouts."""
        self.read_limit = read
        self.write_limit = write

    def send_before_closing(self) -> None:
        """Send what the system takes now; errors are of no interest any more."""
        if not self.broken:
            with contextlib.suppress(StreamError):
                while (self.output.end or self.transport.unsent) and self.send_now():
                    pass

    def drop(self) -> None:
        """Close the stream, which nothing refers to any more. What the system does not take now is lost."""
        FORK.look()
        self.closed = True
        if self.generation != FORK.generation:
            self.transport.close_in_child()
        elif self.thread == _interpreter.thread_id() or self.is_left():
            self.send_before_closing()
            self.transport.close(self.leaves_a_part())
        elif self.leaves_a_part():
            self.transport.reset_at_end()
