"""A signal handler may raise between any two bytecodes: of gevent's watchers, which libuv's loop has in Python, and of what the loop calls.

The handler is a trace function here, which strikes one bytecode after the other where a watcher is started or stopped.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import gevent
import pytest
from kit.bytecodes import Handler
from kit.callbacks import Reports
from kit.conditions import until
from kit.loops import ON_LIBUV
from kit.network import HOST
from kit.pairs import Pairs

from geventstreams import SocketStream, SocketStreamServer, StreamClosed, makefile, open_tcp_stream, tcp_server, wait_for_input_streams
from geventstreams._constants import NEVER
from geventstreams._core.fair_lock import FairLock
from geventstreams.callbacks.server import AsyncServer
from geventstreams.testing.claims import started

WATCHERS = ("gevent/_ffi/watcher.py", "gevent/libuv/watcher.py")
LONG = 2_000_000


class Interrupt(Exception):
    """What the handler raises."""


def interrupt() -> None:
    """Raise, as the handler."""
    raise Interrupt


def starts_or_stops(frame: FrameType) -> bool:
    """Return whether a frame runs what starts or stops a watcher."""
    if not frame.f_code.co_filename.endswith(WATCHERS):
        return False
    method = frame
    while method.f_back is not None and method.f_back.f_code.co_filename.endswith(WATCHERS):
        method = method.f_back
    return method.f_code.co_name in {"start", "stop"}


def raising_handler(at: int) -> Handler:
    """Return a handler that raises at a bytecode where this greenlet starts or stops a watcher."""
    striking = gevent.getcurrent()
    return Handler(at, interrupt, lambda frame: gevent.getcurrent() is striking and starts_or_stops(frame))


def strike_everywhere(strike: Callable[[int], str], step: int, least: int) -> None:
    """Strike at each `step`-th bytecode, until there is none so far on; there are at least `least`."""
    at = 1
    while strike(at):
        at += step
    assert at > least


def waited(stream: Any) -> bytes:
    """Return a line for which `wait_for_input_streams` has waited."""
    if not wait_for_input_streams([stream], timeout=stream.read_timeout):
        raise TimeoutError
    return bytes(stream.readline())


WAITS: dict[str, Callable[[Any], bytes]] = {
    "a stream": lambda stream: bytes(stream.readline()),
    "wait_for_input_streams": waited,
    "a file": lambda file: bytes(file.readline()),
}


def turns() -> int:
    """Return how many turns the loop takes while nothing happens."""
    counted: list[None] = []
    with gevent.get_hub().loop.check(ref=False) as check:
        check.start(counted.append, None)
        gevent.sleep(0.005)
    return len(counted)


def strike(wait: str, beside: bool, at: int) -> str:
    """Wait for a line with a handler that raises, and check what follows. Return where it raised."""
    pairs = Pairs()
    near, far = (pairs.far(end) for end in socket.socketpair())
    near.settimeout(60)
    stream: Any = pairs.keep(makefile(near, "rb") if wait == "a file" else SocketStream(near, read_timeout=60))
    take = WAITS[wait]
    send_later = partial(gevent.get_hub().loop.run_callback, far.sendall)
    send_later(b"first\n")
    assert take(stream) == b"first\n"  # its watcher is made
    if beside:
        writer = gevent.spawn(near.sendall if wait == "a file" else stream.sendall, bytes(LONG))
        gevent.sleep(0)
    send_later(b"line\n")
    lines = [b"more\n"]
    with raising_handler(at) as handler:
        try:
            assert take(stream) == b"line\n"
        except Interrupt:
            lines.insert(0, b"line\n")
    gevent.sleep(0)
    far.sendall(b"more\n")
    assert turns() < 10, f"{handler.place}: the loop spins"
    with gevent.Timeout(5, AssertionError(f"{handler.place}: a wait does not end")):
        assert [take(stream) for _ in lines] == lines
        set_timeout = near.settimeout if wait == "a file" else partial(setattr, stream, "read_timeout")
        set_timeout(0.02)
        with pytest.raises(TimeoutError):
            take(stream)
        set_timeout(60)
        send_later(b"again\n")
        assert take(stream) == b"again\n"
        if beside:
            left = LONG
            while left:
                left -= len(far.recv(left))
            writer.get()
    pairs.close()
    assert gevent.wait(timeout=5), f"{handler.place}: something keeps the loop running"
    return handler.place


def strike_a_close(at: int) -> str:
    """Close a stream that has waited in both directions with a handler that raises, and check what follows. Return where it raised."""
    pairs = Pairs()
    near, far = (pairs.far(end) for end in socket.socketpair())
    stream = pairs.keep(SocketStream(near.detach(), read_timeout=60, write_timeout=60))
    far.sendall(b"first\n")
    gevent.get_hub().loop.run_callback(far.sendall, b"line\n")
    writer = started(stream.sendall, bytes(LONG))
    assert [stream.readline(), stream.readline()] == [b"first\n", b"line\n"]
    reader = started(stream.readline)
    with raising_handler(at) as handler, suppress(Interrupt):
        stream.close(abort=True)
    with gevent.Timeout(5, AssertionError(f"{handler.place}: a wait does not end")):
        assert [type(waiting.get()) for waiting in (reader, writer)] == [StreamClosed] * 2
        with suppress(ConnectionResetError):
            while far.recv(LONG):
                pass
    pairs.close()
    assert gevent.wait(timeout=5), f"{handler.place}: something keeps the loop running"
    return handler.place


@pytest.mark.slow
@pytest.mark.skipif(not ON_LIBUV, reason="libev's watchers are in C")
def test_a_handler_may_raise_where_a_close_stops_watchers() -> None:
    """The descriptor is closed all the same, and the greenlets that waited have their errors."""
    strike_everywhere(strike_a_close, step=3, least=100)


def strike_a_release(at: int) -> str:
    """Release a lock for which a greenlet waits, with a handler that raises. Return where it raised."""
    lock = FairLock()
    assert lock.acquire(None, NEVER)
    waiter = gevent.spawn(lock.acquire, None, 60)
    gevent.sleep(0)
    with raising_handler(at) as handler, suppress(Interrupt):
        lock.release()
    assert waiter.get(timeout=5), handler.place
    return handler.place


@pytest.mark.skipif(not ON_LIBUV, reason="libev's watchers are in C")
def test_a_handler_may_raise_where_a_lock_is_handed_over() -> None:
    """The greenlet that waited for the lock is woken, since the lock is its own."""
    strike_everywhere(strike_a_release, step=3, least=50)


@pytest.mark.slow
@pytest.mark.skipif(not ON_LIBUV, reason="libev's watchers are in C")
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a writer"])
@pytest.mark.parametrize("wait", WAITS)
def test_a_handler_may_raise_where_a_watcher_is_started_or_stopped(wait: str, beside: bool) -> None:
    """The input is there for the next waits, which end by it or by their timeout, what waits for output goes on, and the loop rests."""
    strike_everywhere(partial(strike, wait, beside), step=7, least=100)


def echo(stream: Any, _address: Any) -> None:
    """Answer a line with itself."""
    stream.write(stream.readline())


SERVERS: dict[str, tuple[type, str, Callable[[], Any]]] = {
    "handlers": (SocketStreamServer, "full", lambda: SocketStreamServer((HOST, 0), echo)),
    "callbacks": (AsyncServer, "_serve", lambda: tcp_server(HOST, 0, lambda connection, data: connection.write(data))),
}
"""For each kind of server its class, a method that it calls in the hub when a client has come, and how one is made."""


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_accepts_on_after_a_handler_that_raised(kind: str, reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception amid accepting is reported. gevent then stops the watcher; the server starts it again, and serves the next clients."""
    owner, method, make = SERVERS[kind]
    reports.expect(Interrupt)
    server = make()
    if kind == "handlers":
        server.start()
    with monkeypatch.context() as struck, socket.create_connection((HOST, server.port)):
        struck.setattr(owner, method, lambda *_: interrupt())
        until(lambda: reports.errors)
    for _ in range(2):
        with open_tcp_stream(HOST, server.port, read_timeout=10) as stream:
            stream.write(b"a line\n")
            assert stream.readline() == b"a line\n"
    server.close()
