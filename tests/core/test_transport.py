"""The transport of a socket and what wakes its waiters: it never waits but in two calls, and leaves nothing behind."""

import errno
import os
import signal
import socket
import threading
import time
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.exceptions import BlockingSwitchOutError
from kit.conditions import until
from kit.leftovers import descriptors_in_use, open_descriptor, running_timers
from kit.network import reset
from kit.pairs import Pairs

import geventstreams
from geventstreams._constants import ENDED, NEVER, WOULD_WAIT
from geventstreams._core.hub_hold import EventHandler
from geventstreams._core.transport import NoTransport, OwnedFd, SocketTransport, address_name
from geventstreams._core.wakeup import Wakeup
from geventstreams._native import syscalls
from geventstreams.errors import StreamError
from geventstreams.testing import virtual_time
from geventstreams.testing.claims import ATTEMPTS, outcome, started


def transports(pairs: Pairs, kind: str = "tcp") -> tuple[SocketTransport, Any]:
    near, far = pairs.sockets(kind)
    return SocketTransport(near), pairs.far(far)


def received(transport: SocketTransport, size: int = 100) -> Any:
    """Return the result of one receive call: bytes, ENDED or WOULD_WAIT; check the count that it noted."""
    space, counts = bytearray(size + 5), [1000]
    count = transport.recv_into(memoryview(space), 5, counts)
    assert counts == ([1000, count] if count > 0 else [1000])
    assert space[:5] == bytes(5)
    return bytes(space[5 : 5 + count]) if count > 0 else count


# Wakeups.


def test_a_wakeup_tells_listeners_at_once_and_the_waiter_soon() -> None:
    """fire() calls the listeners before it returns, and wakes the waiter from the hub."""
    wakeup = Wakeup(gevent.get_hub())
    told: list[str] = []
    wakeup.listen(lambda: told.append("listener"))
    waiter = started(wakeup.wait, NEVER)
    wakeup.fire()
    assert (told, waiter.ready()) == (["listener"], False)
    assert waiter.get() is True


def test_a_listener_that_left_is_not_told() -> None:
    """unlisten takes away one listener and no other; one that is not there is no error."""
    wakeup = Wakeup(gevent.get_hub())
    told: list[int] = []
    listeners = [lambda number=number: told.append(number) for number in range(3)]
    for listener in listeners:
        wakeup.listen(listener)
    wakeup.unlisten(listeners[1])
    wakeup.unlisten(listeners[1])
    wakeup.fire()
    assert told == [0, 2]


@pytest.mark.parametrize("limit", [1e-9, 1e-6, 0.001, 0.0123, 0.1])
def test_a_limit_fires_in_time(limit: float) -> None:
    """wait(limit) is False not before the limit, and not later than 1.5 times that and 10 ms."""
    wakeup = Wakeup(gevent.get_hub())
    for _ in range(ATTEMPTS):
        before = time.monotonic()
        assert wakeup.wait(limit) is False
        took = time.monotonic() - before
        assert took >= limit
        if took <= 1.5 * limit + 0.01:
            return
    pytest.fail(f"{ATTEMPTS} times too late, at last {took} s")


def test_a_shorter_limit_overtakes_a_longer_one() -> None:
    """A wait with a short limit ends in time though the timer of an earlier, longer one still runs."""
    with virtual_time() as clock:
        wakeup = Wakeup(gevent.get_hub())
        for limit in (30, 0.02, 30, 0.05, 0.02):
            before = clock.now
            waiter = started(wakeup.wait, limit)
            if limit == 30:
                waiter.kill()
                continue
            assert waiter.get() is False
            assert clock.now - before == pytest.approx(limit)


def test_many_waits_share_a_timer() -> None:
    """Ten thousand waits with a limit that does not fire start one timer, not ten thousand."""
    before = running_timers()
    wakeup = Wakeup(gevent.get_hub())
    waiter = started(lambda: [wakeup.wait(60) for _ in range(10_000)])
    while not waiter.ready():
        wakeup.fire()
        gevent.sleep(0)
    assert waiter.get() == [True] * 10_000
    assert len(running_timers(besides=before)) == 1
    wakeup.close()
    assert running_timers(besides=before) == []


