"""A stream that TLS can be attached to at any time, and detached from again."""

# Invariants:
# * A handshake, and the exchange of close_notify, need both halves of the stream, and occupy the engine meanwhile.
# * A handshake that fails, for whatever reason, has closed the stream before the exception leaves, since a caller may keep that.
# * From our close_notify to the end of `detach_ssl` the output counts as ended: nothing can be written that would leave in plain text.

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import geventstreams._core.arguments as arguments
from geventstreams._constants import TOLD, WOULD_WAIT
from geventstreams._core.deadline import deadline_after, seconds_until
from geventstreams._core.tls_context import TLSOptions
from geventstreams._core.tls_transport import DONE, NEEDS_INPUT, TLSTransport
from geventstreams._streams.lisp import LispStream
from geventstreams.errors import HandshakeTimeout, StreamClosed, StreamError, TLSError, in_bytes, in_seconds

if TYPE_CHECKING:
    from ssl import SSLContext, SSLObject

    from geventstreams._types import AnySide, ConfigureContext, ConfigureSSL, Prefetched, Side, TLSContext

PREFETCHED = ("refuse", "handshake")


class UpgradableStream(LispStream):
    """A stream of both vocabularies that TLS can be attached to."""

    # What it is.

    @property
    def ssl(self) -> SSLObject | None:
        """The `ssl.SSLObject` (`version()`, `cipher()`, `getpeercert()`, `selected_alpn_protocol()` …), or None without TLS."""
        self._engine.refuse()
        tls: TLSTransport | None = self._engine.tls
        return None if tls is None else tls.object

    @property
    def ssl_ctx(self) -> SSLContext | None:
        """The context in use, or None without TLS."""
        self._engine.refuse()
        tls = self._engine.tls
        if tls is None:
            return None
        context: SSLContext | None = self._engine.tls_options.ssl_ctx if tls.object is None else tls.object.context
        return context

    # Attaching.

    def attach_ssl(self, ssl_ctx: TLSContext = True, ssl_side: AnySide = "server",
                   ctx_configure_callback: ConfigureContext | None = None, ssl_configure_callback: ConfigureSSL | None = None,
                   handshake_timeout: float | None = None, tlsext_host_name: str | None = None, allow_truncation: bool = False,
                   prefetched: Prefetched = "refuse") -> None:
        """Protect all bytes from now on, and return when the handshake is complete (at once for the side "both").

        What was written before is sent in plain text first. Bad arguments change nothing; any other error closes the stream.

        LispWorks: `comm:attach-ssl`.

        Args:
            ssl_ctx: As all arguments but the last, what the constructor of `SocketStream` takes.
            prefetched: What becomes of bytes that arrived in plain text. `"refuse"`: they are a `TLSError`, so that injected bytes are
                never taken for protected ones. `"handshake"`: they are the beginning of the peer's handshake.

        Raises:
            TLSError: The handshake failed, or the certificate was not accepted (`TLSVerificationError`).
            HandshakeTimeout: The handshake was not complete after `handshake_timeout` seconds in all.
            StreamBusy: A greenlet waits in the stream.
        """
        options = TLSOptions(ssl_ctx, ssl_side, ctx_configure_callback, ssl_configure_callback, handshake_timeout, tlsext_host_name,
                             allow_truncation)
        arguments.chosen("prefetched", prefetched, PREFETCHED)
        self._attach(options, options.handshake_limit, prefetched)

    def _attach(self, options: TLSOptions, limit: float, prefetched: str) -> None:
        engine = self._engine
        engine.refuse()
        engine.refuse_thread()
        if engine.tls is not None:
            raise TLSError(f"TLS is attached already to the stream to {engine.peer}", stream=self)
        options.prepare(options.side)
        engine.refuse_while_waiting()
        engine.transport.readable()  # a stream whose socket was taken away says so now
        engine.occupy()
        try:
            if prefetched == "handshake" or not len(self.input):
                engine.finish()
            self._secure(options, limit, prefetched)
        finally:
            engine.vacate()

    def _secure_at_birth(self, options: TLSOptions) -> None:
        self._engine.occupy()
        try:
            self._secure(options, options.handshake_limit, "refuse")
        finally:
            self._engine.vacate()

    def _secure(self, options: TLSOptions, limit: float, prefetched: str) -> None:
        """Put TLS under the buffers and shake hands. Any error closes the stream before it leaves."""
        engine = self._engine
        try:
            if len(self.input) and prefetched == "refuse":
                raise TLSError(f"{in_bytes(len(self.input))} from {engine.peer} arrived in plain text before TLS", stream=self)
            tls = TLSTransport(engine.transport, options.allow_truncation)
            tls.feed(self.input.take(len(self.input)))
            engine.plug(tls)
            engine.tls, engine.tls_options = tls, options
            if options.side != "both":
                self._shake_hands(options.side, limit)
        except BaseException as error:
            self._close_because_of(error)
            raise

    def _shake_hands(self, side: str, limit: float) -> None:
        """Wait for the handshake, at most `limit` seconds in all."""
        engine = self._engine
        tls: TLSTransport = engine.tls
        deadline = deadline_after(limit)
        tls.begin(engine.tls_options.begin(side))
        try:
            while (need := tls.shake_hands()) != DONE:
                left = seconds_until(deadline)
                if left <= 0:
                    raise HandshakeTimeout(f"no TLS handshake with {tls.peer} within {in_seconds(limit)}")
                if need == NEEDS_INPUT:
                    tls.wait_input(left)
                else:
                    tls.wait_output(left)
                if engine.closed:
                    raise StreamClosed(f"the stream to {tls.peer} was closed")
        except StreamError as error:
            error.stream = self
            raise

    def _close_because_of(self, error: BaseException) -> None:
        """Close at once, or, where TLS has refused and an alert says why, so that the alert arrives."""
        engine = self._engine
        if engine.closed:
            return  # another greenlet closes it just now
        engine.broken = True
        engine.tls_failed = engine.tls is not None and isinstance(error, ssl.SSLError)
        engine.close_failed(not isinstance(error, ssl.SSLError))

    def handshake(self, timeout: float | None = None, side: Side | None = None) -> bool:
        """Shake hands on a stream that was made for the side "both". Return True when the handshake is complete, now or before.

        Args:
            timeout: Seconds for the whole handshake, in place of `handshake_timeout`.
            side: `"client"` or `"server"`.

        Raises:
            HandshakeTimeout: The handshake was not complete in time. As any other error, it closes the stream.
            ValueError: The handshake was made for the other side.
        """
        limit = arguments.seconds("timeout", timeout)
        if side is not None:
            arguments.chosen("side", side, ("client", "server"))
        engine = self._engine
        engine.refuse()
        tls: TLSTransport | None = engine.tls
        if tls is None:
            raise TLSError(f"the stream to {engine.peer} has no TLS to shake hands for: attach_ssl() comes first", stream=self)
        if tls.ready:
            return self._has_shaken_hands(tls, side)
        if side is None:
            raise ValueError("side must be 'client' or 'server', since the stream was made for both")
        engine.refuse_thread()
        engine.refuse_while_waiting()
        engine.tls_options.prepare(side)
        engine.occupy()
        try:
            self._shake_hands(side, engine.tls_options.handshake_limit if timeout is None else limit)
        except BaseException as error:
            self._close_because_of(error)
            raise
        finally:
            engine.vacate()
        return True

    def _has_shaken_hands(self, tls: TLSTransport, side: str | None) -> bool:
        actual = "server" if tls.object.server_side else "client"
        if side is not None and side != actual:
            raise ValueError(f"side must be {actual!r}, since the handshake was made as that, not {side!r}")
        return True

    # Detaching.

    def detach_ssl(self, retry_count: int = 5, retry_timeout: float = 0.1) -> None:
        """Exchange close_notify with the peer, and go on in plain text.

        The peer's close_notify is waited for at most `retry_count` × `retry_timeout` seconds. What comes until then, and in plain text
        behind it, is in the input buffer afterwards. A call ended by any exception but `TLSError` can be made again.

        LispWorks: `comm:detach-ssl`.

        Raises:
            TLSError: The peer did not answer, or ended the connection. The stream is closed.
        """
        limit = arguments.positive("retry_count", retry_count) * arguments.seconds("retry_timeout", retry_timeout)
        engine = self._engine
        engine.refuse()
        engine.refuse_thread()
        tls: TLSTransport | None = engine.tls
        if tls is None:
            raise TLSError(f"the stream to {engine.peer} has no TLS to detach", stream=self)
        engine.refuse_while_waiting()
        engine.occupy()
        try:
            if not engine.output_ended:
                engine.finish()
            if tls.ready:
                self._exchange_close_notify(tls, deadline_after(limit))
            self._expose(tls)
        finally:
            engine.vacate()

    def _exchange_close_notify(self, tls: TLSTransport, deadline: float) -> None:
        engine = self._engine
        engine.output_ended = True
        while tls.send_close_notify() == WOULD_WAIT:
            self._wait_for_close_notify(tls.wait_output, deadline)
        while engine.end is None:
            if engine.receive(None, 0, 0) == WOULD_WAIT:
                self.input.settle()
                self._wait_for_close_notify(tls.wait_input, deadline)
        if not tls.received_close_notify:
            self._abort_shutdown("ended the connection without")

    def _wait_for_close_notify(self, wait: Callable[[float], bool], deadline: float) -> None:
        left = seconds_until(deadline)
        if left <= 0:
            self._abort_shutdown("did not answer our")
        wait(left)
        if self._engine.closed:
            raise StreamClosed(f"the stream to {self._engine.peer} was closed", stream=self)

    def _abort_shutdown(self, deed: str) -> None:
        peer = self._engine.peer
        self._engine.close_failed(True)
        raise TLSError(f"{peer} {deed} close_notify", stream=self)

    def _expose(self, tls: TLSTransport) -> None:
        """Put the plain transport under the buffers again, with what it received behind close_notify."""
        engine = self._engine
        inner, behind = tls.unwrap()
        self.input.feed(behind)
        engine.plug(inner)
        engine.tls = engine.tls_options = None
        engine.end = None
        engine.output_ended = tls.output_ended
        engine.output_end = TOLD if tls.output_ended else 0
