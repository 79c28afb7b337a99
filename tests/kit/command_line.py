"""Running the command line, and other programs, as processes: with a time limit, and far from the checkout."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from geventstreams.__main__ import main
from geventstreams.cli.statuses import Status

LIMIT = 60.0
GEVENTSTREAMS = [sys.executable, "-m", "geventstreams"]


@dataclass
class Outcome:
    """How a program ended, and what it said."""

    status: int
    output: bytes
    errors: str

    def refused(self, status: int) -> str:
        """The one line on standard error of a command that ended with this status and printed nothing else."""
        lines = self.errors.splitlines()
        assert (self.status, len(lines)) == (status, 1), self
        assert "Traceback" not in self.errors
        assert self.output == b""
        return lines[0]


def run(*words: object, given: bytes = b"", folder: Path | str = "/", **environment: str) -> Outcome:
    """Run a program to its end."""
    done = subprocess.run(
        [str(word) for word in words],
        input=given,
        capture_output=True,
        timeout=LIMIT,
        check=False,
        cwd=folder,
        env=os.environ | environment,
    )
    return Outcome(done.returncode, done.stdout, done.stderr.decode())


def geventstreams(*words: object, given: bytes = b"", folder: Path | str = "/", **environment: str) -> Outcome:
    """Run `python -m geventstreams` to its end."""
    return run(*GEVENTSTREAMS, *words, given=given, folder=folder, **environment)


def refused(*words: object) -> str:
    """The line with which the command line refuses these words, in this process: such a refusal comes before any command begins."""
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()) as errors:
        status = main([str(word) for word in words])
    return Outcome(status, output.getvalue().encode(), errors.getvalue()).refused(Status.USAGE)


@contextmanager
def started(*words: object, folder: Path | str = "/", **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs while the block does; its streams are pipes where the options of Popen do not say otherwise."""
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options
    process = subprocess.Popen([str(word) for word in words], cwd=folder, bufsize=0, **streams)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@dataclass
class Serving:
    """A `geventstreams serve` or `relay` that listens."""

    process: subprocess.Popen[bytes]
    port: int

    def end(self, number: int = signal.SIGTERM) -> Outcome:
        """Send it a signal and wait until it is gone."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> Outcome:
        """Wait until it is gone."""
        output, errors = self.process.communicate(timeout=LIMIT)
        return Outcome(self.process.returncode, output, errors.decode())


@contextmanager
def serving(
    *words: object, listen: str = "127.0.0.1:0", command: str = "serve", says: str = "serving ", **options: object
) -> Iterator[Serving]:
    """`geventstreams serve` with these words, on a free port; `options` are those of Popen."""
    with started(*GEVENTSTREAMS, command, *words, "--listen", listen, **options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline().decode()
        assert line.startswith(says), line or process.stderr.read().decode()
        yield Serving(process, int(line.rpartition(":")[2]))


def relaying(port: int, *words: object, host: str = "127.0.0.1") -> AbstractContextManager[Serving]:
    """`geventstreams relay` to a port with these words, on a free port."""
    return serving("--to", f"{host}:{port}", *words, command="relay", says="relaying ")
