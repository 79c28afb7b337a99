"""Sequences: hypothesis makes up programs of the whole API for both ends of a connection, and a model says what each call gives.

A call that has nothing to give must wait; then it is killed, or times out, and has taken nothing. What was written is in the stream until
it is flushed, at the other end once it is. Any end can be half-closed, secured, closed and aborted.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import gevent
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from kit.conditions import until
from kit.tls import NAME
from kit.vocabulary import EXACT, PURE

from campaigns.ends import Ends
from campaigns.tally import Tally, ended_well
from campaigns.writing import PUSHES, PUTS, SEVERAL
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import ReadTimeout, StreamClosed, StreamError
from geventstreams.testing.claims import outcome, raises, started

KINDS = ("tcp", "unix", "network", "TLSv1.2", "TLSv1.3")
MOST = 20_000
"""Bytes on the way at most: less than any system holds."""

FAR = 30_000
"""More bytes than any read here asks for."""

ENDS = st.sampled_from((0, 1))
DATA = st.binary(max_size=60) | st.binary(max_size=8).map(lambda some: some * 200) | st.sampled_from((b"a\n", b"line\n", b"\n\n", b"a"))
SIZES = st.integers(0, 40) | st.sampled_from((500, 9000))


class End:
    """One end of the connection, and what the model knows of it."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.held = b""
        """Written and not yet with the system."""
        self.coming = b""
        """With the system or in the buffer, and not yet read."""
        self.last = 10
        self.ended = False
        """It has said that nothing more comes."""


