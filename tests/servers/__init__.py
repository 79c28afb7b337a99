"""Real servers for tests: each is a context manager that starts a Debian server in a private directory on free ports."""

# Invariants: nothing here imports geventstreams; nothing but fixtures.py knows pytest (a server that is not installed raises
# `ProgramMissing`, one that does not come up `ServerError`); every module works with and without gevent's monkey-patching, so it uses
# `subprocess`, `socket` and `time` plainly. A fixture's server belongs to the whole test run: a test may hold it by `with
# server.paused():`, but one that kills or stops a server starts its own.

from .base import Server, free_port
from .certificates import Certificate, Certificates, make_certificates
from .ftp import ProFTPD
from .haproxy import HAProxy
from .mail import Dovecot
from .mariadb import MariaDB
from .nginx import Nginx
from .openssl import SServer, s_client
from .postgres import PostgreSQL
from .programs import (
    PACKAGES,
    MachineLacks,
    ProgramMissing,
    ServerError,
    c_compiler,
    curl,
    find_program,
    nc,
    openssl,
    require,
    require_address,
    require_name,
    socat,
)
from .redis import Redis
from .smtp import Exim

__all__ = [
    "PACKAGES",
    "Certificate",
    "Certificates",
    "Dovecot",
    "Exim",
    "HAProxy",
    "MachineLacks",
    "MariaDB",
    "Nginx",
    "PostgreSQL",
    "ProFTPD",
    "ProgramMissing",
    "Redis",
    "SServer",
    "Server",
    "ServerError",
    "c_compiler",
    "curl",
    "find_program",
    "free_port",
    "make_certificates",
    "nc",
    "openssl",
    "require",
    "require_address",
    "require_name",
    "s_client",
    "socat",
]
