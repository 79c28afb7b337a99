"""TLS records on their way between OpenSSL and a transport: those that arrived, the plain text in them, and those that are to be sent."""

# Invariants:
# * Nothing here waits, or knows a socket.
# * What is to be sent stays in the pieces that OpenSSL made: one system call sends many of them, and none is copied.
# * After any exception it is known how much plain text was taken, as follows.
#
# Python runs signal handlers inside `SSLObject.read`, after OpenSSL has moved plain text to the caller's memory. If a handler raises, the
# number of bytes is lost. `SSLObject.pending()` tells what OpenSSL still holds of a record, so the number is the difference, if one knows
# what the record held. That its length does not tell, because of padding, and because a record may hold no data: an alert, a ticket. So:
#
# * OpenSSL is given one whole record at a time, and the next one only when all of it was read: `pending` speaks of one record.
# * The first byte of a record is read alone. That decrypts it, and `pending` tells the rest, which the second call reads: if that one is
#   interrupted, the difference is what it moved.
# * If the first of the two calls is interrupted, the byte was moved where OpenSSL holds more of the record; it was not where OpenSSL has
#   not taken the record yet (`incoming` is not empty). Else it was a record of one byte or of none: of one where the memory for it has
#   changed, or where only such a record has that type and length (`_holds_one`). What is left are records without data (and a padded one
#   of one byte that is RARE). One of these may have been a close_notify or an error, in whose place the handler's exception was raised:
#   OpenSSL is asked again (`asks_again`).
# * A short record is read by one call, which costs a tenth less of all, where its length tells that of the plain text but for padding.
#   Before TLS 1.3 the ciphers in question (`overhead_of`) have none. If a handler raises, the memory tells what was moved of a padded
#   record, or of a forged one: it holds a PATTERN beforehand, of which no text has CERTAIN bytes by chance. The first padded record of a
#   connection is the last one that is read in this way. If a handler interrupts just this one, up to seven bytes of padding are taken for
#   text, and a last byte like the pattern's (one of 256) is not.

from __future__ import annotations

import os
from _ssl import SSLError, SSLWantReadError, SSLZeroReturnError
from typing import Any

import geventstreams._native.memory as _bytes
from geventstreams._core.buffers import BlockPool, InputBuffer
from geventstreams._core.tls_context import Session

RECORD = 16384
"""Bytes of plain text in the largest record."""

HEADER = 5
LARGEST = HEADER + RECORD + 2048
"""Bytes of the largest record that any version allows."""

APPLICATION_DATA = 23
SHORTEST = 23
"""A type of record, and the length of one under TLS 1.3 that holds a single byte."""

COPIED = 256
"""Up to this many bytes of plain text are read to memory of our own and copied from there: a window to the caller's costs more."""

RARE = 0xFF
"""What lies where the first byte of a record is read to, to tell whether one was: a byte that no text in UTF-8 has."""

CERTAIN = 8
"""Bytes that are not by chance what they were before."""

PATTERN = os.urandom(COPIED)
"""What lies where a record is read to by one call, to tell how much of it was."""

_WIDE_BLOCKS = BlockPool(131072, 8, LARGEST)
"""Blocks with room for several records."""


class RecordBuffer(InputBuffer):
    """Ciphertext that arrived: an input buffer that finds the ends of records."""

    def __init__(self) -> None:
        InputBuffer.__init__(self, _WIDE_BLOCKS)
        self.trusts_lengths = True
        self.kind = 0

    def record(self) -> int:
        """Return the length of the next record, or 0 until all of it is there; `kind` is its type.

        Bytes that are not a record count as one, all of them: OpenSSL will refuse them.
        """
        start, held = self.start, self.end - self.start
        store = self.store
        if store is None or not held:
            return 0
        self.kind = store[start]
        if self.trusts_lengths and 20 <= self.kind <= 24:
            if held < HEADER:
                return 0
            length = HEADER + 256 * store[start + 3] + store[start + 4]
            if length <= LARGEST and store[start + 1] == 3:
                return length if length <= held else 0
        self.trusts_lengths = False
        return held


def overhead_of(version: str, cipher: str) -> int:
    """Return how many bytes of each record are neither plain text nor padding: header, nonce, type, tag; 0 where that is not known."""
    if version == "TLSv1.3":
        return HEADER + 1 + (8 if "CCM_8" in cipher else 16)
    if "CHACHA20" in cipher or "CCM8" in cipher:
        return HEADER + 16
    return HEADER + 24 if "GCM" in cipher or "CCM" in cipher else 0


