"""Connections that call back, and their streams, whose reads never wait: cl-async's TCP half.

Begin with `geventstreams.tcp_connect` and `geventstreams.tcp_server`.
"""

from geventstreams.callbacks.api import (
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
from geventstreams.callbacks.connection import AsyncSocket
from geventstreams.callbacks.events import TCPEOF, DNSError, TCPError, TCPEvent, TCPRefused, TCPReset, TCPTimeout, TCPTLSError
from geventstreams.callbacks.server import AsyncServer
from geventstreams.callbacks.stream import AsyncInputStream, AsyncIOStream, AsyncOutputStream, AsyncStream

__all__ = [
    "TCPEOF", "AsyncIOStream", "AsyncInputStream", "AsyncOutputStream", "AsyncServer", "AsyncSocket", "AsyncStream", "DNSError", "TCPError",
    "TCPEvent", "TCPRefused", "TCPReset", "TCPTLSError", "TCPTimeout", "close_socket", "close_tcp_server", "pipe_connect", "pipe_server",
    "set_socket_timeouts", "socket_data", "tcp_connect", "tcp_server", "write_socket_data",
]
