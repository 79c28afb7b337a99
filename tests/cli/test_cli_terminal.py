"""The commands in a real terminal (tmux) of 50, 80 and 200 columns: what fits, what is coloured, what Ctrl-C leaves behind."""

import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from kit.command_line import LIMIT
from kit.scripted_peers import everything, peer
from servers import require
from servers.processes import wait_until
from servers.programs import find_program

GEVENTSTREAMS = shlex.join([sys.executable, "-m", "geventstreams"])
COLUMNS = (50, 80, 200)


class Terminal:
    """A terminal of a private tmux, in which a shell command runs; its output ends with `status N`."""

    def __init__(self, folder: Path, command: str, columns: int, environment: dict[str, str]) -> None:
        self._socket = folder / "tmux"
        settings = [f"{name}={value}" for name, value in {"TERM": "screen-256color", **environment}.items()]
        is_ready = f"until stty size | grep -q ' {columns}$'; do sleep 0.02; done"  # tmux sets the size after it has started this
        script = f"{is_ready}; {command}; echo \"status $?\"; exec sleep {LIMIT:.0f}"
        size = ["-x", str(columns), "-y", "60"]
        self.tmux("-f", "/dev/null", "new-session", "-d", *size, "env", "-u", "NO_COLOR", *settings, "bash", "-c", script)

    def tmux(self, *words: str) -> str:
        """Run a command of tmux."""
        command = [find_program("tmux"), "-S", str(self._socket), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True).stdout

    def screen(self, *options: str) -> str:
        """Return what is on the screen, and what has left it at the top."""
        return self.tmux("capture-pane", "-p", "-S", "-", *options).rstrip("\n") + "\n"

    def shows(self, pattern: str) -> bool:
        """Wait until something is on the screen."""
        return bool(wait_until(lambda: re.search(pattern, self.screen(), re.MULTILINE), LIMIT))

    def press(self, *keys: str) -> None:
        """Press keys."""
        self.tmux("send-keys", *keys)

    def is_unbroken(self) -> bool:
        """Return whether no line was too long for the terminal."""
        capture = ("capture-pane", "-p", "-S", "-")
        between = "between the two"
        # In one go: the screen changes between two calls of tmux.
        shown, joined = self.tmux(*capture, ";", "display-message", "-p", between, ";", *capture, "-J").split(f"{between}\n")
        return [line.rstrip() for line in shown.rstrip("\n").splitlines()] == [line.rstrip() for line in joined.rstrip("\n").splitlines()]


@contextmanager
def terminal(folder: Path, command: str, columns: int = 80, **environment: str) -> Iterator[Terminal]:
    """Run a shell command in a terminal."""
    require("tmux", "bash")
    opened = Terminal(folder, command, columns, environment)
    try:
        yield opened
    finally:
        opened.tmux("kill-server")


@pytest.mark.slow
@pytest.mark.parametrize("columns", COLUMNS)
def test_help_fits(tmp_path: Path, columns: int) -> None:
    """No line of a help text is broken by the terminal."""
    commands = "; ".join(f"{GEVENTSTREAMS} {name} --help" for name in ("", "demo", "connect", "serve", "relay", "doctor"))
    with terminal(tmp_path, commands, columns) as window:
        assert window.shows("^status 0$")
        assert window.is_unbroken(), window.screen()


@pytest.mark.slow
def test_colours_are_for_terminals_that_want_them(tmp_path: Path) -> None:
    """Help is coloured on a terminal; with NO_COLOR set it is not."""
    with terminal(tmp_path, f"{GEVENTSTREAMS} serve --help; NO_COLOR=1 {GEVENTSTREAMS} relay --help") as window:
        assert window.shows("^status 0$")
        coloured, _, plain = window.screen("-e").partition("geventstreams relay")
    colour = r"\x1b\[([\d;]*;)?(3[0-8]|9[0-7])"
    assert re.search(colour, coloured)
    assert not re.search(colour, plain)


@pytest.mark.slow
@pytest.mark.parametrize("columns", COLUMNS)
def test_the_demo_fits(tmp_path: Path, columns: int) -> None:
    """The story, the live bar and the table fit the terminal; the bar is gone at the end."""
    with terminal(tmp_path, f"{GEVENTSTREAMS} demo --connections 10 --seconds 1.5", columns) as window:
        assert window.shows("^streams .*━.* lines")
        assert window.is_unbroken(), window.screen()
        assert window.shows("^status 0$")
        assert window.is_unbroken(), window.screen()
        screen = window.screen()
    assert "━" not in screen
    head, *rows = [line for line in screen.splitlines() if re.search(r"\S {2,}\S", line)]
    assert head.split() == ["streams", "makefile", "over", "TLS"]
    assert len({len(line) for line in (head, *rows)}) == 1


# Ctrl-C.


