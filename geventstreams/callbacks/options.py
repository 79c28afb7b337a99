"""How the connections of one client or server of the callback half behave: callbacks and limits, checked before anything is opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geventstreams._constants import NEVER
from geventstreams._core import arguments
from geventstreams._streams.elements import element_type as element_type_of
from geventstreams._streams.elements import encoding as encoding_of

HIGH_WATER = 262144
LOW_WATER = 65536

ReadCallback = Callable[[Any, Any], object]
Callback = Callable[[Any], object]


class ConnectionOptions:
    """What all connections of one client or server have in common."""

    def __init__(self, read_cb: ReadCallback | None, event_cb: Callback | None, *, connect_cb: Callback | None = None,
                 write_cb: Callback | None = None, stream: bool = False, dont_drain_read_buffer: bool | None = None,
                 read_timeout: float | None = None, write_timeout: float | None = None, half_close: bool = False,
                 high_water: int = HIGH_WATER, low_water: int = LOW_WATER, element_type: Any = "unsigned-byte-8",
                 encoding: str = "latin-1", line_limit: float | None = 2**20, linger_timeout: float | None = 2.0) -> None:
        self.read_cb = callback("read_cb", read_cb)
        self.event_cb = callback("event_cb", event_cb)
        self.connect_cb = callback("connect_cb", connect_cb)
        self.write_cb = callback("write_cb", write_cb)
        self.stream = bool(stream)
        keeps = self.stream or read_cb is None if dont_drain_read_buffer is None else bool(dont_drain_read_buffer)
        if not keeps and read_cb is None:
            raise ValueError("read_cb must not be None where the read buffer is drained: nobody would get the octets")
        self.draining = not keeps
        self.read_limit = arguments.seconds("read_timeout", read_timeout)
        self.write_limit = arguments.seconds("write_timeout", write_timeout)
        self.linger_limit = arguments.seconds("linger_timeout", linger_timeout)
        self.half_close = bool(half_close)
        self.high_water = arguments.positive("high_water", high_water)
        self.low_water = arguments.positive("low_water", low_water)
        if self.low_water > self.high_water:
            raise ValueError(f"low_water must not be above high_water ({high_water!r}), not {low_water!r}")
        element_type_of(element_type)
        encoding_of(encoding)
        arguments.count_limit("line_limit", line_limit)
        self.stream_options = {"element_type": element_type, "encoding": encoding, "line_limit": line_limit,
                               "linger_timeout": linger_timeout}

    def patience(self, timeout: float | None) -> float | None:
        """Seconds that making a connection may take: those given for it, else the smaller of the two limits."""
        limit = min(self.read_limit, self.write_limit) if timeout is None else arguments.seconds("timeout", timeout)
        return None if limit == NEVER else limit


def callback(name: str, value: Any) -> Any:
    """What can be called, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable or None, not {type(value).__name__} {value!r}")
    return value


def bytes_to_send(name: str, data: Any, start: int = 0, end: int | None = None) -> Any:
    """Return `data[start:end]` as bytes or a view of bytes; a string is encoded as UTF-8."""
    if isinstance(data, str):
        first, last = arguments.bounds(start, end, len(data))
        return data[first:last].encode()
    view = arguments.octets(name, data)
    first, last = arguments.bounds(start, end, len(view))
    return view[first:last]
