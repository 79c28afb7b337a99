"""Accepting connections from the hub: a `Listener` calls its owner while clients wait in the queue of a listening socket."""

# Invariants: nothing here waits. A descriptor that was accepted always has an owner, so a greenlet that is killed before it runs leaves
# none open. In a forked child a listener of the parent accepts no client.

from __future__ import annotations

import errno
import os
import socket as sockets
from collections.abc import Callable
from typing import Any

from gevent.hub import Hub

import geventstreams._native.interpreter as _interpreter
import geventstreams._native.syscalls as _system
from geventstreams._core.fork import FORK, inherited
from geventstreams._core.hub_hold import HubHold
from geventstreams._core.transport import SocketDouble
from geventstreams._core.wakeup import READ, Wakeup
from geventstreams.errors import StreamError

_Socket = _interpreter.original(sockets, "socket")  # the class as it was before any patch

TRANSIENT = frozenset({errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO, errno.EINTR, errno.ETIMEDOUT, errno.ENETDOWN,
                  errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
"""Error numbers of `accept` that concern one client, such as a connection that was closed before it was accepted."""


PAUSE = 0.1
"""Seconds without accepting after an error, for instance when no descriptors are left, or after a call that raised."""

PATIENCE = 8
"""Clients in a row after which one more is accepted at once: a call of `accept` that finds none costs as much as one that does."""


class Listener:
    """Calls `arrived()` from the hub while clients wait in the queue of a listening socket, which stays its owner's to close.

    If `arrived` returns true, because it has accepted a client and another one may wait, it may be called again at once.
    """

    def __init__(self, hub: Hub, socket: Any, arrived: Callable[[], object]) -> None:
        self._descriptor: int = socket.fileno()
        self._is_ipv4 = socket.family == sockets.AF_INET
        arrivals = Wakeup(hub, self._descriptor, READ)  # first, because it refuses a hub that has died
        # The owner's socket object may wait in `accept`; this one never does.
        accepting_socket = _Socket(socket.family, socket.type, socket.proto, fileno=self._descriptor)
        accepting_socket.setblocking(False)
        self._init_listener(hub, arrivals, accepting_socket, hub.loop.io(self._descriptor, READ), arrived)

    def _init_listener(self, hub: Hub, arrivals: Wakeup, accepting_socket: Any, watcher: Any, arrived: Callable[[], object]) -> None:
        self._arrivals = arrivals
        self.hold: HubHold = arrivals.hold
        self._loop = hub.loop
        self._process: int = FORK.generation
        self._arrived: Callable[[], object] | None = arrived
        self._accepting_socket = accepting_socket
        self._watcher = watcher
        self._timer: Any = None
        self.is_wanted: bool = False
        """Whether it was started and not stopped. It may be resting."""
        self.resting: bool = False
        """Whether `rest` has interrupted the calls."""
        self.most_at_once: int = 1
        """Calls that may follow each other at once."""
        self._in_a_row = 0

    def accept(self) -> tuple[int, Any] | None:
        """Return the descriptor and the address of the next client; None if there is none, and in a forked child."""
        if self._process != FORK.generation:
            return None
        return _system.accept(self._accepting_socket, self._descriptor if self._is_ipv4 else -1)

    def refuse_thread(self) -> None:
        """Raise StreamError if the hub belongs to another thread that still runs, before its loop is touched."""
        if not self.hold.may_use_loop():
            raise StreamError("this server belongs to the hub of another thread")

    # When to call.

    def start(self) -> None:
        """Call `arrived` from now on. StreamError in a forked child."""
        self.refuse_in_child()
        if not self.is_wanted:
            self.is_wanted = True
            if not self.resting:
                self._watcher.start(self._on_clients)

    def refuse_in_child(self) -> None:
        """Raise StreamError in a forked child."""
        if self._process != FORK.generation:
            raise inherited("listener")

    def stop(self) -> None:
        """Call no more."""
        self.is_wanted = False
        self._stop_watching()

    def _stop_watching(self) -> None:
        if self.hold.has_loop():
            self._watcher.stop()

    def rest(self, seconds: float | None = None) -> None:
        """Call no more until `resume()`, or until `seconds` have passed."""
        self.resting = True
        self._stop_watching()
        if seconds is not None and self._timer is None:
            self._timer = self._loop.timer(seconds)
            self._timer.start(self.resume)

    def resume(self) -> None:
        """End a rest."""
        if self.resting:
            self.resting = False
            self._stop_timer()
            if self.is_wanted and self._process == FORK.generation:
                self._watcher.start(self._on_clients)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            if self.hold.has_loop():
                self._timer.stop()
                self._timer.close()
            self._timer = None

    def _on_clients(self) -> None:
        try:
            if self._process != FORK.generation:
                self.stop()  # the clients are the parent's, and they stay in the queue: the loop would call without end
                self._arrivals.fire()
            elif self._arrivals.listeners is None:
                self._call()
            else:
                # Greenlets that wait for a client must still find it in the queue, so they run first.
                self._arrivals.fire()
                self._loop.run_callback(self._call)
        except BaseException:  # a signal handler's, for instance: gevent stops a watcher whose callback raises
            if self.is_wanted:
                self.rest(PAUSE)
            raise

    def _call(self) -> None:
        """Call the owner, and once more for each few clients that came since the queue was last found empty."""
        for _ in range(min(1 + self._in_a_row // PATIENCE, self.most_at_once)):
            if not self.is_wanted or self.resting or self._arrived is None or self._process != FORK.generation:
                return
            if not self._arrived():
                self._in_a_row = 0
                return
            self._in_a_row += 1

    # For greenlets that wait for a client.

    def readable_now(self) -> bool:
        """Return whether a client can be accepted now, or the listener was closed."""
        self.refuse_in_child()
        return self._arrived is None or _system.readable_of([self._descriptor]) != []

    def watch_input(self, listener: Callable[[], object]) -> None:
        """Call `listener()` when a client may have arrived. `arm_input` must be called as well."""
        self._arrivals.listen(listener)

    def unwatch_input(self, listener: Callable[[], object]) -> None:
        """Remove a callback that `watch_input` added, if it is there."""
        self._arrivals.unlisten(listener)

    def arm_input(self) -> None:
        """Report the next client to the callbacks that `watch_input` added."""
        self._arrivals.arm()

    def send_before_wait(self) -> None:
        """Do nothing: a server has no output."""

    def close(self) -> None:
        """Detach from the socket, which stays open, and wake the greenlets that wait for a client."""
        if self._arrived is not None:
            self.stop()
            self._arrived = None
            self._stop_timer()
            if self.hold.has_loop():
                self._watcher.close()
            self._accepting_socket.detach()
            self._arrivals.close()

    def is_left(self) -> bool:
        """Return whether the hub was destroyed: nothing accepts clients or serves them any more."""
        return self._arrivals.hub.loop is not self.hold.loop

    def close_socket(self, socket: Any) -> None:
        """Close the socket, too. One of gevent can close itself only while its hub lives."""
        if self.is_left() and not isinstance(socket, SocketDouble):
            os.close(getattr(socket, "_sock", socket).detach())
        else:
            socket.close()


def listener_of(hub: Hub, socket: Any, arrived: Callable[[], object]) -> Listener:
    """Return the listener of a listening socket."""
    if isinstance(socket, SocketDouble):
        return socket.listener(hub, arrived)  # type: ignore[no-any-return]  # what it is, is not known there
    return Listener(hub, socket, arrived)
