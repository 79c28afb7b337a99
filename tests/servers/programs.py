"""Where the programs are that tests start, and which Debian packages have them: servers, clients, a C compiler."""

# Invariants: PACKAGES is the one place that knows packages. A test asks for a program that it does not start itself by `require`;
# servers/fixtures.py makes a skip of `MachineLacks`, or a failure of a program that is missing where GEVENTSTREAMS_REQUIRE_PROGRAMS is
# set.

import importlib.util
import os
import shlex
import shutil
import socket
import sys
from pathlib import Path

PACKAGES = {
    "bash": "bash",
    "cc": "gcc libc6-dev",
    "curl": "curl",
    "dovecot": "dovecot-imapd dovecot-pop3d",
    "exim4": "exim4-daemon-light",
    "fish": "fish",
    "groff": "groff-base",
    "haproxy": "haproxy",
    "initdb": "postgresql",
    "ipcrm": "util-linux",
    "mariadb-install-db": "mariadb-server",
    "mariadbd": "mariadb-server",
    "microsocks": "microsocks",
    "nc.openbsd": "netcat-openbsd",
    "nginx": "nginx",
    "openssl": "openssl",
    "postgres": "postgresql",
    "proftpd": "proftpd-core proftpd-mod-crypto",
    "redis-server": "redis-server",
    "setpriv": "util-linux",
    "socat": "socat",
    "systemd-analyze": "systemd",
    "systemd-socket-activate": "systemd",
    "tinyproxy": "tinyproxy-bin",
    "tmux": "tmux",
    "unshare": "util-linux",
    "valgrind": "valgrind",
    "zsh": "zsh",
}
"""Debian packages to install for each program."""

MODULES = {"test.test_socket": f"libpython{sys.version_info[0]}.{sys.version_info[1]}-testsuite"}
"""Debian packages to install for each module of Python."""

_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")


class ServerError(Exception):
    """A server that a test needs does not come up, or does not go away; with its log."""


class MachineLacks(Exception):
    """This machine has not got what a test needs."""


class ProgramMissing(MachineLacks):
    """A program that a test needs is not installed; `packages` has the names of the Debian packages."""

    def __init__(self, program: str, packages: str) -> None:
        super().__init__(f"{program} is not installed: apt-get install {packages}")
        self.packages = packages.split()


def find_program(program: str) -> str:
    """Return the path of `program`, a key of `PACKAGES` or a path; raise `ProgramMissing` if it is not there."""
    if os.path.isabs(program):  # this very Python, for the servers that are written in it
        return program
    packages = PACKAGES[program]
    # PostgreSQL keeps a folder for each version, none of them on the path; the newest comes first.
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: -float(folder.parent.name))
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *_SYSTEM_FOLDERS, *map(str, versions)]
    found = shutil.which(program, path=os.pathsep.join(folders))
    if found is None:
        raise ProgramMissing(program, packages)
    return found


def require(*needed: str) -> None:
    """Raise `ProgramMissing` unless all programs, or modules in `MODULES`, are installed."""
    for name in needed:
        if name not in MODULES:
            find_program(name)
        else:
            try:
                found = importlib.util.find_spec(name)
            except ModuleNotFoundError:  # a package around it
                found = None
            if found is None:
                raise ProgramMissing(f"the module {name}", MODULES[name])


def require_name(host: str) -> None:
    """Raise `MachineLacks` if the name cannot be looked up: in a bare container not even `localhost` can."""
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        raise MachineLacks(f"the name {host} cannot be looked up here: {error.strerror}") from None


def require_address(host: str) -> None:
    """Raise `MachineLacks` if this machine has no such address: `::1` where there is no IPv6."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise MachineLacks(f"this machine has no address {host}: {error.strerror}") from None


def c_compiler() -> list[str]:
    """Return the command of the C compiler: that of `CC` if it is set, else `cc`."""
    words = shlex.split(os.environ.get("CC", ""))
    return words if words and shutil.which(words[0]) else [find_program("cc")]


def curl() -> str:
    """Return the path of curl."""
    return find_program("curl")


def socat() -> str:
    """Return the path of socat."""
    return find_program("socat")


def nc() -> str:
    """Return the path of OpenBSD's nc; `nc` alone may be another netcat with other options."""
    return find_program("nc.openbsd")


def openssl() -> str:
    """Return the path of the openssl command."""
    return find_program("openssl")
