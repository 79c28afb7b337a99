"""`connect` over TLS, from the start and after STARTTLS: with nginx, OpenSSL, mail and file servers, and with liars."""

import re
import socket
import threading
from contextlib import suppress

import pytest
from kit.command_line import geventstreams
from kit.scripted_peers import everything, peer
from servers import Certificates, Dovecot, Exim, Nginx, ProFTPD, SServer

from geventstreams.cli import peer_certificates
from geventstreams.cli.statuses import Status

GET = "GET {} HTTP/1.0\r\n\r\n"


def https(nginx: Nginx, *words: object) -> "tuple[int, bytes, str]":
    """Ask a real web server for a file over TLS."""
    nginx.add_file("small", 1000)
    done = geventstreams("connect", "127.0.0.1", nginx.ports["https"], "--tls", *words, given=GET.format("/small").encode())
    return done.status, done.output, done.errors


@pytest.mark.parametrize("words", [[], ["--tls-version", "1.2"], ["--alpn", "http/1.1"]])
def test_tls_to_a_server_whose_authority_is_trusted(nginx: Nginx, certificates: Certificates, words: list[str]) -> None:
    """With --ca a real web server's certificate is accepted, and the answer comes through."""
    status, output, errors = https(nginx, "--ca", certificates.ca, *words)
    assert (status, errors) == (0, "")
    assert output.startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(output.partition(b"\r\n\r\n")[2]) == 1000


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_tls_in_one_version_only(certificates: Certificates, version: str) -> None:
    """--tls-version speaks that version with OpenSSL's own server, and refuses one that speaks the other only."""
    with SServer(certificates.server, "-rev", f"-tls{version.replace('.', '_')}") as server:
        words = ["connect", "127.0.0.1", server.ports["tls"], "--tls", "--ca", certificates.ca, "--tls-version"]
        done = geventstreams(*words, version, given=b"olleh\n")
        assert (done.status, done.output, done.errors) == (0, b"hello\n", "")
        geventstreams(*words, "1.3" if version == "1.2" else "1.2", given=b"olleh\n").refused(Status.TLS)


def test_tls_to_a_server_that_is_not_trusted(nginx: Nginx, certificates: Certificates) -> None:
    """A certificate of an unknown authority, or for another name, ends it with status 5 and one line, before a word."""
    for words in ([], ["--ca", certificates.unknown_ca.chain]):
        status, output, errors = https(nginx, *words)
        assert (status, output, len(errors.splitlines())) == (Status.TLS, b"", 1)
        assert "certificate" in errors.lower()
    status, output, errors = https(nginx, "--ca", certificates.ca, "--server-name", "other.example.test")
    assert (status, output, len(errors.splitlines())) == (Status.TLS, b"", 1)
    assert "other.example.test" in errors


@pytest.mark.parametrize("name", ["127.0.0.1", "::1", "localhost", "localhost."])
def test_the_name_that_is_expected(nginx: Nginx, certificates: Certificates, name: str) -> None:
    """--server-name takes a name, with the dot of the root or without, and an address that the certificate is for."""
    status, output, errors = https(nginx, "--ca", certificates.ca, "--server-name", name)
    assert (status, errors) == (0, "")
    assert output.startswith(b"HTTP/1.1 200 OK\r\n")


def test_tls_without_checks_only_when_asked_for(nginx: Nginx) -> None:
    """--insecure accepts a certificate that nothing vouches for."""
    status, output, errors = https(nginx, "--insecure")
    assert (status, errors) == (0, "")
    assert output.startswith(b"HTTP/1.1 200 OK\r\n")


def test_tls_to_a_plain_port(nginx: Nginx) -> None:
    """TLS to a port that speaks plain text ends with status 5 and one line."""
    line = geventstreams("connect", "127.0.0.1", nginx.ports["http"], "--tls", given=b"x").refused(Status.TLS)
    assert f"127.0.0.1:{nginx.ports['http']}" in line


