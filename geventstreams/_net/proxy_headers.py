"""What a PROXY protocol header consists of: made and understood by the library `proxy-protocol`.

Rules for the next editor: what the library lets pass and the specification does not is refused here, in `parsed`. Only
`proxy_protocol.require` imports this module: the library takes as long to load as all the rest of the package.
Source: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from proxyprotocol import ProxyProtocolChecksumError, ProxyProtocolIncompleteError, result
from proxyprotocol.checksum import crc32c
from proxyprotocol.detect import ProxyProtocolDetect
from proxyprotocol.tlv import ProxyProtocolTLV
from proxyprotocol.v2 import ProxyProtocolV2

from geventstreams._net.unix_paths import unix_path

__all__ = ["Proxy", "ProxyProtocolIncompleteError", "packed", "parsed"]

SIGNATURES = (b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n")
V1_LIMIT = 107
"""Octets of the longest header of version 1, its line end included."""

_PORT = rb"(0|[1-9][0-9]{0,4})"
_HOST = rb"([0-9A-Fa-f:.]+)"
_HOST_OR_PATH = rb"([0-9A-Fa-f:.]+|unix:[^\0 \r\n]*)"
V1_LINE = re.compile(rb"PROXY (?:UNKNOWN(?: [^\n]*)?|TCP([46]) %b %b %b %b)\r\n" % (_HOST, _HOST_OR_PATH, _PORT, _PORT))
NGINX_PATH = b"unix:"
"""Before the path of a Unix socket, where nginx writes one."""

V2_LOCAL = b"\x20"
V2_START = 16
"""Octets of a header of version 2 before its addresses."""

CHECKSUM = 3
"""The type of the TLV that has a CRC32C of the header, computed as if it were zero itself."""

V2_UNIX = (0x31, 0x32)
V2_PATH = 108
"""Octets that the address of a Unix socket takes."""

V2_ADDRESSES = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""The combinations of family and protocol that there are, and how many octets their addresses take."""


class Proxy(NamedTuple):
    """What a header says. `source` and `destination` are addresses as sockets have them, or None.

    `command` is `"PROXY"` for a client's connection, `"LOCAL"` for one of the balancer's own (a health check), and
    `"UNKNOWN"` where the balancer cannot say whose it is; both have no addresses. `tlvs` are the type and the value of
    what else it says, in its order (version 2 only).
    """

    version: int
    command: str
    source: Any
    destination: Any
    tlvs: tuple[tuple[int, bytes], ...] = ()


def parsed(header: bytes) -> Proxy:
    """What exactly these octets say. The library's ProxyProtocolIncompleteError where they go on, ValueError otherwise."""
    if not any(header[:len(start)] == start[:len(header)] for start in SIGNATURES):
        raise ValueError("no PROXY protocol")
    if len(header) >= V1_LIMIT and header.startswith(SIGNATURES[0]) and not header.endswith(b"\n"):
        raise ValueError(f"more than {V1_LIMIT} octets in version 1")
    if header[12:13] == V2_LOCAL and len(header) >= V2_START and len(header) == V2_START + int.from_bytes(header[14:16], "big"):
        return Proxy(2, "LOCAL", None, None)  # whatever else it says has no meaning
    if header.startswith(SIGNATURES[0]) and header.endswith(b"\n"):
        return _parsed_v1(header)
    try:
        found = ProxyProtocolDetect().unpack(_without_paths(header))
    except struct.error:
        raise ValueError("addresses or TLVs are cut off") from None
    except ProxyProtocolChecksumError as unsure:
        found = unsure.result  # it sorts the TLVs before it sums them up: what counts are the octets as they came
    return _checked_v2(header, found)


def _parsed_v1(header: bytes) -> Proxy:
    """A line of version 1. The client's address is of the family that it names, and the other one need not be: nginx names the family
    of the client that it was told of, by a header or its realip module, and then its own address as it is, which may be a Unix path."""
    line = V1_LINE.fullmatch(header)
    if line is None:
        raise ValueError("not as version 1 has it")
    version, source, destination, *ports = line.groups()
    if version is None:
        return Proxy(1, "UNKNOWN", None, None)
    client = ipaddress.ip_address(source.decode("ascii"))
    if client.version != int(version):
        raise ValueError(f"{client} is no address of TCP{int(version)}")
    numbers = [int(port) for port in ports]
    if max(numbers) > 65535:
        raise ValueError("a port above 65535")
    if destination.startswith(NGINX_PATH):
        ours: Any = os.fsdecode(destination[len(NGINX_PATH):])
    else:
        ours = _end(ipaddress.ip_address(destination.decode("ascii")), numbers[1])
    return Proxy(1, "PROXY", _end(client, numbers[0]), ours)


