"""`serve`: answers nc, socat, curl and openssl; runs programs and sends files; and drains when it is told to end."""

import hashlib
import os
import re
import signal
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import gevent
import pytest
from kit.command_line import LIMIT, Serving, geventstreams, run, serving, started
from kit.conditions import until
from kit.network import reset
from servers import Certificate, Certificates, curl, nc, openssl, require_address, require_name, s_client, socat
from servers.processes import is_running

from geventstreams import SocketStream
from geventstreams.cli.programs import Exec
from geventstreams.cli.statuses import Status

MIB = 1 << 20

# Each sends its standard input to a port of this machine, ends its half, and writes what comes to standard output.
CLIENTS: dict[str, Callable[[int], list[str]]] = {
    "nc": lambda port: [nc(), "-N", "127.0.0.1", str(port)],
    "socat": lambda port: [socat(), "-t", str(LIMIT), "-", f"TCP:127.0.0.1:{port}"],
    "curl": lambda port: [curl(), "--silent", "--no-buffer", f"telnet://127.0.0.1:{port}"],
    "connect": lambda port: [sys.executable, "-m", "geventstreams", "connect", "127.0.0.1", str(port)],
}


def connected(port: int) -> socket.socket:
    """A client's socket."""
    return socket.create_connection(("127.0.0.1", port), LIMIT)


def ends(connection: socket.socket) -> bytes:
    """All that comes up to the end."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("client", ["nc", "socat"])
def test_echo_answers_well_known_clients(client: str) -> None:
    """`serve echo` sends 5 MiB back to nc and socat, byte by byte, and ends when they do."""
    content = os.urandom(5 * MIB)
    with serving("echo") as server:
        done = run(*CLIENTS[client](server.port), given=content)
        assert (done.status, done.output) == (0, content)
        assert server.end().status == 0


def test_echo_answers_curl() -> None:
    """`serve echo` answers `curl telnet://`, which does not end its half, at once."""
    with serving("echo") as server, started(*CLIENTS["curl"](server.port)) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"is anybody there?\n")
        assert client.stdout.readline() == b"is anybody there?\n"


def test_discard_takes_everything() -> None:
    """`serve discard` takes 5 MiB, says nothing, and ends when the client does."""
    with serving("discard") as server:
        done = run(*CLIENTS["nc"](server.port), given=os.urandom(5 * MIB))
        assert (done.status, done.output) == (0, b"")


@pytest.mark.parametrize("client", ["nc", "socat", "curl"])
def test_time_tells_the_time(client: str) -> None:
    """`serve time` answers every client with one line, the time of now in the form of ISO 8601, and ends."""
    with serving("time") as server:
        done = run(*CLIENTS[client](server.port))
    assert done.output.count(b"\n") == 1
    told = datetime.fromisoformat(done.output.decode().strip())
    assert abs(datetime.now(timezone.utc) - told) < timedelta(seconds=LIMIT)


@pytest.mark.parametrize("client", ["nc", "socat", "curl"])
def test_file_is_sent_whole(client: str, tmp_path: Path) -> None:
    """`serve file:PATH` sends 20 MiB of a file to each client, and ends."""
    # Printable ones: curl would obey those that are commands of TELNET.
    content = os.urandom(20 * MIB).translate(bytes(number % 64 + 32 for number in range(256)))
    (tmp_path / "a file").write_bytes(content)
    with serving(f"file:{tmp_path / 'a file'}") as server:
        for _ in range(2):
            done = run(*CLIENTS[client](server.port))
            assert hashlib.sha256(done.output).digest() == hashlib.sha256(content).digest()


def test_a_file_that_becomes_shorter_is_no_whole_file(tmp_path: Path) -> None:
    """A file that is truncated while it is sent resets the connection, and is one line: the client does not take a part for the whole."""
    path = tmp_path / "file"
    path.write_bytes(bytes(64 * MIB))
    with serving(f"file:{path}") as server:
        with connected(server.port) as client:
            assert client.recv(1)
            os.truncate(path, 0)
            with pytest.raises(ConnectionResetError):
                ends(client)
        done = server.end()
    (line,) = [line for line in done.errors.splitlines() if not line.startswith("drained")]
    assert line.endswith(f": the file became shorter while it was sent: {path}")


def test_file_that_disappears_is_told_in_a_line(tmp_path: Path) -> None:
    """A file that is gone when a client comes is one line on standard error, and the server goes on."""
    path = tmp_path / "file"
    path.write_bytes(b"here")
    with serving(f"file:{path}") as server:
        path.unlink()
        with pytest.raises(ConnectionResetError), connected(server.port) as client:
            ends(client)
        path.write_bytes(b"here again")
        with connected(server.port) as client:
            assert ends(client) == b"here again"
        done = server.end()
    (line,) = [line for line in done.errors.splitlines() if not line.startswith("drained")]
    assert f"No such file or directory: {path}" in line


@pytest.mark.parametrize("kind", ["fifo", "device", "socket", "directory", "link to a fifo"])
def test_file_that_is_not_regular_is_refused(kind: str, tmp_path: Path) -> None:
    """What is no regular file can make its reader wait for ever: one line, status 2, before anything listens."""
    path = tmp_path / "it"
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "device":
            path = Path("/dev/tty")
        elif kind == "socket":
            listener.bind(str(path))
        elif kind == "directory":
            path.mkdir()
        else:
            os.mkfifo(path)
            if kind.startswith("link"):
                (tmp_path / "link").symlink_to(path)
                path = tmp_path / "link"
        line = geventstreams("serve", f"file:{path}").refused(Status.USAGE)
    assert f"cannot read {str(path)!r}: {'Is a directory' if kind == 'directory' else 'not a regular file'}" in line


def test_file_that_is_replaced_by_a_fifo_is_told_in_a_line(tmp_path: Path) -> None:
    """A file in whose place a FIFO is when a client comes is one line on standard error, and the server goes on."""
    path = tmp_path / "file"
    path.write_bytes(b"here")
    with serving(f"file:{path}") as server:
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(ConnectionResetError), connected(server.port) as client:
            ends(client)
        path.unlink()
        path.write_bytes(b"here again")
        with connected(server.port) as client:
            assert ends(client) == b"here again"
        done = server.end()
    (line,) = [line for line in done.errors.splitlines() if not line.startswith("drained")]
    assert f"not a regular file: {path}" in line


HANGING = """
import os, sys
from geventstreams import __main__

