"""Mail: smtplib with Exim, imaplib and poplib with Dovecot; plain, and after STARTTLS."""

import imaplib
import poplib
import smtplib
import ssl
import time
from typing import Any

import gevent
from client import GREENLETS, STALL, Client, limited, timing_out
from middle_man import HOST, LIMIT, MiddleMan
from servers import Dovecot, Exim

LINES = b"".join(b"line %06d of a message\r\n" % number for number in range(10_000))
MESSAGE = b"Subject: large\r\n\r\n" + LINES


class SMTP(Client):
    """smtplib."""

    errors = (smtplib.SMTPException, OSError)
    held = 500
    server: Exim

    def make_server(self) -> Exim:
        return Exim(self.trust.certificate)

    @property
    def port(self) -> int:
        return self.server.ports["smtp"]

    def converse(self, number: int) -> None:
        with smtplib.SMTP(HOST, self.port, timeout=LIMIT) as client:
            if number % 2:
                client.starttls(context=ssl.create_default_context(cafile=str(self.trust.ca)))
                client.login(self.server.user_name, self.server.password)
            client.sendmail("a@example.test", ["b@example.test"], f"Subject: {number}\n\nletter {number}\n")
            assert client.noop()[0] == 250

    def fifty_at_once(self) -> None:
        super().fifty_at_once()
        deadline = time.monotonic() + LIMIT
        while len(self.server.messages()) < GREENLETS:
            assert time.monotonic() < deadline, f"{len(self.server.messages())} messages were delivered"
            gevent.sleep(0.02)
        letters = {message.rpartition(b"\n\n")[2] for message in self.server.messages()}
        assert letters == {b"letter %d\n" % number for number in range(GREENLETS)}

    def stall(self) -> None:
        with MiddleMan(self.port) as man, smtplib.SMTP(HOST, man.port, timeout=LIMIT) as client:
            man.hold_after(7)
            client.putcmd("ehlo", "client")
            file: Any = limited(client.file, STALL)
            for _ in range(2):
                with timing_out():
                    file.readline()
            man.let_go()
            limited(file, LIMIT)
            code, text = client.getreply()
            assert code == 250
            assert text.startswith(b"localhost Hello client")
            assert client.noop()[0] == 250

    def ask_on(self, port: int) -> None:
        with smtplib.SMTP(HOST, port, timeout=LIMIT) as client:
            while True:
                client.ehlo()


class IMAP(Client):
    """imaplib."""

    errors = (imaplib.IMAP4.error, OSError)
    server: Dovecot

    def make_server(self) -> Dovecot:
        return Dovecot(self.trust.certificate)

    @property
    def port(self) -> int:
        return self.server.ports["imap"]

    def login(self, port: int, user: str) -> imaplib.IMAP4:
        """A client that has logged in."""
        client = imaplib.IMAP4(HOST, port, timeout=LIMIT)
        client.login(user, self.server.password)
        return client

    def prepare(self) -> None:
        with self.login(self.port, self.server.user_name) as client:
            client.append("INBOX", "", "", MESSAGE)

    def converse(self, number: int) -> None:
        client = imaplib.IMAP4(HOST, self.port, timeout=LIMIT)
        if number % 2:
            client.starttls(ssl.create_default_context(cafile=str(self.trust.ca)))
        client.login(f"user{number}", self.server.password)
        messages = [b"Subject: %d\r\n\r\n" % number + LINES[:size] for size in (24, 2400, 24_000)]
        for message in messages:
            client.append("INBOX", "", "", message)
        client.select()
        for at, message in enumerate(messages):
            _status, parts = client.fetch(str(at + 1), "(BODY.PEEK[])")
            assert isinstance(parts[0], tuple)
            assert parts[0][1] == message
        client.logout()

    def stall(self) -> None:
        with MiddleMan(self.port) as man, self.login(man.port, self.server.user_name) as client:
            client.select()
            man.hold_after(len(MESSAGE) // 2)
            client.send(b"own FETCH 1 BODY.PEEK[]\r\n")
            head = client.readline()
            assert head.endswith(b"{%d}\r\n" % len(MESSAGE))
            limited(client.file, STALL)
            for _ in range(2):
                with timing_out():
                    client.read(len(MESSAGE))
            man.let_go()
            limited(client.file, LIMIT)
            assert client.read(len(MESSAGE)) == MESSAGE
            assert client.readline() == b")\r\n"
            assert client.readline().startswith(b"own OK")
            assert client.noop()[0] == "OK"

    def ask_on(self, port: int) -> None:
        client = self.login(port, self.server.user_name)
        try:
            client.select()
            while True:
                client.fetch("1", "(BODY.PEEK[])")
        finally:
            client.shutdown()


class POP3(IMAP):
    """poplib; the messages come into the box by imaplib."""

    errors = (poplib.error_proto, OSError)

    @property
    def port(self) -> int:
        return self.server.ports["pop3"]

    def prepare(self) -> None:
        for number in range(GREENLETS):
            with self.login(self.server.ports["imap"], f"user{number}") as client:
                client.append("INBOX", "", "", b"Subject: %d\r\n\r\n" % number + LINES[: 24 * number])
        with self.login(self.server.ports["imap"], self.server.user_name) as client:
            client.append("INBOX", "", "", MESSAGE)

    def enter(self, port: int, user: str, tls: bool = False) -> poplib.POP3:
        """A POP3 client that has logged in."""
        client = poplib.POP3(HOST, port, timeout=LIMIT)
        if tls:
            client.stls(ssl.create_default_context(cafile=str(self.trust.ca)))
        client.user(user)
        client.pass_(self.server.password)
        return client

    def converse(self, number: int) -> None:
        client = self.enter(self.port, f"user{number}", bool(number % 2))
        message = b"Subject: %d\r\n\r\n" % number + LINES[: 24 * number]
        for _ in range(3):
            assert client.retr(1)[1] == message.splitlines()
        client.quit()

    def stall(self) -> None:
        with MiddleMan(self.port) as man:
            client: Any = self.enter(man.port, self.server.user_name)
            man.hold_after(len(MESSAGE) // 2)
            assert client._shortcmd("RETR 1").startswith(b"+OK")
            limited(client.file, STALL)
            lines: list[bytes] = []
            with timing_out():
                while True:
                    lines.append(client._getline()[0])
            man.let_go()
            limited(client.file, LIMIT)
            while lines[-1] != b".":
                lines.append(client._getline()[0])
            assert lines[:-1] == MESSAGE.splitlines()
            client.quit()

    def ask_on(self, port: int) -> None:
        client = self.enter(port, self.server.user_name)
        try:
            while True:
                client.retr(1)
        finally:
            client.close()
