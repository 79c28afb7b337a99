"""Servers: a greenlet and a stream for each connection, draining, counting, and LispWorks' `start_up_server`.

`geventstreams.SocketStreamServer` is where to begin.
"""

from geventstreams.server.draining import DrainReport
from geventstreams.server.server import SocketStreamServer
from geventstreams.server.start_up import server_terminate, start_up_server

__all__ = ["DrainReport", "SocketStreamServer", "server_terminate", "start_up_server"]
