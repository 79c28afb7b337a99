"""The socket stream: a buffered stream with both vocabularies on a connected socket, which TLS can be attached to and detached from.

`StreamFactory` makes the streams of an opener or server.
"""

# Invariants:
# * Arguments are checked before the socket is touched; from then on the stream owns it.
# * A handshake, and the exchange of close_notify, need both halves of the stream, and occupy the engine meanwhile.
# * A handshake that fails, for whatever reason, has closed the stream before the exception leaves, since a caller may keep that.
# * From our close_notify to the end of `detach_ssl` the output counts as ended: nothing can be written that would leave in plain text.

from __future__ import annotations

from _ssl import SSLError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import geventstreams._core.arguments as arguments
import geventstreams._native.attributes as _attributes
from geventstreams import _core
from geventstreams._constants import DONE, NEEDS_INPUT, SOME, WOULD_WAIT
from geventstreams._core.clock import deadline_after, seconds_until
from geventstreams._core.transport import NoTransport, OwnedFd, transport_of
from geventstreams._streams.blocking import BlockingEngine
from geventstreams._streams.lisp import LispStream
from geventstreams._streams.options import TLS_ARGUMENTS, StreamOptions
from geventstreams._streams.states import OPEN, SHUT, TOLD, WANTED
from geventstreams.errors import HandshakeTimeout, StreamClosed, StreamError, StreamReset, TLSError, from_system, in_bytes, in_seconds

if TYPE_CHECKING:
    from ssl import SSLContext, SSLObject
    from typing import Literal

    from geventstreams._core.tls_context import TLSOptions
    from geventstreams._core.tls_transport import TLSTransport
    from geventstreams._streams.elements import ElementType
    from geventstreams._streams.engine import StreamEngine
    from geventstreams._types import (
        AnySide,
        ConfigureContext,
        ConfigureSSL,
        Direction,
        ElementTypeName,
        MaybeNone,
        Proxy,
        SocketLike,
        TLSContext,
    )


@contextmanager
def _occupied(engine: StreamEngine) -> Iterator[None]:
    """Take both halves of a stream, which are free, for a handshake or the exchange of close_notify."""
    engine.occupy()
    try:
        yield
    finally:
        engine.vacate()


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
                   prefetched: Literal["refuse", "handshake"] = "refuse") -> None:
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
        limit = arguments.seconds("handshake_timeout", handshake_timeout)
        options = _core.tls_context.TLSOptions(ssl_ctx, ssl_side, ctx_configure_callback, ssl_configure_callback, limit, tlsext_host_name,
                                               allow_truncation)
        arguments.chosen("prefetched", prefetched, ("refuse", "handshake"))
        self._attach(options, limit, prefetched)

    def _attach(self, options: TLSOptions, limit: float, prefetched: str) -> None:
        engine = self._engine
        engine.refuse()
        engine.refuse_thread()
        if engine.tls is not None:
            raise TLSError(f"TLS is attached already to the stream to {engine.peer}", stream=self)
        options.prepare(options.side)
        engine.refuse_while_waiting()
        engine.transport.readable()  # a stream whose socket was taken away says so now
        with _occupied(engine):
            if prefetched == "handshake" or not len(self._input):
                engine.finish()
            self._secure(options, limit, prefetched)

    def _secure(self, options: TLSOptions, limit: float, prefetched: str) -> None:
        """Put TLS under the buffers and shake hands. Any error closes the stream before it leaves."""
        engine = self._engine
        try:
            if len(self._input) and prefetched == "refuse":
                raise TLSError(f"{in_bytes(len(self._input))} from {engine.peer} arrived in plain text before TLS", stream=self)
            tls = _core.tls_transport.TLSTransport(engine.transport, options.allow_truncation)
            tls.feed(self._input.take(len(self._input)))
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
        _core.handshakes.began(self, tls.fileno(), f"the TLS handshake with {tls.peer}")
        try:
            while (need := self._continue_handshake(tls)) != DONE:
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
        finally:
            _core.handshakes.ended(self)

    def _continue_handshake(self, tls: TLSTransport) -> int:
        try:
            return tls.shake_hands()
        except StreamError:
            raise
        except OSError as error:
            raise from_system(error, "the TLS handshake with", tls.peer, self) from None

    def _close_because_of(self, error: BaseException) -> None:
        """Close at once, or, where TLS has refused and an alert says why, so that the alert arrives."""
        engine = self._engine
        if engine.closed:
            return  # another greenlet closes it just now
        engine.broken = True
        engine.tls_failed = engine.tls is not None and isinstance(error, SSLError)
        engine.close_failed(not isinstance(error, SSLError))

    def handshake(self, timeout: float | None = None, side: Literal["client", "server"] | None = None) -> bool:
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
            actual = "server" if tls.object.server_side else "client"
            if side is not None and side != actual:
                raise ValueError(f"side must be {actual!r}, since the handshake was made as that, not {side!r}")
            return True
        if side is None:
            raise ValueError("side must be 'client' or 'server', since the stream was made for both")
        engine.refuse_thread()
        engine.refuse_while_waiting()
        engine.tls_options.prepare(side)
        with _occupied(engine):
            try:
                self._shake_hands(side, engine.tls_options.handshake_limit if timeout is None else limit)
            except BaseException as error:
                self._close_because_of(error)
                raise
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
        with _occupied(engine):
            if engine.output_state == OPEN:
                engine.finish()
            if tls.ready:
                self._exchange_close_notify(tls, deadline_after(limit))
            self._expose(tls)

    def _exchange_close_notify(self, tls: TLSTransport, deadline: float) -> None:
        engine = self._engine
        engine.output_state = max(engine.output_state, SHUT)
        while not self._send_close_notify(tls):
            self._wait_for_close_notify(tls.wait_output, deadline)
        while engine.end is None:
            if engine.receive(None, 0, SOME) == WOULD_WAIT:
                self._input.settle()
                self._wait_for_close_notify(tls.wait_input, deadline)
        if not tls.received_close_notify:
            self._abort_shutdown("ended the connection without")

    def _send_close_notify(self, tls: TLSTransport) -> bool:
        try:
            return tls.send_close_notify() != WOULD_WAIT
        except OSError as error:
            failure = self._engine.output_failed(error)
        if isinstance(failure, StreamReset):
            self._abort_shutdown("ended the connection before our")
        raise failure

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
        self._input.feed(behind)
        engine.plug(inner)
        engine.tls = engine.tls_options = None
        engine.end = None
        if tls.output_ended:
            engine.output_state = TOLD
        elif engine.output_state != WANTED:
            engine.output_state = OPEN


