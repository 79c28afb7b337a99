"""Streams that look blocking and never block anybody else: buffered socket streams for gevent.

Rules for the next editor: the public names, and nothing else. `prefer_plain_modules()` comes before the first import of a hot module.
A program pays at its start for what it uses: servers, waiting, the callback half and `makefile` are loaded where they are first asked for.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError("geventstreams does not run on Windows: it needs poll, fcntl and the socket calls of Unix systems (WSL has them)")

from geventstreams._build import prefer_plain_modules, runs_compiled

prefer_plain_modules()

from geventstreams._core.transport import SocketTransport, Transport
from geventstreams._net.connect import open_tcp_stream, open_unix_stream
from geventstreams._streams import engine
from geventstreams._streams.buffered import BufferedStream
from geventstreams._streams.elements import ElementType
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import (
    ConnectError,
    ConnectTimeout,
    EndOfFile,
    HandshakeTimeout,
    IncompleteRead,
    LineTooLong,
    ReadTimeout,
    StreamBusy,
    StreamClosed,
    StreamError,
    StreamReset,
    StreamTimeout,
    StreamTruncated,
    TLSError,
    TLSVerificationError,
    UnsuitableSocket,
    WriteTimeout,
)

if TYPE_CHECKING:
    from geventstreams._files.makefile import makefile
    from geventstreams.callbacks import (
        TCPEOF,
        AsyncInputStream,
        AsyncIOStream,
        AsyncOutputStream,
        AsyncServer,
        AsyncSocket,
        AsyncStream,
        DNSError,
        TCPError,
        TCPEvent,
        TCPRefused,
        TCPReset,
        TCPTimeout,
        TCPTLSError,
        close_socket,
        close_tcp_server,
        pipe_connect,
        pipe_server,
        set_socket_timeouts,
        socket_data,
        tcp_connect,
        tcp_server,
        write_socket_data,
    )
    from geventstreams.server import DrainReport, SocketStreamServer, server_terminate, start_up_server
    from geventstreams.waiting import (
        WaitSet,
        noticed_socket_stream,
        process_wait,
        wait_for_input_streams,
        wait_for_input_streams_returning_first,
    )

__version__ = "1.0.0"

compiled: bool = runs_compiled(engine)
"""Whether the hot modules run compiled."""

_ON_DEMAND = {
    "_files.makefile": {"makefile"},
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
"""The modules that are loaded where one of their names is first asked for."""


def __getattr__(name: str) -> Any:
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


__all__ = [
    "TCPEOF",
    "AsyncIOStream",
    "AsyncInputStream",
    "AsyncOutputStream",
    "AsyncServer",
    "AsyncSocket",
    "AsyncStream",
    "BufferedStream",
    "ConnectError",
    "ConnectTimeout",
    "DNSError",
    "DrainReport",
    "ElementType",
    "EndOfFile",
    "HandshakeTimeout",
    "IncompleteRead",
    "LineTooLong",
    "ReadTimeout",
    "SocketStream",
    "SocketStreamServer",
    "SocketTransport",
    "StreamBusy",
    "StreamClosed",
    "StreamError",
    "StreamReset",
    "StreamTimeout",
    "StreamTruncated",
    "TCPError",
    "TCPEvent",
    "TCPRefused",
    "TCPReset",
    "TCPTLSError",
    "TCPTimeout",
    "TLSError",
    "TLSVerificationError",
    "Transport",
    "UnsuitableSocket",
    "WaitSet",
    "WriteTimeout",
    "close_socket",
    "close_tcp_server",
    "compiled",
    "makefile",
    "noticed_socket_stream",
    "open_tcp_stream",
    "open_unix_stream",
    "pipe_connect",
    "pipe_server",
    "process_wait",
    "server_terminate",
    "set_socket_timeouts",
    "socket_data",
    "start_up_server",
    "tcp_connect",
    "tcp_server",
    "wait_for_input_streams",
    "wait_for_input_streams_returning_first",
    "write_socket_data",
]
