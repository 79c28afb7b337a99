"""TLS records that a middle man changes: the data that is read is the data that was sent, up to an error.

He changes, drops, doubles, swaps, replays and makes up bytes and whole records, of the handshake and behind it, or cuts the connection.
An orderly end is reported only if all has arrived, an error is reported each time, and no call waits forever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from random import Random
from typing import Any

import gevent
from kit.tls import NAME

from campaigns.ends import Ends
from campaigns.tally import Tally, ended_well
from geventstreams._core.transport_base import Transport
from geventstreams._streams.socket_stream import UpgradableStream
from geventstreams.errors import StreamError
from geventstreams.testing import memory_pair
from geventstreams.testing.claims import outcome

PATIENCE = 20
"""Rounds of the hub without a byte after which both sides wait for the other."""

NEVER = 2**62


def _flip(chance: Random, data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _drop(chance: Random, data: bytes, at: int) -> bytes:
    return data[:at] + data[at + chance.choice((1, 1, 5, 100)) :]


def _double(chance: Random, data: bytes, at: int) -> bytes:
    stop = at + chance.choice((1, 5, 100))
    return data[:stop] + data[at:]


def _make_up(chance: Random, data: bytes, at: int) -> bytes:
    return data[:at] + chance.randbytes(chance.choice((1, 5, 50))) + data[at:]


def _cut(chance: Random, data: bytes, at: int) -> bytes:
    return data[:at]


def _of_records(change: Callable[[Random, list[bytes]], None]) -> Callable[[Random, bytes, int], bytes]:
    """What is done to whole records, from the one on that byte `at` belongs to."""

    def changed(chance: Random, data: bytes, at: int) -> bytes:
        before, after, begin = b"", [], 0
        while begin < len(data):
            stop = begin + 5 + int.from_bytes(data[begin + 3 : begin + 5], "big")
            if stop <= at:
                before += data[begin:stop]
            else:
                after.append(data[begin:stop])
            begin = stop
        change(chance, after)
        return before + b"".join(after)

    return changed


def _remove(chance: Random, records: list[bytes]) -> None:
    del records[:1]


def _replay(chance: Random, records: list[bytes]) -> None:
    records.insert(chance.randint(1, len(records)), records[0])


def _swap(chance: Random, records: list[bytes]) -> None:
    records.append(records.pop(0))


def _put_in(chance: Random, records: list[bytes]) -> None:
    body = chance.randbytes(chance.choice((0, 1, 2, 30)))
    records.insert(0, bytes([chance.choice((20, 21, 22, 23, 24, 80)), 3, 3]) + len(body).to_bytes(2, "big") + body)


CHANGES = (_flip, _flip, _drop, _double, _make_up, _cut, *map(_of_records, (_remove, _replay, _swap, _put_in)))


class MiddleMan:
    """Passes bytes on between two transports, and changes one piece of what comes from the far side."""

    def __init__(self, chance: Random, near: Transport, far: Transport, at: int) -> None:
        self.chance = chance
        self.near = near
        self.far = far
        self.at = at
        """Bytes from the far side before a record is changed."""
        self.passed = 0
        self.changes = 0

    def pass_on(self) -> bool:
        """Pass on what is there; whether there was anything."""
        back = taken(self.near)
        if back:
            self._give(self.far, back)
        data = taken(self.far)
        if not data:
            return bool(back)
        if self.passed <= self.at < self.passed + len(data):
            before, data = data, self.chance.choice(CHANGES)(self.chance, data, self.at - self.passed)
            self.changes += data != before
        self.passed += len(data)
        self._give(self.near, data)
        return True

    def _give(self, side: Transport, data: bytes) -> None:
        with contextlib.suppress(OSError):  # it has gone: what is for it goes nowhere
            side.send(memoryview(data), 0, len(data))

    def run(self) -> None:
        """Pass on until both sides are silent, then end both directions."""
        idle = 0
        while idle < PATIENCE:
            idle = 0 if self.pass_on() else idle + 1
            gevent.sleep(0)
        self.near.end_output()
        self.far.end_output()


def taken(transport: Transport) -> bytes:
    """All that has arrived."""
    data, space = b"", memoryview(bytearray(65536))
    with contextlib.suppress(ConnectionResetError):
        while (count := transport.recv_into(space, 0, [])) > 0:
            data += space[:count]
    return data


def change_records(tally: Tally, ends: Ends, version: str, connections: int, **options: Any) -> None:
    """So many connections with a change in each, in a third of them within the handshake. `options` are those of the near `attach_ssl`."""
    client, server = ends.contexts(version)
    chance = tally.chance
    for _ in range(connections):
        tally.operations += 1
        near, one = memory_pair(2**22)
        other, far = memory_pair(2**22)
        messages = [chance.randbytes(chance.choice((1, 20, 500, 20_000))) for _ in range(chance.randint(1, 6))]
        at = chance.randrange(sum(map(len, messages)) + 100)
        man = MiddleMan(chance, one, other, chance.randrange(1500) if chance.random() < 0.3 else NEVER)
        stream, peer = UpgradableStream(near), UpgradableStream(far)
        try:
            sender = gevent.spawn(outcome, _send, peer, server, messages, man, at)
            reader = gevent.spawn(outcome, _read, stream, client, options)
            passing = gevent.spawn(outcome, man.run)
            got, end = ended_well(reader)
            again = outcome(stream.read1)
            tally.expect(end is None or stream.closed or type(again) is type(end), f"{again!r} after {end!r}")
            sent = ended_well(sender)
            ended_well(passing)
            tally.faults += man.changes
            tally.note(got)
            _judge(tally, b"".join(messages), got, end, sent)
        finally:
            stream.abort()
            peer.abort()


def _send(peer: UpgradableStream, context: Any, messages: list[bytes], man: MiddleMan, at: int) -> Any:
    try:
        peer.attach_ssl(context)
        if man.at == NEVER:
            man.at = man.passed + at
        for message in messages:
            peer.sendall(message)
        peer.send_eof()
    except StreamError as error:
        return repr(error)
    return None


def _read(stream: UpgradableStream, context: Any, options: Any) -> tuple[bytes, Any]:
    """What could be read, and the error it ended with, or None at an orderly end."""
    got = b""
    try:
        stream.attach_ssl(context, "client", tlsext_host_name=NAME, **options)
        stream.force_output()
        while piece := stream.read1():
            got += piece
    except StreamError as error:
        return got, error
    assert stream.at_eof
    return got, None


def _judge(tally: Tally, data: bytes, got: bytes, end: Any, sent: Any) -> None:
    tally.same(got, data[: len(got)], f"what was read before {end!r}")
    if end is None:
        tally.expect(got == data and sent is None, f"an orderly end after {len(got)} of {len(data)} bytes; the sender: {sent}")
