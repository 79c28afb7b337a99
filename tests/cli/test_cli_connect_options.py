"""`connect`: forms of addresses, proxies, traces, line endings, certificates, hints, and how soon it ends."""

import base64
import os
import re
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest
from kit.command_line import geventstreams, serving, started
from kit.scripted_peers import everything, peer
from servers import Certificates, Nginx, SServer, require, require_address, require_name, socat
from servers.processes import wait_until
from servers.programs import find_program

from geventstreams.cli.conversation import with_crlf
from geventstreams.cli.statuses import Status
from geventstreams.cli.trace import hex_rows
from geventstreams.testing.claims import ATTEMPTS

# Addresses.


@pytest.mark.parametrize("form", ["127.0.0.1:{0}", "127.0.0.1 {0}", "[::1]:{0}", "[::1] {0}", "::1 {0}", "localhost:{0}", "localhost {0}"])
def test_forms_of_a_tcp_address(form: str) -> None:
    """A host and a port are one word or two; in one word an IPv6 address is in brackets."""
    require_name("localhost")
    listen = "[::1]:0" if "::1" in form else "127.0.0.1:0"
    require_address("::1")
    with serving("time", listen=listen) as server:
        words = ["-4"] if "localhost" in form else []
        done = geventstreams("connect", *words, *form.format(server.port).split())
    assert (done.status, done.errors, done.output[:2]) == (0, "", b"20")


def test_the_port_may_stand_behind_an_option() -> None:
    """Options may stand between the host and the port, as getopt has it."""
    with serving("time") as server:
        assert geventstreams("connect", "127.0.0.1", "--quiet", server.port).output.startswith(b"20")


@pytest.mark.parametrize("form", ["unix:{0}", "unix:{1}", "@{2}"])
def test_unix_sockets(form: str, tmp_path: Path) -> None:
    """`unix:PATH`, absolute or not, and `@NAME` connect to a Unix socket of socat."""
    require("socat")
    path, name = tmp_path / "sock", f"geventstreams-{os.getpid()}"
    listener = f"ABSTRACT-LISTEN:{name}" if form.startswith("@") else f"UNIX-LISTEN:{path}"
    with started(socat(), listener, "SYSTEM:tr a-z A-Z"):
        assert wait_until(lambda: path.exists() or f"@{name}\n" in Path("/proc/net/unix").read_text(), 20)
        done = geventstreams("connect", "-v", form.format(path, "sock", name), given=b"hello\n", folder=tmp_path)
    assert (done.status, done.output) == (0, b"HELLO\n")
    assert done.errors.startswith(f"connected to {form.format(path, 'sock', name)}\n")


def test_a_unix_socket_that_does_not_exist(tmp_path: Path) -> None:
    """A missing Unix socket ends it with status 3 and one line that has the path once."""
    line = geventstreams("connect", f"unix:{tmp_path}/missing").refused(Status.NO_CONNECTION)
    assert line == f"geventstreams: cannot connect to unix:{tmp_path}/missing: No such file or directory"
    line = geventstreams("connect", "@geventstreams-none").refused(Status.NO_CONNECTION)
    assert line == "geventstreams: cannot connect to @geventstreams-none: Connection refused"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_refused_address_is_named_once(host: str) -> None:
    """An address that refuses the connection is in the line once, behind the name that was asked for."""
    require_name("localhost")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    line = geventstreams("connect", "-4", f"{host}:{port}").refused(Status.NO_CONNECTION)
    assert line.count(f"127.0.0.1:{port}") == 1


# How soon it ends.


def test_it_ends_soon_after_the_answer_of_an_echo_server() -> None:
    """After standard input's end and an answer, our half is ended after a tenth of a second, not after half a second."""
    heard = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(connection.recv(100))
        answered = time.monotonic()
        assert connection.recv(100) == b""
        heard.append(time.monotonic() - answered)

    for _ in range(2 * ATTEMPTS):  # the machine may be busy
        with peer(serve) as port:
            assert geventstreams("connect", f"127.0.0.1:{port}", given=b"hi\n").output == b"hi\n"
        if heard[-1] < 0.4:
            return
    pytest.fail(f"too late: {heard}")


