"""TLS over any transport: plain text above, ciphertext below, and nothing else about a stream changes."""

# Invariants:
# * Only `wait_input` and `wait_output` wait, and they leave it to the transport below.
# * OpenSSL is given whole records only, so it never holds a part of one, asks for more when all is read, or makes its memories larger than
#   a record. `_decrypter` does that, and knows what was taken, also after an exception.
# * What OpenSSL has written is taken from it at once, record by record, and stays in `_records` until the transport below has taken it.
#   It writes in a handshake, a write and `unwrap`, with an error, and in a read that gives no plain text, which may be an answer to a
#   record of TLS's own. Its memory is looked at behind these calls only (`may_grow`), except on a server that may ask for a certificate.
# * How the input ended is noted in `_end`, and reported as often as it is asked for.

from __future__ import annotations

import errno
import os
from _ssl import SSLError, SSLWantReadError
from contextlib import suppress
from typing import Any

import geventstreams._native.memory as _bytes
from geventstreams._constants import DONE, ENDED, NEEDS_INPUT, NEEDS_ROOM, WOULD_WAIT
from geventstreams._core.buffers import InputBuffer
from geventstreams._core.hub_hold import EventHandler
from geventstreams._core.tls_context import Session, refusal_of
from geventstreams._core.tls_records import RECORD, Decrypter, RecordBuffer, Records
from geventstreams._core.transport_base import LayeredTransport, Transport
from geventstreams._core.wakeup import Wakeup
from geventstreams.errors import (
    BROKEN,
    HandshakeEnded,
    StreamBusy,
    StreamClosed,
    StreamError,
    StreamTruncated,
    TLSError,
    from_system,
    noted,
    renewed,
)

BATCH = 16 * RECORD
LARGEST_BATCH = 64 * RECORD
"""Bytes of plain text that are encrypted for one send: at first, and as long as all of each is taken at once. So much is held at most."""

MOST_AHEAD = 16777216
"""Bytes of plain text, at least, that a write takes from a peer whose handshake it has to wait for: more than systems hold on the way."""

LOOKS = 16
"""Receive calls without plain text after which a read lets others run: a peer can send records without data for ever."""

ORDERLY: tuple[Any, ...] = ("close_notify",)
"""The end of an input by close_notify, or by a truncation that is allowed; other ends are errors that were `noted`."""


