"""Where the programs are that tests start: servers and the well-known clients curl, socat, nc and openssl."""

import os
import shutil
from pathlib import Path

_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")


class ServerError(Exception):
    """A server or program that a test needs is missing, does not come up, or does not go away; with its log."""


def find_program(program: str, package: str) -> str:
    """The path of `program`; if it is not there, a `ServerError` that names the Debian package to install."""
    # PostgreSQL keeps a folder for each version, none of them on the path; the newest comes first.
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: -float(folder.parent.name))
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *_SYSTEM_FOLDERS, *map(str, versions)]
    found = shutil.which(program, path=os.pathsep.join(folders))
    if found is None:
        raise ServerError(f"{program} is not installed (looked in {', '.join(folders)}): apt-get install {package}")
    return found


def curl() -> str:
    """The path of curl."""
    return find_program("curl", "curl")


def socat() -> str:
    """The path of socat."""
    return find_program("socat", "socat")


def nc() -> str:
    """The path of OpenBSD's nc; `nc` alone may be another netcat with other options."""
    return find_program("nc.openbsd", "netcat-openbsd")


def openssl() -> str:
    """The path of the openssl command."""
    return find_program("openssl", "openssl")