@pytest.mark.parametrize(("words", "request_"), [([], b"GET / HTTP/1.1\r\n\r\n"), (["--wait", "0.5"], b"hi\n"), ([], b"silent\n")])
def test_it_waits_longer_where_a_half_close_may_cut_the_answer_off(words: list[str], request_: bytes) -> None:
    """After a request in HTTP, before any answer, or with --wait, the whole silence passes before our half is ended."""
    pauses = []

    def serve(connection: socket.socket) -> None:
        data = connection.recv(100)
        began = time.monotonic()
        if not data.startswith(b"silent"):
            connection.sendall(b"answer")
        assert connection.recv(100) == b""
        pauses.append(time.monotonic() - began)

    for _ in range(ATTEMPTS):  # on a busy machine this end may see the beginning of the pause late
        with peer(serve) as port:
            assert geventstreams("connect", f"127.0.0.1:{port}", *words, given=request_).status == 0
        if pauses[-1] >= 0.4:
            return
    pytest.fail(f"too early: {pauses}")


# What it does with the bytes.


@pytest.mark.parametrize(
    ("chunks", "converted"),
    [
        ([b"a\nb\n"], b"a\r\nb\r\n"),
        ([b"a\r\nb\n\n"], b"a\r\nb\r\n\r\n"),
        ([b"a\r", b"\nb"], b"a\r\nb"),
        ([b"a\n", b"\nb"], b"a\r\n\r\nb"),
        ([b"\n"], b"\r\n"),
        ([b"\r\r\n\r"], b"\r\r\n\r"),
    ],
)
def test_line_ends_become_cr_lf(chunks: list[bytes], converted: bytes) -> None:
    """Each LF without a CR gets one, also where a chunk ends between the two."""
    before, result = b"", b""
    for chunk in chunks:
        result += with_crlf(chunk, before)
        before = chunk[-1:]
    assert result == converted