class SocketStream(UpgradableStream):
    """A buffered stream on a connected stream socket, which it owns from construction on.

    Calls look blocking, and let other greenlets run while they wait. No byte that arrived or was accepted is lost by a timeout, a kill, or
    an error of the caller. LispWorks: `comm:socket-stream`.

    Args:
        socket: A gevent or standard-library socket, TCP or Unix, or an integer descriptor. `handle` is a synonym. A socket object that
            another stream owns is refused; that a descriptor has one stream only is the caller's to see to.
        direction: `"input"`, `"output"` or `"io"`.
        element_type: What `read_byte` and generic sequences see of a byte: `"base-char"` (or `str`), `"unsigned-byte-8"` (or `bytes`),
            `"signed-byte-8"`.
        encoding: How the Lisp vocabulary turns bytes into characters. Any text codec whose characters do not depend on those before.
        read_timeout: Seconds between receive calls that bring bytes; None is no limit.
        write_timeout: Seconds without progress while sending; None is no limit.
        ssl_ctx: None for no TLS. True for a secure default context, `"tls-v1.2"` or `"tls-v1.3"` for that version only, or an
            `ssl.SSLContext`, which is used as it is. The handshake is complete when the constructor returns.
        ssl_side: `"server"`, `"client"`, or `"both"`, which `handshake(side=...)` decides later.
        ctx_configure_callback: Called with a context that is made here, right after.
        ssl_configure_callback: Called with each `ssl.SSLObject`, before the handshake.
        handshake_timeout: Seconds for the whole handshake; None is no limit.
        tlsext_host_name: The name that is sent to the server, and that its certificate is checked for.
        allow_truncation: Take a TLS connection that ends without close_notify for one that ended in order.
        line_limit: The most bytes a line may have, its newline included; None is no limit.
        linger_timeout: Seconds without progress for which a close waits for the system to send what it holds; None is no limit.

    Raises:
        TypeError, ValueError: An argument is wrong. The caller's socket is untouched.
        StreamError: The handshake failed. As any exception from there on, it has closed the socket.
    """

    def __init__(self, socket: SocketLike | int | None = None, direction: Direction = "io",
                 element_type: ElementType | ElementTypeName = "base-char", *, handle: SocketLike | int | None = None,
                 encoding: str = "latin-1", read_timeout: float | None = None, write_timeout: float | None = None,
                 ssl_ctx: TLSContext | None = None, ssl_side: AnySide = "server",
                 ctx_configure_callback: ConfigureContext | None = None, ssl_configure_callback: ConfigureSSL | None = None,
                 handshake_timeout: float | None = None, tlsext_host_name: str | None = None, allow_truncation: bool = False,
                 line_limit: float | None = 2**20, linger_timeout: float | None = 2.0) -> None:
        if (socket is None) == (handle is None):
            raise TypeError("give one of socket and handle, not " + ("neither" if socket is None else "both"))
        options = StreamOptions(
            direction=direction, element_type=element_type, encoding=encoding, read_timeout=read_timeout, write_timeout=write_timeout,
            line_limit=line_limit, linger_timeout=linger_timeout, ssl_ctx=ssl_ctx, ssl_side=ssl_side,
            ctx_configure_callback=ctx_configure_callback, ssl_configure_callback=ssl_configure_callback,
            handshake_timeout=handshake_timeout, tlsext_host_name=tlsext_host_name, allow_truncation=allow_truncation)
        self._init_connected(handle if socket is None else socket, options, options.tls)

    def _init_connected(self, socket: Any, options: StreamOptions, tls: TLSOptions | None) -> None:
        """Initialize a stream that takes a connected socket, and shake hands if there are `tls` options."""
        self._proxy: Any = None
        self._init_stream(BlockingEngine(transport_of(socket), options), options.readable, options.writable, options)
        if tls is not None:
            with _occupied(self._engine):
                self._secure(tls, tls.handshake_limit, "refuse")

    # Whose it is.

    @property
    def proxy(self) -> Proxy | MaybeNone:
        """What a balancer's PROXY header said about the connection: `(version, command, source, destination, tlvs)`, or None."""
        return self._proxy

    def _introduce(self, proxy: Any) -> None:
        """Note what the header said. Where it names the client, `peer_address` and all errors name that from now on."""
        self._proxy = proxy
        if proxy.source is not None:
            self._engine.transport.rename_peer(proxy.source)  # type: ignore[attr-defined]  # both transports of this class have it

    # The socket.

    @property
    def socket(self) -> Any:
        """The socket that was given, or a gevent socket made for a handle on first use; None where it was taken away.

        Setting it closes the old one. LispWorks: `comm:socket-stream-socket`.
        """
        self._engine.refuse()
        return self._engine.transport.socket()  # type: ignore[attr-defined]  # both transports of this class have it

    @socket.setter
    def socket(self, new: Any) -> None:
        if new is not None and (0 <= new == self.fileno() if isinstance(new, int) else new is self.socket):
            return
        self._replace(new).close()

    def replace_socket(self, new: Any) -> Any:
        """Put `new` (or None) under the stream, and return the old socket, open and in its own blocking mode.

        The buffers stay, nothing is flushed, and the end of the input is forgotten.

        Raises:
            StreamError: TLS is attached.
            StreamBusy: A greenlet waits in the stream.
        """
        return self._replace(new).hand_back()

    def _replace(self, new: Any) -> Any:
        engine = self._engine
        engine.refuse()
        engine.refuse_thread()
        if engine.tls is not None:
            raise StreamError(f"the socket of the stream to {engine.peer} cannot be replaced under TLS: detach_ssl() comes first",
                              stream=self)
        engine.refuse_while_waiting()
        old = engine.plug(NoTransport(engine.transport.addresses()) if new is None else transport_of(new))
        engine.forget_ends()
        return old


