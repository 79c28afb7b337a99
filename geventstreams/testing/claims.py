"""What the claims about streams share: pairs that are closed afterwards, greenlets that are joined, fair clocks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import gevent

from geventstreams.errors import StreamError, WriteTimeout

MakePair = Callable[[], tuple[Any, Any]]
Claim = Callable[[MakePair], None]

LIMIT = 0.06
"""Seconds of the limits that claims set."""

SOON = 0.005
"""Seconds within which a greenlet that is woken by closing must be awake."""

MESSAGE = 2**20
"""Octets of a message that is larger than any buffer of a stream."""

MOST_ON_THE_WAY = 64
"""How many of them may be on their way to a peer that does not read."""

ATTEMPTS = 5
"""How often something may be late before the machine is no excuse any more."""


@contextlib.contextmanager
def fresh(make_pair: MakePair) -> Iterator[tuple[Any, Any]]:
    """A pair of streams, neither of which is open afterwards."""
    stream, peer = make_pair()
    try:
        yield stream, peer
    finally:
        for one in (stream, peer):
            one.abort()


@contextlib.contextmanager
def beside(function: Callable[..., Any], *args: Any) -> Iterator[gevent.Greenlet[..., Any]]:
    """Runs a function in another greenlet, which must have ended well by the end of the block."""
    greenlet: gevent.Greenlet[..., Any] = gevent.spawn(function, *args)
    try:
        yield greenlet
        greenlet.get()
    finally:
        greenlet.kill()


def outcome(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a call returned, or the exception that it ended with, whatever that is."""
    try:
        return function(*args, **options)
    except BaseException as error:  # noqa: BLE001  # a claim looks at timeouts and kills too
        return error.with_traceback(None)


def started(function: Callable[..., Any], *args: Any) -> gevent.Greenlet[..., Any]:
    """A greenlet that runs until it waits, and gives the outcome of the call."""
    greenlet: gevent.Greenlet[..., Any] = gevent.spawn(outcome, function, *args)
    gevent.sleep(0)
    gevent.sleep(0)
    return greenlet


def raises(
    kind: type[BaseException] | tuple[type[BaseException], ...], function: Callable[..., Any], *args: Any
) -> Any:
    """The exception of the wanted kind that a call ends with."""
    said = outcome(function, *args)
    assert isinstance(said, kind), f"{getattr(function, '__name__', function)}{args!r} gave {said!r:.200}, not {kind}"
    return said


def same(got: Any, wanted: Any, what: str = "it") -> None:
    """Compares; of long octets only the place where they differ is told."""
    if got == wanted:
        return
    if isinstance(got, (bytes, bytearray)) and isinstance(wanted, (bytes, bytearray)) and len(wanted) > 60:
        at = next(
            (i for i, (one, other) in enumerate(zip(got, wanted, strict=False)) if one != other),
            min(len(got), len(wanted)),
        )
        raise AssertionError(f"{what}: {len(got)} octets instead of {len(wanted)}, different from octet {at} on")
    raise AssertionError(f"{what} is {got!r:.200} instead of {wanted!r:.200}")


def fires_in_time(limit: float, kind: type[BaseException], function: Callable[..., Any], *args: Any) -> BaseException:
    """The exception by which a call ends after `limit` seconds: never earlier, at most 1.5 times that and 10 ms.

    A machine that is itself late is no defect of the stream: then it is tried again.
    """
    for _ in range(ATTEMPTS):
        before = time.monotonic()
        error = raises(kind, function, *args)
        took = time.monotonic() - before
        assert took >= limit, f"fired after {took * 1000:.2f} ms, before its {limit * 1000:g} ms"
        if took <= 1.5 * limit + 0.01:
            return error  # type: ignore[no-any-return]  # raises() looked
    raise AssertionError(
        f"fired {ATTEMPTS} times too late, at last after {took * 1000:.1f} ms instead of {limit * 1000:g} ms"
    )


def wakes_soon(
    make_pair: MakePair,
    wait: Callable[[Any], Any],
    end: Callable[[Any], Any],
    kind: type[BaseException],
    prepare: Callable[[Any], Any] = id,
) -> None:
    """While `wait(stream)` waits, `end(stream)` ends it at once with an error of that kind; `prepare` comes first."""
    for _ in range(ATTEMPTS):
        with fresh(make_pair) as (stream, _peer):
            prepare(stream)
            woken: list[float] = []

            def waiter(stream: Any = stream, woken: list[float] = woken) -> Any:
                said = outcome(wait, stream)
                woken.append(time.monotonic())
                return said

            greenlet = started(waiter)
            settle(stream)
            assert not greenlet.ready(), f"it did not wait: {greenlet.value!r:.200}"
            before = time.monotonic()
            ending = started(end, stream)
            said = greenlet.get()
            assert isinstance(said, kind), f"{said!r:.200} instead of {kind.__name__}"
            ended = ending.get()
            assert ended is None or isinstance(ended, StreamError), f"{ended!r:.200}"
            if woken[0] - before <= SOON:
                return
    raise AssertionError(f"{ATTEMPTS} times awake too late, at last after {(woken[0] - before) * 1000:.1f} ms")


def settle(stream: Any) -> None:
    """Returns when what a stream has to send becomes no less: who sends it waits for the peer."""
    before = -1
    while stream.unsent != before:
        before = stream.unsent
        gevent.sleep(0.002)


def stuffed(stream: Any) -> tuple[bytes, WriteTimeout]:
    """Writes until the peer, which does not read, lets no more pass: what was accepted, and the last error.

    It leaves the write timeout at LIMIT. A timeout alone is not enough: on a busy machine it may fire while there is still room.
    """
    stream.write_timeout = LIMIT
    accepted = b""
    for number in range(MOST_ON_THE_WAY):
        message = octets(MESSAGE, number)
        said = outcome(stream.write, message)
        accepted += message
        if said != MESSAGE:
            assert isinstance(said, WriteTimeout), f"write gave {said!r:.200}"
            same((said.accepted, stream.accepted), (MESSAGE, MESSAGE), "accepted, in the error and of the stream")
            stuck = _error_of_a_flush_that_sends_nothing(stream)
            if stuck is not None:
                return accepted, stuck
    raise AssertionError(f"{len(accepted)} octets are on the way to a peer that does not read, and no end of it")


def _error_of_a_flush_that_sends_nothing(stream: Any) -> WriteTimeout | None:
    """Flushes until a flush makes no progress: its error; None where all was sent after all."""
    while True:
        before = stream.unsent
        said = outcome(stream.flush)
        if said is None:
            return None
        assert isinstance(said, WriteTimeout), f"flush gave {said!r:.200}"
        if stream.unsent == before:
            return said


def octets(count: int, seed: int = 7) -> bytes:
    """Octets of all values in an order that never repeats, so that a lost or doubled one shows."""
    return Random(seed).randbytes(count)


def send(stream: Any, *pieces: bytes) -> None:
    """Writes and flushes each piece, and lets the other greenlets run in between."""
    for piece in pieces:
        stream.write(piece)
        stream.flush()
        gevent.sleep(0)
