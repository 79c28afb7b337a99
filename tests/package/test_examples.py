"""Every example runs as a program of its own, against real clients and servers where there are such."""

import ast
import contextlib
import hashlib
import os
import random
import re
import select
import signal
import socket
import struct
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kit.command_line import LIMIT, Outcome, Serving, run, serving, started
from kit.conditions import until
from kit.proxies import proxy
from servers import Certificates, Exim, HAProxy, Nginx, Redis, curl, find_program, free_port, nc, openssl
from servers.base import listens

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@contextmanager
def example(name: str, *words: object) -> Iterator[Serving]:
    """An example that is a server, running, and the port that it prints; a line or two may come before."""
    with started(sys.executable, EXAMPLES / name, *words) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline().decode()]
        while lines[-1] and not lines[-1].startswith("listening on "):
            lines.append(process.stdout.readline().decode())
        line = lines[-1]
        assert line, lines or process.stderr.read().decode()
        yield Serving(process, int(line.rpartition(":")[2]))


def client(name: str, *words: object) -> Outcome:
    """Run an example to its end."""
    return run(sys.executable, EXAMPLES / name, *words, PYTHONIOENCODING="utf-8")


def connected(port: int) -> socket.socket:
    """A client's socket."""
    return socket.create_connection(("127.0.0.1", port), LIMIT)


PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py") if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8"))


def test_every_example_is_tested() -> None:
    """Each file in examples/ is named in this file, and on a page of the documentation."""
    names = {path.name for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("systemd/*")]}
    assert len(names) >= 20
    assert not [name for name in names if f'"{name}"' not in Path(__file__).read_text(encoding="utf-8")]
    pages = "".join(page.read_text(encoding="utf-8") for page in (EXAMPLES.parent / "docs").rglob("*.md"))
    assert not [name for name in names if name not in pages]


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_says_what_it_is(name: str) -> None:
    """`--help` prints the program's own description, and ends with status 0."""
    done = client(name, "--help")
    assert (done.status, done.errors) == (0, "")
    description = ast.get_docstring(ast.parse((EXAMPLES / name).read_text(encoding="utf-8")))
    assert description is not None
    assert description.split("\n")[0] in done.output.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("echo_server.py", []), ("chat_server.py", []), ("line_protocol.py", []), ("behind_balancer.py", []),
        ("callback_proxy.py", ["127.0.0.1", 1]), ("wsgi_app.py", ["--upstream", "http://127.0.0.1:1"]),
    ],
)  # fmt: skip
def test_a_server_ends_on_a_signal(name: str, words: list[object], number: int) -> None:
    """Ctrl-C and SIGTERM end every server with status 0 and without a traceback."""
    with example(name, *words) as server:
        done = server.end(number)
    assert (done.status, done.errors) == (0, "")


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
    """A member of the chat."""

    def __init__(self, port: int, name: str) -> None:
        self.socket = connected(port)
        self.file = self.socket.makefile("rw", encoding="utf-8", newline="\n")
        assert self.file.read(len("Your name? ")) == "Your name? "
        self.say(name)
        assert self.hears() == f"* {name} comes in"

    def say(self, line: str) -> None:
        """Send a line."""
        self.file.write(f"{line}\n")
        self.file.flush()

    def hears(self) -> str:
        """Return the next line."""
        return self.file.readline().rstrip("\n")

    def leave(self) -> None:
        """End the connection."""
        self.file.close()
        self.socket.close()


def test_chat_server() -> None:
    """What one member sends all others read, in order; they see who comes and goes."""
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
    """A member who types half a line, and one who never reads, do not hold up the others; the latter is sent away."""
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
        sent = 0
        while listener.is_alive() and sent < 1_000_000:
            bert.say("x" * 900)
            sent += 1
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


