"""System calls: the k-th of a session fails, for every k and each error: no call waits forever, and each descriptor is closed once.

`run` compiles system_calls.c, which wraps functions of the C library, and starts this file as a program under it, so that it is the same
for both builds. The program prints a line of JSON. What was read before the error is right; an interrupted call is made again.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
from kit.tls import NAME
from servers import c_compiler

from geventstreams import SocketStream, open_tcp_stream, wait_for_input_streams
from geventstreams.testing.claims import outcome, sample

HERE = Path(__file__).parent
ERRORS = ("ECONNRESET", "EPIPE", "ETIMEDOUT", "EINTR", "ENOBUFS", "EBADF")
SECONDS = 900
PATIENT: dict[str, Any] = {"read_timeout": 20, "write_timeout": 20, "linger_timeout": 0.1}
HURRIED: dict[str, Any] = {"read_timeout": 0.05, "write_timeout": 0.05, "linger_timeout": 0.02}
"""For sessions in which an error of the system is told: what was on its way then may never come."""
BULK = sample(500_000)


def library(directory: Path) -> Path:
    """Return the compiled library that wraps functions of the C library."""
    made = directory / "system_calls.so"
    command = [*c_compiler(), "-shared", "-fPIC", "-O1", "-o", str(made), str(HERE / "system_calls.c"), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return made


def run(directory: Path, certificates: Any, most: int, step: int = 1, plant: str = "nothing", limit: float = 60) -> dict[str, Any]:
    """Run the campaign for every `step`-th k up to the most: its counts, and what it found."""
    found = library(directory)
    command = [sys.executable, str(HERE / "system_calls.py"), str(found), str(certificates.ca), str(certificates.server.chain)]
    command += [str(certificates.server.key), str(most), str(step), plant, str(limit)]
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"LD_PRELOAD": str(found), "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


# The sessions. Each gets what makes a stream of the socket under test. What is read may be cut short by an error, but never wrong.

Opened = Callable[[], SocketStream]


def _agree(got: bytes, wanted: bytes) -> None:
    assert got == wanted[: len(got)], f"{got!r:.200} instead of {wanted!r:.200}"
    if len(got) < len(wanted):
        raise EOFError(f"{len(got)} bytes instead of {len(wanted)}")


def _talk(stream: SocketStream, count: int = 6) -> None:
    for number in range(count):
        stream.write_line(f"line {number}")
        _agree(stream.read_line()[0].encode(), b"line %d" % number)
    stream.write(b"some more\n" + BULK[:5000])
    stream.flush()
    wait_for_input_streams([stream], timeout=stream.read_timeout)
    stream.listen()
    _agree(stream.readline(), b"some more\n")
    got = stream.read_available()
    got += stream.read_exactly(5000 - len(got))
    _agree(got, BULK[:5000])


def lines(open_: Opened) -> None:
    """Lines there and back, looking and waiting in between, then both ends."""
    with open_() as stream:
        _talk(stream, 70)
        stream.send_eof()
        assert not stream.read()


def bulk(open_: Opened) -> None:
    """More than the system holds, both ways at a time."""
    with open_() as stream:
        writer = gevent.spawn(outcome, stream.sendall, BULK)
        try:
            space = bytearray(len(BULK))
            _agree(bytes(space[: stream.readinto(space)]), BULK)
        finally:
            writer.join()
        if writer.value is not None:
            raise writer.value
        stream.shutdown("output")


def dropped(open_: Opened) -> None:
    """Half a conversation, then abort."""
    stream = open_()
    stream.write(b"one\n")
    _agree(stream.readline(), b"one\n")
    stream.force_output()
    stream.abort()


def secured(open_: Opened) -> None:
    """Plain text, TLS, and plain text again."""
    with open_() as stream:
        stream.write(b"STARTTLS\n")
        _agree(stream.readline(), b"go\n")
        stream.attach_ssl(CONTEXTS[0], "client", tlsext_host_name=NAME)
        _talk(stream)
        stream.write(b"DETACH\n")
        _agree(stream.readline(), b"bye\n")
        stream.detach_ssl()
        stream.write(b"plain\n")
        _agree(stream.readline(), b"plain\n")


CONTEXTS: list[ssl.SSLContext] = []
SESSIONS = (lines, bulk, dropped, secured)


def _answer(peer: SocketStream) -> None:
    """Serve as the other end: echo, and begin or end TLS on command; ignore errors of the connection."""
    with contextlib.suppress(OSError, EOFError, AssertionError):
        while chunk := peer.read1(1000):  # a command comes alone: its sender waits for the answer
            if chunk == b"STARTTLS\n":
                peer.sendall(b"go\n")
                peer.attach_ssl(CONTEXTS[1])
            elif chunk == b"DETACH\n":
                peer.sendall(b"bye\n")
                peer.detach_ssl()
            else:
                peer.write(chunk)
        peer.send_eof()
        peer.close()


# Planted faults.


class ClosesTwice(SocketStream):
    """Closes its descriptor once more."""

    def close(self, abort: bool = False) -> None:
        number = self.fileno()
        super().close(abort)
        if number >= 0:
            with contextlib.suppress(OSError):
                os.close(number)


class NeverCloses(SocketStream):
    """Leaves its descriptor open when it is closed in disorder."""

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.replace_socket(None).detach()


class WaitsForEver(SocketStream):
    """Takes an error of the system for nothing, and waits on."""

    def _fill_buffer(self) -> bool:
        try:
            return bool(super()._fill_buffer())
        except OSError:
            gevent.sleep(10**6)
            return True


PLANTS = {"nothing": SocketStream, "closes twice": ClosesTwice, "never closes": NeverCloses, "waits for ever": WaitsForEver}


class Campaign:
    """All sessions with every fault, and what was found."""

    def __init__(self, shim: Any, stream_class: type[SocketStream], limit: float) -> None:
        self.shim = shim
        shim.campaign_failed.restype = ctypes.c_char_p
        self.stream_class = stream_class
        self.limit = limit
        self.sessions = self.faults = self.completed = 0
        self.longest = 0
        self.findings: list[str] = []

    def run(self, most: int, step: int) -> None:
        """Every session, each error, every `step`-th k."""
        for connects in (False, True):
            for session in SESSIONS:
                for name in ERRORS:
                    self._every(range(self.sessions % step + 1, most + 1, step), session, name, connects)

    def _every(self, calls_to_fail: range, session: Callable[[Opened], None], name: str, connects: bool) -> None:
        for k in calls_to_fail:
            calls = self._once(k, session, name, connects)
            self.sessions += 1
            self.longest = max(self.longest, calls)
            if calls < k:
                return
            self.faults += 1
            if len(self.findings) > 5:
                return

    def _once(self, k: int, session: Callable[[Opened], None], name: str, connects: bool) -> int:
        with _listener() as listener:
            near = None if connects else socket.create_connection(listener.getsockname())
            far = None if near is None else _small(listener.accept()[0])
            # What the session itself opens is watched from here on.
            self.shim.campaign_begin(k, getattr(errno, name), connects)
            if near is not None:
                self.shim.campaign_watch(_small(near).fileno())
            accepting = gevent.spawn(self._serve, listener, far)
            said = self._tried(session, near, listener.getsockname(), PATIENT if name == "EINTR" else HURRIED)
            if near is not None:
                near.close()  # it is the stream's but where a constructor refused it
            calls = int(self.shim.campaign_calls())
            failed = self.shim.campaign_failed().decode()
            opened, closed, strays = self.shim.campaign_opened(), self.shim.campaign_closed(), self.shim.campaign_strays()
            self.shim.campaign_begin(0, 0, False)
            accepting.kill()
            if far is not None:
                far.close()  # if no thread served it
        where = f"{session.__name__}{' over a connection of its own' if connects else ''}, call {k}, {failed or 'none'}, fails with {name}"
        self.completed += said is None
        if isinstance(said, AssertionError):
            self.findings.append(f"{where}: {said!r}")
        if said is not None and name == "EINTR" and failed in ("recv", "send"):
            self.findings.append(f"{where}: {said!r}, and was not tried again")
        if opened != closed or strays:
            self.findings.append(f"{where}: {opened} descriptors, {closed} closed, and {strays} times one too often")
        return calls

    def _serve(self, listener: socket.socket, far: socket.socket | None) -> None:
        """The other end, of the connection that is there or of those that come."""
        while True:
            if far is None:
                gevent.socket.wait_read(listener.fileno())
            peer = SocketStream(far or _small(listener.accept()[0]), **PATIENT)
            try:
                _answer(peer)
            finally:
                peer.abort()
            if far is not None:
                return

    def _tried(
        self, session: Callable[[Opened], None], near: socket.socket | None, address: Any, options: dict[str, Any]
    ) -> BaseException | None:
        """What a session ended with."""
        made: list[SocketStream] = []

        def open_() -> SocketStream:
            if near is None:
                made.append(open_tcp_stream(*address, timeout=20, stream_class=self.stream_class, **options))
            else:
                made.append(self.stream_class(near, **options))
            return made[0]

        def go() -> BaseException | None:
            try:
                session(open_)
            except (OSError, EOFError, AssertionError) as error:
                return error.with_traceback(None)
            return None

        greenlet = gevent.spawn(go)
        greenlet.join(self.limit)
        if not greenlet.ready():
            greenlet.kill()
            return AssertionError(f"it waits for more than {self.limit:g} s")
        for stream in made:
            with contextlib.suppress(OSError):
                stream.close()
        said = greenlet.value
        return said if isinstance(said, BaseException) else None


@contextlib.contextmanager
def _listener() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        listener.bind(("127.0.0.1", 0))
        listener.listen(4)
        yield listener


def _small(plain: socket.socket) -> socket.socket:
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    plain.setblocking(False)
    return plain


def _descriptors() -> dict[int, str]:
    """The descriptors of this process, and what they are."""
    found = {}
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(FileNotFoundError):  # that of the directory
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


def main(words: list[str]) -> None:
    """The program."""
    parser = argparse.ArgumentParser()
    words_of = {"shim": str, "ca": str, "chain": str, "key": str, "most": int, "step": int, "plant": str, "limit": float}
    for name, kind in words_of.items():
        parser.add_argument(name, type=kind)
    given = parser.parse_args(words)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(given.chain, given.key)
    CONTEXTS[:] = [ssl.create_default_context(cafile=given.ca), server]
    assert threading.active_count() == 1
    campaign = Campaign(ctypes.CDLL(given.shim), PLANTS[given.plant], given.limit)
    gevent.sleep(0.01)  # the hub has what it needs
    before = _descriptors()
    campaign.run(given.most, given.step)
    left = sorted(set(_descriptors().items()) - set(before.items()))
    counts = {name: getattr(campaign, name) for name in ("sessions", "faults", "completed", "longest", "findings")}
    print(json.dumps({**counts, "descriptors": left}))


if __name__ == "__main__":
    main(sys.argv[1:])
