"""The command line as a whole: what it refuses and how, its help, its exit statuses, `demo` and `bench`."""

import argparse
import contextlib
import os
import re
import shlex
import socket
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key
from kit.command_line import GEVENTSTREAMS, LIMIT, geventstreams, refused, run, started
from servers import free_port

from geventstreams import __version__, _build
from geventstreams.__main__ import parsed, parser
from geventstreams.cli import bench, notices
from geventstreams.cli.parser import Parser
from geventstreams.cli.statuses import EXPLANATION, Status

CHECKOUT = Path(__file__).resolve().parents[2]

ELSEWHERE = """
import sys
from geventstreams import __main__
sys.path[:] = [path for path in sys.path if path not in ('', {checkout!r})]
sys.exit(__main__.main(["bench"]))
"""
"""Runs `bench` where the suite cannot be imported."""

INTERRUPTED_BEFORE = """
import os, runpy, signal, sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

import geventstreams
sys.modules.pop({module!r}, None)
sys.meta_path.insert(0, Interrupting())
{start}
"""
"""Starts the command line, which is interrupted where it imports a module."""


@pytest.mark.parametrize("module", ["argparse", "importlib.metadata", "geventstreams.cli.bench", "geventstreams.cli.parser"])
@pytest.mark.parametrize("start", ["runpy.run_module('geventstreams', run_name='__main__')", "from geventstreams.__main__ import main"])
def test_ctrl_c_while_it_is_loaded_ends_it_without_a_word(module: str, start: str) -> None:
    """SIGINT while the modules of the command line are imported is status 130 and no traceback, by `-m` and by the console script."""
    done = run(sys.executable, "-c", INTERRUPTED_BEFORE.format(module=module, start=start))
    assert (done.status, done.output, done.errors) == (Status.INTERRUPTED, b"", "")


