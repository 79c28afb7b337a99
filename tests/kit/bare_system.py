"""Takes away what only Linux has, so that tests run as they would on macOS. Call `take_away` before gevent and the package are imported.

It is what GEVENTSTREAMS_BARE=1 in the environment asks `conftest` for; for a compiled build the hot modules are to be built with
CFLAGS=-DGEVENTSTREAMS_BARE as well. It simulates what is missing, not how another kernel behaves.
"""

import _socket
import select
import socket

REFUSED = 0x7FFF
"""An option that no system has: asking for it is what asking for SO_ACCEPTCONN is on macOS."""

ONLY_LINUX = {
    **dict.fromkeys((_socket, socket), ("SO_DOMAIN", "SO_PROTOCOL", "MSG_NOSIGNAL", "SOCK_NONBLOCK", "SOCK_CLOEXEC")),
    select: ("POLLRDHUP", "EPOLLRDHUP"),
}


def take_away() -> None:
    """Do it, for the whole process."""
    for module, names in ONLY_LINUX.items():
        for name in names:
            module.__dict__.pop(name, None)
        if hasattr(module, "__all__"):
            module.__all__[:] = [name for name in module.__all__ if name not in names]
    socket.SO_ACCEPTCONN = _socket.SO_ACCEPTCONN = REFUSED  # type: ignore[misc]
