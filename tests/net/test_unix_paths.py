"""Paths of Unix sockets: what is refused before anything is made, and which process removes the file of a server that ends."""

from __future__ import annotations

import os
import pathlib
import re
import secrets
import socket
import stat
import sys

import gevent
import pytest
from kit.conditions import until
from kit.leftovers import descriptors_in_use

from geventstreams import (
    ConnectError,
    SocketStreamServer,
    StreamError,
    open_unix_stream,
    pipe_connect,
    pipe_server,
    tcp_connect,
    tcp_server,
)
from geventstreams._net.unix_paths import LONGEST, unix_path

FORMS = {"str": str, "bytes": os.fsencode, "Path": pathlib.Path}

TAKERS = {
    "open_unix_stream": lambda path: open_unix_stream(path, timeout=5),
    "open_unix_stream, errorp=False": lambda path: open_unix_stream(path, timeout=5, errorp=False),
    "pipe_connect": lambda path: pipe_connect(path, None),
    "pipe_server": lambda path: pipe_server(path, None),
    "tcp_connect": lambda path: tcp_connect(path, None, None),
    "tcp_server": lambda path: tcp_server(path, None, None),
}
"""Everything that takes a path."""


@pytest.fixture
def folder(tmp_path_factory):
    """A folder with a short path: pytest's own are nearly as long as a socket's may be."""
    made = pathlib.Path("/tmp") / f"geventstreams-{secrets.token_hex(4)}"
    made.mkdir()
    yield made
    for left in made.iterdir():
        left.unlink()
    made.rmdir()


def in_child(action) -> int:
    """Run `action()` in a forked child, and return its exit status: 0 when it raised nothing."""
    child = gevent.os.fork()
    if not child:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])  # that of gevent misses the end of a child that is quick


# What they are called.


@pytest.mark.parametrize("form", [str, os.fsencode])
@pytest.mark.parametrize("kind", ["file", "abstract"])
def test_a_unix_socket_has_one_name(folder, kind: str, form) -> None:
    """Servers, streams and connections, connected or not yet, name a Unix socket `unix:PATH` or `@NAME`, given as text or bytes."""
    path, name = (str(folder / "it"), f"unix:{folder}/it") if kind == "file" else (f"\0{folder}", f"@{folder}")
    events: list = []
    refused = pipe_connect(form(path), None, events.append)
    assert f"peer={name}" in repr(refused)
    until(lambda: events)
    assert str(events[0]) == f"cannot connect to {name}: {events[0].error.errors[0][1].strerror}"
    with pytest.raises(ConnectError, match=f"cannot connect to {re.escape(name)}: "):
        open_unix_stream(form(path), timeout=5)
    with pipe_server(form(path), None) as server:
        assert f" {name} " in repr(server)
        with pytest.raises(StreamError, match=f"cannot listen on {re.escape(name)}: "):
            pipe_server(form(path), None)
        with open_unix_stream(form(path), timeout=5) as stream:
            assert f"peer={name} " in repr(stream)
        connected = pipe_connect(form(path), None)
        until(lambda: connected.fileno() >= 0)
        assert f"peer={name} " in repr(connected)
        connected.close()
        until(lambda: connected.fileno() < 0 and not server.connections)


# What is refused.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("taker", TAKERS)
def test_a_nul_inside_a_path_is_refused(folder, taker: str, form: str) -> None:
    """A NUL behind the start of a path is a ValueError: no client reaches the socket of the shorter path, and none is made."""
    decoys = []
    with pipe_server(folder / "decoy", None, connect_cb=decoys.append):
        before = descriptors_in_use()
        for name in ("decoy\0x", "new\0x", "end\0"):
            with pytest.raises(ValueError, match="NUL"):
                TAKERS[taker](FORMS[form](str(folder / name)))
        gevent.sleep(0.01)
        assert descriptors_in_use() == before
    assert decoys == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("taker", TAKERS)