# What it refuses.


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["fetch"], "'fetch'"),
        (["--fast", "demo"], "--fast"),
        (["demo", "--fast"], "--fast"),
        (["demo", "extra"], "extra"),
        (["--timeout", "3", "connect", "127.0.0.1:80"], "--timeout comes after the command: geventstreams connect --timeout"),
        (["connect", "--tsl", "127.0.0.1:80"], "there is no option --tsl; is --tls meant? (see geventstreams connect --help)"),
        (["connect", "127.0.0.1:80", "90"], "is neither a host name nor"),
        (["connect", "127.0.0.1", "80", "90"], "unexpected argument: 90"),
        (["connect", "::1:80"], "in brackets"),
        (["connect", "unix:"], "the path must not be empty"),
        (["connect", "unix:" + "x" * 200], "is too long"),
        (["connect", "unix:/x", "80"], "a Unix socket has no port"),
        (["connect", "unix:/x", "-4"], "a Unix socket has neither"),
        (["connect", "--tls", "unix:/x"], "needs --server-name"),
        (["connect", "localhost:no-such-service"], "'no-such-service' is neither a port nor the name of a service"),
        (["connect", "--proxy", "localhost:1", "x:1"], "is neither http://HOST:PORT nor socks5://HOST:PORT"),
        (["connect", "--proxy", "ftp://localhost:1", "x:1"], "is neither http://HOST:PORT nor socks5://HOST:PORT"),
        (["connect", "--proxy", "http://localhost", "x:1"], "the port is missing"),
        (["connect", "--proxy", "http://[::1", "x:1"], "is not a URL"),
        (["connect", "--line-ending", "cr", "x:1"], "'cr'"),
        (["connect", "--trace-file", "", "x:1"], "cannot write the trace: No such file or directory"),
        (["connect", "--trace-file", "/missing/trace", "x:1"], "cannot write the trace: No such file or directory"),
        (["connect", "127.0.0.1:80", "--show-certs"], "--show-certs needs --tls"),
        (["serve", "http:/missing"], "'/missing': No such file"),
        (["serve", "http:/etc/hostname"], "'/etc/hostname': Not a directory"),
        (["serve", "http:"], "'http:' is not one of"),
        (["serve", "echo", "--log", "xml"], "'xml'"),
        (["serve", "echo", "--idle-timeout", "0"], "'0' is not a positive number"),
        (["serve", "echo", "--drain", "-1"], "'-1' is neither 0 nor a positive number"),
        (["serve", "echo", "--drain", "nan"], "'nan' is neither 0 nor a positive number"),
        (["serve", "echo", "--drain", ""], "'' is neither 0 nor a positive number"),
        (["relay"], "--to"),
        (["doctor", "me"], "me"),
        (["demo", "--connections", "0"], "'0' is not a whole number"),
        (["demo", "--connections", "1.5"], "'1.5' is not a whole number"),
        (["demo", "--seconds", "-1"], "'-1' is not a positive number"),
        (["demo", "--seconds", "nan"], "'nan' is not a positive number"),
        (["demo", "--seconds", "soon"], "'soon' is not a positive number"),
        (["connect"], "ADDRESS"),
        (["connect", "127.0.0.1"], "the port is missing: 127.0.0.1:PORT"),
        (["connect", "two..dots", "80"], "'two..dots' is neither a host name nor"),
        (["connect", "x" * 300, "80"], "is neither a host name nor"),
        (["connect", "http://localhost", "80"], "is neither a host name nor"),
        (["connect", "127.0.0.1", "0"], "'0' is not a port"),
        (["connect", "127.0.0.1", "65536"], "'65536' is not a port"),
        (["connect", "127.0.0.1", ""], "'' is not a port"),
        (["connect", "127.0.0.1", "-5"], "there is no option -5"),
        (["connect", "-5", "127.0.0.1:80"], "there is no option -5"),
        (["connect", "--timeout", "-1", "127.0.0.1:80"], "argument --timeout: '-1' is not a positive number"),
        (["connect", "127.0.0.1:80", "--wait", "-.5"], "argument --wait: '-.5' is not a positive number"),
        (["connect", "127.0.0.1", "9" * 5000], "99' is not a port"),
        (["connect", "", "80"], "'' is neither a host name nor"),
        (["connect", "127.0.0.1", "80", "--timeout", "0"], "'0' is not a positive number"),
        (["connect", "127.0.0.1", "80", "--tls", "--starttls", "smtp"], "not allowed with"),
        (["connect", "127.0.0.1", "80", "--starttls", "gopher"], "'gopher'"),
        (["connect", "127.0.0.1", "80", "-4", "-6"], "not allowed with"),
        (["connect", "--tls", "--server-name", "a..b", "127.0.0.1", "80"], "'a..b' is neither a host name nor"),
        (["connect", "--tls", "--server-name", "", "127.0.0.1", "80"], "--server-name: '' is neither a host name nor"),
        (["connect", "--tls", "--server-name", "x" * 64, "127.0.0.1", "80"], "is neither a host name nor"),
        (["connect", "--tls", "--server-name", ".".join(5 * ["x" * 60]), "127.0.0.1", "80"], "is neither a host name nor"),
        (["connect", "--tls", "--server-name", "[::1]", "127.0.0.1", "80"], "'[::1]' is neither a host name nor"),
        (["connect", "--starttls", "smtp", "--server-name", "a b", "127.0.0.1", "80"], "'a b' is neither a host name nor"),
        (["connect", "--tls", ".".join(5 * ["x" * 60]), "80"], "is neither a host name nor"),
        (["relay", "--to", "127.0.0.1:80", "--tls-out", "--server-name", "a..b"], "'a..b' is neither a host name nor"),
        (["relay", "--to", "a..b:80", "--tls-out"], "'a..b' is neither a host name nor"),
        (["connect", "127.0.0.1", "80", "--insecure"], "--insecure needs --tls"),
        (["connect", "127.0.0.1", "80", "--tls", "--ca", "/missing.pem"], "'/missing.pem': No such file"),
        (["connect", "127.0.0.1", "80", "--tls", "--ca", "/etc/hostname"], "no certificates of authorities in"),
        (["connect", "127.0.0.1", "80", "--tls", "--key", "/etc/hostname"], "--key needs --cert"),
        (["connect", "127.0.0.1", "80", "--tls", "--alpn", ""], "--alpn"),
        (["serve"], "WHAT"),
        (["serve", "cake"], "'cake' is not one of"),
        (["serve", "exec:"], "'exec:' is not one of"),
        (["serve", "file:"], "'file:' is not one of"),
        (["serve", "file:/missing.txt"], "'/missing.txt': No such file"),
        (["serve", "file:/etc"], "'/etc': Is a directory"),
        (["serve", "echo", "--listen", "here"], "'here' is not a port"),
        (["serve", "echo", "--listen", "127.0.0.1:99999"], "'99999' is not a port"),
        (["serve", "echo", "--listen", "::1:80"], "in brackets"),
        (["serve", "echo", "--listen", "a b:80"], "'a b' is neither a host name nor"),
        (["serve", "echo", "--max-connections", "0"], "'0' is not a whole number"),
        (["serve", "echo", "--max-connections", "9" * 5000], "99' is not a whole number"),
        (["serve", "echo", "--listen", "9" * 5000], "99' is not a port"),
        (["serve", "echo", "--tls", "/etc/hostname"], "expected 2 arguments"),
        (["serve", "echo", "--tls", "/missing.pem", "/missing.pem"], "'/missing.pem': No such file"),
        (["serve", "echo", "--tls", "/etc/hostname", "/etc/hostname"], "no certificate with its key in"),
        (["serve", "echo", "--client-ca", "/etc/hostname"], "--client-ca needs --tls"),
    ],
    ids=lambda given: " ".join(given)[:60] if isinstance(given, list) else "",
)
def test_wrong_words_are_refused_in_one_line(words: list[str], text: str) -> None:
    """A wrong command, option, address or file is reported in one line with its value, and ends with status 2."""
    assert text in refused(*words)


