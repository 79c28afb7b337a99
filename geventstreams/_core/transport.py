"""What carries a stream's octets: `Transport`, the contract, and `SocketTransport`, which calls the system and the hub.

Rules for the next editor: a transport never waits in `recv_into`, `send`, `flush` or `end_output`; it says WOULD_WAIT, and only
`wait_input` and `wait_output` switch to the hub. It knows nothing of lines, elements, vocabularies or streams, so nothing it starts
can keep a stream alive. A watcher is armed for one event: it is stopped by the event, and says nothing to anybody who has left. In a
forked child every wait that began in the parent ends in StreamError, and no system call is made on the parent's connection but close(2).
"""

from __future__ import annotations

import _socket
import _thread
import contextlib
import errno
import os
import socket as sockets
import ssl
import stat
import sys
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent.socket
from gevent import get_hub
from gevent.exceptions import BlockingSwitchOutError
from gevent.hub import Hub

import geventstreams._native.greenlets as _greenlets
import geventstreams._native.syscalls as _system
from geventstreams._constants import ENDED, NEVER
from geventstreams._core.fork import FORK, inherited
from geventstreams._core.owned_fd import OwnedFd
from geventstreams.errors import StreamError, UnsuitableSocket

BUSY = 16384
"""Octets of a receipt after which the next ones have probably come already: a vain call costs less than a wait that was not needed."""

OTHER_THREAD = "this stream belongs to the hub of another thread"

_READ = 1
_WRITE = 2
_AGES = 1e6


def stays_armed(loop: Any) -> bool:
    """Whether an armed watcher may outlive a wait without keeping the loop alive (libev can do that, libuv cannot)."""
    return "libuv" not in type(loop).__module__


class HubHold:
    """Keeps a hub's loop running while somebody waits on watchers that do not do so themselves, and says which thread may use that loop.

    Only the hub's own thread may. Others leave errands, which it runs. Once it has ended, nothing runs the loop, and every thread may.
    """

    def __init__(self, hub: Hub) -> None:
        self.stays_armed = stays_armed(hub.loop)
        self.waiting = 0
        self.thread = hub.thread_ident
        self.ended = False
        self.inherited = False
        self._errands: deque[Callable[[], object]] = deque()
        self._dependents: weakref.WeakSet[Any] = weakref.WeakSet()
        self._loop = hub.loop
        self._watcher = hub.loop.timer(_AGES, _AGES)
        if self.thread == _system.thread_id():
            _notice_end_of_thread(self)

    def begin(self) -> None:
        """The first greenlet waits: `waiting` has become 1."""
        self._watcher.start(_nothing)

    def end(self) -> None:
        """The last one waited: `waiting` has become 0."""
        if self._loop.ptr:
            self._watcher.stop()

    def is_here(self) -> bool:
        """Whether the hub is this thread's."""
        return self.thread == _system.thread_id() and not self.ended

    def may_use_loop(self) -> bool:
        """Whether this thread may start and stop the loop's watchers."""
        return self.thread == _system.thread_id() or self.ended

    def has_loop(self) -> bool:
        """Return whether watchers of the loop can be stopped: it was not destroyed, and no thread of a parent process runs it."""
        return bool(self._loop.ptr) and not self.inherited

    def separate(self) -> None:
        """Called in a forked child, which has only the thread that forked: nothing runs the other threads' loops there.

        A loop of libuv shares its epoll descriptor with the parent's until it is told of the fork, which a plain `os.fork` does not do:
        stopping a watcher here would stop it there. libev sees the fork by itself.
        """
        if self.thread != _system.thread_id():
            self.ended = self.inherited = True
        elif not self.stays_armed and self.has_loop():
            self._loop.reinit()

    def run_there(self, errand: Callable[[], object]) -> None:
        """Call `errand()` in the hub's thread soon; here and now once that thread has ended, or the loop was destroyed."""
        self._errands.append(errand)
        if not self.ended and self._loop.ptr:
            try:
                self._loop.run_callback_threadsafe(self._run_errands)
            except ValueError:  # the loop was destroyed since the line before
                pass
            else:
                return
        self._run_errands()

    def _run_errands(self) -> None:
        while self._errands:
            try:
                errand = self._errands.popleft()
            except IndexError:  # another thread took the last one
                return
            errand()

    def tell_end_to(self, dependent: Any) -> None:
        """Call `dependent.thread_has_ended()` when the hub's thread has ended; it is referred to weakly."""
        self._dependents.add(dependent)

    def thread_has_ended(self) -> None:
        """Run the errands that the loop did not come to, and tell the dependents, which the loop may keep alive for ever. Called in the
        hub's thread, when it runs no more Python code but this."""
        self.ended = True
        self._run_errands()
        for dependent in list(self._dependents):
            dependent.thread_has_ended()


