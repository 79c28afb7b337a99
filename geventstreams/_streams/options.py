"""The arguments of streams that are not made yet, for those who connect or accept first and make the stream then.

Rule for the next editor: all that the stream's constructor would refuse is refused here, before anything was opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geventstreams._core import arguments
from geventstreams._core.owned_fd import OwnedFd
from geventstreams._core.tls_context import TLSOptions
from geventstreams._streams.elements import element_type as element_type_of
from geventstreams._streams.elements import encoding as encoding_of
from geventstreams._streams.socket_stream import DIRECTIONS, SocketStream


class StreamOptions:
    """What all streams of one opener or server have in common."""

    def __init__(
        self, stream_class: type[SocketStream], *, direction: str, element_type: Any, encoding: str,
        read_timeout: float | None, write_timeout: float | None, line_limit: float | None,
        linger_timeout: float | None, ssl_ctx: Any, ssl_side: str,
        ctx_configure_callback: Callable[[Any], object] | None, ssl_configure_callback: Callable[[Any], object] | None,
        handshake_timeout: float | None, tlsext_host_name: str | None, allow_truncation: bool,
    ) -> None:
        if not callable(stream_class):
            raise TypeError(f"stream_class must be a class of streams, not {stream_class!r}")
        arguments.chosen("direction", direction, DIRECTIONS)
        element_type_of(element_type)
        encoding_of(encoding)
        arguments.seconds("read_timeout", read_timeout)
        arguments.seconds("write_timeout", write_timeout)
        arguments.count_limit("line_limit", line_limit)
        arguments.seconds("linger_timeout", linger_timeout)
        self.is_secure = ssl_ctx is not None
        terms = TLSOptions(
            ssl_ctx if self.is_secure else True, ssl_side, ctx_configure_callback, ssl_configure_callback,
            handshake_timeout, tlsext_host_name if self.is_secure else None, allow_truncation,
        )
        self.handshake_limit = terms.handshake_limit
        self._make: Any = stream_class
        self._tls: dict[str, Any] = {}
        self._keywords: dict[str, Any] = {
            "direction": direction, "element_type": element_type, "encoding": encoding, "read_timeout": read_timeout,
            "write_timeout": write_timeout, "line_limit": line_limit, "linger_timeout": linger_timeout,
        }
        if self.is_secure:
            terms.prepare(ssl_side)
            if ssl_side == "server":  # many streams share one context, made and configured now
                ssl_ctx, ctx_configure_callback = terms.context(ssl_side), None
            self._tls = {
                "ssl_ctx": ssl_ctx, "ssl_side": ssl_side, "ctx_configure_callback": ctx_configure_callback,
                "ssl_configure_callback": ssl_configure_callback, "handshake_timeout": handshake_timeout,
                "tlsext_host_name": tlsext_host_name, "allow_truncation": allow_truncation,
            }

    def make(self, connected: OwnedFd) -> SocketStream:
        """The stream on a connected socket, its handshake done.

        Whatever keeps it from being made, also in the constructor of a subclass, the connection is closed then.
        """
        return self._made(connected, {**self._keywords, **self._tls})

    def make_plain(self, connected: OwnedFd) -> SocketStream:
        """The same before its handshake, for those who have something to exchange first; then comes `secure`."""
        return self._made(connected, self._keywords)

    def secure(self, stream: SocketStream, limit: float) -> None:
        """Makes up for the handshake, where there is to be one, within `limit` seconds; octets that came early are its."""
        if self.is_secure:
            stream.attach_ssl(**{**self._tls, "handshake_timeout": limit, "prefetched": "handshake"})

    def _made(self, connected: OwnedFd, keywords: dict[str, Any]) -> SocketStream:
        stream: SocketStream = self._make.__new__(self._make, connected, **keywords)
        try:
            self._make.__init__(stream, connected, **keywords)
        except BaseException:
            if connected.was_taken:
                stream.close(abort=True)
            connected.close()
            raise
        return stream
