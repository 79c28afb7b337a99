"""The states of a stream's output: each change is one of the table in `states`."""

import socket
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from kit.tls import TLSKit

import geventstreams
from geventstreams import SocketStream, WriteTimeout
from geventstreams._streams.blocking import BlockingEngine
from geventstreams._streams.buffered import engine_of
from geventstreams._streams.states import TRANSITIONS, Output


@pytest.fixture(autouse=True)
def changes(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, int]]:
    """The changes of the output's state in this test."""
    seen: set[tuple[int, int]] = set()

    def note(engine: Any, name: str, value: Any) -> None:
        if name == "output_state" and value != (before := getattr(engine, name, value)):
            seen.add((before, value))
        object.__setattr__(engine, name, value)

    if not geventstreams.compiled:
        monkeypatch.setattr(BlockingEngine, "__setattr__", note, raising=False)
    return seen


def end(stream: SocketStream, _peer: SocketStream) -> None:
    stream.send_eof()
    stream.send_eof()


def end_late(stream: SocketStream, peer: SocketStream) -> None:
    """The peer takes nothing for a while."""
    stream.write_timeout = 0.05
    with pytest.raises(WriteTimeout):
        stream.sendall(bytes(2**24))
    stream.write_timeout = None
    ending = gevent.spawn(stream.send_eof)
    gevent.sleep(0)
    peer.read()
    ending.get(timeout=20)


def end_and_replace(stream: SocketStream, _peer: SocketStream) -> None:
    near, far = socket.socketpair()
    stream.send_eof()
    with far:
        stream.socket = near


@pytest.mark.parametrize("deed", [end, end_late, end_and_replace, SocketStream.close])
def test_the_states_of_plain_streams(deed: Callable[..., object], changes: set[tuple[int, int]]) -> None:
    """Ending, closing, and a new socket change the state as the table says."""
    near, far = socket.socketpair()
    with SocketStream(far) as peer, SocketStream(near) as stream:
        deed(*[stream, peer][: 1 if deed is SocketStream.close else 2])
        assert engine_of(stream).output_state == (Output.OPEN if deed is end_and_replace else Output.TOLD)
    assert geventstreams.compiled or changes
    assert all(after in TRANSITIONS[before] for before, after in changes)


def test_the_states_of_a_stream_that_detaches_tls(tls: TLSKit, changes: set[tuple[int, int]]) -> None:
    """Nothing is accepted while close_notify is exchanged; afterwards the output is open again."""
    stream, peer = tls.streams()
    detaching = gevent.spawn(peer.detach_ssl)
    stream.detach_ssl()
    detaching.get(timeout=10)
    stream.write_line("plain")
    assert geventstreams.compiled or changes == {(Output.OPEN, Output.SHUT), (Output.SHUT, Output.OPEN)}
