"""pytest plugin: one of each real server for the whole run, started when first asked for, and what happens where one is missing.

The tests' conftest loads this by `pytest_plugins = ["servers.fixtures"]`. A test that asks for a program that is not installed is
skipped; the run ends with one line that says how many tests were, and which Debian packages bring the programs. With
GEVENTSTREAMS_REQUIRE_PROGRAMS=1 in the environment such a test fails. A server that is there and does not come up is always a failure.
"""

# Invariants: under pytest-xdist the tests run in processes of their own, and the summary is printed in another. Only what is in a
# report or in `workeroutput` gets there.

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from .base import versions_started
from .certificates import Certificates, make_certificates
from .ftp import ProFTPD
from .haproxy import HAProxy
from .mail import Dovecot
from .mariadb import MariaDB
from .nginx import Nginx
from .postgres import PostgreSQL
from .programs import MachineLacks, ProgramMissing
from .redis import Redis
from .smtp import Exim

REQUIRED = "GEVENTSTREAMS_REQUIRE_PROGRAMS"
_MISSING = "missing packages"


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
    """Start HAProxy with the test's configuration, as often as it is called; all are stopped when the test ends."""
    with ExitStack() as running:

        def start(configuration: str, **ports: int) -> HAProxy:
            return running.enter_context(HAProxy(configuration, **ports))

        yield start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Skip a test whose fixtures ask for what this machine has not got."""
    return (yield from _skip_what_cannot_run(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Skip a test that asks for what this machine has not got."""
    return (yield from _skip_what_cannot_run(item))


def _skip_what_cannot_run(item: pytest.Item) -> Generator[None, Any, Any]:
    try:
        return (yield)
    except ProgramMissing as missing:
        if os.environ.get(REQUIRED, "") not in {"", "0"}:
            raise
        item.user_properties.append((_MISSING, missing.packages))
        pytest.skip(str(missing))
    except MachineLacks as lacks:
        pytest.skip(str(lacks))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the versions of the servers to the process that prints the summary."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["versions started"] = dict(versions_started)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the versions of the servers that a process of pytest-xdist started."""
    versions_started.update(getattr(node, "workeroutput", {}).get("versions started", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which servers were started, with their versions, and what was skipped because a program is missing."""
    skipped = [dict(report.user_properties) for report in terminalreporter.getreports("skipped")]
    packages = [properties[_MISSING] for properties in skipped if _MISSING in properties]
    if packages:
        missing = " ".join(sorted({package for names in packages for package in names}))
        terminalreporter.write_line(f"{len(packages)} tests skipped because programs are missing: apt-get install {missing}")
    if versions_started:
        names = ", ".join(f"{name} {version}" for name, version in sorted(versions_started.items()))
        terminalreporter.write_line(f"real servers: {names}")
