"""Attempts at several addresses side by side: the first to succeed wins, the others are closed (RFC 8305).

Rules for the next editor: one greenlet does it all, with watchers and without helpers, so any exception may end any
wait and `HappyEyeballs.run` closes what was begun. Errors are kept without their tracebacks, which would form cycles.
"""

from __future__ import annotations

import _socket
import errno
import os
from collections import deque
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from gevent import get_hub

import geventstreams._native.syscalls as _system
from geventstreams._constants import NEVER
from geventstreams._core.fairness import let_ready_run
from geventstreams._core.owned_fd import OwnedFd
from geventstreams._core.transport import address_name
from geventstreams._core.wakeup import Wakeup
from geventstreams._net.addresses import Address
from geventstreams.errors import ConnectError, ConnectTimeout

ATTEMPT_DELAY = 0.25
"""Seconds that an address has before the next one is tried beside it (RFC 8305, section 5)."""

UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY, errno.EINTR)
_WRITABLE = 2

Preparation = Callable[[Any, int], None]
"""What is done to a socket, whose family it is told, before it connects."""


class Attempt:
    """One address that is being connected to."""

    def __init__(self, address: Address, prepare: Preparation) -> None:
        self.family, self.address = address
        self.socket = _socket.socket(self.family, _socket.SOCK_STREAM)
        self._peer_address: Any = None
        self._wakeup: Wakeup | None = None
        try:
            self.socket.setblocking(False)
            prepare(self.socket, self.family)
            code = self.socket.connect_ex(self.address)
            if code and code not in UNDER_WAY:
                raise OSError(code, os.strerror(code))
        except BaseException:
            self.socket.close()
            raise

    def connected(self) -> bool:
        """Whether it is; the system's error, once, where it cannot be."""
        code = self.socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        try:
            self._peer_address = self.socket.getpeername()
        except OSError:
            return False
        if self.family != _socket.AF_UNIX and self._peer_address == self.socket.getsockname():
            # Nobody listens there, and the system chose the very port that we asked for as our own.
            raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        return True

    def tell(self, meeting: Wakeup) -> None:
        """Fires `meeting` when there may be an outcome."""
        if self._wakeup is None:
            self._wakeup = Wakeup(get_hub(), self.socket.fileno(), _WRITABLE)
            self._wakeup.listen(meeting.fire)
        self._wakeup.arm()

    def outcome(self) -> OwnedFd:
        """The connected socket."""
        self._stop()
        return OwnedFd(self.socket.detach(), self.family, self._peer_address)

    def close(self) -> None:
        """Gives the attempt up."""
        self._stop()
        self.socket.close()

    def _stop(self) -> None:
        if self._wakeup is not None:
            self._wakeup.close()
            self._wakeup = None


class HappyEyeballs:
    """Attempts that begin one after the other and soon run side by side. `what` is how errors call the goal."""

    def __init__(self, what: str, prepare: Preparation, deadline: float) -> None:
        self._what = what
        self._prepare = prepare
        self._deadline = deadline
        self._attempts: list[Attempt] = []
        self._errors: list[tuple[Any, OSError]] = []
        self._next_begin = 0.0

    def run(self, addresses: list[Address]) -> OwnedFd:
        """The connected socket of the winner; ConnectTimeout at the deadline, ConnectError when all have failed."""
        waiting = deque(alternating(addresses))
        meeting = Wakeup(get_hub())
        try:
            while (winner := self._winner()) is None:
                now = _system.monotonic()
                if now >= self._deadline:
                    raise ConnectTimeout(f"connecting to {self._what}: no answer in time{self._told()}")
                if waiting and now >= self._next_begin:
                    self._next_begin = now + ATTEMPT_DELAY
                    self._begin(waiting.popleft())
                elif self._attempts:
                    self._wait(meeting, min(self._deadline, self._next_begin if waiting else NEVER) - now)
                else:
                    let_ready_run(get_hub())  # whoever tries again and again lets others run
                    raise self._failure()
            return winner.outcome()
        finally:
            for attempt in self._attempts:
                attempt.close()

    def _begin(self, address: Address) -> None:
        try:
            self._attempts.append(Attempt(address, self._prepare))
        except OSError as error:
            self._failed(address[1], error)

    def _failed(self, address: Any, error: OSError) -> None:
        self._errors.append((address, error.with_traceback(None)))
        self._next_begin = 0.0

    def _winner(self) -> Attempt | None:
        """The attempt that succeeded, taken from those that are to be closed. Those that failed are closed here."""
        for attempt in self._attempts.copy():
            try:
                if attempt.connected():
                    self._attempts.remove(attempt)
                    return attempt
            except OSError as error:
                self._attempts.remove(attempt)
                attempt.close()
                self._failed(attempt.address, error)
        return None

    def _wait(self, meeting: Wakeup, limit: float) -> None:
        for attempt in self._attempts:
            attempt.tell(meeting)
        meeting.wait(limit)

    def _told(self) -> str:
        """What became of each address; where there is only the one that was asked for, it is not named again."""
        if len(self._errors) == 1 and self._what in (address_name(self._errors[0][0]), repr(self._errors[0][0])):
            return f": {self._errors[0][1].strerror or self._errors[0][1]}"
        return "".join(f"; {address_name(address)}: {error.strerror or error}" for address, error in self._errors)

    def _failure(self) -> ConnectError:
        codes = {error.errno for _, error in self._errors}
        code = codes.pop() if len(codes) == 1 else None
        return ConnectError(f"cannot connect to {self._what}{self._told()}", code, errors=self._errors)


def alternating(addresses: list[Address]) -> list[Address]:
    """The addresses in the order of the attempts: families take turns, the first one's first (RFC 8305, section 4)."""
    by_family: dict[int, list[Address]] = {}
    for address in addresses:
        by_family.setdefault(address[0], []).append(address)
    return [address for row in zip_longest(*by_family.values()) for address in row if address is not None]
