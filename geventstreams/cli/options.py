"""Options: a parser that says what is wrong in one line, and the words that several commands understand."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import os
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from geventstreams._core import arguments
from geventstreams._core.host_names import server_name
from geventstreams.cli.statuses import Status, available, one_line
from geventstreams.proxy_protocol import require

Commands = Any
"""What `add_subparsers` gives; its class has no public name."""


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a mistake in one line."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**settings)

    def error(self, message: str) -> NoReturn:
        self.exit(Status.USAGE, f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print a help text or a mistake. Only a mistake may be lost: Python's parsers differ in what they do about errors here."""
        if message and file is sys.stdout and file is not None:
            file.write(message)
        else:
            with suppress(OSError):
                super()._print_message(message, file)


def add_common(parser: argparse.ArgumentParser) -> None:
    """What every command has."""
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no notices on standard error; errors only")


def add_timeouts(parser: argparse.ArgumentParser) -> None:
    """The limits of a stream."""
    parser.add_argument("--read-timeout", type=seconds, metavar="SECONDS", help="give up when nothing arrives for so long")
    parser.add_argument("--write-timeout", type=seconds, metavar="SECONDS", help="give up when the peer takes nothing for so long")


def add_proxy_protocol(parser: argparse.ArgumentParser) -> None:
    """How a server behind a balancer learns who its clients are."""
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--proxy-protocol",
        action="store_true",
        help="every connection comes through a balancer, and begins with its PROXY protocol header (version 1 or 2)",
    )
    who.add_argument(
        "--proxy-from",
        action="append",
        type=network,
        metavar="NETWORK",
        help="those from NETWORK do (10.0.0.0/8, an address); others are served without; may be repeated",
    )


def balancers(given: argparse.Namespace) -> Any:
    """Who speaks the PROXY protocol, as servers have it."""
    who = given.proxy_from or given.proxy_protocol
    if who:
        available(require)
    return who


def network(text: str) -> str:
    """A network, or the address of one machine."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def seconds(text: str) -> float:
    """A positive number of seconds; `inf` is no limit."""
    try:
        return arguments.seconds("", float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds") from None


def patience(text: str) -> float:
    """The same, or `0` for none at all."""
    return 0.0 if text == "0" else seconds(text)


def count(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above zero")
    return int(text)


def host(text: str) -> str:
    """A name or an address; whether there is such a host is not asked here."""
    try:
        server_name("", text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither the name of a host nor an address") from None
    return text


def service(text: str) -> str | int:
    """A port to connect to, by number or by name."""
    if text and not text.lstrip("+-").isdecimal():
        return text
    return _port(text, least=1)


def _port(text: str, least: int) -> int:
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: {least} to 65535")
    return int(text)


class Descriptor(NamedTuple):
    """A listening socket that the parent of this process passed on."""

    number: int


def listen_address(text: str) -> tuple[str, int] | Descriptor:
    """`HOST:PORT`, `[IPV6]:PORT`, `:PORT` for all addresses of the machine, `PORT` for loopback only, or `fd:NUMBER`."""
    name, colon, port = text.rpartition(":")
    if name == "fd":
        return Descriptor(*descriptors(port, most=1))
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    elif ":" in name:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: an IPv6 address stands in brackets, [::1]:8000")
    return (name and host(name)) if colon else "127.0.0.1", _port(port, least=0)


def page_address(text: str) -> tuple[str, int]:
    """The same without a descriptor."""
    where = listen_address(text)
    if isinstance(where, Descriptor):
        raise argparse.ArgumentTypeError(f"{text!r} is no address")
    return where


def descriptors(text: str, most: int = 1024) -> list[int]:
    """Numbers of descriptors."""
    numbers = text.split(",")
    if not all(number.isascii() and number.isdecimal() and len(number) < 10 for number in numbers) or len(numbers) > most:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a descriptor")
    return [int(number) for number in numbers]


def target(text: str) -> tuple[str, str | int]:
    """`HOST:PORT` or `[IPV6]:PORT` to connect to; the port may be the name of a service."""
    name, _, port = text.rpartition(":")
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    if not bare or not port or (":" in bare and bare == name):
        raise argparse.ArgumentTypeError(f"{text!r} is neither HOST:PORT nor [IPV6]:PORT")
    return host(bare), _known(service(port))


def _known(asked: str | int) -> str | int:
    """A service that will be connected to again and again: its name is in the system's list."""
    if isinstance(asked, str):
        try:
            socket.getservbyname(asked, "tcp")
        except (OSError, ValueError, UnicodeError):
            raise argparse.ArgumentTypeError(f"{asked!r} is neither a port nor the name of a service") from None
    return asked


def readable_file(text: str) -> str:
    """The path of a file that is there and may be read; it is not opened, since that can wait."""
    return _readable(text, check_no_directory)


def regular_file(text: str) -> str:
    """The same of a file whose reading never waits for anybody: no FIFO, no device, no socket."""
    return _readable(text, check_regular)


def _readable(text: str, check: Callable[[os.stat_result, str], None]) -> str:
    try:
        check(os.stat(text), text)
        if not os.access(text, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"cannot read {text!r}: {getattr(error, 'strerror', None) or error}") from None
    return text


def check_no_directory(facts: os.stat_result, path: str) -> None:
    """Raise IsADirectoryError for a directory."""
    if stat.S_ISDIR(facts.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)


def check_regular(facts: os.stat_result, path: str) -> None:
    """Raise OSError for anything but a regular file."""
    check_no_directory(facts, path)
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
