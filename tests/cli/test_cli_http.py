"""`serve http`: curl, ranges, index pages, safe paths, keep-alive, and clients that send nonsense."""

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.command_line import LIMIT, Serving, run, serving
from servers import Certificates, curl

from geventstreams.cli.http_files import byte_range


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files, folders, links and a secret beside it."""
    base = tmp_path_factory.mktemp("web")
    root = base / "root"
    (root / "sub").mkdir(parents=True)
    (root / "plain").mkdir()
    (base / "secret").write_text("secret")
    (base / "root-beside").mkdir()
    (base / "root-beside" / "file").write_text("secret")
    (root / "page.html").write_text("<p>page</p>")
    (root / "big").write_bytes(os.urandom(3_000_000))
    (root / "ein name & mehr.txt").write_text("name")
    (root / "sub" / "index.html").write_text("index of sub")
    (root / "outside").symlink_to(base / "secret")
    (root / "inside").symlink_to(root / "page.html")
    (root / "loop").symlink_to("loop")
    (root / ".hidden").write_text("hidden")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture
def server(folder: Path) -> Iterator[Serving]:
    """`serve http:FOLDER`."""
    with serving(f"http:{folder}") as running:
        yield running


def fetch(server: Serving, path: str, *words: object) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body that curl gets."""
    done = run(curl(), "--silent", "--include", "--path-as-is", "--max-time", LIMIT, *words, f"http://127.0.0.1:{server.port}{path}")
    assert done.status == 0
    head, _, body = done.output.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}, body


def test_a_file_with_its_type_and_length(server: Serving, folder: Path) -> None:
    """GET sends a file with its type, length and time; HEAD sends the same head alone."""
    status, headers, body = fetch(server, "/big")
    assert (status, headers["content-length"], headers["content-type"]) == (200, "3000000", "application/octet-stream")
    assert hashlib.sha256(body).digest() == hashlib.sha256((folder / "big").read_bytes()).digest()
    status, headers, body = fetch(server, "/page.html")
    assert (status, headers["content-type"], body) == (200, "text/html", b"<p>page</p>")
    modified = headers["last-modified"]
    status, again, body = fetch(server, "/page.html", "--head")
    assert (status, again["content-length"], body) == (200, headers["content-length"], b"")
    assert fetch(server, "/page.html", "-H", f"If-Modified-Since: {modified}")[0] == 304
    assert fetch(server, "/page.html", "-H", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT")[0] == 200


RANGES = [
    ("bytes=0-0", (0, 1)),
    ("bytes=10-19", (10, 20)),
    ("bytes=2999990-", (2999990, 3000000)),
    ("bytes=2999990-9999999", (2999990, 3000000)),
    ("bytes=-5", (2999995, 3000000)),
    ("bytes=-9999999", (0, 3000000)),
]


@pytest.mark.parametrize(("header", "expected"), RANGES)
def test_a_range(server: Serving, folder: Path, header: str, expected: tuple[int, int]) -> None:
    """A part of a file is sent with status 206, and says which."""
    status, headers, body = fetch(server, "/big", "-H", f"Range: {header}")
    start, end = expected
    assert (status, headers["content-range"]) == (206, f"bytes {start}-{end - 1}/3000000")
    assert body == (folder / "big").read_bytes()[start:end]


@pytest.mark.parametrize("header", ["bytes=3000000-", "bytes=9999999-99999999", "bytes=-0"])
def test_a_range_behind_the_end(server: Serving, header: str) -> None:
    """A range that has no byte of the file is refused with status 416 and the size."""
    status, headers, body = fetch(server, "/big", "-H", f"Range: {header}")
    assert (status, headers["content-range"], body) == (416, "bytes */3000000", b"")


@pytest.mark.parametrize("header", ["bytes=5-1", "bytes=1-2,4-5", "bytes=-", "lines=1-2", "bytes=x", "bytes=1" + 200 * "0" + "-"])
def test_a_range_that_is_none_is_ignored(header: str) -> None:
    """Other ranges are answered by the whole file, as RFC 9110 allows."""
    assert byte_range(header, 100) is None


def test_a_range_of_another_version_is_the_whole_file(server: Serving) -> None:
    """With If-Range a part is sent only if the file is the one that the client knows."""
    modified = fetch(server, "/big", "--head")[1]["last-modified"]
    words = ["-H", "Range: bytes=0-9", "-H"]
    assert fetch(server, "/big", *words, f"If-Range: {modified}")[0] == 206
    assert fetch(server, "/big", *words, "If-Range: Thu, 01 Jan 1970 00:00:00 GMT")[0] == 200
    assert fetch(server, "/big", *words, 'If-Range: "tag"')[0] == 200


def test_a_download_is_resumed(server: Serving, folder: Path, tmp_path: Path) -> None:
    """curl resumes half a download, and has the whole file then."""
    content = (folder / "big").read_bytes()
    (tmp_path / "big").write_bytes(content[:1_234_567])
    done = run(curl(), "--silent", "-C", "-", "-o", tmp_path / "big", f"http://127.0.0.1:{server.port}/big")
    assert (done.status, (tmp_path / "big").read_bytes() == content) == (0, True)


def test_folders(server: Serving) -> None:
    """A folder without a slash is redirected, an index page is sent, and otherwise a list with links that work."""
    status, headers, _ = fetch(server, "/sub")
    assert (status, headers["location"]) == (301, "/sub/")
    assert fetch(server, "//evil.test/%2e%2e/sub")[0] in {301, 404}
    assert not fetch(server, "//sub")[1].get("location", "/").startswith("//")
    assert fetch(server, "/sub/")[2] == b"index of sub"
    status, headers, body = fetch(server, "/?query")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b'<a href="ein%20name%20%26%20mehr.txt">ein name &amp; mehr.txt</a>' in body
    assert b'<a href="sub/">sub/</a>' in body
    assert b"hidden" not in body
    assert fetch(server, "/ein%20name%20%26%20mehr.txt")[2] == b"name"
    assert fetch(server, "/plain/")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/sub/../../secret",
        "//../secret",
        "/../root-beside/file",
        "/outside",
        "/%00",
        "/missing",
        "/page.html/",
        "/fifo",
        "/" + "x" * 5000,
        "/%ff%fe",
    ],
)
def test_paths_that_are_not_served(server: Serving, path: str) -> None:
    """What lies outside of the folder, is not a regular file or is not there is status 404, at once."""
    status, _, body = fetch(server, path)
    assert status == 404
    assert b"secret\n" not in body


