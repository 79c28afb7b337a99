"""TLS over any transport: plain text above, ciphertext below, and nothing else about a stream changes.

Rules for the next editor: nothing here waits but `wait_input` and `wait_output`, which leave it to the transport below. OpenSSL is given
whole records only, so it never holds a part of one, asks for more in vain, or makes its memories larger than a record. A record that is
decrypted is either taken whole by the reader, or OpenSSL keeps the rest and `_pending` counts it. What OpenSSL wrote is at once taken from
it, record by record, and stays in `_records` until the transport below has taken it. How the input ended is noted in `_end` and told as
often as it is asked.
"""

from __future__ import annotations

import errno
import os
import ssl
from typing import Any

import geventstreams._native.memory as _bytes
from geventstreams._constants import ENDED, WOULD_WAIT
from geventstreams._core.buffers import InputBuffer
from geventstreams._core.tls_context import Session, refusal_of
from geventstreams._core.tls_records import RECORD, RecordBuffer, Records
from geventstreams._core.transport import Transport
from geventstreams._core.wakeup import Wakeup
from geventstreams.errors import BROKEN, HandshakeEnded, StreamError, StreamTruncated, TLSError, from_system, noted, renewed

BATCH = 16 * RECORD
"""Octets of plain text that are encrypted for one send. A peer that does not read makes us hold them, but never more than a caller holds
who waits with a write of that size."""

APPLICATION_DATA = 23
SHORTEST = 23
"""A type of record, and the length of one under TLS 1.3 that holds a single octet."""

LOOKS = 16
"""Receipts without plain text after which a read lets others run: a peer can send what is not for us without end."""

DONE = 0
NEEDS_INPUT = 1
NEEDS_ROOM = 2
"""What a handshake waits for."""

ORDERLY: tuple[Any, ...] = ("close_notify",)
"""The end of an input whose peer said goodbye, or whose truncation is allowed; other ends are errors that were `noted`."""


