"""A signal handler may close a stream between any two bytecodes of a call on it, in whatever greenlet it interrupts; it may wait, too.

The handler is a trace function here, which strikes at one bytecode after the other. It closes the stream and gives the number of its
descriptor to a foreign connection at once, as another library in the handler may.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import gevent
import pytest
from kit.bytecodes import Handler
from kit.conditions import until
from kit.loops import ON_LIBUV
from kit.tls import NAME, TLSKit

import geventstreams
from geventstreams import ReadTimeout, SocketStream, StreamClosed, WaitSet, wait_for_input_streams
from geventstreams._core.fairness import pause
from geventstreams._streams.buffered import engine_of
from geventstreams.testing.claims import outcome

PACKAGE = str(Path(geventstreams.__file__).parent) + os.sep
FOREIGN = b"of another library"

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
"""Those of a server and a client."""


def of_the_package(frame: FrameType) -> bool:
    """Return whether a frame runs the package's code."""
    return frame.f_code.co_filename.startswith(PACKAGE)


class Struck:
    """A stream that a handler closes, and what has its descriptor's number afterwards."""

    def __init__(self, close: Callable[[SocketStream], object], contexts: Contexts | None = None) -> None:
        near, self.far = socket.socketpair()
        self.stream = SocketStream(near, read_timeout=30, write_timeout=30)
        if contexts is not None:
            peer: Any = SocketStream(self.far)
            shaking = gevent.spawn(peer.attach_ssl, contexts[1], "client", tlsext_host_name=NAME)
            self.stream.attach_ssl(contexts[0], "server")
            shaking.get(timeout=10)
            self.far = peer
        self._engine = engine_of(self.stream)
        self._close = close
        self._number = self.stream.fileno()
        self._foreign: socket.socket | None = None

    def strike(self) -> None:
        """Close the stream, as a handler does, and use its number for another connection."""
        self._close(self.stream)
        mine, self._foreign = socket.socketpair()
        os.dup2(mine.fileno(), self._number)
        if mine.fileno() == self._number:
            mine.detach()
        else:
            mine.close()
        self._foreign.sendall(FOREIGN)

    def check(self) -> None:
        """The foreign connection has lost nothing and got nothing, and no watcher looks at it."""
        until(lambda: self._foreign is not None)  # the handler may run in another greenlet, and wait there
        assert self._foreign is not None
        with socket.socket(fileno=self._number) as mine, self._foreign as foreign:
            foreign.setblocking(False)
            assert mine.recv(100, socket.MSG_DONTWAIT) == FOREIGN
            with pytest.raises(BlockingIOError):
                foreign.recv(100)
            mine.sendall(b"x")
            assert foreign.recv(100) == b"x"
        transport = self._engine.transport
        assert not transport.input_wakeup().armed
        assert not transport.output_wakeup().armed
        self.far.close()


def _send_later(far: socket.socket, data: bytes) -> None:
    def send() -> None:
        with contextlib.suppress(OSError):  # the stream is closed already
            far.sendall(data)

    gevent.get_hub().loop.run_callback(send)


Call = Callable[[SocketStream, socket.socket], Callable[[], object]]


def of(call: Callable[[SocketStream], object], there: bytes = b"", comes: bytes = b"") -> Call:
    """A call on a stream, to which something was sent before, and something comes as soon as it waits."""

    def prepare(stream: SocketStream, far: socket.socket) -> Callable[[], object]:
        far.sendall(there)
        if comes:
            _send_later(far, comes)
        return lambda: call(stream)

    return prepare


def buffered(call: Callable[[SocketStream], object]) -> Call:
    """A call on a stream that holds two lines."""

    def prepare(stream: SocketStream, far: socket.socket) -> Callable[[], object]:
        far.sendall(b"before\nline\nmore\n")
        assert stream.readline() == b"before\n"
        return lambda: call(stream)

    return prepare


LARGE = bytes(range(251)) * 1200


