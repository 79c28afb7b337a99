"""The keyword arguments of connections that call back: one list, with one check, for clients and servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from geventstreams._core import arguments
from geventstreams._streams.options import TLS_ARGUMENTS, StreamOptions, keywords_for, takes_keywords_of

if TYPE_CHECKING:
    from geventstreams._types import EventCallback, SocketCallback

ReadCallback = Callable[[Any, Any], object]


class ConnectionOptions:
    """The checked arguments of one client, or of all connections of a server. `tls` has those that are checked where a stream is made."""

    @takes_keywords_of(StreamOptions.__init__, without=("direction", "ssl_side", "tlsext_host_name"), element_type="unsigned-byte-8")
    def __init__(self, read_cb: ReadCallback | None, event_cb: EventCallback | None, *, connect_cb: Callable[[Any], object] | None = None,
                 write_cb: SocketCallback | None = None, stream: bool = False, dont_drain_read_buffer: bool | None = None,
                 half_close: bool = False, high_water: int = 262144, low_water: int = 65536, **of_streams: Any) -> None:
        self.read_cb: ReadCallback | None = arguments.callback("read_cb", read_cb)
        self.event_cb: EventCallback | None = arguments.callback("event_cb", event_cb)
        self.connect_cb: Callable[[Any], object] | None = arguments.callback("connect_cb", connect_cb)
        self.write_cb: SocketCallback | None = arguments.callback("write_cb", write_cb)
        self.stream: bool = bool(stream)
        keeps = self.stream or read_cb is None if dont_drain_read_buffer is None else bool(dont_drain_read_buffer)
        if not keeps and read_cb is None:
            raise ValueError("read_cb must not be None if the read buffer is drained: it alone receives the bytes")
        self.draining: bool = not keeps
        self.half_close: bool = bool(half_close)
        self.high_water: int = arguments.positive("high_water", high_water)
        self.low_water: int = arguments.positive("low_water", low_water)
        if self.low_water > self.high_water:
            raise ValueError(f"low_water must not be above high_water ({high_water!r}), not {low_water!r}")
        keywords = keywords_for(ConnectionOptions.__init__, of_streams)
        self.tls: dict[str, Any] = {name: keywords.pop(name) for name in TLS_ARGUMENTS if name in keywords}
        self.of_streams: Any = StreamOptions(**keywords)

    def of_client(self, timeout: float | None) -> tuple[float | None, dict[str, Any]]:
        """Return the seconds that connecting may take, and the arguments of TLS.

        The default is the smaller one of both timeouts; for the handshake, as long as for connecting.
        """
        limit = min(self.of_streams.read_limit, self.of_streams.write_limit) if timeout is None else arguments.seconds("timeout", timeout)
        seconds = arguments.given_seconds(limit)
        if self.tls["ssl_ctx"] is None or self.tls["handshake_timeout"] is not None:
            return seconds, self.tls
        return seconds, {**self.tls, "handshake_timeout": seconds}


def bytes_to_send(data: Any, start: int = 0, end: int | None = None) -> Any:
    """Return `data[start:end]` as bytes or a view of bytes; a string is encoded as UTF-8."""
    if isinstance(data, str):
        first, last = arguments.bounds(start, end, len(data))
        return data[first:last].encode()
    view = arguments.byte_view("data", data)
    first, last = arguments.bounds(start, end, len(view))
    return view[first:last]
