"""Connecting to several addresses at the same time: the first to succeed is used, the others are closed (RFC 8305)."""

# Invariants: one greenlet does everything, with watchers and without other greenlets, so any exception may end any wait, and
# `HappyEyeballs.run` closes what was begun. Errors are kept without their tracebacks, which would form cycles.

from __future__ import annotations

import _socket
import errno
import os
from collections import deque
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from gevent import get_hub

import geventstreams._core.handshakes as handshakes
from geventstreams._constants import NEVER
from geventstreams._core.clock import CLOCK
from geventstreams._core.fairness import let_ready_run
from geventstreams._core.transport import OwnedFd, SocketDouble, address_name
from geventstreams._core.wakeup import WRITE, Wakeup
from geventstreams._net.addresses import Address
from geventstreams._net.network import network
from geventstreams.errors import ConnectError, ConnectTimeout

ATTEMPT_DELAY = 0.25
"""Seconds until the next address is tried at the same time (RFC 8305, section 5)."""

IN_PROGRESS = (errno.EINPROGRESS, errno.EALREADY, errno.EINTR)

Preparation = Callable[[Any, int], None]
"""What is done to a socket before it connects. It is called with the socket and its family."""


class Attempt:
    """An attempt to connect to one address."""

    def __init__(self, address: Address, prepare: Preparation) -> None:
        self.family, self.address = address
        self.socket = network().connecting_socket(self.family)
        self._peer_address: Any = None
        self._wakeup: Wakeup | None = None
        try:
            self.socket.setblocking(False)
            prepare(self.socket, self.family)
            code = self.socket.connect_ex(self.address)
            if code and code not in IN_PROGRESS:
                raise OSError(code, os.strerror(code))
        except BaseException:
            self.socket.close()
            raise

    def connected(self) -> bool:
        """Return whether the socket is connected. Raise the system's error if the attempt has failed."""
        code = self.socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        try:
            self._peer_address = self.socket.getpeername()
        except OSError:
            return False
        if self.family != _socket.AF_UNIX and self._peer_address == self.socket.getsockname():
            # The socket is connected to itself: nothing listens on the port, and the system chose it as the local port.
            raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        return True

    def watch(self, outcome: Wakeup) -> None:
        """Fire `outcome` when the attempt may have succeeded or failed."""
        if self._wakeup is None:
            is_double = isinstance(self.socket, SocketDouble)
            self._wakeup = self.socket.connect_wakeup() if is_double else Wakeup(get_hub(), self.socket.fileno(), WRITE)
            self._wakeup.listen(outcome.fire)
            handshakes.began(self, self.socket.fileno(), f"the connect to {address_name(self.address)}", self.address)
        self._wakeup.arm()

    def take(self) -> OwnedFd:
        """Return the connected socket, which is the caller's from now on."""
        self._stop()
        return OwnedFd(self.socket.detach(), self.family, self._peer_address)

    def close(self) -> None:
        """Abandon the attempt."""
        self._stop()
        self.socket.close()

    def _stop(self) -> None:
        if self._wakeup is not None:
            handshakes.ended(self)
            self._wakeup.close()
            self._wakeup = None


class HappyEyeballs:
    """Connects to the first of some addresses that answers. `what` is the name of the destination in errors."""

    def __init__(self, what: str, prepare: Preparation, deadline: float) -> None:
        self._what = what
        self._prepare = prepare
        self._deadline = deadline
        self._attempts: list[Attempt] = []
        self._errors: list[tuple[Any, OSError]] = []
        self._next_begin = 0.0

    def run(self, addresses: list[Address]) -> OwnedFd:
        """Return a connected socket.

        Raises:
            ConnectTimeout: The deadline has passed.
            ConnectError: All addresses have failed.
        """
        waiting = deque(alternating(addresses))
        outcome = Wakeup(get_hub())
        try:
            while (winner := self._winner()) is None:
                now = CLOCK.now()
                if now >= self._deadline:
                    raise ConnectTimeout(f"connecting to {self._what}: no answer in time{self._causes()}")
                if waiting and now >= self._next_begin:
                    self._next_begin = now + ATTEMPT_DELAY
                    self._begin(waiting.popleft())
                elif self._attempts:
                    for attempt in self._attempts:
                        attempt.watch(outcome)
                    outcome.wait(min(self._deadline, self._next_begin if waiting else NEVER) - now)
                else:
                    let_ready_run(get_hub())  # a loop that tries again and again must let other greenlets run
                    raise self._failure()
            return winner.take()
        finally:
            for attempt in self._attempts:
                attempt.close()
            outcome.close()

    def _begin(self, address: Address) -> None:
        try:
            self._attempts.append(Attempt(address, self._prepare))
        except OSError as error:
            self._failed(address[1], error)

    def _failed(self, address: Any, error: OSError) -> None:
        self._errors.append((address, error.with_traceback(None)))
        self._next_begin = 0.0

    def _winner(self) -> Attempt | None:
        """Return an attempt that succeeded, which `run` does not close. Attempts that failed are closed here."""
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

    def _causes(self) -> str:
        """Return the error of each address. The only address is not named again if it is the destination itself."""
        causes = [(address, error.strerror or error) for address, error in self._errors]
        if len(causes) == 1 and self._what == address_name(causes[0][0]):
            return f": {causes[0][1]}"
        return "".join(f"; {address_name(address)}: {cause}" for address, cause in causes)

    def _failure(self) -> ConnectError:
        codes = {error.errno for _, error in self._errors}
        code = codes.pop() if len(codes) == 1 else None
        return ConnectError(f"cannot connect to {self._what}{self._causes()}", code, errors=self._errors)


def alternating(addresses: list[Address]) -> list[Address]:
    """Return the addresses in the order of the attempts: families alternate, that of the first address first (RFC 8305, section 4)."""
    by_family: dict[int, list[Address]] = {}
    for address in addresses:
        by_family.setdefault(address[0], []).append(address)
    return [address for row in zip_longest(*by_family.values()) for address in row if address is not None]