def test_a_refused_connection_is_reported_in_one_line() -> None:
    """`connect` to a port without a listener names it and the reason, and ends with status 3."""
    port = free_port()
    line = geventstreams("connect", "127.0.0.1", port).refused(Status.NO_CONNECTION)
    assert f"127.0.0.1:{port}" in line
    assert "refused" in line.lower()


def test_unknown_host_is_told_in_one_line() -> None:
    """`connect` to a name that cannot be looked up ends with status 3 and one line that has the name."""
    refused = geventstreams("connect", "no.such.host.invalid", 80, "--timeout", 5).refused(Status.NO_CONNECTION)
    assert "no.such.host.invalid" in refused


def test_no_command_is_answered_by_the_help() -> None:
    """Without a command the help is printed on standard error, with status 2."""
    done = geventstreams()
    assert (done.status, done.output) == (Status.USAGE, b"")
    assert done.errors == geventstreams("--help").output.decode()


def test_port_in_use_is_told_in_one_line() -> None:
    """`serve` on a port that is in use names it and the reason, and ends with status 4."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        line = geventstreams("serve", "echo", "--listen", where).refused(Status.CANNOT_LISTEN)
    assert where in line
    assert "in use" in line


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_address_of_another_machine_is_told_in_one_line(host: str) -> None:
    """`serve` on an address that is not this machine's, or an unknown name, ends with status 4 and one line."""
    assert host in geventstreams("serve", "echo", "--listen", f"{host}:0").refused(Status.CANNOT_LISTEN)


def test_encrypted_key_asks_no_questions(tmp_path: Path, certificates: object) -> None:
    """`serve --tls` with a key that has a passphrase says so, instead of asking a terminal that may not be there."""
    key, encrypted = certificates.server.key, tmp_path / "encrypted.pem"  # type: ignore[attr-defined]
    loaded = load_pem_private_key(key.read_bytes(), None)
    encrypted.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    line = geventstreams("serve", "echo", "--tls", certificates.server.chain, encrypted).refused(Status.USAGE)  # type: ignore[attr-defined]
    assert "is encrypted" in line