class _EndOfThread:
    """Dies with its thread."""

    def __init__(self) -> None:
        self.holds: weakref.WeakSet[HubHold] = weakref.WeakSet()
        self._is_finalizing = sys.is_finalizing
        self._process = os.getpid()

    def __del__(self) -> None:
        # The process takes all with it; and a forked child drops the threads of its parent before anything else runs there.
        if not self._is_finalizing() and self._process == os.getpid():
            for hold in list(self.holds):
                hold.thread_has_ended()


_of_this_thread: Any = _system.original(_thread, "_local")()
"""The real thread's own variables, whatever gevent has patched."""


def _notice_end_of_thread(hold: HubHold) -> None:
    if not hasattr(_of_this_thread, "end"):
        _of_this_thread.end = _EndOfThread()
    _of_this_thread.end.holds.add(hold)


def _nothing() -> None:
    """What a watcher calls that never fires."""


_holds: weakref.WeakKeyDictionary[Any, HubHold] = weakref.WeakKeyDictionary()


def hold_of(hub: Hub) -> HubHold:
    """The one hold of a hub."""
    hold = _holds.get(hub)
    if hold is None:
        hold = _holds[hub] = HubHold(hub)
    return hold


def _separate_loops() -> None:
    """Called in a forked child."""
    for hold in list(_holds.values()):
        hold.separate()


os.register_at_fork(after_in_child=_separate_loops)


