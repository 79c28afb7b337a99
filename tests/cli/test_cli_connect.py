"""`connect`: with real web and mail servers and scripted peers; its own ends are pipes, files, terminals, or closed."""

import hashlib
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from kit.command_line import GEVENTSTREAMS, LIMIT, geventstreams, run, started
from kit.conditions import until
from kit.scripted_peers import everything, peer
from servers import Certificates, MachineLacks, Nginx, free_port, require_name

from geventstreams.cli.statuses import Status

MIB = 1 << 20
GET = "GET {} HTTP/1.0\r\n\r\n"


def set_reset(connection: socket.socket) -> None:
    """Make its close a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# What it is for.


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--tls"]], ids=["plain", "tls"])
def test_fetches_100_megabytes_from_nginx(nginx: Nginx, certificates: Certificates, tmp_path: Path, words: list[str]) -> None:
    """A request written by hand brings 100 MB from a real web server into a file, plain and over TLS, unharmed."""
    expected = nginx.add_file("hundred", 100_000_000)
    request, answer = tmp_path / "request", tmp_path / "answer"
    request.write_text(GET.format("/hundred"))
    port = nginx.ports["https" if words else "http"]
    words = [*words, "--ca", str(certificates.ca)] if words else []
    with open(request, "rb") as source, open(answer, "wb") as sink:
        command = [*GEVENTSTREAMS, "connect", "127.0.0.1", str(port), *words]
        done = subprocess.run(command, stdin=source, stdout=sink, stderr=subprocess.PIPE, timeout=LIMIT, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    with open(answer, "rb") as content:
        assert content.readline() == b"HTTP/1.1 200 OK\r\n"
        while content.readline() != b"\r\n":
            pass
        assert hashlib.sha256(content.read()).hexdigest() == expected


@pytest.mark.slow
def test_sends_64_megabytes_from_a_pipe_to_a_pipe() -> None:
    """What comes through a pipe goes through an echo server and out of a pipe, while both directions are busy."""
    content = os.urandom(MIB) * 64

    def echo(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            connection.sendall(data)

    with peer(echo) as port:
        done = geventstreams("connect", "127.0.0.1", port, given=content)
    assert (done.status, done.errors) == (0, "")
    assert done.output == content


def test_end_of_input_is_a_half_close() -> None:
    """When standard input ends the peer sees the end, and what it answers only then is still written."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"you said " + everything(connection))

    with peer(serve) as port:
        done = geventstreams("connect", "127.0.0.1", port, given=b"all of this")
    assert (done.status, done.output, done.errors) == (0, b"you said all of this", "")


def test_half_close_can_be_left_out() -> None:
    """With --no-half-close the peer does not see the end of standard input, and ends the connection itself."""

    def serve(connection: socket.socket) -> None:
        assert connection.recv(100) == b"question"
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        connection.sendall(b"answer")

    with peer(serve) as port:
        done = geventstreams("connect", "127.0.0.1", port, "--no-half-close", given=b"question")
    assert (done.status, done.output, done.errors) == (0, b"answer", "")


def test_host_may_be_a_name() -> None:
    """`localhost` is looked up, and -6 refuses what has IPv4 addresses only."""
    require_name("localhost")
    with peer(lambda connection: connection.sendall(b"welcome")) as port:
        assert geventstreams("connect", "localhost", port, "-4").output == b"welcome"
    geventstreams("connect", "127.0.0.1", port, "-6").refused(Status.NO_CONNECTION)


# When the halves end at different times.


