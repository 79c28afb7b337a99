"""PROXY headers: of mutated ones none is accepted or refused wrongly, none does harm, and not a byte too much is taken."""

# Invariants: the judge asks neither the package nor its library what a header means.

import ipaddress
import random
import struct
from collections.abc import Callable
from typing import Any

from crc32c import crc32c
from kit.proxy_headers import FOUR, GOOD, MAGIC, SIX, tlv, with_checksum

from campaigns.ends import Ends
from campaigns.tally import Tally
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.proxy_protocol import ProxyError, read_proxy

HEADERS = [header for header, _ in GOOD.values() if len(header) < 1000]
HEADERS += [with_checksum(0x21, SIX, tlv(2, b"name")), with_checksum(0x11, FOUR, b"")]


def read_headers(tally: Tally, ends: Ends, count: int, read: Callable[[Any, float], Any] = read_proxy) -> None:
    """Read so many mutated headers, each with more bytes behind it; `faults` are those that had to be refused."""
    chance = tally.chance
    for _ in range(count):
        tally.operations += 1
        data = mutated(chance, chance.choice(HEADERS)) + chance.randbytes(chance.randrange(4)) + b"#behind it#"
        tally.note(data)
        near, far = ends.sockets("tcp")
        with SocketStream(near) as stream, far:
            far.sendall(data)
            far.shutdown(1)
            size = strict(data)
            try:
                read(stream, 20)
            except ProxyError:
                tally.expect(size is None, f"refused {data!r}")
                tally.faults += 1
            else:
                tally.expect(size is not None, f"accepted {data!r}")
                tally.same(stream.read(), data[size:], f"behind {data[:size]!r}")
            stream.abort()


def strict(data: bytes) -> int | None:
    """Return the size of the header at the beginning of data, by another reading of the specification, or None."""
    size = line_size(data) if data.startswith(b"PROXY ") else block_size(data)
    return size or None


def line_size(data: bytes) -> int:
    """Return the size of a header of version 1, or 0 if there is none."""
    line, end, _ = data[:107].partition(b"\n")
    words = line[:-1].decode("latin-1").split(" ")
    size = len(line) + 1 if end and line.endswith(b"\r") else 0
    if not size or words[1] == "UNKNOWN":
        return size
    kind = {"TCP4": ipaddress.IPv4Address, "TCP6": ipaddress.IPv6Address}.get(words[1])
    if kind is None or len(words) != 6:
        return 0
    if words[3].startswith("unix:"):  # nginx's own address
        if "\0" in words[3] or "\r" in words[3]:
            return 0
        words[3] = "192.0.2.1"
    if not "".join(words).isascii() or "%" in "".join(words):
        return 0
    try:
        kind(words[2]), ipaddress.ip_address(words[3])
    except ValueError:
        return 0
    right = all(word.isdigit() and str(int(word)) == word and int(word) < 65536 for word in words[4:])
    return size if right else 0


def block_size(data: bytes) -> int:
    """Return the size of a header of version 2, or 0 if there is none."""
    if not data.startswith(MAGIC) or len(data) < 16:
        return 0
    size = 16 + struct.unpack("!H", data[14:16])[0]
    if size > len(data) or data[12] not in (0x20, 0x21):
        return 0
    length = {0: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}.get(data[13], 65536)
    if data[12] == 0x20 or (data[13] == 0 and 16 + length <= size):
        return size
    return size if 16 + length <= size and tlvs_hold(data[:size], 16 + length) else 0


def tlvs_hold(header: bytes, at: int) -> bool:
    """Return whether the TLVs fill a header exactly, and its checksums are right."""
    while at < len(header):
        if at + 3 > len(header):
            return False
        kind, size = struct.unpack_from("!BH", header, at)
        at += 3
        if at + size > len(header):
            return False
        if kind == 3:
            zeroed = header[:at] + bytes(size) + header[at + size:]
            if size != 4 or struct.unpack_from("!I", header, at)[0] != crc32c(zeroed):
                return False
        at += size
    return True


def mutated(chance: random.Random, header: bytes) -> bytes:
    """A header with some bytes changed, left out, doubled, put in, or cut off."""
    data = bytearray(header)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1) if data else 0
        what = chance.randrange(5)
        if what == 0 and at < len(data):
            data[at] = chance.choice((chance.randrange(256), data[at] ^ 1 << chance.randrange(8)))
        elif what == 1:
            del data[at:at + chance.choice((1, 1, 4))]
        elif what == 2:
            data[at:at] = chance.choice((b"\0", b" ", b"\r", b"\n", b"0", b"%", bytes([chance.randrange(256)])))
        elif what == 3:
            data[at:at] = data[at:at + chance.randrange(20)]
        elif chance.random() < 0.3:
            del data[at:]
    return bytes(data)