@pytest.mark.parametrize("unbuffered", ["1", ""], ids=["unbuffered", "buffered"])
def test_output_without_a_reader_ends_quietly(unbuffered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose standard output is a closed pipe ends without a word, with status 141, whether Python buffers it or not."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reading, writing = os.pipe()
    os.close(reading)
    with started(*GEVENTSTREAMS, "demo", "--connections", 1, "--seconds", 0.1, "--plain", stdout=writing) as process:
        os.close(writing)
        _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (Status.OUTPUT_CLOSED, b"")


STANDARD_STREAMS = [
    ("1", "closed", ["--version"], Status.OUTPUT_CLOSED, ""),
    ("1", "closed", ["--help"], Status.OUTPUT_CLOSED, ""),
    ("1", "closed", ["serve", "--help"], Status.OUTPUT_CLOSED, ""),
    ("1", "full", ["--version"], Status.FAILED, "geventstreams: No space left on device\n"),
    ("1", "full", ["relay", "--help"], Status.FAILED, "geventstreams: No space left on device\n"),
    ("1", "full", ["demo", "--plain", "--seconds", "0.1", "--connections", "1"], Status.FAILED, "geventstreams: No space left on device\n"),
    ("2", "closed", ["serve", "nothing"], Status.USAGE, ""),
    ("2", "full", ["serve", "nothing"], Status.USAGE, ""),
    ("2", "full", ["connect", "127.0.0.1", "1"], Status.NO_CONNECTION, ""),
]
"""A standard stream, what it is, what is run, and the end: a status and a line on standard error."""


@pytest.mark.parametrize("unbuffered", ["1", ""], ids=["unbuffered", "buffered"])
@pytest.mark.parametrize(("number", "kind", "words", "status", "line"), STANDARD_STREAMS)
def test_what_a_standard_stream_refuses_decides_over_nothing_else(
    number: str, kind: str, words: list[str], status: int, line: str, unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output that cannot be written ends a command with its own status and line, never with Python's 120 and a traceback, and
    an error message that cannot be written changes no status."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    if kind == "full":
        target = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, target = os.pipe()
        os.close(reading)
    with started(*GEVENTSTREAMS, *words, **{"stdout" if number == "1" else "stderr": target}) as process:
        os.close(target)
        output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, output or b"", (errors or b"").decode()) == (status, b"", line)


@pytest.mark.parametrize("words", [["doctor"], ["demo", "--plain"], ["demo", "--help"], ["--version"]], ids=" ".join)
def test_a_report_that_has_nowhere_to_go_is_an_error(words: list[str]) -> None:
    """Where the shell has closed standard output (`>&-`) a report fails in one line, before its work; help goes to standard error."""
    done = run("sh", "-c", shlex.join([*GEVENTSTREAMS, *words]) + " >&-")
    if words[-1] in ("--help", "--version"):
        assert (done.status, done.errors[:5]) in [(Status.DONE, "usage"), (Status.DONE, "geven")]
    else:
        assert done.refused(Status.FAILED) == "geventstreams: standard output: closed (`>/dev/null` discards it)"


# Help.


def commands() -> dict[str, Parser]:
    """Return the parsers of all commands that this package brings, and the one above them."""
    top = parser()
    (found,) = [action.choices for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    return {"": top, **{name: command for name, command in found.items() if name != "bench"}}


def examples_in(text: str) -> list[list[str]]:
    """Return the words of all `geventstreams …` commands among the examples of a help text."""
    found = []
    for line in text.partition("\nexamples:\n")[2].replace("\\\n", " ").splitlines():
        if re.match(r" {4}\S", line):
            words = shlex.split(line)
            words = words[words.index("geventstreams") + 1 :]
            found.append(words[: next((index for index, word in enumerate(words) if word in {"|", ">", "<"} or word[0] in "<>"), None)])
    return found


@pytest.mark.parametrize("name", commands())
@pytest.mark.parametrize("columns", [50, 80, 200])
def test_help_fits_the_terminal_and_its_examples_can_be_parsed(
    name: str, columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each help has examples, which the parser accepts, and fits into the columns of the terminal, 100 at most."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", str(columns))
    for file in ("own-ca.pem", "answer.txt", "chain.pem", "key.pem", "client.pem", "client.key"):
        (tmp_path / file).touch()
    (tmp_path / "public").mkdir()
    text = commands()[name].format_help()
    assert max(map(len, text.splitlines())) <= min(columns, 100)
    examples = examples_in(text)
    assert examples
    for words in examples:
        with contextlib.suppress(SystemExit) if words[-1:] == ["--help"] else contextlib.nullcontext():
            parsed(words)
    assert ("exit status:" if not name else "geventstreams --help" if name != "doctor" else "") in text


def test_every_exit_status_is_explained() -> None:
    """The statuses that the commands give are those that the help texts explain."""
    explained = {int(number) for number in re.findall(r"^ {2}(\d+)", EXPLANATION, re.MULTILINE)}
    assert explained == set(Status)


def test_version_says_what_runs() -> None:
    """`--version` tells the package's version, its build, and gevent's version."""
    told = geventstreams("--version")
    version = re.escape(__version__)
    assert re.fullmatch(rf"geventstreams {version}, (compiled|plain Python \(.*\)), gevent \d.*\n", told.output.decode())


def test_version_says_why_plain_python_runs() -> None:
    """Where plain Python runs because PURE_PYTHON is set or nothing is built, `--version` says so, and how to get the other."""
    told = geventstreams("--version", PURE_PYTHON="1").output.decode()
    if _build.built_modules():
        assert "plain Python (because PURE_PYTHON is set; unset it for the compiled modules)" in told
    else:
        assert re.search(r"plain Python \(because .*; for the compiled modules.*: pip install", told)


def test_a_reason_of_the_build_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What setup.py wrote about a wheel without built modules is said, with the command that replaces a cached wheel."""
    (tmp_path / "_not_compiled.txt").write_text("there was no C compiler (cc) when it was built\n")
    monkeypatch.setattr(_build, "_DIRECTORY", str(tmp_path))
    why = _build.why_plain()
    assert why.startswith("because there was no C compiler (cc) when it was built; ")
    assert "--no-cache-dir" in why


def test_unwanted_plain_python_is_reported_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A notice of one line says that plain Python runs, and why; none with --quiet, in a worker, or if PURE_PYTHON asks for it."""
    monkeypatch.delenv("PURE_PYTHON", raising=False)
    monkeypatch.setattr(notices, "compiled", False)
    notices.tell_build(argparse.Namespace(quiet=False))
    assert re.fullmatch(r"geventstreams runs as plain Python, several times slower, because .*\n", capsys.readouterr().err)
    notices.tell_build(argparse.Namespace(quiet=True))
    notices.tell_build(argparse.Namespace(quiet=False, worker=(3,)))
    monkeypatch.setenv("PURE_PYTHON", "1")
    notices.tell_build(argparse.Namespace(quiet=False, worker=None))
    monkeypatch.delenv("PURE_PYTHON")
    monkeypatch.setattr(notices, "compiled", True)
    notices.tell_build(argparse.Namespace(quiet=False))
    assert capsys.readouterr().err == ""


# The bench.


def test_bench_hands_its_words_to_the_suite_of_a_checkout(tmp_path: Path) -> None:
    """In a folder with the suite, `bench` does what `python -m benchmarks` does, with the same words and status."""
    (tmp_path / "benchmarks").symlink_to(CHECKOUT / "benchmarks")
    listed = geventstreams("bench", "--list", folder=tmp_path, PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    assert (listed.status, listed.errors) == (0, "")
    assert listed.output.startswith(b"rows\n")
    assert geventstreams("bench", "--only", "nonsense", folder=tmp_path).status == 2


def test_bench_without_the_suite_says_where_it_is(tmp_path: Path) -> None:
    """Where no suite is, or another package of that name, `bench` says so in one line, with status 1."""
    alone = run(sys.executable, "-c", ELSEWHERE.format(checkout=str(CHECKOUT)))
    assert "not installed with the package" in alone.refused(Status.FAILED)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    line = geventstreams("bench", folder=tmp_path).refused(Status.FAILED)
    assert "not installed with the package" in line
    assert "pip install --editable" in geventstreams("bench", "--help", folder=tmp_path).refused(Status.FAILED)


def test_bench_is_listed_only_where_it_can_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The help names `bench` where the suite can be imported or lies in the current folder, and nowhere else."""
    monkeypatch.setattr(bench, "_importable", lambda: False)
    monkeypatch.chdir(tmp_path)
    assert not re.search(r"^ +bench ", parser().format_help(), re.MULTILINE)
    (tmp_path / "benchmarks").symlink_to(CHECKOUT / "benchmarks")
    assert re.search(r"^ +bench ", parser().format_help(), re.MULTILINE)
