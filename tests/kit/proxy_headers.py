"""PROXY protocol headers written by hand, good ones and bad ones."""

# Invariants: nothing here asks the package or its library what a header means.

import ipaddress
import socket
import struct

from crc32c import crc32c

from geventstreams._net.proxy_headers import Proxy

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
    "v1 IPv4 within IPv6": (
        b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6402 1234 443\r\n",
        Proxy(1, "PROXY", ("::ffff:192.0.2.1", 1234, 0, 0), ("::ffff:198.51.100.2", 443, 0, 0))),
    "v1 a client of IPv6 behind a balancer of IPv4": (
        b"PROXY TCP6 2001:db8::1 198.51.100.2 1 443\r\n", Proxy(1, "PROXY", ("2001:db8::1", 1, 0, 0), BALANCED)),
    "v1 a client of IPv4 behind a balancer of IPv6": (
        b"PROXY TCP4 192.0.2.1 2001:db8::2 1234 65535\r\n", Proxy(1, "PROXY", CLIENT, ("2001:db8::2", 65535, 0, 0))),
    "v1 the longest": (
        b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        Proxy(1, "UNKNOWN", *NOTHING)),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", Proxy(1, "UNKNOWN", *NOTHING)),
    "v1 a client of IPv6 behind a Unix socket of nginx": (
        b"PROXY TCP6 2001:db8::1 unix:/run/a-%:1 5 0\r\n", Proxy(1, "PROXY", ("2001:db8::1", 5, 0, 0), "/run/a-%:1")),
    "v1 a client of IPv4 behind a Unix socket of nginx, beyond ASCII": (
        "PROXY TCP4 192.0.2.1 unix:/run/ü 1234 0\r\n".encode(), Proxy(1, "PROXY", CLIENT, "/run/ü")),
    "v2 IPv4": (v2(0x11, FOUR), Proxy(2, "PROXY", CLIENT, BALANCED)),
    "v2 IPv6": (v2(0x21, SIX), Proxy(2, "PROXY", ("2001:db8::1", 1, 0, 0), ("2001:db8::2", 65535, 0, 0))),
    "v2 IPv4 within IPv6": (
        v2(0x21, bytes(10) + b"\xff\xff" + FOUR[:4] + bytes(10) + b"\xff\xff" + FOUR[4:]),
        Proxy(2, "PROXY", ("::ffff:192.0.2.1", 1234, 0, 0), ("::ffff:198.51.100.2", 443, 0, 0))),
    "v2 Unix, beyond ASCII and without a name": (
        v2(0x31, "/run/ü".encode().ljust(108, b"\0") + bytes(108)), Proxy(2, "PROXY", "/run/ü", "")),
    "v2 Unix, abstract": (
        v2(0x32, b"\0a\0b".ljust(108, b"\0") + b"/run/b\0old".ljust(108, b"\0")), Proxy(2, "PROXY", b"\0a\0b", "/run/b")),
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
    "v1 families mixed the other way": b"PROXY TCP6 192.0.2.1 2001:db8::1 1234 443\r\n",
    "v1 family 5": b"PROXY TCP5 192.0.2.1 198.51.100.2 1234 443\r\n",
    "v1 IPv6 with a zone": b"PROXY TCP6 fe80::1%eth0 fe80::2 1234 443\r\n",
    "v1 a client's path": b"PROXY TCP4 unix:/run/a 198.51.100.2 1234 443\r\n",
    "v1 paths without a family": b"PROXY unix:/run/a unix:/run/b 0 0\r\n",
    "v1 a path with a blank": b"PROXY TCP4 192.0.2.1 unix:/run/a b 1234 0\r\n",
    "v1 a path with NUL": b"PROXY TCP4 192.0.2.1 unix:/run/a\0b 1234 0\r\n",
    "v1 a path without unix": b"PROXY TCP4 192.0.2.1 /run/a 1234 0\r\n",
    "v1 a path cut off, as nginx does with a long one": b"PROXY TCP4 192.0.2.1 unix:/".ljust(107, b"x"),
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
    "v2 paths cut off": v2(0x31, bytes(215)),
    "v2 no addresses": v2(0x21, b""),
    "v2 head of a TLV cut off": v2(0x11, FOUR + b"\1\0"),
    "v2 value of a TLV cut off": v2(0x11, FOUR + tlv(1, b"h2")[:-1]),
    "v2 wrong checksum": v2(0x11, FOUR + tlv(3, b"\0\0\0\1")),
    "v2 checksum of three bytes": v2(0x11, FOUR + tlv(3, b"\0\0\0")),
    "v2 signature ends otherwise": MAGIC[:-1] + b"\r" + v2(0x11, FOUR)[12:],
}
