"""Streams that look blocking and never block anybody else: buffered socket streams for gevent.

Rule for the next editor: the public names, and nothing else. `prefer_plain_modules()` comes before the first import of a hot module.
"""

from __future__ import annotations

from geventstreams._build import prefer_plain_modules, runs_compiled

prefer_plain_modules()

from geventstreams import conduit
from geventstreams.async_servers import AsyncServer
from geventstreams.async_sockets import AsyncSocket
from geventstreams.async_streams import AsyncInputStream, AsyncIOStream, AsyncOutputStream, AsyncStream
from geventstreams.buffered import BufferedStream
from geventstreams.callbacks import (
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
from geventstreams.connect import open_tcp_stream, open_unix_stream
from geventstreams.draining import DrainReport
from geventstreams.elements import ElementType
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
from geventstreams.events import TCPEOF, DNSError, TCPError, TCPEvent, TCPRefused, TCPReset, TCPTimeout, TCPTLSError
from geventstreams.legacy import makefile
from geventstreams.server import SocketStreamServer
from geventstreams.start_up import server_terminate, start_up_server
from geventstreams.stream import SocketStream
from geventstreams.transport import SocketTransport, Transport
from geventstreams.waiting import (
    WaitSet,
    noticed_socket_stream,
    process_wait,
    wait_for_input_streams,
    wait_for_input_streams_returning_first,
)

compiled: bool = runs_compiled(conduit)
"""Whether the hot modules run compiled."""

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
