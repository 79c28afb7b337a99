"""`doctor`: what a maintainer wants to know first: versions, the build, the event loop, limits, the system, extras that are missing."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import re
import resource
import select
import socket
import ssl
import sys
from collections.abc import Iterator
from importlib import metadata

import gevent

from geventstreams._build import __version__, built_modules, why_plain
from geventstreams.cli.notices import compiled
from geventstreams.cli.parser import Commands
from geventstreams.cli.standard import require_output
from geventstreams.cli.statuses import Status

FEATURES = {
    "poll for a peer's end (POLLRDHUP)": hasattr(select, "POLLRDHUP"),
    "several workers on one port (SO_REUSEPORT)": hasattr(socket, "SO_REUSEPORT"),
    "abstract Unix sockets": sys.platform.startswith("linux"),
    "IPv6": socket.has_ipv6,
    "TLS 1.3": ssl.HAS_TLSv1_3,
}

EXTRAS: dict[str, tuple[str, ...]] = {
    "cli": ("rich", "rich_argparse", "trustme"),
    "metrics": ("prometheus_client",),
    "proxy": ("proxyprotocol", "crc32c"),
}
"""The modules that the extras of pyproject.toml bring."""

EXAMPLES = (("copy it into a report", "geventstreams doctor > report.txt"),)

VARIABLES = re.compile("(GEVENT|GEVENTSTREAMS_|PURE_PYTHON|PYTHON(PATH|DEVMODE|UNBUFFERED|IOENCODING)|SSL_CERT_|NO_COLOR|TERM|LANG|LC_)")
"""Variables of the environment that change what runs here."""


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="what runs here, for a bug report",
        usage="%(prog)s",
        description="Print versions, the build, the event loop, limits and what is not installed. Put it into a bug report.",
        examples=EXAMPLES,
    )
    parser.set_defaults(run=run)


def run(_args: argparse.Namespace) -> int:
    """Print the report."""
    require_output()
    for name, value in facts():
        print(f"{name:14}{value}")
    return Status.DONE


def facts() -> Iterator[tuple[str, str]]:
    """Yield names and values."""
    yield "geventstreams", f"{__version__}, in {os.path.dirname(importlib.util.find_spec('geventstreams').origin or '')}"  # type: ignore[union-attr]
    yield "build", f"compiled, {len(built_modules())} modules" if compiled else f"plain Python, {why_plain()}"
    yield "Python", f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    yield "gevent", f"{gevent.__version__}, greenlet {metadata.version('greenlet')}"
    hub = gevent.get_hub()
    yield "event loop", f"{type(hub.loop).__module__}, {hub.loop.backend}, resolver {type(hub.resolver).__module__}"
    yield "OpenSSL", ssl.OPENSSL_VERSION
    yield "system", f"{platform.platform()}, {os.cpu_count()} processors"
    yield "descriptors", "{} (at most {})".format(*map(limit, resource.getrlimit(resource.RLIMIT_NOFILE)))
    for name, is_there in FEATURES.items():
        yield "feature", f"{'yes' if is_there else 'no '} {name}"
    for extra, missing in missing_of_extras().items():
        yield "extra", f"{extra}: {'installed' if not missing else 'missing ' + ', '.join(missing)}"
    for name in sorted(filter(VARIABLES.match, os.environ)):
        yield "environment", f"{name}={os.environ[name]!r}"


def limit(value: int) -> str:
    """Return a limit of the system for people."""
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value:,}"


def missing_of_extras() -> dict[str, list[str]]:
    """Return, for each extra that a user may want, the libraries of it that are not installed."""
    return {extra: [name for name in libraries if importlib.util.find_spec(name) is None] for extra, libraries in EXTRAS.items()}
