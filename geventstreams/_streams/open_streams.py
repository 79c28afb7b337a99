"""Which streams are open: for a debugger, or for a signal handler that prints them."""

from __future__ import annotations

from gevent import get_hub

from geventstreams._core.living import living
from geventstreams._streams.buffered import BufferedStream


def open_streams() -> list[BufferedStream]:
    """Return the open streams of this thread's hub, those of connections that call back included, in no particular order.

    The stream's `repr` says what state it is in. The living objects of the program are searched, which takes milliseconds; streams
    cost nothing for it.
    """
    hub = get_hub()
    return [stream for stream in living(BufferedStream) if stream._is_of(hub)]
