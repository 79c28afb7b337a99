"""PROXY protocol headers, versions 1 and 2, which tell a server behind a balancer the client's address.

Servers read them with `SocketStreamServer(…, proxy_protocol=…)`. For other programs: `read_proxy` and `proxy_header`. They need the extra
`proxy`: `pip install 'geventstreams[proxy]'`.
"""

# Invariant: a header is read through the stream's own buffer, and no byte behind it is taken.

from __future__ import annotations

import importlib
import ipaddress
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from geventstreams._core import arguments
from geventstreams._core.clock import deadline_after, seconds_until
from geventstreams._core.reader import ByteReader
from geventstreams._core.transport import address_name
from geventstreams.errors import HandshakeTimeout, ReadTimeout, StreamError, in_seconds

if TYPE_CHECKING:
    from geventstreams._net.proxy_headers import Proxy
    from geventstreams._types import SocketStream


class ProxyError(StreamError):
    """A PROXY protocol header is malformed, or the input ended within it."""


def require() -> ModuleType:
    """Load and return the module that parses headers. ImportError says what to install if its library is missing."""
    try:
        return importlib.import_module("geventstreams._net.proxy_headers")
    except ImportError as missing:
        raise ImportError("PROXY protocol needs the libraries proxy-protocol and crc32c: pip install 'geventstreams[proxy]'") from missing


class Balancers:
    """The peers whose connections must begin with a header: all of them (True), or those in some networks."""

    def __init__(self, peers: Any) -> None:
        require()
        self._networks: list[Any] | None = None
        if peers is True:
            return
        if isinstance(peers, (str, bytes)) or not isinstance(peers, Iterable):
            raise TypeError(f"proxy_protocol must be a bool or a list of networks, not {peers!r}")
        try:
            self._networks = [ipaddress.ip_network(each) for each in peers]
        except ValueError as error:
            raise ValueError(f"proxy_protocol: {error}") from None

    def include(self, address: Any) -> bool:
        """Return whether a connection from an address must begin with a header."""
        if self._networks is None:
            return True
        if not isinstance(address, tuple):
            return False
        peer = ipaddress.ip_address(address[0])
        peer = getattr(peer, "ipv4_mapped", None) or peer
        return any(peer in network for network in self._networks)


def read_proxy(stream: SocketStream, limit: float) -> Proxy:
    """Read the header that the input of a stream must begin with.

    Nothing behind the header is read, so TLS or the protocol may follow at once.

    Args:
        stream: A stream from which nothing was read.
        limit: Seconds for the whole header; infinity for no limit.

    Returns:
        `(version, command, source, destination, tlvs)`, a named tuple. The addresses are as sockets have them, or None.

    Raises:
        ProxyError: The header is malformed, or the input ended within it.
        HandshakeTimeout: It did not arrive in time.
        ImportError: The extra `proxy` is not installed.
    """
    headers = require()
    if not isinstance(stream, ByteReader):
        raise TypeError(f"stream must be a SocketStream, not {type(stream).__name__} {stream!r}")
    deadline = deadline_after(arguments.seconds("limit", limit))
    read_timeout, header = stream.read_timeout, b""
    try:
        while True:
            try:
                return headers.parsed(header)  # type: ignore[no-any-return]  # a Proxy
            except headers.ProxyProtocolIncompleteError as incomplete:
                header += _some(stream, incomplete.want_read.want_bytes or 1, limit, deadline)
            except ValueError as error:
                raise ProxyError(f"malformed PROXY header from {address_name(stream.peer_address)}: {error}", stream=stream) from None
    finally:
        if not stream.closed:
            stream.read_timeout = read_timeout


def _some(stream: SocketStream, most: int, limit: float, deadline: float) -> bytes:
    left = seconds_until(deadline)
    try:
        if left <= 0:
            raise ReadTimeout
        stream.read_timeout = left
        chunk = stream.read1(most)
    except ReadTimeout:
        raise HandshakeTimeout(f"no PROXY header from {address_name(stream.peer_address)} within {in_seconds(limit)}",
                               stream=stream) from None
    if not chunk:
        raise ProxyError(f"{address_name(stream.peer_address)} ended the connection before its PROXY header was whole", stream=stream)
    return chunk


def proxy_header(version: int, source: Any, destination: Any, tlvs: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """Return a header that names the client of a connection. It is written before anything else, and before TLS.

    If an address is None, or `version` is 1 and the addresses are of Unix sockets, the header says that the client is not known.

    Args:
        version: 1 or 2.
        source: The client's address, as sockets have it.
        destination: The address that the client connected to.
        tlvs: Type and value of extensions (version 2 only, which adds a checksum).

    Raises:
        ImportError: The extra `proxy` is not installed.
    """
    headers = require()
    if version not in (1, 2):
        raise ValueError(f"version must be 1 or 2, not {version!r}")
    return headers.packed(version, source, destination, tlvs)  # type: ignore[no-any-return]  # bytes