def test_line_ending_crlf_is_sent() -> None:
    """With --line-ending crlf the peer gets CR LF; what it sends is written as it is."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(everything(connection) + b"\n")

    with peer(serve) as port:
        done = geventstreams("connect", f"127.0.0.1:{port}", "--line-ending", "crlf", given=b"a\nb\r\nc")
    assert done.output == b"a\r\nb\r\nc\n"


ENTRY = re.compile(r"^([<>]) \d\d:\d\d:\d\d\.\d{6} (sent|received) ([\d,]+) bytes$", re.MULTILINE)


def test_a_trace_has_each_direction_with_time_and_bytes() -> None:
    """--trace writes what is sent and received to standard error, as lines of text with escapes."""
    with serving("echo") as server:
        done = geventstreams("connect", "--trace", f"127.0.0.1:{server.port}", given=b"one\ntwo \x1b\xff\n")
    assert (done.status, done.output) == (0, b"one\ntwo \x1b\xff\n")
    assert ENTRY.findall(done.errors) == [(">", "sent", "11"), ("<", "received", "11")]
    assert [line for line in done.errors.splitlines() if line.startswith("  ")] == 2 * [r"  one\n", r"  two \x1b\xff\n"]


@pytest.mark.slow
def test_a_hex_dump_is_the_one_of_xxd_and_goes_to_a_file(tmp_path: Path) -> None:
    """--hex dumps bytes with offsets that count each direction; --trace-file writes them to a file, whole, at any size."""
    content = os.urandom(1_000_003)
    with serving("echo") as server:
        words = ["--hex", "--trace-file", tmp_path / "trace"]
        done = geventstreams("connect", *words, f"127.0.0.1:{server.port}", given=content)
    assert (done.status, done.output, done.errors) == (0, content, "")
    dumped = {">": b"", "<": b""}
    direction = ""
    for line in (tmp_path / "trace").read_text().splitlines():
        if entry := ENTRY.match(line):
            direction = entry[1]
        else:
            offset, row, text = re.fullmatch(r"([0-9a-f]{8})  ([0-9a-f ]{48})  \|(.{1,16})\|", line).groups()  # type: ignore[union-attr]
            assert int(offset, 16) == len(dumped[direction])
            dumped[direction] += bytes.fromhex(row)
            assert len(text) == len(bytes.fromhex(row))
    assert dumped == {">": content, "<": content}


def test_a_narrow_hex_dump_fits_50_columns() -> None:
    """On a narrow terminal a row has eight bytes."""
    assert list(hex_rows(b"0123456789", 0, 8)) == [
        "00000000  30 31 32 33 34 35 36 37  |01234567|",
        "00000008  38 39                    |89|",
    ]


def test_a_trace_that_cannot_be_written_ends_it() -> None:
    """A full disk under the trace ends the command with one line: a trace is whole, or the command fails."""
    with serving("echo") as server:
        done = geventstreams("connect", "--trace", "--trace-file", "/dev/full", f"127.0.0.1:{server.port}", given=b"hi")
    assert (done.status, done.errors) == (Status.FAILED, "geventstreams: trace: No space left on device\n")


def test_verbose_says_what_is_connected_and_how_much_came() -> None:
    """-v tells the address before, and bytes and seconds after, in the one notation for sizes."""
    with serving("echo") as server:
        done = geventstreams("connect", "-v", f"127.0.0.1:{server.port}", given=bytes(12_345))
    first, last = done.errors.splitlines()
    assert first == f"connected to 127.0.0.1:{server.port}"
    assert re.fullmatch(r"sent 12\.3 kB, received 12\.3 kB, [\d.]+ s", last)


# TLS.


def test_verbose_says_what_tls_agreed_on(nginx: Nginx, certificates: Certificates) -> None:
    """-v says version, cipher, protocol, whose certificate was accepted, by whom it was issued, and how long it is valid."""
    words = ["--tls", "--ca", certificates.ca, "--alpn", "http/1.1", "-v"]
    done = geventstreams("connect", *words, f"127.0.0.1:{nginx.ports['https']}", given=b"GET / HTTP/1.0\r\n\r\n")
    assert done.status == 0
    line = done.errors.splitlines()[0]
    assert re.fullmatch(
        rf"connected to 127\.0\.0\.1:{nginx.ports['https']}, TLSv1\.3, TLS_\w+, ALPN http/1\.1, certificate for .*localhost.* accepted, "
        r"issued by .+, valid until \d{4}-\d\d-\d\d",
        line,
    )
    insecure = geventstreams("connect", "--tls", "--insecure", "-v", f"127.0.0.1:{nginx.ports['https']}", given=b"GET / HTTP/1.0\r\n\r\n")
    assert insecure.errors.splitlines()[0].endswith("certificate not checked")


@pytest.mark.parametrize("words", [["--ca", "CA"], ["--insecure"]])
def test_certificates_are_shown(certificates: Certificates, words: list[str]) -> None:
    """--show-certs writes the server's certificates to standard error, as text and as PEM, accepted or not."""
    with SServer(certificates.server, "-rev") as server:
        words = [str(certificates.ca) if word == "CA" else word for word in words]
        done = geventstreams("connect", "--tls", "--show-certs", "-q", *words, f"127.0.0.1:{server.ports['tls']}", given=b"olleh\n")
    assert (done.status, done.output) == (0, b"hello\n")
    assert re.search(r"^certificate 1 of \d\n  subject  .*\n  issuer   .*\n(  name     .*\n)+  valid    \d{4}-", done.errors)
    pem = re.findall(r"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----\n", done.errors, re.DOTALL)
    assert pem[0].strip() in certificates.server.chain.read_text()


