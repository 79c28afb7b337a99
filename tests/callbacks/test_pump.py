"""The greenlets in which callbacks run: one for all connections of a hub, and one more for each whose callback waits."""

from __future__ import annotations

import contextvars
import os
import threading
from typing import Any

import gevent
import gevent.event
import gevent.local
import pytest
from kit.callbacks import Calls, received, rest_of, rounds
from kit.conditions import until
from kit.leftovers import nothing_left
from kit.network import HOST

from geventstreams import tcp_connect, tcp_server

pytestmark = pytest.mark.usefixtures("reports")

LABEL: contextvars.ContextVar[str] = contextvars.ContextVar("LABEL", default="none")


def established(endpoints: Any, server: Any, count: int) -> list[Any]:
    """Peers whose connections the server has accepted."""
    peers = [endpoints.peer(server.port) for _ in range(count)]
    until(lambda: len(server.connections) == count)
    rounds()
    return peers


def ready_together(peers: list[Any]) -> None:
    """Send a byte to each without letting the hub run in between."""
    for index, peer in enumerate(peers):
        assert os.write(peer.fileno(), b"%d" % index) == 1


def test_callbacks_that_do_not_wait_share_a_greenlet(endpoints: Any) -> None:
    """All connections of a hub are called back in one greenlet, which is not the hub's, as long as no callback waits."""
    used: set[Any] = set()
    seen: list[Any] = []

    def note(socket: Any, *_data: Any) -> None:
        used.add(gevent.getcurrent())
        seen.append(socket)

    server = endpoints.server(note, lambda event: note(event.socket), connect_cb=note)
    peers = established(endpoints, server, 3)
    ready_together(peers)
    until(lambda: len(seen) == 6)
    for peer in peers:
        peer.close()
    until(lambda: not server.connections)
    assert len(seen) == 9
    assert len(used) == 1
    assert isinstance(used.pop(), gevent.Greenlet)


def test_a_callback_that_waits_keeps_its_greenlet(endpoints: Any) -> None:
    """A callback has one greenlet from its beginning to its end, in which nothing else runs meanwhile; the others that were ready at the
    same time are called back while it waits."""
    release = gevent.event.Event()
    inside: dict[Any, bytes] = {}
    finished: list[bytes] = []

    def wait(_socket: Any, data: bytes) -> None:
        current = gevent.getcurrent()
        assert current not in inside
        inside[current] = data
        release.wait()
        assert gevent.getcurrent() is current
        assert inside.pop(current) == data
        finished.append(data)

    server = endpoints.server(wait)
    peers = established(endpoints, server, 5)
    ready_together(peers)
    until(lambda: len(inside) == 5)
    release.set()
    until(lambda: len(finished) == 5)
    assert sorted(finished) == [b"0", b"1", b"2", b"3", b"4"]


def test_greenlets_of_callbacks_that_waited_are_used_again(endpoints: Any) -> None:
    """Callbacks that wait one after another need no more greenlets than wait at the same time, and one more."""
    used: set[Any] = set()

    def wait(socket: Any, data: bytes) -> None:
        used.add(gevent.getcurrent())
        gevent.sleep(0)
        socket.write(data)

    server = endpoints.server(wait)
    (peer,) = established(endpoints, server, 1)
    for _ in range(20):
        peer.sendall(b"x")
        assert received(peer, 1) == b"x"
    assert len(used) <= 2


def test_greenlet_locals_belong_to_a_callback_while_it_runs(endpoints: Any) -> None:
    """What a callback keeps in a `gevent.local.local` is there until it returns, and callbacks that run while it waits do not see it."""
    mine = gevent.local.local()
    release = gevent.event.Event()
    results: list[tuple[bytes, Any]] = []

    def read(_socket: Any, data: bytes) -> None:
        if data == b"0":
            mine.value = data
            release.wait()
        results.append((data, getattr(mine, "value", None)))

    server = endpoints.server(read)
    ready_together(established(endpoints, server, 2))
    until(lambda: results)
    release.set()
    until(lambda: len(results) == 2)
    assert results == [(b"1", None), (b"0", b"0")]