class Wakeup:
    """One thing to wait for: a descriptor's readiness, or (without a descriptor) somebody's `fire()`.

    At most one greenlet waits in it; any number of listeners, callables without arguments that must not wait, are told of each event.
    """

    def __init__(self, hub: Hub, descriptor: int = -1, events: int = 0, hold: HubHold | None = None) -> None:
        self.hub = hub
        self.loop = hub.loop
        self.process = FORK.generation
        if self.loop is None:
            self.refuse()
        self.hold = hold_of(hub) if hold is None else hold
        if _greenlets.has_died(hub):
            self.refuse()
        self.descriptor = descriptor
        self.events = events
        self.watcher: Any = None
        self.armed = False
        self.waiter: Any = None
        self.fired = False
        self.expired = False
        self.timer: Any = None
        self.timer_due = NEVER
        self.deadline = NEVER
        self.listeners: list[Callable[[], object]] | None = None

    # Waiting.

    def wait(self, limit: float) -> bool:
        """Waits for the next event, at most `limit` seconds: whether it came. Other switches to this greenlet are ignored.

        StreamError in a forked child of the process that made this, and where the hub cannot wake anything any more.
        """
        if self.waiter is not None:
            return self._wait_beside(limit)
        current = _greenlets.current()
        if current is self.hub:
            raise BlockingSwitchOutError("a stream cannot wait in the hub's own greenlet")
        if not self.armed:
            self.arm()
        elif self.process != FORK.generation or self.hub.loop is not self.loop or self.hold.ended:
            self.refuse()
        self.fired = self.expired = False
        if limit != NEVER:
            self._limit(limit)
        self.waiter = current
        self.hold.waiting += 1
        if self.hold.waiting == 1:
            self.hold.begin()
        try:
            while not (self.fired or self.expired):
                if _greenlets.has_died(self.hub):
                    self.refuse()
                _greenlets.leave(current, self.hub)
                if self.process != FORK.generation:
                    self.refuse()
        finally:
            self.waiter = None
            self.deadline = NEVER
            self.hold.waiting -= 1
            if self.hold.waiting == 0:
                self.hold.end()
            if self.armed and not self.hold.stays_armed and self.listeners is None:
                self.disarm()
        return self.fired

    def refuse(self) -> None:
        """Raise StreamError in a forked child, where the hub was destroyed (its loop may live on) or its greenlet has died, and in
        another thread than the hub's, which must not touch its loop."""
        if self.process != FORK.generation:
            raise inherited("stream")
        if self.loop is None or self.hub.loop is not self.loop:
            raise StreamError("the hub of this stream was destroyed")
        if not self.hold.is_here():
            raise StreamError(OTHER_THREAD)
        if _greenlets.has_died(self.hub):
            raise StreamError("the hub of this stream has died")

    def _wait_beside(self, limit: float) -> bool:
        """Waits although another greenlet waits here already."""
        beside = Wakeup(self.hub)
        listener = beside.fire
        self.listen(listener)
        try:
            self.arm()
            return beside.wait(limit)
        finally:
            self.unlisten(listener)
            beside.close()

    def fire(self) -> None:
        """Tells the listeners now and wakes the waiter soon, from the hub. Another thread has the hub's do both."""
        if not self.hold.may_use_loop():
            self.hold.run_there(self.fire)
            return
        self._tell()
        if self.waiter is not None and not self.fired:
            self.fired = True
            if self.loop.ptr and not self.hold.ended:
                self.loop.run_callback(self._resume)

    def _on_event(self) -> None:
        # One event is enough for those who only listen; whoever waits will nearly always wait again, and finds the watcher armed.
        if self.waiter is None or self.listeners is not None:
            self.disarm()
            self._tell()
        if self.waiter is not None:
            self.fired = True
            _greenlets.resume(self.waiter)

    def _tell(self) -> None:
        if self.listeners is not None:
            for listener in self.listeners.copy():
                listener()

    def _resume(self) -> None:
        if self.waiter is not None:
            _greenlets.resume(self.waiter)

    # The watcher.

    def arm(self) -> None:
        """Makes the next event of the descriptor known here."""
        self.refuse()
        if self.armed or self.descriptor < 0:
            return
        if self.watcher is None:
            self.watcher = self.loop.io(self.descriptor, self.events, ref=False)
        self.watcher.start(self._on_event)
        self.armed = True

    def disarm(self) -> None:
        """No event of the descriptor is known here any more. Another thread has the hub's see to it."""
        if self.armed:
            if not self.hold.may_use_loop():
                self.hold.run_there(self.disarm)
                return
            self.armed = False
            if self.hold.has_loop():  # a loop that was destroyed took its watchers with it
                self.watcher.stop()

    def listen(self, listener: Callable[[], object]) -> None:
        """Tells `listener` of every event from now on; whoever wants the descriptor's must also `arm`."""
        if self.listeners is None:
            self.listeners = [listener]
        else:
            self.listeners.append(listener)

    def unlisten(self, listener: Callable[[], object]) -> None:
        """The reverse of `listen`; one that is not there is no error."""
        if self.listeners is None:
            return
        self.listeners = [other for other in self.listeners if other is not listener] or None
        if self.listeners is None and not self.hold.stays_armed and self.waiter is None:
            self.disarm()

    # The limit. The timer is left running over many waits: it looks at `deadline` when it fires.

    def _limit(self, limit: float) -> None:
        self.deadline = _system.monotonic() + limit
        if self.deadline < self.timer_due:
            self._start_timer(limit)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self.timer = self.loop.timer(max(seconds, self.loop.approx_timer_resolution), ref=False)
        self.timer_due = _system.monotonic() + seconds
        self.timer.start(self._on_timer, update=True)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            if self.hold.has_loop():
                self.timer.stop()
                self.timer.close()
            self.timer = None
            self.timer_due = NEVER

    def _on_timer(self) -> None:
        self._stop_timer()
        if self.waiter is None or self.deadline == NEVER:
            return
        left = self.deadline - _system.monotonic()
        if left > 0:
            self._start_timer(left)
        else:
            self.expired = True
            self._resume()

    def close(self) -> None:
        """Lets go of the descriptor and the loop, and wakes whoever waits. Another thread has the hub's do it."""
        if not self.hold.may_use_loop():
            self.hold.run_there(self.close)
            return
        self.disarm()
        self.descriptor = -1
        self._stop_timer()
        if self.watcher is not None:
            if self.hold.has_loop():
                self.watcher.close()
            self.watcher = None
        self.fire()