def _end(host: Any, port: int) -> Any:
    """A host and a port as a socket of that family gives them."""
    if host.version == 4:
        return socket.inet_ntop(socket.AF_INET, host.packed), port
    return socket.inet_ntop(socket.AF_INET6, host.packed), port, 0, 0


def _path(field: bytes) -> str | bytes:
    """The address of a Unix socket as a socket gives it: a path, empty where it has none, or bytes that begin with NUL."""
    name = field.rstrip(b"\0")
    return name if name.startswith(b"\0") else os.fsdecode(name.partition(b"\0")[0])


def _without_paths(header: bytes) -> bytes:
    """The same header for the library, which takes no path beyond ASCII."""
    if header[13:14] not in (b"\x31", b"\x32"):
        return header
    return header[:V2_START] + bytes(len(header[V2_START:V2_START + 2 * V2_PATH])) + header[V2_START + 2 * V2_PATH:]


def _checked_v2(header: bytes, found: Any) -> Proxy:
    kind = header[13]
    if kind not in V2_ADDRESSES:
        raise ValueError(f"no such family and protocol: {kind:#04x}")
    if result.is_unknown(found):
        return Proxy(2, "UNKNOWN", None, None)
    start = V2_START + V2_ADDRESSES[kind]
    tlvs = tuple(_tlvs(header, start))
    if kind in V2_UNIX:
        return Proxy(2, "PROXY", _path(header[V2_START:V2_START + V2_PATH]), _path(header[V2_START + V2_PATH:start]), tlvs)
    return Proxy(2, "PROXY", _end(*found.source), _end(*found.dest), tlvs)


def _tlvs(header: bytes, at: int) -> Iterable[tuple[int, bytes]]:
    """All of them: the library keeps the last of each type, and does not mind one that is cut off."""
    while at < len(header):
        if len(header) < at + 3:
            raise ValueError("a TLV is cut off")
        kind, size = struct.unpack_from("!BH", header, at)
        at += 3
        value = header[at:at + size]
        if len(value) < size:
            raise ValueError("a TLV is cut off")
        if kind == CHECKSUM and value != crc32c(header[:at] + bytes(4) + header[at + 4:]).to_bytes(4, "big"):
            raise ValueError("its checksum is wrong")
        yield kind, value
        at += size


def packed(version: int, source: Any, destination: Any, tlvs: Iterable[tuple[int, bytes]]) -> bytes:
    """A header as `proxy_protocol.proxy_header` describes it."""
    extra = dict(tlvs)
    if version == 1 and extra:
        raise ValueError("version 1 has no TLVs")
    said = _said(source, destination, ProxyProtocolTLV(init=extra), version)
    if version == 1:
        return _line(said)
    packed: bytes = ProxyProtocolV2().pack(said)
    return packed


def _line(said: Any) -> bytes:
    """A line of version 1, with addresses as sockets write them: the library's have no dots in one of IPv4 within IPv6."""
    if result.is_unknown(said):
        return b"PROXY UNKNOWN\r\n"
    source, destination = _end(*said.source), _end(*said.dest)
    family = 4 if result.is_ipv4(said) else 6
    return f"PROXY TCP{family} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode("ascii")


def _said(source: Any, destination: Any, tlvs: Any, version: int) -> Any:
    if isinstance(source, tuple) and isinstance(destination, tuple):
        kind, ends = _in_one_family(_host(source), _host(destination))
        return kind((ends[0], source[1]), (ends[1], destination[1]), protocol=socket.SOCK_STREAM, tlv=tlvs)
    if version == 2 and isinstance(source, str) and isinstance(destination, str):
        ends = [unix_path(name, path) if path else "" for name, path in (("source", source), ("destination", destination))]
        return result.ProxyResultUnix(*ends, protocol=socket.SOCK_STREAM, tlv=tlvs)
    return result.ProxyResultUnknown(tlv=tlvs)


def _host(address: Any) -> Any:
    """The host of an address as an object; one of IPv4 in the clothes of IPv6 is one of IPv4."""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    return getattr(host, "ipv4_mapped", None) or host


def _in_one_family(*hosts: Any) -> tuple[Any, list[Any]]:
    """The kind of header for two hosts, and the two as it takes them."""
    if all(host.version == 4 for host in hosts):
        return result.ProxyResultIPv4, list(hosts)
    return result.ProxyResultIPv6, [
        host if host.version == 6 else ipaddress.IPv6Address(f"::ffff:{host}") for host in hosts
    ]