def test_fastest_answer_beside_servers_that_fail() -> None:
    """A server that ends without an answer, and one that stops within its line, do not keep back the answer of a third."""
    commands = ("exec:true", "exec:read q; printf half; sleep 9", "exec:read q; sleep 0.5; echo $q")
    with serving(commands[0]) as short, serving(commands[1]) as half, serving(commands[2]) as good:
        addresses = [f"127.0.0.1:{server.port}" for server in (short, half, good)]
        done = run(sys.executable, EXAMPLES / "fastest_answer.py", "hello?", *addresses)
    assert (done.status, done.output, done.errors) == (0, f"{addresses[-1]}: hello?\n".encode(), "")


def test_fastest_answer_without_an_answer() -> None:
    """If every server ends without an answer, or is not there, the example says so, with status 1."""
    with serving("exec:read q") as server:
        server_address = f"127.0.0.1:{server.port}"
        done = run(sys.executable, EXAMPLES / "fastest_answer.py", "hello?", f"127.0.0.1:{free_port()}", server_address)
        assert (done.status, done.output) == (1, b"")
        assert done.errors.endswith("no answer\n")
        assert server_address not in done.errors


@pytest.mark.parametrize("size", [100, 5000])
def test_lispworks_forms(nginx: Nginx, size: int) -> None:
    """Both forms get the same thousand bytes of an answer from a real web server."""
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


def test_get_page_without_a_server() -> None:
    """A connection that is refused is one event, and the program ends."""
    done = run(sys.executable, EXAMPLES / "get_page.py", "127.0.0.1", free_port())
    assert (done.status, done.output) == (0, b"")
    assert done.errors.startswith("ev: TCPRefused(")
    assert len(done.errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("connection_pool.py", []), ("lispworks_forms.py", []), ("redis_client.py", ["PING"]), ("starttls_mail.py", []),
    ],
)
def test_clients_without_a_server(name: str, words: list[str]) -> None:
    """A client that cannot connect says so in one line, and ends with status 1."""
    done = client(name, "127.0.0.1", free_port(), *words)
    assert (done.status, done.output) == (1, b"")
    assert len(done.errors.splitlines()) == 1
    assert "Connection refused" in done.errors


