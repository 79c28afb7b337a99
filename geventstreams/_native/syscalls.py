"""The system calls of a connected socket: none of them waits, and WOULD_WAIT is a number, not an exception."""

# Invariants:
# * A call that was interrupted by a signal is made again. Any other error of the system is raised as the OSError it is.
# * The socket's own blocking mode and timeout are neither asked for nor changed: every call passes MSG_DONTWAIT itself.
# * A socket object of family AF_UNSPEC serves all calls but those that read addresses.
# * What the hot modules call often has a C twin; the rest is Python in both builds.

from __future__ import annotations

import _socket
import contextlib
import errno
import fcntl
import os
import select
import struct
import sys
import termios
from collections.abc import Iterator
from itertools import starmap
from typing import Any

from geventstreams._constants import ENDED, WOULD_WAIT
from geventstreams._native.interpreter import original

OWN_FAMILY = -1
"""In place of a family: the one of the socket's name. Not every system has an option that tells it."""

_PIECES = 64

_DONTWAIT = _socket.MSG_DONTWAIT
_SEND_FLAGS = _DONTWAIT | getattr(_socket, "MSG_NOSIGNAL", 0)
_NONBLOCK = getattr(_socket, "SOCK_NONBLOCK", 0)
_SIOCOUTQNSD = 0x894B if sys.platform.startswith("linux") else 0
_POLLRDHUP = getattr(select, "POLLRDHUP", 0)


_close = original(os, "close")  # the patched one puts it off until the hub runs
_poll = original(select, "poll")


class _NonOwningSocket(_socket.socket):
    """A socket object that never closes its descriptor, also where an exception or a collector drops it."""

    __slots__ = ()

    def __del__(self) -> None:
        self.detach()


_recv_into = _NonOwningSocket.recv_into  # a method that is found once need not be bound at each call


def handle_of(descriptor: int, family: int) -> Any:
    """Return what the calls of this build are made with: here a socket object that never waits.

    `release` it before the descriptor is closed.
    """
    if _NONBLOCK:
        return _NonOwningSocket(family, _socket.SOCK_STREAM | _NONBLOCK, 0, descriptor)
    # Without that flag (macOS) the object takes the default timeout, and the descriptor its blocking mode: both are corrected.
    blocking = os.get_blocking(descriptor)
    handle = _NonOwningSocket(family, _socket.SOCK_STREAM, 0, descriptor)
    handle.setblocking(False)
    os.set_blocking(descriptor, blocking)
    return handle


def release(handle: Any) -> None:
    """Detach a handle from the descriptor, which its owner closes."""
    if handle is not None:
        handle.detach()


@contextlib.contextmanager
def as_socket(descriptor: int, family: int = _socket.AF_UNSPEC) -> Iterator[_socket.socket]:
    """Return a context manager with a socket object, for calls that are rare. With OWN_FAMILY it knows its family."""
    if descriptor < 0:  # closed, for example by a signal handler
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    handle = handle_of(descriptor, family)
    try:
        yield handle
    finally:
        handle.detach()


def receive(descriptor: int, handle: Any, space: memoryview, start: int, counts: list[int]) -> int:
    """Receive into `space[start:]`. Return the number of bytes, ENDED or WOULD_WAIT. The same C call appends the number to `counts`."""
    try:
        counts.extend(starmap(_recv_into, ((handle, space[start:] if start else space, 0, _DONTWAIT),)))
    except BlockingIOError:
        return WOULD_WAIT
    return counts[-1] or counts.pop()


def send(descriptor: int, handle: Any, data: bytes | memoryview, start: int, stop: int) -> int:
    """Send what the system takes now of `data[start:stop]`. Return the number of bytes, or WOULD_WAIT."""
    if start or stop != len(data):
        data = data[start:stop]
    try:
        return handle.send(data, _SEND_FLAGS)  # type: ignore[no-any-return]  # its class is not public
    except BlockingIOError:
        return WOULD_WAIT


def send_pieces(descriptor: int, handle: Any, pieces: list[bytes], start: int) -> int:
    """Send what the system takes now of the first 64 pieces, without the first `start` bytes. Return the number, or WOULD_WAIT."""
    first = memoryview(pieces[0])[start:]
    try:
        return handle.sendmsg([first, *pieces[1:_PIECES]], (), _SEND_FLAGS)  # type: ignore[no-any-return]  # as above
    except BlockingIOError:
        return WOULD_WAIT


