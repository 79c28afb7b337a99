"""Writing: every call of both vocabularies that writes, in random order and of random sizes, and a peer that compares.

With `rate` exceptions strike in waits, limits pass, and the writer is killed from outside: what the stream says it accepted arrives once,
whole and in order, and nothing else does. Some closes are struck too: then a part may arrive, and no orderly end behind it.
"""

from __future__ import annotations

import array
from collections.abc import Callable
from random import Random
from typing import Any

import gevent

from campaigns.ends import Ends, Over, itself
from campaigns.hindrances import FAULTS, StrikingTransport, Struck
from campaigns.tally import LIMIT, Tally, ended_well
from geventstreams._core.transport_base import Transport
from geventstreams._streams.lisp import LispStream
from geventstreams.errors import WriteTimeout
from geventstreams.testing.claims import outcome

SIZES = (0, 1, 1, 2, 3, 5, 8, 20, 60, 90, 200, 700)
RARE_SIZES = (5000, 60_000, 65_536, 66_000, 150_000)
MOST = (7, 100, 2000, 2000, 20_000, 100_000)
PAUSES = 0.05
GIVES_UP = 0.4
"""How many of the closes are struck, where faults are wanted."""


Put = Callable[[Any, bytes], bytes]
"""Writes the bytes, or something made of them: what the peer must get."""


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _of(call: Callable[[Any, bytes], Any]) -> Put:
    """A call that writes the bytes as they are."""

    def put(stream: Any, data: bytes) -> bytes:
        call(stream, data)
        return data

    return put


def _line(stream: Any, data: bytes) -> bytes:
    stream.write_line(_text(data))
    return data + b"\n"


def _part(stream: Any, data: bytes) -> bytes:
    stream.write_string("<<" + _text(data) + ">", 2, 2 + len(data))
    return data


def _byte(stream: Any, data: bytes) -> bytes:
    stream.write_byte(data[0] if data else 7)
    return data[:1] or b"\7"


def _character(stream: Any, data: bytes) -> bytes:
    stream.write_char(_text(data[:1]) or "x")
    return data[:1] or b"x"


def _newline(stream: Any, data: bytes) -> bytes:
    stream.terpri()
    return b"\n"


def _fresh_line(stream: Any, data: bytes) -> bytes:
    return b"\n" if stream.fresh_line() else b""


def _changed_afterwards(stream: Any, data: bytes) -> bytes:
    mine = bytearray(data)
    stream.write(mine)
    mine[:] = bytes(len(mine))
    return data


PUTS: dict[str, Put] = {
    "write": _of(lambda stream, data: stream.write(data)),
    "write of a view": _of(lambda stream, data: stream.write(memoryview(data))),
    "write of an array": _of(lambda stream, data: stream.write(array.array("B", data))),
    "write of what is changed afterwards": _changed_afterwards,
    "write_sequence": _of(lambda stream, data: stream.write_sequence(data)),
    "write_sequence of a part": _of(lambda stream, data: stream.write_sequence(b"<" + data + b">>", 1, 1 + len(data))),
    "write_sequence of numbers": _of(lambda stream, data: stream.write_sequence(list(data))),
    "write_sequence of characters": _of(lambda stream, data: stream.write_sequence(list(_text(data)))),
    "write_sequence of text": _of(lambda stream, data: stream.write_sequence(_text(data))),
    "write_string": _of(lambda stream, data: stream.write_string(_text(data))),
    "write_string of a part": _part,
    "write_line": _line,
    "write_byte": _byte,
    "write_char": _character,
    "terpri": _newline,
    "fresh_line": _fresh_line,
}
"""Calls that are one write."""

SEVERAL: dict[str, Put] = {
    "sendall": _of(lambda stream, data: stream.sendall(data)),
    "writelines": _of(lambda stream, data: stream.writelines([data[:5], b"", data[5:]])),
}
"""Calls that are more than one."""

PUSHES: dict[str, Callable[[Any], Any]] = {
    "flush": lambda stream: stream.flush(),
    "finish_output": lambda stream: stream.finish_output(),
    "force_output": lambda stream: stream.force_output(),
}


def write(tally: Tally, ends: Ends, kind: str, operations: int, *, rate: float = 0.0, flaw: Over = itself, make: Any = LispStream) -> None:
    """So many writes and flushes, over as many connections as that takes. `flaw` is put between stream and transport, `make` makes the
    stream."""
    aim = tally.operations + operations
    while tally.operations < aim:
        striking: list[StrikingTransport] = []

        def hinder(transport: Transport, striking: list[StrikingTransport] = striking) -> Transport:
            most = tally.chance.choice(MOST)
            striking.append(StrikingTransport(transport, Random(tally.chance.random()), most=most, rate=rate))
            return flaw(striking[0])

        count = min(aim - tally.operations, tally.chance.choice((100, 1000, 5000)))
        limit = 50.0 if rate else None
        with ends.streams(kind, above=hinder, make=make, element_type=bytes, write_timeout=limit) as (stream, peer):
            writer = _Writer(tally, stream, striking[0], list(PUTS if rate else PUTS | SEVERAL), 0.4 if rate else 0.02)
            greenlet = gevent.spawn(outcome, writer.run, count)
            listener = gevent.spawn(_listen, Random(tally.chance.random()), peer, writer.arrived, greenlet, rate > 0)
            ended_well(greenlet)
            stream.write_timeout = None
            gives_up = rate > 0 and tally.chance.random() < GIVES_UP
            striking[0].rate = 1.0 if gives_up else 0.0
            closer = gevent.spawn(outcome, stream.close)
            if gives_up:
                closer.join(LIMIT)
                told = listener.get(timeout=LIMIT)
            else:
                ended_well(closer)
                told = ended_well(listener)
            writer.compare()
            missing = len(writer.wanted)
            tally.expect(gives_up or not missing, f"{missing} bytes were accepted and never arrived")
            if missing and kind != "unix":
                tally.expect(isinstance(told, OSError), f"{missing} bytes are missing, and the peer saw an orderly end")
        tally.faults += striking[0].strikes + striking[0].passed + (striking[0].spites if rate else 0) + writer.kills