class TLSTransport(Transport):
    """One side of TLS over `inner`. It passes nothing before `begin` was called and `shake_hands` said DONE."""

    def __init__(self, inner: Transport, allow_truncation: bool = False) -> None:
        Transport.__init__(self)
        self.ready = False
        self.received = inner.received
        self.received_close_notify = False
        self.output_ended = False
        self.object: Any = None
        self._inner = inner
        self._allow_truncation = allow_truncation
        self._incoming: Any = None
        self._outgoing: Any = None
        self._cipher = RecordBuffer()
        self._ahead = InputBuffer()
        self._pending = 0
        self._taken = 0
        self._first = bytearray(1)
        self._fed = False
        self._holds_one = False
        self._asks_again = False
        self._records = Records()
        self._written_unseen = 0
        self._needs_input = False
        self._shaken = False
        self._tells_types = False
        self._closed = False
        self._sent_close_notify = False
        self._end: tuple[Any, ...] | None = None
        self._broken: tuple[Any, ...] | None = None

    @property
    def peer(self) -> str:  # type: ignore[override]  # read only here
        return self._inner.peer

    # The handshake.

    def feed(self, ciphertext: bytes) -> None:
        """Takes octets that were received by another way for ciphertext."""
        self._cipher.append(ciphertext)

    def begin(self, session: Session) -> None:
        """Makes this the side that the session is made for."""
        self.object = session.object
        self._incoming = session.incoming
        self._outgoing = session.outgoing

    def shake_hands(self) -> int:
        """Gets on with the handshake: DONE, NEEDS_INPUT, or NEEDS_ROOM. An alert of ours is on its way before TLSError is raised."""
        while True:
            if not self._shaken:
                self._step()
            self._answer()
            if self.unsent and self._broken is None:
                return NEEDS_ROOM
            if self._shaken:
                self.ready = True
                self._tells_types = self.object.version() != "TLSv1.3"
                return DONE
            if not self._feed_record():
                if self._fetch() == WOULD_WAIT:
                    if self._broken is not None:
                        raise from_system(OSError(*self._broken), "writing to", self.peer, None)
                    return NEEDS_INPUT
                if self._end is not None:
                    raise self._cut_short()

    def _step(self) -> None:
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
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
        if self._ahead.end:
            return self._hand_out(space, start, counts)
        count = self._receive(space, start, counts)
        if count == ENDED and self._end is not ORDERLY:
            raise renewed(self._end, None)  # type: ignore[arg-type]  # ended: never None
        return count

    def _receive(self, space: memoryview, start: int, counts: list[int]) -> int:
        """The same, but for errors that ended the input: they are ENDED."""
        looks = LOOKS
        while True:
            count = self._decrypt(space, start, counts)
            if count:
                self.emptied = self._inner.emptied and not self._pending and not self._cipher.record()
                if self.emptied:
                    self._cipher.settle()
                return count
            if self._end is not None:
                self.emptied = False
                return ENDED
            if not looks or self._fetch() == WOULD_WAIT:
                self.emptied = self._inner.emptied
                return WOULD_WAIT
            looks -= 1

    def _hand_out(self, space: memoryview, start: int, counts: list[int]) -> int:
        """What was decrypted ahead goes first."""
        count = self._ahead.take_into(space, start, len(space))
        counts.append(count)
        return count

    def _decrypt(self, space: memoryview, start: int, counts: list[int]) -> int:
        """Plain text of the records at hand, as much as there is place for; its count, 0 where they held none, is noted as one."""
        self._taken = 0
        try:
            while self._end is None and start + self._taken < len(space) and (self._pending or self._asks_again or self._feed_record()):
                self._decrypt_record(space, start + self._taken)
        finally:
            if self._taken:
                counts.append(self._taken)
        if self._outgoing.pending:
            self._answer()
        return self._taken

    def _decrypt_record(self, space: memoryview, at: int) -> None:
        """Adds to `_taken` plain text of the record that OpenSSL has, as much as there is place for.

        The first octet of a record is asked for alone: then OpenSSL knows how many there are, and we know what became of them if a
        signal handler raises in the middle.
        """
        fresh = not self._pending
        taken = self._taken
        before = self._first[0]
        place: memoryview | None = None
        self._asks_again = False
        try:
            if fresh:
                if not self.object.read(1, self._first):
                    self._on_close_notify()
                    return
                self._pending = self.object.pending()
                _bytes.put_octet(space, at, self._first[0])
                self._taken += 1
            if self._pending and at + fresh < len(space):
                place = _bytes.window(space, at + fresh, len(space))
                count = self.object.read(self._pending, place)
                self._pending -= count
                self._taken += count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._on_close_notify()
        except ssl.SSLError as error:
            self._failed(error)
        except BaseException:
            if place is not None:
                place.release()  # a traceback may keep it, but not the memory
            self._taken = taken + self._salvaged(fresh, self._first[0] != before)
            if fresh and self._taken > taken:
                _bytes.put_octet(space, at, self._first[0])
            raise
        self._fed = False

    def _salvaged(self, fresh: bool, touched: bool) -> int:
        """A signal handler raised within `_decrypt_record`: how many octets OpenSSL had taken out of the record by then.

        A record without octets may have been a goodbye or an error, of which the handler's took the place: OpenSSL is asked again.
        """
        left = self._left()
        if not fresh or self._pending:
            count = self._pending - left + fresh
        elif self._incoming.pending:
            count = 0
        else:
            count = 1 if left or touched or self._holds_one else 0
            self._asks_again = not count
            self._holds_one = False
        self._pending = left
        return count

    def _left(self) -> int:
        """What OpenSSL holds of its record. Further signals may strike here, too; the first one's error is on its way already."""
        while self.object is not None:
            try:
                return self.object.pending()  # type: ignore[no-any-return]  # typed as Any, to be None before `begin`
            except BaseException:  # noqa: BLE001  # `pending` itself never fails
                continue
        return 0

    def _feed_record(self) -> bool:
        """Gives OpenSSL the next record, if it is there."""
        # It takes what it is given whole, unless a signal handler raised meanwhile: so it is asked only then.
        if self._fed and self._incoming.pending:
            return True
        cipher = self._cipher
        length = cipher.record()
        if not length:
            return False
        # A type of its own has application data only before TLS 1.3; there a single octet makes the shortest record of all.
        self._holds_one = cipher.kind == APPLICATION_DATA and (length == SHORTEST or self._tells_types)
        self._incoming.write(_bytes.window(cipher.view, cipher.start, cipher.start + length))  # type: ignore[arg-type]  # not empty
        self._fed = True
        cipher.skip(length)
        return True

    def _fetch(self) -> int:
        """Receives ciphertext: a count, ENDED (noted), or WOULD_WAIT."""
        cipher = self._cipher
        try:
            count = self._inner.recv_into(cipher.space(), cipher.end, cipher.counts)
        except OSError as error:
            if error.errno not in BROKEN:
                raise
            self._end = noted(from_system(error, "reading from", self.peer, None))
            return ENDED
        if count > 0:
            cipher.absorb()
            self.received = self._inner.received
        elif count == ENDED:
            self._end_truncated()
        else:
            cipher.settle()
        return count

    def _end_truncated(self) -> None:
        if self._broken is not None and self._broken[0] == errno.ECONNRESET:
            self._end = noted(from_system(OSError(*self._broken), "writing to", self.peer, None))
        elif self._allow_truncation:
            self._end = ORDERLY
        else:
            self._end = noted(StreamTruncated(f"{self.peer} ended the connection without TLS's close_notify"))

    def _on_close_notify(self) -> None:
        self._end = ORDERLY
        self.received_close_notify = True

    def _failed(self, error: ssl.SSLError) -> None:
        """Notes what ended TLS, and sends the alert that OpenSSL has written about it."""
        if self._end is None:
            self._end = noted(refusal_of(error, self.peer))
        self._answer()

    def readable(self) -> int:
        if len(self._ahead):
            return len(self._ahead)
        if self._end is not None:
            return ENDED
        if not self.ready:
            return WOULD_WAIT
        received = self.received
        try:
            count = self._look_ahead()
        except OSError:
            return ENDED
        if self.received != received or count != WOULD_WAIT:
            # What was taken from the system wakes its watchers no more.
            self._inner.input_wakeup().fire()
        return count

    def _look_ahead(self) -> int:
        """Decrypts one record more than was read, to be handed out first: a count, ENDED, or WOULD_WAIT."""
        ahead = self._ahead
        count = self._receive(ahead.space(), ahead.end, ahead.counts)
        ahead.settle()
        if count > 0:
            self.emptied = False
        return count

    def wait_input(self, limit: float) -> bool:
        self.emptied = False
        if self._ahead.end or self._pending or self._asks_again or self._end is not None:
            return True
        self._cipher.settle()
        return self._inner.wait_input(limit)

    # Output.

    def send(self, octets: memoryview, start: int, stop: int) -> int:
        if self.unsent and self.flush() == WOULD_WAIT:
            return WOULD_WAIT
        if self._written_unseen:
            count, self._written_unseen = self._written_unseen, 0
        else:
            if not self.ready:
                return self._not_ready()
            if self._has_failed():
                raise renewed(self._end, None)  # type: ignore[arg-type]  # failed: never None
            self._needs_input = False
            count = self._encrypt(octets, start, stop)
        if count > 0:
            try:
                self._push()
            except OSError as error:
                raise self._explained(error) from None
        return count

    def _encrypt(self, octets: memoryview, start: int, stop: int) -> int:
        """Makes records, as many as one send is worth: a count of plain text, or WOULD_WAIT where TLS has to receive something first."""
        at = start
        last = start + BATCH if stop - start > BATCH else stop
        records, outgoing = self._records, self._outgoing
        if outgoing.pending:
            records.append(outgoing.read())
        while at < last:
            size = RECORD if last - at > RECORD else last - at
            piece = octets[at : at + size]
            try:
                at += self.object.write(piece)
                records.append(outgoing.read())
            except ssl.SSLWantReadError:
                if self._look_ahead() == WOULD_WAIT:
                    self._needs_input = True
                    break
            except ssl.SSLError as error:
                self._failed(error)
                raise refusal_of(error, self.peer) from None
            except BaseException:
                # A signal handler raised. A record is made whole or not at all; the next call will say what was made. A traceback may
                # keep the piece, but not the memory.
                piece.release()
                self._written_unseen = at - start + (size if outgoing.pending else 0)
                raise
        return at - start or WOULD_WAIT

    def _push(self) -> None:
        """Gives the transport below what it takes of what OpenSSL wrote; the rest is held."""
        if self._broken is not None:
            raise OSError(*self._broken)
        records = self._records
        if self._outgoing.pending:
            records.append(self._outgoing.read())
        while records.size:
            count = self._inner.send_pieces(records.pieces, records.start)
            if count == WOULD_WAIT:
                break
            records.skip(count)
        if not records.size and self._inner.unsent:
            self._inner.flush()
        self.unsent = records.size + self._inner.unsent

    def flush(self) -> int:
        if self._outgoing is None:
            return self._not_ready() if self._closed else 0
        try:
            self._push()
        except OSError as error:
            raise self._explained(error) from None
        return WOULD_WAIT if self.unsent else 0

    def _explained(self, error: OSError) -> OSError:
        """What a failed send is reported as: where the peer's alert has arrived, that says why."""
        if error.errno not in BROKEN:
            return error
        self._note_broken(error)
        while self._end is None and self._look_ahead() > 0:
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
        """Sends what TLS itself has to say; where that fails, the next send will tell."""
        if self.output_ended:
            self._outgoing.read()
            return
        try:
            self._push()
        except OSError as error:
            if error.errno not in BROKEN:
                raise
            self._note_broken(error)

    def wait_output(self, limit: float) -> bool:
        if self._needs_input and not self.unsent:
            return self.wait_input(limit)
        return self._inner.wait_output(limit)

    # Ending.

    def send_close_notify(self) -> int:
        """Sends close_notify, once: 0 when it is with the transport below, or WOULD_WAIT. Reading goes on."""
        if self.ready and not self._sent_close_notify:
            # OpenSSL looks for the peer's goodbye in the same call, and plain text in its way would be an error.
            while self._end is None and (self._pending or self._incoming.pending):
                self._look_ahead()
            self._sent_close_notify = True
            try:
                self.object.unwrap()
            except ssl.SSLError:
                pass  # the peer has not said it yet, or TLS has failed and there is nothing to say
        return self.flush()

    def end_output(self) -> int:
        if self.send_close_notify() == WOULD_WAIT:
            return WOULD_WAIT
        if not self.output_ended:
            if self._inner.end_output() == WOULD_WAIT:
                return WOULD_WAIT
            self.output_ended = True
        return 0

    def unwrap(self) -> tuple[Transport, bytes]:
        """Ends TLS after both goodbyes: the transport below, and what it received behind the peer's."""
        self.ready = False
        return self._inner, self._cipher.take_all()

    def close(self, abort: bool = False) -> None:
        self._closed = True
        self.ready = False
        self._cipher.take_all()
        self._records.clear()
        self._ahead.clear()
        self.object = self._incoming = self._outgoing = None
        self._inner.close(abort)

    # What the transport below knows better.

    def input_wakeup(self) -> Wakeup:
        return self._inner.input_wakeup()

    def output_wakeup(self) -> Wakeup:
        return self._inner.output_wakeup()

    def wake(self) -> None:
        self._inner.wake()

    def end_input(self) -> None:
        self._inner.end_input()

    def discard(self) -> int:
        return self._inner.discard()

    def not_yet_sent(self) -> int:
        return self._inner.not_yet_sent()

    def unread(self) -> int:
        return self._inner.unread()

    def fileno(self) -> int:
        return self._inner.fileno()

    def addresses(self) -> tuple[Any, Any]:
        return self._inner.addresses()

    def socket(self) -> Any:
        """The plain socket below."""
        return self._inner.socket()  # type: ignore[attr-defined]  # of those transports that have one

    def reset_at_end(self) -> None:
        self._inner.reset_at_end()

    def close_in_child(self) -> None:
        self._inner.close_in_child()