class Machine(RuleBasedStateMachine):
    """The rules. `tally`, `made` and `plant` are given to a subclass."""

    tally: Tally
    made: Ends
    plant: type[SocketStream] = SocketStream

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[End] = []
        self.secure = False

    def _alive(self) -> bool:
        return bool(self.ends) and not any(end.stream.closed for end in self.ends)

    def _gone(self) -> bool:
        return not self._alive()

    @precondition(_gone)
    @rule(kind=st.sampled_from(KINDS))
    def connect(self, kind: str) -> None:
        """A connection of some kind."""
        self.secure = False
        options = {"element_type": bytes, "linger_timeout": 0.05, "write_timeout": 20}
        near, far = self.made.sockets(kind)
        self.ends = [End(self.plant(near, **options)), End(SocketStream(far, **options))]
        if kind.startswith("TLS"):
            self._attach(kind)

    def _both(self, first: Callable[[SocketStream], Any], second: Callable[[SocketStream], Any]) -> None:
        beside = gevent.spawn(outcome, second, self.ends[1].stream)
        ended_well(gevent.spawn(outcome, first, self.ends[0].stream))
        ended_well(beside)

    def _attach(self, version: str) -> None:
        client, server = self.made.contexts(version)
        self._both(
            lambda stream: stream.attach_ssl(client, "client", tlsext_host_name=NAME), lambda stream: stream.attach_ssl(server, "server")
        )
        self.secure = True

    def _other(self, end: End) -> End:
        return self.ends[1] if end is self.ends[0] else self.ends[0]

    def _send(self, end: End) -> None:
        """What an end held is on its way."""
        self._other(end).coming += end.held
        end.held = b""

    # Writing.

    @precondition(_alive)
    @rule(which=ENDS, name=st.sampled_from(sorted(PUTS | SEVERAL)), data=DATA)
    def write(self, which: int, name: str, data: bytes) -> None:
        """Any call that writes."""
        end = self.ends[which]
        if len(end.held) + len(self._other(end).coming) + len(data) > MOST:
            return
        put = PUTS.get(name) or SEVERAL[name]
        if end.ended:
            if name not in ("writelines", "fresh_line") or (name == "writelines" and data):
                raises(StreamClosed, put, end.stream, data)
            return
        wanted = put(end.stream, data)
        if name == "fresh_line":
            assert (wanted == b"\n") == (end.last != 10), f"fresh_line wrote {wanted!r} behind byte {end.last}"
        end.held += wanted
        end.last = end.held[-1] if wanted else end.last
        if name == "sendall":
            self._send(end)

    @precondition(_alive)
    @rule(which=ENDS, name=st.sampled_from(sorted(PUSHES)))
    def push(self, which: int, name: str) -> None:
        """flush and its kin."""
        end = self.ends[which]
        if end.ended and name != "flush":
            raises(StreamClosed, PUSHES[name], end.stream)
        elif not end.ended:
            PUSHES[name](end.stream)
            self._send(end)

    @precondition(_alive)
    @rule(
        which=ENDS, data=st.lists(DATA, max_size=4).map(b"".join),
        reads=st.lists(st.tuples(st.sampled_from(sorted(EXACT)), SIZES), min_size=1, max_size=12),
    )  # fmt: skip
    def exchange(self, which: int, data: bytes, reads: list[tuple[str, int]]) -> None:
        """Something is written and flushed, and read at the other end in several ways."""
        if not self.ends[which].ended:
            self.write(which, "write", data)
            self.push(which, "flush")
        for name, size in reads:
            self.read(1 - which, name, size, False)

    # Reading.

    @precondition(_alive)
    @rule(which=ENDS, name=st.sampled_from(sorted(EXACT)), size=SIZES, timed=st.booleans())
    def read(self, which: int, name: str, size: int, timed: bool) -> None:
        """Any call that reads: it gives what the model gives, or waits where that depends on what comes."""
        end = self.ends[which]
        take, model = EXACT[name]
        said = io.BytesIO(end.coming)
        wanted = model(said, size)
        ended = self._other(end).ended
        if ended or model(io.BytesIO(end.coming + b"\n" * FAR), size) == model(io.BytesIO(end.coming + b"x" * FAR), size):
            got = ended_well(gevent.spawn(outcome, take, end.stream, size))
            assert got == wanted, f"{name}({size}) gave {got!r:.300} instead of {wanted!r:.300}"
            end.coming = said.read()
            self.tally.note(wanted)
            if not end.ended and not end.stream.unsent:
                self._send(end)  # where it had to wait for what was on its way, it has sent first
        elif name in PURE:
            self._wait_in_vain(end, lambda: take(end.stream, size), timed and name in ("read", "readinto", "readline", "readlines", "next"))

    def _wait_in_vain(self, end: End, call: Callable[[], Any], timed: bool) -> None:
        self.tally.faults += 1
        buffered = end.stream.buffered
        if timed:
            end.stream.read_timeout = 0.002
            raises(ReadTimeout, call)
            end.stream.read_timeout = None
        else:
            reader = started(call)
            gevent.sleep(0.001)
            until(lambda: not end.stream.unsent, 20, what="a read that waits sends first")  # it may let others run before
            assert not reader.ready(), f"it did not wait: {reader.value!r:.300}"
            reader.kill()
        assert end.stream.buffered >= buffered, f"{buffered - end.stream.buffered} bytes were taken by a call that was ended"
        if not end.ended:
            self._send(end)  # waiting sends first

    @precondition(_alive)
    @rule(which=ENDS)
    def look(self, which: int) -> None:
        """What can be known without taking anything."""
        end = self.ends[which]
        if end.coming:
            until(end.stream.listen, 20, what="what was flushed arrives")
            assert end.coming.startswith(end.stream.peek())
            assert end.stream.peek_char() == chr(end.coming[0])
        elif self._other(end).ended:
            until(lambda: not end.stream.listen() and end.stream.at_eof, 20, what="the end is seen")
        else:
            assert not end.stream.listen()
            assert not end.stream.at_eof
        assert end.stream.buffered <= len(end.coming)

    @precondition(_alive)
    @rule(which=ENDS, outwards=st.booleans())
    def clear(self, which: int, outwards: bool) -> None:
        """What has arrived is dropped, or what was not sent."""
        end = self.ends[which]
        if not outwards:
            end.coming = end.coming[end.stream.buffered :]
            end.stream.clear_input()
            assert end.stream.buffered == 0
        elif not end.ended:
            end.stream.clear_output()
            end.held = b""

    # The connection.

    def _quiet(self) -> bool:
        return self._alive() and not any(end.ended or end.coming for end in self.ends)

    @precondition(_quiet)
    @rule(version=st.sampled_from(("TLSv1.2", "TLSv1.3")))
    def secure_or_not(self, version: str) -> None:
        """TLS comes and goes while nothing is on its way; what was written before is sent before."""
        if self.secure or not any(end.held for end in self.ends):
            if not self.secure:
                self._attach(version)
                return
            for end in self.ends:
                end.stream.clear_output()
                end.held = b""
            self._both(lambda stream: stream.detach_ssl(), lambda stream: stream.detach_ssl())
            self.secure = False

    @precondition(_alive)
    @rule(which=ENDS, how=st.sampled_from(("not yet",) * 6 + ("end", "close", "abort")))
    def part(self, which: int, how: str) -> None:
        """One end says that nothing more comes, is closed or aborted: seldom."""
        if how == "end":
            self.ends[which].stream.send_eof()
            self._send(self.ends[which])
            self.ends[which].ended = True
        elif how == "close":
            self._close(which)
        elif how == "abort":
            self._abort(which)

    def _close(self, which: int) -> None:
        """One end is closed when it has read all: the other reads to the end, then it is closed too."""
        end, other = self.ends[which], self.ends[1 - which]
        if other.ended:
            ended_well(gevent.spawn(outcome, end.stream.read))
        else:
            assert end.stream.read_exactly(len(end.coming)) == end.coming
        if not end.ended:
            self._send(end)
        end.stream.close()
        assert other.stream.read() == other.coming
        assert other.stream.read() == b""
        outcome(other.stream.close)
        self._closed()

    def _abort(self, which: int) -> None:
        """One end is aborted: the other reads a part of what came, then an end or an error, again and again."""
        end, other = self.ends[which], self.ends[1 - which]
        end.stream.abort()
        got = outcome(other.stream.read)
        if isinstance(got, bytes):
            assert other.coming.startswith(got)
        else:
            assert isinstance(got, StreamError)
            assert type(outcome(other.stream.read)) is type(got)
        other.stream.abort()
        self._closed()

    def _closed(self) -> None:
        for end in self.ends:
            assert end.stream.fileno() == -1
            for call in (lambda end=end: end.stream.read(0), lambda end=end: end.stream.write(b""), end.stream.flush, end.stream.listen):
                raises(StreamClosed, call)
            end.stream.close()

    @invariant()
    def agrees(self) -> None:
        """What the stream says that it holds is what the model holds."""
        self.tally.operations += 1
        if self._alive():
            for end in self.ends:
                assert end.stream.unsent == len(end.held), f"{end.stream.unsent} bytes unsent instead of {len(end.held)}"

    def teardown(self) -> None:
        """Nothing is left open."""
        for end in self.ends:
            end.stream.abort()


def make_up(tally: Tally, ends: Ends, programs: int, plant: type[SocketStream] = SocketStream) -> None:
    """So many made-up programs of up to fifty calls; `plant` is the class of one of the two streams."""
    kind = type("SeededMachine", (Machine,), {"tally": tally, "made": ends, "plant": plant})
    seed(tally.seed)(kind)
    limits = settings(
        max_examples=programs, stateful_step_count=50, deadline=None, database=None, print_blob=False,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)
        run_state_machine_as_test(kind, settings=limits)