def test_end_of_the_peer_ends_it_while_input_is_open() -> None:
    """When the peer has ended and nothing is typed, it returns with status 0, though standard input is still open."""
    with (
        peer(lambda peer: peer.sendall(b"bye")) as port,
        started(*GEVENTSTREAMS, "connect", "127.0.0.1", port) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.read() == b"bye"
        assert process.wait(LIMIT) == 0


def test_peer_that_half_closes_gets_all_of_a_file(tmp_path: Path) -> None:
    """A peer that ends its own half first and reads slowly gets every byte of a file that is standard input."""
    content = os.urandom(8 * MIB)
    (tmp_path / "content").write_bytes(content)
    received = []

    def serve(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        received.append(everything(connection))

    with peer(serve) as port, open(tmp_path / "content", "rb") as source:
        command = [*GEVENTSTREAMS, "connect", "127.0.0.1", str(port)]
        assert subprocess.run(command, stdin=source, timeout=LIMIT, check=False).returncode == 0
    assert received == [content]


def test_reset_is_told_after_what_came_before() -> None:
    """A reset ends it with status 1 and one line, when everything that had arrived is written."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"half an ans")
        connection.recv(1)
        set_reset(connection)

    with peer(serve) as port, started(*GEVENTSTREAMS, "connect", "127.0.0.1", port) as process:
        assert process.stdout is not None
        assert process.stdout.read(11) == b"half an ans"
        output, errors = process.communicate(b"!", timeout=LIMIT)
    assert (process.returncode, output) == (Status.FAILED, b"")
    assert re.fullmatch(rb"geventstreams: .*127\.0\.0\.1.*reset.*\n", errors)


BROKEN = """
import sys
from geventstreams import __main__
from geventstreams.cli import standard

def fail(*_):
    raise MemoryError("no room")

setattr(standard.{0}, "{1}", fail)
sys.exit(__main__.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("half", [("OutputFile", "write"), ("StandardInput", "read")], ids=["receiving", "sending"])
def test_whatever_ends_either_half_is_a_failure(half: tuple[str, str]) -> None:
    """An unexpected error of either greenlet makes the whole fail."""

    def serve(connection: socket.socket) -> None:
        with suppress(ConnectionError):  # it may be reset
            connection.sendall(b"answer")
            everything(connection)

    with peer(serve) as port:
        done = run(sys.executable, "-c", BROKEN.format(*half), "connect", "127.0.0.1", port, given=b"question")
    assert done.status != Status.DONE
    assert "MemoryError: no room" in done.errors


@pytest.mark.parametrize("limit", ["--read-timeout", "--write-timeout"])
def test_limits_end_it_in_one_line(limit: str) -> None:
    """A peer that says nothing, or takes nothing, for as long as the limit says ends it with status 1 and one line."""
    over = threading.Event()
    content = b"" if limit == "--read-timeout" else bytes(16 * MIB)
    with peer(lambda connection: over.wait(LIMIT)) as port:
        line = geventstreams("connect", "127.0.0.1", port, limit, 0.3, given=content).refused(Status.FAILED)
        over.set()
    assert f"127.0.0.1:{port}" in line


def test_ctrl_c_ends_it_without_a_traceback() -> None:
    """SIGINT ends it with status 130 and no word, and the peer sees an orderly end behind all that was sent."""
    received = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"go on")
        received.append(everything(connection))

    with peer(serve) as port, started(*GEVENTSTREAMS, "connect", "127.0.0.1", port) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"so far")
        assert process.stdout.read(5) == b"go on"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (Status.INTERRUPTED, b"")
    assert received in ([b"so far"], [b""])


# What its ends may be.


def test_terminal_as_standard_input() -> None:
    """Lines typed at a terminal go to the peer one by one, answers come at once, and Ctrl-D is the end."""

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rwb", buffering=0) as file:
            for line in file:
                file.write(line.upper())
        connection.sendall(b"END")

    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        raise MachineLacks(f"terminals: {error}") from None
    mode = termios.tcgetattr(theirs)
    mode[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    with peer(serve) as port, started(*GEVENTSTREAMS, "connect", "127.0.0.1", port, stdin=theirs) as process:
        assert process.stdout is not None
        for line in (b"one\n", b"two\n"):
            os.write(ours, line)
            assert process.stdout.read(len(line)) == line.upper()
        os.write(ours, b"\x04")
        output, errors = process.communicate(timeout=LIMIT)
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, output, errors) == (0, b"END", b"")


def test_pipes_in_non_blocking_mode() -> None:
    """Pipes that another program left in non-blocking mode are waited for: no EAGAIN, nothing lost, their mode kept."""
    size = 4 * MIB
    reading, writing = os.pipe()
    out_reading, out_writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(out_writing, False)

    def serve(connection: socket.socket) -> None:
        assert connection.recv(100) == b"now"
        connection.sendall(bytes(size))

    ends = {"stdin": reading, "stdout": out_writing}
    with peer(serve) as port, started(*GEVENTSTREAMS, "connect", "127.0.0.1", port, **ends) as process:
        # It is waiting by then: the pipe to it was empty.
        until(lambda: connected_to(port), LIMIT)
        os.write(writing, b"now")
        os.close(out_writing)
        with open(out_reading, "rb") as answer:
            assert answer.read() == bytes(size)
        assert process.wait(LIMIT) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert not os.get_blocking(reading)
    os.close(reading)
    os.close(writing)


def connected_to(port: int) -> bool:
    """Return whether the system has an established connection to this loopback port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


def test_slow_reader_of_its_output_does_not_hold_up_its_input() -> None:
    """While its standard output is not read, its standard input still reaches the peer."""
    stuck, arrived = threading.Event(), threading.Event()

    def flood(connection: socket.socket) -> None:
        connection.settimeout(0.5)
        try:
            while True:
                connection.sendall(bytes(65536))
        except TimeoutError:
            stuck.set()
        connection.settimeout(LIMIT)
        assert connection.recv(100) == b"still here"
        arrived.set()

    with peer(flood) as port, started(*GEVENTSTREAMS, "connect", "127.0.0.1", port) as process:
        assert process.stdin is not None
        assert stuck.wait(LIMIT)
        process.stdin.write(b"still here")
        assert arrived.wait(LIMIT)


@pytest.mark.parametrize(
    ("redirection", "status", "said"),
    [
        ("<&-", 0, ""),
        ("</dev/null", 0, ""),
        (">&-", Status.FAILED, "geventstreams: standard output: closed (`>/dev/null` discards it)\n"),
        (">/dev/full", Status.FAILED, "geventstreams: standard output: No space left on device\n"),
        ("2>&-", 0, ""),
    ],
)
def test_descriptors_that_are_closed_or_of_no_use(redirection: str, status: int, said: str) -> None:
    """A closed standard input is an empty one; a closed or a full standard output is told in one line."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        try:
            everything(connection)
        except ConnectionResetError:
            assert status != 0

    with peer(serve) as port:
        command = f"{' '.join(GEVENTSTREAMS)} connect 127.0.0.1 {port} {redirection}"
        done = run("sh", "-c", command)
    assert (done.status, done.errors) == (status, said)
    assert done.output in ({b"hello"} if status == 0 else {b"", b"hello"})


def test_reader_that_leaves_ends_it_quietly() -> None:
    """When its output has no reader any more it ends silently, with status 141, and so does the connection."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(bytes(MIB))
        with pytest.raises(ConnectionError):
            connection.sendall(bytes(1024 * MIB))

    with peer(serve) as port, started(*GEVENTSTREAMS, "connect", "127.0.0.1", port) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        process.stdout = None
        assert process.wait(LIMIT) == Status.OUTPUT_CLOSED
        assert process.stderr is not None
        assert process.stderr.read() == b""


# Progress.


def shown_while_fetching(nginx: Nginx, name: str, *words: str) -> bytes:
    """What appears on a terminal that is standard error, while a file is fetched into a pipe."""
    ours, theirs = pty.openpty()
    with started(*GEVENTSTREAMS, "connect", "127.0.0.1", nginx.ports["http"], *words, stderr=theirs) as process:
        os.close(theirs)
        output, _ = process.communicate(GET.format(name).encode(), timeout=LIMIT)
    assert process.returncode == 0
    assert b" 200 OK\r\n" in output
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # how a terminal reports that its other end is closed
        pass
    os.close(ours)
    return shown


@pytest.mark.slow
def test_progress_is_shown_on_a_terminal_for_long_transfers_only(nginx: Nginx) -> None:
    """After a second of a transfer a terminal on standard error shows bytes and rate; never with --quiet."""
    nginx.add_file("slowly", 200_000)
    # It pauses for a second between its pieces: a half-close would be taken for the end of the client.
    shown = shown_while_fetching(nginx, "/slow/slowly", "--no-half-close")
    assert shown.startswith(b"connected to 127.0.0.1:")
    assert re.search(rb"received +[\d.]+ kB +[\d.]+ kB/s", re.sub(rb"\x1b\[[\d;?]*[a-zA-Z]", b"", shown))
    assert re.fullmatch(rb"connected to [\d.:]+\r\n", shown_while_fetching(nginx, "/slowly"))
    assert shown_while_fetching(nginx, "/slow/slowly", "--no-half-close", "--quiet") == b""


@pytest.mark.slow
def test_refused_connection_on_a_port_that_was_free() -> None:
    """One port can be tried repeatedly: a failed try leaves nothing in the system."""
    port = free_port()
    for _ in range(3):
        geventstreams("connect", "127.0.0.1", port).refused(Status.NO_CONNECTION)
