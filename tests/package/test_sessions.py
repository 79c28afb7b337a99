"""Every command line that README.md and docs/ show is run, and prints what the page shows.

A ```console block is a session of a shell: each line that begins with `$ ` is run, with the one behind it where it ends in a
backslash, and the lines below are its output, where `…`
stands for any text, and a line `…` for any lines. Times, sizes, counts above 999 and versions differ from run to run and need no `…`.
A ```sh block has what is not run here; `NOT_RUN` says why.
"""

import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from kit.proxies import proxy
from servers import Certificates, curl, free_port, nc, openssl

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
PAGES = [*(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")), *sorted(DOCS.rglob("*.md"))]

NOT_RUN = {
    "python3 -m venv .venv && .venv/bin/python -m pip install '.[cli]' && (cd .venv && bin/python -m geventstreams demo)":
        "installs from the package index; .ci/bare-machine runs it on a machine that has only Python",
    "python3 -m venv .venv-tests && .venv-tests/bin/python -m pip install '.[test]' && .venv-tests/bin/pytest -n auto":
        "installs from the package index, and runs all tests; .ci/bare-machine runs it",
    "python3 -m venv .venv && .venv/bin/python -m pip install --editable '.[test,bench,lint]'":
        "installs from the package index; .ci/run does so in a clean copy",
    ".venv/bin/python -m pip install --no-deps --editable .": "builds the package; .ci/run does so in a clean copy",
    "PURE_PYTHON=1 .venv/bin/pytest tests/streams/test_buffered.py": "runs tests, as tox and .ci/run do",
    "pip install geventstreams": "installs from the package index; the workflow of a release does so before it uploads",
    "source .venv/share/bash-completion/completions/geventstreams": "tests/cli/test_cli_share.py loads it into bash",
    "man .venv/share/man/man1/geventstreams.1": "opens a pager; tests/cli/test_cli_share.py formats the page",
    "geventstreams bench --quick": "measures for a minute; tests/package/test_benchmarks.py runs a part of it",
    "python -m benchmarks --quick --repeat 15 --json docs/pictures/figures.json && python docs/pictures/draw.py":
        "measures for a minute, and writes into the checkout; tests/package/test_documents.py draws the pictures",
    "python -m benchmarks --quick --repeat 15 --least --json docs/pictures/least.json && python docs/pictures/draw.py":
        "measures for minutes, and writes into the checkout; tests/package/test_least.py runs a part of it",
    "pytest -m 'not soak' --cases compiled-libev.json $(python tests/faults/table.py)": "runs tests for minutes; .ci/run does so",
    "GEVENT_LOOP=libuv-cffi pytest -m 'not soak' --cases compiled-libuv.json $(python tests/faults/table.py)": "the same on libuv",
    "PURE_PYTHON=1 pytest -m 'not soak' --cases plain-libev.json $(python tests/faults/table.py)": "the same in plain Python",
    "PURE_PYTHON=1 GEVENT_LOOP=libuv-cffi pytest -m 'not soak' --cases plain-libuv.json $(python tests/faults/table.py)":
        "the same in plain Python on libuv",
    "python tests/faults/table.py compiled-libev.json compiled-libuv.json plain-libev.json plain-libuv.json > docs/reliability.md":
        "needs the files of those four runs",
}  # fmt: skip
"""The lines of `sh` blocks, and why they are not run here."""

SAME = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)", "DATE"),
    (r"\d{4}-\d\d-\d\d", "DAY"),
    (r"\d\d:\d\d:\d\d\.\d+", "TIME"),
    (r"\b\d+(?:\.\d+)? s\b", "SECONDS"),
    (r"(seconds\"?[=:] ?)[\d.]+", r"\1SECONDS"),
    (r"^(lines a second) .*", r"\1 RATES"),
    (r"\b\d{1,3}(?:,\d{3})+\b", "COUNT"),
    (r"\b\d+(?:\.\d+)? [kMG]B\b", "SIZE"),
    (r"(?<![\d.])\d+\.\d+\.\d+(?!\.?\d)", "VERSION"),
    (r"\s+", " "),
]
"""What differs from run to run, as a pattern, and what takes its place in the page and in the output."""