def readable(descriptor: int) -> int:
    """Return the number of bytes that can be received, ENDED at an end or an error, or WOULD_WAIT. Nothing is taken."""
    if descriptor < 0:
        return ENDED
    try:
        return unread(descriptor) if readable_of([descriptor]) else WOULD_WAIT
    except OSError:  # other code closed it
        return ENDED


def readable_of(descriptors: list[int]) -> list[int]:
    """Return the indexes of those descriptors that have bytes, an end, an error or (a listener) a client now."""
    poll = _poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN | _POLLRDHUP)
    found = {descriptor for descriptor, _ in poll.poll(0)}
    return [index for index, descriptor in enumerate(descriptors) if descriptor in found]


def unread(descriptor: int) -> int:
    """Return the number of bytes that arrived in the system and were not received."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"))[0])


def not_yet_sent(descriptor: int) -> int:
    """Return the number of bytes that the system took from us and has not sent yet (Linux and TCP; 0 where it is not known)."""
    if not _SIOCOUTQNSD:
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(descriptor, _SIOCOUTQNSD, b"\0\0\0\0"))[0])
    except OSError:
        return 0


def end_output(descriptor: int, handle: Any) -> int:
    """Tell the peer that nothing more will come. Return 0."""
    handle.shutdown(_socket.SHUT_WR)
    return 0


def end_input(descriptor: int) -> None:
    """Tell the system that no more input is wanted."""
    with as_socket(descriptor) as handle:
        handle.shutdown(_socket.SHUT_RD)


def own_name(descriptor: int, family: int) -> Any:
    """Return the address of our end of a connection, as `getsockname` does."""
    return handle_of(descriptor, family).getsockname()


def ipv4_name(descriptor: int, handle: Any) -> Any:
    """Return the address of our end of an IPv4 connection."""
    return handle.getsockname()


def accept(accepting_socket: Any, ipv4_descriptor: int) -> tuple[int, Any] | None:
    """Accept a client of a socket that never waits. Return its descriptor and its address; None if there is none.

    `ipv4_descriptor` is the socket's descriptor if it is of IPv4, else -1.
    """
    try:
        return accepting_socket._accept()  # type: ignore[no-any-return]  # what `socket.accept` makes its object from
    except BlockingIOError:
        return None


def is_stream_socket(handle: _socket.socket) -> bool:
    """Return whether a socket is a stream socket."""
    return handle.getsockopt(_socket.SOL_SOCKET, _socket.SO_TYPE) == _socket.SOCK_STREAM


def is_listening(handle: _socket.socket) -> bool:
    """Return whether a socket, made with its own family, listens.

    Where the system does not tell (macOS refuses the option), one that has a name, no peer, and no end or error is taken for one that
    listens. It may also be a socket that is bound and nothing more; the first `accept` finds that.
    """
    try:
        return bool(handle.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN))
    except OSError as error:
        if error.errno not in (errno.ENOPROTOOPT, errno.EINVAL):
            raise
    with contextlib.suppress(OSError):
        handle.getpeername()
        return False
    name = handle.getsockname()
    poll = _poll()
    poll.register(handle.fileno(), 0)  # an end or an error is always reported
    return bool(name[1] if isinstance(name, tuple) else name) and not poll.poll(0)


def was_connected(descriptor: int) -> bool:
    """Return whether a socket that has no peer had one: a connection that was reset shows an end, a socket never connected does not."""
    poll = _poll()
    poll.register(descriptor, select.POLLIN | _POLLRDHUP)
    return any(events & (select.POLLIN | _POLLRDHUP) for _, events in poll.poll(0))


def reset_on_close(descriptor: int, handle: Any) -> int:
    """Make the coming close a reset instead of an orderly end. Return 0."""
    handle.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, struct.pack("ii", 1, 0))
    return 0


def close(descriptor: int) -> None:
    """Close the descriptor, once: on Linux it is closed even where the system returns an error."""
    try:
        _close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINTR, errno.EIO, errno.EBADF, errno.ECONNRESET):
            raise
