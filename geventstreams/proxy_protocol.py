"""PROXY protocol headers, versions 1 and 2: whom a balancer says it speaks for, read and written before anything else.

Rules for the next editor: a header is read from the stream's own buffer, and never an octet more.
"""

from __future__ import annotations

import importlib
import ipaddress
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import geventstreams._native.syscalls as _system
from geventstreams._core.transport import address_name
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import HandshakeTimeout, ReadTimeout, StreamError, in_seconds

if TYPE_CHECKING:
    from geventstreams._net.proxy_headers import Proxy


class ProxyError(StreamError):
    """What should be a PROXY protocol header is none, or not a whole one."""


def require() -> ModuleType:
    """The module that knows headers. Loaded when first asked for; ImportError, with what to do, where its library is not there."""
    try:
        return importlib.import_module("geventstreams._net.proxy_headers")
    except ImportError as missing:
        raise ImportError("PROXY protocol needs the libraries proxy-protocol and crc32c: pip install 'geventstreams[proxy]'") from missing


class Balancers:
    """Who may, and has to, begin with a header: everybody (True), or the peers from some networks."""

    def __init__(self, who: Any) -> None:
        require()
        self._networks: list[Any] | None = None
        if who is not True:
            self._networks = [_network(each) for each in _listed(who)]

    def include(self, address: Any) -> bool:
        """Whether a connection from this address has to begin with a header."""
        if self._networks is None:
            return True
        if not isinstance(address, tuple):
            return False
        peer = ipaddress.ip_address(address[0])
        peer = getattr(peer, "ipv4_mapped", None) or peer
        return any(peer in network for network in self._networks)


def _listed(who: Any) -> Iterable[Any]:
    if isinstance(who, (str, bytes)) or not isinstance(who, Iterable):
        raise TypeError(f"proxy_protocol must be a bool or a list of networks, not {who!r}")
    return who


def _network(given: Any) -> Any:
    try:
        return ipaddress.ip_network(given)
    except ValueError as error:
        raise ValueError(f"proxy_protocol: {error}") from None


def read_proxy(stream: SocketStream, limit: float) -> Proxy:
    """Takes the header that a stream's input must begin with, within `limit` seconds in all.

    It waits for its octets and for no others. ProxyError where it is malformed or the input ends within it,
    HandshakeTimeout where the time is over.
    """
    headers = require()
    until = _system.monotonic() + limit
    usual, header = stream.read_timeout, b""
    try:
        while True:
            try:
                return headers.parsed(header)  # type: ignore[no-any-return]  # a Proxy
            except headers.ProxyProtocolIncompleteError as incomplete:
                header += _some(stream, incomplete.want_read.want_bytes or 1, limit, until)
            except ValueError as error:
                raise ProxyError(f"malformed PROXY header from {address_name(stream.peer_address)}: {error}", stream=stream) from None
    finally:
        if not stream.closed:
            stream.read_timeout = usual


def _some(stream: SocketStream, most: int, limit: float, until: float) -> bytes:
    left = until - _system.monotonic()
    try:
        if left <= 0:
            raise ReadTimeout
        stream.read_timeout = left
        octets = stream.read1(most)
    except ReadTimeout:
        raise HandshakeTimeout(f"no PROXY header from {address_name(stream.peer_address)} within {in_seconds(limit)}",
                               stream=stream) from None
    if not octets:
        raise ProxyError(f"{address_name(stream.peer_address)} ended the connection before its PROXY header was whole", stream=stream)
    return octets


def proxy_header(version: int, source: Any, destination: Any, tlvs: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """A header that says whom a connection is for: write it before anything else, and before TLS.

    Addresses are as sockets have them; where one is None, or they are of Unix sockets and `version` is 1, the header
    says that the client is not known. `tlvs` is for version 2, which adds a checksum to them.
    """
    headers = require()
    if version not in (1, 2):
        raise ValueError(f"version must be 1 or 2, not {version!r}")
    return headers.packed(version, source, destination, tlvs)  # type: ignore[no-any-return]  # bytes
