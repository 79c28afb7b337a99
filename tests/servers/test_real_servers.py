"""The real servers that tests start: each answers the clients that the world uses, in plain text and over TLS."""

import ftplib
import hashlib
import imaplib
import os
import poplib
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pg8000.dbapi
import pymysql
import pytest
import redis
import requests

from servers import (
    Certificates,
    Dovecot,
    Exim,
    HAProxy,
    MariaDB,
    Nginx,
    PostgreSQL,
    ProFTPD,
    Redis,
    ServerError,
    SServer,
    base,
    curl,
    free_port,
    nc,
    s_client,
    socat,
)
from servers.base import HOST
from servers.processes import wait_until


def trusting(certificates: Certificates) -> ssl.SSLContext:
    """A client's context that trusts the test authority only."""
    return ssl.create_default_context(cafile=str(certificates.ca))


def test_nginx_serves_files_plain_chunked_and_over_tls(nginx: Nginx, certificates: Certificates) -> None:
    """nginx serves a file with its length, in chunks and over TLS, all on connections that are kept."""
    nginx.add_file("three", 3_000_000)
    content = (nginx.documents / "three").read_bytes()
    with requests.Session() as session:
        plain = session.get(nginx.url("/three"), timeout=20)
        chunked = session.get(nginx.url("/chunked/three"), timeout=20)
        secure = session.get(nginx.url("/three", "https"), timeout=20, verify=str(certificates.ca))
    assert plain.content == chunked.content == secure.content == content
    assert (plain.headers["Content-Length"], plain.headers["Connection"]) == ("3000000", "keep-alive")
    assert chunked.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in chunked.headers


def test_nginx_makes_the_file_it_gives_the_checksum_of(nginx: Nginx) -> None:
    """A 100 MB file that nginx was given arrives with the checksum that was told."""
    expected = nginx.add_file("hundred", 100_000_000)
    command = [curl(), "--silent", "--fail", nginx.url("/hundred")]
    content = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    (nginx.documents / "hundred").unlink()
    assert len(content) == 100_000_000
    assert hashlib.sha256(content).hexdigest() == expected


@pytest.mark.slow
def test_nginx_takes_snippets_and_serves_slowly() -> None:
    """A snippet makes nginx a proxy for another one, whose `/slow/` answers trickle."""
    with Nginx() as behind:
        behind.add_file("slowly", 200_000)
        snippet = f"location /api/ {{ proxy_buffering off; proxy_pass {behind.url('/')}; }}"
        with Nginx(server_config=snippet) as front:
            start = time.monotonic()
            answer = requests.get(front.url("/api/slow/slowly"), timeout=20)
            # 64 KiB are allowed in each second, the first included; it can only be slower.
            assert time.monotonic() - start > 1
    assert len(answer.content) == 200_000


def test_redis_answers_plain_and_over_tls(redis_server: Redis, certificates: Certificates) -> None:
    """Redis keeps what redis-py sets in plain text, for redis-py over TLS."""
    with redis.Redis(HOST, redis_server.ports["redis"]) as plain:
        plain.set("binary", bytes(range(256)))
    with redis.Redis(HOST, redis_server.ports["rediss"], ssl=True, ssl_ca_certs=str(certificates.ca)) as secure:
        assert secure.get("binary") == bytes(range(256))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_mariadb_answers(mariadb: MariaDB, certificates: Certificates, tls: bool) -> None:
    """MariaDB answers PyMySQL, with and without TLS."""
    options = {"ssl_ca": str(certificates.ca), "ssl_verify_cert": True, "ssl_verify_identity": True} if tls else {"ssl_disabled": True}
    with pymysql.connect(**mariadb.connection, **options) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT seq FROM seq_1_to_1000")
        assert [row[0] for row in cursor.fetchall()] == list(range(1, 1001))
        cursor.execute("SHOW STATUS LIKE 'Ssl_version'")
        assert bool(cursor.fetchone()[1]) is tls


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_postgres_answers(postgres: PostgreSQL, certificates: Certificates, tls: bool) -> None:
    """PostgreSQL answers pg8000, with and without TLS."""
    connection = pg8000.dbapi.connect(**postgres.connection, ssl_context=trusting(certificates) if tls else False)
    cursor = connection.cursor()
    cursor.execute("SELECT n FROM generate_series(1, 1000) AS n")
    assert [row[0] for row in cursor.fetchall()] == list(range(1, 1001))
    cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert cursor.fetchone()[0] is tls
    connection.close()


