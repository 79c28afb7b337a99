"""Callbacks: random programs over connections of which one end or both are called back, and a model of what each may see.

Each byte arrives once and in order; callbacks come in their order, one at a time, and the final event once; nothing is left at the end.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import socket as sockets
from collections.abc import Callable, Iterator
from operator import le
from random import Random
from typing import Any

import gevent
from kit.conditions import until
from kit.leftovers import descriptors, greenlets
from kit.network import HOST
from kit.tls import NAME, VERSIONS

from campaigns.callers import Caller
from campaigns.ends import Ends, Over, itself
from campaigns.leaks import is_watcher, without_collector
from campaigns.parties import END, ORDERLY, RESET, SIZES, Flow, Party, Peer
from campaigns.tally import Tally
from geventstreams._net.connect import open_tcp_stream, open_unix_stream
from geventstreams._streams.lisp import LispStream
from geventstreams.callbacks import AsyncInputStream, AsyncIOStream, AsyncSocket, pipe_connect, pipe_server, tcp_connect, tcp_server
from geventstreams.callbacks.options import ConnectionOptions
from geventstreams.server.server import SocketStreamServer
from geventstreams.testing import HostileTransport, MemoryNetwork, virtual_time

TOGETHER = 20
"""Programs after which it is counted what is left."""

PATIENCE = 20.0
"""Seconds within which a program has to get where it is going."""

MOST = (100, 9000)
"""Bytes that a hostile transport passes at a time, at most. With few of them a large message takes long."""

CALLER_ENDS = ("close", "close", "end", "force", "raise", "kill")
PEER_ENDS = ("end", "close", "abort")
EXPIRIES = ("silence", "stall", "stalled close")

_names = itertools.count()


class Program:
    """One connection and its two parties: the client is `near`, the server `far`."""

    def __init__(self, tally: Tally, ends: Ends, kind: str, make: type[Caller], flaw: Over) -> None:
        self.tally = tally
        self.ends = ends
        self.kind = kind
        self.flaw = flaw
        self.chance = Random(tally.chance.random())
        there, back = Flow(tally), Flow(tally)
        roles: tuple[type[Party], type[Party]] = self.chance.choice(((make, Peer), (Peer, make), (make, make)))
        if flaw is not itself:
            roles = make, Peer
        self.near, self.far = (
            role(tally, Random(self.chance.random()), kind.rpartition(' ')[2], outgoing, incoming)
            for role, outgoing, incoming in ((roles[0], there, back), (roles[1], back, there))
        )
        self.near.other, self.far.other = self.far, self.near
        self.parties = (self.near, self.far)
        self.callers = [party for party in self.parties if isinstance(party, Caller)]
        self.peers = [party for party in self.parties if isinstance(party, Peer)]
        self.users: list[gevent.Greenlet[..., Any]] = []
        self.serving: list[gevent.Greenlet[..., Any]] = []

    def run(self) -> None:
        """Connect, exchange, end, and judge."""
        try:
            with contextlib.ExitStack() as stack, self._told(stack):
                self._connect(stack)
                self.users = [gevent.spawn(caller.use) for caller in self.callers]
                self._exchange()
                self._judge()
        except Exception as error:
            diaries = "; ".join(f"{party.name} {party.__dict__.get('mode', '')}: {', '.join(party.diary[-30:])}" for party in self.parties)
            raise AssertionError(f"{self.kind}: {error} ({diaries})") from error

    @contextlib.contextmanager
    def _told(self, stack: contextlib.ExitStack) -> Iterator[None]:
        """Note what reaches the hub."""
        hub = gevent.get_hub()

        def handle_error(context: Any, kind: Any, error: Any, traceback: Any) -> None:
            caller = next((caller for caller in self.callers if context is caller.socket), self.callers[0])
            if context is caller.socket and error not in caller.findings:
                caller.reported(error)
            elif context is not caller.socket:
                caller.findings.append(error)

        hub.handle_error = handle_error
        try:
            yield
        finally:
            for party in self.parties:
                thing = party.socket if isinstance(party, Caller) else party.stream  # type: ignore[attr-defined]
                if thing is not None:
                    thing.close(True)
            gevent.killall([*self.users, *self.serving, *(task for caller in self.callers for task in caller.tasks)])
            stack.close()
            del hub.handle_error

    # Connecting.

    def _connect(self, stack: contextlib.ExitStack) -> None:
        if not self.kind.startswith("hostile"):
            self._connect_by_address(stack)
            return
        near, far = self.ends.transports(self.kind.split()[1], self.flaw)
        most = self.chance.choice(MOST)
        for party, transport in zip(self.parties, (near, far), strict=True):
            chance = Random(self.chance.random())
            party.large = party.large if most > SIZES[-1] else 0
            if isinstance(party, Caller):
                self._put_over(HostileTransport(transport, chance, most=most), party)
            else:
                stream = LispStream(transport, element_type=bytes)
                stack.callback(stream.abort)
                self.serving.append(gevent.spawn(party.serve, stream))  # type: ignore[attr-defined]

    @staticmethod
    def _put_over(transport: Any, caller: Caller) -> None:
        options = caller.options()
        made = ConnectionOptions(*caller.callbacks(), **options)
        socket = AsyncSocket(made, transport)
        AsyncIOStream.__new__(AsyncIOStream)._claim(socket, made.of_streams)
        socket._start()
        caller.begin(socket.stream if made.stream else socket)

    def _connect_by_address(self, stack: contextlib.ExitStack) -> None:
        version = self.kind.split()[-1]
        client, server = self.ends.contexts(version) if version in VERSIONS else (None, None)
        path = f"\0geventstreams callbacks {os.getpid()} {next(_names)}" if version == "unix" else None
        if isinstance(self.far, Caller):
            options = {**self.far.options(), "ssl_ctx": server}
            callbacks = self.far.callbacks()
            listening = pipe_server(path, *callbacks, **options) if path else tcp_server(HOST, 0, *callbacks, **options)
            stack.callback(listening.close)
            port = listening.port
        else:
            address: Any = (HOST, 0)
            if path:
                address = stack.enter_context(sockets.socket(sockets.AF_UNIX))
                address.bind(path)
                address.listen()
            listener = SocketStreamServer(address, self.far.serve, ssl_ctx=server, element_type=bytes)  # type: ignore[attr-defined]
            listener.start()
            stack.callback(listener.stop, 0)
            port = listener.server_port
        secured = {"ssl_ctx": client, "tlsext_host_name": NAME} if client else {}
        if isinstance(self.near, Caller):
            options = {**self.near.options(), **secured}
            callbacks = self.near.callbacks()
            self.near.begin(pipe_connect(path, *callbacks, **options) if path else tcp_connect(HOST, port, *callbacks, **options))
        else:
            opened = open_unix_stream(path, element_type=bytes) if path else open_tcp_stream(HOST, port, element_type=bytes, **secured)
            self.serving.append(gevent.spawn(self.near.serve, opened))  # type: ignore[attr-defined]

    # The course of it.

    def _exchange(self) -> None:
        choices = [(caller, how) for caller in self.callers for how in CALLER_ENDS]
        choices += [(peer, how) for peer in self.peers for how in PEER_ENDS]
        midway = self.chance.random() < 0.5
        if not midway and self.peers and not self.kind.startswith("hostile"):
            choices += [(self.callers[0], how) for how in EXPIRIES]
        party, how = self.chance.choice(choices)
        if midway:
            for _ in range(self.chance.randrange(30)):
                party.rest()
            self._wait(lambda: all(one.socket is not None for one in self.callers) and all(one.stream is not None for one in self.peers),
                       "the connection")
        else:
            self._wait(self._quiet, "quiet")
            for caller in self.callers:
                self._look_at(caller)
        self.tally.faults += how not in ("close", "end")
        party.note(f"ends by {how}, {'midway' if midway else 'in quiet'}")
        (party.expire if how in EXPIRIES else party.finish)(how)  # type: ignore[attr-defined]
        self._wait(self._over, "the end")
        for peer in self.peers:
            peer.stalls = False
        self._wait(lambda: all(peer.over for peer in self.peers), "the peer's end")
        for _ in range(5):
            gevent.sleep(0)
        self._wait(lambda: not any(caller.inside for caller in self.callers), "the end of the last callback")
        gevent.joinall([task for caller in self.callers for task in caller.tasks], PATIENCE)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        def comes() -> bool:
            self._raise_findings()
            for caller in self.callers:
                caller.relieve()
            return condition()

        until(comes, PATIENCE, what=what)

    def _raise_findings(self) -> None:
        findings = [finding for caller in self.callers for finding in caller.findings]
        findings += [greenlet.exception for greenlet in (*self.users, *self.serving) if isinstance(greenlet.exception, Exception)]
        if findings:
            raise AssertionError(str(findings[0])) from findings[0]

    def _quiet(self) -> bool:
        """Return whether everything that was written has arrived, and nothing is going on."""
        for party in self.parties:
            if isinstance(party, Caller):
                stream = party.stream or (party.socket and party.socket.stream)
                held = stream.buffered if isinstance(stream, AsyncInputStream) else 0
                if party.paused or party.inside or len(party.incoming.coming) > held or not party.connects:
                    return False
            elif party.incoming.coming or not party.written:  # type: ignore[attr-defined]
                return False
        return all(user.ready() for user in self.users)

    def _look_at(self, caller: Caller) -> None:
        """A connection on which nothing goes on has told everything, and nothing that has not happened."""
        if not caller.raised:
            self.tally.expect(not caller.over and not caller.socket.closed, f"{caller.over or 'it is closed'}, and nothing has ended it")
            until(lambda: not caller.socket.unsent and not caller.unreported, PATIENCE, what="the write callback")

    def _over(self) -> bool:
        for caller in self.callers:
            if caller.saw == END and not (caller.over or caller.ends or caller.inside or caller.paused):
                caller.finish("close")  # its half is still open
        return all(caller.gone and not caller.inside for caller in self.callers)

    # The verdict.

    def _judge(self) -> None:
        self._raise_findings()
        for party in self.parties:
            self._judge_one(party, party.other)
        for caller in self.callers:
            self.tally.expect(not caller.raised, f"{caller.raised} exceptions of callbacks were not told")
            failed = [task.exception for task in caller.tasks if not task.successful()]
            self.tally.expect(not failed, f"a resume failed: {failed}")
            both = caller.saw == END and caller.ends
            self.tally.expect(caller.over or both or not caller.hears, "it is closed, and nothing was told")

    def _judge_one(self, party: Party, other: Party) -> None:
        missing = len(party.incoming.coming)
        silent = isinstance(party, Caller) and not party.hears and not party.over
        if silent:
            party._take_rest()  # type: ignore[attr-defined]
            missing = len(party.incoming.coming)
        if party.saw == END or silent:
            self.tally.expect(other.has_ended(), f"the {party.name} saw an end, and the other had not ended")
            self.tally.expect(not missing or RESET in other.ends, f"{missing} bytes are missing behind the end")
        else:
            self.tally.expect(party.saw or party.left, f"the {party.name} saw no end")
        if ORDERLY in other.ends and RESET not in other.ends and not party.left:
            self.tally.expect(not missing, f"{missing} bytes that were written before an orderly end are missing")


def call_back(tally: Tally, ends: Ends, kind: str, programs: int, *, make: type[Caller] = Caller, flaw: Over = itself) -> None:
    """So many programs. `make` is the class of the parties that are called back; `flaw` is put under one, on a hostile kind."""
    with contextlib.ExitStack() as stack:
        if kind.startswith("network"):
            stack.enter_context(virtual_time())
            stack.enter_context(MemoryNetwork(seed=tally.seed, chunks=(1, 9000), window=20_000, latency=(0.0, 0.005)))
        Program(tally, ends, kind, make, flaw).run()  # what the hub keeps is there afterwards
        for number in range(1, programs, TOGETHER):
            with _nothing_left():
                for _ in range(min(TOGETHER, programs - number)):
                    Program(tally, ends, kind, make, flaw).run()


@contextlib.contextmanager
def _nothing_left() -> Iterator[None]:
    gevent.sleep(0)
    with without_collector():
        before = _left()
        yield
        until(lambda: all(map(le, _left(), before)), PATIENCE, what=f"no more than {before} descriptors, greenlets, and armed watchers")


def _left() -> tuple[int, int, int]:
    """Return how many descriptors, greenlets and armed watchers there are."""
    return descriptors(), greenlets(), sum(is_watcher(thing) and thing.active for thing in gc.get_objects())