def test_a_link_within_the_folder_is_followed(server: Serving) -> None:
    """A symbolic link that stays in the folder is served."""
    assert fetch(server, "/inside")[2] == b"<p>page</p>"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(server: Serving, folder: Path) -> None:
    """A file without the right to read it is status 403."""
    (folder / "private").touch(mode=0)
    assert fetch(server, "/private")[0] == 403


def test_other_methods_are_refused(server: Serving) -> None:
    """POST, PUT and DELETE are status 501, and end the connection: their bodies are not read."""
    for method in ("POST", "PUT", "DELETE"):
        status, headers, _ = fetch(server, "/page.html", "-X", method, "-d", "body")
        assert (status, headers["connection"]) == (501, "close")


def exchange(port: int, request: bytes) -> bytes:
    """Return what comes for some bytes, up to the end."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_several_requests_on_one_connection(server: Serving) -> None:
    """HTTP/1.1 keeps a connection, pipelined requests are answered in order, and `Connection: close` ends it."""
    get = b"GET /page.html HTTP/1.1\r\nHost: x\r\n%b\r\n"
    assert exchange(server.port, get % b"" * 3).count(b"<p>page</p>") == 3
    assert exchange(server.port, get % b"Connection: close\r\n" * 3).count(b"<p>page</p>") == 1
    assert exchange(server.port, b"GET /page.html HTTP/1.0\r\n\r\n" * 2).count(b"<p>page</p>") == 1


def test_a_body_is_not_taken_for_a_request(server: Serving) -> None:
    """A request with a body is the last one of its connection, so that the body is not read as a request."""
    inner = b"GET /sub/ HTTP/1.1\r\n\r\n"
    answer = exchange(server.port, b"GET /page.html HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(inner), inner))
    assert b"<p>page</p>" in answer
    assert b"index of sub" not in answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"hello\r\n\r\n", b"400"),
        (b"GET / HTTP/3.0\r\n\r\n", b"505"),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET http://[/page.html HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n", b"400"),
    ],
    ids=["words", "version", "headers", "path", "URL", "TLS"],
)
def test_requests_that_are_none(server: Serving, request_: bytes, status: bytes) -> None:
    """What is not a request is refused with a status of its own, and the server goes on without a word."""
    assert status in exchange(server.port, request_)
    assert fetch(server, "/page.html")[0] == 200
    assert server.end().errors.count("\n") == 1  # the drain


def test_a_client_that_leaves_in_the_middle_is_no_error(server: Serving) -> None:
    """A client that goes away while a file is sent costs a log line at most, and the server serves the next one."""
    with socket.create_connection(("127.0.0.1", server.port), LIMIT) as client:
        client.sendall(b"GET /big HTTP/1.1\r\n\r\n")
        client.recv(10)
    assert fetch(server, "/page.html")[0] == 200
    assert "Traceback" not in server.end().errors


def test_over_tls(folder: Path, certificates: Certificates) -> None:
    """A folder is served over HTTPS as well."""
    words = ["--tls", certificates.server.chain, certificates.server.key]
    with serving(f"http:{folder}", *words) as server:
        done = run(curl(), "--silent", "--cacert", certificates.ca, f"https://localhost:{server.port}/page.html")
    assert (done.status, done.output) == (0, b"<p>page</p>")


def test_the_current_folder_is_the_default(folder: Path) -> None:
    """`serve http` serves the folder in which it was started."""
    with serving("http", folder=folder) as server:
        assert fetch(server, "/page.html")[2] == b"<p>page</p>"
