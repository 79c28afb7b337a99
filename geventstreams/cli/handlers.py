"""What `serve` can do with a connection: echo, discard, time, file:PATH, exec:CMD. Each returns when that is done."""

from __future__ import annotations

import _socket
import argparse
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, NamedTuple

import gevent
from gevent import subprocess
from gevent.lock import Semaphore

import geventstreams._native.syscalls as _system
from geventstreams._constants import BLOCK
from geventstreams._core.transport import address_name
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli.options import check_regular, regular_file
from geventstreams.cli.statuses import guarded
from geventstreams.cli.threads import Threads
from geventstreams.errors import ReadTimeout, StreamReset

Handler = Callable[[SocketStream, Any], None]

MERCY = 0.4
"""Seconds that a program whose connection is gone has between SIGTERM and SIGKILL."""

FIRST_LOOK = 0.005
"""Seconds between the first two looks at a program that is to end; then twice as many each time."""

LOOK = 1.0
"""Seconds between two looks at a client that no read waits for."""

LAST_WORK = 60.0
"""Seconds that a program has after its client's orderly end, even if the client is no more."""

READERS = 10
"""Threads that open and read a file, for all clients."""

STARTS = 4
"""Programs that are being started at once."""

KEEPALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 4))
"""A client whose machine is gone is noticed after a minute."""


def echo(stream: SocketStream, _address: Any) -> None:
    """Sends back what comes (RFC 862). A read that has to wait sends first, so nothing lies about."""
    while octets := stream.read1():
        stream.write(octets)


def discard(stream: SocketStream, _address: Any) -> None:
    """Throws away what comes (RFC 863)."""
    space = bytearray(BLOCK)
    while stream.readinto1(space):
        pass


def time(stream: SocketStream, _address: Any) -> None:
    """Tells the time in one line, as RFC 867 has it, in the form of ISO 8601."""
    stream.write_line(datetime.now(timezone.utc).isoformat(timespec="seconds"))


class File:
    """Sends a file. It is opened for each connection, so one that is replaced is noticed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._threads = Threads(READERS)

    def __call__(self, stream: SocketStream, _address: Any) -> None:
        file = self._threads.call(OpenFile, self._path)
        while octets := self._threads.call(file.read):
            stream.write(octets)


class OpenFile:
    """A regular file that is being read. It is closed with its last reference: a thread that still reads it has one."""

    _descriptor = -1

    def __init__(self, path: str) -> None:
        # Asked first, because opening a device can do something; asked again, because it can be replaced in between, and then
        # not even a FIFO makes the opening wait.
        check_regular(os.stat(path), path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        check_regular(os.fstat(self._descriptor), path)

    def read(self) -> bytes:
        """The next octets; b"" at the end."""
        return os.read(self._descriptor, BLOCK)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


class ProgramStream(SocketStream):
    """A connection with a program behind it. It is never idle: what the program waits for, and what it has not sent yet, is unknown."""

    def is_idle(self) -> bool:
        return False


class Exec:
    """Runs a shell command for each connection, whose standard input and output are the connection.

    The program's input ends when the client has ended its half in order, and in no other case before the program does: after a
    reset, a cut-off TLS connection or a timeout the program is ended first.
    """

    stream_class = ProgramStream

    def __init__(self, command: str) -> None:
        self._command = command
        # A fork holds the hub up: between two of them others have their turn, signals too.
        self._starts = Semaphore(STARTS)

    def __call__(self, stream: SocketStream, address: Any) -> None:
        keep_alive(stream)
        program = self._started(address)
        feeding = gevent.spawn(guarded, lambda: feed(stream, program.stdin))
        answering = gevent.spawn(guarded, lambda: answer(program, stream))
        try:
            for each in gevent.iwait([feeding, answering]):
                if each.value is not None:
                    raise each.value
                if each is answering:
                    break
        finally:
            # What the program started may outlive it, and hold its output open. Its forced end is no end of its answer.
            is_over = answering.ready() and answering.value is None
            answering.kill()
            end(program, is_over)
            feeding.kill()
            close_pipes(program)

    def _started(self, address: Any) -> Any:
        """The running program. Starting one is a wait, and who is killed in it must not leave a program behind."""
        with self._starts:
            starting = gevent.spawn(self._start, address)
            try:
                program = starting.get()
            except BaseException:
                program = starting.get()
                if not isinstance(program, OSError):
                    end(program)
                    close_pipes(program)
                raise
        if isinstance(program, OSError):
            raise program
        return program

    def _start(self, address: Any) -> Any:
        try:
            # A session of its own: what the command starts ends with it.
            return subprocess.Popen(
                self._command,
                shell=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                env=environment(address),
            )
        except OSError as error:
            return error


def keep_alive(stream: SocketStream) -> None:
    """Let the system ask now and then whether the client is still there, since the program may never read or write."""
    if isinstance(stream.address, tuple):  # TCP
        with _system.as_socket(stream.fileno()) as sock:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE:
                if (option := getattr(_socket, name, None)) is not None:  # not every system has all of them
                    sock.setsockopt(_socket.IPPROTO_TCP, option, value)


def state_of(stream: SocketStream) -> int:
    """POLLERR where the connection has been reset; POLLHUP where it is over both ways, in order or not."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return sum(events for _, events in poll.poll(0))


