"""`demo`: its story, its table, what it counts as lost, and how it ends."""

import os
import pty
import re
import shlex
import signal
import subprocess
import sys

import pytest
from kit.command_line import GEVENTSTREAMS, LIMIT, geventstreams, run, started
from servers.processes import wait_until

from geventstreams.cli.statuses import Status

WITH = """
import sys
from geventstreams import __main__
from geventstreams.cli import demo
{change}
sys.exit(__main__.main({words}))
"""
"""Runs the demo after a change to it."""

FAST = ("demo", "--connections", "3", "--seconds", "0.2")


def demo_with(change: str, *words: str) -> tuple[int, str, str]:
    """Run a short demo in a process in which something is changed. Return its status, output and errors."""
    done = run(sys.executable, "-c", WITH.format(change=change, words=[*FAST, *words]))
    return done.status, done.output.decode(), done.errors


def lost(output: str) -> int:
    """Return how many bytes were lost, as the demo says."""
    (count,) = re.findall(r"^lost: ([\d,]+)$", output, re.MULTILINE)
    return int(count.replace(",", ""))


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--plain"]], ids=["with TLS", "plain"])
def test_demo_loses_nothing_and_says_so_once(words: list[str]) -> None:
    """The demo ends with status 0, says what it does, compares streams with gevent's makefile, and says `lost: 0` once."""
    done = geventstreams("demo", "--connections", 20, "--seconds", 0.5, *words)
    output = done.output.decode()
    assert (done.status, done.errors, lost(output), output.count("lost")) == (0, "", 0, 1)
    assert output.startswith("A server and 20 clients run in this process")
    assert "Next: `geventstreams serve echo" in output
    rows = {line[:14].strip(): re.split(r" {2,}", line[14:].strip()) for line in output.splitlines() if "  " in line}
    ways = ["streams", "makefile", "over TLS"][: 2 if words else 3]
    assert rows[""] == ways
    for name in ("lines", "lines a second"):
        assert [int(figure.replace(",", "")) >= 20 for figure in rows[name]] == [True] * len(ways)
    assert all(re.fullmatch(r"[\d.,]+ (bytes|[kMG]B)", figure) for figure in rows["there and back"])


WRONG = {
    "one byte changed": ("line = bytes([line[0] ^ 1]) + line[1:]", 1),
    "one byte too many": ("line += b'!'", 1),
    "one byte missing": ("line = line[:-2] + line[-1:]", 1),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_demo_notices_one_wrong_byte(wrong: str) -> None:
    """A server that gets one byte of one answer wrong makes the demo end with status 1, and the bytes are counted."""
    change, least = WRONG[wrong]
    status, output, errors = demo_with(
        f"""
done = []
def answer(stream, address):
    for line in stream:
        if not done and len(line) > 2:
            done.append(line)
            {change}
        stream.write(line)
demo.answer = answer
""",
        "--plain",
    )
    assert (status, errors) == (Status.FAILED, "")
    assert lost(output) >= least
    assert "Next:" not in output


def test_demo_notices_bytes_behind_the_last_answer() -> None:
    """A server that sends more than it was asked for makes the demo end with status 1."""
    change = """
def answer(stream, address):
    for line in stream:
        stream.write(line)
    stream.write(b"!")
demo.answer = answer
"""
    status, output, errors = demo_with(change, "--plain")
    assert (status, errors, lost(output)) == (Status.FAILED, "", 3)


@pytest.mark.parametrize("way", ["resets", "is silent"])
def test_demo_counts_what_a_dead_connection_lost(way: str) -> None:
    """A server that resets every connection, or never answers, makes the demo end soon, with status 1 and a count."""
    last = "stream.abort()" if way == "resets" else "stream.read()"
    change = f"""
demo.PATIENCE = 0.5
def answer(stream, address):
    stream.readline()
    {last}
demo.answer = answer
"""
    status, output, errors = demo_with(change, "--plain")
    assert (status, errors) == (Status.FAILED, "")
    assert lost(output) > 0


@pytest.mark.parametrize("number", [300, 999_999_999])
def test_demo_without_enough_descriptors_says_so(number: int) -> None:
    """More connections than the system allows end the demo with status 3 and one line, not with a traceback for each."""
    done = run("sh", "-c", f"ulimit -n 100; exec {shlex.join(GEVENTSTREAMS)} demo --connections {number}")
    assert (done.status, len(done.errors.splitlines())) == (Status.NO_CONNECTION, 1)
    assert "Too many open files" in done.errors


def test_demo_can_be_interrupted() -> None:
    """SIGINT ends the demo at once, with status 130 and no further word."""
    with started(*GEVENTSTREAMS, "demo", "--seconds", LIMIT) as process:
        assert wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) > 200, LIMIT)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (Status.INTERRUPTED, b"")
    assert b"lost" not in output


def test_demo_without_the_extra_leaves_tls_out_and_says_so() -> None:
    """Without the libraries of the extra `cli` the demo runs in plain text, draws nothing, and says how to get TLS."""
    hide = "import sys; sys.modules.update(dict.fromkeys(('rich', 'rich_argparse', 'trustme'))); sys.stderr.isatty = lambda: True"
    status, output, errors = demo_with(hide)
    assert (status, errors, lost(output)) == (0, "", 0)
    assert "pip install 'geventstreams[cli]'" in " ".join(output.split())
    assert "over TLS\n" not in output


def bar_of(*words: object) -> str:
    """Return what a command shows on a terminal that is its standard error."""
    ours, theirs = pty.openpty()
    with started(*GEVENTSTREAMS, *words, stderr=theirs, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # how a terminal reports that its other end is closed
            pass
        os.close(ours)
        assert process.wait(LIMIT) == 0
    return shown.decode()


@pytest.mark.slow
def test_demo_shows_a_live_bar_on_a_terminal() -> None:
    """Each of the three ways has a bar on standard error, if that is a terminal, and none with --quiet."""
    words = ["demo", "--connections", 5, "--seconds", 0.8]
    shown = bar_of(*words)
    for way in ("streams", "makefile", "over TLS"):
        assert re.search(rf"{way}.*━.*[\d,]+ lines", shown), shown
    assert bar_of(*words, "--quiet") == ""