USED = "USED PORT"
TOO_HIGH = 65536
WRONG: list[tuple[str, list[Any], str]] = [
    *((name, words, said) for name in ("behind_balancer.py", "broadcast.py", "chat_server.py", "echo_server.py", "line_protocol.py")
      for words, said in (([USED], "Address already in use"), ([TOO_HIGH], "must be within 0..65535"))),
    ("behind_balancer.py", ["--metrics", USED], "Address already in use"),
    *(("behind_balancer.py", ["--metrics", port], "0-65535") for port in (-1, TOO_HIGH)),
    ("behind_balancer.py", ["--balancer", "nowhere"], "'nowhere'"),
    ("callback_proxy.py", ["127.0.0.1", 1, USED], "Address already in use"),
    ("callback_proxy.py", ["127.0.0.1", 1, TOO_HIGH], "must be within 0..65535"),
    *(("callback_proxy.py", ["127.0.0.1", port], "port must be within 1..65535") for port in (-1, 0, TOO_HIGH)),
    ("connection_pool.py", ["127.0.0.1", TOO_HIGH], "must be within 0..65535"),
    *(("connection_pool.py", ["127.0.0.1", 1, option, number], f"{option} must be positive")
      for option in ("--connections", "--greenlets", "--rounds") for number in (0, -1)),
    ("drain_nothing.py", ["127.0.0.1", TOO_HIGH], "must be within 0..65535"),
    ("fastest_answer.py", ["who?", f"127.0.0.1:{TOO_HIGH}"], "must be within 0..65535"),
    ("fastest_answer.py", ["who?", "nowhere"], "nowhere: "),
    ("get_page.py", ["127.0.0.1", TOO_HIGH], "must be within 0..65535"),
    ("graceful_deploy.py", ["--version-file", "/nowhere/at/all"], "/nowhere/at/all"),
    ("graceful_deploy.py", ["--version-file", __file__, USED], "Address already in use"),
    ("graceful_deploy.py", ["--version-file", __file__, TOO_HIGH], "0-65535"),
    *(("graceful_deploy.py", ["--version-file", __file__, "--workers", number], "--workers must be positive") for number in (0, -1)),
    ("lispworks_forms.py", ["127.0.0.1", TOO_HIGH], "must be within 0..65535"),
    ("mutual_tls.py", ["serve", "--cert", "CERT", "--key", "KEY", "--ca", "CA", USED], "Address already in use"),
    ("mutual_tls.py", ["serve", "--cert", "CERT", "--key", "KEY", "--ca", "CA", TOO_HIGH], "must be within 0..65535"),
    ("mutual_tls.py", ["serve", "--cert", "CERT", "--key", "KEY", "--ca", "/nowhere/ca", 0], "/nowhere/ca: "),
    ("mutual_tls.py", ["serve", "--cert", "CERT", "--key", "KEY", "--ca", __file__, 0], f"{__file__}: "),
    ("mutual_tls.py", ["ask", "--cert", "/nowhere/cert", "--key", "KEY", "--ca", "CA", "localhost", 1], "/nowhere/cert"),
    ("mutual_tls.py", ["ask", "--cert", "CERT", "--key", "/nowhere/key", "--ca", "CA", "localhost", 1], "/nowhere/key"),
    ("mutual_tls.py", ["ask", "--cert", "CERT", "--key", "KEY", "--ca", "CA", "localhost", TOO_HIGH], "must be within 0..65535"),
    ("proxy_tunnel.py", [f"http://127.0.0.1:{TOO_HIGH}", "http://127.0.0.1/"], "0-65535"),
    ("proxy_tunnel.py", ["http:", "http:"], "http://HOST"),
    ("proxy_tunnel.py", ["http://127.0.0.1:0", "http://127.0.0.1/"], "cannot connect to 127.0.0.1:0"),
    ("proxy_tunnel.py", ["http://127.0.0.1:1", "https://127.0.0.1/", "--ca", "/nowhere/ca"], "/nowhere/ca: "),
    ("redis_client.py", ["127.0.0.1", TOO_HIGH, "PING"], "must be within 0..65535"),
    ("resuming_download.py", ["http://127.0.0.1:1/x", "/nowhere/at/all"], "/nowhere/at/all"),
    ("resuming_download.py", [f"http://127.0.0.1:{TOO_HIGH}/x", os.devnull], f"invalid web_address value: 'http://127.0.0.1:{TOO_HIGH}/x'"),
    ("resuming_download.py", ["--read-timeout", 0, "http://127.0.0.1:1/x", os.devnull], "read_timeout must be positive"),
    ("resuming_download.py", ["http://127.0.0.1:0/x", os.devnull], "only http://HOST[:PORT]/PATH"),
    ("starttls_mail.py", ["127.0.0.1", TOO_HIGH], "must be within 0..65535"),
    ("starttls_mail.py", ["127.0.0.1", 1, "--ca", "/nowhere/ca"], "/nowhere/ca: "),
    ("wsgi_app.py", ["--upstream", "http://127.0.0.1:1", USED], "Address already in use"),
    *(("thousand_clients.py", words, "must be positive") for words in ([0], [-1], [1, 0], [1, -1])),
    ("thousand_clients.py", [10**9], "descriptors"),
    ("wsgi_app.py", ["--upstream", "http://127.0.0.1:1", TOO_HIGH], "0-65535"),
    *(("wsgi_app.py", ["--upstream", url], f"argument --upstream: invalid web_address value: {url!r}")
      for url in ("", "127.0.0.1:1", "https://127.0.0.1", "http://:1", f"http://127.0.0.1:{TOO_HIGH}", "http://127.0.0.1:x")),
]  # fmt: skip
"""Examples that cannot do what they are told, their words, and what they say: of a port that is in use, of files, of wrong arguments."""


