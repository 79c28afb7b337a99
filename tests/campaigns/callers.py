"""The party of a connection that is called back: what it does in its callbacks and from outside, and what it may see."""

# Invariant: what the model finds in a callback goes to `findings`, since an exception there would only close the connection.

from __future__ import annotations

import contextlib
import socket as sockets
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import gevent

from campaigns.hindrances import Struck
from campaigns.parties import END, ORDERLY, RESET, Party
from campaigns.writing import PUTS
from geventstreams._core.clock import CLOCK
from geventstreams.callbacks import (
    TCPEOF,
    AsyncInputStream,
    AsyncIOStream,
    AsyncOutputStream,
    TCPEvent,
    TCPReset,
    TCPTimeout,
    close_socket,
    write_socket_data,
)
from geventstreams.errors import StreamClosed, StreamError
from geventstreams.testing.claims import outcome

PILE = 300_000
"""Bytes that a party has unsent, at least, when the other takes nothing."""

SHORT = 0.03
"""Seconds of a timeout that is to fire."""

AMPLE = 60.0
"""Seconds of a timeout that is not."""

WHOSE: ContextVar[Any] = ContextVar("WHOSE", default=None)


class Planned(Struck):
    """What a callback raises because its program says so."""


Read = tuple[Callable[[Any, int], Any], Callable[[bytes, int, bool], Any]]


def _line(view: bytes, ended: bool) -> bytes | None:
    at = view.find(b"\n") + 1
    return view[:at] if at else view if ended else None


READS: dict[str, Read] = {
    "read": (lambda stream, n: stream.read(n), lambda view, n, ended: view[:n] if view or ended or not n else None),
    "read_available": (lambda stream, n: stream.read_available(), lambda view, n, ended: view),
    "read_exactly": (lambda stream, n: stream.read_exactly(n), lambda view, n, ended: view[:n] if len(view) >= n else None),
    "readline": (lambda stream, n: stream.readline(), lambda view, n, ended: _line(view, ended)),
    "read_byte": (lambda stream, n: stream.read_byte(False, -1), lambda view, n, ended: view[:1] or None),
    "read_string": (lambda stream, n: stream.read_string(n), lambda view, n, ended: view[:n]),
}
"""Calls that take what is there, and what each gives of it."""


def _as_bytes(got: Any) -> bytes | None:
    if isinstance(got, int):
        return bytes([got]) if got >= 0 else None
    return got.encode("latin-1") if isinstance(got, str) else got