class Transport:
    """What a stream needs of whatever carries its octets. `peer` is how errors call the other end."""

    peer = "peer"

    def __init__(self) -> None:
        self.emptied = False
        """Whether the last receipt took all there was, so that waiting first saves a vain call."""
        self.unsent = 0
        """Octets that `send` took and holds back until `flush`."""
        self.received = 0
        """Octets that came from the system: it grows with ciphertext too, so a limit between receipts can be told from one on the whole."""
        self.ready = True
        """Whether a stream's octets may pass; while they may not, `refusal` says why."""

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        """Receives into `space[start:]`: a count, which is also appended to `counts` in the same C call; ENDED; WOULD_WAIT."""
        raise NotImplementedError

    def send(self, octets: memoryview, start: int, stop: int) -> int:
        """Takes of `octets[start:stop]` what it can now: a count, or WOULD_WAIT."""
        raise NotImplementedError

    def send_pieces(self, pieces: list[bytes], start: int) -> int:
        """The same for several pieces of memory, in order, without the first `start` octets."""
        octets = b"".join(pieces) if len(pieces) > 1 else pieces[0]
        return self.send(memoryview(octets), start, len(octets))

    def flush(self) -> int:
        """Sends what `send` held back: 0 when nothing is, or WOULD_WAIT."""
        return 0

    def readable(self) -> int:
        """What `recv_into` would say (any positive number for octets), without taking anything for the caller."""
        raise NotImplementedError

    def wait_input(self, limit: float) -> bool:
        """Waits until `recv_into` may have something, at most `limit` seconds: False when these have passed."""
        raise NotImplementedError

    def wait_output(self, limit: float) -> bool:
        """Waits until `send` or `flush` may get on, at most `limit` seconds: False when these have passed."""
        raise NotImplementedError

    def input_wakeup(self) -> Wakeup:
        """What fires when `readable` may have changed."""
        raise NotImplementedError

    def output_wakeup(self) -> Wakeup:
        """What fires when `send` may get on."""
        raise NotImplementedError

    def end_output(self) -> int:
        """Tells the peer that nothing more will come: 0 when told, or WOULD_WAIT."""
        raise NotImplementedError

    def end_input(self) -> None:
        """Tells the system that nothing more is wanted."""

    def discard(self) -> int:
        """Receives and forgets, below any encryption: a count, ENDED, or WOULD_WAIT."""
        return ENDED

    def not_yet_sent(self) -> int:
        """Octets that the system took and has not sent."""
        return 0

    def unread(self) -> int:
        """Octets that the system received and nobody took."""
        return 0

    def refusal(self, stream: Any) -> StreamError:
        """Why no octet of the stream may pass now."""
        return StreamError(f"nothing can be exchanged with {self.peer} yet", stream=stream)

    def wake(self) -> None:
        """Wakes whoever waits, to look again."""
        self.input_wakeup().fire()
        self.output_wakeup().fire()

    def fileno(self) -> int:
        return -1

    def addresses(self) -> tuple[Any, Any]:
        """Our end and the other."""
        return None, None

    def close(self, abort: bool = False) -> None:
        """Lets go of everything, without waiting; with `abort` the peer sees a reset, where there is one."""
        raise NotImplementedError

    def reset_at_end(self) -> None:
        """Make the peer see a reset, where there is one, whatever closes this. May be called in any thread."""

    def close_in_child(self) -> None:
        """Closes the descriptor of a forked child, and touches nothing that the parent shares."""
        self.close()