def test_a_switch_from_elsewhere_is_no_event() -> None:
    """A switch to a waiting greenlet does not end its wait."""
    wakeup = Wakeup(gevent.get_hub())
    waiter = started(wakeup.wait, NEVER)
    for _ in range(3):
        gevent.get_hub().loop.run_callback(waiter.switch)
        gevent.sleep(0)
    assert not waiter.ready()
    wakeup.fire()
    assert waiter.get() is True


def test_any_number_may_wait() -> None:
    """Several greenlets can wait for the same event, each with a limit of its own, and all are woken."""
    wakeup = Wakeup(gevent.get_hub())
    waiters = [started(wakeup.wait, limit) for limit in (NEVER, NEVER, 30, 0.01)]
    assert waiters[3].get() is False
    wakeup.fire()
    assert [waiter.get() for waiter in waiters[:3]] == [True] * 3
    before = running_timers()
    waiters = [started(wakeup.wait, 30) for _ in range(10)]
    wakeup.fire()
    gevent.joinall(waiters)
    assert len(running_timers(besides=before)) <= 1


def test_a_wait_may_be_ended_by_anything() -> None:
    """A killed waiter leaves nothing: the next wait waits anew and sees the next event."""
    wakeup = Wakeup(gevent.get_hub())
    for _ in range(100):
        waiter = started(wakeup.wait, 30)
        wakeup.fire()
        waiter.kill()
        waiter = started(wakeup.wait, 30)
        gevent.sleep(0)
        assert not waiter.ready()
        waiter.kill()
    waiter = started(wakeup.wait, NEVER)
    wakeup.fire()
    assert waiter.get() is True


def test_the_hub_itself_cannot_wait() -> None:
    """A wait in the hub's own greenlet is an error at once, and no hang."""
    wakeup = Wakeup(gevent.get_hub())
    said: list[Any] = []
    gevent.get_hub().loop.run_callback(lambda: said.append(outcome(wakeup.wait, NEVER)))
    gevent.sleep(0)
    assert isinstance(said[0], BlockingSwitchOutError)


def test_a_destroyed_hub_is_told() -> None:
    """Waiting on a hub that was destroyed is a StreamError, not a crash or a hang."""
    said: list[Any] = []

    def run() -> None:
        wakeup = Wakeup(gevent.get_hub())
        gevent.get_hub().destroy(destroy_loop=True)
        said.append(outcome(wakeup.wait, 0.01))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert isinstance(said[0], StreamError)


# Sockets.


def test_a_receive_call_never_waits(pairs: Pairs, socket_kind: str) -> None:
    """recv_into gives a count, the end, or that it would wait; readable says the same without taking."""
    transport, far = transports(pairs, socket_kind)
    assert (transport.readable(), received(transport)) == (WOULD_WAIT, WOULD_WAIT)
    far.sendall(b"binary")
    until(lambda: transport.readable() == 6)
    assert received(transport, 4) == b"bina"
    assert not transport.emptied
    assert received(transport, 4) == b"ry"
    assert transport.emptied
    far.close()
    until(lambda: transport.readable() == ENDED)
    assert (received(transport), received(transport)) == (ENDED, ENDED)
    transport.close()


def test_a_reset_is_the_systems_error(pairs: Pairs) -> None:
    """What arrived before a reset is received first, then the system's own error."""
    transport, far = transports(pairs)
    far.sendall(b"first")
    until(lambda: transport.unread() == 5)
    reset(far)
    assert received(transport) == b"first"
    until(lambda: transport.readable() != WOULD_WAIT)
    with pytest.raises(OSError, match="reset") as caught:
        received(transport)
    assert caught.value.errno == errno.ECONNRESET
    transport.close()


def test_sending_never_waits(pairs: Pairs, socket_kind: str) -> None:
    """send takes what the system takes now of start to stop, and says when that is nothing; a gone peer is an error."""
    transport, far = transports(pairs, socket_kind)
    assert transport.send(memoryview(b"_binary_"), 1, 7) == 6
    assert far.recv(100) == b"binary"
    data = memoryview(bytes(10**7))
    sent = 0
    while (count := transport.send(data, sent, len(data))) != WOULD_WAIT:
        assert count > 0
        sent += count
    assert 0 < sent < len(data)
    far.close()
    said = until(lambda: isinstance(said := outcome(transport.send, data, 0, 1), OSError) and said)
    assert said.errno in (errno.EPIPE, errno.ECONNRESET)
    transport.close()


