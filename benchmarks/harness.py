"""Start servers, loads and operations in processes of their own, each pinned to a core, and talk to them over pipes."""

# Invariants:
# * Servers run on the first core, loads on the second. With one core nothing is pinned; the report says so.
# * A child ends when its input does: nothing is left behind when the bench is killed. A server hears and says nothing during a measurement.
# * A child that dies or does not answer fails its contender in this row only (`ChildFailed`).

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import model
from benchmarks.contenders import PEERS
from benchmarks.model import ChildFailed, Entry

HERE = Path(__file__).parent
ELSEWHERE = os.sep
"""The working directory of Python processes: in a checkout they would import the package that is not compiled."""

ANSWER_LIMIT = 60.0
END_LIMIT = 5.0
_WHOLE_PROCESS = 2
"""Linux makes the number of a process's clock of this and of the process's own number."""


def surroundings() -> dict[str, str]:
    """Return the environment of the processes, in which they find the bench and the same packages."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*(os.path.abspath(place) for place in sys.path if place), str(HERE.parent)])}


class Child:
    """A process that says something when it is ready, and ends with its input."""

    def __init__(self, command: Sequence[str], what: str) -> None:
        self.what = what
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints, env=surroundings(), cwd=ELSEWHERE
        )
        self._pending = b""

    def hear(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + ANSWER_LIMIT
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(deadline - time.monotonic()):
                    raise ChildFailed(f"{self.what}: no answer in {ANSWER_LIMIT:.0f} s{self._last_complaint()}")
                chunk = os.read(self.process.stdout.fileno(), 65536)
                if not chunk:
                    raise ChildFailed(f"{self.what}: ended{self._last_complaint()}")
                self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def ask(self, line: str) -> str:
        """Send a line and return the answer."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ChildFailed(f"{self.what}: ended{self._last_complaint()}") from None
        return self.hear()

    def close(self) -> None:
        """Close its input, and kill it if that does not end it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._complaints.close()

    def _last_complaint(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f" ({last})" if last else ""


class Server(Child):
    """A server that is measured."""

    def __init__(self, command: Sequence[str], what: str) -> None:
        super().__init__(command, what)
        self.port = 0

    def await_ready(self) -> None:
        """Return when it listens."""
        self.port = json.loads(self.hear())["ready"]

    def cpu(self) -> float:
        """Return the seconds of CPU time that it has used so far."""
        return time.clock_gettime(~self.process.pid << 3 | _WHOLE_PROCESS)

    def settle(self) -> None:
        """Return when it is idle."""
        deadline = time.monotonic() + ANSWER_LIMIT
        before = self.cpu()
        while time.monotonic() < deadline:
            time.sleep(0.05)
            used = self.cpu()
            if used - before < 0.001:
                return
            before = used

    def private_memory(self) -> int:
        """Return how many bytes of memory belong to this process alone."""
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        kinds = ("Private_Clean:", "Private_Dirty:", "Swap:")
        return sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith(kinds))


class Load(Child):
    """The C program at the other end of the connections."""

    def do(self, command: str) -> tuple[int, float]:
        """Run a command; return how many operations it did, and in how many seconds."""
        word, *rest = self.ask(command).split(" ", 2)
        if word != "ok":
            raise ChildFailed(f"load: {' '.join(rest)}")
        return int(rest[0]), float(rest[1])


class Operations(Child):
    """A process that times operations within itself."""

    def rounds(self, size: int, count: int) -> dict[str, list[float]]:
        """Return nanoseconds of CPU time per operation, for each contender in the process."""
        answer: dict[str, list[float]] = json.loads(self.ask(json.dumps({"size": size, "rounds": count})))
        return answer


class LocalBench:
    """Starts processes on this machine; holds the folder of compiled programs and certificates, and the cores in use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._built: dict[str, str] = {}
        self._certificate = ""
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self.pinned = len(cores) > 1
        self.server_core, self.load_core = (cores[0], cores[1]) if self.pinned else (-1, -1)

    def program(self, name: str, *flags: str) -> str:
        """Return the path of a C program of `native/`, compiled on first use with these flags of the compiler."""
        if name not in self._built:
            compiler = shlex.split(os.environ.get("CC") or "cc")
            if shutil.which(compiler[0]) is None:
                raise ChildFailed(f"{name}.c: no C compiler ({compiler[0]}) here")
            target = str(self._folder / name)
            command = [*compiler, "-O2", *flags, "-o", target, str(HERE / "native" / f"{name}.c"), "-ldl"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ChildFailed(f"{name}.c: {done.stderr.strip().splitlines()[-1]}")
            self._built[name] = target
        return self._built[name]

    def extension(self, name: str) -> str:
        """Return the path of a module of Python in C of `native/`, compiled on first use. It may use greenlet's C API."""
        greenlet = importlib.util.find_spec("greenlet")
        if greenlet is None or greenlet.origin is None:
            raise ChildFailed(f"{name}.c: no greenlet here")
        places = (sysconfig.get_path("include"), os.path.dirname(greenlet.origin))
        return self.program(name, "-shared", "-fPIC", *(f"-I{place}" for place in places))

    def certificate(self) -> str:
        """Return the path of a file with a fresh key and certificate for a server on this machine."""
        if not self._certificate:
            target = str(self._folder / "server.pem")
            command = [sys.executable, "-m", "benchmarks.certificates", target]
            done = subprocess.run(command, env=surroundings(), cwd=ELSEWHERE, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ChildFailed(f"certificates.py: {done.stderr.strip().splitlines()[-1]}")
            self._certificate = target
        return self._certificate

    def import_once(self, modules: str) -> float:
        """Return the milliseconds of CPU time in which a fresh interpreter imports these modules; bytecode is cached by the first call."""
        program = f"import time; t = time.process_time(); import {modules}; print((time.process_time() - t) * 1000)"
        kept = {**surroundings(), "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(self._folder / "bytecode")}
        done = subprocess.run([sys.executable, "-c", program], env=kept, cwd=ELSEWHERE, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ChildFailed(done.stderr.strip().splitlines()[-1])
        return float(done.stdout)

    def server(self, entry: Entry) -> Server:
        """Start a server; it is ready after `await_ready`, so that several can start at the same time."""
        if not PEERS[entry.peer].module:
            return Server([self.program(entry.peer), str(self.server_core)], entry.label)
        return Server(self._python("worker", {"server": self.job(entry), "core": self.server_core}), entry.label)

    def load(self, server: model.Server, tls: bool = False) -> Load:
        """Start a load for this server, without connections yet."""
        kind = "tls" if tls else "plain"
        load = Load([self.program("load"), str(self.load_core), str(server.port), kind], "load")
        answer = load.hear()
        if not answer.startswith("ok"):
            load.close()
            raise ChildFailed(answer)
        return load

    def operations(self, entries: Sequence[Entry]) -> Operations:
        """Start a process that runs these contenders' operations in turn."""
        jobs = {entry.label: self.job(entry) for entry in entries}
        return Operations(self._python("worker", {"operations": jobs, "core": self.server_core}), ", ".join(jobs))

    def job(self, entry: Entry) -> dict[str, Any]:
        """Return the function that a measured process runs for a contender, and its options."""
        peer = PEERS[entry.peer]
        options: dict[str, Any] = {**peer.options, **entry.options}
        if options.get("tls"):
            options["certificate"] = self.certificate()
        if entry.native:
            options["library"] = self.extension(entry.native)
        return {"module": entry.module or peer.module, "function": entry.role, "options": options}

    @staticmethod
    def _python(module: str, job: Mapping[str, Any]) -> list[str]:
        return [sys.executable, "-m", f"benchmarks.{module}", json.dumps(job)]
