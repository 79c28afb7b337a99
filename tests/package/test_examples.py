"""Every example runs as a program of its own, against clients and servers that are not ours where there are such."""

import contextlib
import hashlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.command_line import LIMIT, Serving, run, serving, started
from servers import Nginx, free_port, nc

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@contextmanager
def example(name: str, *words: object) -> Iterator[Serving]:
    """An example that is a server, running, and the port that it told."""
    with started(sys.executable, EXAMPLES / name, *words) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline().decode()
        assert line.startswith("listening on "), line or process.stderr.read().decode()
        yield Serving(process, int(line.rpartition(":")[2]))


def connected(port: int) -> socket.socket:
    """A client's socket."""
    return socket.create_connection(("127.0.0.1", port), LIMIT)


def test_every_example_is_tested() -> None:
    """Each file in examples/ is named in this file."""
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names
    assert not [name for name in names if f'"{name}"' not in Path(__file__).read_text(encoding="utf-8")]


def test_echo_server() -> None:
    """The echo server answers nc and many clients at a time, and drains when it is told to end."""
    with example("echo_server.py") as server:
        content = b"".join(b"line %d\n" % number for number in range(1000))
        assert run(nc(), "-N", "127.0.0.1", server.port, given=content).output == content
        clients = [connected(server.port) for _ in range(50)]
        for number, client in enumerate(clients):
            client.sendall(b"%d\n" % number)
        for number, client in enumerate(clients):
            assert client.recv(100) == b"%d\n" % number
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            assert client.recv(100) == b""
            client.close()
        output, errors = server.process.communicate(timeout=LIMIT)
    assert (server.process.returncode, errors) == (0, b"")
    assert output.endswith(b"DrainReport(finished=0, idle=50, killed=0)\n")


class Talker:
    """Somebody in the chat."""

    def __init__(self, port: int, name: str) -> None:
        self.socket = connected(port)
        self.file = self.socket.makefile("rw", encoding="utf-8", newline="\n")
        assert self.file.read(len("Your name? ")) == "Your name? "
        self.say(name)
        assert self.hears() == f"* {name} comes in"

    def say(self, line: str) -> None:
        """Sends a line."""
        self.file.write(f"{line}\n")
        self.file.flush()

    def hears(self) -> str:
        """The next line."""
        return self.file.readline().rstrip("\n")

    def leave(self) -> None:
        """Ends the connection."""
        self.file.close()
        self.socket.close()


def test_chat_server() -> None:
    """What one says all others read, in the order in which it was said; who comes and goes is told."""
    with example("chat_server.py") as server:
        anna, bert = Talker(server.port, "Anna"), Talker(server.port, "Bert")
        assert anna.hears() == "* Bert comes in"
        anna.say("grüß dich")
        assert bert.hears() == "Anna: grüß dich"
        for number in range(100):
            bert.say(str(number))
        assert [anna.hears() for _ in range(100)] == [f"Bert: {number}" for number in range(100)]
        bert.leave()
        assert anna.hears() == "* Bert goes"
        anna.leave()


def test_chat_server_is_not_held_up_by_one_who_does_not_read() -> None:
    """Somebody who types half a line, and somebody who never reads, hold nobody up; the latter is sent away."""
    with example("chat_server.py") as server:
        anna, bert = Talker(server.port, "Anna"), Talker(server.port, "Bert")
        deaf = Talker(server.port, "Deaf")
        bert.file.write("half a li")
        bert.file.flush()
        heard: list[str] = []

        def listen() -> None:
            while (line := anna.hears()) != "* Deaf goes":
                heard.append(line)

        listener = threading.Thread(target=listen)
        listener.start()
        said = 0
        while listener.is_alive() and said < 1_000_000:
            bert.say("x" * 900)
            said += 1
        listener.join(LIMIT)
        assert not listener.is_alive()
        assert heard[2] == "Bert: half a li" + "x" * 900
        for talker in (anna, bert, deaf):
            talker.leave()


def test_fastest_answer() -> None:
    """Of several servers, one of which is not there, one silent and one slow, the first that answers is printed."""
    with socket.create_server(("127.0.0.1", 0)) as silent, serving("exec:read q; sleep 2; echo late") as slow:
        with serving("exec:read q; echo early: $q") as fast:
            addresses = [f"127.0.0.1:{port}" for port in (free_port(), silent.getsockname()[1], slow.port, fast.port)]
            done = run(sys.executable, EXAMPLES / "fastest_answer.py", "who is it?", *addresses)
        assert (done.status, done.output) == (0, f"{addresses[-1]}: early: who is it?\n".encode())
        assert done.errors.startswith(f"{addresses[0]}: cannot connect")


def test_fastest_answer_where_nobody_answers() -> None:
    """Where every server ends without an answer, the example says so, with status 1."""
    with serving("discard") as server:
        server_address = f"127.0.0.1:{server.port}"
        done = run(sys.executable, EXAMPLES / "fastest_answer.py", "hello?", f"127.0.0.1:{free_port()}")
        assert (done.status, done.output) == (1, b"")
        assert done.errors.endswith("no answer\n")
        assert server_address not in done.errors


