"""Unbuffered files: what an interrupted call had gathered is kept, and comes first in the next call of any kind."""

from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
import pytest
from kit.makefile import KINDS, TIMEOUT, Ends

GATHERING: dict[str, Callable[[Any], Any]] = {
    "readline": lambda file: file.readline(),
    "read": lambda file: file.read(),
    "readall": lambda file: file.readall(),
    "readlines": lambda file: file.readlines(),
    "iteration": list,
}
NEXT: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "readline": (lambda file: file.readline(), b"half a line\n"),
    "read": (lambda file: file.read(), b"half a line\nmore"),
    "read(n)": (lambda file: file.read(4), b"half"),
    "readinto": (lambda file: (file.readinto(space := bytearray(6)), bytes(space))[1], b"half a"),
    "readlines": (lambda file: file.readlines(), [b"half a line\n", b"more"]),
}


def by_timeout(file: Any, call: Callable[[Any], Any], near: Any) -> None:
    near.settimeout(TIMEOUT)
    with pytest.raises(TimeoutError):
        call(file)
    near.settimeout(None)


def by_gevent_timeout(file: Any, call: Callable[[Any], Any], near: Any) -> None:
    with pytest.raises(gevent.Timeout), gevent.Timeout(TIMEOUT):
        call(file)


def by_kill(file: Any, call: Callable[[Any], Any], near: Any) -> None:
    reader = gevent.spawn(call, file)
    gevent.sleep(TIMEOUT)
    reader.kill()


@pytest.mark.usefixtures("virtual_clock")
@pytest.mark.parametrize("interrupt", [by_timeout, by_gevent_timeout, by_kill])
@pytest.mark.parametrize("follow", NEXT)
@pytest.mark.parametrize("call", GATHERING)
def test_an_interrupted_call_loses_nothing(ends: Ends, call: str, follow: str, interrupt: Callable[..., None]) -> None:
    """After a timeout, a `gevent.Timeout` or a kill, the next call of any kind begins with what the first one had gathered."""
    file, near, far = ends.file("gevent", "rb", 0)
    far.sendall(b"half a li")
    interrupt(file, GATHERING[call], near)
    far.sendall(b"ne\nmore")
    far.shutdown(1)
    then, expected = NEXT[follow]
    assert then(file) == expected


@pytest.mark.parametrize("kind", ["gevent", "unix", "tls"])
def test_a_call_that_waits_meanwhile_goes_on_with_what_was_gathered(ends: Ends, kind: str) -> None:
    """What an interrupted call had gathered goes to the greenlet that waits beside it, at once, and no byte overtakes another."""
    file, _near, far = ends.file(kind, "rb", 0)
    first = gevent.spawn(file.readline)
    gevent.sleep(0)
    beside = [gevent.spawn(file.read, 1), gevent.spawn(file.readline)]
    gevent.sleep(0)
    far.sendall(b"half a li")
    gevent.sleep(TIMEOUT)
    first.kill()
    assert beside[0].get(timeout=20) == b"h"
    far.sendall(b"ne\n")
    assert beside[1].get(timeout=20) == b"alf a line\n"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "duck"])
def test_lines_that_were_read_before_an_interruption_come_again(ends: Ends, kind: str) -> None:
    """`readlines` that is interrupted after whole lines gives them all to the next one, on every kind of socket."""
    file, near, far = ends.file(kind, "rb", 0, timeout=TIMEOUT)
    far.sendall(b"one\ntwo\nthr")
    for _ in range(2):
        with pytest.raises(TimeoutError):
            file.readlines()
    near.settimeout(None)
    far.sendall(b"ee\n")
    assert file.readlines(5) == [b"one\n", b"two\n"]
    assert file.readline() == b"three\n"


def test_nothing_is_read_ahead(ends: Ends) -> None:
    """After a line, what comes behind it is still with the socket."""
    file, near, far = ends.file("gevent", "rb", 0)
    far.sendall(b"line\nrest")
    assert file.readline() == b"line\n"
    assert near.recv(10) == b"rest"


def test_a_call_on_a_closed_file_is_refused_though_something_was_gathered(ends: Ends) -> None:
    """Closing drops what was gathered; every call after it is ValueError."""
    file, near, far = ends.file("gevent", "rb", 0)
    far.sendall(b"half")
    by_timeout(file, GATHERING["readline"], near)
    file.close()
    for call in GATHERING.values():
        with pytest.raises(ValueError, match="closed"):
            call(file)


def test_a_socket_that_may_not_wait_keeps_what_a_line_had(ends: Ends) -> None:
    """On a non-blocking socket `readline` raises OSError where a line is not whole, as io does, and loses nothing."""
    file, near, far = ends.file("gevent", "rb", 0, timeout=0)
    assert (file.read(), file.read(1)) == (None, None)
    far.sendall(b"half")
    gevent.socket.wait_read(near.fileno(), timeout=20)
    with pytest.raises(OSError, match="must return bytes"):
        file.readline()
    assert file.read() == b"half"
