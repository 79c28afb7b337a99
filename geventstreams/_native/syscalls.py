"""The system calls of a connected socket: none of them waits, and "it would wait" is a number, not an exception.

Rules for the next editor: what the hot modules call often has a C twin in `_system.pxd`, which must do the same; a call that was
interrupted by a signal is made again; whatever else the system says comes out as the OSError it is. The socket's own blocking mode and
timeout are neither asked nor changed: every call says MSG_DONTWAIT itself. A socket object of family AF_UNSPEC serves all calls but those
that read addresses.
"""

from __future__ import annotations

import _socket
import _thread
import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
import sys
import termios
import time
import weakref
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from geventstreams._constants import ENDED, WOULD_WAIT

OWN_FAMILY = -1
"""The family that the name of a socket has: not every system has an option that tells it."""

_PIECES = 16

_DONTWAIT = (socket.MSG_DONTWAIT,)
_ZERO = (0,)
_SEND_FLAGS = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)
_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)
_SIOCOUTQNSD = 0x894B if sys.platform.startswith("linux") else 0
_POLLRDHUP = getattr(select, "POLLRDHUP", 0)


def original(module: ModuleType, name: str) -> Any:
    """What a function was before gevent patched it. Where nothing is patched, `gevent.monkey` need not be loaded for that."""
    monkey = sys.modules.get("gevent.monkey")
    return getattr(module, name) if monkey is None else monkey.get_original(module.__name__, name)


_close = original(os, "close")  # the patched one puts it off until the hub runs
_poll = original(select, "poll")
monotonic = time.monotonic
thread_id = original(_thread, "get_ident")


def compiled() -> bool:
    """Whether the C twins stand in for this file's functions."""
    return False


class _BorrowedSocket(_socket.socket):
    """A socket object that never closes its descriptor, whoever drops it: an exception, or a collector."""

    __slots__ = ()

    def __del__(self) -> None:
        self.detach()


def borrow(descriptor: int) -> Any:
    """What `receive` and `send` of this build make their calls with; `give_back` it before the descriptor is closed."""
    return _borrowed(descriptor, socket.AF_UNSPEC)


def _borrowed(descriptor: int, family: int) -> _BorrowedSocket:
    """A socket object that never waits."""
    if _NONBLOCK:
        return _BorrowedSocket(family, socket.SOCK_STREAM | _NONBLOCK, 0, descriptor)
    # Without that flag (macOS) the object takes the default timeout, and the descriptor its blocking mode: both are set right.
    blocking = os.get_blocking(descriptor)
    made = _BorrowedSocket(family, socket.SOCK_STREAM, 0, descriptor)
    made.setblocking(False)
    os.set_blocking(descriptor, blocking)
    return made


def give_back(borrowed: Any) -> None:
    """Parts a borrowed socket object from the descriptor, which is somebody else's to close."""
    if borrowed is not None:
        borrowed.detach()


@contextlib.contextmanager
def as_socket(descriptor: int, family: int = socket.AF_UNSPEC) -> Iterator[_socket.socket]:
    """A socket object for a moment, for the calls that are not made often; in both builds. With OWN_FAMILY it knows its family."""
    borrowed = _borrowed(descriptor, family)
    try:
        yield borrowed
    finally:
        borrowed.detach()


def receive(descriptor: int, borrowed: Any, space: memoryview, start: int, counts: list[int]) -> int:
    """Receives into `space[start:]`: the number of octets, which is also appended to `counts` by the same C call, ENDED, or WOULD_WAIT."""
    try:
        counts.extend(map(borrowed.recv_into, (space[start:] if start else space,), _ZERO, _DONTWAIT))
    except BlockingIOError:
        return WOULD_WAIT
    if not counts[-1]:
        counts.pop()
        return ENDED
    return counts[-1]


def send(descriptor: int, borrowed: Any, octets: memoryview, start: int, stop: int) -> int:
    """Sends of `octets[start:stop]` what the system takes now: the number of octets, or WOULD_WAIT."""
    try:
        return borrowed.send(octets[start:stop], _SEND_FLAGS)  # type: ignore[no-any-return]  # a borrowed socket has no public class
    except BlockingIOError:
        return WOULD_WAIT


