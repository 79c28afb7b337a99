"""`serve http`: the files of a folder over HTTP/1.1: GET, HEAD, ranges, index pages, keep-alive. `http.server` parses the requests."""

# Invariants: every call that touches the disk is made in a thread. A path is resolved, symbolic links included, and then must lie in the
# folder. A range is of the file that was opened.

from __future__ import annotations

import html
import mimetypes
import os
import re
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli.files import READERS, OpenFile
from geventstreams.cli.threads import Threads

INDEX = "index.html"


class Page(NamedTuple):
    """What a path leads to: a file, or the text of a page; or another path, or a status that is an error."""

    status: HTTPStatus
    content_type: str = ""
    file: OpenFile | None = None
    text: bytes = b""
    location: str = ""


class Folder:
    """A handler for servers that sends the files of a folder."""

    def __init__(self, path: str) -> None:
        self._root = os.path.realpath(path)
        self._threads = Threads(READERS)

    def __call__(self, stream: SocketStream, address: Any) -> None:
        Requests(stream, address, self)

    def find(self, path: str) -> Page:
        """Return what a request's path leads to."""
        page: Page = self._threads.call(self._find, path)
        return page

    def read(self, file: OpenFile, size: int) -> bytes:
        """Return the next bytes of a file, at most `size`."""
        data: bytes = self._threads.call(file.read, size)
        return data

    def _find(self, path: str) -> Page:
        name = unquote(path, "utf-8", "surrogateescape")
        try:
            where = os.path.realpath(os.path.join(self._root, name.lstrip("/")))
            if os.path.commonpath([where, self._root]) != self._root:
                return Page(HTTPStatus.NOT_FOUND)
            if os.path.isdir(where):
                return self._of_folder(path, where)
            if not name.endswith("/"):
                return Page(HTTPStatus.OK, type_of(where), OpenFile(where))
        except PermissionError:
            return Page(HTTPStatus.FORBIDDEN)
        except (OSError, ValueError):  # a NUL character is a ValueError
            pass
        return Page(HTTPStatus.NOT_FOUND)

    def _of_folder(self, path: str, where: str) -> Page:
        if not path.endswith("/"):
            return Page(HTTPStatus.MOVED_PERMANENTLY, location="/" + path.lstrip("/") + "/")
        index = os.path.join(where, INDEX)
        if os.path.isfile(index):
            return self._find(path + INDEX)
        return Page(HTTPStatus.OK, "text/html; charset=utf-8", text=listing(path, where))


def listing(path: str, where: str) -> bytes:
    """Return a page with links to what is in a folder; folders come first, names that begin with a dot are left out."""
    entries = [(not is_folder(entry), entry.name) for entry in os.scandir(where) if not entry.name.startswith(".")]
    names = [name + "/" * (not is_file) for is_file, name in sorted(entries)]
    title = html.escape(unquote(path, errors="replace"))
    links = [
        f'<li><a href="{quote(os.fsencode(name))}">{html.escape(os.fsencode(name).decode(errors="replace"))}</a></li>' for name in names
    ]
    head = f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{title}</title></head>\n<body><h1>{title}</h1>\n<ul>\n'
    return (head + "\n".join(links) + "\n</ul></body></html>\n").encode()


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry leads to a folder. A symbolic link that leads to itself does not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def type_of(path: str) -> str:
    """Return a file's media type by its name."""
    kind, encoding = mimetypes.guess_type(path)
    return "application/octet-stream" if kind is None or encoding else kind


class Requests(BaseHTTPRequestHandler):
    """The requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "geventstreams"

    def __init__(self, stream: SocketStream, address: Any, folder: Folder) -> None:
        self._stream = stream
        self._folder = folder
        super().__init__(stream, address, None)  # type: ignore[arg-type]  # a stream does what is needed of a socket

    def setup(self) -> None:
        """Read and write by the stream itself. What it holds is sent before a read waits."""
        self.rfile = self.wfile = self._stream

    def finish(self) -> None:
        """Leave the stream to the server, which closes it."""

    def version_string(self) -> str:
        return self.server_version

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # the name is the base class's
        """Log nothing: the server logs connections."""

    def do_GET(self) -> None:  # the name is the base class's
        """Send a file, a part of it, or a page."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:  # the name is the base class's
        """Send the head of an answer."""
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # the body of the request is not read
        try:
            page = self._folder.find(urlsplit(self.path).path)
        except ValueError:
            page = Page(HTTPStatus.BAD_REQUEST)
        if page.status is HTTPStatus.MOVED_PERMANENTLY:
            self.send_response(page.status)
            self.send_header("Location", page.location)
            self._end_head(0)
        elif page.status is not HTTPStatus.OK:
            self.send_error(page.status)
        elif page.file is None:
            self.send_response(page.status)
            self.send_header("Content-Type", page.content_type)
            self._end_head(len(page.text))
            if with_body:
                self._stream.write(page.text)
        else:
            self._send_file(page.file, page.content_type, with_body)

    def _send_file(self, file: OpenFile, content_type: str, with_body: bool) -> None:
        changed = int(file.status.st_mtime)
        if self._has_current(changed):
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self.end_headers()
            return
        size = file.status.st_size
        part = byte_range(self.headers.get("Range", ""), size) if self._may_have_part(changed) else None
        if part == EMPTY:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self._end_head(0)
            return
        start, end = part or (0, size)
        self.send_response(HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", content_type)
        self.send_header("Last-Modified", formatdate(changed, usegmt=True))
        self.send_header("Accept-Ranges", "bytes")
        if part is not None:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self._end_head(end - start)
        if with_body:
            file.skip_to(start)
            self._send_bytes(file, end - start)

    def _send_bytes(self, file: OpenFile, count: int) -> None:
        while count:
            data = self._folder.read(file, count)
            if not data:
                raise file.too_short()
            self._stream.write(data)
            count -= len(data)

    def _end_head(self, length: int) -> None:
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _has_current(self, changed: int) -> bool:
        return "If-None-Match" not in self.headers and (since := seconds_of(self.headers.get("If-Modified-Since"))) is not None and (
            changed <= since
        )

    def _may_have_part(self, changed: int) -> bool:
        """Return whether a range is of the file that the client knows."""
        return "If-Range" not in self.headers or seconds_of(self.headers["If-Range"]) == changed


def seconds_of(date: str | None) -> float | None:
    """Return the time of a date in a header, or None."""
    try:
        return None if date is None else parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


EMPTY = (0, 0)
"""A range that is not in the file."""


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the first byte of a range and the one behind it; None for the whole file: several ranges are sent as one (RFC 9110)."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip().replace(" ", ""), re.ASCII)
    if match is None or match[0] == "bytes=-" or len(header) > 100:
        return None
    first, last = match[1], match[2]
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    return (start, end) if start < end else EMPTY