def test_a_server_that_does_not_speak_tls_is_explained() -> None:
    """TLS to a server of plain text ends with OpenSSL's words, and with a hint at what may be wrong."""
    for answer in (b"220 mail.example ESMTP\r\n", b"HTTP/1.0 400 Bad Request\r\n\r\n"):

        def serve(connection: socket.socket, answer: bytes = answer) -> None:
            connection.sendall(answer)
            with suppress(ConnectionResetError):
                everything(connection)

        with peer(serve) as port:
            line = geventstreams("connect", "--tls", f"127.0.0.1:{port}").refused(Status.TLS)
        assert "does this port speak TLS from the start?" in line
        assert "--starttls" in line


def test_a_server_that_does_speak_tls_is_noticed() -> None:
    """Plain text that is answered by an alert of TLS, as Go's and GnuTLS' servers do, is explained."""

    def serve(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")

    with peer(serve) as port:
        done = geventstreams("connect", f"127.0.0.1:{port}", given=b"hello, are you there?\n")
    assert done.errors == "the server answered with an alert of TLS: --tls may be missing\n"


def test_a_certificate_that_is_not_accepted_is_explained(nginx: Nginx, certificates: Certificates) -> None:
    """An unknown authority, and another name, are each told with the option for it."""
    where = f"127.0.0.1:{nginx.ports['https']}"
    assert "--ca FILE" in geventstreams("connect", "--tls", where).refused(Status.TLS)
    line = geventstreams("connect", "--tls", "--ca", certificates.ca, "--server-name", "other.test", where).refused(Status.TLS)
    assert "--server-name NAME" in line


def test_a_server_that_wants_a_certificate_is_explained(certificates: Certificates) -> None:
    """If a server does not get the client certificate that it asks for, the line names --cert."""
    with SServer(certificates.server, "-Verify", "1", "-CAfile", str(certificates.ca), "-verify_return_error", "-tls1_2", "-rev") as server:
        where = f"127.0.0.1:{server.ports['tls']}"
        assert "--cert FILE" in geventstreams("connect", "--tls", "--ca", certificates.ca, where).refused(Status.TLS)


# Proxies.


def http_proxy(connection: socket.socket, seen: list[bytes], answer: bytes) -> None:
    """Read a request, and answer it together with the first bytes of the server."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += connection.recv(1)
    seen.append(request)
    connection.sendall(answer)
    with suppress(ConnectionResetError):
        connection.sendall(everything(connection).upper())


def test_through_an_http_proxy() -> None:
    """CONNECT asks for host and port; what the server sends together with the proxy's answer is not lost."""
    seen: list[bytes] = []
    answer = b"HTTP/1.1 200 Connection established\r\nX-Long: " + b"y" * 5000 + b"\r\n\r\n220 welcome\r\n"
    with peer(lambda connection: http_proxy(connection, seen, answer)) as port:
        done = geventstreams("connect", "--proxy", f"http://me:p%40ss@127.0.0.1:{port}", "mail.example.test:25", given=b"quit\n")
    assert (done.status, done.output, done.errors) == (0, b"220 welcome\r\nQUIT\n", "")
    login = base64.b64encode(b"me:p@ss")
    assert seen == [
        b"CONNECT mail.example.test:25 HTTP/1.1\r\nHost: mail.example.test:25\r\nProxy-Authorization: Basic " + login + b"\r\n\r\n"
    ]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407 Proxy Authentication Required"),
        (b"HTTP/1.0 403 go\x1b[31m away\r\n\r\n", r"403 go\x1b[31m away"),
        (b"SSH-2.0-x\r\n\r\n", "not an answer in HTTP"),
        (b"", "not an answer in HTTP"),
    ],
)
def test_an_http_proxy_that_refuses(answer: bytes, text: str) -> None:
    """A proxy that does not connect ends it with status 3 and one line that has its words, the goal and the proxy."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer)

    with peer(serve) as port:
        line = geventstreams("connect", "--proxy", f"http://127.0.0.1:{port}", "x.test:25").refused(Status.NO_CONNECTION)
    assert line.startswith(f"geventstreams: no connection to x.test:25 through http://127.0.0.1:{port}: ")
    assert text in line


def test_a_proxy_that_is_silent() -> None:
    """`--timeout` limits the time of the proxy, too."""

    def serve(connection: socket.socket) -> None:
        with suppress(ConnectionResetError):
            everything(connection)

    with peer(serve) as port:
        words = ["--timeout", 0.3, "--proxy", f"socks5://127.0.0.1:{port}"]
        line = geventstreams("connect", *words, "x.test:25").refused(Status.NO_CONNECTION)
    assert "no answer within 0.3 s" in line


def test_a_proxy_that_is_not_there() -> None:
    """A proxy that cannot be connected to is named as the proxy, beside the goal."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        line = geventstreams("connect", "--proxy", f"http://{address}", "x.test:25").refused(Status.NO_CONNECTION)
    reason = f"cannot connect to {address}: Connection refused"
    assert line.strip() == f"geventstreams: no connection to x.test:25 through http://{address}: {reason}"


