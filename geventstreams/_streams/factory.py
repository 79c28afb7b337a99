"""Making the streams of an opener or server, whose arguments were checked before anything was opened."""

from __future__ import annotations

from typing import Any

from geventstreams._core.owned_fd import OwnedFd
from geventstreams._streams.options import StreamOptions
from geventstreams._streams.socket_stream import SocketStream

TLS_ARGUMENTS = ("ssl_ctx", "ssl_side", "ctx_configure_callback", "ssl_configure_callback", "handshake_timeout", "tlsext_host_name",
                 "allow_truncation")


class StreamFactory:
    """Makes streams of one class with the same arguments, those of `StreamOptions`.

    Servers' streams share one context, so `ctx_configure_callback` is called here, once. A class with a constructor of its own is called
    with the arguments as keywords; any other takes the checked options.
    """

    def __init__(self, stream_class: type[SocketStream], **keywords: Any) -> None:
        if not callable(stream_class):
            raise TypeError(f"stream_class must be a class of streams, not {stream_class!r}")
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
        keywords: dict[str, Any] = {} if self._is_constructed_here else self._keywords if secure else self._plain
        stream: SocketStream = self._class.__new__(self._class, connected, **keywords)
        try:
            if self._is_constructed_here:
                stream._init_connected(connected, self._options, self._tls if secure else None)
            else:
                self._class.__init__(stream, connected, **keywords)
        except BaseException:
            if connected.was_taken:
                stream.close(abort=True)
            connected.close()
            raise
        return stream

    def secure(self, stream: SocketStream, limit: float) -> None:
        """Shake hands on a stream that was made without, at most `limit` seconds. Bytes that arrived before are the peer's ciphertext."""
        if self._tls is not None:
            stream._attach(self._tls, limit, "handshake")