class Decrypter:
    """Gives OpenSSL the records of `cipher`, and takes plain text from it: `taken` bytes since this was set to 0."""

    def __init__(self, cipher: RecordBuffer) -> None:
        self.cipher = cipher
        self.taken = 0
        self.pending = 0
        """Bytes of the present record that OpenSSL holds decrypted."""
        self.asks_again = False
        self.read_other = False
        """Whether a record was read that gave no plain text, since this was set to False: OpenSSL may have answered it."""
        self.tells_types = False
        """Whether records tell their true types, as they do before TLS 1.3."""
        self.failure: SSLError | None = None
        # Methods of the SSL object and of its incoming MemoryBIO. None before `begin`, and after `end`.
        self._read: Any = None
        self._tell_pending: Any = None
        self._write: Any = None
        self._incoming: Any = None
        self._small = bytearray(COPIED)
        """Where the first byte of a record is read to, and the rest of one that is so short that this costs less than a window."""
        self._fed = False
        self._holds_one = False
        self._overhead = 0
        """Bytes of a record beside its plain text, where none is padded; 0 where that is not known, and once one was."""
        self._whole = 0
        """Bytes of plain text in the present record, if it is to be read by one call, and is not padded."""

    def begin(self, session: Session) -> None:
        """Decrypt for this session from now on."""
        self._read, self._tell_pending = session.methods.read, session.methods.pending
        self._incoming = session.incoming
        self._write = session.incoming.write

    def know(self, version: str, cipher: str) -> None:
        """Note what the handshake has chosen."""
        self.tells_types = version != "TLSv1.3"
        self._overhead = overhead_of(version, cipher)

    def end(self) -> None:
        """Decrypt no more."""
        self._read = self._tell_pending = self._write = self._incoming = None
        self.cipher.clear()

    def holds_record(self) -> bool:
        """Return whether OpenSSL was given a record, of which it has not taken or not given back everything."""
        return self.pending > 0 or self._incoming.pending > 0

    def feed_record(self) -> bool:
        """Give OpenSSL the next record. Return False if all of it is not there."""
        # It takes what it is given whole, unless a signal handler raised within the call: only then it is asked.
        if self._fed and self._incoming.pending:
            return True
        cipher = self.cipher
        length = cipher.record()
        if not length:
            return False
        if cipher.kind != APPLICATION_DATA:  # before TLS 1.3 a handshake may come again, and choose another cipher
            self._overhead = self._whole = 0
            self._holds_one = False
        elif self._overhead:
            whole = length - self._overhead
            self._whole = whole if 2 * CERTAIN <= whole <= COPIED else 0
            self._holds_one = whole == 1
        else:
            self._whole = 0
            self._holds_one = length == SHORTEST or self.tells_types
        self._write(_bytes.part(cipher.view, cipher.start, cipher.start + length))  # type: ignore[arg-type]  # not empty
        self._fed = True
        cipher.skip(length)
        return True

    def read_record(self, space: memoryview, at: int) -> bool:
        """Move plain text of the present record to `space[at:]`, as much as there is room for, and add its length to `taken`.

        Return False where TLS has ended: `failure` is the error, None after a close_notify.
        """
        taken = self.taken
        self.asks_again = False
        try:
            if self._whole and not self.pending and self._whole <= _bytes.size(space) - at:
                self._read_whole(space, at)
            else:
                self._read_part(space, at)
        except SSLWantReadError:
            pass
        except SSLZeroReturnError:
            return False
        except SSLError as error:
            self.failure = error
            return False
        except BaseException:
            self.read_other = True
            raise
        self._fed = False
        if self.taken == taken:
            self.read_other = True
        return True

    def _read_whole(self, space: memoryview, at: int) -> None:
        small = self._small
        _bytes.copy_in(small, 0, PATTERN, 0, self._whole)
        try:
            count = self._read(self._whole, small)
            if not count:
                raise SSLZeroReturnError
            if count < self._whole and self._read is not None:  # padded
                self._overhead = 0
                self.pending = self._tell_pending()  # nothing, but for an SSL object of a class of its own
            if self._read is not None:  # else a signal handler has closed the stream, and the memory is not ours any more
                _bytes.copy_out(small, 0, space, at, count)
                self.taken += count
        except SSLError:
            raise
        except BaseException:
            count = self._moved_whole()
            if count:
                _bytes.copy_out(small, 0, space, at, count)
                self.taken += count
            raise

    def _moved_whole(self) -> int:
        """Return how many bytes of the record the one call had moved when a signal handler raised (see the head of this file)."""
        if self._read is None or self._incoming.pending:
            return 0
        count = self._whole
        while count and self._small[count - 1] == PATTERN[count - 1]:
            count -= 1
        if self._whole - count < CERTAIN:
            return self._whole
        self._overhead = 0
        self.asks_again = not count
        return count

    def _read_part(self, space: memoryview, at: int) -> None:
        fresh = not self.pending
        taken = self.taken
        small = self._small
        small[0] = RARE
        read, tell_pending = self._read, self._tell_pending
        place: bytearray | memoryview | None = None
        try:
            if fresh:
                if not read(1, small):
                    raise SSLZeroReturnError
                self.pending = tell_pending()
                if self._read is None:  # as above
                    return
                _bytes.put_byte(space, at, small[0])
                self.taken += 1
            room = _bytes.size(space) - at - fresh
            if self.pending and room > 0:
                if self.pending <= COPIED and self.pending <= room:
                    place = small
                    count = read(self.pending, small)
                    if self._read is None:
                        return
                    _bytes.copy_out(small, 0, space, at + fresh, count)
                else:
                    place = _bytes.window(space, at + fresh, at + fresh + room)
                    count = read(self.pending, place)
                self.pending -= count
                self.taken += count
        except SSLError:
            raise
        except BaseException:
            count = self._moved(fresh, small[0] != RARE)
            self.taken = taken + count
            self._save(place, space, at, fresh, count)
            raise

    def _save(self, place: bytearray | memoryview | None, space: memoryview, at: int, fresh: bool, count: int) -> None:
        """Put the `count` bytes that were moved when a signal handler raised where they belong. What went through a window is there."""
        if isinstance(place, memoryview):
            place.release()  # a traceback may keep it, but not the memory
        elif place is None and fresh and count:
            _bytes.put_byte(space, at, self._small[0])
        elif place is not None and count > fresh:
            _bytes.copy_out(self._small, 0, space, at + fresh, count - fresh)

    def _moved(self, fresh: bool, changed: bool) -> int:
        """Return how many bytes of the record OpenSSL had moved when a signal handler raised (see the head of this file)."""
        left = self._left()
        if self._read is None:  # the handler has closed the stream
            return 0
        if not fresh or self.pending:
            count = self.pending - left + fresh
        elif self._incoming.pending:
            count = 0
        else:
            count = 1 if left or changed or self._holds_one else 0
            self.asks_again = not count
            self._holds_one = False
        self.pending = left
        return count

    def _left(self) -> int:
        """Return what OpenSSL holds of its record. Further signals may strike here, too; the first one's error is on its way already."""
        while self._tell_pending is not None:
            try:
                return self._tell_pending()  # type: ignore[no-any-return]  # typed as Any, to be None before `begin`
            except BaseException:  # noqa: BLE001  # `pending` itself never fails
                continue
        return 0