def test_tls_to_a_silent_port() -> None:
    """A peer that never answers the handshake ends it with status 5 and one line, after --timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        geventstreams("connect", "127.0.0.1", port, "--tls", "--timeout", 0.3).refused(Status.TLS)


STARTTLS = {
    "smtp": (b"EHLO me.example\r\nQUIT\r\n", rb"(?s)250-localhost .*221 "),
    "imap": (b"a LOGIN tester secret\r\nb LOGOUT\r\n", rb"(?s).*a OK .*b OK "),
    "pop3": (b"USER tester\r\nPASS secret\r\nQUIT\r\n", rb"(?s)\+OK.*\+OK.*\+OK"),
    "ftp": (b"USER tester\r\nPASS secret\r\nQUIT\r\n", rb"(?s)331 .*230 .*221 "),
}


@pytest.fixture
def real_ports(smtp_server: Exim, mail_server: Dovecot, ftp_server: ProFTPD) -> dict[str, int]:
    """Where the real servers are, by protocol."""
    return {**smtp_server.ports, **mail_server.ports, **ftp_server.ports}


@pytest.mark.parametrize("protocol", STARTTLS)
def test_starttls_with_real_servers(real_ports: dict[str, int], certificates: Certificates, protocol: str) -> None:
    """Real mail and file servers agree on TLS, and go on with the conversation that standard input has with them."""
    question, answer = STARTTLS[protocol]
    words = ["127.0.0.1", real_ports[protocol], "--starttls", protocol, "--ca", certificates.ca]
    done = geventstreams("connect", *words, given=question)
    assert (done.status, done.errors) == (0, "")
    assert re.match(answer, done.output), done.output


REFUSALS = [
    ("smtp", [b"554 go away\r\n"], "554 go away"),
    ("smtp", [b"554-go away\r\n554 at once\r\n"], "554-go away"),
    ("smtp", [b"220-hi\r\n free words\r\n220 hi\r\n"], "free words"),
    ("smtp", [b"220-hi\r\n221 hi\r\n"], "221 hi"),
    ("smtp", [b"2200 hi\r\n"], "2200 hi"),
    ("smtp", [b"120 wait\r\n220 hi\r\n"], "120 wait"),
    ("smtp", [b"220 hi\r\n", b"250 no TLS here\r\n", b"454 not available\r\n"], "454 not available"),
    ("imap", [b"* BYE\r\n"], "BYE"),
    ("imap", [b"* OK hi\r\n", b"tls BAD what\r\n"], "BAD what"),
    ("pop3", [b"+OK hi\r\n", b"-ERR what\r\n"], "-ERR what"),
    ("ftp", [b"220 hi\r\n", b"500 what\r\n"], "500 what"),
    ("ftp", [b"220 hi\r\n", b"500-what\r\n 234 yes\r\n500 no\r\n"], "500-what"),
    ("ftp", [b"free words first\r\n220 hi\r\n"], "free words first"),
    ("ftp", [b"220 hi\r\n", b"120 wait\r\n234 yes\r\n"], "120 wait"),
    ("ftp", [b"220 hi\r\n", b""], "ended the connection"),
    ("ftp", [b"220 hi\r\n", b"234-yes\r\n 234 not yet\r\n234-nor now\r\n2345\r\n"], "ended the connection"),
    ("smtp", [b"\r\n220 hi\r\n"], "greeting: an empty line"),
    ("imap", [b"* OK hi\r\n", b"* BYE going down\r\n"], "* BYE going down"),
    ("smtp", [b"220-x\r\n" * 10_000], "more than 65,536 bytes"),
    ("smtp", [b"220 hi\r\n", b"250-" + b"x" * 100_000], "more than 65,536 bytes"),
    ("imap", [b"* OK hi\r\n", b"* x\r\n" * 20_000], "more than 65,536 bytes"),
    ("pop3", [b"+OK " + b"x" * 100_000], "more than 65,536 bytes"),
    ("ftp", [b"220 hi\r\n", b"234-x\r\n" + b"y\r\n" * 30_000], "more than 65,536 bytes"),
]


@pytest.mark.parametrize(("protocol", "answers", "said"), REFUSALS, ids=[f"{case[0]} {case[2]}" for case in REFUSALS])
def test_starttls_that_is_refused(protocol: str, answers: list[bytes], said: str) -> None:
    """A server that does not want TLS ends it with status 5 and one line that has the server's words."""

    def serve(connection: socket.socket) -> None:
        first, *others = answers
        with suppress(ConnectionResetError, BrokenPipeError):  # of a peer that has closed
            connection.sendall(first)
            for answer in others:
                connection.recv(65536)
                connection.sendall(answer)
        if answers[-1] and said != "ended the connection":
            with suppress(ConnectionResetError):
                everything(connection)

    with peer(serve) as port:
        line = geventstreams("connect", "127.0.0.1", port, "--starttls", protocol).refused(Status.TLS)
    assert said in line


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        (b"554 \x1b[31mred\x07 \xc2\x9b2J \xff no\r\n", r"554 \x1b[31mred\x07 \x9b2J \xff no"),
        ("554 zu spät\r\n".encode(), "554 zu spät"),
        (b"554 " + b"x" * 60_000 + b"\r\n", "554 " + 196 * "x" + "..."),
    ],
    ids=["controls", "UTF-8", "long"],
)
def test_a_refusal_cannot_control_the_terminal(greeting: bytes, said: str) -> None:
    """What a server says is shown as text: control characters are escaped, and a long refusal is cut."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(greeting)
        with suppress(ConnectionResetError):
            everything(connection)

    with peer(serve) as port:
        line = geventstreams("connect", "127.0.0.1", port, "--starttls", "smtp").refused(Status.TLS)
    assert line == f"geventstreams: no TLS over smtp, greeting: {said}"


AGREEMENTS = {
    "smtp, as short as can be": ("smtp", [b"220\r\n", b"250\n", b"220\r\n"]),
    "smtp, several lines": ("smtp", [b"220-hi\r\n220-\r\n220 \r\n", b"250-hi\r\n250 STARTTLS\r\n", b"220-go\r\n220 on\r\n"]),
    "imap, other words in between": ("imap", [b"* ok hi\r\n", b"* CAPABILITY IMAP4rev2\r\nTLS OK go\r\n"]),
    "pop3": ("pop3", [b"+OK hi\r\n", b"+ok go\r\n"]),
    "ftp, free lines": (
        "ftp",
        [b"220-hi\r\n free\r\n\r\n221 is no end\r\n220-nor this\r\n2200\r\n220 now\r\n", b"234-Using TLS\r\n Proceed.\r\n234 End\r\n"]),
    "ftp, not ready at once": ("ftp", [b"120 in a minute\r\n120-or\r\n two\r\n120 so\r\n220 hi\r\n", b"234\r\n"]),
}


@pytest.mark.parametrize("name", AGREEMENTS)
def test_starttls_that_is_agreed_on(name: str) -> None:
    """TLS's first message comes right behind each form of agreement that the protocol allows."""
    protocol, answers = AGREEMENTS[name]
    seen = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(answers[0])
        for answer in answers[1:]:
            seen.append(connection.recv(65536))
            connection.sendall(answer)
        seen.append(connection.recv(65536))

    with peer(serve) as port:
        geventstreams("connect", "127.0.0.1", port, "--starttls", protocol, "--insecure").refused(Status.TLS)
    assert seen[-1].startswith(b"\x16\x03")
    assert not any(words.startswith(b"\x16") for words in seen[:-1])


