"""TLS with the peers that the world uses: streams speak with nginx, OpenSSL, curl, mail and file servers, and Python's own ssl."""

# Invariants: a peer of a stream in this process must not block its hub, so it is another process or `aside`.

import base64
import contextlib
import hashlib
import os
import re
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import gevent
import pytest
from kit.conditions import until
from kit.pairs import Pairs
from kit.tls import NAME, SIDES, VERSIONS, TLSKit, other
from servers import Certificates, Dovecot, Exim, Nginx, ProFTPD, SServer, curl, openssl, s_client

from geventstreams import SocketStream, SocketStreamServer, TLSError, open_tcp_stream, tcp_server

HOST = "127.0.0.1"
MIB = 2**20
NAMES = {"TLSv1.2": "tls-v1.2", "TLSv1.3": "tls-v1.3"}


@pytest.fixture
def trust(certificates: Certificates) -> Callable[[ssl.SSLContext], None]:
    """A `ctx_configure_callback` that trusts the tests' authority."""
    return lambda context: context.load_verify_locations(certificates.ca)


@pytest.fixture
def opened(pairs: Pairs, trust: Callable[[ssl.SSLContext], None]) -> Callable[..., SocketStream]:
    """Open streams to servers on this machine, trusting the tests' authority."""

    def opened(port: int, **options: Any) -> SocketStream:
        if "ssl_ctx" in options:
            options = {"ctx_configure_callback": trust, **options}
        stream: SocketStream = pairs.keep(open_tcp_stream(HOST, port, read_timeout=20, write_timeout=20, **options))
        return stream

    return opened