class Records:
    """What is to be sent: a queue of pieces as OpenSSL made them. The first `start` bytes have been sent already.

    `contents` has for each piece how many bytes of plain text it carries; none where it is TLS's own. The last one may be that of a piece
    which OpenSSL still holds, because a signal handler raised before it was taken.
    """

    def __init__(self) -> None:
        self.may_grow = False
        """Whether OpenSSL may have written what was not taken."""
        self._grows_unseen = False
        self._outgoing: Any = None
        self._read: Any = None
        self.pieces: list[bytes] = []
        self.contents: list[int] = []
        self.start = 0

    def begin(self, outgoing: Any, grows_unseen: bool) -> None:
        """Take from this MemoryBIO from now on. If it `grows_unseen`, OpenSSL may write at any time, not only where `may_grow` is set."""
        self._outgoing, self._read = outgoing, outgoing.read
        self.may_grow = self._grows_unseen = grows_unseen

    def note(self, content: int) -> None:
        """Note what the next piece carries, unless that is known."""
        if len(self.contents) == len(self.pieces):
            self.contents.append(content)

    def take(self, content: int) -> None:
        """Take what OpenSSL has written, and put it behind all others."""
        self.note(content)
        _bytes.draw(self.pieces, self._read)
        self.may_grow = self._grows_unseen

    def has_more(self) -> bool:
        """Return whether OpenSSL has written what was not taken."""
        has_more = self.may_grow and self._outgoing.pending > 0
        self.may_grow = has_more or self._grows_unseen
        return has_more

    def take_rest(self) -> None:
        """Take what OpenSSL has written on its own account, or before a signal handler raised."""
        if self.has_more():
            self.take(0)

    def drop_rest(self) -> None:
        """Drop what OpenSSL has written, which cannot be sent."""
        self._read()
        self.may_grow = self._grows_unseen

    def left(self) -> int:
        """Return how many bytes are left to send."""
        left = -self.start
        for piece in self.pieces:
            left += len(piece)
        return left

    def skip(self, count: int) -> None:
        """Drop the next `count` bytes."""
        start = self.start + count
        whole = 0
        for piece in self.pieces:
            if start < len(piece):
                break
            start -= len(piece)
            whole += 1
        is_all = whole == len(self.contents)
        self.start = start
        if is_all:  # nearly always; a slice costs more
            self.pieces, self.contents = _bytes.emptied(self.pieces), _bytes.emptied(self.contents)
        else:
            del self.pieces[:whole]
            del self.contents[:whole]

    def clear(self) -> None:
        """Drop everything, and take no more. What it would have carried is still known."""
        self._outgoing = self._read = None
        self.may_grow = self._grows_unseen = False
        self.pieces = []
        self.start = 0
