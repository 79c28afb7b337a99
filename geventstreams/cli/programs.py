"""`serve exec:CMD`: a program for each connection, whose standard input and output are the connection."""

from __future__ import annotations

import _socket
import os
import select
import signal
from contextlib import suppress
from typing import Any

import gevent
from gevent import subprocess
from gevent.lock import Semaphore

import geventstreams._native.syscalls as _system
from geventstreams._constants import BLOCK, TICK
from geventstreams._core.clock import deadline_after, seconds_until
from geventstreams._core.transport import address_name
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli.statuses import error_of
from geventstreams.errors import ReadTimeout, StreamReset

KILL_DELAY = 0.4
"""Seconds that a program whose connection is gone has between SIGTERM and SIGKILL."""

FIRST_LOOK = 0.005
"""Seconds between the first two looks at a program that is to end; then twice as many each time."""

LOOK = 1.0
"""Seconds between two looks at a client that no read waits for."""

LAST_WORK = 60.0
"""Seconds that a program has after its client's orderly end, even if the client is gone."""

STARTS = 4
"""Programs that are being started at once."""

KEEPALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 4))
"""A client whose machine is gone is noticed after a minute."""


class ProgramStream(SocketStream):
    """A connection with a program behind it. It is never idle: what the program waits for, and what it has not sent yet, is unknown."""

    def _is_idle(self) -> bool:
        return False


class Exec:
    """Run a shell command for each connection, whose standard input and output are the connection.

    The program's input ends when the client has ended its half in order, and in no other case before the program does: after a
    reset, a cut-off TLS connection or a timeout the program is ended first.
    """

    stream_class = ProgramStream

    def __init__(self, command: str) -> None:
        self._command = command
        # A fork blocks the hub: between two of them other greenlets run, and signals are handled.
        self._starts = Semaphore(STARTS)

    def __call__(self, stream: SocketStream, address: Any) -> None:
        keep_alive(stream)
        program = self._started(address)
        feeding = gevent.spawn(error_of, lambda: feed(stream, program.stdin))
        answering = gevent.spawn(error_of, lambda: answer(program, stream))
        try:
            for each in gevent.iwait([feeding, answering]):
                if each.value is not None:
                    raise each.value
                if each is answering:
                    break
        finally:
            # What the program started may outlive it, and keep its output open. A program that was killed has not ended its answer.
            is_over = answering.ready() and answering.value is None
            answering.kill()
            end(program, is_over)
            feeding.kill()
            close_pipes(program)

    def _started(self, address: Any) -> Any:
        """Return the running program. Starting one is a wait; a greenlet that is killed in it must not leave a program behind."""
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
    """Turn keepalive probes on, since the program may never read or write."""
    if isinstance(stream.address, tuple):  # TCP
        with _system.as_socket(stream.fileno()) as sock:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE:
                if (option := getattr(_socket, name, None)) is not None:  # not every system has all of them
                    sock.setsockopt(_socket.IPPROTO_TCP, option, value)


def state_of(stream: SocketStream) -> int:
    """Return POLLERR if the connection was reset, POLLHUP if both of its halves have ended, in order or not."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return sum(events for _, events in poll.poll(0))


def feed(stream: SocketStream, pipe: Any) -> None:
    """Pass the connection's input on to a program, up to its orderly end. Raise StreamError when the client is gone.

    What a program does not read any more is thrown away, so that its client is heard.
    """
    while data := received(stream):
        try:
            pour(data, pipe, stream)
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
    """Return the client's next bytes. A read timeout passes only while the client gets nothing either."""
    while True:
        sent = stream.octets_out
        try:
            return stream.read1()
        except ReadTimeout:
            if stream.octets_out == sent:
                raise


def pour(data: bytes, pipe: Any, stream: SocketStream) -> None:
    """Write all of it, as fast as the program reads. Raise StreamError if the client is reset before."""
    sent = 0
    while sent < len(data):
        count = gevent.with_timeout(LOOK, pipe.write, data[sent:], timeout_value=0)  # it takes what it has room for
        if not count and state_of(stream) & select.POLLERR:
            raise gone(stream)
        sent += count


def gone(stream: SocketStream) -> StreamReset:
    """Return the error for a client that is gone."""
    return StreamReset(f"{address_name(stream.peer_address)} disconnected while its program ran", stream=stream)


def answer(program: Any, stream: SocketStream) -> None:
    """Pass a program's output on to the client, and its end, and wait for the program."""
    while data := program.stdout.read(BLOCK):
        stream.write(data)
        stream.flush()
    stream.send_eof()
    program.wait()


def environment(address: Any) -> dict[str, str]:
    """Return the environment of a program, with its client's address under the names that tcpserver and xinetd use."""
    host, port = address[:2] if isinstance(address, tuple) and len(address) >= 2 else ("", "")
    return {**os.environ, "REMOTE_HOST": str(host), "REMOTE_PORT": str(port)}


def end(program: Any, is_over: bool = True) -> None:
    """End what is left of a program and of what it started, by SIGTERM and then by SIGKILL.

    The program may be a shell that is gone at once, before the command that it ran: all of them have time to end. The pipes stay
    open meanwhile: none must take its end for the client's.
    """
    if program.returncode is not None and is_over:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not has_group(program, number):
            return
        pause = FIRST_LOOK
        deadline = deadline_after(KILL_DELAY)
        while has_group(program) and (left := seconds_until(deadline)) > 0:
            gevent.sleep(max(TICK, min(pause, left)))
            pause *= 2


def has_group(program: Any, number: int = 0) -> bool:
    """Return whether there are processes in a program's group; each gets the signal, if one is given."""
    try:
        os.killpg(program.pid, number)
    except ProcessLookupError:
        return False
    return True


def close_pipes(program: Any) -> None:
    """Close the pipes to a program that has ended."""
    for pipe in (program.stdin, program.stdout):
        with suppress(OSError):
            pipe.close()
