"""The checks of streams: any object is tried with what it has, and a broken promise is one sentence."""

import gc
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from random import Random
from typing import Any

import gevent
import gevent.lock
import gevent.socket
import pytest
from kit.pairs import Pairs

from geventstreams import BufferedStream, SocketStream
from geventstreams.testing import CLAIMS, check_input_stream, check_io_stream, check_output_stream, checks, memory_pair, virtual_time
from geventstreams.testing.checks import BOTH, INPUT, OUTPUT
from geventstreams.testing.claims import Claim, lacking

Pair = tuple[Any, Any]


def streams() -> Pair:
    near, far = memory_pair()
    return BufferedStream(near), BufferedStream(far)


def files() -> Pair:
    """Two files that gevent's sockets make."""
    made = []
    for sock in gevent.socket.socketpair():
        made.append(sock.makefile("rwb"))
        sock.close()
    return made[0], made[1]


def file_and_stream() -> Pair:
    """A file that a gevent socket makes, and a stream at its other end."""
    near, far = gevent.socket.socketpair()
    with near:
        return near.makefile("rwb"), SocketStream(far)


def reader_and_writer() -> Pair:
    """Two `io.BufferedRWPair`, over a socket for each direction."""
    (one, two), (three, four) = gevent.socket.socketpair(), gevent.socket.socketpair()
    with one, two, three, four:
        near = io.BufferedRWPair(one.makefile("rb", buffering=0), three.makefile("wb", buffering=0))
        return near, io.BufferedRWPair(four.makefile("rb", buffering=0), two.makefile("wb", buffering=0))


class Small:
    """A stream of a few lines, which keeps what it received until a call has all that it needs."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._lock = gevent.lock.RLock()
        self._data = b""
        self._ended = self.closed = False

    def _take(self, is_enough: Callable[[], int]) -> bytes:
        if self.closed:
            raise ValueError("closed")
        while not (count := is_enough()) and not self._ended:
            data = self._sock.recv(65536)
            self._data += data
            self._ended = not data
        count = count or len(self._data)
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def read(self, size: int = -1) -> bytes:
        return self._take(lambda: size if 0 <= size <= len(self._data) else 0)

    def readline(self, size: int = -1) -> bytes:
        def length() -> int:
            found = self._data.find(b"\n") + 1
            return min(found, size) if found and size >= 0 else found or (size if 0 <= size <= len(self._data) else 0)

        return self._take(length)

    def write(self, data: Any) -> int:
        if self.closed:
            raise ValueError("closed")
        with self._lock:
            self._sock.sendall(data)
        return memoryview(data).nbytes

    def flush(self) -> None:
        if self.closed:
            raise ValueError("closed")

    def close(self) -> None:
        self.closed = True
        self._sock.close()


def small() -> Pair:
    near, far = gevent.socket.socketpair()
    return Small(near), Small(far)


def test_a_small_stream_holds_what_it_can_be_tried_in() -> None:
    """A class with five methods, at both ends: each claim that needs no more than those holds; the result names the others."""
    with virtual_time():
        result = check_io_stream(small, seed=1)
    assert set(result.held) == {
        "lines_then_the_end", "an_outer_timeout_comes_out_itself", "killed_readers_lose_nothing", "random_pieces_arrive_whole",
        "a_closed_stream_refuses_to_read", "all_kinds_of_bytes_arrive", "other_objects_are_refused", "writes_are_not_mixed",
        "a_closed_stream_refuses_to_write", "both_ways_at_once", "waiting_sends_first",
    }
    assert set(result.skipped) == set(CLAIMS) - set(result.held)
    assert result.skipped["limits_fire_in_time"] == ("read_timeout",)
    assert result.skipped["the_other_half_goes_on_after_an_end"] == (
        "read_exactly", "sendall", "send_eof", "peer.read_exactly", "peer.sendall", "peer.send_eof",
    )
    assert result.untried["random_pieces_arrive_whole"] == ("read1", "read_available", "readinto")
    assert str(result).startswith(f"11 claims hold, {len(CLAIMS) - 11} were skipped (seed 1)\nskipped ")
    assert "\nskipped limits_fire_in_time: it needs read_timeout\n" in str(result)
    assert "\nrandom_pieces_arrive_whole holds, without read1, read_available, readinto" in str(result)


KNOWN_OF_FILES = {
    "an_outer_timeout_comes_out_itself": "bytes that came before a timeout are lost",
    "killed_readers_lose_nothing": "what the readers got: ",
    "waiting_sends_first": "what was written did not arrive while a read waited",
    "writes_are_not_mixed": "reentrant call",
}
"""The claims that a file of a socket breaks, and what happens."""


@pytest.fixture
def files_may_stay_open() -> Iterator[None]:
    """Free files that did not close in time, without a ResourceWarning for their sockets."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.usefixtures("files_may_stay_open")
