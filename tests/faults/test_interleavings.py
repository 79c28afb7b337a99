"""Each call that can wait, at each of its waits, and every other call during that wait: no hang, no loss, the documented class.

Three tables: what waits first (`WAITS`), what comes second (`ACTS`), and what the contract says of each pair (`OUTCOMES`). A pair is
played against a peer behind a gate; then the gate is opened, everything that still waits must come to its end, and every byte is counted.
`abort`, `replace_socket`, a Timeout and a kill never wait, so they come second only.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gevent
import pytest
from gevent import get_hub
from kit.conditions import until
from kit.pairs import Pairs
from kit.tls import VERSIONS, TLSKit
from servers.certificates import Certificates

from faults.gate import Gate
from geventstreams import (
    SocketStream,
    StreamBusy,
    StreamClosed,
    StreamError,
    TLSError,
    WriteTimeout,
    wait_for_input_streams,
)
from geventstreams._core.fairness import yield_to_hub
from geventstreams.testing.claims import outcome, same, sample

BIG = sample(2**20, 1)
PLENTY = b"0123456789\n" * 20_000
TIMEOUT = gevent.Timeout()
KILLED = gevent.GreenletExit()


class Scene:
    """A stream, its peer behind a gate, and a record of all bytes."""

    def __init__(self, pairs: Pairs, certificates: Certificates, kind: str, plain: bool) -> None:
        self.pairs = pairs
        self.kit = TLSKit(certificates, pairs, kind if kind in VERSIONS else "TLSv1.3")
        self.gate = Gate(pairs, 2**14)
        self.stream: Any = pairs.keep(SocketStream(self.gate.near, linger_timeout=30))
        self.peer: Any = pairs.keep(SocketStream(self.gate.far))
        self.said = bytearray()
        self.taken = bytearray()
        self.heard = bytearray()
        self.written: list[tuple[bytes, bool]] = []
        self.greenlets: list[Any] = []
        self.shaking: Any = None
        self.hearing: Any = None
        self.talking: Any = None
        if kind in VERSIONS and not plain:
            self.peer_attaches("server")
            self.attach("client")
            self.shaking.get()

    # What the stream does.

    def attach(self, side: str = "client") -> None:
        self.stream.attach_ssl(**self.kit.arguments(side))

    def read(self, call: Callable[[], bytes]) -> None:
        """Take bytes, and account for them."""
        self.taken += call()

    def read_into(self, size: int) -> None:
        """Take bytes by readinto, and account for them."""
        space = bytearray(size)
        count = self.stream.readinto(space)
        self.taken += space[:count]

    def write(self, message: bytes) -> None:
        """Write a message, and account for it."""
        number = len(self.written)
        self.written.append((message, False))
        accepted = True
        try:
            self.stream.write(message)
        except BaseException:
            assert self.stream.accepted in (0, len(message))
            accepted = self.stream.accepted > 0
            raise
        finally:
            self.written[number] = message, accepted

    def fill(self) -> None:
        """Leave output in the stream for which there is no room."""
        self.gate.there.hold()
        self.stream.write_timeout = 0.01
        assert isinstance(outcome(self.write, BIG), WriteTimeout)
        self.stream.write_timeout = None

    def replace(self) -> None:
        """Another connection takes the place of the first."""
        near, far = self.pairs.sockets()
        try:
            old = self.stream.replace_socket(near)
        except BaseException:
            near.close()
            raise
        old.close()
        self.peer = self.pairs.keep(SocketStream(far))

    def start(self, function: Callable[..., Any], *args: Any) -> Any:
        """A greenlet in which something happens; it gives the outcome."""
        greenlet = gevent.spawn(outcome, function, *args)
        self.greenlets.append(greenlet)
        self.go_on()
        return greenlet

    def go_on(self) -> None:
        """Let everybody do what can be done without more from the peer."""
        for _ in range(4):
            yield_to_hub(get_hub())

    # What the peer does.

    def say(self, message: bytes) -> None:
        """The peer sends bytes, which arrive."""
        self.said += message
        self.peer.sendall(message)

    def peer_attaches(self, side: str) -> None:
        """The peer shakes hands."""
        # The hello may come right behind what was said in plain text.
        self.shaking = gevent.spawn(outcome, lambda: self.peer.attach_ssl(**self.kit.arguments(side), prefetched="handshake"))

    def talk(self) -> None:
        """The peer says more than anybody waits for."""
        with contextlib.suppress(StreamError):
            self.peer.sendall(PLENTY)

    def hear(self, before_tls: int) -> None:
        """Let the peer read everything, to the end; it takes part in handshakes and shutdowns of TLS."""
        with contextlib.suppress(StreamError):
            if before_tls:
                self.heard += self.peer.read_exactly(before_tls)
                self.peer_attaches("server")
            if self.shaking is not None:
                self.shaking.join()
            self.talking = gevent.spawn(self.talk)
            while True:
                while piece := self.peer.read1():
                    self.heard += piece
                if self.peer.ssl is None or not self.detaches:
                    break
                self.talking.join()
                self.peer.detach_ssl()

    detaches = False
    """Whether the end of TLS is to be followed by plain text."""

    def conclude(self, before_tls: int = 0) -> None:
        """Open the gate, and has the peer do its part until everybody has come to an end."""
        self.gate.there.let_go()
        self.gate.back.let_go()
        self.said += PLENTY
        self.hearing = gevent.spawn(self.hear, before_tls)
        for greenlet in self.greenlets:
            greenlet.join(20)
            assert greenlet.ready(), "a greenlet hangs"

    def account(self, whole: bool) -> None:
        """Every byte is where it should be; where not the whole output arrived, it is a beginning."""
        if not self.stream.closed:
            self.taken += self.stream.read_exactly(len(self.said) - len(self.taken))
            same(bytes(self.taken), bytes(self.said), "the input")
            closing = gevent.spawn(self.stream.close)
            closing.get(timeout=20)
        self.hearing.join(20)
        assert self.hearing.ready(), "the peer hears no end"
        accepted = b"".join(message for message, was_accepted in self.written if was_accepted)
        same(bytes(self.heard), accepted if whole else accepted[: len(self.heard)], "the output")
        if self.talking is not None:
            self.talking.kill()


@dataclass(frozen=True)
class Wait:
    """A call that waits: `group` is its row of OUTCOMES, `begin` brings it there. `plain`: TLS is only attached by it."""

    group: str
    begin: Callable[[Scene], Any]
    over: tuple[str, ...] = ("tcp", *VERSIONS)
    plain: bool = False


def in_mid_line(scene: Scene) -> Any:
    scene.say(b"half a ")
    reader = scene.start(scene.read, scene.stream.readline)
    until(lambda: scene.stream.buffered == 7)
    return reader


def into_memory(scene: Scene) -> Any:
    scene.say(sample(50_000))
    reader = scene.start(scene.read_into, 100_000)
    until(lambda: scene.stream.octets_in == 50_000)
    return reader


def write(scene: Scene) -> Any:
    scene.gate.there.hold()
    return scene.start(scene.write, BIG)


def queued(scene: Scene) -> Any:
    write(scene)
    return scene.start(scene.write, b"in the queue")


def flush(scene: Scene) -> Any:
    scene.fill()
    return scene.start(scene.stream.flush)


def send_eof(scene: Scene) -> Any:
    scene.fill()
    return scene.start(scene.stream.send_eof)


def close_in_its_flush(scene: Scene) -> Any:
    scene.fill()
    return scene.start(scene.stream.close)


def with_the_system(scene: Scene) -> None:
    """Have output with the system that it cannot send: more than the gate takes, and less than any system does."""
    scene.gate.there.hold()
    scene.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**18)
    scene.write(BIG[:150_000])
    scene.stream.flush()
    assert scene.stream.unsent == 0


def close_that_lingers(scene: Scene) -> Any:
    with_the_system(scene)
    return scene.start(scene.stream.close)


def without_room(scene: Scene) -> None:
    """Leave no room for output in the system."""
    with_the_system(scene)
    scene.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)


def close_in_its_shutdown(scene: Scene) -> Any:
    without_room(scene)
    return scene.start(scene.stream.close)


def detach_without_room(scene: Scene) -> Any:
    without_room(scene)
    return detach(scene)


def attach_in_its_flush(scene: Scene) -> Any:
    scene.fill()
    return scene.start(scene.attach)


def attach(side: str, **held: float) -> Callable[[Scene], Any]:
    def begin(scene: Scene) -> Any:
        scene.gate.back.hold(**held)
        scene.peer_attaches("client" if side == "server" else "server")
        waiter = scene.start(scene.attach, side)
        until(lambda: scene.gate.back.is_shut)
        scene.go_on()
        return waiter

    return begin


def detach(scene: Scene) -> Any:
    scene.detaches = True
    return scene.start(scene.stream.detach_ssl, 50, 0.4)


def detach_in_its_flush(scene: Scene) -> Any:
    scene.fill()
    return detach(scene)


TLS = tuple(VERSIONS)
WAITS = {
    "read, of the first byte": Wait("reading", lambda scene: scene.start(scene.read, lambda: scene.stream.read(10))),
    "readline, in mid-line": Wait("reading", in_mid_line),
    "readinto, half of it in the caller's memory": Wait("reading", into_memory),
    "write": Wait("writing", write),
    "write, in the queue": Wait("writing", queued),
    "flush": Wait("writing", flush),
    "send_eof, in its flush": Wait("ending", send_eof),
    "close, in its flush": Wait("closing", close_in_its_flush),
    "close, in its shutdown": Wait("lingering", close_in_its_shutdown, TLS),
    "close, lingering": Wait("lingering", close_that_lingers),
    "attach_ssl, in its flush": Wait("before the handshake", attach_in_its_flush, TLS, True),
    "attach_ssl, for the hello": Wait("shaking hands", attach("server"), TLS, True),
    "attach_ssl, within the hello": Wait("shaking hands", attach("server", after=40), TLS, True),
    "attach_ssl, for the rest of the client": Wait("shaking hands", attach("server", chunks=1), TLS, True),
    "attach_ssl, for the answer": Wait("shaking hands", attach("client"), TLS, True),
    "attach_ssl, for the rest of the server": Wait("shaking hands", attach("client", after=100), TLS, True),
    "detach_ssl, in its flush": Wait("before the shutdown", detach_in_its_flush, TLS),
    "detach_ssl, in its own close_notify": Wait("shutting down", detach_without_room, TLS),
    "detach_ssl, for the peer's close_notify": Wait("shutting down", detach, TLS),
    "wait_for_input_streams": Wait("waiting", lambda scene: scene.start(wait_for_input_streams, [scene.stream])),
}

ACTS: dict[str, Callable[[Scene, Any], Any]] = {
    "read": lambda scene, _: scene.start(scene.read, lambda: scene.stream.read(3)),
    "write": lambda scene, _: scene.start(scene.write, b"second"),
    "flush": lambda scene, _: scene.start(scene.stream.flush),
    "send_eof": lambda scene, _: scene.start(scene.stream.send_eof),
    "close": lambda scene, _: scene.start(scene.stream.close),
    "abort": lambda scene, _: scene.start(scene.stream.abort),
    "attach_ssl": lambda scene, _: scene.start(scene.attach),
    "detach_ssl": lambda scene, _: detach(scene),
    "wait": lambda scene, _: scene.start(wait_for_input_streams, [scene.stream]),
    "replace_socket": lambda scene, _: scene.start(scene.replace),
    "timeout": lambda _, waiter: waiter.kill(TIMEOUT),
    "kill": lambda _, waiter: waiter.kill(KILLED),
    "kill of all": lambda scene, _: gevent.killall(scene.greenlets, KILLED),
}
ENDINGS = ("timeout", "kill", "kill of all")

GOES = None
"""It comes to its end in order, now or when the peer has done its part."""

REFUSED_WHEN_BUSY = {"attach_ssl": (StreamBusy, GOES), "detach_ssl": (TLSError, GOES), "replace_socket": (StreamBusy, GOES)}
REFUSED_UNDER_TLS = {"attach_ssl": (TLSError, GOES), "detach_ssl": (StreamBusy, GOES), "replace_socket": (StreamError, GOES)}
ENDED = {"timeout": (GOES, TIMEOUT), "kill": (GOES, KILLED), "kill of all": (GOES, KILLED)}
FREE: dict[str, Any] = dict.fromkeys(("read", "write", "flush", "send_eof", "wait"), (GOES, GOES))
CHANGES = ("attach_ssl", "detach_ssl", "replace_socket")
CLOSED: dict[str, Any] = dict.fromkeys((*FREE, *CHANGES), (StreamClosed, GOES))
WOKEN = {"close": (GOES, StreamClosed), "abort": (GOES, StreamClosed)}

OUTCOMES: dict[str, dict[str, Any]] = {
    "reading": FREE | WOKEN | ENDED | {"read": (StreamBusy, GOES)},
    "writing": FREE | WOKEN | ENDED,
    "ending": FREE | WOKEN | ENDED | {"write": (StreamClosed, GOES)},
    "closing": CLOSED | ENDED | {"close": (GOES, GOES), "abort": (GOES, StreamError)},
    "lingering": CLOSED | ENDED | {"close": (GOES, GOES), "abort": (GOES, GOES)},
    "before the handshake": FREE | REFUSED_WHEN_BUSY | WOKEN | ENDED | {"read": (StreamBusy, GOES)},
    "shaking hands": FREE | REFUSED_UNDER_TLS | WOKEN | ENDED | {"read": (StreamBusy, GOES)},
    "before the shutdown": FREE | REFUSED_UNDER_TLS | WOKEN | ENDED | {"read": (StreamBusy, GOES)},
    "shutting down": FREE | REFUSED_UNDER_TLS | WOKEN | ENDED | {"read": (StreamBusy, GOES)},
    "waiting": FREE | ENDED | {"close": (GOES, GOES), "abort": (GOES, GOES)},
}
"""What a pair comes to: the outcome of what came second, and of what waited first. Where TLS decides, `outcomes_of` adds it."""


def outcomes_of(wait: Wait, act: str, kind: str) -> tuple[Any, Any]:
    """What the contract says of a pair."""
    if wait.group in ("reading", "writing", "ending"):
        of_kind: dict[str, Any] = REFUSED_WHEN_BUSY if kind == "tcp" else REFUSED_UNDER_TLS
    elif wait.group == "waiting":
        free: dict[str, Any] = dict.fromkeys(CHANGES, (GOES, GOES))
        of_kind = free | {"detach_ssl": (TLSError, GOES)} if kind == "tcp" else free | {
            "attach_ssl": (TLSError, GOES), "replace_socket": (StreamError, GOES)}  # fmt: skip
    else:
        of_kind = {}
    return (OUTCOMES[wait.group] | of_kind)[act]  # type: ignore[no-any-return]


def is_as_told(said: Any, wanted: Any) -> bool:
    """Return whether an outcome is the error of that class, or that very object, or none at all."""
    if isinstance(wanted, type):
        return isinstance(said, wanted) and (wanted is StreamError or type(said) in (wanted, *wanted.__subclasses__()))
    return said is wanted if wanted is not GOES else not isinstance(said, BaseException)


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    made = Pairs()
    yield made
    made.close()


PAIRS = [(kind, wait, act) for wait in WAITS for kind in WAITS[wait].over for act in ACTS]


@pytest.mark.parametrize(("kind", "first", "act"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_what_comes_while_another_waits(pairs: Pairs, certificates: Certificates, kind: str, first: str, act: str) -> None:
    """Both come to the outcome of the contract, neither hangs, and every byte is received, still readable, or was never accepted."""
    wait = WAITS[first]
    act_says, wait_says = outcomes_of(wait, act, kind)
    scene = Scene(pairs, certificates, kind, wait.plain)
    waiter = wait.begin(scene)
    assert not waiter.ready(), f"it did not wait: {waiter.value!r}"
    doer = ACTS[act](scene, waiter)
    after = None
    scene.go_on()
    if act_says is not GOES and (act, wait.group) != ("write", "ending"):  # which waits until it is sure that the end was said
        assert doer.ready(), "it was to be refused at once"
        assert not waiter.ready(), f"what waited was disturbed: {waiter.value!r}"
    if wait_says is not GOES:
        assert waiter.ready(), "it was to end at once"
    elif act not in ("close", "abort"):
        assert not waiter.ready(), f"it has ended before its time: {waiter.value!r}"
    if act in ENDINGS and wait.group == "shutting down":
        detach(scene)  # it can be made again
    elif act in ENDINGS and not scene.stream.closed:
        after = scene.start(scene.write, b"after")
    plain = len(BIG) if wait.group == "before the handshake" and not waiter.ready() else 0
    if wait.group == "waiting" and act == "attach_ssl" and kind == "tcp":
        scene.peer_attaches("server")
    scene.conclude(plain)
    assert is_as_told(waiter.value, wait_says), f"{first} gave {waiter.value!r}, not {wait_says!r}"
    if doer is not None:
        assert is_as_told(doer.value, act_says), f"{act} gave {doer.value!r}, not {act_says!r}"
    if wait.group == "closing" and act == "abort":
        assert waiter.value.unsent > 0
    if wait.group == "waiting" and wait_says is GOES:
        assert waiter.value == [scene.stream]
    if after is not None:
        assert after.value is None
    cut = act == "abort" or (act in ENDINGS and wait.group in ("closing", "lingering", "shaking hands"))
    scene.account(whole=not cut)
    scene.gate.close()
