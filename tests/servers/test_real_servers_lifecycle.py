"""The real servers that tests start: they can be held, killed and stopped, leave nothing behind, and fail clearly."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pg8000.dbapi
import pytest

from servers import (
    Certificate,
    Certificates,
    Dovecot,
    Exim,
    MariaDB,
    Nginx,
    PostgreSQL,
    ProFTPD,
    ProgramMissing,
    Redis,
    Server,
    ServerError,
    find_program,
    require,
)
from servers.base import HOST, exchange, listens
from servers.fixtures import REQUIRED
from servers.processes import is_running, signal_all, wait_until, wait_until_ended
from servers.programs import MODULES, PACKAGES

KINDS: dict[str, Callable[[Certificate], Server]] = {
    "nginx": Nginx,
    "redis_server": Redis,
    "mariadb": MariaDB,
    "postgres": PostgreSQL,
    "smtp_server": Exim,
    "mail_server": Dovecot,
    "ftp_server": ProFTPD,
}
HTTP_REQUEST = b"GET /nothing-here HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: What a client says first on which port, and how the answer begins.
FIRST_WORDS: dict[type[Server], tuple[str, bytes, bytes]] = {
    Nginx: ("http", HTTP_REQUEST, b"HTTP/1.1 404 "),
    Redis: ("redis", b"PING\r\n", b"+PONG\r\n"),
    MariaDB: ("mysql", b"", b""),
    PostgreSQL: ("postgresql", b"\0\0\0\x08\x04\xd2\x16\x2f", b"S"),  # "may I speak TLS?" "certainly"
    Exim: ("smtp", b"", b"220 "),
    Dovecot: ("imap", b"", b"* OK "),
    ProFTPD: ("ftp", b"", b"220 "),
}


def expect_answer(connection: socket.socket, beginning: bytes) -> None:
    """The next bytes from the connection, compared."""
    connection.settimeout(20)
    answer = connection.recv(100)
    assert answer
    assert answer.startswith(beginning)


def receive_to_end(connection: socket.socket) -> int:
    """Return how many bytes still come before the connection ends or is reset; an error when it does neither."""
    connection.settimeout(20)
    count = 0
    with suppress(ConnectionResetError):
        while data := connection.recv(100_000):
            count += len(data)
    return count


def shared_memory_creators() -> set[int]:
    """The ids of the processes that made the System V shared memory there is."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()
    column = lines[0].split().index("cpid")
    return {int(line.split()[column]) for line in lines[1:]}


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the servers that the whole run shares."""
    shared: Server = request.getfixturevalue(request.param)
    return shared


@pytest.mark.slow
def test_paused_server_answers_later(server: Server) -> None:
    """A server that is held says nothing, not even a greeting, and says everything when it is let go on."""
    name, question, beginning = FIRST_WORDS[type(server)]
    with server.paused(), socket.create_connection((HOST, server.ports[name]), timeout=20) as connection:
        connection.sendall(question)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        server.resume()
        expect_answer(connection, beginning)


def test_paused_server_holds_open_sessions(postgres: PostgreSQL) -> None:
    """Holding PostgreSQL holds also the process that serves an open connection, which left its process group."""
    connection = pg8000.dbapi.connect(**postgres.connection)
    cursor = connection.cursor()
    cursor.execute("SELECT pg_backend_pid()")
    (backend,) = cursor.fetchone()
    assert backend in postgres.processes()
    assert os.getpgid(backend) != os.getpgid(postgres.pid)
    with postgres.paused():
        assert wait_until(lambda: "State:\tT" in Path(f"/proc/{backend}/status").read_text(), limit=20)
    cursor.execute("SELECT 1")
    assert cursor.fetchone()[0] == 1
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS.values())
@pytest.mark.parametrize("how", ["stop", "stop paused", "kill"])
def test_nothing_is_left(kind: Callable[[Certificate], Server], certificates: Certificates, how: str) -> None:
    """Stopped, stopped while held, or killed, with a client: no process, directory, listener or shared memory stays."""
    server = kind(certificates.server)
    with server:
        directory, pids = server.directory, server.processes()
        name, question, _ = FIRST_WORDS[type(server)]
        with socket.create_connection((HOST, server.ports[name]), timeout=20) as connection:
            connection.sendall(question)
            expect_answer(connection, b"")
            pids |= server.processes()
            assert server.pid in pids
            assert directory.is_dir()
            if how == "stop paused":
                server.pause()
            if how == "kill":
                server.kill()
                assert not server.running
                receive_to_end(connection)
            server.stop()
    assert not [pid for pid in pids if is_running(pid)]
    assert not directory.exists()
    assert not any(listens(port) for port in server.ports.values())
    assert not pids & shared_memory_creators()


def test_killed_in_mid_answer() -> None:
    """A server that is killed while it sends a file leaves the client with a part of it."""
    with Nginx() as server:
        server.add_file("large", 50_000_000)
        with socket.create_connection((HOST, server.ports["http"]), timeout=20) as connection:
            connection.sendall(b"GET /large HTTP/1.0\r\n\r\n")
            received = len(connection.recv(1000))
            server.kill()
            received += receive_to_end(connection)
        assert 0 < received < 50_000_000


def test_server_starts_again() -> None:
    """A server that was killed comes up again on the same port, in a new directory."""
    server = Redis()
    with server:
        first = server.directory
        server.kill()
        server.start()
        assert server.directory != first
        assert not first.exists()
        assert exchange(server.ports["redis"], b"PING\r\n") == b"+PONG\r\n"


def test_orphans_of_a_server_that_ended_are_found() -> None:
    """When the first process of a server has died by itself, stopping the server still ends the others."""
    with Nginx() as server:
        assert wait_until(lambda: len(server.processes()) > 1, limit=20)  # it serves before its workers are all there
        os.kill(server.pid, signal.SIGKILL)
        assert wait_until(lambda: not server.running, limit=20)
        orphans = server.processes()
        assert orphans
    assert not [pid for pid in orphans if is_running(pid)]


@pytest.mark.slow
def test_mariadb_leaves_the_temporary_files_of_others() -> None:
    """MariaDB takes temporary tables that it finds when it starts for leftovers: each has a directory of its own for them."""
    server = MariaDB()
    descriptor, table = tempfile.mkstemp(prefix="#sql-temptable-")
    try:
        if os.geteuid() == 0:
            os.chown(table, pwd.getpwnam(server.user).pw_uid, -1)
        with server:
            assert Path(table).exists()
    finally:
        os.close(descriptor)
        Path(table).unlink(missing_ok=True)


def test_started_twice_is_refused(redis_server: Redis) -> None:
    """Starting what runs already is an error and disturbs nothing."""
    with pytest.raises(ServerError, match=f"Redis runs already, as process {redis_server.pid}"):
        redis_server.start()
    assert exchange(redis_server.ports["redis"], b"PING\r\n") == b"+PONG\r\n"


def test_missing_program_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not installed is an error that names the package, and nothing is left of the attempt."""
    monkeypatch.setitem(PACKAGES, "no-redis-here", "redis-server")
    monkeypatch.setitem(MODULES, "no.module", "nothing")
    monkeypatch.setattr(Redis, "program", "no-redis-here")
    server = Redis()
    with pytest.raises(ProgramMissing, match="no-redis-here is not installed: apt-get install redis-server") as raised:
        server.start()
    assert raised.value.packages == ["redis-server"]
    assert server.directory == Path()
    with pytest.raises(ProgramMissing, match=r"the module no\.module is not installed: apt-get install nothing"):
        require("no.module")
    with pytest.raises(KeyError):
        find_program("a program of which no package is known")


