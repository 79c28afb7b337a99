"""Log lines that may not be read: nothing waits for a log, and no outcome depends on one."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from kit.command_line import GEVENTSTREAMS, LIMIT, started
from kit.conditions import until

from geventstreams.cli.outlets import Outlet, installed, lines_in
from geventstreams.cli.statuses import Status

PAGE = 4096


def asks(port: int) -> bytes:
    """What a client gets back for a byte."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as client:
        client.sendall(b"x")
        return client.recv(1)


def narrow_pipe() -> tuple[int, int]:
    """A pipe that takes as little as the system allows."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PAGE)
    return reading, writing


def port_of(process: subprocess.Popen[bytes]) -> int:
    """Where a server says that it listens."""
    assert process.stdout is not None
    return int(process.stdout.readline().rpartition(b":")[2])


@pytest.mark.parametrize("workers", [[], ["--workers", "1"]], ids=["one process", "workers"])
def test_standard_error_has_no_reader_any_more(workers: list[str]) -> None:
    """When the reader of its standard error has ended, `serve -v` goes on serving, and drains."""
    with started(*GEVENTSTREAMS, "serve", "echo", "-v", "--listen", "127.0.0.1:0", *workers) as process:
        port = port_of(process)
        process.stderr.close()
        assert [asks(port) for _ in range(5)] == 5 * [b"x"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == Status.DONE
        process.stderr = None


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[], ["--workers", "1"]], ids=["one process", "workers"])
def test_standard_error_is_full(workers: list[str]) -> None:
    """While standard error is not read, `serve -v` serves and obeys; when it is read again, the number of dropped lines is reported."""
    reading, writing = narrow_pipe()
    with started(*GEVENTSTREAMS, "serve", "echo", "-v", "--listen", "127.0.0.1:0", *workers, stderr=writing) as process:
        os.close(writing)
        port = port_of(process)
        assert all(asks(port) == b"x" for _ in range(300))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == Status.DONE
        with open(reading, "rb") as file:
            assert b": connected\n" in file.read()


def test_a_full_disk_drops_lines_and_nothing_else() -> None:
    """A standard error that refuses every line costs the lines."""
    words = [*GEVENTSTREAMS, "serve", "echo", "-v", "--listen", "127.0.0.1:0"]
    with open("/dev/full", "wb") as full, started(*words, stderr=full) as process:
        port = port_of(process)
        assert [asks(port) for _ in range(5)] == 5 * [b"x"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == Status.DONE


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["closed", "full", "refusing"])
def test_standard_output_decides_nothing_either(kind: str) -> None:
    """The line that says where a server listens may stay unsaid."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    reading, writing = narrow_pipe()
    if kind == "full":
        os.set_blocking(writing, False)
        os.write(writing, bytes(PAGE))
        os.set_blocking(writing, True)
    elif kind == "closed":
        os.close(reading)
    with open("/dev/full", "wb") as full, open(writing, "wb") as pipe:
        target = full if kind == "refusing" else pipe
        with started(*GEVENTSTREAMS, "serve", "echo", "--listen", f"127.0.0.1:{port}", stdout=target) as process:
            pipe.close()

            def answers() -> bool:
                try:
                    return asks(port) == b"x"
                except ConnectionRefusedError:
                    return False

            until(answers, LIMIT)
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT) == Status.DONE
    if kind != "closed":
        os.close(reading)


@pytest.mark.slow
def test_an_error_of_a_handler_is_no_matter_of_who_reads_it(tmp_path: Path) -> None:
    """Errors that the server reports for connections do not wait for a reader either."""
    path = tmp_path / "file"
    path.write_bytes(b"here")
    reading, writing = narrow_pipe()
    with started(*GEVENTSTREAMS, "serve", f"file:{path}", "--listen", "127.0.0.1:0", stderr=writing) as process:
        os.close(writing)
        port = port_of(process)
        path.unlink()
        for _ in range(100):
            with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", port), LIMIT) as client:
                client.recv(1)
        path.write_bytes(b"here again")
        with socket.create_connection(("127.0.0.1", port), LIMIT) as client:
            assert client.recv(4) == b"here"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == Status.DONE
    os.close(reading)