@pytest.mark.parametrize("size", [100, 5000])
def test_lispworks_forms(nginx: Nginx, size: int) -> None:
    """Both forms get the same thousand octets of an answer from a real web server."""
    nginx.add_file("page", size)
    words = ["127.0.0.1", nginx.ports["http"], "/page"]
    done = run(sys.executable, EXAMPLES / "lispworks_forms.py", *words, PYTHONIOENCODING="latin-1")
    assert (done.status, done.errors) == (0, "")
    answer = done.output.removesuffix(b"\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    content = (nginx.documents / "page").read_bytes()
    body = answer.partition(b"\r\n\r\n")[2]
    assert content.startswith(body)
    assert len(body) == size if size == 100 else len(answer) == 1000


def test_files_and_pickles() -> None:
    """Pickles go both ways over a stream, then text lines through `io.TextIOWrapper` and `csv`."""
    done = run(sys.executable, EXAMPLES / "files_and_pickles.py")
    assert (done.status, done.errors) == (0, "")
    assert done.output.decode().splitlines() == [
        "apples: 12",
        "plums: None",
        "apples, of which there are 12",
        "pears, of which there are 7",
        "quinces, of which there are 1",
    ]


def test_drain_nothing(nginx: Nginx) -> None:
    """The first program of cl-async's page prints the headers of a real web server's answer, and its end."""
    nginx.add_file("page.txt", 300_000)
    done = run(sys.executable, EXAMPLES / "drain_nothing.py", "127.0.0.1", nginx.ports["http"], "/page.txt")
    assert (done.status, done.errors) == (0, "")
    lines = done.output.decode().splitlines()
    assert lines[0] == "HTTP/1.1 200 OK"
    assert "Content-Length: 300000" in lines
    assert lines[-1].startswith("-- end of file from 127.0.0.1:")


def test_get_page(nginx: Nginx) -> None:
    """The second program of cl-async's page gets a real web server's page whole, and one event."""
    page = "".join(f"<p>line {number}</p>\n" for number in range(2000))
    (nginx.documents / "index.html").write_text(page, encoding="utf-8")
    try:
        done = run(sys.executable, EXAMPLES / "get_page.py", "127.0.0.1", nginx.ports["http"])
    finally:
        (nginx.documents / "index.html").unlink()
    assert done.status == 0
    assert done.output.decode() == page
    assert len(done.errors.splitlines()) == 1
    assert done.errors.startswith("ev: TCPEOF(")


def test_get_page_when_nobody_is_there() -> None:
    """A connection that is refused is one event, and the program ends."""
    done = run(sys.executable, EXAMPLES / "get_page.py", "127.0.0.1", free_port())
    assert (done.status, done.output) == (0, b"")
    assert done.errors.startswith("ev: TCPRefused(")
    assert len(done.errors.splitlines()) == 1


def test_callback_proxy(nginx: Nginx) -> None:
    """The proxy brings a large file from a real web server to several clients at once, whole."""
    checksum = nginx.add_file("proxied", 5_000_000)
    with example("callback_proxy.py", "127.0.0.1", nginx.ports["http"]) as proxy, contextlib.ExitStack() as clients:
        files = []
        for _ in range(5):
            client = clients.enter_context(connected(proxy.port))
            client.sendall(b"GET /proxied HTTP/1.0\r\nHost: x\r\n\r\n")
            files.append(clients.enter_context(client.makefile("rb")))
        for file in files:
            assert b"200 OK" in file.readline()
            while file.readline().strip():
                pass
            assert hashlib.sha256(file.read()).hexdigest() == checksum


def test_callback_proxy_passes_ends_on() -> None:
    """A client's last word reaches the target, whose answer of several megabytes still comes back."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve() -> None:
            target, _ = listener.accept()
            with target, target.makefile("rwb") as file:
                file.write(b"x" * (1_000_000 + len(file.read())))

        thread = threading.Thread(target=serve)
        thread.start()
        with example("callback_proxy.py", "127.0.0.1", listener.getsockname()[1]) as proxy:
            assert run(nc(), "-N", "127.0.0.1", proxy.port, given=b"y" * 3_000_000).output == b"x" * 4_000_000
        thread.join(LIMIT)


def test_callback_proxy_without_a_target() -> None:
    """Where nobody is behind the proxy its client is sent away."""
    with example("callback_proxy.py", "127.0.0.1", free_port()) as proxy:
        # Sending away is a reset, which may come before connect(2) has told of its success.
        with contextlib.suppress(ConnectionResetError), connected(proxy.port) as client:
            assert client.recv(1) == b""
        assert proxy.process.stderr is not None
        assert b"cannot connect" in proxy.process.stderr.readline()


def test_stalled_answer() -> None:
    """With gevent's own makefile an answer that stalled is lost and its file dead; with ours it is read on, whole."""
    done = run(sys.executable, EXAMPLES / "stalled_answer.py")
    assert (done.status, done.errors) == (0, "")
    assert done.output.decode().splitlines() == [
        "gevent's makefile",
        "  timed out",
        "  cannot read from timed out object",
        "  lost: cannot read from timed out object",
        "geventstreams' makefile",
        "  timed out",
        "  timed out",
        "  2000 octets",
    ]


def test_thousand_clients() -> None:
    """1,000 clients exchange 10 lines each with the server, none of them wrong."""
    done = run(sys.executable, EXAMPLES / "thousand_clients.py")
    assert (done.status, done.errors) == (0, "")
    assert done.output == b"1000 clients, 10000 lines, 0 wrong\n"