@pytest.mark.parametrize("waits", [False, True])
def test_each_connection_has_its_context(endpoints: Any, waits: bool) -> None:
    """A context variable that a callback sets is seen by the later ones of the same connection, and by no others."""
    results: list[tuple[str, str]] = []

    def read(_socket: Any, data: bytes) -> None:
        for byte in data.decode():
            results.append((byte, LABEL.get()))
            LABEL.set(LABEL.get() + byte)
            if waits:
                gevent.sleep(0)

    server = endpoints.server(read)
    peers = established(endpoints, server, 2)
    for _ in range(2):
        ready_together(peers)
    until(lambda: len(results) == 4)
    assert sorted(results) == [("0", "none"), ("0", "none0"), ("1", "none"), ("1", "none1")]
    assert LABEL.get() == "none"

    seen: list[str] = []

    def connected(socket: Any) -> None:
        LABEL.set("connected")
        socket.write(b"x")

    echo = endpoints.server(lambda socket, data: socket.write(data))
    endpoints.client(echo.port, lambda _socket, _data: seen.append(LABEL.get()), connect_cb=connected)
    until(lambda: seen)
    assert seen == ["connected"]


def test_a_callback_may_change_the_context_of_its_greenlet(endpoints: Any, reports: Any) -> None:
    """A callback that gives its greenlet another context leaves its connection's own as it is, for the next callback."""
    results: list[tuple[bytes, str]] = []

    def read(_socket: Any, data: bytes) -> None:
        results.append((data, LABEL.get()))
        LABEL.set(LABEL.get() + data.decode())
        gevent.getcurrent().gr_context = contextvars.Context()
        LABEL.set("lost")

    peers = established(endpoints, endpoints.server(read), 2)
    for number in range(3):
        ready_together(peers)
        until(lambda wanted=2 * number + 2: len(results) == wanted)
    assert sorted(results) == [(b"0", "none"), (b"0", "none0"), (b"0", "none00"), (b"1", "none"), (b"1", "none1"), (b"1", "none11")]
    assert reports.errors == []


def test_a_kill_of_a_callback_that_waits_ends_its_connection_only(endpoints: Any, reports: Any) -> None:
    """The greenlet of a callback that waits may be killed: its connection is closed, which is no error, and the others go on."""
    waiting: dict[bytes, Any] = {}

    def read(socket: Any, data: bytes) -> None:
        if data == b"0":
            waiting[data] = gevent.getcurrent()
            gevent.event.Event().wait()
        socket.write(data)

    server = endpoints.server(read)
    peers = established(endpoints, server, 2)
    ready_together(peers)
    assert received(peers[1], 1) == b"1"
    waiting[b"0"].kill()
    assert rest_of(peers[0]) == b""
    peers[1].sendall(b"again")
    assert received(peers[1], 5) == b"again"
    assert reports.errors == []


def test_a_kill_of_the_shared_greenlet_ends_no_connection(endpoints: Any) -> None:
    """A greenlet that a callback has left, and that is killed afterwards, is replaced; so is one that other code switches to."""
    used: list[Any] = []

    def read(socket: Any, data: bytes) -> None:
        used.append(gevent.getcurrent())
        socket.write(data)

    server = endpoints.server(read)
    (peer,) = established(endpoints, server, 1)
    for disturb in (lambda greenlet: greenlet.kill(), lambda greenlet: gevent.get_hub().loop.run_callback(greenlet.switch)):
        peer.sendall(b"x")
        assert received(peer, 1) == b"x"
        disturb(used[-1])
        rounds()
    peer.sendall(b"y")
    assert received(peer, 1) == b"y"
    assert used[0] is not used[1]
    assert used[1] is used[2]


def test_an_exception_keeps_no_other_callback_from_being_called(endpoints: Any, reports: Any) -> None:
    """Of three connections that are ready together the first two raise: one before it waits, one after. The third is called back."""
    reports.expect(ZeroDivisionError)

    def read(socket: Any, data: bytes) -> None:
        if data != b"2":
            if data == b"1":
                gevent.sleep(0)
            raise ZeroDivisionError(data)
        socket.write(data)

    server = endpoints.server(read)
    peers = established(endpoints, server, 3)
    ready_together(peers)
    assert received(peers[2], 1) == b"2"
    until(lambda: len(server.connections) == 1)
    assert sorted(error.args for error in reports.errors) == [(b"0",), (b"1",)]


