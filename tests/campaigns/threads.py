"""Native threads: several read one file of `makefile`, and are interrupted; others wait for streams that are not theirs, or outlive them.

Each line comes once and whole; a wait for another thread's stream is StreamError; what an ended thread left gives its descriptor back.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
from gevent._hub_local import get_hub_if_exists
from kit.leftovers import open_descriptor

from campaigns.ends import Ends
from campaigns.tally import LIMIT, Tally
from geventstreams import WaitSet, makefile, wait_for_input_streams
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import StreamError
from geventstreams.testing.claims import outcome

READERS = 4
LINES = 300

WAITS: dict[str, Callable[[Any], Any]] = {
    "list": lambda stream: wait_for_input_streams([stream], timeout=0.05),
    "poll": lambda stream: wait_for_input_streams([stream], timeout=0),
    "set": lambda stream: WaitSet([stream]).wait(0.05),
}


_LEFT: list[Any] = []
"""The loops of the threads of the last call. gevent leaves them, with two descriptors each, where the thread does not destroy its hub."""


def in_threads(tally: Tally, works: list[Callable[[], Any]]) -> list[Any]:
    """What each of some functions gives or raises, in a thread of its own."""
    while _LEFT:
        _LEFT.pop().destroy()
    said: list[Any] = [None] * len(works)

    def work(index: int) -> None:
        said[index] = outcome(works[index])
        if (hub := get_hub_if_exists()) is not None and hub.loop is not None:
            _LEFT.append(hub.loop)

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(works))]
    for thread in threads:
        thread.start()
    until = time.monotonic() + LIMIT
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
        tally.expect(not thread.is_alive(), "a thread waits for ever")
    return said


def share_files(tally: Tally, ends: Ends, rounds: int, *, make: Any = makefile) -> None:
    """So many files, each read by several threads whose waits are interrupted. `make` makes the file."""
    for number in range(rounds):
        near, far = ends.sockets("unix" if number % 2 else "tcp")
        sent = [b"%d %s\n" % (line, b"x" * tally.chance.randrange(40)) for line in range(LINES)]
        with near, far, contextlib.closing(make(near, "rb")) as file:
            lines: list[bytes] = []
            limits = [tally.chance.choice((None, 0.001, 0.01)) for _ in range(READERS)]
            works = [partial(_read_lines, file, lines, limit) for limit in limits]
            for told in in_threads(tally, [*works, partial(_feed, far, sent)]):
                if isinstance(told, BaseException):
                    raise told
        tally.same(b"".join(sorted(lines)), b"".join(sorted(sent)), "the lines of all threads")
        tally.operations += LINES
        tally.faults += READERS


def _read_lines(file: Any, lines: list[bytes], limit: float | None) -> None:
    line = b"x"
    while line:
        with gevent.Timeout(limit, False):
            line = file.readline()
            if line:
                lines.append(line)


def _feed(far: socket.socket, lines: list[bytes]) -> None:
    for at in range(0, len(lines), 10):
        piece = b"".join(lines[at : at + 10])
        far.sendall(piece[:7])
        time.sleep(0.0005)
        far.sendall(piece[7:])
    far.shutdown(socket.SHUT_WR)


def wait_elsewhere(tally: Tally, ends: Ends, rounds: int, *, make: Any = SocketStream) -> None:
    """So many streams that another thread waits for. `make` makes the stream."""
    for _ in range(rounds):
        near, far = ends.sockets("tcp")
        with far, contextlib.closing(make(near)) as stream:
            if ready := tally.chance.random() < 0.5:
                far.sendall(b"x")
                tally.expect(wait_for_input_streams([stream], timeout=LIMIT), "it is ready")
            way = tally.chance.choice(sorted(WAITS))
            (told,) = in_threads(tally, [partial(WAITS[way], stream)])
            tally.expect(isinstance(told, StreamError), f"{way} in another thread gave {told!r}")
            if not ready:
                far.sendall(b"x")
            tally.same(stream.read(1), b"x", "what its own thread reads")
        tally.operations += 1
        tally.faults += 1


def outlive_threads(tally: Tally, ends: Ends, rounds: int, *, make: Any = SocketStream) -> None:
    """So many streams that are dropped or closed when their thread has ended. `make` makes the stream."""
    for _ in range(rounds):
        near, far = ends.sockets("tcp")
        number = near.detach()
        with far, warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            left: list[Any] = []
            (told,) = in_threads(tally, [partial(_leave, left, make, number, tally.chance.random() < 0.5)])
            tally.expect(told is None, f"{told!r}")
            if tally.chance.random() < 0.5:
                left[0].close()
            del left[:]
            tally.expect(not open_descriptor(number), "the descriptor of an ended thread's stream is open")
        tally.operations += 1
        tally.faults += 1


def _leave(left: list[Any], make: Any, number: int, destroys: bool) -> None:
    left.append(_used(make, number))
    if destroys:  # in a frame that does not know the stream: gevent keeps it
        gevent.get_hub().destroy(destroy_loop=True)


def _used(make: Any, number: int) -> Any:
    stream = make(number, read_timeout=0.001)
    wait_for_input_streams([stream], timeout=0)
    outcome(stream.read, 1)
    return stream
