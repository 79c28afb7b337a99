"""The command line as a whole: what it refuses and how, its help, its exit statuses, `demo` and `bench`."""

import argparse
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key
from kit.command_line import GEVENTSTREAMS, LIMIT, Outcome, geventstreams, run, started
from servers import free_port, require
from servers.processes import wait_until

from geventstreams import __version__, _build
from geventstreams.__main__ import parser
from geventstreams.cli import bench, notices
from geventstreams.cli.statuses import EXPLANATION, Status

CHECKOUT = Path(__file__).resolve().parents[2]

# Each puts its own stone in the way of the demo, then runs it.
WITH = """
import sys
from geventstreams import __main__
from geventstreams.cli import demo, certificates
{stone}
sys.exit(__main__.main({words}))
"""


def demo_with(stone: str, *words: str) -> tuple[int, str, str]:
    """Runs the demo, briefly, in a process where something is not as it should be: status, output, errors."""
    words = ("demo", "--connections", "3", "--seconds", "0.2", *words)
    done = run(sys.executable, "-c", WITH.format(stone=stone, words=list(words)))
    return done.status, done.output.decode(), done.errors


# What it refuses.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "COMMAND"),
        (["fetch"], "'fetch'"),
        (["--fast", "demo"], "--fast"),
        (["demo", "--fast"], "--fast"),
        (["demo", "extra"], "extra"),
        (["demo", "--connections", "0"], "'0' is no whole number"),
        (["demo", "--connections", "1.5"], "'1.5' is no whole number"),
        (["demo", "--seconds", "-1"], "'-1' is no positive number"),
        (["demo", "--seconds", "nan"], "'nan' is no positive number"),
        (["demo", "--seconds", "soon"], "'soon' is no positive number"),
        (["connect"], "HOST"),
        (["connect", "127.0.0.1"], "PORT"),
        (["connect", "two..dots", "80"], "'two..dots' is neither the name of a host nor"),
        (["connect", "x" * 300, "80"], "is neither the name of a host nor"),
        (["connect", "http://localhost", "80"], "is neither the name of a host nor"),
        (["connect", "127.0.0.1", "0"], "'0' is no port"),
        (["connect", "127.0.0.1", "65536"], "'65536' is no port"),
        (["connect", "127.0.0.1", ""], "'' is no port"),
        (["connect", "127.0.0.1", "-5"], "PORT"),
        (["connect", "", "80"], "'' is neither the name of a host nor"),
        (["connect", "127.0.0.1", "80", "--timeout", "0"], "'0' is no positive number"),
        (["connect", "127.0.0.1", "80", "--tls", "--starttls", "smtp"], "not allowed with"),
        (["connect", "127.0.0.1", "80", "--starttls", "gopher"], "'gopher'"),
        (["connect", "127.0.0.1", "80", "-4", "-6"], "not allowed with"),
        (["connect", "--tls", "--server-name", "a..b", "127.0.0.1", "80"], "'a..b' is neither the name of a host nor"),
        (["connect", "--tls", "--server-name", "", "127.0.0.1", "80"], "--server-name: '' is neither the name of a host nor"),
        (["connect", "--tls", "--server-name", "x" * 64, "127.0.0.1", "80"], "is neither the name of a host nor"),
        (["connect", "--tls", "--server-name", ".".join(5 * ["x" * 60]), "127.0.0.1", "80"], "is neither the name of a host nor"),
        (["connect", "--tls", "--server-name", "[::1]", "127.0.0.1", "80"], "'[::1]' is neither the name of a host nor"),
        (["connect", "--starttls", "smtp", "--server-name", "a b", "127.0.0.1", "80"], "'a b' is neither the name of a host nor"),
        (["connect", "--tls", ".".join(5 * ["x" * 60]), "80"], "is neither the name of a host nor"),
        (["relay", "--to", "127.0.0.1:80", "--tls-out", "--server-name", "a..b"], "'a..b' is neither the name of a host nor"),
        (["relay", "--to", "a..b:80", "--tls-out"], "'a..b' is neither the name of a host nor"),
        (["connect", "127.0.0.1", "80", "--insecure"], "--insecure is of no use without --tls"),
        (["connect", "127.0.0.1", "80", "--tls", "--ca", "/missing.pem"], "'/missing.pem': No such file"),
        (["connect", "127.0.0.1", "80", "--tls", "--ca", "/etc/hostname"], "no certificates of authorities in"),
        (["connect", "127.0.0.1", "80", "--tls", "--key", "/etc/hostname"], "--key is of no use without --cert"),
        (["connect", "127.0.0.1", "80", "--tls", "--alpn", ""], "--alpn"),
        (["serve"], "WHAT"),
        (["serve", "cake"], "'cake' is none of"),
        (["serve", "exec:"], "'exec:' is none of"),
        (["serve", "file:"], "'file:' is none of"),
        (["serve", "file:/missing.txt"], "'/missing.txt': No such file"),
        (["serve", "file:/etc"], "'/etc': Is a directory"),
        (["serve", "echo", "--listen", "here"], "'here' is no port"),
        (["serve", "echo", "--listen", "127.0.0.1:99999"], "'99999' is no port"),
        (["serve", "echo", "--listen", "::1:80"], "in brackets"),
        (["serve", "echo", "--listen", "a b:80"], "'a b' is neither the name of a host nor"),
        (["serve", "echo", "--max-connections", "0"], "'0' is no whole number"),
        (["serve", "echo", "--tls", "/etc/hostname"], "expected 2 arguments"),
        (["serve", "echo", "--tls", "/missing.pem", "/missing.pem"], "'/missing.pem': No such file"),
        (["serve", "echo", "--tls", "/etc/hostname", "/etc/hostname"], "no certificate with its key in"),
        (["serve", "echo", "--client-ca", "/etc/hostname"], "--client-ca is of no use without --tls"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_wrong_words_are_refused_in_one_line(words: list[str], said: str) -> None:
    """A wrong command, option, address or file is told in one line with its value, and ends with status 2."""
    assert said in geventstreams(*words).refused(Status.USAGE)


def test_nobody_listening_is_told_in_one_line() -> None:
    """`connect` to a port where nobody listens names it and the reason, and ends with status 3."""
    port = free_port()
    line = geventstreams("connect", "127.0.0.1", port).refused(Status.NO_CONNECTION)
    assert f"127.0.0.1:{port}" in line
    assert "refused" in line.lower()


def test_unknown_host_is_told_in_one_line() -> None:
    """`connect` to a name that cannot be looked up ends with status 3 and one line that has the name."""
    refused = geventstreams("connect", "no.such.host.invalid", 80, "--timeout", 5).refused(Status.NO_CONNECTION)
    assert "no.such.host.invalid" in refused


def test_unknown_service_is_told_in_one_line() -> None:
    """`connect` with a service name that nobody knows ends with status 3 and one line that has the name."""
    assert "no-such-service" in geventstreams("connect", "127.0.0.1", "no-such-service").refused(Status.NO_CONNECTION)


def test_port_in_use_is_told_in_one_line() -> None:
    """`serve` on a port that somebody listens on names it and the reason, and ends with status 4."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        line = geventstreams("serve", "echo", "--listen", where).refused(Status.CANNOT_LISTEN)
    assert where in line
    assert "in use" in line


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_address_of_another_machine_is_told_in_one_line(host: str) -> None:
    """`serve` on an address that is not this machine's, or a name nobody knows, ends with status 4 and one line."""
    assert host in geventstreams("serve", "echo", "--listen", f"{host}:0").refused(Status.CANNOT_LISTEN)


def test_encrypted_key_asks_nobody(tmp_path: Path, certificates: object) -> None:
    """`serve --tls` with a key that has a passphrase says so, instead of asking a terminal that may not be there."""
    key, encrypted = certificates.server.key, tmp_path / "encrypted.pem"  # type: ignore[attr-defined]
    loaded = load_pem_private_key(key.read_bytes(), None)
    encrypted.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    line = geventstreams("serve", "echo", "--tls", certificates.server.chain, encrypted).refused(Status.USAGE)  # type: ignore[attr-defined]
    assert "is encrypted" in line


@pytest.mark.parametrize("unbuffered", ["1", ""], ids=["unbuffered", "buffered"])
def test_output_that_nobody_reads_ends_quietly(unbuffered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose standard output is a closed pipe ends without a word, with status 141, whether Python buffers it or not."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reading, writing = os.pipe()
    os.close(reading)
    with started(*GEVENTSTREAMS, "demo", "--connections", 1, "--seconds", 0.1, "--plain", stdout=writing) as process:
        os.close(writing)
        _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (Status.NOBODY_READS, b"")


STANDARD_STREAMS = [
    ("1", "closed", ["--version"], Status.NOBODY_READS, ""),
    ("1", "closed", ["--help"], Status.NOBODY_READS, ""),
    ("1", "closed", ["serve", "--help"], Status.NOBODY_READS, ""),
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


# Help.


def examples_in(text: str) -> list[list[str]]:
    """The words of all `geventstreams …` commands in a text."""
    found = []
    for line in text.splitlines():
        command = re.match(r"(?:\$ )?(?:.*\| )?(?:python -m )?geventstreams ((?:(?! {2,}| [|<>&]).)*)", line.strip())
        if command:
            found.append(shlex.split(command[1]))
    return found


@pytest.mark.slow
def test_every_help_text_has_examples_that_can_be_parsed(tmp_path: Path) -> None:
    """All commands have examples in their help, and the parser accepts each; the files they name are there."""
    for name in ("own-ca.pem", "answer.txt", "chain.pem", "key.pem"):
        (tmp_path / name).touch()
    for name in ["", "demo", "connect", "serve"]:
        helped = geventstreams(*filter(None, [name]), "--help")
        assert (helped.status, helped.errors) == (0, "")
        assert EXPLANATION in helped.output.decode()
        examples = examples_in(helped.output.decode().partition("examples:")[2])
        assert len(examples) >= 3
        for words in examples:
            check = f"from geventstreams.__main__ import parsed; parsed({words!r})"
            parsed = run(sys.executable, "-c", check, folder=tmp_path)
            assert (parsed.status, parsed.errors) == (0, ""), words


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


def test_plain_python_that_nobody_asked_for_is_told_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
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


# The demo.


@pytest.mark.parametrize("words", [[], ["--plain"]], ids=["both", "plain"])
def test_demo_loses_nothing_and_says_so(words: list[str]) -> None:
    """The demo ends with status 0 and a table in which every connection got every octet back, plain and over TLS."""
    done = geventstreams("demo", "--connections", 20, "--seconds", 0.5, *words)
    assert (done.status, done.errors) == (0, "")
    rows = {line[:24].strip(): line[24:].split() for line in done.output.decode().splitlines()}
    halves = 1 if words else 2
    assert rows["connections"] == ["20"] * halves
    assert rows["lost octets"] == ["0"] * halves
    for name in ("lines", "octets", "round trips per second"):
        assert all(int(figure.replace(",", "")) >= 20 for figure in rows[name])
    assert done.output.endswith(b"\nlost octets: 0\n")


def test_demo_notices_one_wrong_octet() -> None:
    """A server that changes one octet of one answer makes the demo end with status 1 and `lost octets: 1`."""
    stone = """
changed = []
def answer(stream, address):
    for line in stream:
        if not changed and len(line) > 2:
            changed.append(line)
            line = bytes([line[0] ^ 1]) + line[1:]
        stream.write(line)
demo.answer = answer
"""
    status, output, errors = demo_with(stone, "--plain")
    assert (status, errors) == (Status.FAILED, "")
    assert output.endswith("\nlost octets: 1\n")


def test_demo_notices_one_octet_too_many() -> None:
    """A server that says more than it was asked for makes the demo end with status 1."""
    stone = """
def answer(stream, address):
    for line in stream:
        stream.write(line)
    stream.write(b"!")
demo.answer = answer
"""
    status, output, errors = demo_with(stone, "--plain")
    assert (status, errors) == (Status.FAILED, "")
    assert output.endswith("\nlost octets: 3\n")


def test_demo_counts_what_a_dead_connection_lost() -> None:
    """A server that resets every connection makes the demo end, soon, with status 1 and a count."""
    stone = """
def answer(stream, address):
    stream.readline()
    stream.abort()
demo.answer = answer
"""
    status, output, errors = demo_with(stone, "--plain")
    assert (status, errors) == (Status.FAILED, "")
    assert int(output.rpartition(" ")[2]) > 0


def test_demo_counts_answers_that_never_come() -> None:
    """A server that stays silent makes the demo give up after its patience, with status 1."""
    stone = """
demo.PATIENCE = 0.3
def answer(stream, address):
    stream.read()
demo.answer = answer
"""
    status, output, errors = demo_with(stone, "--plain")
    assert (status, errors) == (Status.FAILED, "")
    assert int(output.rpartition(" ")[2]) > 0


def test_demo_without_enough_descriptors_says_so() -> None:
    """More connections than the system allows end the demo with status 3 and one line, not with a traceback each."""
    command = f"ulimit -n 100; exec {shlex.join(GEVENTSTREAMS)} demo --connections 300"
    assert "Too many open files" in run("sh", "-c", command).refused(Status.NO_CONNECTION)


def test_demo_can_be_interrupted() -> None:
    """SIGINT ends the demo at once, with status 130 and not a word."""
    with started(*GEVENTSTREAMS, "demo", "--seconds", LIMIT) as process:
        assert wait_until(lambda: descriptors(process.pid) > 200, LIMIT)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, output, errors) == (Status.INTERRUPTED, b"", b"")


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.parametrize("without", ["trustme", "openssl"])
def test_demo_makes_its_certificate_either_way(without: str) -> None:
    """The TLS half runs with trustme and without openssl, and the other way round."""
    stones = {
        "trustme": "certificates.importlib.util.find_spec = lambda name: None",
        "openssl": "certificates.shutil.which = lambda name: None",
    }
    if without == "trustme":
        require("openssl")
    status, output, errors = demo_with(stones[without])
    assert (status, errors) == (0, "")
    assert "TLSv1.3" in output


def test_demo_without_any_certificate_says_what_is_missing() -> None:
    """Where neither trustme nor openssl is, the plain half runs, and the missing one is told, with status 5."""
    stone = """
certificates.importlib.util.find_spec = lambda name: None
certificates.shutil.which = lambda name: None
"""
    status, output, errors = demo_with(stone)
    assert status == Status.TLS
    assert output.endswith("\nlost octets: 0\n")
    assert "neither the library trustme nor the program openssl" in errors
    assert len(errors.splitlines()) == 1


def bar_of(*words: object) -> str:
    """What a command shows on a terminal that is its standard error."""
    ours, theirs = pty.openpty()
    with started(*GEVENTSTREAMS, *words, stderr=theirs, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # how a terminal tells that nobody is at its other end
            pass
        os.close(ours)
        assert process.wait(LIMIT) == 0
    return shown.decode()


@pytest.mark.slow
def test_demo_shows_progress_on_a_terminal_only_after_a_second() -> None:
    """The bar is on standard error, if that is a terminal, after more than a second, and without --quiet."""
    words = ["demo", "--plain", "--connections", 5]
    assert re.search(r"plain +\d+% \|.*round trips", bar_of(*words, "--seconds", 1.8))
    assert bar_of(*words, "--seconds", 1.8, "--quiet") == ""
    assert bar_of(*words, "--seconds", 0.3) == ""


def test_without_tqdm_commands_work_without_a_bar() -> None:
    """Where the extra `cli` is not installed, a command runs as ever, and draws no bar."""
    hidden = "import sys; sys.modules['tqdm'] = None; from geventstreams.__main__ import main; sys.exit(main(sys.argv[1:]))"
    done = run(sys.executable, "-c", hidden, "demo", "--plain", "--connections", 5, "--seconds", 0.2)
    assert done.status == 0
    assert "lost octets: 0" in done.output.decode()
    stderr_is_a_terminal = "import sys; sys.modules['tqdm'] = None; sys.stderr.isatty = lambda: True; "
    bar = "from geventstreams.cli.progress import Progress; p = Progress('x'); p.add(1, 'note'); p.__exit__(None, None, None)"
    assert run(sys.executable, "-c", stderr_is_a_terminal + bar) == Outcome(0, b"", "")


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
    nowhere = f"sys.path[:] = [path for path in sys.path if path not in ('', {str(CHECKOUT)!r})]"
    alone = run(sys.executable, "-c", WITH.format(stone=nowhere, words=["bench"]))
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
