"""Text that is read from a binary file: decoded once, and kept until a call returns it, so that no exception loses any."""

# Invariants: what is decoded and not yet returned is in `_text` from `_at` on whenever anything may wait or raise. A call that may wait
# holds the lock for all it does.

from __future__ import annotations

import codecs
import io
import operator
import re
from typing import Any

import geventstreams._native.clock as _clock
import geventstreams._native.interpreter as _interpreter
import geventstreams._native.memory as _bytes
from geventstreams._constants import ALL, ENDED, FRESH, NEVER, SLICE, WOULD_WAIT
from geventstreams._core.fair_lock import fair_lock_between
from geventstreams._core.fairness import Fairness
from geventstreams._core.reader import ByteReader

LEAST = 1024
MOST = 65536
"""Bytes that are decoded at once, where so many are buffered: the more, the sooner the caller was done with those before."""

_ANY_NEWLINE = re.compile("\r\n|\r|\n")


class TextInput:
    """The reading half of a text file over `file`, with the newlines that `io.TextIOWrapper` calls `newline`.

    Bytes that are not text raise UnicodeDecodeError once, after the text before them; the next call goes on behind them. Over a stream that
    never waits, calls give the lines that are whole, or the characters that are there, and "" where there are none yet.
    """

    def __init__(self, file: Any, encoding: str, errors: str, newline: str | None) -> None:
        self._file = file
        self._reader = file if isinstance(file, ByteReader) else None
        self._engine: Any = file.stream._waitable() if self._reader is None and hasattr(file, "stream") else None
        between_threads = getattr(file, "between_threads", False)
        self._needs_lock = between_threads and not _interpreter.compiled()
        self._lock = fair_lock_between(between_threads)
        self._text = ""
        self._at = 0
        self.begun = False
        """Whether anything was read: what was decoded stays as it is."""
        self.decode_as(encoding, errors, newline)
        self._undecoded = b""
        self._size = 2 * LEAST
        self._since = NEVER
        self._fairness = Fairness()
        self._error: UnicodeDecodeError | None = None

    def decode_as(self, encoding: str, errors: str, newline: str | None) -> None:
        """Decode all that is read in this way."""
        self._newline = newline or "\n"
        self._any_newline = newline == ""
        self._ends_in_lf = not self._any_newline and self._newline == "\n"
        self._decoder: Any = codecs.getincrementaldecoder(encoding)(errors)
        if not newline:
            self._decoder = io.IncrementalNewlineDecoder(self._decoder, translate=newline is None)

    @property
    def newlines(self) -> Any:
        """The newlines seen so far, where all kinds are understood."""
        return getattr(self._decoder, "newlines", None)

    def read(self, size: int | None) -> str:
        """Return `size` characters, fewer only at the end of the input; all up to there for -1 or None."""
        return self._take_in_turn(-1 if size is None else operator.index(size), False)

    def readline(self, size: int = -1) -> str:
        """Return the next line with its newline; without one after `size` characters, or at the end of the input."""
        if size is ALL and self._lock.holder is None and not self._needs_lock and not self._is_closed():
            end = self._line_end()
            if end:
                start = self._at
                self._at = end
                return _bytes.cut_text(self._text, start, end)
        return self._take_in_turn(operator.index(size), True)

    def _take_in_turn(self, wanted: int, line: bool) -> str:
        self._enter()
        try:
            return self._take(wanted, line)
        finally:
            self._lock.release()

    def readlines(self, hint: int | None) -> list[str]:
        """Return all lines up to the end, or up to the one with which they are longer than `hint` together, where that is positive."""
        most = -1 if hint is None else operator.index(hint)
        lines: list[str] = []
        total = 0
        self._enter()
        try:
            while line := self._take(-1, True, total > 0):
                lines.append(line)
                total += len(line)
                if 0 < most < total:
                    break
        except BaseException:
            self._put_back(lines)
            raise
        finally:
            self._lock.release()
        return lines

    def _enter(self) -> None:
        """Wait until no other call reads."""
        if self._is_closed():
            raise ValueError("I/O operation on closed file.")
        self._lock.acquire(None, NEVER)

    def _is_closed(self) -> bool:
        return self._file.closed if self._reader is None else self._reader._is_closed()

    def _take(self, wanted: int, line: bool, begun: bool = False) -> str:
        """Return up to `wanted` characters (negative: no limit), not beyond the end of a line if one is asked for. Waits for them.

        Whether the call has `begun` with a message, a drain of the stream asks.
        """
        pieces: list[str] = []
        more = 1
        try:
            while True:
                end = self._line_end() if line else 0
                complete = end > 0 or more <= 0
                if not end:
                    end = len(self._text)
                if 0 <= wanted <= end - self._at:
                    end = self._at + wanted
                    complete = True
                elif not complete and line and self._newline == "\r\n" and self._text.endswith("\r", self._at):
                    end -= 1
                pieces.append(self._text[self._at : end])
                begun = begun or self._at < len(self._text)
                if wanted >= 0:
                    wanted -= end - self._at
                self._at = end
                if complete:
                    return "".join(pieces)
                more = self._more(begun)
                if more == WOULD_WAIT and line:
                    self._put_back(pieces)
                    return ""
        except BaseException:
            self._put_back(pieces)
            raise

    def _put_back(self, pieces: list[str]) -> None:
        self._text = "".join(pieces) + self._text[self._at :]
        self._at = 0

    def _line_end(self) -> int:
        """Return where in `_text` the next line ends, behind its newline; 0 where that is not there."""
        if self._ends_in_lf:
            return _bytes.find_lf(self._text, self._at) + 1
        if self._any_newline:
            hit = _ANY_NEWLINE.search(self._text, self._at)
            return hit.end() if hit else 0
        at = self._text.find(self._newline, self._at)
        return at + len(self._newline) if at >= 0 else 0

    # Decoding.

    def _more(self, begun: bool) -> int:
        """Wait for one more piece of text. Return ENDED at the end of the input, and WOULD_WAIT where one that never waits has none."""
        self.begun = True
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        before = self._let_others_run()
        data = self._undecoded or (self._file.read1(self._size) if self._engine is None else self._read_stream(begun))
        self._since = _clock.monotonic()
        if self._since - before > SLICE / 2:  # it cannot take so long but by a wait
            self._fairness.state = FRESH
        self._undecoded = b""
        if data is None:
            return WOULD_WAIT
        self._text = self._text[self._at :] + self._decode(data)
        self._at = 0
        return 1 if data else ENDED

    def _read_stream(self, begun: bool) -> bytes:
        self._engine.holds_text = begun or bool(self._decoder.getstate()[0])
        try:
            return self._file.read1(self._size)  # type: ignore[no-any-return]  # any file
        finally:
            self._engine.holds_text = False

    def _let_others_run(self) -> float:
        """Let the hub run if the calls for decoded text did not wait for a slice, and choose how much is decoded next, so that it is
        asked often enough. Return the time."""
        now = _clock.monotonic()
        took = now - self._since
        if took > SLICE / 2:
            self._size = max(self._size // 2, LEAST)
        elif took < SLICE / 8:
            self._size = min(self._size * 2, MOST)
        return _clock.monotonic() if self._fairness.let_others_run(None) else now

    def _decode(self, data: bytes) -> str:
        before = self._decoder.getstate()
        try:
            return self._decoder.decode(data, not data)  # type: ignore[no-any-return]  # any codec
        except UnicodeDecodeError as error:
            if not data:
                self._decoder.setstate((b"", before[1]))
                raise
            self._decoder.setstate(before)
            return self._decode_stepwise(data, error)

    def _decode_stepwise(self, data: bytes, error: UnicodeDecodeError) -> str:
        """Return the text before bytes that are not text. The error is kept for the next call, or raised here if there is no such text."""
        text = ""
        for at in range(len(data)):
            before = self._decoder.getstate()
            try:
                text += self._decoder.decode(data[at : at + 1])
            except UnicodeDecodeError as refused:
                self._decoder.setstate((b"", before[1]))
                self._undecoded = refused.object[refused.end :] + data[at + 1 :]
                error = refused
                break
        if not text:
            raise error
        self._error = error
        return text