def hang(path, *_):
    return opened(sys.argv[1], os.O_RDONLY)  # a FIFO: waits in the system, as a mount does whose server is gone

opened, os.open = os.open, hang
sys.exit(__main__.main(sys.argv[2:]))
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_file_that_hangs_stops_no_other_client(tmp_path: Path, signals: int) -> None:
    """Where opening a file hangs, the server goes on: it accepts, drains on a signal, and ends at once on a second one."""
    path, fifo = tmp_path / "file", tmp_path / "fifo"
    path.write_bytes(b"here")
    os.mkfifo(fifo)
    words = ["serve", f"file:{path}", "--listen", "127.0.0.1:0", "--drain", "0.3" if signals == 1 else "1000"]
    with started(sys.executable, "-c", HANGING, fifo, *words) as process:
        port = int(process.stdout.readline().rpartition(b":")[2])
        clients = [connected(port) for _ in range(30)]
        process.send_signal(signal.SIGTERM)
        until(lambda: refuses(port), LIMIT)
        if signals == 2:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == (Status.DONE if signals == 1 else Status.INTERRUPTED)
        for client in clients:
            client.close()


@pytest.mark.parametrize("client", ["nc", "socat", "connect"])
def test_exec_gives_each_connection_a_program(client: str) -> None:
    """`serve exec:CMD` runs a shell command whose standard input and output are the connection, 5 MiB each way."""
    content = os.urandom(5 * MIB)
    with serving("exec:cat; echo done") as server:
        done = run(*CLIENTS[client](server.port), given=content)
    assert (done.status, done.output) == (0, content + b"done\n")


def test_exec_tells_the_program_its_client() -> None:
    """The program finds its client's address in REMOTE_HOST and REMOTE_PORT."""
    with serving("exec:echo $REMOTE_HOST $REMOTE_PORT") as server, connected(server.port) as client:
        host, port = client.getsockname()
        assert ends(client) == f"{host} {port}\n".encode()


def test_exec_of_a_program_that_fails_ends_the_connection() -> None:
    """A command that there is none of ends its connection, and the server goes on."""
    with serving("exec:no-such-program-here") as server:
        for _ in range(2):
            with connected(server.port) as client:
                assert ends(client) == b""