_attributes.own_methods(SocketStream)


class StreamFactory:
    """Makes streams of one class with the same arguments, those of `StreamOptions`.

    Servers' streams share one context, so `ctx_configure_callback` is called here, once. A class with a constructor of its own is called
    with the arguments as keywords; any other takes the checked options.
    """

    def __init__(self, stream_class: type[SocketStream], **keywords: Any) -> None:
        if not (isinstance(stream_class, type) and issubclass(stream_class, SocketStream)):
            raise TypeError(f"stream_class must be SocketStream or a subclass of it, not {stream_class!r}")
        self._options = options = StreamOptions(**keywords)
        self._tls = options.tls
        self.is_secure: bool = options.tls is not None
        self.handshake_limit: float = options.handshake_limit
        if options.tls is not None and options.tls.side == "server":
            keywords["ssl_ctx"] = options.tls.share_context()
            keywords["ctx_configure_callback"] = None
        self._class: Any = stream_class
        self._is_constructed_here = all(
            getattr(stream_class, name, None) is getattr(SocketStream, name) for name in ("__new__", "__init__")
        )
        self._plain = {name: value for name, value in keywords.items() if name not in TLS_ARGUMENTS}
        self._keywords = keywords if self.is_secure else self._plain

    def make(self, connected: OwnedFd, secure: bool = True) -> SocketStream:
        """Return the stream of a connected socket, after its TLS handshake if there is one and `secure` is true.

        If the stream cannot be made, the connection is closed.
        """
        stream: SocketStream | None = None
        try:
            if self._is_constructed_here:
                kind = self._class
                plain: SocketStream = SocketStream.__new__(SocketStream) if kind is SocketStream else kind.__new__(kind)
                stream = plain
                plain._init_connected(connected, self._options, self._tls if secure else None)
            else:
                keywords = self._keywords if secure else self._plain
                stream = self._class.__new__(self._class, connected, **keywords)
                self._class.__init__(stream, connected, **keywords)
        except BaseException:
            if stream is not None and connected.descriptor is None:
                stream.close(abort=True)
            connected.close()
            raise
        return stream

    def secure(self, stream: SocketStream, limit: float) -> None:
        """Shake hands on a stream that was made without, at most `limit` seconds. Bytes that arrived before are the peer's ciphertext."""
        if self._tls is not None:
            stream._attach(self._tls, limit, "handshake")
