"""Both directions of a `connect`: standard input to the peer, the peer to standard output, and how their ends are passed on."""

# Invariants: two greenlets, one for each direction. An error is what a greenlet returns, never what ends it, because only the other
# direction knows what it means: a peer that refuses our output may have sent its last bytes before.

from __future__ import annotations

import argparse
import re
import time
from contextlib import suppress

import gevent
from gevent.event import Event

from geventstreams._constants import NEVER, TICK
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli.progress import Progress
from geventstreams.cli.standard import OutputFile, StandardInput
from geventstreams.cli.statuses import error_of
from geventstreams.cli.trace import Trace
from geventstreams.errors import StreamReset, StreamTruncated

SILENCE = 0.5
"""Seconds of silence after which one side's end is passed on to the other."""

LOOK = 0.05
"""Seconds after which it is looked again whether an answer has come."""

SHORT_SILENCE = 0.1
"""Seconds of silence after an answer, if connecting took a fourth of that, or less."""

HTTP_REQUEST = re.compile(rb"[A-Z]+ \S+ HTTP/1\.[01]\r?\n")
"""The beginning of a request whose server may take the end of our half for the end of the client."""

BEGINNING = 8192
"""Bytes of the input in which such a request is looked for."""

TLS_ALERT = b"\x15\x03"


def with_crlf(data: bytes, before: bytes) -> bytes:
    """Return data whose lines end in CR and LF; `before` is the byte that stands before it."""
    start = before if before == b"\r" else b""
    return re.sub(rb"(?<!\r)\n", b"\r\n", start + data)[len(start) :]


class Conversation:
    """A connection between standard input, standard output and a peer."""

    def __init__(
        self,
        stream: SocketStream,
        source: StandardInput,
        sink: OutputFile,
        progress: Progress,
        trace: Trace | None,
        args: argparse.Namespace,
        connecting: float,
    ) -> None:
        self._stream = stream
        self._source = source
        self._sink = sink
        self._progress = progress
        self._trace = trace
        self._half_close = not args.no_half_close
        self._crlf = args.line_ending == "crlf"
        self._after_answer = args.wait or max(SHORT_SILENCE, 4 * connecting)
        self._wait = args.wait or SILENCE
        self._began = b""
        self._first = b""
        self._heard = 0.0
        self._is_answered = False
        self._peer_ended = Event()
        self.sent: int = 0
        self.received: int = 0

    def hold(self) -> None:
        """Return when both sides have ended. Raise the error that ended one of them."""
        sending = gevent.spawn(error_of, self._send)
        receiving = gevent.spawn(error_of, self._receive)
        try:
            gevent.wait([sending, receiving], count=1)
            if not receiving.ready() and (sending.value is None or isinstance(sending.value, StreamReset)):
                receiving.join()
            if receiving.ready() and receiving.value is None:
                self._let_finish(sending)
        except KeyboardInterrupt:
            self._stream.close()
            raise
        finally:
            gevent.killall([sending, receiving])
        for error in (receiving.value, sending.value):
            if isinstance(error, StreamTruncated) and not (self.sent or self.received):
                return  # a server that TLS was only tried with, and that closes at our close_notify
            if isinstance(error, BaseException) and not isinstance(error, gevent.GreenletExit):
                raise error

    def is_with_tls_server(self) -> bool:
        """Return whether plain text was answered by an alert of TLS."""
        return self._stream.ssl is None and self._first.startswith(TLS_ALERT)

    def _send(self) -> None:
        before = b""
        while data := self._source.read():
            if self._crlf:
                before, data = data[-1:], with_crlf(data, before)
            self._began = self._began or data[:BEGINNING]
            self._is_answered = False
            if self._trace:
                self._trace.add("sent", data)  # before an answer can come
            self._stream.write(data)
            self._stream.flush()
            self.sent += len(data)
            self._progress.add("sent", len(data))
        if self._half_close and self._becomes_silent():
            # Where the connection broke in the meantime, the other direction reports it.
            with suppress(StreamReset):
                self._stream.send_eof()

    def _silence(self) -> float:
        """Return how long the peer must be silent before our half is ended."""
        is_short = self._is_answered and not HTTP_REQUEST.match(self._began)
        return min(self._wait, self._after_answer) if is_short else self._wait

    def _becomes_silent(self) -> bool:
        """Wait until the peer has been silent for a while. Return False if it ends instead."""
        self._heard = max(self._heard, time.monotonic())
        while (left := self._heard + self._silence() - time.monotonic()) > 0:
            if self._peer_ended.wait(max(TICK, min(left, LOOK))):
                return False
        return True

    def _receive(self) -> None:
        while data := self._stream.read1():
            # A peer whose data waits for standard output is not silent.
            self._heard = NEVER
            self._first = self._first or data[:BEGINNING]
            self.received += len(data)
            self._progress.add("received", len(data))
            if self._trace:
                self._trace.add("received", data)
            self._sink.write(data)
            self._heard = time.monotonic()
            self._is_answered = True
        self._peer_ended.set()

    def _let_finish(self, sending: gevent.Greenlet) -> None:
        """After the peer's end: wait while standard input brings something and the peer takes it."""
        sent = -1
        while not sending.ready() and not (self._source.is_waiting and sent == self.sent):
            sent = self.sent
            sending.join(self._wait)