class Caller(Party):
    """A party that is called back. What it does in a callback, and from outside, is drawn; what it may see is in `_calling`."""

    name = "caller"

    def __init__(self, *args: Any) -> None:
        Party.__init__(self, *args)
        self.mode = self.chance.choice(("bytes", "bytes", "stream", "kept", "unread", "later"))
        self.hears = self.chance.random() < 0.9
        """It has an event callback."""
        self.half_close = self.hears and self.chance.random() < 0.3
        self.high_water = self.chance.choice((100, 5000, 262144, 262144))
        self.narrows = self.chance.random() < 0.5
        self.socket: Any = None
        self.stream: Any = None
        self.accepted = False
        self.connects = 0
        self.inside = ""
        self.over = ""
        """What ended it: nothing may be called after that, except the event of output that could not be delivered."""
        self.will = ""
        self.paused = 0
        self.has_paused = False
        self.arrived = 0
        self.unreported = False
        """It has written since its last write callback."""
        self.timed = ""
        self.timed_since = 0.0
        self.raised = 0
        self.findings: list[BaseException] = []
        self.tasks: list[gevent.Greenlet[..., Any]] = []

    # Making it.

    def options(self) -> dict[str, Any]:
        """Return the arguments that make its connection."""
        low = self.chance.choice((1, self.high_water))
        options = {"connect_cb": self.connected, "write_cb": self.wrote, "half_close": self.half_close, "high_water": self.high_water,
                   "low_water": low, "read_timeout": AMPLE, "write_timeout": AMPLE, "element_type": bytes}
        if self.mode == "stream":
            options["stream"] = True
        elif self.mode in ("kept", "unread"):
            options["dont_drain_read_buffer"] = True
        return options

    def callbacks(self) -> tuple[Any, Any]:
        """Return the read callback and the event callback."""
        return None if self.mode == "unread" else self.read, self.event if self.hears else None

    def begin(self, made: Any) -> None:
        """Take what `tcp_connect` returned; perhaps write before the connection is established."""
        self.socket = made.socket if self.mode == "stream" else made
        self._expect((made is self.socket.stream) == (self.mode == "stream"), f"it returned {made!r}")
        while self.chance.random() < 0.4:
            self._write()

    def _expect(self, condition: object, what: str) -> None:
        self.tally.expect(condition, f"{self.name}: {what}")

    # Being called back.

    @contextlib.contextmanager
    def _calling(self, name: str, socket: Any) -> Iterator[None]:
        self.note(name)
        try:
            self._expect(not self.inside, f"{name} is called while {self.inside} runs")
            self._expect(not self.over, f"{name} is called after {self.over}")
            self.socket = self.socket or socket
            self._expect(socket is self.socket, f"{name} got {socket!r}")
            self._expect(self.connects or name in ("connect", "event"), f"{name} comes before the connect callback")
            self._expect(WHOSE.get() is (None if name == "connect" else self), f"{name} has the context of another connection")
            self.inside = name
            yield
        except (Planned, gevent.Timeout, gevent.GreenletExit):
            raise
        except BaseException as error:
            self.findings.append(error)
            raise
        finally:
            self.inside = ""

    def connected(self, one: Any) -> None:
        """Be connected: the connect callback."""
        socket = one.socket if self.mode == "stream" else one
        with self._calling("connect", socket):
            self.connects += 1
            WHOSE.set(self)
            self._expect(self.connects == 1, "it is connected twice")
            self._expect(not socket.closed, "it is closed")
            self._expect((one is socket.stream) == (self.mode == "stream"), f"the connect callback got {one!r}")
            if self.narrows and socket.fileno() >= 0:
                with sockets.socket(fileno=socket.fileno()) as plain:
                    plain.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
                    plain.detach()
            self._act()

    def read(self, socket: Any, data: Any) -> None:
        """Take input: the read callback."""
        with self._calling("read", socket):
            self._expect(not self.paused, "it is called while it is paused")
            if type(data) is bytes:
                self._expect(not isinstance(self.stream, AsyncInputStream), "it got bytes though it has a stream for them")
                self._expect(data, "it got nothing")
                self.incoming.take(data, "what was called back")
            else:
                self.stream = self.stream or data
                self._expect(data is self.stream is socket.stream, f"it got {data!r} in place of {self.stream!r}")
                arrived = self.incoming.taken + data.buffered
                self._expect(arrived > self.arrived, "it is called though nothing has arrived")
                self.arrived = arrived
                self._take()
            self._act()

    def wrote(self, socket: Any) -> None:
        """Note that output was sent: the write callback."""
        with self._calling("write", socket):
            self._expect(not socket.unsent, f"{socket.unsent} bytes are unsent")
            self._expect(self.unreported, "it has written nothing since the last time")
            self.unreported = False
            self._act()

    def event(self, event: TCPEvent) -> None:
        """Note what ended the connection: the event callback."""
        if self.over == "close" and not isinstance(event, TCPEOF):  # it can only be that output was not delivered
            self.over = ""
        with self._calling("event", event.socket):
            self._expect(event.stream is event.socket.stream, f"the event has {event.stream!r}")
            self._ended(event)
            self._act()

    def _ended(self, event: TCPEvent) -> None:
        self.note(f"{type(event).__name__} {event}")
        stays = isinstance(event, TCPEOF) and self.half_close
        self._expect(self.socket.closed != stays, f"closed is {self.socket.closed} at {event!r}")
        if isinstance(event, TCPEOF):
            self._expect(self.saw is None, f"the end came after {self.saw}")
            self._expect(self.other.has_ended(), "the end came, and the other had not ended")
            self.saw = END
            self._take_rest()
            self._expect(not self.incoming.coming or RESET in self.other.ends, f"{len(self.incoming.coming)} bytes are missing at the end")
        else:
            self.saw = self.saw or type(event)
            if isinstance(event, TCPTimeout):
                self._expect(self.timed, f"nothing has timed out: {event!r}")
                self._expect(CLOCK.now() >= self.timed_since + SHORT - 0.002, "the timeout fired early")
            else:
                self._expect(isinstance(event, TCPReset), f"{event!r} is no reset")
                self._expect(self.may_be_reset(), f"the other did not reset: {event!r}")
            lost = getattr(event.error, "unsent", None) or 0
            arrived, accepted = self.outgoing.taken, self.outgoing.accepted
            exact = not self.kind.startswith("TLS")  # what is lost is counted as it was encrypted
            self._expect(arrived + lost <= accepted or not exact, f"of {accepted} bytes {lost} are lost, and {arrived} arrived")
            self.left = True
            self.ends.add(ORDERLY if self.timed == "silence" else RESET)
            self._take_rest()
        if not stays:
            self.ends.add(ORDERLY)
            self.over = type(event).__name__

    def reported(self, error: BaseException) -> None:
        """Note an error that the hub was told: of an event without a callback, or what a callback raised."""
        if isinstance(error, StreamError) and not self.hears:
            self.note(f"reported {error!r}")
            self.saw = self.saw or type(error)
            self.over, self.left = "an error", True
            self.ends |= {ORDERLY, RESET}
        else:
            self.raised -= 1

    # What it does.

    def _act(self) -> None:
        if self.will:
            self.fulfil()
            return
        for _ in range(self.chance.choice((0, 1, 1, 2, 4))):
            getattr(self, "_" + self.chance.choice(INSIDE))()

    def use(self) -> None:
        """Use the socket from outside of its callbacks."""
        for _ in range(self.chance.choice((0, 3, 10))):
            self.rest()
            if self.socket is not None and not self.socket.closed:
                getattr(self, "_" + self.chance.choice(OUTSIDE))()

    def _write(self) -> None:
        if self.messages <= 0:
            return
        data = self.message()
        closed = bool(self.ends or self.over)
        writer = self.stream if isinstance(self.stream, AsyncOutputStream) else None
        try:
            if writer is not None and self.chance.random() < 0.5:
                data = PUTS[self.chance.choice(sorted(PUTS))](writer, data)
                accepted = None
            else:
                accepted = self.chance.choice(WRITES)(self.socket, data)
        except StreamClosed:
            self._expect(self._may_be_over(), "a write was refused")
            return
        self._expect(not (closed and data), "a write was accepted after the end")
        self.outgoing.accept(data)
        self.unreported = self.unreported or bool(data)
        below = self.socket.unsent <= self.high_water
        self._expect(accepted in (None, below), f"write returned {accepted}, with {self.socket.unsent} bytes unsent")

    def _take(self) -> None:
        """Take some of what the stream holds."""
        stream = self.stream
        if not isinstance(stream, AsyncInputStream):
            return
        for _ in range(self.chance.choice((0, 1, 2, 5))):
            view = bytes(self.incoming.coming[: stream.buffered])
            name, size = self.chance.choice(sorted(READS)), self.chance.choice((0, 1, 5, 1000, 100_000))
            call, model = READS[name]
            got = outcome(call, stream, size)
            if isinstance(got, (StreamError, EOFError)):
                self._expect(self._may_be_over(), f"{name} raised {got!r}")
                return
            got = _as_bytes(got)
            allowed = [model(view, size, ended) for ended in ((False, True) if self._may_be_over() else (False,))]
            self._expect(got in allowed, f"{name}({size}) of {len(view)} bytes gave {got!r:.100}")
            self.incoming.take(got or b"", name)

    def _may_be_over(self) -> bool:
        return bool(self.saw or self.over or self.ends or self.timed or self.other.ends or self.other.left)

    def relieve(self) -> None:
        """Take all that the stream holds, now and then: a stream that is full keeps the end from being seen."""
        if self.chance.random() < 0.3:
            self._take_rest()

    def _take_rest(self) -> None:
        stream = self.stream or (self.socket and self.socket.stream)
        if isinstance(stream, AsyncInputStream) and stream.buffered:
            self.incoming.take(stream.read_available(), "what was left at the end")

    def _pause(self) -> None:
        self.note("pause")
        self.paused += 1
        self.has_paused = True
        self.socket.pause()
        self.tasks.append(gevent.spawn(self._resume))

    def _resume(self) -> None:
        self.rest()
        self.rest()
        self.paused -= 1
        if not self.paused:
            self.socket.resume()

    def _drain(self) -> None:
        if self.inside and isinstance(self.other, Caller):
            return  # two that wait in callbacks for each other to receive would wait for ever
        before = self.outgoing.accepted
        error = outcome(self.socket.drain)
        if isinstance(error, StreamError):
            self._expect(self._may_be_over(), f"drain raised {error!r}")
        elif error is not None:
            raise error
        elif before == self.outgoing.accepted:
            self._expect(not self.socket.unsent, f"{self.socket.unsent} bytes are unsent after drain")

    def _wait(self) -> None:
        self.rest()

    def _change(self) -> None:
        if not self.socket.closed and not self.timed:
            self.socket.set_timeouts(self.chance.choice((AMPLE, None)), self.chance.choice((AMPLE, None)))

    def _look(self) -> None:
        self._expect(self.socket.unsent >= 0, "less than nothing is unsent")
        self._expect(repr(self.socket).startswith("<AsyncSocket"), repr(self.socket))

    def _become_stream(self) -> None:
        if self.mode == "later" and self.stream is None and not self.socket.closed:
            kind = self.chance.choice((AsyncIOStream, AsyncInputStream, AsyncOutputStream))
            self.stream = kind(socket=self.socket, element_type=bytes)
            self.arrived = self.incoming.taken

    def prod(self) -> None:
        """Write a byte, so that the other end has something to call back for."""
        self.messages = max(self.messages, 1)
        if self.socket is not None and not self.socket.closed:
            self._write()

    # Its end.

    def has_ended(self) -> bool:
        silently = not self.hears and bool(self.other.ends)  # the end of the input has closed it, and nothing was called
        return silently or Party.has_ended(self)

    def fulfil(self) -> None:
        """Do what is to end the connection."""
        how, self.will = self.will, ""
        if self.over or (self.ends and how == "end"):
            return
        self.note(how)
        if how == "end":
            self._end_output()
        elif how == "close":
            self._close(how, False)
        elif how == "force":
            self._close(how, True)
        elif how == "raise":
            self.over = "an exception"
            self.ends.add(ORDERLY)
            self.left = self.saw is None
            self.raised += 1
            raise self.chance.choice((Planned, gevent.Timeout))
        elif how == "kill":
            gevent.spawn(gevent.getcurrent().kill, block=False)
            try:
                gevent.sleep(AMPLE)
            finally:
                self.over = "a kill"
                self.ends.add(ORDERLY)
                self.left = self.saw is None
            self._expect(False, "a kill was survived")

    def _end_output(self) -> None:
        stream = self.stream or self.socket.stream
        if stream is None:
            stream = AsyncOutputStream(socket=self.socket)
        if isinstance(stream, AsyncOutputStream):
            self.stream = stream
            self.ends.add(ORDERLY)
            stream.send_eof()
        else:
            self._close("close", False)

    def _close(self, how: str, force: bool) -> None:
        self.over = how
        self.ends.add(RESET if force else ORDERLY)
        if not self.connects:
            self.ends.add(RESET)  # of a connection that is established just now
        self.left = self.saw is None
        stream = self.stream or self.socket.stream
        ways: list[Any] = [self.socket.close, lambda force: close_socket(self.socket, force)]
        if stream is not None:
            ways += [stream.close, lambda force: close_socket(stream, force)]
        self.chance.choice(ways)(force)
        self._expect(self.socket.closed, "close has not closed it")

    def finish(self, how: str) -> None:
        """End the connection from this end: from outside, or in the next callback."""
        self.will = how
        if how in ("raise", "kill") or self.chance.random() < 0.4:
            for _ in range(20):
                if self.will:
                    self.other.prod()
                    self.prod()
                    gevent.sleep(0.001)
        if self.will in ("raise", "kill"):
            self.will = "close"  # there was nothing to call back for
        if self.will:
            self.fulfil()

    def expire(self, how: str) -> None:
        """Let a timeout end it: of input that does not come, of output that is not taken, or of the close behind that."""
        if self.socket.closed or self.ends or self.other.ends:
            return
        self.note(how)
        self.timed = how
        if how == "silence":
            self.timed_since = CLOCK.now()
            self.socket.set_timeouts(SHORT, None)
            return
        self.other.stalls = True
        self.messages = 0
        self.left = True
        before = -1
        while self.socket.unsent != before or not before:  # until the system takes nothing more
            if self.socket.unsent < PILE:
                data = self.chance.randbytes(PILE)
                self.outgoing.accept(data)
                self.unreported = True
                self.socket.write(data)
            before = self.socket.unsent
            gevent.sleep(0.01)
        self.timed_since = CLOCK.now()
        if not self.socket.closed:
            self.socket.set_timeouts(None, SHORT)
            if how == "stalled close":
                self._close("close", False)

    @property
    def gone(self) -> bool:
        """Whether nothing is open any more."""
        return self.socket is not None and self.socket.closed and self.socket.fileno() == -1


WRITES: tuple[Callable[[Any, bytes], Any], ...] = (
    lambda socket, data: socket.write(data),
    lambda socket, data: socket.write(memoryview(data)),
    lambda socket, data: socket.write(bytearray(data)),
    lambda socket, data: socket.write(b"<" + data + b">", 1, 1 + len(data)),
    write_socket_data,
)
INSIDE = ("write", "write", "write", "take", "wait", "wait", "drain", "pause", "change", "look", "become_stream")
"""What is done in a callback: methods of `Caller`, behind an underscore."""

OUTSIDE = ("write", "write", "take", "pause", "drain", "change", "look")
"""What is done from outside. A stream is made in a callback only: then no bytes are on their way to one."""