@pytest.mark.parametrize(("name", "words", "said"), WRONG)
def test_what_cannot_be_done_is_said_in_one_line(name: str, words: list[object], said: str, certificates: Certificates) -> None:
    """A port in use, a file that cannot be read, and a wrong argument are one line (argparse prints the usage too), and status 1 or 2."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        values: dict[object, object] = {USED: listener.getsockname()[1], "CA": certificates.ca}
        values |= {"CERT": certificates.server.chain, "KEY": certificates.server.key}
        done = client(name, *(values.get(word, word) for word in words))
    assert (done.status in (1, 2), done.output) == (True, b""), done
    lines = done.errors.splitlines()
    if done.status == 2:
        lines = [line for line in lines if line.startswith(f"{name}: error: ")]
    assert len(lines) == 1, done.errors
    assert said in lines[0]


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
    """The end of a client's input reaches the target, whose answer of several megabytes still comes back."""
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
    """If the target does not listen, the client is sent away."""
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
        "  2000 bytes",
    ]


def test_thousand_clients() -> None:
    """1,000 clients exchange 10 lines each with the server, none of them wrong."""
    done = run(sys.executable, EXAMPLES / "thousand_clients.py")
    assert (done.status, done.errors) == (0, "")
    assert done.output == b"1000 clients, 10000 lines, 0 wrong\n"