def test_with_standard_error_closed_nothing_is_said_elsewhere(tmp_path: Path) -> None:
    """With `2>&-` an error of a connection is not printed on standard output in its place."""
    path = tmp_path / "file"
    path.write_bytes(b"here")
    words = [*GEVENTSTREAMS, "serve", f"file:{path}", "--listen", "127.0.0.1:0"]
    with started("sh", "-c", 'exec "$@" 2>&-', "sh", *words) as process:
        port = port_of(process)
        path.unlink()
        with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", port), LIMIT) as client:
            client.recv(1)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=LIMIT) == (b"", b"")


# The outlet itself.


class Pipe:
    """A narrow pipe, and an outlet that writes into it."""

    def __init__(self) -> None:
        self.reading, writing = narrow_pipe()
        self.file = open(writing, "w", encoding="ascii")  # noqa: SIM115  # closed below
        self.outlet = Outlet(self.file)

    def read(self) -> str:
        """What comes until nothing comes for a while, all of it taken."""
        parts = []
        poll = select.poll()
        poll.register(self.reading, select.POLLIN)
        while not parts or not parts[-1].endswith("last\n"):
            assert poll.poll(20_000)
            parts.append(os.read(self.reading, 1 << 16).decode())
        return "".join(parts)

    def close(self) -> None:
        """End both."""
        self.outlet.finish()
        self.file.close()
        os.close(self.reading)


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.close()


def test_lines_arrive_whole_and_in_order(pipe: Pipe) -> None:
    """What is printed arrives, also what has no end of line yet when it is flushed, and signs that the file cannot have."""
    print("one", "two", file=pipe.outlet)
    pipe.outlet.write("th")
    pipe.outlet.write("ree \u20ac")
    pipe.outlet.flush()
    print(" last", file=pipe.outlet)
    assert pipe.read() == "one two\nthree \\u20ac last\n"


def test_what_finds_no_room_is_counted_and_told(pipe: Pipe) -> None:
    """Lines for which there is no room are dropped, the others arrive, and their number is printed when lines are written again."""
    for number in range(20_000):
        print("line", number, "of many", file=pipe.outlet)
    assert pipe.outlet.dropped > 0
    pieces: list[bytes] = []
    reader = threading.Thread(target=lambda: pieces.extend(iter(lambda: os.read(pipe.reading, 1 << 16), b"")))
    reader.start()
    pipe.outlet.finish()
    print("last", file=pipe.outlet)
    pipe.outlet.finish()
    pipe.file.close()
    reader.join()
    heard = b"".join(pieces).decode()
    lines = [line for line in heard.splitlines() if "dropped" not in line]
    told = [int(line.split()[1]) for line in heard.splitlines() if "dropped" in line]
    numbers = [int(line.split()[1]) for line in lines if line != "last"]
    assert numbers == sorted(set(numbers))  # which ones found room is a matter of the thread's pace
    assert lines == [f"line {number} of many" for number in numbers] + ["last"]
    assert told
    assert len(numbers) + sum(told) == 20_000
    assert pipe.outlet.dropped == 0


def test_its_mode_is_not_changed_and_does_not_matter(pipe: Pipe) -> None:
    """A file that others left in non-blocking mode gets all of it."""
    os.set_blocking(pipe.file.fileno(), False)
    for number in range(2000):
        print("line", number, file=pipe.outlet)
    print("last", file=pipe.outlet)
    assert pipe.read().splitlines() == [*(f"line {number}" for number in range(2000)), "last"]
    assert not os.get_blocking(pipe.file.fileno())


@pytest.mark.parametrize(("text", "count"), [("", 0), ("one", 1), ("one\n", 1), ("one\ntwo", 2), ("\n\n", 2)])
def test_lines_are_counted(text: str, count: int) -> None:
    """A text without an end of line is a line, too."""
    assert lines_in(text) == count


def test_what_was_there_before_is_there_again() -> None:
    """Outside the block, standard error is unchanged; a file without a descriptor stays in place."""
    before = sys.stderr
    with installed("stderr"):
        print("said", file=sys.stderr)
    assert sys.stderr is before