def test_server_that_ends_at_once_shows_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server that refuses its configuration is an error that holds the server's own words; its directory is gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    message = r'nginx [\d.]+ ended with status 1(.|\n)*unknown directive "no_such_directive"'
    with pytest.raises(ServerError, match=message):
        Nginx(server_config="no_such_directive;").start()
    assert not list(tmp_path.iterdir())


def test_server_that_never_answers_shows_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that runs but does not answer is an error with its log after the limit; nothing of it is left."""
    monkeypatch.setattr(Redis, "start_limit", 0.5)
    started: list[tuple[Path, int]] = []

    def never(server: Redis) -> bool:
        started.append((server.directory, server.pid))
        assert wait_until(lambda: "Ready to accept connections" in server.log(), limit=20)
        return False

    monkeypatch.setattr(Redis, "answers", never)
    with pytest.raises(ServerError, match=r"Redis [\d.]+ is not ready on (.|\n)*Ready to accept connections"):
        Redis().start()
    directory, pid = started[0]
    assert not directory.exists()
    assert not is_running(pid)


PATCHED = """
from gevent import monkey
monkey.patch_all()
import gevent, socket
from servers import PostgreSQL, Redis, SServer
from servers.base import exchange, HOST
with Redis() as redis, PostgreSQL() as postgres:
    pids = redis.processes() | postgres.processes()
    with socket.create_connection((HOST, redis.ports["redis"])) as connection:
        redis.pause()
        connection.sendall(b"PING\\r\\n")
        later = gevent.spawn_later(0.2, redis.resume)
        print(connection.recv(7), later.ready())
    postgres.kill()
