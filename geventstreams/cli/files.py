"""Files that servers send: opened and read in threads, so that a disk that hangs stops no other client."""

from __future__ import annotations

import errno
import os
from typing import Any

from geventstreams._constants import BLOCK
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli.options import check_regular
from geventstreams.cli.threads import Threads

READERS = 10
"""Threads that open and read files, for all clients."""


class File:
    """A handler for servers that sends a file. It is opened for each connection, so one that is replaced is noticed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._threads = Threads(READERS)

    def __call__(self, stream: SocketStream, _address: Any) -> None:
        file = self._threads.call(OpenFile, self._path)
        sent = 0
        while data := self._threads.call(file.read):
            stream.write(data)
            sent += len(data)
        if sent < file.status.st_size:
            raise file.too_short()


class OpenFile:
    """A regular file that is being read. It is closed with its last reference: a thread that still reads it has one."""

    _descriptor = -1

    def __init__(self, path: str) -> None:
        # Asked first, because opening a device can do something; asked again, because it can be replaced in between, and then
        # not even a FIFO makes the opening wait.
        check_regular(os.stat(path), path)
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        self.status: os.stat_result = os.fstat(self._descriptor)
        check_regular(self.status, path)

    def skip_to(self, offset: int) -> None:
        """Read from `offset` on."""
        os.lseek(self._descriptor, offset, os.SEEK_SET)

    def read(self, size: int = BLOCK) -> bytes:
        """Return the next bytes, at most `size`; b"" at the end."""
        return os.read(self._descriptor, min(size, BLOCK))

    def too_short(self) -> OSError:
        """Return the error of a file that has ended too early. It resets the client, which must not take a part for the whole."""
        return OSError(errno.EIO, "the file became shorter while it was sent", self._path)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