def test_exec_ends_programs_whose_client_is_gone() -> None:
    """A program that talks to a client that has reset the connection is ended, with all that it started."""
    with serving("exec:sleep 1000 & echo $! $$; yes") as server:
        with connected(server.port) as client:
            line = b""
            while not line.endswith(b"\n"):
                line += client.recv(1)
            pids = [int(word) for word in line.split()]
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: not any(map(is_running, pids)), LIMIT)


COMMIT = "cat > {0}/upload; echo complete > {0}/verdict"
"""Takes its input for whole when it ends in order."""


def uploads(folder: Path, count: int) -> bool:
    """Return whether so many bytes of an upload have arrived."""
    upload = folder / "upload"
    return upload.exists() and upload.stat().st_size == count


def is_free(server: Serving) -> bool:
    """Return whether the server runs no program any more."""
    return below(server.process.pid) == []


def test_exec_takes_an_orderly_end_for_one(tmp_path: Path) -> None:
    """A client that has sent all and ends, also without waiting for an answer, is an end of input for the program."""
    with serving(f"exec:{COMMIT.format(tmp_path)}") as server:
        with connected(server.port) as client:
            client.sendall(b"whole")
        until((tmp_path / "verdict").exists, LIMIT)
        assert (tmp_path / "upload").read_bytes() == b"whole"


@pytest.mark.parametrize("way", ["reset", "read timeout", "killed"])
def test_exec_never_takes_a_broken_connection_for_an_end(tmp_path: Path, way: str) -> None:
    """A reset, a read timeout and a drain that is over end the program before its input: half an upload is not committed."""
    options: list[object] = ["--read-timeout", "0.5"] if way == "read timeout" else []
    with serving(f"exec:{COMMIT.format(tmp_path)}", *options) as server, connected(server.port) as client:
        client.sendall(b"half")
        until(lambda: uploads(tmp_path, 4), LIMIT)
        if way == "reset":
            reset(client)
        elif way == "killed":
            server.process.send_signal(signal.SIGINT)
            until(lambda: refuses(server.port), LIMIT)
            server.process.send_signal(signal.SIGINT)
        until(lambda: is_free(server) or server.process.poll() is not None, LIMIT)
        server.process.kill()
    assert not (tmp_path / "verdict").exists()


def test_exec_never_takes_a_cut_off_tls_connection_for_an_end(tmp_path: Path, certificates: Certificates) -> None:
    """A TLS connection that ends without its close_notify ends the program before its input."""
    with serving(f"exec:{COMMIT.format(tmp_path)}", *tls_words(certificates.server)) as server:
        context = ssl.create_default_context(cafile=str(certificates.ca))
        client = context.wrap_socket(connected(server.port), server_hostname="localhost", suppress_ragged_eofs=False)
        with client:
            client.sendall(b"half")
            until(lambda: uploads(tmp_path, 4), LIMIT)
            client.shutdown(socket.SHUT_RDWR)  # of the socket, without a word of TLS
            until(lambda: is_free(server), LIMIT)
    assert not (tmp_path / "verdict").exists()


def test_exec_lets_the_program_tell(tmp_path: Path) -> None:
    """A program whose client has reset the connection gets SIGTERM while its input is still open."""
    command = f"trap 'echo told > {tmp_path}/verdict; exit' TERM; echo ready; while read line; do :; done; echo end > {tmp_path}/verdict"
    with serving(f"exec:{command}") as server:
        with connected(server.port) as client:
            assert client.recv(6) == b"ready\n"
            reset(client)
        until(lambda: is_free(server), LIMIT)
    assert (tmp_path / "verdict").read_text() == "told\n"


def test_exec_gives_what_a_shell_runs_the_same_time(tmp_path: Path) -> None:
    """The shell is gone at once, and what it ran has as much time to tell as a program of its own."""
    script = tmp_path / "script"
    script.write_text(f"trap 'sleep 0.1; echo told > {tmp_path}/verdict; exit' TERM; echo ready; while :; do sleep 0.01; done")
    with serving(f"exec:sh {script}; true") as server:
        with connected(server.port) as client:
            assert client.recv(6) == b"ready\n"
            reset(client)
        until((tmp_path / "verdict").exists, 20)
        until(lambda: is_free(server), LIMIT)