def sent_whole(stream: SocketStream, far: socket.socket) -> Any:
    """A large message to a peer that reads it slowly."""
    got = bytearray()

    def take() -> None:
        far.setblocking(False)
        with contextlib.suppress(ConnectionError):
            while data := _received(far):
                got.extend(data)
        assert LARGE.startswith(got)  # nothing came twice

    taking = gevent.spawn(take)

    def send() -> None:
        try:
            stream.sendall(LARGE)
        finally:
            taking.get(timeout=10) if stream.closed else taking.kill()

    return send


def _received(far: socket.socket) -> bytes:
    while True:
        try:
            return far.recv(100_000)
        except BlockingIOError:
            gevent.sleep(0.001)


def _filled(size: int) -> Callable[[SocketStream], bytes]:
    def read(stream: SocketStream) -> bytes:
        space = bytearray(size)
        return bytes(space[: stream.readinto(space)])

    return read


def _sequence(size: int) -> Callable[[SocketStream], bytes]:
    def read(stream: SocketStream) -> bytes:
        space = bytearray(size)
        return bytes(space[: stream.read_sequence(space)])

    return read


def waited_for(stream: SocketStream, far: socket.socket) -> Callable[[], object]:
    """A wait of a set that has waited before, on whose end the timer goes on."""
    members = WaitSet([stream])
    assert not members.wait(0.001)
    _send_later(far, b"1")
    return lambda: len(members.wait(0.4))


CALLS: dict[str, Call] = {
    "readline, buffered": buffered(SocketStream.readline),
    "readline, there": of(SocketStream.readline, b"line\nmore"),
    "readline, comes": of(SocketStream.readline, b"half a ", b"line\n"),
    "read": of(lambda stream: stream.read(8), b"1234", b"5678"),
    "read1": buffered(SocketStream.read1),
    "read_exactly": of(lambda stream: stream.read_exactly(8), b"1234", b"5678"),
    "read_until": of(lambda stream: stream.read_until(b"--"), b"1234-", b"-5678"),
    "readinto": of(_filled(20_000), b"x" * 10_000, b"x" * 10_000),
    "readlines": of(lambda stream: stream.readlines(12), b"line\nmore\nagain\n"),
    "peek": of(SocketStream.peek, b"", b"1"),
    "read_available": of(SocketStream.read_available, b"1234"),
    "read_char": of(SocketStream.read_char, b"", b"1"),
    "read_line": of(SocketStream.read_line, b"half a ", b"line\n"),
    "read_sequence": of(_sequence(8), b"1234", b"5678"),
    "listen": of(SocketStream.listen, b"1"),
    "write": of(lambda stream: stream.write(b"1234")),
    "sendall": of(lambda stream: stream.sendall(b"1234")),
    "sendall, large": sent_whole,
    "force_output": of(lambda stream: (stream.write_line("line"), stream.force_output())),
    "send_eof": of(lambda stream: (stream.write(b"1234"), stream.send_eof())),
    "shutdown": of(lambda stream: stream.shutdown("input")),
    "wait": of(lambda stream: len(wait_for_input_streams([stream], timeout=0.4)), b"", b"1"),
    "wait, there": of(lambda stream: len(wait_for_input_streams([stream], timeout=0.4)), b"1"),
    "wait of a set": of(lambda stream: len(WaitSet([stream]).wait(0.4)), b"", b"1"),
    "second wait of a set": waited_for,
    "attributes": of(lambda stream: len([stream.unsent, stream.address, stream.fileno(), repr(stream)])),
}


def outcomes(
    call: str, close: Callable[[SocketStream], object], stride: int, contexts: Contexts | None = None
) -> Iterator[tuple[str, object]]:
    """What a call gives, or raises, when the stream is closed at one bytecode of it after the other; at last, what it gives by itself."""
    for at in range(1, 10**6, stride):
        struck = Struck(close, contexts)
        made = CALLS[call](struck.stream, struck.far)
        with Handler(at, struck.strike, of_the_package) as handler:
            result = outcome(made)
        gevent.sleep(0)
        if handler.place:
            struck.check()
            yield handler.place, result
        else:
            struck.stream.abort()
            struck.far.close()
            yield "", result
            return


