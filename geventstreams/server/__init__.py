"""Servers: `SocketStreamServer` runs a greenlet and a stream for each connection; `start_up_server` is LispWorks' form of it.

`SocketStreamServer.stop` drains connections, and `SocketStreamServer.stats` counts them.
"""

from geventstreams.server.draining import DrainReport
from geventstreams.server.server import SocketStreamServer
from geventstreams.server.start_up import server_terminate, start_up_server

__all__ = ["DrainReport", "SocketStreamServer", "server_terminate", "start_up_server"]
