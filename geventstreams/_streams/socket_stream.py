"""The socket stream: a buffered stream on a connected socket, with the Lisp vocabulary beside the Python one."""

# Invariant: arguments are checked before the socket is touched; from then on the stream owns it.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geventstreams._core.tls_context import TLSOptions
from geventstreams._core.transport import NoTransport, SocketTransport
from geventstreams._streams.blocking import BlockingEngine
from geventstreams._streams.options import StreamOptions
from geventstreams._streams.tls_upgrade import UpgradableStream
from geventstreams.errors import StreamError

if TYPE_CHECKING:
    from geventstreams._streams.elements import ElementType
    from geventstreams._types import AnySide, ConfigureContext, ConfigureSSL, Direction, ElementTypeName, SocketLike, TLSContext


class SocketStream(UpgradableStream):
    """A buffered stream on a connected stream socket, which it owns from construction on.

    Calls look blocking, and let other greenlets run while they wait. No byte that arrived or was accepted is lost by a timeout, a kill, or
    an error of the caller. LispWorks: `comm:socket-stream`.

    Args:
        socket: A gevent or standard-library socket, TCP or Unix, or an integer descriptor. `handle` is a synonym.
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
        self._init_stream(BlockingEngine(SocketTransport(socket), options), options.readable, options.writable, options)
        if tls is not None:
            self._secure_at_birth(tls)

    # Whose it is.

    @property
    def proxy(self) -> Any:
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
        if new is not None and not isinstance(new, int) and new is self.socket:
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
        addresses = engine.transport.addresses()
        old = engine.plug(NoTransport(addresses) if new is None else SocketTransport(new))
        engine.forget_ends()
        return old