class TLSTransport(LayeredTransport):
    """One side of TLS over `inner`. No data passes before `begin` was called and `shake_hands` returned DONE."""

    def __init__(self, inner: Transport, allow_truncation: bool = False) -> None:
        LayeredTransport.__init__(self)
        self.ready = False
        self.received = inner.received
        self.received_close_notify = False
        self.output_ended = False
        self.object: Any = None
        self.below = inner
        self._allow_truncation = allow_truncation
        self._write: Any = None
        """The method of the SSL object."""
        self._cipher = RecordBuffer()
        self._decrypter = Decrypter(self._cipher)
        self._ahead = InputBuffer()
        self._records = Records()
        self._batch = BATCH
        self._written_unseen = 0
        """Bytes of plain text in records that `send` has made and not returned yet: the next call makes none anew, and returns them."""
        self._needs_input = False
        self._shaken = False
        self._closed = False
        self._sent_close_notify = False
        self._end: tuple[Any, ...] | None = None
        self._broken: tuple[Any, ...] | None = None

    # The handshake.

    def feed(self, ciphertext: bytes) -> None:
        """Take bytes that were received before TLS for ciphertext."""
        self._cipher.feed(ciphertext)

    def begin(self, session: Session) -> None:
        """Become the side that the session is made for."""
        self.object = session.object
        self._write = session.write
        # A server may ask for a certificate at any time, by `stream.ssl`: what OpenSSL does next writes the request, a read as well.
        self._records.begin(session.outgoing, session.side == "server" and bool(session.object.context.verify_mode))
        self._decrypter.begin(session)

    def shake_hands(self) -> int:
        """Continue the handshake. Return DONE, NEEDS_INPUT or NEEDS_ROOM. Our alert is on its way before TLSError is raised."""
        while True:
            if not self._shaken:
                self._step()
            if self._closed:  # by a signal handler, within a call of OpenSSL
                raise StreamClosed(f"the stream to {self.peer} was closed")
            self._answer()
            if self.unsent and self._broken is None:
                return NEEDS_ROOM
            if self._shaken:
                self.ready = True
                self._decrypter.know(self.object.version(), "" if self.object.compression() else self.object.cipher()[0])
                return DONE
            if not self._decrypter.feed_record() and self._fetch() == WOULD_WAIT:
                if self._broken is not None:
                    raise from_system(OSError(*self._broken), "writing to", self.peer, None)
                return NEEDS_INPUT
            if self._end is not None:
                raise self._cut_short()

    def _fetch(self) -> int:
        """Receive ciphertext for the handshake. Return the number of bytes, ENDED or WOULD_WAIT."""
        cipher = self._cipher
        try:
            return self._on_receive(self.below.recv_into(cipher.space(), cipher.end, cipher.counts))
        except OSError as error:
            self._on_failed_receive(error)
            return ENDED

    def _step(self) -> None:
        self._records.may_grow = True
        try:
            self.object.do_handshake()
        except SSLWantReadError:
            return
        except SSLError as error:
            self._answer()
            raise refusal_of(error, self.peer) from None
        self._shaken = True

    def _cut_short(self) -> StreamError:
        assert self._end is not None  # the caller looked
        if self._end is ORDERLY or self._end[0] is StreamTruncated:
            return HandshakeEnded(f"{self.peer} ended the connection within the TLS handshake")
        return renewed(self._end, None)

    def refusal(self, stream: Any) -> StreamError:
        return TLSError(f"TLS with {self.peer} is not ready: handshake() comes first", stream=stream)

    def _not_ready(self) -> int:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return WOULD_WAIT

    # Input.

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        if not self.ready:
            return self._not_ready()
        if self.answers:  # how much OpenSSL has moved is known when that call has returned
            raise StreamBusy(f"a signal handler has interrupted a call that reads from {self.peer}")
        if self._ahead.end:  # decrypted ahead
            count = self._ahead.take_into(space, start, len(space))
            counts.append(count)
            return count
        self.answers = True
        try:
            count = self._receive(space, start, counts)
        finally:
            self.answers = False
        if count == ENDED:
            if self._needs_input:
                self._on_other_record()  # nothing else wakes the writer
            if self._end is not ORDERLY:
                raise renewed(self._end, None)  # type: ignore[arg-type]  # ended: never None
        return count

    def _receive(self, space: memoryview, start: int, counts: list[int]) -> int:
        """Decrypt into `space[start:]` what is at hand, or else what the transport below has.

        Return the number of bytes, WOULD_WAIT, or ENDED, also where an error ended the input.
        """
        decrypter = self._decrypter
        cipher = self._cipher
        room = _bytes.size(space)
        looks = LOOKS
        decrypter.taken = 0
        try:
            while self._end is None and not self._closed and start + decrypter.taken < room:
                if decrypter.pending or decrypter.asks_again or decrypter.feed_record():
                    if not decrypter.read_record(space, start + decrypter.taken):
                        self._on_end_of_tls()
                elif (
                    decrypter.taken
                    or not looks
                    or self._on_receive(self.below.recv_into(cipher.space(), cipher.end, cipher.counts)) == WOULD_WAIT
                ):
                    break
                else:
                    looks -= 1
        except OSError as error:
            self._on_failed_receive(error)
        finally:
            if decrypter.taken and not self._closed:
                counts.append(decrypter.taken)
        if self._closed:  # by a signal handler, within a call of OpenSSL
            return self._not_ready()
        if decrypter.read_other or self._records.may_grow:
            self._on_other_record()
        if decrypter.taken:
            self.emptied = self.below.emptied and not decrypter.pending and not cipher.record()
            if self.emptied:
                cipher.settle()
            return decrypter.taken
        self.emptied = self.below.emptied and self._end is None
        return WOULD_WAIT if self._end is None else ENDED

    def _on_other_record(self) -> None:
        """Send what OpenSSL has written on its own account, in answer to a record without plain text for instance."""
        self._decrypter.read_other = False
        self._records.may_grow = True
        if self._records.has_more():
            self._answer()
        if self._needs_input:  # this may have been what a writer waits for
            self._needs_input = False
            self.below.input_wakeup().fire()

    def _on_receive(self, count: int) -> int:
        """Note what the transport below has received: `count` bytes of ciphertext, ENDED or WOULD_WAIT. Return that."""
        if count > 0:
            self._cipher.absorb()
            self.received = self.below.received
        elif count == ENDED:
            self._on_truncation()
        else:
            self._cipher.settle()
        return count

    def _on_failed_receive(self, error: OSError) -> None:
        """Note an error that ended the input. Raise any other."""
        if error.errno not in BROKEN:
            raise error
        self._end = noted(from_system(error, "reading from", self.peer, None))

    def _on_truncation(self) -> None:
        if self._broken is not None and self._broken[0] == errno.ECONNRESET:
            self._end = noted(from_system(OSError(*self._broken), "writing to", self.peer, None))
        elif self._allow_truncation:
            self._end = ORDERLY
        else:
            self._end = noted(StreamTruncated(f"{self.peer} ended the connection without TLS's close_notify"))

    def _on_end_of_tls(self) -> None:
        """Note how TLS ended, by a close_notify or an error."""
        error, self._decrypter.failure = self._decrypter.failure, None
        if error is None:
            self._end = ORDERLY
            self.received_close_notify = True
            self._records.may_grow = True
        else:
            self._on_failure(error)

    def _on_failure(self, error: SSLError) -> None:
        """Note the error that ended TLS, and send the alert that OpenSSL has written about it."""
        if self._end is None:
            self._end = noted(refusal_of(error, self.peer))
        self._records.may_grow = True
        self._answer()

    def readable(self) -> int:
        if len(self._ahead):
            return len(self._ahead)
        if self._end is not None:
            return ENDED
        if not self.ready or self.answers:
            return WOULD_WAIT
        return self._look()

    def _look(self) -> int:
        """Look ahead, and wake those who wait for what was received. Return as `_look_ahead`, ENDED also where an error ended the input."""
        received = self.received
        self.answers = True
        try:
            count = self._look_ahead()
        except OSError:
            return ENDED
        finally:
            self.answers = False
        if self.received != received or count != WOULD_WAIT:
            # What was taken from the system wakes its watchers no longer.
            self.below.input_wakeup().fire()
        return count

    def holds_part(self) -> bool:
        """Return whether a part of a record has arrived."""
        return len(self._cipher) > 0

    def _look_ahead(self) -> int:
        """Decrypt more than was read, to be handed out first. Return the number of bytes, ENDED or WOULD_WAIT."""
        ahead = self._ahead
        count = self._receive(ahead.space(), ahead.end, ahead.counts)
        ahead.settle()
        if count > 0:
            self.emptied = False
        return count

    def wait_input(self, timeout: float) -> bool:
        return self._holds_input() or self.below.wait_input(timeout)

    def watch_input(self, handler: EventHandler, timeout: float) -> bool:
        return not self._holds_input() and self.below.watch_input(handler, timeout)

    def _holds_input(self) -> bool:
        """Return whether `recv_into` need not wait for the transport below; get ready for that wait otherwise."""
        self.emptied = False
        if self._ahead.end or self._decrypter.pending or self._decrypter.asks_again or self._end is not None or self._cipher.record():
            return True
        self._cipher.settle()
        return False

    # Output.

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        if self.unsent and self.flush() == WOULD_WAIT:
            return WOULD_WAIT
        if not self._written_unseen:
            if not self.ready:
                return self._not_ready()
            if self._has_failed():
                raise renewed(self._end, None)  # type: ignore[arg-type]  # failed: never None
            self._needs_input = False
            self._encrypt(data, start, stop)
            if self._closed:  # by a signal handler, within a call of OpenSSL
                return self._not_ready()
        count = self._written_unseen
        if not count:
            return WOULD_WAIT
        held = self.flush() == WOULD_WAIT
        self._written_unseen = 0
        if held:
            self._batch = BATCH
        elif count == self._batch < LARGEST_BATCH:
            self._batch = 2 * count
        return count

    def _encrypt(self, data: bytes | memoryview, start: int, stop: int) -> None:
        """Make records, as many as one send is worth: none where TLS has to receive first. `_written_unseen` is what they carry."""
        at = start
        last = start + self._batch if stop - start > self._batch else stop
        has_looked = False
        records, write = self._records, self._write
        if self._closed:  # by a signal handler, whose `forget` may have let go of them
            return
        if records.may_grow:
            records.take_rest()
        while at < last and not self._closed:
            size = RECORD if last - at > RECORD else last - at
            piece = data if type(data) is bytes and size == len(data) else _bytes.part(data, at, at + size)
            records.may_grow = True
            try:
                size = write(piece)
                if self.object is None:  # likewise
                    return
                self._written_unseen = at - start + size
                records.take(size)
                at += size
            except SSLError as error:
                if self.object is None:  # likewise
                    return
                if not isinstance(error, SSLWantReadError) and not self._decrypter.pending:
                    self._on_failure(error)
                    raise refusal_of(error, self.peer) from None
                # Before TLS 1.3 a handshake may have come again. To write continues it, but fails at text that OpenSSL holds before it.
                if has_looked or self.answers:
                    self._needs_input = True
                    break
                self._look_for_handshake()
                has_looked = True
            except BaseException:
                # A signal handler raised. A record is made whole or not at all. A traceback may keep the piece, but not the memory.
                if isinstance(piece, memoryview):
                    piece.release()
                if records.has_more():
                    self._written_unseen = at - start + size
                    records.note(size)
                raise

    def _look_for_handshake(self) -> None:
        """Receive what a handshake that is in progress may need. What is decrypted on the way is kept for the reader."""
        while not self._closed:
            if len(self._ahead) > MOST_AHEAD:
                raise TLSError(f"{self.peer} sends ever more within a TLS handshake, for which a write has to wait") from None
            self._look()
            if self._end is not None:
                raise self._cut_short() from None
            if not self._decrypter.pending and not self._cipher.record():
                return

    def _push(self) -> None:
        """Send what the transport below takes of what OpenSSL wrote; the rest is held."""
        if self._broken is not None:
            raise OSError(*self._broken)
        records = self._records
        if records.may_grow:
            records.take_rest()
        try:
            while records.pieces:
                count = self.below.send_pieces(records.pieces, records.start)
                if count == WOULD_WAIT:
                    break
                records.skip(count)
            if not records.pieces and self.below.unsent:
                self.below.flush()
        finally:
            self.unsent = records.left() + self.below.unsent

    def unsent_data(self) -> int:
        # What was written unseen is in the stream's own buffer as well.
        return sum(self._records.contents) - self._written_unseen + self.below.unsent_data()

    def flush(self) -> int:
        if self.object is None:
            return self._not_ready() if self._closed else 0
        try:
            self._push()
        except OSError as error:
            raise self._explained(error) from None
        return WOULD_WAIT if self.unsent else 0

    def _explained(self, error: OSError) -> OSError:
        """Return the error that a failed send is reported as: if the peer's alert has arrived, it tells why.

        Where a signal handler sends within a receive call, that call finds the alert.
        """
        if error.errno not in BROKEN:
            return error
        self._note_broken(error)
        while self._end is None and not self.answers and self._look() > 0:
            pass
        if self._has_failed():
            return renewed(self._end, None)  # type: ignore[arg-type]  # failed: never None
        return error

    def _has_failed(self) -> bool:
        return self._end is not None and self._end is not ORDERLY and issubclass(self._end[0], TLSError)

    def _note_broken(self, error: OSError) -> None:
        if self._broken is None:
            self._broken = (error.errno, error.strerror)

    def _answer(self) -> None:
        """Send what TLS itself has to send. If that fails, the next send raises the error."""
        if self.output_ended:
            self._records.drop_rest()
            return
        try:
            self._push()
        except OSError as error:
            if error.errno not in BROKEN:
                raise
            self._note_broken(error)

    def output_wakeup(self) -> Wakeup:
        return self.below.input_wakeup() if self._needs_input and not self.unsent else self.below.output_wakeup()

    def wait_output(self, timeout: float) -> bool:
        if not self._needs_input or self.unsent:
            return self.below.wait_output(timeout)
        return self.below.wait_input(timeout)  # what was decrypted ahead is the reader's, and does not count

    # Ending.

    def send_close_notify(self) -> int:
        """Send close_notify, once. Return 0 once the transport below has it, else WOULD_WAIT. Reading goes on."""
        if self.ready and not self._sent_close_notify:
            # OpenSSL looks for the peer's close_notify in the same call, and plain text in its way would be an error. A receive call that a
            # signal handler interrupts to close the connection has that text, or leaves it.
            while self._end is None and not self.answers and self._decrypter.holds_record():
                self._look_ahead()
            self._sent_close_notify = True
            self._records.may_grow = True
            with suppress(SSLError):  # the peer's has not arrived, or TLS has failed and none is sent
                self.object.unwrap()
        return self.flush()

    def end_output(self) -> int:
        if self.send_close_notify() == WOULD_WAIT:
            return WOULD_WAIT
        if not self.output_ended:
            if self.below.end_output() == WOULD_WAIT:
                return WOULD_WAIT
            self.output_ended = True
        return 0

    def unwrap(self) -> tuple[Transport, bytes]:
        """End TLS after both close_notify. Return the transport below, and what it received behind the peer's."""
        self.ready = False
        self._cipher.absorb()
        return self.below, self._cipher.take(len(self._cipher))

    def close(self, abort: bool = False) -> None:
        self._closed = True
        self.ready = False
        self.below.close(abort)

    def forget(self) -> None:
        self._decrypter.end()
        self._records.clear()
        self._ahead.clear()
        self.object = self._write = None

    def socket(self) -> Any:
        """Return the plain socket below."""
        return self.below.socket()  # type: ignore[attr-defined]  # of those transports that have one