def test_what_a_callback_writes_before_it_waits_is_sent_then(endpoints: Any) -> None:
    """A callback writes a question, and waits until the answer has come."""
    answer = gevent.event.Event()

    def ask(socket: Any, _data: bytes) -> None:
        socket.write(b"question")
        answer.wait()
        socket.write(b"thanks")

    server = endpoints.server(ask)
    (peer,) = established(endpoints, server, 1)
    peer.sendall(b"x")
    assert received(peer, 8) == b"question"
    answer.set()
    assert received(peer, 6) == b"thanks"


def test_the_greenlets_end_with_the_last_connection(endpoints: Any) -> None:
    """Where no connection is left, no greenlet is."""
    def wait(socket: Any, data: bytes) -> None:
        gevent.sleep(0)
        socket.write(data)

    with nothing_left():
        server = tcp_server(HOST, 0, wait)
        plain = [gevent.socket.create_connection((HOST, server.port)) for _ in range(5)]
        ready_together(plain)
        for peer in plain:
            assert received(peer, 1)
            peer.close()
        until(lambda: not server.connections)
        server.close()


def in_thread(function: Any) -> Any:
    """Call a function in another thread, which has a hub of its own; return what it returns."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    until(lambda: not thread.is_alive())
    return results[0]


def test_an_open_connection_keeps_the_loop_running_and_a_callback_that_waits_does_not(endpoints: Any) -> None:
    """`gevent.wait()` goes on while a connection is open, although no greenlet waits for its input; it returns when the only connection's
    callback waits for something that will never happen."""
    server = endpoints.server(lambda socket, data: socket.write(data), lambda _event: None)

    def program() -> list[Any]:
        results: list[Any] = []
        never = gevent.event.Event()

        def read(_socket: Any, data: bytes) -> None:
            results.append(data)
            never.wait()

        client = tcp_connect(HOST, server.port, read)
        with gevent.Timeout(10):
            while client.fileno() < 0:
                gevent.sleep(0.001)
        results.append(gevent.wait(timeout=0.1))
        client.write(b"x")
        results.append(gevent.wait())
        client.close(True)
        return results

    assert in_thread(program) == [False, b"x", True]


def test_a_thread_that_ends_leaves_no_connection(endpoints: Any) -> None:
    """The open connections of a thread that ends are closed, also one whose callback waits."""
    calls = Calls()
    server = endpoints.server(lambda socket, data: socket.write(data), calls.event)

    def program() -> list[Any]:
        waiting: list[Any] = []

        def read(_socket: Any, data: bytes) -> None:
            waiting.append(data)
            gevent.event.Event().wait()

        clients = [tcp_connect(HOST, server.port, read, data=b"x"), tcp_connect(HOST, server.port, read)]
        with gevent.Timeout(10):
            while not waiting or clients[1].fileno() < 0:
                gevent.sleep(0.001)
        return clients

    clients = in_thread(program)
    until(lambda: len(calls.events) == 2)
    assert all(client.closed for client in clients)


def test_a_fork_in_a_callback_is_the_last_one_in_the_child(endpoints: Any) -> None:
    """A callback forks, while other connections are ready: in the child it returns, and no callback is called after that."""
    called: list[bytes] = []
    children: list[int] = []
    parent = os.getpid()

    def read(socket: Any, data: bytes) -> None:
        called.append(data)
        if not children:
            before = len(called)
            children.append(gevent.os.fork())
            if os.getpid() != parent:
                gevent.spawn_later(0.2, lambda: os._exit(0 if len(called) == before else 1))
                return
        socket.write(data)

    server = endpoints.server(read)
    peers = established(endpoints, server, 3)
    ready_together(peers)
    until(lambda: children)
    if os.getpid() != parent:
        gevent.sleep(10)
        os._exit(2)
    assert [received(peer, 1) for peer in peers] == [b"0", b"1", b"2"]
    _, status = os.waitpid(children[0], 0)  # that of gevent misses the end of a child that is quick
    assert os.waitstatus_to_exitcode(status) == 0