@pytest.mark.parametrize("make_pair", [files, file_and_stream, reader_and_writer])
def test_files_of_sockets(make_pair: Callable[[], Pair]) -> None:
    """gevent's `makefile("rwb")` and `io.BufferedRWPair` keep what `io` promises, and lose bytes where this library's streams do not."""
    with virtual_time(), pytest.raises(AssertionError) as caught:
        check_io_stream(make_pair, seed=5)
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [name for name in CLAIMS if name in KNOWN_OF_FILES]
    for line in lines:
        name = line.partition(": ")[0]
        assert line.startswith(f"{name}: promised: {CLAIMS[name]}; happened: ")
        assert KNOWN_OF_FILES[name] in line
        assert line.endswith("(seed=5)")
    rest = check_io_stream(make_pair, claims=CLAIMS.keys() - KNOWN_OF_FILES, seed=5)
    assert set(rest.held) == {
        "lines_then_the_end", "random_pieces_arrive_whole", "a_closed_stream_refuses_to_read", "all_kinds_of_bytes_arrive",
        "other_objects_are_refused", "a_closed_stream_refuses_to_write", "both_ways_at_once",
    }


def test_a_method_that_a_base_class_only_refuses_is_lacking() -> None:
    """A subclass of `io.BufferedIOBase` that does not define `read1` is not tried with it."""

    class Based(io.BufferedIOBase):
        def read(self, size: int | None = -1) -> bytes:
            return b""

    assert lacking(Based(), ["read", "read1", "readline", "read_exactly"]) == ["read1", "read_exactly"]


def only(stream: Any, names: list[str], optional: list[str]) -> Any:
    """A stream that has these attributes, `close`, and nothing else; `optional` ones are left out."""
    allowed = {*names, "close"} - set(optional)

    class Only:
        def __getattr__(self, name: str) -> Any:
            if name in allowed:
                return getattr(stream, name)
            raise AttributeError(name)

        def __setattr__(self, name: str, value: Any) -> None:
            assert name in allowed, f"sets {name}"
            setattr(stream, name, value)

    for name in allowed:
        if name.startswith("__"):
            setattr(Only, name, lambda self, *args, name=name: getattr(stream, name)(*args))
    return Only()


@pytest.mark.parametrize("claim", [*INPUT, *OUTPUT, *BOTH], ids=lambda claim: claim.name)
def test_a_claim_needs_what_it_says(claim: Claim) -> None:
    """Each claim holds for streams that have the methods that it names and no others, with and without those that it only tries."""

    def make_pair(optional: list[str]) -> Pair:
        near, far = streams()
        return only(near, [*claim.needs, *claim.tries], optional), only(far, claim.peer_needs, [])

    for optional in ([], claim.tries):
        with virtual_time():
            claim(lambda optional=optional: make_pair(optional))


@pytest.mark.parametrize("claim", [*INPUT, *OUTPUT, *BOTH], ids=lambda claim: claim.name)
def test_a_claim_says_what_is_promised(claim: Claim) -> None:
    """A claim has a name of its own, a sentence without its full stop, and is not tried where something is lacking."""
    assert CLAIMS[claim.name] == claim.promise
    assert claim.promise[0].isupper() or claim.promise.startswith(("read", "write", "close", "send", "gevent"))
    assert not claim.promise.endswith(".")
    assert claim.missing(object(), object()) == [*claim.needs, *(f"peer.{name}" for name in claim.peer_needs)]


def test_names_are_distinct() -> None:
    """No two claims have one name."""
    assert len(CLAIMS) == len([*INPUT, *OUTPUT, *BOTH])


def test_claims_are_selected_by_name() -> None:
    """`claims` selects, in the order of the list; one name may be given as a string."""
    assert check_io_stream(streams, claims=["both_ways_at_once", "lines_then_the_end"]).held == ("lines_then_the_end", "both_ways_at_once")
    assert check_output_stream(streams, claims="other_objects_are_refused").held == ("other_objects_are_refused",)


