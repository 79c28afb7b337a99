"""The phases of a connection that calls back: each arrow of the table is taken, and no other."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from kit.callbacks import Calls, in_greenlet, rest_of, rounds, settled
from kit.conditions import until
from kit.forking import child
from kit.network import black_hole, reset, unused_port

from geventstreams import TCPEOF, ConnectTimeout, TCPRefused, TCPReset, TCPTimeout
from geventstreams.callbacks.phases import TRANSITIONS, Phase

T = 0.15
RESET = struct.pack("ii", 1, 0)


class Following(frozenset):
    """The phases that may follow one, which notes those that did."""

    followed: set[int]

    def __contains__(self, phase: object) -> bool:
        self.followed.add(phase)  # type: ignore[arg-type]  # a phase
        return frozenset.__contains__(self, phase)


@pytest.fixture
def arrows(monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[tuple[Phase, Phase]]]:
    """Return the arrows that connections have taken since the beginning of the test."""
    for phase, allowed in list(TRANSITIONS.items()):
        following = Following(allowed)
        following.followed = set()
        monkeypatch.setitem(TRANSITIONS, phase, following)
    return lambda: {(Phase(phase), Phase(after)) for phase, following in TRANSITIONS.items() for after in following.followed}


def opened(endpoints: Any, *callbacks: Any, **options: Any) -> tuple[Any, Any]:
    """A client that is established, and its peer."""
    client, peer = endpoints.joined(*callbacks, **options)
    until(lambda: client.fileno() >= 0)
    return client, peer


def broken(endpoints: Any, *callbacks: Any, **options: Any) -> tuple[Any, Any]:
    """A paused client whose peer has reset the connection, which it knows by a write that failed, and did not tell yet."""
    client, peer = opened(endpoints, *callbacks, stream=True, **options)
    client.socket.pause()
    reset(peer)
    rounds()
    client.write(b"x")
    client.force_output()
    assert "broken" in repr(client.socket)
    return client, peer


def opens_and_closes(endpoints: Any, calls: Calls) -> None:
    client, _peer = opened(endpoints, calls.read, calls.event)
    client.close()
    assert "closed" in repr(client)


def is_refused(endpoints: Any, calls: Calls) -> None:
    endpoints.client(unused_port(), calls.read, calls.event)
    settled(calls)
    assert calls.kinds == [TCPRefused]


def closes_while_connecting(endpoints: Any, calls: Calls) -> None:
    with black_hole() as (host, port):
        client = endpoints.client(port, calls.read, calls.event, host=host)
        client.close()
        assert "closed" in repr(client)


def closes_early(endpoints: Any, calls: Calls) -> None:
    listener = endpoints.listener()
    client = endpoints.client(listener.getsockname()[1], calls.read, calls.event, data=b"early")
    client.close()
    assert "closing early" in repr(client)
    assert rest_of(endpoints.accept(listener)) == b"early"


def closes_early_in_vain(endpoints: Any, calls: Calls) -> None:
    with black_hole() as (host, port):
        endpoints.client(port, calls.read, calls.event, host=host, data=b"early", linger_timeout=T).close()
        settled(calls)
        assert calls.kinds == [TCPTimeout]
        client = endpoints.client(port, calls.read, calls.event, host=host, data=b"early")
        client.close()
        client.close(force=True)
        assert "closed" in repr(client)


def is_forced(endpoints: Any, calls: Calls) -> None:
    client, peer = opened(endpoints, calls.read, calls.event)
    client.close(force=True)
    with pytest.raises(ConnectionResetError):
        rest_of(peer)


def is_reset(endpoints: Any, calls: Calls) -> None:
    _client, peer = opened(endpoints, calls.read, calls.event)
    reset(peer)
    settled(calls)
    assert calls.kinds == [TCPReset]


def meets_the_end(endpoints: Any, calls: Calls) -> None:
    _client, peer = opened(endpoints, calls.read, calls.event)
    peer.close()
    settled(calls)
    assert calls.kinds == [TCPEOF]


def closes_in_vain(endpoints: Any, calls: Calls) -> None:
    client, _peer = opened(endpoints, calls.read, calls.event, receive=4096, linger_timeout=T)
    client.write(bytes(2**24))
    client.close()
    assert "closing" in repr(client)
    settled(calls)
    assert calls.kinds == [TCPTimeout]


def breaks(endpoints: Any, calls: Calls) -> None:
    broken(endpoints, calls.read, calls.event)
    settled(calls)
    assert calls.kinds == [TCPReset]


def breaks_and_closes(endpoints: Any, calls: Calls) -> None:
    client, _peer = broken(endpoints, calls.read, calls.event)
    client.close()
    assert calls.names == []
    settled(calls)
    assert calls.kinds == [TCPReset]


def breaks_in_a_callback_that_raises(endpoints: Any, calls: Calls) -> None:
    def read(_socket: Any, _data: Any) -> None:
        reset(peer)
        rounds()
        client.write(b"x")
        client.force_output()
        assert "broken" in repr(client.socket)
        calls.names.append("read")
        raise KeyError

    client, peer = opened(endpoints, read, calls.event, stream=True)
    peer.sendall(b"x")
    until(lambda: "closed" in repr(client.socket) if client.socket else True)
    rounds()
    assert calls.names == ["read"]


def breaks_in_a_parent(endpoints: Any, calls: Calls) -> None:
    """The arrow from BROKEN to CLOSED is that of a forked child, which tells by its status whether it took it."""
    client, _peer = broken(endpoints, calls.read, calls.event)

    def close() -> None:
        client.socket.close()
        assert Phase.CLOSED in TRANSITIONS[Phase.BROKEN].followed  # type: ignore[attr-defined]  # see Following

    child(close)
    TRANSITIONS[Phase.BROKEN].followed.add(Phase.CLOSED)  # type: ignore[attr-defined]  # as above
    settled(calls)


SCENARIOS = [opens_and_closes, is_refused, closes_while_connecting, closes_early, closes_early_in_vain, is_forced, is_reset, meets_the_end,
             closes_in_vain, breaks, breaks_and_closes, breaks_in_a_callback_that_raises, breaks_in_a_parent]


def test_every_arrow_is_taken_and_no_other(endpoints: Any, reports: Any, arrows: Any) -> None:
    """What connections can meet takes exactly the arrows of the table; the last callback is the one that its head names."""
    reports.expect(KeyError)
    for scenario in SCENARIOS:
        scenario(endpoints, Calls())
    listed = {(Phase(phase), Phase(after)) for phase, following in TRANSITIONS.items() for after in frozenset(following)}
    assert arrows() == listed


@pytest.mark.usefixtures("reports")
def test_a_drain_of_one_that_is_closed_while_connecting(endpoints: Any, calls: Calls) -> None:
    """`close` while connecting, with output queued, and `drain` wait for the connection; the error of both is that there is none."""
    with black_hole() as (host, port):
        client = endpoints.client(port, calls.read, calls.event, host=host, data=b"early", linger_timeout=T)
        rounds()
        client.close()
        with pytest.raises(ConnectTimeout) as caught:
            in_greenlet(client.drain)
    assert caught.value.unsent == 5
    settled(calls)
    assert calls.kinds == [TCPTimeout]