@contextmanager
def cut_after(target: int, limits: list[int]) -> Iterator[int]:
    """A proxy on the port that it yields: connection by connection it resets after so many bytes of the answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT)

        def serve() -> None:
            for limit in limits:
                near, _ = listener.accept()
                with near, connected(target) as far:
                    far.sendall(near.recv(65536))
                    left = limit
                    while left and (data := far.recv(min(left, 65536))):
                        near.sendall(data)
                        left -= len(data)
                    if not left:
                        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(LIMIT)


def test_resuming_download(nginx: Nginx, tmp_path: Path) -> None:
    """A download whose connection is reset three times resumes each time, and the file is what the web server has."""
    checksum = nginx.add_file("resumed", 3_000_000)
    with cut_after(nginx.ports["http"], [500_000, 100, 1_000_000, 10**9]) as port:
        done = client("resuming_download.py", f"http://127.0.0.1:{port}/resumed", tmp_path / "copy")
    assert done.status == 0
    assert hashlib.sha256((tmp_path / "copy").read_bytes()).hexdigest() == checksum
    so_far = [int(line.split()[0]) for line in done.errors.splitlines()]
    assert len(so_far) == 3
    assert so_far == sorted(so_far)
    assert so_far[-1] < 3_000_000
    for url in ("https://127.0.0.1/x", "127.0.0.1/x"):
        refused = client("resuming_download.py", url, tmp_path / "copy")
        assert refused.status == 2
        assert "only http://HOST[:PORT]/PATH" in refused.errors


def test_connection_pool(redis_server: Redis) -> None:
    """A hundred greenlets count in a real Redis over four connections, and no increment is lost."""
    done = client("connection_pool.py", "127.0.0.1", redis_server.ports["redis"])
    assert (done.status, done.errors) == (0, "")
    assert done.output == b"2000 increments by 100 greenlets over 4 connections\n"


@pytest.mark.slow
def test_redis_client(redis_server: Redis) -> None:
    """Answers of each kind from a real Redis: text, a number, a list, nothing, an error."""
    ask = ["redis_client.py", "127.0.0.1", redis_server.ports["redis"]]
    name = f"example-{random.getrandbits(32)}"
    assert client(*ask, "SET", name, "grüße\r\nand more").output == b"OK\n"  # type: ignore[arg-type]
    assert client(*ask, "GET", name).output.decode() == "grüße\r\nand more\n"  # type: ignore[arg-type]
    assert client(*ask, "RPUSH", f"{name}-list", "one", "two").output == b"2\n"  # type: ignore[arg-type]
    assert client(*ask, "LRANGE", f"{name}-list", 0, -1).output == b"one\ntwo\n"  # type: ignore[arg-type]
    assert client(*ask, "GET", f"{name}-missing").output == b"None\n"  # type: ignore[arg-type]
    refused = client(*ask, "INCR", name)  # type: ignore[arg-type]
    assert (refused.status, refused.errors) == (1, "RedisError: ERR value is not an integer or out of range\n")


@pytest.mark.slow
def test_mutual_tls(certificates: Certificates) -> None:
    """The server greets a client by the name in its certificate, and refuses one of another authority, and one without."""
    own = ["--cert", certificates.server.chain, "--key", certificates.server.key, "--ca", certificates.ca]
    with example("mutual_tls.py", "serve", *own, 0) as server:
        ask = ["mutual_tls.py", "ask", "--ca", certificates.ca]
        good = client(*ask, "--cert", certificates.client.chain, "--key", certificates.client.key, "localhost", server.port)  # type: ignore[arg-type]
        assert (good.status, good.output, good.errors) == (0, b"Hello, tester@example.test\n", "")
        other = certificates.unknown_ca
        bad = client(*ask, "--cert", other.chain, "--key", other.key, "localhost", server.port)  # type: ignore[arg-type]
        assert bad.status == 1
        assert bad.errors.startswith("TLSError: "), bad.errors
        without = run(openssl(), "s_client", "-connect", f"localhost:{server.port}", "-CAfile", certificates.ca, "-quiet")
        assert "certificate required" in without.errors
        done = server.end()
    assert (done.status, done.output) == (0, b"127.0.0.1 is tester@example.test\n")


def test_starttls_mail(smtp_server: Exim, certificates: Certificates) -> None:
    """A real mail server offers more after STARTTLS, and its certificate is checked."""
    done = client("starttls_mail.py", "localhost", smtp_server.ports["smtp"], "--ca", certificates.ca)
    assert (done.status, done.errors) == (0, "")
    lines = done.output.decode().splitlines()
    assert lines[0].startswith("TLSv1.")
    assert "  AUTH PLAIN" in lines
    assert "  STARTTLS" not in lines
    refused = client("starttls_mail.py", "localhost", smtp_server.ports["smtp"])
    assert refused.status == 1
    assert "certificate" in refused.errors
    with serving("exec:true") as server:
        ended = client("starttls_mail.py", "127.0.0.1", server.port)
    assert (ended.status, ended.errors) == (1, f"127.0.0.1: end of file from 127.0.0.1:{server.port}\n")


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_proxy_tunnel(kind: str, nginx: Nginx, certificates: Certificates, tmp_path: Path) -> None:
    """A page comes whole through a real proxy, plain and over TLS; a target that is not there is reported."""
    nginx.add_file("tunnelled", 300_000)
    content = (nginx.documents / "tunnelled").read_bytes()
    with proxy(kind, tmp_path) as address:
        for scheme in ("http", "https"):
            url = f"{scheme}://127.0.0.1:{nginx.ports[scheme]}/tunnelled"  # a proxy may try only the first address of localhost
            done = client("proxy_tunnel.py", address, url, "--ca", certificates.ca)
            assert (done.status, done.errors) == (0, "")
            head, _, body = done.output.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK")
            assert body == content
        refused = client("proxy_tunnel.py", address, f"http://127.0.0.1:{free_port()}/")
        assert refused.status == 1
        assert refused.errors.startswith("the proxy refuses: ")


def test_broadcast() -> None:
    """Every client that reads gets every line; one that does not read misses some, is told how many, and holds up no other, however long a
    line is."""
    with example("broadcast.py") as server:
        assert server.process.stdin is not None
        fast, slow = connected(server.port), connected(server.port)
        with fast, slow, fast.makefile("rb") as fast_file:
            line = b"x" * 30_000 + b"\n"
            stdin = server.process.stdin
            until(lambda: stdin.write(b"first\n") and len(select.select([fast, slow], [], [], 0.05)[0]) == 2)
            stdin.write(b"second\n")
            while fast_file.readline() == b"first\n":
                pass
            middle, long = b"y" * 100_000 + b"\n", b"z" * 20_000_000 + b"\n"  # more than a stream takes, and than the system does
            stdin.write(middle)
            assert fast_file.readline() == middle
            heard_on = threading.Event()

            def write_on() -> None:
                stdin.write(long)
                while not heard_on.wait(0.01):
                    stdin.write(b"third\n")

            writer = threading.Thread(target=write_on)
            writer.start()
            while not fast_file.readline(65536).endswith(b"third\n"):
                pass
            heard_on.set()
            writer.join(LIMIT)
            stdin.write(b"fourth\n")
            while fast_file.readline() != b"fourth\n":
                pass
            sent = 0
            while sent < 400:
                server.process.stdin.write(line)
                assert fast_file.readline() == line
                sent += 1
            server.process.stdin.write(b"last\n")
            assert fast_file.readline() == b"last\n"
            heard = bytearray()

            def read_on() -> None:
                while data := slow.recv(65536):
                    heard.extend(data)

            reader = threading.Thread(target=read_on)
            reader.start()
            while b" lines missed)" not in heard:
                server.process.stdin.write(b"again\n")
                assert fast_file.readline() == b"again\n"
            missed = int(re.findall(rb"\((\d+) lines missed\)", heard)[0])
            assert 0 < missed < sent + 1000
            server.process.stdin.close()
            assert fast_file.read() == b""
            reader.join(LIMIT)
        server.process.stdin = None
        done = server.ended()
    assert (done.status, done.errors) == (0, "")


@pytest.mark.slow
def test_behind_balancer(haproxy: Callable[..., HAProxy]) -> None:
    """Behind a real HAProxy the server knows its clients' addresses, and its page of metrics counts them."""
    with started(sys.executable, EXAMPLES / "behind_balancer.py") as process:
        assert process.stdout is not None
        page = process.stdout.readline().decode().removeprefix("metrics on ").strip()
        port = int(process.stdout.readline().decode().rpartition(":")[2])
        front = free_port()
        haproxy(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
            f"listen front\n bind 127.0.0.1:{front}\n server one 127.0.0.1:{port} send-proxy-v2\n",
            front=front,
        )
        with connected(front) as asker:
            asker.sendall(b"who am I?\n")
            assert asker.recv(1000) == b"you are 127.0.0.1, through 127.0.0.1\n"
            text = urllib.request.urlopen(page, timeout=LIMIT).read().decode()
            assert re.search(r"^geventstreams_connections_active\{.*\} 1\.0$", text, re.MULTILINE)