@pytest.mark.parametrize("sent", [0, 4 * MIB], ids=["silent", "more than the pipe takes"])
def test_exec_of_a_program_that_does_not_read_ends_with_its_client(sent: int) -> None:
    """A program that reads nothing gives its place back when its client resets the connection."""
    with serving("exec:sleep 1000", "--max-connections", 1) as server:
        with connected(server.port) as client:
            until(lambda: "sleep" in commands_below(server.process.pid), LIMIT)
            client.setblocking(False)
            with suppress(BlockingIOError):
                while sent:
                    sent -= client.send(bytes(sent))
            reset(client)
        until(lambda: is_free(server), 20)


def test_exec_ends_what_a_program_has_left_behind() -> None:
    """Where the command itself has ended, what it started in the background ends with the connection."""
    with serving("exec:sleep 1000 & echo $!") as server:
        with connected(server.port) as client:
            pid = int(client.makefile("rb").readline())
            reset(client)
        until(lambda: not is_running(pid), 20)


def test_exec_of_a_program_that_stops_reading_is_no_error() -> None:
    """A program that closes its input early goes on, and its client, who sends more than fits anywhere, gets the answer."""
    with serving("exec:exec <&-; sleep 0.5; echo answer") as server, connected(server.port) as client:
        client.settimeout(LIMIT)
        client.sendall(bytes(16 * MIB))
        assert ends(client) == b"answer\n"
        done = server.end()
    assert len(done.errors.splitlines()) == 1, done.errors


@pytest.mark.slow
def test_exec_with_slow_output_is_not_timed_out() -> None:
    """A read timeout passes only where the client neither sends nor gets anything."""
    program = "exec:for i in 1 2 3 4 5 6; do sleep 0.3; echo $i; done"
    with serving(program, "--read-timeout", 1) as server, connected(server.port) as client:
        assert ends(client) == b"1\n2\n3\n4\n5\n6\n"


@pytest.mark.parametrize("drain", ["0", "0.0", "0.5"])
def test_exec_drains_without_committing_half_an_upload(tmp_path: Path, drain: str) -> None:
    """A drain does not end a program's input: its client has until the end of the drain to send the rest, then both are ended."""
    with serving(f"exec:{COMMIT.format(tmp_path)}", "--drain", drain) as server, connected(server.port) as client:
        client.sendall(b"half")
        until(lambda: uploads(tmp_path, 4), LIMIT)
        assert server.end().errors == "drained: 0 finished, 0 idle, 1 killed\n"
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert not (tmp_path / "verdict").exists()


def test_exec_drains_those_who_go_on(tmp_path: Path) -> None:
    """A client that sends the rest of its upload during the drain is served to the end."""
    with serving(f"exec:{COMMIT.format(tmp_path)}", "--drain", LIMIT) as server, connected(server.port) as client:
        client.sendall(b"half")
        until(lambda: uploads(tmp_path, 4), LIMIT)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(server.port), LIMIT)
        client.sendall(b" and half")
        client.shutdown(socket.SHUT_WR)
        assert ends(client) == b""
        assert server.ended().errors == "drained: 1 finished, 0 idle, 0 killed\n"
    assert (tmp_path / "upload").read_bytes() == b"half and half"
    assert (tmp_path / "verdict").exists()


@pytest.mark.slow
def test_exec_of_many_programs_obeys_a_second_signal() -> None:
    """With hundreds of programs that are just being started, a second signal ends all of them within seconds."""
    with serving("exec:sleep 1000", "--drain", 1000) as server:
        clients = [connected(server.port) for _ in range(300)]
        until(lambda: "sleep" in commands_below(server.process.pid), LIMIT)
        server.process.send_signal(signal.SIGINT)
        until(lambda: refuses(server.port), LIMIT)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == Status.INTERRUPTED
        for client in clients:
            client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains(number: signal.Signals) -> None:
    """SIGTERM and SIGINT end idle connections in order, say so in a line, and end `serve` with status 0."""
    with serving("echo") as server, connected(server.port) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        done = server.end(number)
        assert ends(client) == b""
    assert (done.status, done.output, done.errors) == (0, b"", "drained: 0 finished, 1 idle, 0 killed\n")


