"""Every example of every `--help` does what it says, with real servers in the place of those that it names."""

import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from kit.command_line import LIMIT, serving
from servers import Certificates, Exim, Nginx, SServer, require, socat
from servers.processes import wait_until

from geventstreams import __main__
from geventstreams.cli import connect, demo, doctor, relay, serve

GEVENTSTREAMS = shlex.join([sys.executable, "-m", "geventstreams"])

CLIENTS = [example for module in (__main__, connect, demo, doctor) for example in module.EXAMPLES if " serve " not in example[1]]
SERVERS = [example for module in (__main__, serve, relay) for example in module.EXAMPLES if "--listen" in example[1]]

TYPED = {
    "talk to a server": ("hello\n", "hello\n"),
    "a client, for it": ("hello\n", "hello\n"),
    "see every byte": ("hello\n", "hello\n"),
    "speak to a mail server": ("EHLO me.example\nQUIT\n", r"(?s)250-localhost .*221 "),
    "trust an authority": ("olleh\n", "hello\n"),
    "a Unix socket": ("hello\n", "HELLO\n"),
    "through a proxy": ("GET / HTTP/1.0\r\n\r\n", r"HTTP/1\.1 \d\d\d "),
    "send a request": ("", ""),
    "see it work": ("", "(?s)lost: 0"),
    "more of it": ("", "(?s)lost: 0"),
    "without TLS": ("", "(?s)lost: 0"),
    "more about a command": ("", "usage: geventstreams connect"),
}
"""What is typed into an example, by the beginning of its comment, and how its output begins, as a pattern."""


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on, and the end."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def socks_proxy() -> Iterator[int]:
    """A SOCKS 5 proxy for one connection to a name or an IPv4 address: its port."""

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(2 + 1)
            client.sendall(b"\5\0")
            kind = client.recv(4)[3]
            host = socket.inet_ntoa(client.recv(4)) if kind == 1 else client.recv(client.recv(1)[0]).decode()
            with socket.create_connection((host, int.from_bytes(client.recv(2), "big")), LIMIT) as server:
                client.sendall(b"\5\0\0\1" + bytes(6))
                back = threading.Thread(target=pump, args=(server, client))
                back.start()
                pump(client, server)
                back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(LIMIT)


@pytest.fixture
def folder(tmp_path: Path, certificates: Certificates) -> Path:
    """A folder with the files that examples name."""
    for name, path in {
        "own-ca.pem": certificates.ca,
        "chain.pem": certificates.server.chain,
        "key.pem": certificates.server.key,
        "client.pem": certificates.client.chain,
        "client.key": certificates.client.key,
    }.items():
        shutil.copy(path, tmp_path / name)
    (tmp_path / "public").mkdir()
    (tmp_path / "answer.txt").write_text("answer")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(("comment", "command"), CLIENTS, ids=[comment for comment, _ in CLIENTS])
def test_an_example_of_a_client(
    comment: str, command: str, folder: Path, nginx: Nginx, smtp_server: Exim, certificates: Certificates
) -> None:
    """The command ends with status 0, and writes what its comment promises."""
    require("socat")
    wants_certificate = ["-Verify", "1", "-CAfile", str(certificates.ca), "-verify_return_error", "-rev"]
    unix = subprocess.Popen([socat(), f"UNIX-LISTEN:{folder}/app.sock", "SYSTEM:tr a-z A-Z"])
    with serving("echo") as echo, SServer(certificates.server, *wants_certificate) as database, socks_for(command) as proxy:
        for name, place in {
            "localhost:7000": f"127.0.0.1:{echo.port}",
            "127.0.0.1:7000": f"127.0.0.1:{echo.port}",
            "www.example.org:80": f"127.0.0.1:{nginx.ports['http']}",
            "www.example.org:443": f"localhost:{nginx.ports['https']}",
            "mail.example.org:25": f"localhost:{smtp_server.ports['smtp']}",
            "db.internal:5433": f"localhost:{database.ports['tls']}",
            "/run/app.sock": f"{folder}/app.sock",
            "localhost:1080": f"127.0.0.1:{proxy}",
            "--seconds 10": "--seconds 1",
        }.items():
            command = command.replace(name, place)
        typed, pattern = next((value for start, value in TYPED.items() if comment.startswith(start)), ("", ""))
        assert wait_until((folder / "app.sock").exists, LIMIT)
        done = subprocess.run(
            ["bash", "-c", "set -o pipefail; " + command.replace("geventstreams ", f"{GEVENTSTREAMS} ")],
            input=typed, capture_output=True, text=True, timeout=LIMIT, check=False, cwd=folder,
            env={"SSL_CERT_FILE": str(certificates.ca), "SSL_CERT_DIR": "/nowhere", "PATH": "/usr/bin:/bin", **pythonpath()},
        )  # fmt: skip
    unix.kill()
    unix.wait()
    assert done.returncode == 0, done.stderr
    assert re.search(pattern, done.stdout), done.stdout
    if comment.startswith("send a request"):
        assert (folder / "answer").read_bytes().startswith(b"HTTP/1.1 ")
    if comment.startswith("see what TLS"):
        assert re.search("connected to .*accepted", done.stderr)
        assert "BEGIN CERTIFICATE" in done.stderr
    if comment.startswith("see every byte"):
        assert "68 65 6c 6c 6f 0a" in done.stderr


def socks_for(command: str) -> "contextmanager[int]":  # type: ignore[type-arg]
    """A SOCKS proxy, if the command goes through one."""
    return socks_proxy() if "socks5" in command else no_proxy()


@contextmanager
def no_proxy() -> Iterator[int]:
    yield 0


def pythonpath() -> dict[str, str]:
    """Where programs find the package that is tested."""
    return {"PYTHONPATH": str(Path(__main__.__file__).resolve().parents[1])}


@pytest.mark.slow
@pytest.mark.parametrize(("comment", "command"), SERVERS, ids=[comment for comment, _ in SERVERS])
def test_an_example_of_a_server(comment: str, command: str, folder: Path) -> None:
    """The command listens, says where, and ends with status 0 after SIGTERM."""
    command = re.sub(r"--listen \S+", "--listen 127.0.0.1:0", command).replace("--metrics 9100", "--metrics 0")
    words = ["bash", "-c", "exec " + command.replace("geventstreams ", f"{GEVENTSTREAMS} ", 1)]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert re.match(r"(serving|relaying to) .* on 127\.0\.0\.1:\d+$", line), (line, comment)
            port = int(line.rpartition(":")[2])
            # A relay whose other end is not there resets its client, which may see that within its call of connect.
            with suppress(ConnectionResetError), socket.create_connection(("127.0.0.1", port), LIMIT):
                pass
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=LIMIT)
            assert (process.returncode, "Traceback" in errors) == (0, False)
        finally:
            process.kill()
