"""PROXY protocol headers: parsed by the library `proxy-protocol`, and written here: it writes only ASCII, and one TLV of each type.

The specification is https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
"""

# Invariants: what the library accepts against the specification is refused here, in `parsed`. Only `proxy_protocol.require` imports this
# module, because the library takes as long to load as the rest of the package.

from __future__ import annotations

import ipaddress
import operator
import os
import re
import socket
import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from proxyprotocol import ProxyProtocolChecksumError, ProxyProtocolIncompleteError, result
from proxyprotocol.checksum import crc32c
from proxyprotocol.detect import ProxyProtocolDetect

from geventstreams._core import arguments
from geventstreams._net.unix_paths import unix_path

__all__ = ["Proxy", "ProxyProtocolIncompleteError", "packed", "parsed"]

SIGNATURES = (b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n")
V1_LIMIT = 107
"""Bytes of the longest header of version 1, including the line end."""

_PORT = rb"(0|[1-9][0-9]{0,4})"
_HOST = rb"([0-9A-Fa-f:.]+)"
_HOST_OR_PATH = rb"([0-9A-Fa-f:.]+|unix:[^\0 \r\n]*)"
V1_LINE = re.compile(rb"PROXY (?:UNKNOWN(?: [^\n]*)?|TCP([46]) %b %b %b %b)\r\n" % (_HOST, _HOST_OR_PATH, _PORT, _PORT))
NGINX_PATH = b"unix:"
"""What nginx writes before the path of a Unix socket."""

V2_LOCAL = b"\x20"
V2_PROXY = 0x21
V2_START = 16
"""Bytes of a header of version 2 before its addresses."""

CHECKSUM = 3
"""The type of the TLV with the CRC32C of the header, which is computed with zeros in place of the checksum."""

EMPTY_CHECKSUM = struct.pack("!BHI", CHECKSUM, 4, 0)

V2_UNIX = (0x31, 0x32)
V2_PATH = 108
"""Bytes of the address of a Unix socket."""

V2_ADDRESSES = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""The valid combinations of family and protocol, and how many bytes their addresses have."""


class Proxy(NamedTuple):
    """A header: `(version, command, source, destination, tlvs)`.

    `source` and `destination` are addresses as sockets have them, or None. `command` is `"PROXY"` for the connection of a client, `"LOCAL"`
    for one of the balancer itself (a health check), and `"UNKNOWN"` if the balancer does not know the client; the last two have no
    addresses. `tlvs` are type and value of the extensions, in their order (version 2 only).
    """

    version: int
    command: str
    source: Any
    destination: Any
    tlvs: tuple[tuple[int, bytes], ...] = ()


def parsed(header: bytes) -> Proxy:
    """Parse a header that is exactly these bytes.

    Raises:
        ProxyProtocolIncompleteError: The header continues.
        ValueError: It is malformed.
    """
    if not any(header[:len(start)] == start[:len(header)] for start in SIGNATURES):
        raise ValueError("not the PROXY protocol")
    if len(header) >= V1_LIMIT and header.startswith(SIGNATURES[0]) and not header.endswith(b"\n"):
        raise ValueError(f"more than {V1_LIMIT} bytes in version 1")
    if header[12:13] == V2_LOCAL and len(header) >= V2_START and len(header) == V2_START + int.from_bytes(header[14:16], "big"):
        return Proxy(2, "LOCAL", None, None)  # the rest has no meaning
    if header.startswith(SIGNATURES[0]) and header.endswith(b"\n"):
        return _parsed_v1(header)
    try:
        content = ProxyProtocolDetect().unpack(_without_paths(header))
    except struct.error:
        raise ValueError("addresses or TLVs are cut off") from None
    except ProxyProtocolChecksumError as unsure:
        content = unsure.result  # the library sorts the TLVs before it computes the checksum; `_tlvs` checks it
    return _checked_v2(header, content)


def _parsed_v1(header: bytes) -> Proxy:
    """Parse a line of version 1.

    Only the client's address must be of the family that the line names. nginx writes the family of the client that a header or its realip
    module has named, and then its own address, which may be of another family or a Unix path.
    """
    line = V1_LINE.fullmatch(header)
    if line is None:
        raise ValueError("not a line of version 1")
    version, source, destination, *ports = line.groups()
    if version is None:
        return Proxy(1, "UNKNOWN", None, None)
    client = ipaddress.ip_address(source.decode("ascii"))
    if client.version != int(version):
        raise ValueError(f"{client} is not an address of TCP{int(version)}")
    numbers = [int(port) for port in ports]
    if max(numbers) > 65535:
        raise ValueError("a port above 65535")
    if destination.startswith(NGINX_PATH):
        own_address: Any = os.fsdecode(destination[len(NGINX_PATH):])
    else:
        own_address = _address(ipaddress.ip_address(destination.decode("ascii")), numbers[1])
    return Proxy(1, "PROXY", _address(client, numbers[0]), own_address)


def _address(host: Any, port: int) -> Any:
    """Return the address of a host and a port as a socket has it."""
    if host.version == 4:
        return socket.inet_ntop(socket.AF_INET, host.packed), port
    return socket.inet_ntop(socket.AF_INET6, host.packed), port, 0, 0


def _path(field: bytes) -> str | bytes:
    """Return the address of a Unix socket as a socket has it: a path, which may be empty, or bytes that begin with NUL."""
    name = field.rstrip(b"\0")
    return name if name.startswith(b"\0") else os.fsdecode(name.partition(b"\0")[0])


def _without_paths(header: bytes) -> bytes:
    """Return a header with its Unix paths blanked: the library accepts only ASCII."""
    if header[13:14] not in (b"\x31", b"\x32"):
        return header
    return header[:V2_START] + bytes(len(header[V2_START:V2_START + 2 * V2_PATH])) + header[V2_START + 2 * V2_PATH:]


def _checked_v2(header: bytes, content: Any) -> Proxy:
    kind = header[13]
    if kind not in V2_ADDRESSES:
        raise ValueError(f"unknown family and protocol: {kind:#04x}")
    if result.is_unknown(content):
        return Proxy(2, "UNKNOWN", None, None)
    start = V2_START + V2_ADDRESSES[kind]
    tlvs = tuple(_tlvs(header, start))
    if kind in V2_UNIX:
        return Proxy(2, "PROXY", _path(header[V2_START:V2_START + V2_PATH]), _path(header[V2_START + V2_PATH:start]), tlvs)
    return Proxy(2, "PROXY", _address(*content.source), _address(*content.dest), tlvs)


def _tlvs(header: bytes, at: int) -> Iterable[tuple[int, bytes]]:
    """Return all TLVs. The library would keep the last one of each type, and accept one that is cut off."""
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
    """Return a header as `proxy_protocol.proxy_header` describes it."""
    extra = [(kind, value) for kind, value in map(_tlv, arguments.list_of("tlvs", tlvs, "types and values")) if kind != CHECKSUM]
    if version == 1:
        if extra:
            raise ValueError("version 1 has no TLVs")
        return _line(_in_one_family(source=source, destination=destination))
    kind, addresses = _addresses(source, destination)
    try:
        content = b"".join([addresses, *(struct.pack("!BH", each, len(value)) + value for each, value in extra), EMPTY_CHECKSUM])
        header = SIGNATURES[1] + struct.pack("!BBH", V2_PROXY, kind, len(content)) + content
    except struct.error:
        raise ValueError("tlvs must have types within 0..255, and fit into a header, which has at most 65535 bytes") from None
    return header[:-4] + struct.pack("!I", crc32c(header))


def _tlv(item: Any) -> tuple[int, bytes]:
    """Return a type and its value as `proxy_header` was given them."""
    try:
        kind, value = item
        return operator.index(kind), bytes(memoryview(value))
    except (TypeError, ValueError):
        raise TypeError(f"tlvs must be pairs of an integer and bytes, not {item!r}") from None


def _line(ends: list[tuple[Any, int]]) -> bytes:
    """Return a line of version 1, with addresses as sockets write them."""
    if not ends:
        return b"PROXY UNKNOWN\r\n"
    (host, port), (own_host, own_port) = ends
    return f"PROXY TCP{host.version} {_address(host, port)[0]} {_address(own_host, own_port)[0]} {port} {own_port}\r\n".encode("ascii")


def _addresses(source: Any, destination: Any) -> tuple[int, bytes]:
    """Return the family and protocol, and the addresses, for a header of version 2."""
    if ends := _in_one_family(source=source, destination=destination):
        (host, port), (own_host, own_port) = ends
        return 0x11 if host.version == 4 else 0x21, host.packed + own_host.packed + struct.pack("!HH", port, own_port)
    if isinstance(source, (str, bytes)) and isinstance(destination, (str, bytes)):
        paths = [os.fsencode(unix_path(name, path) if path else b"") for name, path in (("source", source), ("destination", destination))]
        return V2_UNIX[0], b"".join(path.ljust(V2_PATH, b"\0") for path in paths)
    return 0x00, b""


def _in_one_family(**ends: Any) -> list[tuple[Any, int]]:
    """Return hosts and ports of two IP addresses, in IPv6 if their families differ; nothing where one of them is not an IP address."""
    known = [_host_and_port(name, address) for name, address in ends.items() if not (address is None or isinstance(address, (str, bytes)))]
    if len(known) < len(ends):
        return []
    if {host.version for host, _ in known} == {4, 6}:
        return [(host if host.version == 6 else ipaddress.IPv6Address(f"::ffff:{host}"), port) for host, port in known]
    return known


def _host_and_port(name: str, address: Any) -> tuple[Any, int]:
    try:
        host: Any = ipaddress.ip_address(address[0].partition("%")[0])
        port = operator.index(address[1])
    except (AttributeError, IndexError, TypeError, ValueError):
        raise ValueError(f"{name} must be an address as sockets have it, or None, not {address!r}") from None
    if not 0 <= port <= 65535:
        raise ValueError(f"the port of {name} must be within 0..65535, not {port!r}")
    return getattr(host, "ipv4_mapped", None) or host, port
