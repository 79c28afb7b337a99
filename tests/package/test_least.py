"""The least programs of the bench: each does what its row's other contenders do, and `--least` says which goals they reach."""

import json
import select
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from servers import require

from benchmarks import figures, real_servers, report
from benchmarks.__main__ import main
from benchmarks.harness import ELSEWHERE, LocalBench, surroundings
from benchmarks.model import LEAST, Entry, Goal, Result
from benchmarks.rows import BESIDE_LEAST
from benchmarks.servers.common import ANSWER, HEADER
from benchmarks.servers.gevent_wsgi import PAGE

TIMEOUT = 20
PIECE = 65536
LONG = b"x" * 100_000 + b"\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> LocalBench:
    """Return a bench that compiles each program once."""
    require("cc")
    return LocalBench(tmp_path_factory.mktemp("least"))


def least(row: str) -> "list[Entry]":
    """Return the least programs of a row."""
    return [entry for entry in BESIDE_LEAST[row].entries if entry.peer == LEAST]


@contextmanager
def client(bench: LocalBench, entry: Entry) -> "Iterator[socket.socket]":
    """Start a server and give a socket that is connected to it."""
    if entry.options.get("tls"):
        pytest.importorskip("trustme")
    server = bench.server(entry)
    try:
        server.await_ready()
        with connected(("127.0.0.1", server.port), entry) as connection:
            yield connection
    finally:
        server.close()


def connected(address: "tuple[str, int]", entry: Entry) -> socket.socket:
    """Return a socket that is connected to the server of an entry, with TLS if it has that."""
    connection = socket.create_connection(address, timeout=TIMEOUT)
    if not entry.options.get("tls"):
        return connection
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)


def receive(connection: socket.socket, count: int) -> bytes:
    """Return so many bytes, or what comes before the end."""
    with connection.makefile("rb", buffering=0) as file:
        parts = []
        while count and (part := file.read(count)):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def attempt(call: "Callable[[Any], Any]", argument: object) -> Any:
    """Return what the call of a non-blocking socket returns, or None if it would have to wait."""
    try:
        return call(argument)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None


def named(entries: "list[Entry]") -> object:
    """Parametrize a test over these entries."""
    return pytest.mark.parametrize("entry", entries, ids=[entry.label for entry in entries])


ECHOES = [entry for row in ("echo", "echo-plain", "tls-echo") for entry in least(row)]


@named(ECHOES)
def test_each_echoes_whole_lines(bench: LocalBench, entry: Entry) -> None:
    """A line comes back when it is whole, several that arrive together do, one that is longer than the buffer does, and the end ends it."""
    with client(bench, entry) as connection:
        connection.sendall(b"one\ntwo\nthr")
        assert receive(connection, 8) == b"one\ntwo\n"
        connection.sendall(b"ee\n")
        assert receive(connection, 6) == b"three\n"
        connection.sendall(LONG)
        assert receive(connection, len(LONG)) == LONG
        connection.shutdown(socket.SHUT_WR)
        if not isinstance(connection, ssl.SSLSocket):  # the server sends no close_notify
            assert receive(connection, 1) == b""


@named([*ECHOES, *least("callback-echo-chunks")])
def test_each_waits_for_a_client_that_does_not_read(bench: LocalBench, entry: Entry) -> None:
    """Answers that the system does not take at once go out in order when the client reads; until then others are served."""
    everything = b"".join(b"%07d" % number + b"." * 1000 + b"\n" for number in range(16_000))
    with client(bench, entry) as connection:
        connection.setblocking(False)
        sent = 0
        while select.select([], [connection], [], 0.3)[1]:
            sent += attempt(connection.send, everything[sent : sent + PIECE]) or 0
        assert sent < len(everything)  # the server waits for this client
        with connected(connection.getpeername(), entry) as other:
            other.sendall(b"other\n")
            assert receive(other, 6) == b"other\n"
        came = bytearray()
        while len(came) < len(everything):
            select.select([connection], [connection] if sent < len(everything) else [], [], TIMEOUT)
            sent += attempt(connection.send, everything[sent : sent + PIECE]) or 0
            came += attempt(connection.recv, PIECE) or b""
        assert came == everything


@named([entry for row in ("bulk-receive", "tls-receive") for entry in least(row)])
def test_each_receives_in_pieces(bench: LocalBench, entry: Entry) -> None:
    """After a header with a number of bytes and the size of pieces, the answer comes when all bytes have come; then the next transfer."""
    with client(bench, entry) as connection:
        for total in (1, 65536, 3_000_001):
            connection.sendall(HEADER.pack(total, 65536) + bytes(total))
            assert receive(connection, 1) == ANSWER


@named(least("tls-send"))
def test_each_sends_in_pieces(bench: LocalBench, entry: Entry) -> None:
    """After a header so many bytes come, in pieces; then the next transfer."""
    with client(bench, entry) as connection:
        for _ in range(2):
            connection.sendall(HEADER.pack(3 * 2**20, 2**20))
            assert receive(connection, 3 * 2**20) == b"x" * 3 * 2**20


@named(least("accept"))
def test_each_answers_one_line_and_closes(bench: LocalBench, entry: Entry) -> None:
    """The server sends the line back and closes the connection, whether the line has arrived at once or later."""
    with client(bench, entry) as connection:
        for parts in ((b"line\n",), (b"li", b"ne\n")):
            with closing(socket.create_connection(connection.getpeername(), timeout=TIMEOUT)) as one:
                for part in parts:
                    one.sendall(part)
                assert receive(one, 6) == b"line\n"


