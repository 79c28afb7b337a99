"""A proxy between two sockets that can hold data back: so a test decides where in a conversation a stream waits."""

from __future__ import annotations

import contextlib
import math
import socket
from typing import Any

import gevent
from gevent.event import Event
from kit.network import reset
from kit.pairs import Pairs

CHUNK = 65536


class Passage:
    """One direction. What is held back is not lost, and neither is the end nor a reset."""

    def __init__(self, source: Any, target: Any) -> None:
        self._source = source
        self._target = target
        self._left: float = math.inf
        self._chunks: float = math.inf
        self._open = Event()
        self._open.set()
        self.passing = gevent.spawn(self._pass)

    def hold(self, after: float = 0, chunks: float = math.inf) -> None:
        """Let so many bytes pass, or so many chunks, and no more."""
        self._left = after if chunks == math.inf else math.inf
        self._chunks = chunks
        self._look()

    @property
    def is_shut(self) -> bool:
        """Whether nothing more passes."""
        return not self._open.is_set()

    def let_go(self) -> None:
        """Let everything pass again."""
        self._left = self._chunks = math.inf
        self._open.set()

    def _look(self) -> None:
        if self._left <= 0 or self._chunks <= 0:
            self._open.clear()

    def _pass(self) -> None:
        try:
            while data := self._source.recv(CHUNK):
                self._pass_on(data)
            self._open.wait()
            with contextlib.suppress(OSError):
                self._target.shutdown(socket.SHUT_WR)
        except OSError:
            self._open.wait()
            reset(self._target)

    def _pass_on(self, data: bytes) -> None:
        """Send a chunk; bytes that the target does not accept are lost, as on any wire."""
        while data:
            self._open.wait()
            part = data if self._left >= len(data) else data[: int(self._left)]
            data = data[len(part) :]
            self._left -= len(part)
            with contextlib.suppress(OSError):
                self._target.sendall(part)
            self._look()
        self._chunks -= 1
        self._look()


class Gate:
    """Two sockets, `near` and `far`, and what is between them: `there` from near to far, and `back`."""

    def __init__(self, pairs: Pairs, buffers: int) -> None:
        self.near, first = pairs.sockets("tcp", buffers)
        self.far, second = pairs.sockets("tcp", buffers)
        ends = pairs.far(first), pairs.far(second)
        self.there = Passage(*ends)
        self.back = Passage(*reversed(ends))

    def close(self) -> None:
        """End the middle man."""
        gevent.killall([self.there.passing, self.back.passing])
