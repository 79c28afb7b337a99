"""The socket stream: a buffered stream on a connected socket, with the Lisp vocabulary beside the Python one.

Rules for the next editor: arguments are checked before the socket is touched; from then on the stream owns it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geventstreams._core.tls_context import TLSOptions
from geventstreams._core.transport import NoTransport, SocketTransport
from geventstreams._files.text_file import SharedFile, file_over, halves
from geventstreams._streams.options import StreamOptions
from geventstreams._streams.tls_upgrade import UpgradableStream
from geventstreams.errors import StreamError

if TYPE_CHECKING:
    from io import TextIOWrapper
    from typing import overload

    from geventstreams._streams.elements import ElementType
    from geventstreams._types import (
        AnySide,
        BinaryMode,
        ConfigureContext,
        ConfigureSSL,
        Direction,
        ElementTypeName,
        SocketLike,
        TextMode,
        TLSContext,
    )


class SocketStream(UpgradableStream):
    """A buffered stream on a connected stream socket, which it owns from construction on. Modelled on LispWorks' `comm:socket-stream`.

    `socket` (or `handle`) is a gevent or standard-library socket, a Unix socket, or an integer descriptor. `element_type` decides what
    `read_byte` and generic sequences see of an octet, `encoding` how octets become characters. `read_timeout` limits the seconds between
    receipts, `write_timeout` those without progress while sending, `linger_timeout` those a close waits for the system without progress;
    `line_limit` the octets of a line. Nothing that arrived or was accepted is lost by a timeout, a kill, or an error of the caller.

    With `ssl_ctx` (a context, True for a secure default one, or "tls-v1.2" or "tls-v1.3") the stream is TLS's `ssl_side`: "client",
    "server", or "both", which `handshake(side=...)` decides later. The handshake is complete when the constructor returns; any exception
    closes the socket. `ctx_configure_callback(ctx)` is called with a context made here, `ssl_configure_callback(ssl_object)` before the
    handshake. `handshake_timeout` limits the whole handshake, `tlsext_host_name` is what the certificate is checked for.
    `allow_truncation` takes a connection that ends without TLS's goodbye for one that ended.
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
        self._init_stream(SocketTransport(socket), options.readable, options.writable, options)
        if tls is not None:
            self._secure_at_birth(tls)

    # Whose it is.

    @property
    def proxy(self) -> Any:
        """What a balancer's PROXY header said about the connection: `(version, command, source, destination, tlvs)`, or None."""
        return self._proxy

    def _introduce(self, proxy: Any) -> None:
        """Takes note of what the header said: where it names the client, `peer_address` and all errors name that from now on."""
        self._proxy = proxy
        if proxy.source is not None:
            self._transport.rename_peer(proxy.source)  # type: ignore[attr-defined]  # both transports of this class have it

    # The socket.

    @property
    def socket(self) -> Any:
        """The socket that was given, or a gevent socket made for a handle on first use; None where it was taken away. Setting it closes
        the old one."""
        self._refuse()
        return self._transport.socket()  # type: ignore[attr-defined]  # both transports of this class have it

    @socket.setter
    def socket(self, new: Any) -> None:
        if new is not None and not isinstance(new, int) and new is self.socket:
            return
        self._replace(new).close()

    def replace_socket(self, new: Any) -> Any:
        """Puts `new` (or None) under the stream and hands the old socket back, open and in its own blocking mode.

        The buffers stay, nothing is flushed, the end state is cleared. StreamBusy while a greenlet waits in the stream.
        """
        return self._replace(new).hand_back()

    def _replace(self, new: Any) -> Any:
        self._refuse()
        self._refuse_thread()
        if self._tls is not None:
            raise StreamError(f"the socket of the stream to {self._transport.peer} cannot be replaced under TLS: detach_ssl() comes first",
                              stream=self)
        self._refuse_while_waiting()
        addresses = self._transport.addresses()
        old = self._plug(NoTransport(addresses) if new is None else SocketTransport(new))
        self._forget_ends()
        return old

    if TYPE_CHECKING:

        @overload
        def makefile(self, mode: TextMode = "r", buffering: int | None = None, *, encoding: str | None = None, errors: str | None = None,
                     newline: str | None = None) -> TextIOWrapper: ...
        @overload
        def makefile(self, mode: BinaryMode, buffering: int | None = None) -> SharedFile: ...
        @overload
        def makefile(self, mode: str, buffering: int | None = None, *, encoding: str | None = None, errors: str | None = None,
                     newline: str | None = None) -> TextIOWrapper | SharedFile: ...

    def makefile(self, mode: str = "r", buffering: int | None = None, *, encoding: str | None = None, errors: str | None = None,
                 newline: str | None = None) -> Any:
        """A file over this stream, as `socket.makefile` has it: its close flushes and leaves the stream open. The buffers are the
        stream's own, whatever `buffering` says."""
        self._refuse()
        halves(mode)
        return file_over(SharedFile(self), mode, encoding, errors, newline)