def feed(stream: SocketStream, pipe: Any) -> None:
    """Pours the connection's input into a program's, up to its orderly end, and raises StreamError when the client is gone.

    What a program does not read any more is thrown away, so that its client is heard.
    """
    while octets := received(stream):
        try:
            pour(octets, pipe, stream)
        except BrokenPipeError:
            break
    else:
        pipe.close()
    while received(stream):
        pass
    gevent.sleep(LAST_WORK)
    while not state_of(stream):
        gevent.sleep(LOOK)
    raise gone(stream)


def received(stream: SocketStream) -> bytes:
    """The next octets of the client. A read timeout passes only while the client gets nothing either."""
    while True:
        sent = stream.octets_out
        try:
            return stream.read1()
        except ReadTimeout:
            if stream.octets_out == sent:
                raise


def pour(octets: bytes, pipe: Any, stream: SocketStream) -> None:
    """Writes all of it, as fast as the program reads; raises StreamError when the client has gone meanwhile."""
    sent = 0
    while sent < len(octets):
        count = gevent.with_timeout(LOOK, pipe.write, octets[sent:], timeout_value=0)  # it takes what it has room for
        if not count and state_of(stream) & select.POLLERR:
            raise gone(stream)
        sent += count


def gone(stream: SocketStream) -> StreamReset:
    """What is said of a client that is no more."""
    return StreamReset(f"{address_name(stream.peer_address)} has gone while its program ran", stream=stream)


def answer(program: Any, stream: SocketStream) -> None:
    """Pours a program's output into the connection, passes its end on, and waits for the program's."""
    while octets := program.stdout.read(BLOCK):
        stream.write(octets)
        stream.flush()
    stream.send_eof()
    program.wait()


def environment(address: Any) -> dict[str, str]:
    """What the program is told about its peer, under the names that inetd's successors gave these things."""
    host, port = address[:2] if isinstance(address, tuple) and len(address) >= 2 else ("", "")
    return {**os.environ, "REMOTE_HOST": str(host), "REMOTE_PORT": str(port)}


def end(program: Any, is_over: bool = True) -> None:
    """Ends what is left of a program and of what it started, politely first.

    The program may be a shell that is gone at once, before the command that it ran: all of them have time to end. The pipes stay
    open meanwhile: none must take its end for the client's.
    """
    if program.returncode is not None and is_over:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not has_group(program, number):
            return
        pause = FIRST_LOOK
        until = _system.monotonic() + MERCY
        while has_group(program) and _system.monotonic() < until:
            gevent.sleep(pause)
            pause *= 2


def has_group(program: Any, number: int = 0) -> bool:
    """Whether there are processes in a program's group; each gets the signal, if there is one."""
    try:
        os.killpg(program.pid, number)
    except ProcessLookupError:
        return False
    return True


def close_pipes(program: Any) -> None:
    """Gives back what led to a program that has ended."""
    for pipe in (program.stdin, program.stdout):
        with suppress(OSError):
            pipe.close()


class What(NamedTuple):
    """A handler, and how the command line called it."""

    text: str
    serve: Handler

    def __str__(self) -> str:
        return self.text


def named(text: str) -> What:
    """The handler that a command line names."""
    word, colon, rest = text.partition(":")
    if not colon and word in {"echo", "discard", "time"}:
        return What(text, {"echo": echo, "discard": discard, "time": time}[word])
    if word == "file" and rest:
        return What(text, File(regular_file(rest)))
    if word == "exec" and rest.strip() and "\0" not in rest:
        return What(text, Exec(rest))
    raise argparse.ArgumentTypeError(f"{text!r} is none of echo, discard, time, file:PATH, exec:CMD")