def test_busy_connections_have_time_to_finish(tmp_path: Path) -> None:
    """A client that is in the middle of a file gets all of it after SIGTERM; new clients are refused at once."""
    content = os.urandom(50 * MIB)
    (tmp_path / "file").write_bytes(content)
    with serving(f"file:{tmp_path / 'file'}", "--drain", 30) as server, connected(server.port) as client:
        beginning = client.recv(100)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(server.port), LIMIT)
        try:
            rest = ends(client)
        except ConnectionResetError:
            rest = b""  # the server says why
        done = server.end(0)
    assert (done.status, done.errors) == (0, "drained: 1 finished, 0 idle, 0 killed\n")
    assert beginning + rest == content


@pytest.mark.parametrize("drain", ["0.2", "0"])
def test_busy_connections_are_killed_in_the_end(drain: str) -> None:
    """After --drain seconds (0: at once) a connection that is still busy is ended, its program with it, and the line says so."""
    with serving("exec:sleep 1000", "--drain", drain) as server, connected(server.port) as client:
        until(lambda: "sleep" in commands_below(server.process.pid), LIMIT)
        done = server.end()
        assert (done.status, done.errors) == (0, "drained: 0 finished, 0 idle, 1 killed\n")
        assert commands_below(server.process.pid) == []
        with pytest.raises(ConnectionResetError):
            client.recv(1)


@pytest.mark.slow
def test_second_signal_ends_at_once() -> None:
    """A second SIGINT during the drain ends `serve` with status 130, and no program stays behind."""
    with serving("exec:sleep 1000", "--drain", 100) as server, connected(server.port):
        until(lambda: "sleep" in commands_below(server.process.pid), LIMIT)
        pids = below(server.process.pid)
        server.process.send_signal(signal.SIGINT)
        until(lambda: refuses(server.port), LIMIT)
        done = server.end(signal.SIGINT)
    assert (done.status, done.errors) == (Status.INTERRUPTED, "")
    until(lambda: not any(map(is_running, pids)), LIMIT)


def test_killed_handler_leaves_no_program_behind() -> None:
    """A handler of `exec:` that is killed at any moment, while it starts its program too, ends the program."""
    for turns in range(15):
        ours, theirs = socket.socketpair()
        with SocketStream(ours) as stream, theirs:
            serving_it = gevent.spawn(Exec("exec sleep 1000"), stream, ("127.0.0.1", 1))
            for _ in range(turns):
                gevent.sleep(0.001)
            serving_it.kill()
        assert "sleep" not in commands_below(os.getpid())


def of_process(pid: int, fact: str) -> str:
    """What the system tells of a process; nothing of one that is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/{fact}").read_text().strip()
    return ""


def below(pid: int) -> list[int]:
    """The descendants of a process."""
    found = [int(word) for word in of_process(pid, f"task/{pid}/children").split()]
    return found + [descendant for child in found for descendant in below(child)]


def commands_below(pid: int) -> list[str]:
    """What the descendants of a process are called."""
    return [of_process(child, "comm") for child in below(pid)]


def refuses(port: int) -> bool:
    """Return whether a loopback port has no listener, without connecting: that would be one more client."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return not any(words[1].endswith(f":{port:04X}") and words[3] == "0A" for words in lines)


def test_same_port_can_be_served_again_at_once() -> None:
    """A port whose server was just ended, with connections, can be listened on again."""
    with serving("echo") as first, connected(first.port) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        first.end()
        with serving("time", listen=f"127.0.0.1:{first.port}") as second, connected(second.port) as other:
            assert ends(other)


@pytest.mark.parametrize("listen", ["[::1]:0", "localhost:0", ":0", "0"])
def test_address_may_be_written_in_any_way(listen: str) -> None:
    """`--listen` takes an IPv6 address in brackets, a name, all addresses (of both kinds), and a port alone."""
    hosts = {"[::1]:0": ["::1"], ":0": ["127.0.0.1", "::1"]}.get(listen, ["127.0.0.1"])
    if listen.startswith("localhost"):
        require_name("localhost")
        hosts = ["localhost"]  # whichever of its addresses this machine names first
    else:
        for host in hosts:
            require_address(host)
    with serving("time", listen=listen) as server:
        for host in hosts:
            with socket.create_connection((host, server.port), LIMIT) as client:
                assert ends(client)


def test_most_connections_wait_for_their_turn() -> None:
    """With --max-connections 1 a second client is served when the first one has gone."""
    with serving("echo", "--max-connections", 1) as server, connected(server.port) as first:
        first.sendall(b"1")
        assert first.recv(1) == b"1"
        with connected(server.port) as second:
            second.sendall(b"2")
            second.settimeout(0.3)
            with pytest.raises(TimeoutError):
                second.recv(1)
            first.close()
            second.settimeout(LIMIT)
            assert second.recv(1) == b"2"