def send_pieces(descriptor: int, borrowed: Any, pieces: list[bytes], start: int) -> int:
    """The same for several pieces of memory, in order, by one call that looks at sixteen of them; the first `start` octets are left out."""
    first = memoryview(pieces[0])[start:]
    try:
        return borrowed.sendmsg([first, *pieces[1:_PIECES]], (), _SEND_FLAGS)  # type: ignore[no-any-return]  # as above
    except BlockingIOError:
        return WOULD_WAIT


def readable(descriptor: int) -> int:
    """Takes nothing: WOULD_WAIT, the number of octets that can be received, or ENDED where an end or an error lies there."""
    poll = _poll()
    poll.register(descriptor, select.POLLIN | _POLLRDHUP)
    if not poll.poll(0):
        return WOULD_WAIT
    return unread(descriptor)


def readable_of(descriptors: list[int]) -> list[int]:
    """Those of the descriptors that have octets, an end, an error or (a listener) a client for us now."""
    poll = _poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN | _POLLRDHUP)
    return [descriptor for descriptor, _ in poll.poll(0)]


def unread(descriptor: int) -> int:
    """Octets that arrived in the system and were not received."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"))[0])


def not_yet_sent(descriptor: int) -> int:
    """Octets that the system took from us and has not sent yet (Linux and TCP; 0 where it cannot be told)."""
    if not _SIOCOUTQNSD:
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(descriptor, _SIOCOUTQNSD, b"\0\0\0\0"))[0])
    except OSError:
        return 0


def end_output(descriptor: int) -> int:
    """Tells the peer that nothing more will come: 0."""
    with as_socket(descriptor) as borrowed:
        borrowed.shutdown(socket.SHUT_WR)
    return 0


def own_name(descriptor: int, family: int) -> Any:
    """Our end of a connection, as `getsockname` gives it."""
    with as_socket(descriptor, family) as borrowed:
        return borrowed.getsockname()


def ipv4_name(descriptor: int) -> Any:
    """The same where the family is IPv4."""
    return own_name(descriptor, socket.AF_INET)


def is_stream_socket(borrowed: _socket.socket) -> bool:
    """Whether a socket is a stream's."""
    return borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM


def is_listening(borrowed: _socket.socket) -> bool:
    """Whether a socket, borrowed with its own family, listens.

    Where the system has no answer (macOS refuses the option), one that has a name, no peer, and no end or error is taken for one that
    does: what else that can be, a socket that is bound and nothing more, is told by the first `accept`.
    """
    try:
        return bool(borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError as error:
        if error.errno not in (errno.ENOPROTOOPT, errno.EINVAL):
            raise
    with contextlib.suppress(OSError):
        borrowed.getpeername()
        return False
    name = borrowed.getsockname()
    poll = _poll()
    poll.register(borrowed.fileno(), 0)  # an end or an error is always told
    return bool(name[1] if isinstance(name, tuple) else name) and not poll.poll(0)


def was_connected(descriptor: int) -> bool:
    """Whether a socket that has no peer had one: a connection that was reset shows an end, one that never was does not."""
    poll = _poll()
    poll.register(descriptor, select.POLLIN | _POLLRDHUP)
    return any(events & (select.POLLIN | _POLLRDHUP) for _, events in poll.poll(0))


def reset_on_close(descriptor: int) -> None:
    """Makes the coming close a reset instead of an orderly end."""
    with as_socket(descriptor) as borrowed:
        borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def refers(reference: weakref.ref[Any], thing: object) -> bool:
    """Whether a weak reference leads to this very object."""
    return reference() is thing


def close(descriptor: int) -> None:
    """Closes the descriptor, once: on Linux it is gone whatever the system answers."""
    try:
        _close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINTR, errno.EIO, errno.EBADF, errno.ECONNRESET):
            raise
