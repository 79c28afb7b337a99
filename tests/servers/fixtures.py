"""pytest fixtures: one of each real server for the whole run, started when first asked for, named at the run's end.

The tests' conftest loads this by `pytest_plugins = ["servers.fixtures"]`. Where a server is missing or does not come
up, every test that asks for it fails.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from .base import versions_started
from .certificates import Certificates, make_certificates
from .ftp import ProFTPD
from .haproxy import HAProxy
from .mail import Dovecot
from .mariadb import MariaDB
from .nginx import Nginx
from .postgres import PostgreSQL
from .redis import Redis
from .smtp import Exim


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority and its certificates, good ones and bad ones; all servers below use its `server`."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def nginx(certificates: Certificates) -> Iterator[Nginx]:
    """nginx with an empty directory to put files into (`add_file`), plain and TLS."""
    with Nginx(certificates.server) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(certificates: Certificates) -> Iterator[Redis]:
    """Redis, plain and TLS."""
    with Redis(certificates.server) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb(certificates: Certificates) -> Iterator[MariaDB]:
    """MariaDB with an empty database."""
    with MariaDB(certificates.server) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(certificates: Certificates) -> Iterator[PostgreSQL]:
    """PostgreSQL with an empty database."""
    with PostgreSQL(certificates.server) as server:
        yield server


@pytest.fixture(scope="session")
def smtp_server(certificates: Certificates) -> Iterator[Exim]:
    """Exim: SMTP with STARTTLS, and SMTP over TLS."""
    with Exim(certificates.server) as server:
        yield server


@pytest.fixture(scope="session")
def mail_server(certificates: Certificates) -> Iterator[Dovecot]:
    """Dovecot: IMAP and POP3 with STARTTLS, and over TLS."""
    with Dovecot(certificates.server) as server:
        yield server


@pytest.fixture(scope="session")
def ftp_server(certificates: Certificates) -> Iterator[ProFTPD]:
    """ProFTPD: FTP with AUTH TLS."""
    with ProFTPD(certificates.server) as server:
        yield server


@pytest.fixture
def haproxy() -> Iterator[Callable[..., HAProxy]]:
    """Starts HAProxy with the test's configuration, as often as it is called; all are stopped when the test ends."""
    with ExitStack() as running:

        def start(configuration: str, **ports: int) -> HAProxy:
            return running.enter_context(HAProxy(configuration, **ports))

        yield start


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the servers that were started, with their versions."""
    if versions_started:
        names = ", ".join(f"{name} {version}" for name, version in sorted(versions_started.items()))
        terminalreporter.write_line(f"real servers: {names}")