class SocketTransport(Transport):
    """The octets of a connected stream socket, by its descriptor. It owns socket and descriptor until `close` or `hand_back`."""

    def __init__(self, socket: Any) -> None:
        Transport.__init__(self)
        self._descriptor = -1
        self._process = FORK.generation
        self._borrowed = None
        self._input: Wakeup | None = None
        self._output: Wakeup | None = None
        self._address: Any = None
        self._blocking: bool | None = None
        self._hub = get_hub()
        self._hold = hold_of(self._hub)
        if isinstance(socket, OwnedFd):
            self._socket = None
            self._family = socket.family
            self._peer_address = socket.peer_address
            self._descriptor = socket.take()
        else:
            descriptor, self._family, self._peer_address = _examined(socket)
            self._socket = None if isinstance(socket, int) else socket
            self._descriptor = descriptor
        self._borrowed = _system.borrow(self._descriptor)

    @property
    def peer(self) -> str:  # type: ignore[override]  # read only here
        return address_name(self._peer_address)

    def _refuse(self) -> None:
        if self._process != FORK.generation:
            raise inherited("stream")

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        if self._process != FORK.generation:
            self._refuse()
        wanted = len(space) - start
        count = _system.receive(self._descriptor, self._borrowed, space, start, counts)
        self.emptied = 0 <= count < wanted and count < BUSY
        if count > 0:
            self.received += count
        return count

    def send(self, octets: memoryview, start: int, stop: int) -> int:
        if self._process != FORK.generation:
            self._refuse()
        return _system.send(self._descriptor, self._borrowed, octets, start, stop)

    def send_pieces(self, pieces: list[bytes], start: int) -> int:
        if self._process != FORK.generation:
            self._refuse()
        return _system.send_pieces(self._descriptor, self._borrowed, pieces, start)

    def readable(self) -> int:
        return _system.readable(self._descriptor)

    def wait_input(self, limit: float) -> bool:
        self.emptied = False
        if self._input is None:
            self._input = self._input_wakeup()
        return self._input.wait(limit)

    def wait_output(self, limit: float) -> bool:
        return self._output_wakeup().wait(limit)

    def _input_wakeup(self) -> Wakeup:
        if self._input is None:
            self._refuse()
            self._input = Wakeup(self._hub, self._descriptor, _READ, self._hold)
        return self._input

    def _output_wakeup(self) -> Wakeup:
        if self._output is None:
            self._refuse()
            self._output = Wakeup(self._hub, self._descriptor, _WRITE, self._hold)
        return self._output

    def input_wakeup(self) -> Wakeup:
        return self._input_wakeup()

    def output_wakeup(self) -> Wakeup:
        return self._output_wakeup()

    def wake(self) -> None:
        for wakeup in (self._input, self._output):
            if wakeup is not None:
                wakeup.fire()

    def end_output(self) -> int:
        self._refuse()
        return _system.end_output(self._descriptor)

    def end_input(self) -> None:
        self._refuse()
        with _system.as_socket(self._descriptor) as borrowed:
            borrowed.shutdown(sockets.SHUT_RD)

    def discard(self) -> int:
        self._refuse()
        counts: list[int] = []
        return _system.receive(self._descriptor, self._borrowed, memoryview(bytearray(65536)), 0, counts)

    def not_yet_sent(self) -> int:
        return 0 if self._family == sockets.AF_UNIX else _system.not_yet_sent(self._descriptor)

    def unread(self) -> int:
        return _system.unread(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def addresses(self) -> tuple[Any, Any]:
        if self._address is None and self._descriptor >= 0:
            with contextlib.suppress(OSError):
                if self._family == sockets.AF_INET:
                    self._address = _system.ipv4_name(self._descriptor)
                else:
                    self._address = _system.own_name(self._descriptor, self._family)
        return self._address, self._peer_address

    def rename_peer(self, address: Any) -> None:
        """The peer only speaks for somebody, whose address this is."""
        self._peer_address = address

    # The socket itself.

    def socket(self) -> Any:
        """The object that was given, or a gevent socket made for a handle."""
        if self._socket is None and self._descriptor >= 0:
            self._blocking = os.get_blocking(self._descriptor)
            self._socket = gevent.socket.socket(fileno=self._descriptor)
        return self._socket

    def hand_back(self) -> Any:
        """Gives the socket away, open and in its own blocking mode; this transport is closed by it."""
        socket = self.socket()
        if self._blocking is not None and os.get_blocking(self._descriptor) != self._blocking:
            os.set_blocking(self._descriptor, self._blocking)
        self._socket = None
        self._detach()
        return socket

    def _detach(self) -> int:
        """Lets go of everything but the descriptor, which it returns."""
        self.addresses()
        descriptor, self._descriptor = self._descriptor, -1
        for wakeup in (self._input, self._output):
            if wakeup is not None:
                wakeup.close()
        _system.give_back(self._borrowed)
        self._borrowed = None
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.detach()
        return descriptor

    def close(self, abort: bool = False) -> None:
        if self._descriptor < 0:
            return
        if abort:
            self.reset_at_end()
        _system.close(self._detach())

    def reset_at_end(self) -> None:
        # The option is the connection's, which in a forked child is the parent's.
        if self._descriptor >= 0 and self._family != sockets.AF_UNIX and self._process == FORK.generation:
            with contextlib.suppress(OSError):  # somebody else closed it: there is nobody to reset
                _system.reset_on_close(self._descriptor)

    def __del__(self) -> None:
        if self._descriptor < 0:
            return
        try:
            if self._process != FORK.generation or self._hold.may_use_loop():
                self.close()
            else:
                # The descriptor is closed when no watcher of the other thread's loop has it any more.
                self._hold.run_there(partial(_close_both, self._input, self._output, self._detach_quietly()))
        except (AttributeError, TypeError):
            if sys is not None and not sys.is_finalizing():  # at the end of the program the modules are emptied
                raise

    def _detach_quietly(self) -> int:
        descriptor, self._descriptor = self._descriptor, -1
        _system.give_back(self._borrowed)
        if self._socket is not None:
            self._socket.detach()
        return descriptor


class NoTransport(Transport):
    """What a stream stands on whose socket was taken away: it has no octets, and says so."""

    def __init__(self, addresses: tuple[Any, Any] = (None, None)) -> None:
        Transport.__init__(self)
        self._wakeup = Wakeup(get_hub())
        self._addresses = addresses

    def _nothing_there(self) -> StreamError:
        return StreamError("the stream has no socket: it was taken away by replace_socket(None)", errno.ENOTSOCK)

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        raise self._nothing_there()

    def send(self, octets: memoryview, start: int, stop: int) -> int:
        raise self._nothing_there()

    def readable(self) -> int:
        raise self._nothing_there()

    def wait_input(self, limit: float) -> bool:
        raise self._nothing_there()

    def wait_output(self, limit: float) -> bool:
        raise self._nothing_there()

    def input_wakeup(self) -> Wakeup:
        return self._wakeup

    def output_wakeup(self) -> Wakeup:
        return self._wakeup

    def end_output(self) -> int:
        return 0

    def addresses(self) -> tuple[Any, Any]:
        return self._addresses

    def socket(self) -> None:
        """There is none."""

    def hand_back(self) -> None:
        """There is nothing to give."""

    def close(self, abort: bool = False) -> None:
        self._wakeup.fire()


def _close_both(input_wakeup: Wakeup | None, output_wakeup: Wakeup | None, descriptor: int) -> None:
    for wakeup in (input_wakeup, output_wakeup):
        if wakeup is not None:
            wakeup.close()
    _system.close(descriptor)


def address_name(address: Any) -> str:
    """How errors and logs call the end of a connection: `host:port`, `[host]:port`, or the path of a Unix socket."""
    if isinstance(address, tuple):
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return str(address) if address else "peer"


def _examined(socket: Any) -> tuple[int, int, Any]:
    """Descriptor, family and peer address of a connected stream socket; whatever else is refused, untouched."""
    if isinstance(socket, ssl.SSLSocket) or (hasattr(socket, "fileno") and hasattr(socket, "do_handshake")):
        raise TypeError(f"socket must not be an ssl.SSLSocket, not {socket!r}: give the plain socket and ssl_ctx=, or call attach_ssl()")
    if isinstance(socket, bool) or not (isinstance(socket, int) or (hasattr(socket, "fileno") and hasattr(socket, "getsockname"))):
        raise TypeError(f"socket must be a socket or an integer handle, not {type(socket).__name__} {socket!r}")
    descriptor = socket if isinstance(socket, int) else socket.fileno()
    if descriptor < 0:
        raise UnsuitableSocket(f"socket {socket!r} is closed", errno=errno.EBADF)
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError as error:
        raise UnsuitableSocket(f"socket {socket!r}: {error.strerror}", errno=error.errno) from None
    if not stat.S_ISSOCK(mode):
        raise UnsuitableSocket(f"socket {socket!r} is no socket but a file or a pipe", errno=errno.ENOTSOCK)
    with _system.as_socket(descriptor, _system.OWN_FAMILY) as borrowed:
        if not _system.is_stream_socket(borrowed):
            raise UnsuitableSocket(f"socket {socket!r} is no stream socket", errno=errno.ESOCKTNOSUPPORT)
        if _system.is_listening(borrowed):
            raise UnsuitableSocket(f"socket {socket!r} listens, and is not connected", errno=errno.EINVAL)
        return descriptor, int(borrowed.family), _peer_of(borrowed, descriptor, socket)


def _peer_of(borrowed: _socket.socket, descriptor: int, socket: Any) -> Any:
    try:
        return borrowed.getpeername()
    except OSError:
        if _system.was_connected(descriptor):
            return None
        raise UnsuitableSocket(f"socket {socket!r} is not connected") from None