@named(least("pywsgi"))
def test_the_least_file_serves_pages(bench: LocalBench, entry: Entry) -> None:
    """pywsgi reads requests from it, also those that arrive in parts or two at once, and closes the connection that asks for it."""
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    with client(bench, entry) as connection, connection.makefile("rb") as answers:
        for parts, count in (((request,), 1), ((request[:20], request[20:]), 1), ((request + request,), 2), ((last,), 1)):
            for part in parts:
                connection.sendall(part)
            for _ in range(count):
                assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
                while answers.readline() != b"\r\n":
                    pass
                assert answers.read(len(PAGE)) == PAGE
        assert answers.read() == b""


@named(least("requests"))
def test_the_least_file_reads_answers(bench: LocalBench, entry: Entry) -> None:
    """requests reads pages of nginx from it; the check of the length is the operation's own."""
    require("nginx")
    pytest.importorskip("requests")
    with real_servers.running("Nginx") as server:
        operations = bench.operations([replace(entry, options={"server": server})])
        with closing(operations):
            assert len(operations.rounds(3, 2)[entry.label]) == 2


def test_the_least_import_runs_nothing_of_ours(tmp_path: Path) -> None:
    """The first import makes the list of modules; the second one imports what is gevent's, and loads our files without running them."""
    [entry] = least("import")
    program = f"import {entry.options['modules']}, sys; print('gevent.hub' in sys.modules, 'geventstreams' in sys.modules)"
    kept = surroundings() | {"PYTHONPYCACHEPREFIX": str(tmp_path)}
    outputs = [
        subprocess.run([sys.executable, "-c", program], env=kept, cwd=ELSEWHERE, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert outputs == ["True True\n", "True False\n"]
    listed = dict(line.split("\t") for line in (tmp_path / "least_import").read_text().splitlines())
    assert listed["gevent.hub"] == ""
    assert Path(listed["geventstreams._core.wakeup"]).is_file()


# What `--least` says.


def result(ours: float, least: float, bound: float = 0.8) -> Result:
    """Return the samples of a row with one goal and a least program."""
    row = BESIDE_LEAST["accept"]
    assert row.goals == (Goal(("gevent-makefile",), bound),)
    points = {"geventstreams": {0: [ours] * 3}, "gevent-makefile": {0: [10.0] * 3}, "least": {0: [least] * 3}}
    return Result(row, points, {}, 1.0)


@pytest.mark.parametrize(
    ("ours", "cheapest", "word"),
    [(7.9, 5.0, "met"), (7.9, 9.0, "met"), (8.1, 7.9, "reachable"), (8.1, 8.1, "not reachable here")],
)
def test_a_goal_is_reachable_if_the_least_program_meets_it(ours: float, cheapest: float, word: str) -> None:
    """A goal that is not met is reachable if the least program meets it, else it is not; the table and the JSON say so."""
    found = figures.reach(result(ours, cheapest), BESIDE_LEAST["accept"].goals[0])
    assert found is not None
    assert (found.least, found.ratio.median, found.word) == ("least", pytest.approx(cheapest / 10), word)
    *_, line = report.reaches([result(ours, cheapest)])
    assert line.split() == ["accept", "/", "gevent-makefile", "<=", "0.80", f"{ours / 10:.2f}", f"{cheapest / 10:.2f}", *word.split()]
    [goal] = report.as_json({}, [result(ours, cheapest)])["rows"][0]["goals"]
    assert goal["least"]["verdict"] == word


def test_without_a_least_program_nothing_is_said() -> None:
    """Where the least program was not measured the table says so, and the JSON has no entry for it."""
    lacking = result(8.0, 5.0)
    del lacking.points["least"]
    assert figures.reach(lacking, lacking.row.goals[0]) is None
    *_, line = report.reaches([lacking])
    assert line.endswith("no figure")
    [goal] = report.as_json({}, [lacking])["rows"][0]["goals"]
    assert "least" not in goal


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--only", "readline"), "row 'readline' has no least program; these have: echo, "),
        (("--peers", "floor"), "--least measures the peers of the goals; --peers chooses others"),
        (("--instructions",), "--instructions goes with --only and --json, and with no other option"),
    ],
)
def test_wrong_arguments(arguments: "tuple[str, ...]", complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A row without a least program, and options that contradict `--least`, are one line and exit status 2."""
    assert main(["--least", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"python -m benchmarks: {complaint}")


@pytest.mark.slow
def test_the_table_names_each_goal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A quick run of one row prints the least program beside the others, and both ratios and a word for each goal, as the JSON has them."""
    require("cc")
    assert main(["--quick", "--least", "--only", "echo", "--json", str(tmp_path / "least.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:1] == ["least"] for line in lines)
    table = lines[lines.index(next(line for line in lines if line.startswith("what the goals cost at least"))) + 1 :]
    assert [line.split()[2] for line in table] == ["floor", "gevent-makefile", "uvloop"]
    [row] = json.loads((tmp_path / "least.json").read_text())["rows"]
    verdicts = {goal["against"]: goal["least"]["verdict"] for goal in row["goals"] if "least" in goal}  # uvloop may not be installed
    assert {"floor", "gevent-makefile"} <= set(verdicts) <= {"floor", "gevent-makefile", "uvloop"}
    assert set(verdicts.values()) <= {"met", "reachable", "not reachable here"}
    assert all(goal["least"]["ratio"] > 0 for goal in row["goals"] if "least" in goal)
