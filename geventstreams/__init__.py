"""Buffered socket streams for gevent: calls that look blocking and let other greenlets run.

    from geventstreams import open_tcp_stream

    with open_tcp_stream("example.org", 80, read_timeout=10) as stream:
        stream.write(b"HEAD / HTTP/1.0\\r\\nHost: example.org\\r\\n\\r\\n")
        print(stream.readline())

Where to begin:

* `open_tcp_stream`, `open_unix_stream`: connect and get a `SocketStream`.
* `SocketStream`: a stream over a connected socket, in plain text or under TLS. It is a binary file, and has LispWorks' vocabulary too.
* `SocketStreamServer`, `start_up_server`: a greenlet and a stream for each connection.
* `wait_for_input_streams`, `WaitSet`: wait for input on many streams at once.
* `tcp_connect`, `tcp_server`: connections that call back, as in cl-async.
* `open_streams`: the open streams, for a debugger.
* `makefile`: a file over a socket that other code owns.
* `StreamError` and its subclasses: what can go wrong.

Modules to import by name: `geventstreams.monkey`, `geventstreams.metrics`, `geventstreams.proxy_protocol`, `geventstreams.relay`,
`geventstreams.workers`, and `geventstreams.testing` for tests.
"""

# Connecting, servers, waiting, callbacks and `makefile` are loaded when one of their names is first used, so a program pays at its start
# for what it uses. _ON_DEMAND is the list of their names; checkers find them by the imports under TYPE_CHECKING. __all__ is a literal,
# because checkers understand no other: without it `import *` would bring them the modules `server`, `errors` and so on as well.

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError("geventstreams does not run on Windows: it needs poll, fcntl and the socket calls of Unix systems (WSL has them)")

from geventstreams._build import __version__ as __version__
from geventstreams._build import prefer_plain_modules, runs_compiled

prefer_plain_modules()  # before the first import of a hot module

from geventstreams import errors as errors
from geventstreams._core.transport import SocketTransport as SocketTransport
from geventstreams._core.transport_base import Transport as Transport
from geventstreams._streams import engine as _engine
from geventstreams._streams.buffered import BufferedStream as BufferedStream
from geventstreams._streams.elements import ElementType as ElementType
from geventstreams._streams.socket_stream import SocketStream as SocketStream
from geventstreams.errors import *

if TYPE_CHECKING:
    from geventstreams import callbacks as callbacks
    from geventstreams import server as server
    from geventstreams import waiting as waiting
    from geventstreams._files.makefile import makefile as makefile
    from geventstreams._net.connect import open_tcp_stream as open_tcp_stream
    from geventstreams._net.connect import open_unix_stream as open_unix_stream
    from geventstreams._streams.open_streams import open_streams as open_streams
    from geventstreams.callbacks import *
    from geventstreams.server import *
    from geventstreams.waiting import *

compiled: bool = runs_compiled(_engine)
"""Whether the hot modules run compiled."""

__all__ = [
    "AsyncIOStream", "AsyncInputStream", "AsyncOutputStream", "AsyncServer", "AsyncSocket", "AsyncStream", "BufferedStream", "ConnectError",
    "ConnectTimeout", "DNSError", "DrainReport", "ElementType", "EndOfFile", "HandshakeTimeout", "IncompleteRead", "LineTooLong",
    "ReadTimeout", "SocketStream", "SocketStreamServer", "SocketTransport", "StreamBusy", "StreamClosed", "StreamError", "StreamReset",
    "StreamTimeout", "StreamTruncated", "TCPEOF", "TCPError", "TCPEvent", "TCPRefused", "TCPReset", "TCPTLSError", "TCPTimeout", "TLSError",
    "TLSVerificationError", "Transport", "UnsuitableSocket", "WaitSet", "WriteTimeout", "close_socket", "close_tcp_server", "compiled",
    "makefile", "noticed_socket_stream", "open_streams", "open_tcp_stream", "open_unix_stream", "pipe_connect", "pipe_server",
    "process_wait", "server_terminate", "set_socket_timeouts", "socket_data", "start_up_server", "tcp_connect", "tcp_server",
    "wait_for_input_streams", "wait_for_input_streams_returning_first", "write_socket_data",
]  # fmt: skip

_ON_DEMAND = {
    "_files.makefile": {"makefile"},
    "_net.connect": {"open_tcp_stream", "open_unix_stream"},
    "_streams.open_streams": {"open_streams"},
    "callbacks": {
        "AsyncIOStream", "AsyncInputStream", "AsyncOutputStream", "AsyncServer", "AsyncSocket", "AsyncStream", "DNSError", "TCPEOF",
        "TCPError", "TCPEvent", "TCPRefused", "TCPReset", "TCPTLSError", "TCPTimeout", "close_socket", "close_tcp_server", "pipe_connect",
        "pipe_server", "set_socket_timeouts", "socket_data", "tcp_connect", "tcp_server", "write_socket_data",
    },
    "server": {"DrainReport", "SocketStreamServer", "server_terminate", "start_up_server"},
    "waiting": {
        "WaitSet", "noticed_socket_stream", "process_wait", "wait_for_input_streams", "wait_for_input_streams_returning_first",
    },
}  # fmt: skip
"""The public names of each module that is loaded on demand."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:  # checkers would take any name for one of ours
        if name in _ON_DEMAND:
            return importlib.import_module(f"{__name__}.{name}")
        for module, names in _ON_DEMAND.items():
            if name in names:
                value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *(module for module in _ON_DEMAND if not module.startswith("_"))})
