"""The engine of a stream that looks blocking: every wait for input or for room, and the orderly close."""

# Invariants:
# * Between two waits each byte is in a buffer, or in the caller's memory and named by `rest`. So any exception may end any wait.
# * After each wait the engine is asked anew whether the call may go on: the stream may be closed, or the process forked.
# * `close` may be called by a signal handler, which interrupts any other call: it leaves the buffers to `forget`, and resets the connection
#   where `sending` says that a call was interrupted which sends.

from __future__ import annotations

import contextlib
from typing import Any

import geventstreams._native.greenlets as _greenlets
import geventstreams._native.interpreter as _interpreter
import geventstreams._native.memory as _bytes
from geventstreams._constants import BLOCK, FRESH, NEVER, NO_PERMIT, SOME, WOULD_WAIT
from geventstreams._core.clock import CLOCK, seconds_until
from geventstreams._core.fair_lock import FairLock
from geventstreams._core.fairness import Fairness, let_ready_run, yield_to_hub
from geventstreams._core.fork import FORK
from geventstreams._core.hub_hold import hold_of
from geventstreams._core.linger import linger
from geventstreams._core.living import send_at_exit
from geventstreams._core.transport import SocketTransport
from geventstreams._core.transport_base import Transport
from geventstreams._streams.background import BackgroundSender
from geventstreams._streams.engine import StreamEngine
from geventstreams._streams.options import StreamOptions
from geventstreams._streams.states import OPEN, TOLD, WANTED
from geventstreams.errors import ReadTimeout, StreamBusy, StreamClosed, StreamError, StreamReset, WriteTimeout, in_seconds, noted

FLUSH = 8
WORTH = 256
"""A flush counts as so many calls, and as one more for so many bytes."""

_FREE = FairLock()
"""The lock of every engine whose output was never acquired: an idle stream has none of its own. It is never acquired itself."""
_RESTED = Fairness()
"""The fairness of every engine that has never kept others from running. It is never asked itself."""