print(redis.version, len(pids) > 2, redis.directory, postgres.directory)
"""


def run_python(*arguments: str, cwd: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program that can import what tests share."""
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), **changed}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.slow
def test_works_in_patched_programs(tmp_path: Path) -> None:
    """Servers start, are held, killed and stopped also under gevent's monkey-patching."""
    require("redis-server", "postgres")
    done = run_python("-W", "error", "-c", PATCHED, cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "b'+PONG\\r\\n' True"
    assert done.stdout.splitlines()[1].endswith(" True . .")


CUT_OFF = """
import os
from servers import Exim, Nginx, PostgreSQL, Redis
running = [Exim(), Nginx(), PostgreSQL(), Redis()]
for server in running:
    server.start()
    print(server.directory, *server.processes(), flush=True)
os._exit(3)
"""


@pytest.mark.slow
def test_cut_off_run_takes_its_servers_with_it(tmp_path: Path) -> None:
    """When a test run is cut off without a chance to stop anything, its servers end by themselves."""
    require("exim4", "nginx", "postgres", "redis-server")
    done = run_python("-W", "error", "-c", CUT_OFF, cwd=tmp_path)
    lines = [line.split() for line in done.stdout.splitlines()]
    left = wait_until_ended({int(number) for line in lines for number in line[1:]}, 20)
    signal_all(left, signal.SIGKILL)
    for line in lines:
        shutil.rmtree(line[0])
    assert (done.returncode, done.stderr, len(lines)) == (3, "", 4)
    assert not left


def run_of_one_test(folder: Path, program: str, *options: str, **environment: str) -> tuple[int, str]:
    """The status and the output of a run of pytest with one test, which needs Redis by the name of `program`."""
    (folder / "conftest.py").write_text(
        "from servers.programs import PACKAGES\nfrom servers.redis import Redis\n\n"
        f'PACKAGES["no-redis-here"] = "redis-server"\nRedis.program = "{program}"\npytest_plugins = ["servers.fixtures"]\n'
    )
    (folder / "test_one.py").write_text("def test_one(redis_server):\n    assert redis_server.running\n")
    done = run_python("-m", "pytest", "-p", "no:cacheprovider", *options, str(folder), cwd=folder, **environment)
    return done.returncode, done.stdout


@pytest.mark.parametrize("options", [[], pytest.param(["-n", "1"], marks=pytest.mark.slow)], ids=["one process", "pytest-xdist"])
def test_run_names_its_servers(tmp_path: Path, options: list[str]) -> None:
    """A run of pytest ends with the versions of the servers it started."""
    require("redis-server")
    status, output = run_of_one_test(tmp_path, "redis-server", *options)
    assert (status, "1 passed" in output) == (0, True), output
    assert "real servers: Redis " in output


@pytest.mark.parametrize("options", [[], pytest.param(["-n", "1"], marks=pytest.mark.slow)], ids=["one process", "pytest-xdist"])
def test_a_missing_program_skips_a_test_unless_it_is_required(tmp_path: Path, options: list[str]) -> None:
    """Without the program the test is skipped, and the last lines say what to install; where programs are required, it fails."""
    status, output = run_of_one_test(tmp_path, "no-redis-here", *options, **{REQUIRED: ""})
    assert (status, "1 skipped" in output) == (0, True), output
    assert "1 tests skipped because programs are missing: apt-get install redis-server" in output
    status, output = run_of_one_test(tmp_path, "no-redis-here", *options, **{REQUIRED: "1"})
    assert (status, "1 error" in output, "skipped" in output) == (1, True, False), output
    assert "no-redis-here is not installed: apt-get install redis-server" in output
    assert "real servers" not in output
