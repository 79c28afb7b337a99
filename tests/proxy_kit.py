"""PROXY protocol headers written by hand, good ones and bad ones, and a judge of mutated ones.

Rule for the next editor: nothing here asks the package or its library what a header means.
"""

import ipaddress
import random
import socket
import struct

from crc32c import crc32c
from pairs import Pairs

from geventstreams.proxy_headers import Proxy
from geventstreams.proxy_protocol import ProxyError, read_proxy

MAGIC = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.2") + struct.pack("!HH", 1234, 443)
SIX = ipaddress.ip_address("2001:db8::1").packed + ipaddress.ip_address("2001:db8::2").packed + struct.pack("!HH", 1, 65535)
CLIENT, BALANCED = ("192.0.2.1", 1234), ("198.51.100.2", 443)


def v2(kind: int, block: bytes, *, command: int = 0x21) -> bytes:
    """A header of version 2, written by hand."""
    return MAGIC + struct.pack("!BBH", command, kind, len(block)) + block


def tlv(kind: int, value: bytes) -> bytes:
    """A TLV."""
    return struct.pack("!BH", kind, len(value)) + value


def with_checksum(kind: int, addresses: bytes, tlvs: bytes) -> bytes:
    """A header with a checksum TLV that is right."""
    empty = v2(kind, addresses + tlvs + tlv(3, bytes(4)))
    return empty[:-4] + struct.pack("!I", crc32c(empty))