def test_smtp_server_delivers(smtp_server: Exim, certificates: Certificates) -> None:
    """Exim takes a message after STARTTLS and login, another over TLS, and delivers both."""
    context = trusting(certificates)
    with smtplib.SMTP(HOST, smtp_server.ports["smtp"], timeout=20) as plain:
        plain.starttls(context=context)
        plain.login(smtp_server.user_name, smtp_server.password)
        plain.sendmail("a@example.test", ["b@example.test"], "Subject: first\n\nafter STARTTLS\n")
    with smtplib.SMTP_SSL(HOST, smtp_server.ports["smtps"], timeout=20, context=context) as secure:
        secure.sendmail("a@example.test", ["b@example.test"], "Subject: second\n\nover TLS\n")
    assert wait_until(lambda: len(smtp_server.messages()) == 2, limit=20)
    bodies = {message.rpartition(b"\n\n")[2] for message in smtp_server.messages()}
    assert bodies == {b"after STARTTLS\n", b"over TLS\n"}


def test_mail_server_answers(mail_server: Dovecot, certificates: Certificates) -> None:
    """Dovecot gives back by IMAP and POP3, after STARTTLS and over TLS, what IMAP put into the mailbox."""
    context = trusting(certificates)
    login = (mail_server.user_name, mail_server.password)
    message = b"Subject: kept\r\n\r\none line\r\n"
    with imaplib.IMAP4(HOST, mail_server.ports["imap"], timeout=20) as imap:
        imap.starttls(context)
        imap.login(*login)
        imap.append("INBOX", "", "", message)
    with imaplib.IMAP4_SSL(HOST, mail_server.ports["imaps"], ssl_context=context, timeout=20) as imaps:
        imaps.login(*login)
        imaps.select()
        status, parts = imaps.fetch("1", "(BODY.PEEK[])")
        assert status == "OK"
        assert isinstance(parts[0], tuple)
        assert parts[0][1] == message
    pop = poplib.POP3(HOST, mail_server.ports["pop3"], timeout=20)
    pop.stls(context)
    for client in (pop, poplib.POP3_SSL(HOST, mail_server.ports["pop3s"], context=context, timeout=20)):
        client.user(login[0])
        client.pass_(login[1])
        assert client.retr(1)[1] == message.splitlines()
        client.quit()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_ftp_server_keeps_files(ftp_server: ProFTPD, certificates: Certificates, tls: bool, tmp_path: Path) -> None:
    """ProFTPD stores and gives back a file, in plain text and with commands and data under TLS."""
    content = os.urandom(1_000_000)
    upload = tmp_path / "upload"
    upload.write_bytes(content)
    parts: list[bytes] = []
    with ftplib.FTP_TLS(context=trusting(certificates), timeout=20) if tls else ftplib.FTP(timeout=20) as client:
        client.connect(HOST, ftp_server.ports["ftp"])
        client.login(ftp_server.user_name, ftp_server.password)
        if isinstance(client, ftplib.FTP_TLS):
            client.prot_p()
        with upload.open("rb") as source:
            client.storbinary("STOR kept", source)
        client.retrbinary("RETR kept", parts.append)
    assert b"".join(parts) == content == (ftp_server.files / "kept").read_bytes()


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_haproxy_tells_the_backend_the_client(
    haproxy: Callable[..., HAProxy], certificates: Certificates, send: str
) -> None:
    """HAProxy, plain and with TLS ended there, tells an nginx behind it by PROXY protocol who the client is."""
    behind, plain, secure = free_port(), free_port(), free_port()
    answer = "return 200 $proxy_protocol_addr:$proxy_protocol_port;"
    with Nginx(http_config=f"server {{ listen {HOST}:{behind} proxy_protocol; {answer} }}"):
        haproxy(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n"
            f"frontend front\n bind {HOST}:{plain}\n bind {HOST}:{secure} ssl crt {certificates.server.both}\n"
            f" default_backend back\nbackend back\n server one {HOST}:{behind} {send}\n",
            plain=plain,
            secure=secure,
        )
        for url in (f"http://{HOST}:{plain}/", f"https://{HOST}:{secure}/"):
            itself = ["--write-out", "|%{local_ip}:%{local_port}"]
            command = [curl(), "--silent", "--fail", "--cacert", str(certificates.ca), *itself, url]
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
            told, true = done.stdout.split("|")
            assert told == true