@pytest.mark.parametrize(
    ("check", "options", "error", "words"),
    [
        (check_io_stream, {"claims": ["both_ways_at_one"]}, ValueError, "'both_ways_at_one'; did you mean 'both_ways_at_once'"),
        (check_input_stream, {"claims": ["both_ways_at_once"]}, ValueError, "no claim of this check in 'both_ways_at_once'"),
        (check_io_stream, {"claims": ["lines_then_the_end", 5]}, ValueError, "in 5; the claims are lines_then_the_end, "),
        (check_io_stream, {"claims": []}, ValueError, "at least one"),
        (check_io_stream, {"seed": "five"}, TypeError, "seed must be an integer or None, not 'five'"),
        (check_io_stream, {"seed": True}, TypeError, "seed"),
    ],
)
def test_wrong_arguments_are_refused_before_a_pair_is_made(check: Callable[..., Any], options: Any, error: type, words: str) -> None:
    """An unknown name is a ValueError that shows what there is; a seed is an integer."""
    made: list[None] = []
    with pytest.raises(error, match=re.escape(words)):
        check(lambda: made.append(None), **options)
    assert not made


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (None, "make_pair must return"),
        ((1, 2, 3), "make_pair must return"),
        ((object(), object()), "needs read, readline, peer.write, peer.flush"),
    ],
)
def test_what_is_no_pair_of_streams_is_refused(pair: Any, words: str) -> None:
    """Objects without any of the methods do not pass: they are a TypeError."""
    with pytest.raises(TypeError, match=words):
        check_io_stream(lambda: pair)


class LosesBytes(BufferedStream):
    """Loses a byte of each read that is not short."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        return data[len(data) > 5 :]

    def read1(self, size: int = -1) -> bytes:
        data = super().read1(size)
        return data[len(data) > 5 :]

    def readline(self, size: int | None = -1) -> bytes:
        data = super().readline(size)
        return data[len(data) > 5 :]


def test_a_seed_is_printed_and_repeats_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a seed a new one is printed; with it, the message of a broken promise is the same to the last word."""

    def make_pair() -> Pair:
        near, far = memory_pair()
        return LosesBytes(near), BufferedStream(far)

    def message(**options: Any) -> str:
        with pytest.raises(AssertionError) as caught:
            check_io_stream(make_pair, claims=["random_pieces_arrive_whole"], **options)
        return str(caught.value)

    first = message()
    printed = re.fullmatch(r"seed=(\d+) repeats this check of a stream\n", capsys.readouterr().out)
    assert printed
    assert first.endswith(f"(seed={printed[1]})")
    assert message(seed=int(printed[1])) == first
    assert not capsys.readouterr().out


def test_one_seed_gives_one_sequence() -> None:
    """A claim gets the same random numbers from the same seed, whichever claims are tried before it; others from another seed."""
    drawn: list[int] = []

    def draw(make_pair: Any, random: Random) -> None:
        drawn.append(random.getrandbits(64))

    claim = Claim(draw, "", "", "")
    for seed in (1, 1, 2):
        claim(streams, seed)
    assert drawn[0] == drawn[1] != drawn[2]


def test_all_broken_promises_are_told_until_one_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each broken promise is a line; behind one that does not end, no other is tried."""
    monkeypatch.setattr(checks, "LONGEST", 0.5)
    tried: list[str] = []

    def broken(name: str, function: Callable[[], object]) -> Claim:
        def try_it(make_pair: Any, _: Random) -> None:
            """It works."""
            tried.append(name)
            function()

        try_it.__name__ = name
        return Claim(try_it, "", "", "")

    def another_timeout() -> None:
        with closing(gevent.Timeout(3)) as another:
            raise another

    claims = [
        broken("one", lambda: 1 / 0), broken("two", lambda: None), broken("three", another_timeout),
        broken("four", lambda: gevent.sleep(9)), broken("five", lambda: None),
    ]
    with pytest.raises(AssertionError) as caught:
        checks._check(claims, streams, None, 7)
    assert tried == ["one", "two", "three", "four"]
    assert str(caught.value).splitlines() == [
        "one: promised: It works; happened: ZeroDivisionError: division by zero (seed=7)",
        "three: promised: It works; happened: another timeout was raised: 3 seconds (seed=7)",
        "four: promised: It works; happened: it did not end within 0.5 s (seed=7)",
    ]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_pairs_are_closed(pairs: Pairs) -> None:
    """Both streams of every pair are closed after a check, also those whose claim fails and those that only `close`."""
    made: list[Any] = []

    def make_pair() -> Pair:
        pair = small()
        made.extend(pair)
        return pair

    check_io_stream(make_pair, seed=3)
    assert len(made) > 20
    assert all(one.closed for one in made)