@contextmanager
def stalling_upstream() -> Iterator[int]:
    """A web server that stops for half a second in the middle of each answer: its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        go_on = threading.Event()

        def answer(peer: socket.socket) -> None:
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 1000)
                go_on.wait(0.5)
                peer.sendall(b"y" * 1000)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=[listener.accept()[0]]).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(LIMIT)


def test_wsgi_app() -> None:
    """Under gevent.pywsgi an answer that stalls for longer than each read waits is passed on whole."""
    with stalling_upstream() as upstream, example("wsgi_app.py", "--upstream", f"http://127.0.0.1:{upstream}") as server:
        done = run(curl(), "--silent", "--show-error", "--fail", f"http://127.0.0.1:{server.port}/page")
    assert (done.status, done.output, done.errors) == (0, b"x" * 1000 + b"y" * 1000, "")


@pytest.mark.slow
def test_gunicorn() -> None:
    """gunicorn with its gevent worker and "gunicorn_config.py" passes on an answer that stalls, too."""
    pytest.importorskip("gunicorn")
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--config", "gunicorn_config.py", "--bind", f"127.0.0.1:{port}", "wsgi_app:application"]
    with stalling_upstream() as upstream:
        os.environ["UPSTREAM"] = f"http://127.0.0.1:{upstream}"
        try:
            with started(*command, folder=EXAMPLES) as process:
                until(lambda: listens(port), 30)
                done = run(curl(), "--silent", "--show-error", "--fail", f"http://127.0.0.1:{port}/page")
                process.terminate()
                process.wait(LIMIT)
        finally:
            del os.environ["UPSTREAM"]
    assert (done.status, done.output, done.errors) == (0, b"x" * 1000 + b"y" * 1000, "")


def test_activated_server() -> None:
    """systemd's own program starts the server with its first client, who is served; SIGTERM drains it."""
    port = free_port()
    names = [f"--setenv={name}" for name in ("PYTHONPATH", "PURE_PYTHON", "GEVENT_LOOP") if name in os.environ]
    command = [find_program("systemd-socket-activate"), "--listen", f"127.0.0.1:{port}", *names]
    with started(*command, sys.executable, EXAMPLES / "activated_server.py") as process:
        until(lambda: f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text(encoding="ascii"), 20)
        with connected(port) as waker:
            waker.sendall(b"wake up\n")
            assert waker.recv(100) == b"wake up\n"
            process.terminate()
            assert waker.recv(100) == b""
        output, _ = process.communicate(timeout=LIMIT)
    assert (process.returncode, output) == (0, b"DrainReport(finished=0, idle=1, killed=0)\n")
    alone = client("activated_server.py")
    assert alone.status == 1
    assert "no listening socket" in alone.errors