NOTHING = (None, None)
GOOD = {
    "v1 IPv4": (b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n", Proxy(1, "PROXY", CLIENT, BALANCED)),
    "v1 lowest and highest port": (
        b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", Proxy(1, "PROXY", ("0.0.0.0", 0), ("255.255.255.255", 65535))),
    "v1 IPv6": (
        b"PROXY TCP6 2001:db8::1 2001:DB8:0:0:0:0:0:2 1 65535\r\n",
        Proxy(1, "PROXY", ("2001:db8::1", 1, 0, 0), ("2001:db8::2", 65535, 0, 0))),
    "v1 the longest": (
        b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        Proxy(1, "UNKNOWN", *NOTHING)),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", Proxy(1, "UNKNOWN", *NOTHING)),
    "v2 IPv4": (v2(0x11, FOUR), Proxy(2, "PROXY", CLIENT, BALANCED)),
    "v2 IPv6": (v2(0x21, SIX), Proxy(2, "PROXY", ("2001:db8::1", 1, 0, 0), ("2001:db8::2", 65535, 0, 0))),
    "v2 Unix": (
        v2(0x31, b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")), Proxy(2, "PROXY", "/run/a", "/run/b")),
    "v2 TLVs, one of them twice": (
        v2(0x11, FOUR + tlv(0xEA, b"first") + tlv(1, b"h2") + tlv(0xEA, b"") + tlv(0xEA, b"third")),
        Proxy(2, "PROXY", CLIENT, BALANCED, ((0xEA, b"first"), (1, b"h2"), (0xEA, b""), (0xEA, b"third")))),
    "v2 the longest": (
        v2(0x11, FOUR + tlv(4, bytes(65535 - 15))), Proxy(2, "PROXY", CLIENT, BALANCED, ((4, bytes(65535 - 15)),))),
    "v2 local": (v2(0x00, b"", command=0x20), Proxy(2, "LOCAL", *NOTHING)),
    "v2 local with a block of no meaning": (v2(0xFF, b"\3" * 100, command=0x20), Proxy(2, "LOCAL", *NOTHING)),
    "v2 unknown": (v2(0x00, b"whatever"), Proxy(2, "UNKNOWN", *NOTHING)),
}

BAD = {
    "something else": b"GET / HTTP/1.1\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    "v1 small letters": b"proxy TCP4 192.0.2.1 198.51.100.2 1234 443\r\n",
    "v1 without CR": b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\n",
    "v1 two blanks": b"PROXY  TCP4 192.0.2.1 198.51.100.2 1234 443\r\n",
    "v1 a tab": b"PROXY TCP4\t192.0.2.1 198.51.100.2 1234 443\r\n",
    "v1 other family": b"PROXY UDP4 192.0.2.1 198.51.100.2 1234 443\r\n",
    "v1 UNKNOWNS": b"PROXY UNKNOWNS\r\n",
    "v1 no destination": b"PROXY TCP4 192.0.2.1 1234\r\n",
    "v1 more": b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443 5\r\n",
    "v1 signed port": b"PROXY TCP4 192.0.2.1 198.51.100.2 +1234 443\r\n",
    "v1 port with a bar": b"PROXY TCP4 192.0.2.1 198.51.100.2 1_2 443\r\n",
    "v1 port with zeros": b"PROXY TCP4 192.0.2.1 198.51.100.2 01234 443\r\n",
    "v1 port too large": b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 65536\r\n",
    "v1 address with zeros": b"PROXY TCP4 192.0.2.01 198.51.100.2 1234 443\r\n",
    "v1 a name": b"PROXY TCP4 localhost 198.51.100.2 1234 443\r\n",
    "v1 families mixed": b"PROXY TCP4 2001:db8::1 198.51.100.2 1234 443\r\n",
    "v1 IPv6 with a zone": b"PROXY TCP6 fe80::1%eth0 fe80::2 1234 443\r\n",
    "v1 not ASCII": "PROXY TCP4 192.0.2.١ 198.51.100.2 1234 443\r\n".encode(),
    "v1 too long": b"PROXY UNKNOWN ".ljust(107, b"x"),
    "v2 version 1": v2(0x11, FOUR, command=0x11),
    "v2 version 3": v2(0x11, FOUR, command=0x31),
    "v2 other command": v2(0x11, FOUR, command=0x22),
    "v2 other family": v2(0x41, FOUR),
    "v2 other protocol": v2(0x13, FOUR),
    "v2 family without protocol": v2(0x10, FOUR),
    "v2 protocol without family": v2(0x01, FOUR),
    "v2 addresses cut off": v2(0x11, FOUR[:-1]),
    "v2 no addresses": v2(0x21, b""),
    "v2 head of a TLV cut off": v2(0x11, FOUR + b"\1\0"),
    "v2 value of a TLV cut off": v2(0x11, FOUR + tlv(1, b"h2")[:-1]),
    "v2 wrong checksum": v2(0x11, FOUR + tlv(3, b"\0\0\0\1")),
    "v2 checksum of three octets": v2(0x11, FOUR + tlv(3, b"\0\0\0")),
    "v2 signature ends otherwise": MAGIC[:-1] + b"\r" + v2(0x11, FOUR)[12:],
}


def strict(octets: bytes) -> int | None:
    """Octets of the header that these begin with, by another reading of the specification; None where there is none."""
    size = line_size(octets) if octets.startswith(b"PROXY ") else block_size(octets)
    return size or None


def line_size(octets: bytes) -> int:
    """The same for version 1; 0 where there is none."""
    line, end, _ = octets[:107].partition(b"\n")
    words = line[:-1].decode("latin-1").split(" ")
    size = len(line) + 1 if end and line.endswith(b"\r") else 0
    if not size or words[1] == "UNKNOWN":
        return size
    kind = {"TCP4": ipaddress.IPv4Address, "TCP6": ipaddress.IPv6Address}.get(words[1])
    if kind is None or len(words) != 6 or not line.isascii() or b"%" in line:
        return 0
    try:
        kind(words[2]), kind(words[3])
    except ValueError:
        return 0
    right = all(word.isdigit() and str(int(word)) == word and int(word) < 65536 for word in words[4:])
    return size if right else 0


def block_size(octets: bytes) -> int:
    """The same for version 2; 0 where there is none."""
    if not octets.startswith(MAGIC) or len(octets) < 16:
        return 0
    size = 16 + struct.unpack("!H", octets[14:16])[0]
    if size > len(octets) or octets[12] not in (0x20, 0x21):
        return 0
    length = {0: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}.get(octets[13], 65536)
    if octets[12] == 0x20 or (octets[13] == 0 and 16 + length <= size):
        return size
    return size if 16 + length <= size and tlvs_hold(octets[:size], 16 + length) else 0


def tlvs_hold(header: bytes, at: int) -> bool:
    """Whether the TLVs fill a header exactly, and its checksums are right."""
    if header[13] >= 0x31 and not header[16:232].rstrip(b"\0").isascii():
        return False
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
    """A header with some octets changed, left out, doubled, put in, or cut off."""
    octets = bytearray(header)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 4))):
        at = chance.randrange(len(octets) + 1) if octets else 0
        what = chance.randrange(5)
        if what == 0 and at < len(octets):
            octets[at] = chance.choice((chance.randrange(256), octets[at] ^ 1 << chance.randrange(8)))
        elif what == 1:
            del octets[at:at + chance.choice((1, 1, 4))]
        elif what == 2:
            octets[at:at] = chance.choice((b"\0", b" ", b"\r", b"\n", b"0", b"%", bytes([chance.randrange(256)])))
        elif what == 3:
            octets[at:at] = octets[at:at + chance.randrange(20)]
        elif chance.random() < 0.3:
            del octets[at:]
    return bytes(octets)


def mutate(pairs: Pairs, seed: int, count: int) -> tuple[int, int]:
    """Reads so many mutated headers, each with more octets behind it: how many were accepted, and how many were refused."""
    chance = random.Random(seed)
    headers = [header for header, _ in GOOD.values() if len(header) < 1000]
    headers += [with_checksum(0x21, SIX, tlv(2, b"name")), with_checksum(0x11, FOUR, b"")]
    accepted = refused = 0
    while accepted + refused < count:
        near, far = pairs.stream("tcp")
        octets = mutated(chance, chance.choice(headers)) + chance.randbytes(chance.randrange(4)) + b"#behind it#"
        far.sendall(octets)
        far.shutdown(socket.SHUT_WR)
        size = strict(octets)
        try:
            read_proxy(near, 20)
        except ProxyError:
            assert size is None, f"seed {seed}: refused {octets!r}"
            refused += 1
        else:
            assert size is not None, f"seed {seed}: accepted {octets!r}"
            assert near.read() == octets[size:], f"seed {seed}: {octets!r}"
            accepted += 1
        near.abort()
        far.close()
        pairs.made.clear()
    return accepted, refused