@pytest.mark.slow
@pytest.mark.skipif(geventstreams.compiled, reason="only bytecode is struck")
@pytest.mark.parametrize("close", [SocketStream.abort, SocketStream.close], ids=["abort", "close"])
@pytest.mark.parametrize("call", CALLS)
def test_a_handler_may_close_the_stream_at_any_bytecode(call: str, close: Callable[[SocketStream], object]) -> None:
    """The call gives what it gives without that, or raises StreamClosed, and the descriptor's number is not used any more."""
    *struck, (_, expected) = outcomes(call, close, 1)
    wrong = {f"{place}: {result!r}" for place, result in struck if not isinstance(result, StreamClosed) and result != expected}
    assert not wrong, "\n".join(sorted(wrong))


TLS_CALLS = ("readline, there", "readline, comes", "readinto", "read_line", "listen", "sendall", "send_eof", "wait", "wait, there")


@pytest.mark.slow
@pytest.mark.skipif(geventstreams.compiled, reason="only bytecode is struck")
@pytest.mark.parametrize("close", [SocketStream.abort, SocketStream.close], ids=["abort", "close"])
@pytest.mark.parametrize("call", TLS_CALLS)
@pytest.mark.parametrize("kind", ["tcp"])
def test_a_handler_may_close_a_stream_under_tls(call: str, close: Callable[[SocketStream], object], tls13: TLSKit) -> None:
    """So it is under TLS, at every eleventh bytecode."""
    *struck, (_, expected) = outcomes(call, close, 11, (tls13.context("server"), tls13.context("client")))
    wrong = {f"{place}: {result!r}" for place, result in struck if not isinstance(result, StreamClosed) and result != expected}
    assert not wrong, "\n".join(sorted(wrong))


@pytest.mark.slow
@pytest.mark.skipif(ON_LIBUV, reason="gevent's libuv watchers are Python code: one that is closed amid its own start ends the process")
@pytest.mark.parametrize("close", [SocketStream.abort, SocketStream.close], ids=["abort", "close"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain text", "TLS"])
@pytest.mark.parametrize("kind", ["tcp"])
def test_a_timer_may_close_the_stream(close: Callable[[SocketStream], object], secure: bool, tls13: TLSKit) -> None:
    """In either build, a timer's signal closes the stream within an echo of lines and of large messages."""
    random = Random(close.__name__)
    contexts = (tls13.context("server"), tls13.context("client")) if secure else None
    wrong = []
    for _ in range(300):
        struck = Struck(close, contexts)
        peer: Any = struck.far if secure else SocketStream(struck.far)
        struck.far = peer
        echoing = gevent.spawn(_echo, peer)

        def handle(_number: int, _frame: FrameType | None, struck: Struck = struck) -> None:
            struck.strike()

        previous = signal.signal(signal.SIGALRM, handle)
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.01))
            while True:
                struck.stream.sendall(b"x" * random.choice((1, 60, 60_000)) + b"\n")
                struck.stream.readline()
        except BaseException as error:  # noqa: BLE001  # what is wrong is reported
            if not isinstance(error, StreamClosed):
                wrong.append(repr(error))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        gevent.sleep(0)
        struck.check()
        echoing.kill()
    assert not wrong, "\n".join(sorted(wrong))


def _echo(stream: SocketStream) -> None:
    with contextlib.suppress(OSError):
        while line := stream.readline():
            stream.sendall(line)


@pytest.mark.skipif(geventstreams.compiled, reason="only bytecode is struck")
@pytest.mark.usefixtures("virtual_clock")
def test_a_handler_may_wait_at_any_bytecode_of_a_wait() -> None:
    """The wait of a handler ends, and so does the one that it interrupts, where nothing else keeps the loop running."""
    near, far = socket.socketpair()
    this = gevent.getcurrent()
    with far, SocketStream(near, read_timeout=60) as stream:
        for at in itertools.count(1):
            with (
                Handler(at, lambda: pause(1), lambda frame: of_the_package(frame) and gevent.getcurrent() is this) as handler,
                pytest.raises(ReadTimeout),
            ):
                stream.readline()
            if not handler.place:
                break
    assert at > 100