def test_read_timeout_ends_silent_clients() -> None:
    """A client that is silent for --read-timeout seconds is cut off; --verbose tells of each one, and why it went."""
    with serving("echo", "--read-timeout", 0.2, "--verbose") as server, connected(server.port) as client:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        peer = "{}:{}".format(*client.getsockname())
        done = server.end()
    connect, ended, why, _ = done.errors.splitlines()
    assert connect == f"{peer}: connected"
    assert re.fullmatch(rf"{peer}: timed out after [\d.]+ s, received 0 bytes, sent 0 bytes", ended)
    assert f"event=timed_out server=127.0.0.1:{server.port} peer={peer}" in why


@pytest.mark.slow
def test_quiet_server_says_nothing() -> None:
    """With --quiet neither the address nor the drain is told."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = ["timeout", "--signal=TERM", "1.5", sys.executable, "-m", "geventstreams", "serve", "echo", "--quiet"]
    done = run(*command, "--listen", port)
    assert (done.status, done.output, done.errors) == (124, b"", "")


# TLS.


def tls_words(certificate: Certificate) -> list[object]:
    """The options for TLS with this certificate."""
    return ["--tls", certificate.chain, certificate.key]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_tls_answers_openssl(certificates: Certificates, version: str) -> None:
    """`serve echo --tls` answers OpenSSL's own client, which checks the certificate, in both versions."""
    with serving("echo", *tls_words(certificates.server)) as server:
        with s_client(server.port, certificates.ca, f"-tls{version.replace('.', '_')}") as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(b"is anybody there?\n")
            assert client.stdout.readline() == b"is anybody there?\n"
        assert server.end().status == 0


def test_tls_answers_curl_and_connect(certificates: Certificates, tmp_path: Path) -> None:
    """A file that holds an HTTP answer is fetched by curl over HTTPS, and by `connect --tls`."""
    path = tmp_path / "answer"
    content = os.urandom(3 * MIB)
    path.write_bytes(b"HTTP/1.0 200 OK\r\n\r\n" + content)
    with serving(f"file:{path}", *tls_words(certificates.server)) as server:
        fetched = run(curl(), "--silent", "--cacert", certificates.ca, f"https://localhost:{server.port}/")
        assert (fetched.status, fetched.output) == (0, content)
        done = geventstreams("connect", "127.0.0.1", server.port, "--tls", "--ca", certificates.ca)
        assert (done.status, done.errors) == (0, "")
        assert done.output.endswith(content)


@pytest.mark.slow
def test_tls_asks_clients_for_certificates(certificates: Certificates) -> None:
    """With --client-ca a client with a good certificate is served, one without or with another is refused."""
    words = ["time", *tls_words(certificates.server), "--client-ca", certificates.ca]
    with serving(*words) as server:
        connect = ["connect", "127.0.0.1", server.port, "--tls", "--ca", certificates.ca]
        good = geventstreams(*connect, "--cert", certificates.client.chain, "--key", certificates.client.key)
        assert (good.status, good.errors) == (0, "")
        assert good.output
        geventstreams(*connect).refused(Status.TLS)
        other = certificates.unknown_ca
        geventstreams(*connect, "--cert", other.chain, "--key", other.key).refused(Status.TLS)


def test_tls_agrees_on_a_protocol(certificates: Certificates) -> None:
    """With --alpn the server agrees to a protocol that both sides name."""
    with serving("time", *tls_words(certificates.server), "--alpn", "wine", "--alpn", "beer") as server:
        command = [openssl(), "s_client", "-connect", f"127.0.0.1:{server.port}", "-alpn", "milk,beer"]
        assert b"ALPN protocol: beer" in run(*command).output


def test_plain_text_to_a_tls_port_is_refused_quietly(certificates: Certificates) -> None:
    """A client that does not speak TLS is let go, nothing is printed about it, and the server goes on."""
    with serving("time", *tls_words(certificates.server)) as server:
        with connected(server.port) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b"202" not in ends(client)
        done = geventstreams("connect", "127.0.0.1", server.port, "--tls", "--ca", certificates.ca)
        assert done.output
        assert "Traceback" not in server.end().errors