def _listen(chance: Random, peer: Any, arrived: bytearray, writer: Any, kills: bool) -> Any:
    """Read to the end at an uneven pace; kills the writer now and then. What it raises is what it gives."""
    try:
        while data := peer.read1(chance.choice((1, 100, 5000, 70_000))):
            arrived += data
            if chance.random() < PAUSES:
                gevent.sleep(0)
                if kills and not writer.ready():
                    gevent.kill(writer, _Kill())
    except OSError as error:
        return error
    return None


class _Kill(Struck):
    """Comes from another greenlet."""


class _Writer:
    """Writes to a stream, and notes what the peer must get."""

    def __init__(self, tally: Tally, stream: Any, transport: StrikingTransport, names: list[str], pushes: float) -> None:
        self.tally = tally
        self.stream = stream
        self.transport = transport
        self.names = names
        self.pushes = pushes
        self.rare = 0.001 if transport.most < 1000 else 0.003
        self.wanted = bytearray()
        self.arrived = bytearray()
        self.last = 10
        self.kills = 0
        self._compared = 0

    def run(self, count: int) -> None:
        """So many operations."""
        for _ in range(count):
            self.tally.operations += 1
            drawn = self.tally.chance.random()
            if drawn < self.pushes:
                self._push(self.tally.chance.choice(sorted(PUSHES)))
            else:
                size = self.tally.chance.choice(SIZES if drawn < 1 - self.rare else RARE_SIZES)
                self._put(self.tally.chance.choice(self.names), self.tally.chance.randbytes(size))
            if self.arrived:
                self.compare()
        if self.tally.chance.random() < 0.5:
            self._push("flush")

    def _push(self, name: str) -> None:
        passed = self.transport.passed
        try:
            PUSHES[name](self.stream)
        except FAULTS as fault:
            self.kills += isinstance(fault, _Kill)
        except WriteTimeout as error:
            self.tally.expect(self.transport.passed > passed, f"{name} timed out, and no limit had passed")
            self.tally.expect(error.accepted == 0, f"{name} says that {error.accepted} bytes were accepted")
        else:
            if name != "force_output":
                self.tally.expect(not self.stream.unsent, f"{self.stream.unsent} bytes are unsent after {name}")

    def _put(self, name: str, data: bytes) -> None:
        passed = self.transport.passed
        try:
            wanted = (PUTS.get(name) or SEVERAL[name])(self.stream, data)
        except FAULTS as fault:
            self.kills += isinstance(fault, _Kill)
            wanted = self._accepted(name, data)
        except WriteTimeout as error:
            wanted = self._accepted(name, data)
            self.tally.expect(self.transport.passed > passed, f"{name} timed out, and no limit had passed")
            self.tally.expect(error.accepted == len(wanted), f"{name} says that {error.accepted} bytes were accepted, then {len(wanted)}")
        else:
            if name == "fresh_line":
                self.tally.expect((wanted == b"\n") == (self.last != 10), f"fresh_line wrote {wanted!r} behind byte {self.last}")
        self.last = wanted[-1] if wanted else self.last
        self.wanted += wanted

    def _accepted(self, name: str, data: bytes) -> bytes:
        """What a write that was ended has accepted: all or nothing."""
        whole = _whole(name, data)
        accepted = self.stream.accepted
        self.tally.expect(accepted in (0, len(whole)), f"{name} of {len(whole)} bytes accepted {accepted}")
        return whole if accepted else b""

    def compare(self) -> None:
        """Compare what arrived with what was written; what is the same is forgotten."""
        count = min(len(self.wanted), len(self.arrived))
        if self.arrived[:count] != self.wanted[:count]:
            self.tally.same(self.arrived[:count], self.wanted[:count], f"operation {self.tally.operations}, byte {self._compared}")
        self.tally.expect(count == len(self.arrived), f"{len(self.arrived) - count} bytes arrived that were not written")
        self._compared += count
        self.tally.note(self.wanted[:count])
        del self.wanted[:count], self.arrived[:count]


def _whole(name: str, data: bytes) -> bytes:
    """What a call would have written."""
    if name in ("terpri", "fresh_line"):
        return b"\n"
    if name == "write_line":
        return data + b"\n"
    if name in ("write_byte", "write_char"):
        return data[:1] or (b"\7" if name == "write_byte" else b"x")
    return data
