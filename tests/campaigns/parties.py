"""The parties of a connection in the campaign of callbacks, and the bytes between them: here is the one that waits."""

# Invariant: a party takes and accepts bytes only through its two flows.

from __future__ import annotations

from random import Random
from typing import Any

import gevent

from campaigns.tally import Tally
from geventstreams.errors import StreamError
from geventstreams.testing.claims import outcome

SIZES = (1, 1, 2, 5, 30, 200, 3000)
LARGE = (20_000, 70_000, 300_000)
PIECES = (1, 7, 100, 5000, 70_000)
PAUSES = (0, 0, 0, 0.001, 0.002)
"""Seconds that a party sleeps now and then."""

ORDERLY = "orderly"
RESET = "reset"
END = "the end"

class Flow:
    """One direction of a connection: what was accepted at one end and not yet taken at the other."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self.accepted = 0
        self.taken = 0
        self.coming = bytearray()

    def accept(self, data: bytes) -> None:
        """Note what is to arrive."""
        self.accepted += len(data)
        self.coming += data

    def take(self, data: bytes, what: str) -> None:
        """Compare what has arrived."""
        self._tally.same(data, bytes(self.coming[: len(data)]), f"{what}, at byte {self.taken}")
        self._tally.note(data)
        self.taken += len(data)
        del self.coming[: len(data)]


class Party:
    """One end of the connection."""

    name = "party"

    def __init__(self, tally: Tally, chance: Random, kind: str, outgoing: Flow, incoming: Flow) -> None:
        self.tally = tally
        self.chance = chance
        self.kind = kind
        self.outgoing = outgoing
        self.incoming = incoming
        self.messages = chance.choice((0, 1, 3, 10, 30))
        self.large = 0.03
        """The probability of a large message."""
        self.diary: list[str] = []
        self.ends: set[str] = set()
        """How it has ended its output: in order, or by a reset, or one after the other."""
        self.left = False
        """It takes nothing more, though the other has not ended."""
        self.saw: Any = None
        """What it saw first of the other's end: END, or the class of an error."""
        self.other: Any = None

    def note(self, entry: str) -> None:
        """Note what happened, for the message of a finding."""
        self.diary.append(entry)
        self.tally.operations += 1

    def message(self) -> bytes:
        """Return the next message."""
        self.messages -= 1
        return self.chance.randbytes(self.chance.choice(LARGE if self.chance.random() < self.large else SIZES))

    def may_be_reset(self) -> bool:
        """Return whether the other has reset the connection, or has left and did not take all."""
        return RESET in self.other.ends or (self.other.left and bool(self.outgoing.coming))

    def has_ended(self) -> bool:
        """Return whether the other may see an orderly end."""
        return ORDERLY in self.ends or (RESET in self.ends and self.kind == "unix")

    def rest(self) -> None:
        """Let others run for a moment."""
        gevent.sleep(self.chance.choice(PAUSES))


class Peer(Party):
    """A party with a stream that waits; it sends and receives in pieces of any size."""

    name = "peer"

    def __init__(self, *args: Any) -> None:
        Party.__init__(self, *args)
        self.stream: Any = None
        self.will = ""
        self.stalls = False
        self.written = False
        """All its messages are with the system."""
        self.over = False

    def serve(self, stream: Any, _address: Any = None) -> None:
        """Write all messages, read to the end, and close."""
        self.stream = stream
        self.other.accepted = True
        try:
            reader = gevent.spawn(outcome, self._read)
            writer = gevent.spawn(outcome, self._write)
            for greenlet in (reader, writer):
                if isinstance(greenlet.get(), Exception):
                    raise greenlet.value
            if not self.left:
                self._close()
        finally:
            self.over = True

    def _write(self) -> None:
        try:
            while self.messages > 0 and not self.left:
                data = self.message()
                self.outgoing.accept(data)
                self.stream.write(data)
                if self.chance.random() < 0.7:
                    self.stream.flush()
                if self.chance.random() < 0.5:
                    self.rest()
            self.stream.flush()
        except StreamError as error:
            self._failed("write", error)
        self.written = True

    def _read(self) -> None:
        try:
            while data := self.stream.read1(self.chance.choice(PIECES)):
                self.incoming.take(data, "what the peer read")
                if self.chance.random() < 0.2:
                    self.rest()
                while self.stalls:
                    gevent.sleep(0.001)
            self.saw = END
        except StreamError as error:
            self._failed("read", error)
            if not self.left:
                self.saw = type(error)

    def _failed(self, verb: str, error: StreamError) -> None:
        self.note(f"{verb} failed: {error!r}")
        self.tally.expect(self.left or self.may_be_reset(), f"the peer's {verb} failed, and nothing had happened: {error!r}")

    def _close(self) -> None:
        self.ends.add(ORDERLY)
        error = outcome(self.stream.close)
        if error is not None:
            self._failed("close", error)
            self.ends.add(RESET)

    def prod(self) -> None:
        """Send a byte, so that the other end has something to call back for."""
        if self.written and not self.left and not self.ends and not self.stream.closed:
            self.outgoing.accept(b"!")
            outcome(self.stream.sendall, b"!")

    def finish(self, how: str) -> None:
        """End the connection from this end."""
        self.note(how)
        if self.stream is None or self.over:
            return
        if how == "abort" or not self.written:  # a message of which only a part was accepted is cut
            self.left = True
            self.ends.add(RESET)
            self.stream.abort()
        elif how == "end":
            self.ends.add(ORDERLY)
            outcome(self.stream.send_eof)
        else:
            self.left = self.saw is None
            self._close()