def test_waiting_for_room_and_for_bytes(pairs: Pairs, socket_kind: str) -> None:
    """wait_input and wait_output are True when there is something, and False when the limit passed."""
    transport, far = transports(pairs, socket_kind)
    assert transport.wait_input(0.01) is False
    assert transport.wait_output(0.01) is True
    while transport.send(memoryview(bytes(10**6)), 0, 10**6) != WOULD_WAIT:
        pass
    assert transport.wait_output(0.01) is False
    waiter = started(transport.wait_input, NEVER)
    far.sendall(b"x")
    assert waiter.get() is True
    waiter = started(transport.wait_output, NEVER)
    while not waiter.ready():
        far.recv(10**6)
        gevent.sleep(0.001)
    assert waiter.get() is True
    transport.close()


def test_the_sockets_own_timeout_and_mode_are_ignored(pairs: Pairs) -> None:
    """A blocking socket, and one with a timeout, are neither waited on nor changed."""
    for timeout in (None, 0.0, 5.0):
        near, _ = pairs.sockets()
        near.settimeout(timeout)
        blocking = os.get_blocking(near.fileno())
        transport = SocketTransport(near)
        assert received(transport) == WOULD_WAIT
        assert transport.hand_back() is near
        assert (near.gettimeout(), os.get_blocking(near.fileno())) == (timeout, blocking)


def test_closing_closes_once(pairs: Pairs, socket_kind: str) -> None:
    """close gives the descriptor up and detaches the socket object from it; a second one leaves its next owner alone."""
    near, other = pairs.sockets(socket_kind)
    transport = SocketTransport(near)
    number = transport.fileno()
    addresses = transport.addresses()
    transport.close()
    assert near.fileno() == -1
    assert transport.fileno() == -1
    assert open_descriptor(number) is False
    assert transport.addresses() == addresses
    os.dup2(other.fileno(), number)
    transport.close()
    transport.close(abort=True)
    assert open_descriptor(number)
    os.close(number)


def test_an_aborted_connection_is_reset(pairs: Pairs, socket_kind: str) -> None:
    """close(abort=True) shows the peer a reset over TCP, and an end over a Unix socket."""
    transport, far = transports(pairs, socket_kind)
    transport.close(abort=True)
    said = outcome(far.recv, 10)
    assert said == b"" if socket_kind == "unix" else isinstance(said, ConnectionResetError)


def test_a_handle_is_handed_back_as_it_came(pairs: Pairs) -> None:
    """The gevent socket made for a handle is handed back open, in the blocking mode that the handle had."""
    for blocking in (True, False):
        near, _ = pairs.sockets()
        near.setblocking(blocking)
        transport = SocketTransport(near.detach())
        number = transport.fileno()
        made = transport.socket()
        assert isinstance(made, gevent.socket.socket)
        assert transport.socket() is made
        assert transport.hand_back() is made
        assert made.fileno() == number
        assert os.get_blocking(number) == blocking
        assert transport.fileno() == -1
        made.close()


def test_addresses_are_those_of_the_socket(pairs: Pairs, socket_kind: str) -> None:
    """addresses() is what getsockname and getpeername say, and peer how errors call the other end."""
    near, far = pairs.sockets(socket_kind)
    transport = SocketTransport(near)
    assert transport.addresses() == (near.getsockname(), near.getpeername())
    if socket_kind == "tcp":
        assert transport.peer == f"127.0.0.1:{far.getsockname()[1]}"
    transport.close()


def test_a_dropped_transport_gives_its_descriptor_back(pairs: Pairs) -> None:
    """A transport without references closes its descriptor and stops its watchers and timers."""
    before, timers = descriptors_in_use(), running_timers()
    for _ in range(20):
        transport, far = transports(pairs)
        started(transport.wait_input, 60).kill()
        del transport
        assert far.recv(1) == b""
        far.close()
    pairs.close()
    assert descriptors_in_use() == before
    assert running_timers(besides=timers) == []