def aside(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a function that blocks gives, called in another thread."""
    return gevent.get_hub().threadpool.apply(function, args, options)


def run(*command: object) -> bytes:
    """What a program prints, which ends well."""
    words = [str(word) for word in command]
    done: subprocess.CompletedProcess[bytes] = aside(subprocess.run, words, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def serving(handle: Callable[[Any, Any], object], **options: Any) -> Iterator[int]:
    """The port of a server of ours."""
    server = SocketStreamServer((HOST, 0), handle, **options)
    server.start()
    try:
        yield server.server_port
    finally:
        server.stop(1)


def header_of(stream: Any) -> list[str]:
    """The lines of an HTTP header, without the empty one."""
    lines = []
    while line := stream.read_line()[0].strip():
        lines.append(line)
    return lines


# nginx.


@pytest.mark.parametrize("version", VERSIONS)
def test_https_from_nginx(nginx: Nginx, opened: Callable[..., SocketStream], version: str) -> None:
    """A file of 5 MB comes over HTTPS twice on one connection, by two ways of reading, byte for byte; then the end, in order."""
    checksum = nginx.add_file("five", 5_000_000)
    stream = opened(nginx.ports["https"], ssl_ctx=NAMES[version])
    assert stream.ssl.version() == version
    for connection in ("keep-alive", "close"):
        stream.write_string(f"GET /five HTTP/1.1\r\nHost: {HOST}\r\nConnection: {connection}\r\n\r\n")
        stream.flush()
        header = header_of(stream)
        assert header[0] == "HTTP/1.1 200 OK"
        assert "Content-Length: 5000000" in header
        if connection == "close":
            content = stream.read()
        else:
            content = bytearray(5_000_000)
            assert stream.read_sequence(content) == len(content)
        assert hashlib.sha256(content).hexdigest() == checksum
    assert stream.at_eof
    assert stream.read() == b""


def test_nginx_resumes_a_session(nginx: Nginx, certificates: Certificates, opened: Callable[..., SocketStream]) -> None:
    """A session that nginx gave is resumed by the next connection of the same context."""
    nginx.add_file("small", 1000)
    context = ssl.create_default_context(cafile=str(certificates.ca))
    sessions: list[Any] = []

    def resume(made: Any) -> None:
        if sessions:
            made.session = sessions[0]

    for again in (False, True):
        stream = opened(nginx.ports["https"], ssl_ctx=context, ssl_configure_callback=resume)
        assert stream.ssl.session_reused is again
        stream.write_string("GET /small HTTP/1.0\r\n\r\n")
        stream.flush()
        assert stream.read().endswith((nginx.documents / "small").read_bytes())
        sessions.append(stream.ssl.session)


def test_nginx_tells_what_it_refuses(certificates: Certificates, opened: Callable[..., SocketStream]) -> None:
    """A web server that asks for a client's certificate answers with an error page without one, and serves clients that have it."""
    demand = f"ssl_verify_client on; ssl_client_certificate {certificates.ca};"
    with Nginx(certificates.server, server_config=demand) as server:
        server.add_file("secret", 1000)
        for certificate, status in ((None, "400"), (certificates.client, "200")):
            context = ssl.create_default_context(cafile=str(certificates.ca))
            if certificate is not None:
                context.load_cert_chain(certificate.both)
            stream = opened(server.ports["https"], ssl_ctx=context)
            stream.write_string("GET /secret HTTP/1.0\r\n\r\n")
            stream.flush()
            assert stream.read_line()[0].split()[1] == status


# OpenSSL's own programs.


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_of_openssl(certificates: Certificates, opened: Callable[..., SocketStream], version: str) -> None:
    """s_server, which demands a certificate and agrees on a protocol, gives every line back reversed."""
    context = ssl.create_default_context(cafile=str(certificates.ca))
    context.load_cert_chain(certificates.client.both)
    context.set_alpn_protocols(["milk", "beer"])
    demand = ("-Verify", "1", "-verify_return_error", "-CAfile", str(certificates.ca), "-alpn", "beer")
    with SServer(certificates.server, "-rev", f"-tls{version[-3:].replace('.', '_')}", *demand) as server:
        stream = opened(server.ports["tls"], ssl_ctx=context)
        assert stream.ssl.version() == version
        assert stream.ssl.selected_alpn_protocol() == "beer"
        random = Random(5)
        for _ in range(100):
            line = "".join(random.choices("abcdefgh", k=random.choice((1, 100, 10_000))))
            stream.write_line(line)
            stream.flush()
            assert stream.read_line() == (line[::-1], False)


def test_a_server_of_openssl_refuses_a_missing_certificate(
    certificates: Certificates, opened: Callable[..., SocketStream], trust: Callable[[ssl.SSLContext], None]
) -> None:
    """Without the certificate that s_server demands the stream ends in TLSError with the alert's name, in the first use at the latest."""
    demand = ("-Verify", "1", "-verify_return_error", "-CAfile", str(certificates.ca), "-rev")
    with SServer(certificates.server, *demand) as server:
        with pytest.raises(TLSError) as caught:
            opened(server.ports["tls"], ssl_ctx=True).read(1)
        assert caught.value.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"


def test_a_client_of_openssl(tls: TLSKit, certificates: Certificates) -> None:
    """s_client, which checks our certificate, gets its lines back, and its end is an orderly one."""
    ends = []

    def echo(stream: Any, _address: Any) -> None:
        while line := stream.readline():
            stream.sendall(line)
        ends.append(stream.at_eof)

    option = f"-tls{tls.version[-3:].replace('.', '_')}"
    with serving(echo, ssl_ctx=tls.context("server")) as port, s_client(port, certificates.ca, option, "-no_ign_eof") as client:
        assert client.stdin is not None
        assert client.stdout is not None
        for number in range(20):
            line = b"%d\n" % number * 50
            client.stdin.write(line.replace(b"\n", b" ") + b"\n")
            assert aside(client.stdout.readline) == line.replace(b"\n", b" ") + b"\n"
        client.stdin.close()
        until(lambda: ends, seconds=20)
    assert ends == [True]


def test_new_keys_in_the_middle(tls13: TLSKit, certificates: Certificates) -> None:
    """A peer that changes its keys, and asks for ours to be changed, in the middle of a TLS 1.3 connection is no interruption."""

    def echo(stream: Any, _address: Any) -> None:
        while line := stream.readline():
            stream.sendall(line)

    with serving(echo, ssl_ctx=tls13.context("server")) as port:
        command = [openssl(), "s_client", "-connect", f"{HOST}:{port}", "-CAfile", str(certificates.ca), "-brief"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            for number in range(5):
                client.stdin.write(b"line %d\n" % number)
                assert aside(client.stdout.readline) == b"line %d\n" % number
                client.stdin.write(b"K\n" if number % 2 else b"k\n")  # a line of its own is a command
                gevent.sleep(0.05)  # s_client looks for a command at the beginning of what it reads
            client.stdin.write(b"Q\n")
            said = aside(client.stderr.read) + aside(client.stdout.read)
    assert said.count(b"KEYUPDATE") == 5, said


# curl.


def test_curl_uploads_and_downloads(certificates: Certificates, tls: TLSKit, tmp_path: Path) -> None:
    """curl, with a certificate of its own, sends 5 MB to a server of ours and gets 5 MB back, in either version."""
    sent, answer = os.urandom(5_000_000), os.urandom(5_000_000)
    got = []

    def handle(stream: Any, _address: Any) -> None:
        length = next(int(line.split()[1]) for line in header_of(stream) if line.startswith("Content-Length"))
        got.append((stream.ssl.version(), stream.ssl.getpeercert()["subjectAltName"], stream.read_exactly(length)))
        stream.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + answer)

    upload = tmp_path / "upload"
    upload.write_bytes(sent)
    who = ["--cacert", certificates.ca, "--cert", certificates.client.chain, "--key", certificates.client.key]
    with serving(handle, ssl_ctx=tls.asking_context()) as port:
        answered = run(curl(), "--silent", "--fail", *who, "--header", "Expect:", "--data-binary", f"@{upload}", f"https://{HOST}:{port}/")
    assert answered == answer
    assert got == [(tls.version, (("email", "tester@example.test"),), sent)]


def test_curl_and_callbacks(certificates: Certificates, tls13: TLSKit) -> None:
    """curl fetches 5 MB over HTTPS from a server that calls back."""
    answer = os.urandom(5_000_000)

    def read(connection: Any, stream: Any) -> None:
        if b"\r\n\r\n" in stream.peek():
            stream.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            stream.write(answer)
            connection.close()

    with tcp_server(HOST, 0, read, lambda _event: None, stream=True, ssl_ctx=tls13.context("server")) as server:
        assert run(curl(), "--silent", "--fail", "--cacert", certificates.ca, f"https://{HOST}:{server.port}/") == answer
        until(lambda: not server.connections)


# STARTTLS.


def ask(stream: Any, question: str, answer: str) -> list[str]:
    """Send a line, and read until a line that the answer matches; all lines."""
    if question:
        stream.write_line(question + "\r")
        stream.flush()
    lines = []
    while not lines or not re.match(answer, lines[-1]):
        line, missing = stream.read_line()
        assert not missing, lines
        lines.append(line.rstrip("\r"))
        assert re.match(r"[\d*+]|[a-z]\d? ", line), lines
    return lines


def secured(stream: Any, trust: Callable[[ssl.SSLContext], None], version: str) -> Any:
    """Put TLS under a stream, as a client of this machine."""
    stream.attach_ssl(ssl_ctx=NAMES[version], ssl_side="client", ctx_configure_callback=trust, tlsext_host_name=HOST, handshake_timeout=20)
    assert stream.ssl.version() == version
    return stream


@pytest.mark.parametrize("version", VERSIONS)
def test_a_mail_after_starttls(
    smtp_server: Exim, opened: Callable[..., SocketStream], trust: Callable[[ssl.SSLContext], None], version: str
) -> None:
    """A mail of 2 MB is sent to a real SMTP server after STARTTLS and a login, and is delivered whole."""
    before = len(smtp_server.messages())
    body = [base64.b64encode(os.urandom(54)).decode() for _ in range(27_000)]
    stream = opened(smtp_server.ports["smtp"])
    ask(stream, "", "220 ")
    assert any(line.endswith("STARTTLS") for line in ask(stream, "EHLO me.example", "250 "))
    ask(stream, "STARTTLS", "220 ")
    secured(stream, trust, version)
    assert not any(line.endswith("STARTTLS") for line in ask(stream, "EHLO me.example", "250 "))
    login = base64.b64encode(f"\0{smtp_server.user_name}\0{smtp_server.password}".encode()).decode()
    ask(stream, f"AUTH PLAIN {login}", "235 ")
    ask(stream, "MAIL FROM:<a@example.test>", "250 ")
    ask(stream, "RCPT TO:<b@example.test>", "250 ")
    ask(stream, "DATA", "354 ")
    for line in ("Subject: large", "", *body):
        stream.write_line(line + "\r")
    ask(stream, ".", "250 ")
    ask(stream, "QUIT", "221 ")
    assert stream.read() == b""
    until(lambda: len(smtp_server.messages()) > before, seconds=20)
    assert any(message.endswith("\n".join(["", *body, ""]).encode()) for message in smtp_server.messages())


@pytest.mark.parametrize("version", VERSIONS)
def test_mailboxes_after_starttls(
    mail_server: Dovecot, opened: Callable[..., SocketStream], trust: Callable[[ssl.SSLContext], None], version: str
) -> None:
    """What IMAP puts into a mailbox under TLS, POP3 gives back under TLS; both began in plain text."""
    name, password = mail_server.user_name, mail_server.password
    mark = base64.b16encode(os.urandom(8)).decode()
    message = f"Subject: {mark}\r\n\r\n" + "kept\r\n" * 1000
    imap = opened(mail_server.ports["imap"])
    ask(imap, "", r"\* OK")
    ask(imap, "a STARTTLS", "a OK")
    secured(imap, trust, version)
    ask(imap, f"b LOGIN {name} {password}", "b OK")
    ask(imap, f"c APPEND INBOX {{{len(message)}}}", r"\+ ")
    ask(imap, message, "c OK")
    ask(imap, "d LOGOUT", "d OK")
    assert imap.read() == b""
    pop = opened(mail_server.ports["pop3"])
    ask(pop, "", r"\+OK")
    ask(pop, "STLS", r"\+OK")
    secured(pop, trust, version)
    ask(pop, f"USER {name}", r"\+OK")
    ask(pop, f"PASS {password}", r"\+OK")
    count = int(ask(pop, "STAT", r"\+OK")[-1].split()[1])
    ask(pop, f"RETR {count}", r"\+OK")
    assert pop.read_until(b"\r\n.\r\n").decode() == message + ".\r\n"
    ask(pop, "QUIT", r"\+OK")
    assert pop.read() == b""


@pytest.mark.parametrize("version", VERSIONS)
def test_files_after_auth_tls(
    ftp_server: ProFTPD, opened: Callable[..., SocketStream], trust: Callable[[ssl.SSLContext], None], version: str
) -> None:
    """A file goes to a real FTP server and comes back, with commands and data under TLS; after CCC the commands go on in plain text."""
    content = os.urandom(2_000_000)
    control = opened(ftp_server.ports["ftp"])

    def data() -> Any:
        numbers = re.findall(r"\d+", ask(control, "PASV", "227 ")[-1].partition("(")[2])
        return opened(256 * int(numbers[4]) + int(numbers[5]))

    ask(control, "", "220 ")
    ask(control, "AUTH TLS", "234 ")
    secured(control, trust, version)
    ask(control, f"USER {ftp_server.user_name}", "331 ")
    ask(control, f"PASS {ftp_server.password}", "230 ")
    ask(control, "PBSZ 0", "200 ")
    ask(control, "PROT P", "200 ")
    ask(control, "TYPE I", "200 ")
    with data() as upload:
        ask(control, "STOR kept", "150 ")
        secured(upload, trust, version).write(content)
    ask(control, "", "226 ")
    assert (ftp_server.files / "kept").read_bytes() == content
    with data() as download:
        ask(control, "RETR kept", "150 ")
        assert secured(download, trust, version).read() == content
    ask(control, "", "226 ")
    ask(control, "CCC", "200 ")
    control.detach_ssl(retry_count=100)
    assert control.ssl is None
    ask(control, "NOOP", "200 ")
    ask(control, "QUIT", "221 ")
    assert control.read() == b""


# Python's own ssl.


@pytest.mark.parametrize("side", SIDES)
def test_pythons_own_ssl(tls: TLSKit, side: str) -> None:
    """A blocking SSLSocket in a thread and a stream exchange a mebibyte each way at once, shut TLS down, and go on in plain text."""
    near, far = tls.pairs.sockets()
    theirs, ours = Random(1).randbytes(MIB), Random(2).randbytes(MIB)
    got: list[Any] = []

    def speak() -> None:
        name = NAME if other(side) == "client" else None
        peer = tls.context(other(side)).wrap_socket(far, server_side=other(side) == "server", server_hostname=name)
        sending = threading.Thread(target=peer.sendall, args=(theirs,))
        sending.start()
        data = b""
        while len(data) < MIB:
            data += peer.recv(65536)
        sending.join()
        plain = peer.unwrap()
        plain.sendall(b"in plain text\n")
        got.extend((data, plain.recv(100)))
        plain.close()

    speaking = threading.Thread(target=speak)
    speaking.start()
    stream = tls.secure(near, side)
    writing = gevent.spawn(stream.sendall, ours)
    assert stream.read_exactly(MIB) == theirs
    writing.get()
    assert stream.read() == b""  # their close_notify
    stream.detach_ssl(retry_count=100)
    assert stream.readline() == b"in plain text\n"
    stream.sendall(b"as well\n")
    assert stream.read() == b""
    aside(speaking.join, 20)
    assert got == [ours, b"as well\n"]