def test_a_port_is_chosen_once_on_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process has chosen, with no socket on it as yet, is not chosen; when that process has ended, it is."""
    command = [sys.executable, "-c", "from servers import free_port; print(free_port(), flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        monkeypatch.setattr(base, "_PORTS", [port])
        with pytest.raises(ServerError, match="no free port"):
            free_port()
        other.communicate(b"\n")
    assert free_port() == port


def test_a_port_that_is_bound_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that has the port without listening keeps it from being chosen: a server could not have it."""
    port = free_port()
    monkeypatch.setattr(base, "_PORTS", [port])
    monkeypatch.setattr(base, "_chosen_ports", set())
    with closing(socket.socket()) as bound:
        bound.bind((HOST, port))
        with pytest.raises(ServerError, match="no free port"):
            free_port()
    assert free_port() == port


def test_openssl_talks_to_openssl(certificates: Certificates) -> None:
    """s_server gives s_client, which checks its certificate, each line back reversed."""
    with (
        SServer(certificates.server, "-rev", "-tls1_2") as server,
        s_client(server.ports["tls"], certificates.ca) as client,
    ):
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"stream\n")
        assert client.stdout.read(7) == b"maerts\n"


@pytest.mark.parametrize("program", ["curl", "socat", "nc"])
def test_clients_are_found(redis_server: Redis, program: str) -> None:
    """curl, socat and nc are found and talk to a real server."""
    port = redis_server.ports["redis"]
    commands = {
        "curl": [curl(), "--silent", "--max-time", "20", f"telnet://{HOST}:{port}"],
        "socat": [socat(), "-", f"TCP:{HOST}:{port}"],
        "nc": [nc(), "-N", HOST, str(port)],
    }
    done = subprocess.run(commands[program], input=b"PING\r\nQUIT\r\n", capture_output=True, timeout=30, check=False)
    assert done.stdout == b"+PONG\r\n+OK\r\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("server", None),
        ("expired", "certificate has expired"),
        ("wrong_name", "IP address mismatch"),
        ("wildcard", "IP address mismatch"),
        ("self_signed", "self.signed certificate"),
        ("unknown_ca", "unable to get local issuer certificate"),
    ],
)
def test_certificates_are_what_they_are_called(certificates: Certificates, name: str, message: str | None) -> None:
    """A client that trusts the authority accepts the good certificate and refuses each bad one for its own fault."""
    with Nginx(getattr(certificates, name)) as server:
        url = server.url("/", "https")
        if message is None:
            assert requests.get(url, verify=str(certificates.ca), timeout=20).status_code == 403
        else:
            with pytest.raises(requests.exceptions.SSLError, match=message):
                requests.get(url, verify=str(certificates.ca), timeout=20)


def test_wildcard_and_client_certificates(certificates: Certificates) -> None:
    """The wildcard is good for a name below it, and the client certificate for a server that demands one."""
    demand = ("-Verify", "1", "-verify_return_error", "-CAfile", str(certificates.ca), "-rev")
    with SServer(certificates.wildcard, *demand) as server:
        context = trusting(certificates)
        context.load_cert_chain(certificates.client.both)
        with (
            socket.create_connection((HOST, server.ports["tls"]), timeout=20) as connection,
            context.wrap_socket(connection, server_hostname="any.example.test") as secure,
        ):
            secure.sendall(b"known\n")
            assert secure.recv(6) == b"nwonk\n"
