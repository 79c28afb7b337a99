"""Connections that are not established yet: canceled attempts, and closes that come first."""

from __future__ import annotations

import socket
import threading
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.event import Event
from kit.callbacks import Calls, rest_of, rounds, settled
from kit.conditions import until
from kit.loops import ON_LIBUV
from kit.network import HOST, black_hole

from geventstreams import TCPEOF, tcp_connect
from geventstreams.callbacks.connecting import Attempt

pytestmark = pytest.mark.usefixtures("reports")


class Opened:
    """What an opener returns: it notes how it was closed."""

    def __init__(self) -> None:
        self.aborted: list[bool] = []

    def close(self, abort: bool = False) -> None:
        self.aborted.append(abort)


def test_a_cancel_ends_the_opener_and_nothing_else() -> None:
    """An attempt that is canceled while its opener waits gives None; one whose opener returns in the same turn of the hub closes what it
    opened, and the greenlet that ran it is not interrupted afterwards."""
    for returns in (False, True):
        opened, answered, results = Opened(), Event(), []

        def opener(opened: Any = opened, answered: Event = answered) -> Any:
            answered.wait()
            return opened

        def run(attempt: Attempt, results: list[Any] = results) -> None:
            results.append(attempt.run())
            gevent.sleep(0.01)
            results.append("went on")

        attempt = Attempt(opener)
        greenlet = gevent.spawn(run, attempt)
        gevent.sleep(0)
        if returns:
            answered.set()
        attempt.cancel()
        greenlet.join(10)
        assert results == [None, "went on"]
        assert opened.aborted == ([True] if returns else [])


def test_an_attempt_that_was_canceled_first_opens_nothing() -> None:
    """A cancel before the attempt runs: the opener is not called."""
    called: list[None] = []
    attempt = Attempt(lambda: called.append(None))  # type: ignore[arg-type, return-value]  # never called
    attempt.cancel()
    assert attempt.run() is None
    assert called == []


def test_a_close_before_an_accepted_connection_calls_back(endpoints: Any, calls: Calls) -> None:
    """Of three clients that are accepted in one turn the first one's `connect_cb` writes to all and closes them: each gets it all."""
    def bid_farewell(_socket: Any) -> None:
        for connection in list(server.connections):
            if not connection.closed:
                connection.write(b"farewell")
                connection.close()

    server = endpoints.server(calls.read, calls.event, connect_cb=bid_farewell)
    plain = [socket.create_connection((HOST, server.port)) for _ in range(3)]  # none of these yields to the hub
    peers = [endpoints.keep(gevent.socket.socket(fileno=peer.detach())) for peer in plain]
    assert [rest_of(peer) for peer in peers] == [b"farewell"] * 3
    assert calls.names == []


@pytest.mark.parametrize("ending", ["return"] if ON_LIBUV else ["return", "destroy", "close in a destroyed hub"])
def test_a_thread_may_end_while_its_connection_is_made(ending: str) -> None:
    """A thread that ends while it connects leaves a closed socket, also one with output queued that is closed early, and also where it
    destroys its loop (which on libuv waits for the sockets that connect), or closes the sockets when it has destroyed its hub only."""
    sockets: list[Any] = []
    with black_hole() as (host, port):
        def connect() -> None:
            sockets.append(tcp_connect(host, port, None))
            sockets.append(tcp_connect(host, port, None, data=b"x"))
            rounds()
            sockets[1].close()
            if ending == "destroy":
                gevent.get_hub().destroy(destroy_loop=True)
            elif ending != "return":
                gevent.get_hub().destroy(destroy_loop=False)
                for connection in sockets:
                    connection.close(force=True)

        thread = threading.Thread(target=connect)
        thread.start()
        thread.join(10)
        until(lambda: "closed" in repr(sockets[0]) and "closed" in repr(sockets[1]))
        for connection in sockets:
            connection.close()


@pytest.mark.parametrize("data", [None, "question"])
def test_output_may_end_before_the_connection_is_established(endpoints: Any, calls: Calls, data: str | None) -> None:
    """`send_eof` right after `tcp_connect`, with output queued and without: the peer gets that and the end, and its answer arrives."""
    listener = endpoints.listener()
    stream = endpoints.client(listener.getsockname()[1], calls.read, calls.event, connect_cb=calls.connect, stream=True, data=data)
    stream.send_eof()
    peer = endpoints.accept(listener)
    assert rest_of(peer) == (data or "").encode()
    peer.sendall(b"answer")
    peer.close()
    settled(calls)
    assert calls.names == ["connect", "read", "event"]
    assert calls.data == b"answer"
    assert calls.kinds == [TCPEOF]
