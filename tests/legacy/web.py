"""HTTP: requests, with urllib3 below, and http.client, with nginx; plain, under TLS, in chunks, on kept connections."""

import hashlib
import http.client
import re
import ssl
from collections.abc import Iterator
from typing import Any, ClassVar

import requests
import urllib3.exceptions
from client import STALL, Client, failing, limited, timing_out
from middle_man import HOST, LIMIT, MiddleMan
from servers import Nginx

PAGE = 300_000
PLACES = (("http", "/page"), ("http", "/chunked/page"), ("https", "/page"), ("https", "/chunked/page"))


class Requests(Client):
    """requests and urllib3."""

    errors = (requests.RequestException, urllib3.exceptions.HTTPError)
    server: Nginx

    def make_server(self) -> Nginx:
        return Nginx(self.trust.certificate)

    @property
    def port(self) -> int:
        return self.server.ports["http"]

    def prepare(self) -> None:
        self.page = self.server.add_file("page", PAGE)
        for number in range(50):
            (self.server.documents / str(number)).write_text(f"answer {number}\n" * 100)
        self.hundred = self.server.add_file("hundred", 100_000_000)

    def session(self) -> requests.Session:
        """One that trusts the test's authority."""
        made = requests.Session()
        made.verify = str(self.trust.ca)
        made.trust_env = False
        return made

    def converse(self, number: int) -> None:
        with self.session() as session:
            for scheme, path in PLACES:
                url = self.server.url(path, scheme)
                assert hashlib.sha256(session.get(url, timeout=LIMIT).content).hexdigest() == self.page
                own = session.get(self.server.url(path.replace("page", str(number)), scheme), timeout=LIMIT)
                assert own.text == f"answer {number}\n" * 100

    def stall(self) -> None:
        for scheme, path in PLACES:
            with MiddleMan(self.server.ports[scheme]) as man, self.session() as session:
                url = f"{scheme}://{HOST}:{man.port}{path}"
                self.read_on(man, session, url)
                self.give_up(man, session, url)

    def read_on(self, man: MiddleMan, session: requests.Session, url: str) -> None:
        """The file that urllib3 and http.client read from is read on."""
        headers = {"Connection": "close"}
        man.hold_after(PAGE // 2)
        with session.get(url, stream=True, timeout=LIMIT, headers=headers) as answer:
            chunked = "Transfer-Encoding" in answer.headers
            file = limited(answer.raw._fp.fp, STALL)
            for _ in range(2):
                with timing_out():
                    file.read()
            man.let_go()
            body = limited(file, LIMIT).read()
        assert hashlib.sha256(unchunked(body) if chunked else body).hexdigest() == self.page

    def give_up(self, man: MiddleMan, session: requests.Session, url: str) -> None:
        """requests itself gives up in time, and the session goes on."""
        man.hold_after(PAGE // 2)
        with failing(requests.ConnectionError, requests.Timeout):
            session.get(url, timeout=STALL)
        man.let_go()
        assert hashlib.sha256(session.get(url, timeout=LIMIT).content).hexdigest() == self.page

    def ask_on(self, port: int) -> None:
        with self.session() as session:
            session.get(f"http://{HOST}:{port}/hundred", timeout=LIMIT)

    def hundred_megabytes(self) -> None:
        """A body of 100 MB, in one piece, in chunks and under TLS, arrives whole."""
        with self.session() as session:
            for scheme, path in (("http", "/hundred"), ("http", "/chunked/hundred"), ("https", "/hundred")):
                checksum = hashlib.sha256()
                with session.get(self.server.url(path, scheme), stream=True, timeout=LIMIT) as answer:
                    for piece in answer.iter_content(2**20):
                        checksum.update(piece)
                assert checksum.hexdigest() == self.hundred

    def kept_connections(self) -> None:
        """A hundred questions on one connection, each file a new one on the same socket."""
        with self.session() as session:
            for scheme in ("http", "https"):
                ends = set()
                for number in range(100):
                    with session.get(self.server.url(f"/{number % 50}", scheme), stream=True, timeout=LIMIT) as answer:
                        connection: Any = answer.raw.connection
                        ends.add(connection.sock.getsockname())
                        assert answer.text == f"answer {number % 50}\n" * 100
                assert len(ends) == 1

    def cases(self) -> dict[str, Any]:
        more = {"a body of 100 MB": self.hundred_megabytes, "kept connections": self.kept_connections}
        return more | super().cases()


class HTTPClient(Client):
    """The standard library's http.client."""

    errors = (OSError, http.client.HTTPException)
    server: Nginx
    context: ClassVar[ssl.SSLContext]

    def make_server(self) -> Nginx:
        return Nginx(self.trust.certificate)

    @property
    def port(self) -> int:
        return self.server.ports["http"]

    def prepare(self) -> None:
        self.page = self.server.add_file("page", PAGE)
        self.server.add_file("large", 30_000_000)

    def connection(self, scheme: str, port: int) -> http.client.HTTPConnection:
        """A connection of that kind."""
        if scheme == "http":
            return http.client.HTTPConnection(HOST, port, timeout=LIMIT)
        context = ssl.create_default_context(cafile=str(self.trust.ca))
        return http.client.HTTPSConnection(HOST, port, timeout=LIMIT, context=context)

    def converse(self, number: int) -> None:
        scheme = ("http", "https")[number % 2]
        connection = self.connection(scheme, self.server.ports[scheme])
        for path in ("/page", "/chunked/page", "/nothing-there", "/page"):
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            assert (answer.status == 404) if "nothing" in path else (hashlib.sha256(body).hexdigest() == self.page)
        connection.close()

    def stall(self) -> None:
        for scheme in ("http", "https"):
            with MiddleMan(self.server.ports[scheme]) as man:
                connection = self.connection(scheme, man.port)
                connection.request("GET", "/page", headers={"Connection": "close"})
                man.hold_after(PAGE // 2)
                answer = connection.getresponse()
                limited(answer.fp, STALL)
                for _ in range(2):
                    with timing_out():
                        answer.read(PAGE)
                man.let_go()
                limited(answer.fp, LIMIT)
                assert hashlib.sha256(answer.read(PAGE)).hexdigest() == self.page
                assert answer.read() == b""
                connection.close()

    def ask_on(self, port: int) -> None:
        connection = self.connection("http", port)
        try:
            connection.request("GET", "/large")
            connection.getresponse().read()
        finally:
            connection.close()


def unchunked(data: bytes) -> bytes:
    """What is in the chunks of a body."""

    def chunks() -> Iterator[bytes]:
        at = 0
        while True:
            size = re.compile(rb"([0-9a-f]+)\r\n").match(data, at)
            assert size is not None
            at = size.end() + int(size[1], 16) + 2
            if not int(size[1], 16):
                return
            yield data[size.end() : at - 2]

    return b"".join(chunks())
