"""What all servers for tests have in common: a private directory, free ports, starting, waiting, holding, ending."""

# Invariants: a server's module says what to write (`prepare`), what to start (`command`) and when it is up (`answers`); everything that
# handles processes, users or directories stays here.

import fcntl
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar, TypeVar

from .certificates import Certificate
from .processes import family, freeze, signal_all, wait_until_ended
from .programs import ServerError, find_program

_Self = TypeVar("_Self", bound="Server")

HOST = "127.0.0.1"
#: Below the ports that the system gives to clients: no other test's connection takes one between choice and start.
_PORTS = range(10_000, 32_000)
_chosen_ports: set[int] = set()
#: A port that was chosen is a locked byte of this file until the process that chose it ends. So processes of other test runs, and
#: those that a test starts, do not choose it in the time that its server needs to come up.
_LOCKS = os.open(Path(tempfile.gettempdir()) / f"geventstreams-ports-{os.geteuid()}", os.O_RDWR | os.O_CREAT, 0o600)
#: What was started in this run, by name: the summary at the end of a test run prints it.
versions_started: dict[str, str] = {}


def free_port(host: str = HOST) -> int:
    """Return a port that no socket has on this loopback address, and that no other process of tests has chosen and still holds."""
    # A generator of its own: tests seed the global one.
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if port not in _chosen_ports and _is_free(host, port):
            _chosen_ports.add(port)
            return port
    raise ServerError(f"no free port on {host} in {_PORTS}")


