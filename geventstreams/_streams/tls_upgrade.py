"""A stream that TLS can be put under at any time, and taken away from again.

Rules for the next editor: a handshake and a goodbye need both halves of the stream, so whoever drives them holds both (`_occupy`). Whatever
ends a handshake closes the stream before it leaves, since somebody may keep the exception. Between a goodbye and the end of `detach_ssl`
the output counts as ended, so nothing can be written that would leave in plain text.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from gevent import getcurrent

import geventstreams._core.arguments as arguments
from geventstreams._constants import NEVER, TOLD, WOULD_WAIT
from geventstreams._core.clock import CLOCK
from geventstreams._core.deadline import deadline_after, seconds_until
from geventstreams._core.fork import NO_PERMIT
from geventstreams._core.tls_context import TLSOptions
from geventstreams._core.tls_transport import DONE, NEEDS_INPUT, TLSTransport
from geventstreams._core.transport import Transport
from geventstreams._streams.engine import StreamEngine
from geventstreams._streams.lisp import LispStream
from geventstreams._streams.options import StreamOptions
from geventstreams.errors import HandshakeTimeout, StreamClosed, StreamError, TLSError, in_bytes, in_seconds

if TYPE_CHECKING:
    from ssl import SSLContext, SSLObject

    from geventstreams._types import AnySide, ConfigureContext, ConfigureSSL, Prefetched, Side, TLSContext

PREFETCHED = ("refuse", "handshake")


class UpgradableStream(LispStream):
    """A stream of both vocabularies whose octets TLS can protect."""

    def _init_stream(self, transport: Transport, readable: bool, writable: bool, options: StreamOptions) -> None:
        self._tls: TLSTransport | None = None
        self._tls_options: TLSOptions | None = None
        LispStream._init_stream(self, transport, readable, writable, options)

    # What it is.

    @property
    def ssl(self) -> SSLObject | None:
        """The `ssl.SSLObject` (`version()`, `cipher()`, `getpeercert()`, `selected_alpn_protocol()` …), or None without TLS."""
        self._refuse()
        return None if self._tls is None else self._tls.object

    @property
    def ssl_ctx(self) -> SSLContext | None:
        """The context in use, or None without TLS."""
        self._refuse()
        if self._tls is None or self._tls_options is None:
            return None
        context: SSLContext | None = self._tls_options.ssl_ctx if self._tls.object is None else self._tls.object.context
        return context

    def _reading(self) -> str:
        if self._tls is not None and not self._tls.ready:
            return "makes a TLS handshake with"
        return LispStream._reading(self)

    def _protocol(self) -> str:
        version = self._tls.object.version() if self._tls is not None and self._tls.object is not None else None
        return version or ("TLS" if self._tls is not None else "")

    # Attaching.

    def attach_ssl(self, ssl_ctx: TLSContext = True, ssl_side: AnySide = "server",
                   ctx_configure_callback: ConfigureContext | None = None, ssl_configure_callback: ConfigureSSL | None = None,
                   handshake_timeout: float | None = None, tlsext_host_name: str | None = None, allow_truncation: bool = False,
                   prefetched: Prefetched = "refuse") -> None:
        """Protects all octets from now on, and returns when the handshake is complete (but for the side "both").

        What was written before is sent in plain text first. Octets that arrived in plain text are never taken for protected ones: with
        `prefetched="refuse"` they are a TLSError, with `"handshake"` they are the peer's ciphertext. The arguments are the constructor's;
        bad ones change nothing, any other error closes the stream.
        """
        terms = TLSOptions(ssl_ctx, ssl_side, ctx_configure_callback, ssl_configure_callback, handshake_timeout, tlsext_host_name,
                         allow_truncation)
        arguments.chosen("prefetched", prefetched, PREFETCHED)
        self._attach(terms, terms.handshake_limit, prefetched)

    def _attach(self, terms: TLSOptions, limit: float, prefetched: str) -> None:
        self._refuse()
        self._refuse_thread()
        if self._tls is not None:
            raise TLSError(f"TLS is attached already to the stream to {self._transport.peer}", stream=self)
        terms.prepare(terms.side)
        self._refuse_while_waiting()
        self._transport.readable()  # a stream whose socket was taken away says so now
        self._occupy()
        try:
            if prefetched == "handshake" or not len(self.input):
                self._send_all()
            self._secure(terms, limit, prefetched)
        finally:
            self._vacate()

    def _secure_at_birth(self, terms: TLSOptions) -> None:
        self._occupy()
        try:
            self._secure(terms, terms.handshake_limit, "refuse")
        finally:
            self._vacate()

    def _occupy(self) -> None:
        """Takes both halves, which are free."""
        self._output_lock.acquire(self._hub, NEVER)
        self._reader = getcurrent()
        self._reading_since = CLOCK.now()
        self.input.permit = NO_PERMIT

    def _vacate(self) -> None:
        self._reader = None
        self._renew_permits()
        self._output_lock.release()

    def _send_all(self) -> None:
        self._raise_failure()
        while self.output.end or self._transport.unsent:
            self._send_or_wait(self._write_limit)

    def _secure(self, terms: TLSOptions, limit: float, prefetched: str) -> None:
        """Puts TLS under the buffers and shakes hands. Whatever goes wrong closes the stream before it leaves."""
        try:
            if len(self.input) and prefetched == "refuse":
                raise TLSError(f"{in_bytes(len(self.input))} from {self._transport.peer} arrived in plain text before TLS", stream=self)
            tls = TLSTransport(self._transport, terms.allow_truncation)
            tls.feed(self.input.take(len(self.input)))
            self._plug(tls)
            self._tls, self._tls_options = tls, terms
            if terms.side != "both":
                self._shake_hands(terms.side, limit)
        except BaseException as error:
            self._close_because_of(error)
            raise

    def _shake_hands(self, side: str, limit: float) -> None:
        """Waits for the handshake, at most `limit` seconds in all."""
        tls, terms = self._tls, self._tls_options
        assert tls is not None and terms is not None  # noqa: PT018 - set together
        deadline = deadline_after(limit)
        tls.begin(terms.begin(side))
        try:
            while (need := tls.shake_hands()) != DONE:
                left = seconds_until(deadline)
                if left <= 0:
                    raise HandshakeTimeout(f"no TLS handshake with {tls.peer} within {in_seconds(limit)}")
                if need == NEEDS_INPUT:
                    tls.wait_input(left)
                else:
                    tls.wait_output(left)
                if self._closed:
                    raise StreamClosed(f"the stream to {tls.peer} was closed")
        except StreamError as error:
            error.stream = self
            raise

    def _close_because_of(self, error: BaseException) -> None:
        """Closes at once, or, where TLS has refused and an alert says why, so that the alert arrives."""
        if self._closed:
            return  # whoever closes it is about to
        self._broken = True
        self._tls_failed = self._tls is not None and isinstance(error, ssl.SSLError)
        StreamEngine.close(self, abort=not isinstance(error, ssl.SSLError))

    def handshake(self, timeout: float | None = None, side: Side | None = None) -> bool:
        """Shakes hands as `side` on a stream that was made for "both"; True when the handshake is complete, now or before.

        `timeout` limits the whole handshake, in place of `handshake_timeout`; HandshakeTimeout and any other error close the stream.
        """
        limit = arguments.seconds("timeout", timeout)
        if side is not None:
            arguments.chosen("side", side, ("client", "server"))
        self._refuse()
        tls, terms = self._tls, self._tls_options
        if tls is None or terms is None:
            raise TLSError(f"the stream to {self._transport.peer} has no TLS to shake hands for: attach_ssl() comes first", stream=self)
        if tls.ready:
            return self._has_shaken_hands(tls, side)
        if side is None:
            raise ValueError("side must be 'client' or 'server', since the stream was made for both")
        self._refuse_thread()
        self._refuse_while_waiting()
        terms.prepare(side)
        self._occupy()
        try:
            self._shake_hands(side, terms.handshake_limit if timeout is None else limit)
        except BaseException as error:
            self._close_because_of(error)
            raise
        finally:
            self._vacate()
        return True

    def _has_shaken_hands(self, tls: TLSTransport, side: str | None) -> bool:
        actual = "server" if tls.object.server_side else "client"
        if side is not None and side != actual:
            raise ValueError(f"side must be {actual!r}, since the handshake was made as that, not {side!r}")
        return True

    # Detaching.

    def detach_ssl(self, retry_count: int = 5, retry_timeout: float = 0.1) -> None:
        """Says goodbye to the peer's TLS, and goes on in plain text when the peer has said it too.

        That is waited for at most `retry_count` × `retry_timeout` seconds: what comes until then, and in plain text behind it, is in the
        input buffer afterwards. Without an answer TLSError, and the stream is closed. A call ended by another exception can be made again.
        """
        limit = arguments.positive("retry_count", retry_count) * arguments.seconds("retry_timeout", retry_timeout)
        self._refuse()
        self._refuse_thread()
        tls = self._tls
        if tls is None:
            raise TLSError(f"the stream to {self._transport.peer} has no TLS to detach", stream=self)
        self._refuse_while_waiting()
        self._occupy()
        try:
            if not self._output_ended:
                self._send_all()
            if tls.ready:
                self._exchange_close_notify(tls, deadline_after(limit))
            self._expose(tls)
        finally:
            self._vacate()

    def _exchange_close_notify(self, tls: TLSTransport, deadline: float) -> None:
        self._output_ended = True
        while tls.send_close_notify() == WOULD_WAIT:
            self._wait_for_close_notify(tls.wait_output, deadline)
        while self._end is None:
            if self._receive_now(None, 0) == WOULD_WAIT:
                self.input.settle()
                self._wait_for_close_notify(tls.wait_input, deadline)
        if not tls.received_close_notify:
            self._abort_shutdown("ended the connection without")

    def _wait_for_close_notify(self, wait: Callable[[float], bool], deadline: float) -> None:
        left = seconds_until(deadline)
        if left <= 0:
            self._abort_shutdown("did not answer our")
        wait(left)
        if self._closed:
            raise StreamClosed(f"the stream to {self._transport.peer} was closed", stream=self)

    def _abort_shutdown(self, deed: str) -> None:
        peer = self._transport.peer
        StreamEngine.close(self, abort=True)
        raise TLSError(f"{peer} {deed} goodbye (close_notify)", stream=self)

    def _expose(self, tls: TLSTransport) -> None:
        """Puts the plain transport under the buffers again, with what it received behind the goodbye."""
        inner, behind = tls.unwrap()
        self.input.feed(behind)
        self._plug(inner)
        self._tls = self._tls_options = None
        self._end = None
        self._output_ended = tls.output_ended
        self._output_end = TOLD if tls.output_ended else 0