@contextmanager
def full_queue() -> Iterator[int]:
    """A port that does not answer: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        clients = []
        for _ in range(5):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            clients.append(client)
        yield listener.getsockname()[1]
        for client in clients:
            client.close()


@contextmanager
def silent() -> Iterator[int]:
    """A port that accepts, and says nothing."""
    over = threading.Event()
    with peer(lambda _: over.wait(LIMIT)) as port:
        try:
            yield port
        finally:
            over.set()


STAGES = {
    "connecting": (full_queue, "connect 127.0.0.1:{port}"),
    "asking a proxy": (silent, "connect --proxy http://127.0.0.1:{port} x.test:80"),
    "agreeing on TLS": (silent, "connect --starttls smtp 127.0.0.1:{port}"),
    "shaking hands": (silent, "connect --tls 127.0.0.1:{port}"),
    "talking": (silent, "connect 127.0.0.1:{port}"),
    "waiting for silence": (silent, "connect --wait 1000 127.0.0.1:{port} </dev/null"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_ends_connect_at_every_stage(tmp_path: Path, stage: str) -> None:
    """Ctrl-C ends `connect` with status 130 in each of its waits, without a traceback, and leaves nothing on the screen."""
    require("tmux", "bash")
    place, command = STAGES[stage]
    with place() as port, ExitStack() as stack:
        before = connections(port)
        window = stack.enter_context(terminal(tmp_path, f"{GEVENTSTREAMS} {command.format(port=port)}"))
        if stage in {"talking", "waiting for silence"}:
            assert window.shows("^connected to ")
        else:
            assert wait_until(lambda: connections(port) > before, LIMIT)
        window.press("C-c")
        assert window.shows("^.*status 130$")
        rest = window.screen().replace("^C", "").replace("status 130", "")
    assert re.fullmatch(r"(connected to 127\.0\.0\.1:\d+)?\s*", rest), rest


def connections(port: int) -> int:
    """Return how many connections to a loopback port the system has or is making."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(words[2].endswith(f":{port:04X}") and words[3] in {"01", "02"} for words in lines)


@pytest.mark.parametrize("command", ["demo --seconds 1000", "demo --seconds 1000 --plain --connections 5"])
def test_ctrl_c_ends_the_demo_and_takes_the_bar_away(tmp_path: Path, command: str) -> None:
    """Ctrl-C ends the demo with status 130, and nothing is left of its bar."""
    with terminal(tmp_path, f"{GEVENTSTREAMS} {command}") as window:
        assert window.shows("^streams .*━")
        window.press("C-c")
        assert window.shows("status 130$")
        screen = window.screen()
    assert "━" not in screen
    assert "Traceback" not in screen


@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve echo", "relay --to 127.0.0.1:9", "serve echo --workers 2"])
def test_ctrl_c_drains_a_server(tmp_path: Path, command: str) -> None:
    """Ctrl-C drains `serve` and `relay`, with status 0 and one line."""
    with terminal(tmp_path, f"{GEVENTSTREAMS} {command} --listen 127.0.0.1:0") as window:
        assert window.shows("^(serving|relaying) .* on 127")
        window.press("C-c")
        assert window.shows("status 0$")
        assert "Traceback" not in window.screen()


# Standard output that is a pipe, full, or closed.


@pytest.mark.parametrize("words", ["--help", "connect --help", "doctor", "demo --seconds 0.2 --connections 3", "--version"])
def test_the_first_line_is_enough(tmp_path: Path, words: str) -> None:
    """`| head -1` gets its line; the command ends with status 0 or 141, and prints nothing else."""
    with terminal(tmp_path, f"{GEVENTSTREAMS} {words} | head -1; echo \"statuses ${{PIPESTATUS[*]}}\"") as window:
        assert window.shows("^status 0$")
        lines = window.screen("-J").splitlines()  # a line that the terminal broke is one line
    assert re.fullmatch(r"statuses (0|141) 0", lines[-2])
    assert len(lines) <= 4


def test_doctor_into_a_full_disk() -> None:
    """A full disk is one line, and status 1."""
    done = subprocess.run(f"{GEVENTSTREAMS} doctor > /dev/full", shell=True, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stderr) == (1, "geventstreams: No space left on device\n")


@pytest.mark.slow
def test_peers_that_end_leave_no_bar(tmp_path: Path) -> None:
    """A download that takes longer than a second shows bytes and rates in both directions, which are gone when it ends."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"x" * 100_000)
        everything(connection)
        shown.wait(LIMIT)

    shown = threading.Event()
    with peer(serve) as port, terminal(tmp_path, f"{GEVENTSTREAMS} connect 127.0.0.1:{port} </dev/null >/dev/null", 50) as window:
        assert window.shows(r"^received +100\.0 kB ")
        assert window.shows("^sent +0 bytes ")
        assert window.is_unbroken(), window.screen()
        shown.set()
        assert window.shows("^status 0$")
        assert "kB" not in window.screen()