FREE = re.compile(r"\b(?:7\d\d\d|8\d\d\d|9100)\b")
"""The ports that stand for free ones."""

NOT_SHOWN = re.compile(r"\[\d\]|geventstreams runs as plain Python")
"""How lines begin that no page shows: those of the shell about its jobs, and the one of a build without compiled modules."""


@dataclass
class Session:
    """One ```console block of a page."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(CHECKOUT)}:{self.line}"

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each command with the lines that the page shows below it."""
        for piece in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            command, *shown = re.sub(r" \\\n +", " ", piece).splitlines()
            yield command, shown


def blocks_of(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """Yield the blocks of a page in a language, each with the line that it begins at."""
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(\S*).*\n((?s:.*?))^```$", text, re.MULTILINE):
        if block[1] == language:
            yield text.count("\n", 0, block.start(2)) + 1, block[2]


SESSIONS = [Session(page, line, text) for page in PAGES for line, text in blocks_of(page, "console")]
DONE = "-- done --"
ENOUGH = 60.0
"""Seconds that a command of a session may take."""


class Shell:
    """A shell that gets its commands by a pipe of their own; its jobs end with it."""

    LOOP = "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT; set -m; while IFS= read -r -u {0} it; do eval \"$it\" {0}<&-; echo '{1}'; done"

    def __init__(self, folder: Path, **environment: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        theirs, self._commands = os.pipe()
        self._process = subprocess.Popen(
            ["bash", "-c", self.LOOP.format(theirs, DONE)], cwd=folder, env=inherited | environment, pass_fds=[theirs],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
        )  # fmt: skip
        os.close(theirs)
        self._unread = ""

    def run(self, command: str, lines: int) -> list[str]:
        """Run a command, and return its output when it has ended and so many lines have come, or none come any more."""
        assert self._process.stdout is not None
        os.write(self._commands, f"{command}\n".encode())
        ends_at = time.monotonic() + ENOUGH
        while True:
            output = [line for line in self._unread.replace(f"{DONE}\n", "").splitlines() if not NOT_SHOWN.match(line)]
            if self._unread.endswith("\n") and DONE in self._unread and len(output) >= lines:
                self._unread = ""
                return output
            if not select.select([self._process.stdout], [], [], max(0, ends_at - time.monotonic()))[0]:
                return self._unread.splitlines()
            self._unread += os.read(self._process.stdout.fileno(), 65536).decode()

    def close(self) -> None:
        """End the shell and its jobs."""
        os.close(self._commands)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait(ENOUGH)


def places(text: str, folder: Path, request: pytest.FixtureRequest, stack: ExitStack) -> dict[str, str]:
    """Return what stands on this machine for the servers and ports that a session names; they are started for it."""
    found = {}
    if "www.example.org" in text:
        nginx = request.getfixturevalue("nginx")
        nginx.add_file("file.bin", 100_000)
        (nginx.documents / "hello.txt").write_text("Hello\n")
        found["www.example.org:443"] = f"localhost:{nginx.ports['https']}"
        found["www.example.org:80"] = f"localhost:{nginx.ports['http']}"
        found["http://www.example.org"] = f"http://localhost:{nginx.ports['http']}"
    if "mail.example.org" in text:
        found["mail.example.org:25"] = f"localhost:{request.getfixturevalue('smtp_server').ports['smtp']}"
    if "6379" in text:
        found["6379"] = str(request.getfixturevalue("redis_server").ports["redis"])
    if "http://proxy.internal:3128" in text:
        found["http://proxy.internal:3128"] = stack.enter_context(proxy("http", folder))
    if "socks5://localhost:1080" in text:
        found["socks5://localhost:1080"] = stack.enter_context(proxy("socks5", folder))
    found["@app"] = f"@geventstreams-{os.getpid()}"
    return found | {port: str(free_port()) for port in FREE.findall(text)}


def pattern(shown: list[str]) -> str:
    """Return the pattern of the output that a page shows."""
    return "".join(r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, same(line).split("…"))) + "\n" for line in shown)


def same(line: str) -> str:
    """Return a line without what differs from run to run."""
    for differs, replacement in SAME:
        line = re.sub(differs, replacement, line)
    return line.strip()


@pytest.fixture
def folder(tmp_path: Path, certificates: Certificates) -> Path:
    """The folder of a session: examples, a folder to serve, certificates, and the programs that sessions call by name."""
    (tmp_path / "examples").symlink_to(CHECKOUT / "examples")
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "hello.txt").write_text("Hello\n")
    for name, path in {
        "own-ca.pem": certificates.ca,
        "chain.pem": certificates.server.chain,
        "key.pem": certificates.server.key,
        "client.pem": certificates.client.chain,
        "client.key": certificates.client.key,
        "self-signed.pem": certificates.self_signed.chain,
        "self-signed.key": certificates.self_signed.key,
    }.items():
        shutil.copy(path, tmp_path / name)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python", "pytest", "geventstreams", "gunicorn"):
        words = [sys.executable] if name == "python" else [sys.executable, "-m", name]
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        (programs / name).chmod(0o755)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("session", SESSIONS, ids=str)
def test_session_prints_what_it_shows(session: Session, folder: Path, certificates: Certificates, request: pytest.FixtureRequest) -> None:
    """Each command of a session was run, and its output is as the page shows it."""
    for name, program in {"nc": nc, "curl": curl, "openssl": openssl}.items():
        if f"{name} " in session.text:
            (folder / "bin" / name).symlink_to(program())
    if "gunicorn " in session.text:
        pytest.importorskip("gunicorn")
    environment = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "COLUMNS": "80",
        "HOME": str(folder),
        "SSL_CERT_FILE": str(certificates.ca),
        "SSL_CERT_DIR": "/nowhere",
    }
    with ExitStack() as stack:
        here = places(session.text, folder, request, stack)
        shell = Shell(folder, **environment)
        stack.callback(shell.close)
        for command, shown in session.commands():
            output = "".join(f"{line}\n" for line in shell.run(replaced(command, here), sum(line != "…" for line in shown)))
            for name, place in here.items():
                output = output.replace(place, name).replace(place.rpartition(":")[2], name.rpartition(":")[2])
            lines = "".join(f"{same(line)}\n" for line in output.splitlines())
            assert re.fullmatch(pattern(shown), lines), f"{command}\n{output}instead of\n" + "\n".join(shown)


def replaced(command: str, here: dict[str, str]) -> str:
    """Return a command with the names of this machine's servers and ports."""
    for name, place in here.items():
        command = re.sub(rf"(?<![\w.]){re.escape(name)}\b", place, command)
    return command


def test_each_line_that_is_not_run_has_a_reason() -> None:
    """A line of a `sh` block is in the list of those that are not run, which has no other; a block of text shows no commands."""
    lines = [line for page in PAGES for _, text in blocks_of(page, "sh") for line in text.splitlines()]
    assert sorted(lines) == sorted(NOT_RUN)
    assert all(NOT_RUN.values())
    texts = [text for page in PAGES for language in ("", "text") for _, text in blocks_of(page, language)]
    assert not [text for text in texts if re.search(r"^\s*(\$|python|geventstreams|pip|curl) ", text, re.MULTILINE)]
    assert len(SESSIONS) >= 25


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_are_seen_whole(page: Path) -> None:
    """No command of a session is wider than the site's column, 84 letters."""
    typed = re.compile(r"^(?:\$ | {4}).*")
    assert not [line for _, text in blocks_of(page, "console") for line in text.splitlines() if typed.match(line) and len(line) > 84]
