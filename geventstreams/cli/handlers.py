"""What `serve` can do with a connection: echo, discard, time, file:PATH, exec:CMD. Each returns when that is done."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, NamedTuple

import gevent
from gevent import subprocess
from gevent.fileobject import FileObjectThread

from geventstreams.cli.options import readable_file
from geventstreams.cli.statuses import guarded
from geventstreams.limits import BLOCK
from geventstreams.stream import SocketStream

Handler = Callable[[SocketStream, Any], None]

MERCY = 0.4
"""Seconds that a program whose connection is gone has between SIGTERM and SIGKILL."""


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

    def __call__(self, stream: SocketStream, _address: Any) -> None:
        with FileObjectThread(self._path, "rb") as file:
            shutil.copyfileobj(file, stream, BLOCK)


class Exec:
    """Runs a shell command for each connection, whose standard input and output are the connection."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __call__(self, stream: SocketStream, address: Any) -> None:
        program = self._started(address)
        feeding = gevent.spawn(guarded, lambda: feed(stream, program.stdin))
        try:
            while octets := program.stdout.read(BLOCK):
                stream.write(octets)
                stream.flush()
            stream.send_eof()
            program.wait()
        finally:
            feeding.kill()
            end(program)

    def _started(self, address: Any) -> Any:
        """The running program. Starting one is a wait, and who is killed in it must not leave a program behind."""
        starting = gevent.spawn(self._start, address)
        try:
            program = starting.get()
        except gevent.GreenletExit:
            program = starting.get()
            if not isinstance(program, OSError):
                end(program)
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


def feed(stream: SocketStream, pipe: Any) -> None:
    """Pours the connection's input into a program's, as far as that reads it."""
    try:
        while octets := stream.read1():
            sent = 0
            while sent < len(octets):  # a pipe takes what it has room for
                sent += pipe.write(octets[sent:])
    finally:
        with suppress(OSError):
            pipe.close()


def environment(address: Any) -> dict[str, str]:
    """What the program is told about its peer, under the names that inetd's successors gave these things."""
    host, port = address[:2] if isinstance(address, tuple) and len(address) >= 2 else ("", "")
    return {**os.environ, "REMOTE_HOST": str(host), "REMOTE_PORT": str(port)}


def end(program: Any) -> None:
    """Ends what is left of a program, politely first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if program.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, number)
            with suppress(subprocess.TimeoutExpired):
                program.wait(MERCY)
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
        return What(text, File(readable_file(rest)))
    if word == "exec" and rest.strip() and "\0" not in rest:
        return What(text, Exec(rest))
    raise argparse.ArgumentTypeError(f"{text!r} is none of echo, discard, time, file:PATH, exec:CMD")
