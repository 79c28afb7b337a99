"""Types of options and arguments, and the options that several commands have.

Each type takes the text of one word and returns its value, or raises `argparse.ArgumentTypeError` with the value in its text.
"""

from __future__ import annotations

import argparse
import errno
import ipaddress
import math
import os
import socket
import stat
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from geventstreams._constants import NEVER
from geventstreams._core.host_names import server_name
from geventstreams._core.transport import address_name
from geventstreams._net.unix_paths import unix_path
from geventstreams.cli.statuses import available
from geventstreams.proxy_protocol import require


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the option that every command has."""
    parser.add_argument("-q", "--quiet", action="store_true", help="errors only: no progress and no notices on standard error")


def add_timeouts(parser: argparse.ArgumentParser) -> None:
    """Add the timeouts of a stream."""
    parser.add_argument("--read-timeout", type=timeout, metavar="SECONDS", help="give up if nothing arrives for this time")
    parser.add_argument("--write-timeout", type=timeout, metavar="SECONDS", help="give up if the peer takes nothing for this time")


def add_proxy_protocol(parser: argparse.ArgumentParser) -> None:
    """Add the options of a server behind a load balancer."""
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--proxy-protocol",
        action="store_true",
        help="every connection comes from a load balancer and begins with a PROXY protocol header (version 1 or 2)",
    )
    who.add_argument(
        "--proxy-from",
        action="append",
        type=network,
        metavar="NETWORK",
        help="only connections from NETWORK (10.0.0.0/8, an address) begin with such a header; may be repeated",
    )


def balancers(args: argparse.Namespace) -> Any:
    """Return which peers send PROXY headers, as `SocketStreamServer` takes it."""
    peers = args.proxy_from or args.proxy_protocol
    if peers:
        available(require)
    return peers


def network(text: str) -> str:
    """A network, or the address of one machine."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _number(text: str) -> float:
    """Return the number that this is, or NaN."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def seconds(text: str) -> float:
    """A positive number of seconds, or `inf`."""
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def timeout(text: str) -> float | None:
    """A positive number of seconds; None for `inf`, which is no timeout."""
    value = seconds(text)
    return None if value == NEVER else value


def seconds_or_zero(text: str) -> float:
    """A number of seconds that may be 0."""
    value = _number(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is neither 0 nor a positive number of seconds")
    return value


def _is_number(text: str) -> bool:
    """Return whether this is a whole number, of no more digits than one of a machine can have."""
    return text.isascii() and text.isdecimal() and len(text) < 10


def count(text: str) -> int:
    """A whole number above zero."""
    if not _is_number(text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def host(text: str) -> str:
    """A host name or an IP address. It is not looked up."""
    try:
        server_name("", text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a host name nor an IP address") from None
    return text


def service(text: str) -> int:
    """A port to connect to, by number or by the name of its service."""
    if not text or text.lstrip("+-").isdecimal():
        return _port(text, least=1)
    try:
        return socket.getservbyname(text, "tcp")
    except (OSError, ValueError, UnicodeError):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a port nor the name of a service") from None


def _port(text: str, least: int) -> int:
    if not (_is_number(text) and least <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: {least} to 65535")
    return int(text)


class Destination(NamedTuple):
    """What to connect to, or to listen on: a host and a port, or a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return address_name(self.path or (self.host, self.port))


def destination(words: Sequence[str]) -> Destination:
    """An address to connect to: `HOST:PORT`, `[IPV6]:PORT`, `unix:PATH`, `@NAME` (Linux), or a host and a port as two words."""
    text = words[0]
    if len(words) > 2:
        raise argparse.ArgumentTypeError(f"unexpected argument: {words[2]}")
    if path := socket_path(text):
        if len(words) == 2:
            raise argparse.ArgumentTypeError(f"unexpected argument: {words[1]} (a Unix socket has no port)")
        return Destination(path=path)
    name, colon, port = (text, ":", words[1]) if len(words) == 2 else text.rpartition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"the port is missing: {text}:PORT")
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    elif ":" in name and len(words) == 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither HOST:PORT nor [IPV6]:PORT, in which an IPv6 address stands in brackets")
    return Destination(host(name), service(port))


def target(text: str) -> Destination:
    """An address to connect to, in one word."""
    return destination([text])


def check_certificate_name(to: Destination, secure: bool, args: argparse.Namespace) -> None:
    """Refuse TLS to a Unix socket without a name for which its certificate can be checked."""
    if to.path and secure and not (args.server_name or args.insecure):
        raise argparse.ArgumentTypeError("TLS over a Unix socket needs --server-name: the socket's path is not a name")


def socket_path(text: str) -> str:
    """Return the path of the Unix socket that `unix:PATH` or `@NAME` means; "" for another address."""
    if text.startswith("@"):
        path = "\0" + text[1:]
    elif text.startswith("unix:"):
        path = text.removeprefix("unix:")
    else:
        return ""
    try:
        unix_path("the path", path)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return path


class Descriptor(NamedTuple):
    """A listening socket that the parent process passed on."""

    number: int


def listen_address(text: str) -> Destination | Descriptor:
    """An address to listen on: `HOST:PORT`, `:PORT` for all addresses, `PORT` for loopback only, `unix:PATH`, `@NAME`, or `fd:NUMBER`."""
    if path := socket_path(text):
        return Destination(path=path)
    name, colon, port = text.rpartition(":")
    if name == "fd":
        return Descriptor(*descriptors(port, most=1))
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    elif ":" in name:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address: an IPv6 address stands in brackets, [::1]:8000")
    return Destination((name and host(name)) if colon else "127.0.0.1", _port(port, least=0))


def page_address(text: str) -> Destination:
    """An address to listen on, but neither a descriptor nor a Unix socket."""
    where = listen_address(text)
    if isinstance(where, Descriptor) or where.path:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address")
    return where


def descriptors(text: str, most: int = 1024) -> list[int]:
    """Numbers of descriptors, with commas between them."""
    numbers = text.split(",")
    if not all(map(_is_number, numbers)) or len(numbers) > most:
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a descriptor")
    return [int(number) for number in numbers]


def readable_file(text: str) -> str:
    """The path of a file that exists and may be read. It is not opened, since that can wait."""
    return _readable(text, check_not_directory)


def regular_file(text: str) -> str:
    """The path of a file whose reading never waits for another program: not a FIFO, a device or a socket."""
    return _readable(text, check_regular)


def folder(text: str) -> str:
    """The path of a folder that may be read."""
    return _readable(text, check_folder)


def _readable(text: str, check: Callable[[os.stat_result, str], None]) -> str:
    try:
        check(os.stat(text), text)
        if not os.access(text, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"cannot read {text!r}: {getattr(error, 'strerror', None) or error}") from None
    return text


def check_not_directory(status: os.stat_result, path: str) -> None:
    """Raise IsADirectoryError for a directory."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)


def check_regular(status: os.stat_result, path: str) -> None:
    """Raise OSError for anything but a regular file."""
    check_not_directory(status, path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)


def check_folder(status: os.stat_result, path: str) -> None:
    """Raise NotADirectoryError for anything but a directory."""
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
