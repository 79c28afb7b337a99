"""`--proxy`: ask an HTTP proxy (CONNECT) or a SOCKS 5 proxy for a connection, on a stream that is connected to the proxy."""

# Invariants: the proxy's answer is read from the stream's own buffers, so bytes of the server that arrive with it are not lost.

from __future__ import annotations

import argparse
import base64
import importlib
import ipaddress
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import gevent

from geventstreams._constants import TICK
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli.options import Destination, target
from geventstreams.cli.statuses import CommandError, Status, one_line
from geventstreams.errors import IncompleteRead, in_seconds

SOCKS_ERRORS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "command not supported",
    8: "address type not supported",
}
"""The replies of RFC 1928, section 6."""

NO_LOGIN, PASSWORD, NO_METHOD = 0, 2, 255
"""Methods of RFC 1928, section 3."""


class Proxy(NamedTuple):
    """A proxy: its protocol, its address, and the user's name and password, both "" without a login."""

    scheme: str
    address: Destination
    user: str
    password: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}"


def proxy(text: str) -> Proxy:
    """The URL of a proxy: `http://[USER:PASSWORD@]HOST:PORT` or `socks5://…`, whose proxy looks host names up."""
    try:
        url = urlsplit(text)
        scheme, login = url.scheme.removesuffix("h") if url.scheme == "socks5h" else url.scheme, (url.username, url.password)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL: {error}") from None
    if scheme not in DIALOGUES or url.path.strip("/") or url.query or url.fragment:
        raise argparse.ArgumentTypeError(f"{text!r} is neither http://HOST:PORT nor socks5://HOST:PORT")
    user, password = (unquote(part or "") for part in login)
    if max(len(user.encode()), len(password.encode())) > 255:
        raise argparse.ArgumentTypeError("the user's name and the password have at most 255 bytes each")
    return Proxy(scheme, target(url.netloc.rpartition("@")[2]), user, password)


def ask(stream: SocketStream, proxy: Proxy, to: Destination, limit: float | None) -> None:
    """Ask the proxy for a connection, for at most `limit` seconds. From then on the stream is connected to the destination."""
    late = refusal(proxy, to, f"no answer within {in_seconds(limit or 0)}")
    try:
        with gevent.Timeout(None if limit is None else max(TICK, limit), late):
            DIALOGUES[proxy.scheme](stream, proxy, to)
    except IncompleteRead:
        raise refusal(proxy, to, "it ended the connection") from None


def refusal(proxy: Proxy, to: Destination, reason: str) -> CommandError:
    """Return the end of a command whose proxy does not connect."""
    return CommandError(Status.NO_CONNECTION, f"no connection to {to} through {proxy}: {one_line(reason)}")


def http(stream: SocketStream, proxy: Proxy, to: Destination) -> None:
    """RFC 9110, section 9.3.6."""
    client = importlib.import_module("http.client")  # here, because it takes long to load
    authority = to._replace(host=to.host.encode("idna").decode())
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.user or proxy.password:
        login = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {login}")
    stream.write("\r\n".join([*lines, "", ""]).encode("ascii"))
    stream.flush()
    response = client.HTTPResponse(stream, method="CONNECT")
    try:
        response.begin()
    except client.HTTPException as error:
        raise refusal(proxy, to, f"not an answer in HTTP: {error!r}") from None
    if response.status // 100 != 2:
        raise refusal(proxy, to, f"{response.status} {response.reason}")


def socks5(stream: SocketStream, proxy: Proxy, to: Destination) -> None:
    """RFC 1928, and RFC 1929 for names and passwords."""
    methods = bytes([NO_LOGIN, PASSWORD] if proxy.user or proxy.password else [NO_LOGIN])
    version, method = exchange(stream, bytes([5, len(methods)]) + methods, 2)
    if version != 5:
        raise refusal(proxy, to, "it does not speak SOCKS 5")
    if method not in methods:
        raise refusal(proxy, to, "it wants a name and a password" if method in (PASSWORD, NO_METHOD) else f"unknown method {method}")
    if method == PASSWORD:
        user, password = proxy.user.encode(), proxy.password.encode()
        _, status = exchange(stream, b"\1" + bytes([len(user)]) + user + bytes([len(password)]) + password, 2)
        if status:
            raise refusal(proxy, to, "it does not accept the name and the password")
    _, status, _, kind = exchange(stream, b"\5\1\0" + socks_address(to.host) + to.port.to_bytes(2, "big"), 4)
    if status:
        raise refusal(proxy, to, SOCKS_ERRORS.get(status, f"error {status}"))
    length = {1: 4, 4: 16}.get(kind)
    stream.read_exactly((stream.read_exactly(1)[0] if length is None else length) + 2)  # the proxy's own address


def exchange(stream: SocketStream, question: bytes, length: int) -> bytes:
    """Send a question and return an answer of `length` bytes."""
    stream.write(question)
    stream.flush()
    return stream.read_exactly(length)


def socks_address(host: str) -> bytes:
    """Return a host as SOCKS 5 has it: an IP address, or a name that the proxy looks up."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("idna")
        return b"\3" + bytes([len(name)]) + name
    return (b"\1" if address.version == 4 else b"\4") + address.packed


DIALOGUES = {"http": http, "socks5": socks5}