def test_a_path_that_is_too_long_is_refused(folder, taker: str) -> None:
    """A path with more bytes than the system takes is a ValueError that says how many there may be; bytes count, not characters."""
    for name in ("x" * LONGEST, "ü" * (LONGEST // 2)):
        with pytest.raises(ValueError, match=f"at most {LONGEST} bytes, not [0-9]+: .* is too long"):
            TAKERS[taker](str(folder / name))
    assert list(folder.iterdir()) == []


def test_the_longest_path_is_taken(folder) -> None:
    """A path of just as many bytes as there may be works on both ends, and is removed."""
    path = str(folder / "x").ljust(LONGEST, "x")
    with pipe_server(path, None):
        open_unix_stream(path, timeout=5).close()
        assert os.path.exists(path)
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    ("path", "error"), [("", ValueError), (b"", ValueError), ("\ud800", ValueError), (5, TypeError), (None, TypeError)]
)
@pytest.mark.parametrize("taker", ["open_unix_stream", "pipe_connect", "pipe_server"])
def test_what_is_no_path_is_refused(taker: str, path, error: type[Exception]) -> None:
    """An empty path, something else than a path, and characters without an encoding are refused with the argument's name."""
    with pytest.raises(error, match="path"):
        TAKERS[taker](path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has abstract sockets")
@pytest.mark.parametrize("form", ["str", "bytes"])
def test_abstract_names_may_contain_nul(form: str) -> None:
    """In the name of an abstract socket, NUL counts like any other character: two names that differ behind one are two sockets."""
    first = FORMS[form](f"\0geventstreams-{secrets.token_hex(8)}\0")
    second = first + FORMS[form]("2")
    with pipe_server(first, None) as server, pipe_server(second, None):
        open_unix_stream(first, timeout=5).close()
        assert server.address == os.fsencode(first)
    with pytest.raises(OSError, match="refused"):
        open_unix_stream(first, timeout=5)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has abstract sockets")
def test_the_longest_abstract_name() -> None:
    """An abstract name may be one byte longer than a path, since no NUL ends it."""
    name = f"\0{secrets.token_hex(8)}".ljust(LONGEST + 1, "x")
    with pipe_server(name, None):
        open_unix_stream(name, timeout=5).close()
    with pytest.raises(ValueError, match="too long"):
        pipe_server(name + "x", None)


def test_abstract_names_elsewhere(monkeypatch) -> None:
    """Where there are no abstract sockets, a path that begins with NUL is refused, and the reason given."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ValueError, match="only Linux has abstract sockets"):
        unix_path("path", "\0name")


def test_a_backlog_beyond_all_leaves_no_path(folder) -> None:
    """A backlog that no system call takes counts as the largest, instead of leaving a bound path behind."""
    with pipe_server(folder / "s", None, backlog=2**40):
        open_unix_stream(folder / "s", timeout=5).close()
    assert list(folder.iterdir()) == []


def test_a_socket_stream_server_takes_no_path(folder) -> None:
    """`SocketStreamServer` takes a Unix socket that listens, and leaves its path to the caller; a path is refused."""
    with pytest.raises(ValueError, match="for a Unix socket, pass a socket that listens"):
        SocketStreamServer(str(folder / "s"), print)
    listener = gevent.socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "s"))
    listener.listen(8)
    server = SocketStreamServer(listener, lambda stream, address: None)
    server.start()
    server.stop()
    assert (folder / "s").is_socket()


# Who removes the file.


@pytest.mark.parametrize("make", ["pipe_server", "tcp_server"])
def test_a_forked_child_leaves_the_path(folder, make: str) -> None:
    """A forked child that closes its copy of a server, or ends, leaves the parent's path, and the parent goes on serving there."""
    got = []
    before = [folder / "s"] if make == "pipe_server" else [folder / "s", None]
    server = {"pipe_server": pipe_server, "tcp_server": tcp_server}[make](*before, None, connect_cb=got.append)
    assert in_child(server.close) == 0
    open_unix_stream(folder / "s", timeout=5).close()
    until(lambda: got)
    server.close()
    assert not (folder / "s").exists()


def test_a_child_removes_its_own_path(folder) -> None:
    """A server that a forked child made is the child's: it removes the path."""

    def serve() -> None:
        with pipe_server(folder / "child", None):
            assert (folder / "child").is_socket()

    assert in_child(serve) == 0
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
def test_a_relative_path_is_found_after_chdir(folder, monkeypatch, form: str) -> None:
    """A server on a relative path removes it, wherever the working directory is by then; a file of that name there stays."""
    monkeypatch.chdir(folder)
    server = pipe_server(FORMS[form]("relative"), None)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    pathlib.Path("relative").touch()
    server.close()
    assert os.listdir(".") == ["relative"]
    os.unlink("relative")
    monkeypatch.chdir(folder)
    os.rmdir("elsewhere")
    assert os.listdir(".") == []


def test_dots_behind_a_link(folder, monkeypatch) -> None:
    """`link/../s` is beside the link's target, and that is what is removed."""
    (folder / "a").mkdir()
    (folder / "a" / "b").mkdir()
    os.symlink("a/b", folder / "link")
    monkeypatch.chdir(folder)
    server = pipe_server("link/../s", None)
    assert (folder / "a" / "s").is_socket()
    monkeypatch.chdir("/")
    server.close()
    assert os.listdir(folder / "a") == ["b"]
    os.rmdir(folder / "a" / "b")
    os.rmdir(folder / "a")


def test_a_file_that_took_its_place_stays(folder) -> None:
    """A successor's socket, a plain file or a link under the server's path is left alone; a second close removes nothing either."""
    path = folder / "s"
    first = pipe_server(path, None)
    path.unlink()
    with pipe_server(path, None):
        first.close()
        assert stat.S_ISSOCK(path.stat().st_mode)
    first.close()
    second = pipe_server(path, None)
    path.rename(folder / "moved")
    path.symlink_to(folder / "moved")
    second.close()
    assert sorted(os.listdir(folder)) == ["moved", "s"]


def test_a_path_that_is_gone(folder) -> None:
    """A server whose path was removed by others, with or without its folder, closes without a word."""
    (folder / "inner").mkdir()
    server = pipe_server(folder / "inner" / "s", None)
    (folder / "inner" / "s").unlink()
    (folder / "inner").rmdir()
    server.close()
    assert server.closed