class BlockingEngine(StreamEngine):
    """Waits for input under `read_limit` and for room under `write_limit`, each between progress, and lets others run where it need not."""

    __slots__ = ("_fired", "_progress", "background", "closer", "fairness", "output_lock")

    def __init__(self, transport: Transport, options: StreamOptions) -> None:
        self._init_engine(transport, options.read_limit, options.write_limit, options.linger_limit)
        self.output_lock = _FREE
        self.closer: Any = None
        self.background: BackgroundSender | None = None
        self.fairness = _RESTED
        self._progress = 0
        self._fired = False

    # Who may do what.

    def renew_input(self) -> None:
        StreamEngine.renew_input(self)
        if self._own_fairness().is_overdue(self.hub):
            self._let_others_run()
            self.refuse_input()

    def _own_fairness(self) -> Fairness:
        if self.fairness is _RESTED:
            self.fairness = Fairness()
        return self.fairness

    def _let_others_run(self) -> None:
        """Let the hub go round once, as the reader."""
        self.reader = _greenlets.current()
        self.input.permit = NO_PERMIT
        try:
            yield_to_hub(self.hub)
        finally:
            self.reader = None
            self.renew_permits()

    def renew_output(self) -> None:
        StreamEngine.renew_output(self)
        if self._own_fairness().is_overdue(self.hub):
            yield_to_hub(self.hub)
            self.refuse_output()

    def refuse_while_waiting(self) -> None:
        StreamEngine.refuse_while_waiting(self)
        if self.output_lock.holder is not None:
            raise StreamBusy(f"a greenlet waits in the stream to {self.peer}", stream=self.stream())

    def occupy(self) -> None:
        self._own_output_lock().acquire(self.hub, NEVER)
        StreamEngine.occupy(self)

    def vacate(self) -> None:
        StreamEngine.vacate(self)
        self.output_lock.release()

    # Input.

    def await_input(self, first: bool, begun: int, lacking: int) -> bool:  # noqa: PLR0912  # a method more would be a frame more in each read
        """Wait for input, at most until `read_limit` seconds have brought none; send first what is to be sent."""
        buffer, transport = self.input, self.transport
        if first:
            if buffer.permit != FORK.generation:
                self.refuse_input()
            if self.end is not None:
                return True
            if self.thread != _interpreter.thread_id():
                self.refuse_thread()
            if not transport.emptied:
                self._progress = -1
                if self._own_fairness().is_due(self.hub):
                    self._let_others_run()
                    self._refuse_interrupted()
                return True
        now, left = CLOCK.now(), self.read_limit
        if first or self._progress != transport.received:
            self._progress = transport.received
            self.reading_since = now
        else:
            left -= now - self.reading_since
            if not self._fired or left <= 0:
                self.timed_out = True
                raise self._read_timeout()
        if buffer.store is not None:
            buffer.settle()
        if self.output.end or transport.unsent:
            self.send_before_wait()
        self.begun = begun
        self.lacking = lacking
        self.reader = _greenlets.current()
        buffer.permit = NO_PERMIT
        try:
            self._fired = transport.wait_input(left)
        except StreamError as error:
            if error.stream is None:
                error.stream = self.stream()
            raise
        finally:
            self.reader = None
            buffer.permit = NO_PERMIT if self.closed else self.generation
        self.fairness.state = FRESH
        if self.closed:
            self._refuse_interrupted()
        return True

    def _read_timeout(self) -> ReadTimeout:
        return ReadTimeout(f"nothing arrived from {self.peer} for {in_seconds(self.read_limit)}", stream=self.stream())

    def _refuse_interrupted(self) -> None:
        if self.closed:
            raise StreamClosed(f"the stream to {self.peer} was closed", stream=self.stream())

    def receive_unasked(self) -> int:
        self.refuse_thread()
        self.renew_input()
        return self.receive(None, 0, SOME)

    def look(self) -> bool:
        if self.input.end > self.input.start:
            self.input.calls -= 1
            if self.input.calls > 0:
                return True
            StreamEngine.renew_input(self)
        elif self.end is not None:
            return False
        else:
            self.refuse_thread()
        if self.reader is None and self._own_fairness().is_overdue(self.hub):  # a loop that only asks must not keep others from running
            yield_to_hub(self.hub)
            self.refuse()
            return self.look()
        if self.input.end > self.input.start:
            return True
        if self.reader is not None or self.transport.answers:
            return self.transport.readable() > 0
        return self.receive(None, 0, SOME) > 0

    def readable_now(self) -> bool:
        return StreamEngine.readable_now(self) or self.transport.readable() != WOULD_WAIT

    def polled_descriptor(self) -> int:
        return -1 if type(self.transport) is not SocketTransport or StreamEngine.readable_now(self) else self.transport.fileno()

    def arm_input(self) -> None:
        wakeup = self.transport.input_wakeup()
        wakeup.arm()

    # Output.

    def put(self, data: Any, count: int) -> None:
        output = self.output
        if output.permit != FORK.generation:
            self.refuse_write()
        if self.output_lock.holder is None and count <= BLOCK - (output.end - output.start) and self.failure is None:
            self.accepted = 0
            output.put(data, 0, count)
            self.accepted = count  # at once: a signal handler that raises behind this call leaves the caller nothing else to ask
            if self.unit == 1 and count:
                self.tail = _bytes.byte_of(data, count - 1)
            else:
                self.remember(data, count)
        else:
            self._put_waiting(data, count)

    def _put_waiting(self, data: Any, count: int) -> None:
        accepted = 0
        try:
            self._acquire_output()
            try:
                if self.output.permit != FORK.generation:
                    self.refuse_output()
                self.raise_failure()
                while self.output.end - self.output.start > BLOCK:
                    self._send_or_wait(self.write_limit)
                accepted = count
                self._send_message(data, count)
                self.accepted = count
            finally:
                self.output_lock.release()
        except BaseException as error:
            self.accepted = accepted
            if isinstance(error, WriteTimeout):
                error.accepted = accepted
            if isinstance(error, StreamError):
                self.complete(error)
            raise

    def _send_message(self, data: Any, count: int) -> None:
        """Send what is older, then this message straight from the caller's memory, except for what fits into the buffer."""
        self.rest = data if isinstance(data, memoryview) else memoryview(data)
        self.rest_at = 0
        self.remember(data, count)
        try:
            while self.output.end and count > BLOCK - (self.output.end - self.output.start):
                self._send_or_wait(self.write_limit)
            while self.rest is not None and count - self.rest_at > BLOCK:
                self._send_or_wait(self.write_limit)
            self._adopt_rest()
        except BaseException:
            self._adopt_rest()
            raise

    def _adopt_rest(self) -> None:
        """Copy what is left of the message that is being sent from the caller's memory into the output buffer."""
        rest, self.rest = self.rest, None
        if rest is None or len(rest) == self.rest_at:
            return
        if self.rest_at:
            self.output.put_rest(rest, self.rest_at, len(rest) - self.rest_at)
        else:
            self.output.put(rest, 0, len(rest))

    def _own_output_lock(self) -> FairLock:
        if self.output_lock is _FREE:
            self.output_lock = FairLock()
        return self.output_lock

    def _acquire_output(self) -> None:
        self.refuse_thread()
        acquired = self._own_output_lock().acquire(self.hub, self.write_limit)
        if self.closed or self.generation != FORK.generation:
            if acquired:
                self.output_lock.release()
            self.refuse()
        if not acquired:
            raise self._write_timeout(self.write_limit)

    def _send_or_wait(self, limit: float) -> None:
        """Send some bytes of the output, waiting for room where there is none."""
        self.refuse_thread()
        if self._own_fairness().let_others_run(self.hub):
            self._refuse_if_ended()
        if self.send_now():
            return
        self.fairness.state = FRESH
        held = self.to_send()
        self.writing_since = CLOCK.now()
        left = limit
        deadline = self.writing_since + left
        while True:
            self.writer = _greenlets.current()
            try:
                fired = self.transport.wait_output(left)
            finally:
                self.writer = None
            self._refuse_if_ended()
            if self.send_now() or self.to_send() < held:  # a reader or the hub may have sent in our place
                self.output_lock.progressed()
                return
            left = seconds_until(deadline)
            if not fired or left <= 0:
                raise self._write_timeout(limit)

    def _refuse_if_ended(self) -> None:
        """After a wait: only the greenlet that closes the stream may go on sending once it is closed."""
        if self.output.permit != FORK.generation and self.closer is not _greenlets.current():
            self.refuse()

    def _write_timeout(self, limit: float) -> WriteTimeout:
        return WriteTimeout(f"{self.peer} took nothing for {in_seconds(limit)}", stream=self.stream(), unsent=self.unsent())

    def flush(self) -> None:
        """Wait until the system has all that was accepted."""
        output = self.output
        if self.output_lock.holder is None and self.failure is None:
            if not (output.end or self.transport.unsent):
                return
            if self.thread != _interpreter.thread_id():
                self.refuse_thread()
            output.calls -= FLUSH + output.end // WORTH
            self.send_now()
            if not (output.end or self.transport.unsent):
                return
        self._acquire_output()
        try:
            self.finish()
        except StreamError as error:
            self.complete(error)
            raise
        finally:
            self.output_lock.release()

    def finish(self) -> None:
        """Wait until the system has all that was accepted. The caller holds the output."""
        self.raise_failure()
        while self.output.end or self.transport.unsent:
            self._send_or_wait(self.write_limit)

    def send_before_wait(self) -> None:
        """Send what the system takes now, and the rest from the hub: a forgotten flush is no deadlock. An error is kept for the writers."""
        if self.send_in_background() and self.background is None:
            self.background = BackgroundSender(self, self.transport.output_wakeup())

    def send_in_background(self) -> bool:
        """Send what the system takes now, and keep an error for the next writer. Return whether there is more to send when room comes."""
        if self.sending:  # this is called from within a call that sends: TLS has received there what it had to wait for
            return True
        if self.failure is None and not self.broken and self.generation == FORK.generation:
            try:
                while self.output.end or self.transport.unsent:
                    if not self.send_now():
                        return True
                if self.output_state == WANTED and not self.tell_end_now():
                    return True
            except StreamError as error:
                self.failure = noted(error)
        self._stop_background()
        if self.writer is not None:  # it waits for room, of which the system may never tell: nothing is left to send
            self.transport.output_wakeup().fire()
        return False

    def _stop_background(self) -> None:
        if self.background is not None:
            self.background.stop()
            self.background = None

    def plug(self, transport: Transport) -> Transport:
        self._stop_background()
        return StreamEngine.plug(self, transport)

    # Ending and closing.

    def begin_end(self) -> bool:
        if self.output_state == TOLD:
            return False
        self.refuse_thread()
        if self.output_state == OPEN and self.output.permit != FORK.generation:
            self.refuse_output()
        return self.output_state == OPEN

    def end_the_output(self) -> None:
        """End the output once it is flushed. A call that is ended by an exception is finished by the next one."""
        if self.output_state == TOLD:
            return
        self.output_state = WANTED
        self.renew_permits()
        self._acquire_output()
        try:
            self._tell_end(self.write_limit)
        finally:
            self.output_lock.release()

    def _tell_end(self, limit: float) -> None:
        """Wait until the peer was told that nothing more comes."""
        while not self.tell_end_now():
            if not self.transport.wait_output(limit):
                raise self._write_timeout(limit)
            self._refuse_if_ended()

    def close(self, abort: bool = False) -> None:
        if self.closed:
            if abort and self.closer is not None:
                self.closer = None
                self.transport.close(True)
            return
        if self.generation != FORK.generation:
            self.closed = True
            self.transport.close_in_child()
            return
        if self.thread != _interpreter.thread_id() and not self.is_left():
            self.refuse_thread()
        self.closed = True
        self.input.permit = self.output.permit = NO_PERMIT
        # Where a signal handler interrupts a call that sends, how much was sent is not known.
        abort = abort or self.sending or self.transport.answers
        try:
            self._close(abort)
        except StreamError as error:
            self.complete(error)
            raise
        finally:
            self.closer = None
            self.transport.close(abort or self.leaves_a_part())
            if self.input.store is not None or self.output.view is not None or self.tls is not None:
                hold_of(self.hub).run_there(self.forget)

    def forget(self) -> None:
        """Drop what a closed stream holds. The hub calls it, when no call that a signal handler interrupted to `close` is in progress."""
        self.input.clear()
        self.output.clear()
        self.transport.forget()

    def _close(self, abort: bool) -> None:
        """Send the greenlets that wait here away, and do what comes before the descriptor is closed."""
        if self.background is not None:
            self._stop_background()
        if abort:
            self.rest = None  # it will not be sent: a copy of many megabytes would only keep those who wait from waking
        elif self.rest is not None:
            self._adopt_rest()
        current = _greenlets.current()
        waits_itself = current is self.reader or current is self.writer  # a signal handler interrupts its wait
        is_awaited = self.reader is not None or self.output_lock.holder is not None
        crowded = is_awaited and not waits_itself
        if is_awaited or self.listeners is not None:
            self.output_lock.cancel_waiters()
            self.transport.wake()
            self.tell_listeners()
        if not abort:
            self.closer = current
            if current is not self.hub and self.thread == _interpreter.thread_id():
                self._close_orderly(crowded)
            else:
                self._close_at_once()

    def _close_orderly(self, crowded: bool) -> None:
        if crowded:
            let_ready_run(self.hub)  # those who were woken leave before we wait in their place
        limit = self.write_limit if self.write_limit != NEVER else self.linger_limit
        if self.failure is not None:
            self.raise_failure()
        if self.closer is None and not self.to_send():
            return  # one of them has aborted the stream, and nothing is lost by that
        if self.is_writable and not self.broken:
            while self.output.end or self.transport.unsent:
                self._send_or_wait(limit)
            if self.transport.ends_by_close():
                self.output_state = TOLD  # by the close that follows
                return
            try:
                self._tell_end(limit)
            except StreamReset:
                self.broken = True  # all was sent: a peer that is gone takes nothing from us
        if self.transport.unread() or self.transport.not_yet_sent():
            linger(self.transport, self.linger_limit)

    def _close_at_once(self) -> None:
        """Send what needs no waiting, and the end behind it: where nothing can wait, as in the hub."""
        self.send_before_closing()
        if self.is_writable and not (self.broken or self.to_send()):
            with contextlib.suppress(StreamError):
                self.tell_end_now()

    def send_last(self) -> None:
        FORK.look()
        if self.is_here() and not self.closed and self.output_lock.holder is None:
            self.send_before_wait()

    def send_before_closing(self) -> None:
        self._stop_background()
        StreamEngine.send_before_closing(self)


send_at_exit(BlockingEngine, lambda engine: engine.send_last())