def socks_server(connection: socket.socket, method: int, status: int, goals: list[bytes]) -> None:
    """RFC 1928 by hand, on the side of the proxy."""
    version, count = connection.recv(2)
    methods = connection.recv(count)
    assert version == 5
    connection.sendall(bytes([5, method]))
    if method == 255:
        return
    assert method in methods
    if method == 2:
        assert connection.recv(100) == b"\1\2me\4p@ss"
        connection.sendall(b"\1\0")
    goals.append(connection.recv(300))
    connection.sendall(bytes([5, status, 0, 3, 4]) + b"host" + b"\0\x50" + b"hello")
    with suppress(ConnectionResetError):
        everything(connection)


GOALS = {
    "example.test:80": b"\5\1\0\3\x0cexample.test\0\x50",
    "127.0.0.1:80": b"\5\1\0\1\x7f\0\0\1\0\x50",
    "[::1]:80": b"\5\1\0\4" + 15 * b"\0" + b"\1\0\x50",
}


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("login", ["", "me:p%40ss@"])
def test_through_a_socks_proxy(goal: str, login: str) -> None:
    """SOCKS 5 with and without a login; names are sent as names, addresses as addresses; nothing of the server is lost."""
    goals: list[bytes] = []
    with peer(lambda connection: socks_server(connection, 2 if login else 0, 0, goals)) as port:
        done = geventstreams("connect", "--proxy", f"socks5://{login}127.0.0.1:{port}", goal, "--wait", 0.1)
    assert (done.status, done.output, done.errors) == (0, b"hello", "")
    assert goals == [GOALS[goal]]


@pytest.mark.parametrize(("method", "status", "text"), [(255, 0, "name and a password"), (0, 5, "connection refused"), (0, 99, "error 99")])
def test_a_socks_proxy_that_refuses(method: int, status: int, text: str) -> None:
    """What a SOCKS proxy refuses is told in one line, with status 3."""
    with peer(lambda connection: socks_server(connection, method, status, [])) as port:
        line = geventstreams("connect", "--proxy", f"socks5h://127.0.0.1:{port}", "x.test:80").refused(Status.NO_CONNECTION)
    assert text in line


def is_listening(port: int) -> bool:
    """Return whether a connection to a loopback port is accepted."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_tls_through_a_real_proxy(nginx: Nginx, certificates: Certificates, tmp_path: Path) -> None:
    """TLS and a request reach a web server through tinyproxy; the certificate is checked for the server, not for the proxy."""
    require("tinyproxy")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (tmp_path / "conf").write_text(f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 10\n")
    nginx.add_file("small", 1000)
    with started(find_program("tinyproxy"), "-d", "-c", tmp_path / "conf"):
        assert wait_until(lambda: is_listening(port), 20)
        words = ["--proxy", f"http://127.0.0.1:{port}", "--tls", "--ca", certificates.ca]
        done = geventstreams("connect", *words, f"localhost:{nginx.ports['https']}", given=b"GET /small HTTP/1.0\r\n\r\n")
    assert (done.status, done.errors) == (0, "")
    assert done.output.startswith(b"HTTP/1.1 200 OK\r\n")