def _is_free(host: str, port: int) -> bool:
    """Return whether it can be bound and no process has locked it; then this one has."""
    try:
        with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
            probe.bind((host, port))
        fcntl.lockf(_LOCKS, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def exchange(port: int, request: bytes = b"", size: int = 64) -> bytes:
    """Connect, send `request`, and return what comes first; `b""` if there is no listener or no answer."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(request)
            return connection.recv(size)
    except OSError:
        return b""


def listens(port: int) -> bool:
    """Return whether connections are accepted on the port."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex((HOST, port)) == 0


class Server:
    """One server program in a private directory: `with Redis() as server: … server.ports["redis"] …`."""

    #: The name in messages and in the summary, the program (a key of `programs.PACKAGES`), the option that prints its version.
    name: ClassVar[str]
    program: ClassVar[str]
    version_option: ClassVar[str] = "--version"
    #: The user it runs as when the tests run as root ("nobody" if that user does not exist); None: as the tests.
    run_as: ClassVar[str | None] = None
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    #: Seconds to come up, and to go away when asked to.
    start_limit: ClassVar[float] = 60.0
    stop_limit: ClassVar[float] = 20.0

    def __init__(self, *port_names: str) -> None:
        self.ports = {name: free_port() for name in port_names}
        self.directory = Path()
        self.version = ""
        self._process: subprocess.Popen[bytes] | None = None

    # What a server's module fills in.

    def prepare(self) -> None:
        """Write the configuration and data into `self.directory`."""

    def command(self) -> list[str]:
        """The arguments after the program's name; it must stay in the foreground and log to standard error."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Return whether it is ready for clients."""
        return all(listens(port) for port in self.ports.values())

    # What tests use.

    @property
    def pid(self) -> int:
        """The process that was started; `ServerError` when none was."""
        return self._started().pid

    @property
    def running(self) -> bool:
        """Return whether the process that was started still runs."""
        return self._process is not None and self._process.poll() is None

    def processes(self) -> set[int]:
        """The ids of all its running processes."""
        if self._process is None:
            return set()
        pid = self._process.pid
        # Once it has ended and was waited for, its number may be a stranger's. As long as the session it began has
        # members, the system does not reuse the number.
        if self._process.poll() is not None and Path(f"/proc/{pid}").exists():
            return set()
        return family(pid)

    def start(self) -> None:
        """Start it and return when it answers; if it does not, `ServerError` with its log, and nothing is left.

        The thread that calls this has to live as long as the server: when it ends, the system ends the server.
        """
        if self._process is not None:
            raise ServerError(f"{self.name} runs already, as process {self.pid}")
        self.stop()
        path = find_program(self.program)
        self.version = self._ask_version(path)
        self.directory = Path(tempfile.mkdtemp(prefix=f"geventstreams-{self.name.lower()}-"))
        try:
            self.prepare()
            self._process = self._spawn([path, *self.command()])
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        versions_started[self.name] = self.version

    def pause(self) -> None:
        """Hold all its processes: connections stay open, new ones queue up, and only what is on its way still comes."""
        self._started()
        freeze(self.processes)

    def resume(self) -> None:
        """Let all its processes go on."""
        self._started()
        signal_all(self.processes(), signal.SIGCONT)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """`with server.paused():` holds it for the body and always lets it go on afterwards."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def kill(self) -> None:
        """Kill all its processes at once; the directory stays until `stop`."""
        process = self._started()
        pids = freeze(self.processes)
        signal_all(pids, signal.SIGKILL)
        process.wait()
        self._expect_ended(pids)
        self._process = None

    def stop(self) -> None:
        """End it politely, then by force, and remove its directory; harmless when it was stopped before."""
        if self._process is not None:
            pids = self.processes()
            self._end_politely(self._process)
            # Children that did not go with it, and orphans in its session that were not there a moment ago.
            pids |= self.processes()
            signal_all(wait_until_ended(pids, 1.0), signal.SIGKILL)
            self._expect_ended(pids)
            self._process = None
        self.clean_up()
        if self.directory != Path():
            shutil.rmtree(self.directory)
            self.directory = Path()

    def clean_up(self) -> None:
        """Remove what a killed server leaves outside its directory; called when all its processes have ended."""

    def log(self) -> str:
        """What it has printed and logged so far."""
        if self.directory == Path():
            return ""
        files = sorted(self.directory.glob("*.log"))
        return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)

    def __enter__(self: _Self) -> _Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What a server's module uses.

    def write(self, name: str, text: str) -> Path:
        """Write a file of its own into the private directory."""
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return path

    def install(self, certificate: Certificate) -> tuple[Path, Path]:
        """Copy a certificate and its key to where the server's user may read them."""
        chain, key = self.directory / "certificate.pem", self.directory / "key.pem"
        shutil.copyfile(certificate.chain, chain)
        key.touch(mode=0o600)
        shutil.copyfile(certificate.key, key)
        return chain, key

    def run(self, program: str, *arguments: str) -> None:
        """Run another program to its end as the server's user; `ServerError` if it fails."""
        process = self._spawn([find_program(program), *arguments])
        try:
            status = process.wait(self.start_limit)
        except subprocess.TimeoutExpired:
            signal_all(freeze(lambda: family(process.pid)), signal.SIGKILL)
            status = process.wait()
        if status != 0:
            raise self._failure(f"cannot be prepared, {program} ended with status {status}")

    @property
    def user(self) -> str:
        """The name of the user it runs as."""
        if self.run_as is None or os.geteuid() != 0:
            return pwd.getpwuid(os.geteuid()).pw_name
        known = {entry.pw_name for entry in pwd.getpwall()}
        return self.run_as if self.run_as in known else "nobody"

    # The machinery.

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError(f"{self.name} is not started")
        return self._process

    def _ask_version(self, path: str) -> str:
        command = [path, self.version_option]
        done = subprocess.run(command, capture_output=True, text=True, timeout=self.start_limit, check=False)
        number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        if number is None:
            raise ServerError(f"{' '.join(command)} told no version: {done.stdout}{done.stderr}")
        return number.group()

    def _spawn(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        entry = pwd.getpwnam(self.user)
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": str(self.directory)}
        # In a shared one a MariaDB that starts removes what others of its kind have there: it takes it for leftovers.
        environment["TMPDIR"] = str(self.directory)
        # A test run that is cut off (pytest-timeout ends the whole process) takes its servers with it: the system sends
        # them the signal when the thread that started them is gone. Without the second option a program that takes
        # another user's rights when it starts, as Exim does, would slip off.
        leash = [find_program("setpriv"), f"--pdeathsig={self.stop_signal.name[3:]}", "--no-new-privs"]
        with open(self.directory / "output.log", "ab") as output:
            if os.geteuid() != entry.pw_uid:
                for path in [self.directory, *self.directory.rglob("*")]:
                    os.chown(path, entry.pw_uid, entry.pw_gid)
                leash += [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
            return subprocess.Popen(
                [*leash, "--", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env=environment,
                start_new_session=True,
            )

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + self.start_limit
        while True:
            # Asked first: an answer means nothing if our server has ended because the port is in use.
            status = self._started().poll()
            if status is not None:
                raise self._failure(f"ended with status {status} at once")
            if self.answers():
                return
            if time.monotonic() > deadline:
                raise self._failure(f"is not ready on {self.ports} after {self.start_limit} s")
            time.sleep(0.02)

    def _end_politely(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(self.stop_signal)
        signal_all(self.processes(), signal.SIGCONT)
        try:
            process.wait(self.stop_limit)
        except subprocess.TimeoutExpired:
            signal_all(freeze(self.processes), signal.SIGKILL)
            process.wait()

    def _expect_ended(self, pids: set[int]) -> None:
        left = wait_until_ended(pids, self.stop_limit)
        if left:
            raise self._failure(f"leaves processes {sorted(left)} that do not end")

    def _failure(self, what: str) -> ServerError:
        return ServerError(f"{self.name} {self.version} {what}; its log:\n{self.log()}")