def test_a_transport_dropped_in_another_thread(pairs: Pairs) -> None:
    """Where the last reference goes away in another thread, the descriptor is closed, and no hub comes to be there."""
    transport, far = transports(pairs)
    started(transport.wait_input, 60).kill()
    holder = [transport]
    del transport
    seen: list[Any] = []

    def drop() -> None:
        holder.clear()
        seen.append(gevent._hub_local.get_hub_if_exists())

    thread = threading.Thread(target=drop)
    thread.start()
    thread.join(10)
    assert seen == [None]
    far.settimeout(10)
    assert far.recv(1) == b""


def test_no_transport_says_what_is_missing() -> None:
    """The placeholder for a socket that was taken away refuses to receive, send and wait, and keeps the addresses."""
    transport = NoTransport(("here", "there"))
    assert transport.addresses() == ("here", "there")
    for call, *args in (
        (transport.recv_into, memoryview(bytearray(1)), 0, []),
        (transport.send, memoryview(b"x"), 0, 1),
        (transport.readable,),
        (transport.wait_input, 1),
        (transport.wait_output, 1),
    ):
        with pytest.raises(StreamError, match="no socket"):
            call(*args)
    transport.close()
    transport.close()


@pytest.mark.parametrize("signals", [50])
def test_signals_do_not_end_system_calls(pairs: Pairs, signals: int) -> None:
    """Signals with a handler that returns end neither a wait nor a transfer."""
    transport, far = transports(pairs)
    seen: list[int] = []
    previous = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        while len(seen) < signals:
            assert transport.wait_input(0.005) is False
            far.sendall(b"x")
            assert transport.wait_input(5) is True
            assert received(transport) == b"x"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    transport.close()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("2001:db8::1", 80, 0, 0), "[2001:db8::1]:80"),
        (("::ffff:192.0.2.1", 80, 0, 0), "192.0.2.1:80"),
        ("/run/app.sock", "unix:/run/app.sock"),
        (b"/run/app\xff", "unix:/run/app\\xff"),
        ("\0app", "@app"),
        (b"\0app\xff", "@app\\xff"),
        ("", "peer"),
        (None, "peer"),
    ],
)
def test_the_name_of_an_address(address: object, name: str) -> None:
    """An IPv4 client of a listener for both families is named by its IPv4 address, a Unix socket as the command line takes it."""
    assert address_name(address) == name


@pytest.mark.skipif(geventstreams.compiled, reason="the plain build alone makes objects for the calls of a socket")
def test_a_transport_that_cannot_be_made_takes_nothing(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler that raises while a transport is made leaves the socket open and its owner's; a descriptor that was to be taken is
    closed with what has it."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    near, far = pairs.sockets()
    other, _ = pairs.sockets()
    owned = OwnedFd(other.detach(), socket.AF_INET, None)
    with monkeypatch.context() as patched:
        patched.setattr(syscalls, "handle_of", interrupted)
        for given in (near, owned):
            with pytest.raises(KeyboardInterrupt):
                SocketTransport(given)
    assert open_descriptor(owned.descriptor)
    owned.close()
    near.sendall(b"still open")
    assert far.recv(100) == b"still open"


def test_a_closed_transport_does_not_wait(pairs: Pairs) -> None:
    """A transport that was closed has an end to be read, in both builds, so no wait for its input begins."""
    transport, _ = transports(pairs)
    transport.close()
    assert transport.readable() == ENDED


class Events(EventHandler):
    """Counts the events that are reported to it."""

    count = 0

    def _on_event(self) -> Any:
        self.count += 1
        return 0  # it is an integer in the compiled build


def test_a_reset_is_reported_until_it_is_received(pairs: Pairs) -> None:
    """A handler that watches for input, and receives nothing of a reset, is told of it again when it watches again."""
    transport, far = transports(pairs)
    events = Events()
    try:
        assert transport.watch_input(events, NEVER)
        reset(far)
        until(lambda: events.count)
        before = events.count
        assert transport.watch_input(events, NEVER)
        until(lambda: events.count > before)
    finally:
        transport.close()