@pytest.mark.parametrize(
    ("protocol", "drip"),
    [("smtp", b"220-x\r\n"), ("imap", b"x"), ("ftp", b"220-x\r\n free\r\n"), ("pop3", b"")],
    ids=["lines", "bytes", "free lines", "silence"],
)
def test_the_starttls_dialogue_has_a_timeout(protocol: str, drip: bytes) -> None:
    """--timeout limits the whole dialogue, and not only the pauses in it: one line says so, with status 5."""
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        with suppress(ConnectionResetError, BrokenPipeError):
            while not ended.wait(0.1):
                connection.sendall(drip)

    with peer(serve) as port:
        line = geventstreams("connect", "127.0.0.1", port, "--starttls", protocol, "--timeout", 0.5).refused(Status.TLS)
        ended.set()
    assert f"no TLS over {protocol}: the server has not agreed within 0.5 s" in line


def test_starttls_takes_no_words_from_before_tls() -> None:
    """What a man in the middle put behind the server's consent, in the same segment, is refused and never shown."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"220 hi\r\n")
        connection.recv(65536)
        connection.sendall(b"250-hi\r\n250 STARTTLS\r\n")
        connection.recv(65536)
        connection.sendall(b"220 go\r\n250 INJECTED\r\n")
        everything(connection)

    with peer(serve) as port:
        line = geventstreams("connect", "127.0.0.1", port, "--starttls", "smtp", "--insecure").refused(Status.TLS)
    assert "INJECTED" not in line


def test_a_certificate_of_many_names_is_one_short_line() -> None:
    """`-v` names three of the names that a certificate is for, addresses as people write them, and says how many more there are."""
    subject = ((("commonName", "first.test"),),)
    alternatives = (("DNS", "first.test"), ("IP Address", "0:0:0:0:0:0:0:1"), ("DNS", "third.test"), ("DNS", "fourth.test"))
    assert peer_certificates.names({"subject": subject}) == "first.test"
    assert peer_certificates.names({"subject": subject, "subjectAltName": alternatives[:3]}) == "first.test, ::1, third.test"
    assert peer_certificates.names({"subject": subject, "subjectAltName": alternatives}) == "first.test, ::1, third.test, 1 more"