def test_systemd_units(tmp_path: Path) -> None:
    """systemd finds nothing wrong with "echo.socket" and "echo.service", once the service names a program that is there."""
    for name in ("echo.socket", "echo.service"):
        text = (EXAMPLES / "systemd" / name).read_text(encoding="utf-8")
        text = text.replace("/opt/echo/.venv/bin/python", "/bin/sh")
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = run(find_program("systemd-analyze"), "verify", tmp_path / "echo.socket", tmp_path / "echo.service")
    assert (done.status, [line for line in done.errors.splitlines() if "echo." in line]) == (0, [])


@pytest.mark.slow
def test_line_protocol() -> None:
    """The protocol's server answers nc, and its own tests pass under pytest."""
    with example("line_protocol.py") as server:
        done = run(nc(), "-N", "127.0.0.1", server.port, given=b"1\n41\nx\n")
        assert done.output == b"1\n42\nerror: not a number\n"
    tests = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", EXAMPLES / "test_line_protocol.py")
    assert tests.status == 0, tests.output.decode()
    assert b"11 passed" in tests.output


@pytest.mark.slow
def test_graceful_deploy(tmp_path: Path) -> None:
    """While SIGHUP replaces both workers, thousands of connections are served, none is refused or broken."""
    version = tmp_path / "version.txt"
    version.write_text("1.0\n")
    with example("graceful_deploy.py", "--workers", 2, "--version-file", version) as server:
        answers: list[str] = []
        enough = threading.Event()

        def ask() -> None:
            while not enough.is_set():
                with connected(server.port) as asker, asker.makefile("rwb") as file:
                    file.write(b"hello\n")
                    file.flush()
                    answers.append(file.readline().decode())

        askers = [threading.Thread(target=ask) for _ in range(4)]
        for asker in askers:
            asker.start()
        until(lambda: len(answers) > 50, LIMIT)
        version.write_text("2.0\n")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(answers) > 100 and all("version 2.0" in answer for answer in answers[-20:]), LIMIT)
        enough.set()
        for asker in askers:
            asker.join(LIMIT)
        assert all(re.fullmatch(r"version [12]\.0, process \d+: hello\n", answer) for answer in answers)
        assert len({answer for answer in answers if "version 2.0" in answer}) == 2
        done = server.end()
    assert (done.status, done.errors) == (0, "")
