"""Check that a stream keeps the promises of all streams: each claim is tried on fresh pairs of connected streams.

    result = check_io_stream(lambda: tuple(map(SocketStream, gevent.socket.socketpair())))
"""

# Invariants: a claim is a function of a maker of pairs and a `Random`, in one of the files `claims_of_…`; its name and the first line of
# its docstring are the message. Nothing here depends on the transport of a stream.

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import SystemRandom
from types import MappingProxyType

import gevent

from geventstreams.testing.claims import Claim, MakePair, discard, lacking
from geventstreams.testing.claims_of_both import CLAIMS as BOTH
from geventstreams.testing.claims_of_input import CLAIMS as INPUT
from geventstreams.testing.claims_of_output import CLAIMS as OUTPUT

LONGEST = 60.0
"""A claim that runs for so many seconds hangs."""

CLAIMS: Mapping[str, str] = MappingProxyType({claim.name: claim.promise for claim in [*INPUT, *OUTPUT, *BOTH]})
"""The claims of `check_io_stream`: the names to select them by, and what each promises."""


@dataclass(frozen=True)
class CheckResult:
    """What a check that found no broken promise has tried.

    Attributes:
        seed: What decided sizes, contents and order; the same seed repeats the check.
        held: The names of the claims that hold.
        skipped: The claims that could not be tried, each with the names that the stream lacks; those that begin with "peer." are lacking
            in the stream at its other end.
        untried: Claims that hold without what the stream lacks, each with these names: methods that other streams are tried with.
    """

    seed: int
    held: tuple[str, ...]
    skipped: Mapping[str, tuple[str, ...]]
    untried: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        lines = [f"{len(self.held)} claims hold, {len(self.skipped)} were skipped (seed {self.seed})"]
        lines += [f"skipped {name}: it needs {', '.join(names)}" for name, names in self.skipped.items()]
        lines += [f"{name} holds, without {', '.join(names)}" for name, names in self.untried.items()]
        return "\n".join(lines)


def check_input_stream(make_pair: MakePair, *, claims: Iterable[str] | None = None, seed: int | None = None) -> CheckResult:
    """Check the reading half of a stream. Both streams of each pair are closed afterwards.

    Args:
        make_pair: Returns a new stream and a stream at its other end, for each claim. They may be of any class: claims whose methods they
            lack are skipped. Their waits must be gevent's. A peer without `send_eof` ends its output by `close`.
        claims: The names of the claims to try (`CLAIMS` lists them); None means all that are about reading.
        seed: Repeats a check; None means a new one, which is printed.

    Returns:
        What was tried, and what was skipped.

    Raises:
        AssertionError: A claim does not hold. Each line of the message is about one of them: its name, what was promised, what
            happened, and the seed. After a claim that does not end within a minute, no other one is tried.
        ValueError: `claims` has a name that is not in the list.
        TypeError: The streams lack what each of the claims needs.
    """
    return _check(INPUT, make_pair, claims, seed)


def check_output_stream(make_pair: MakePair, *, claims: Iterable[str] | None = None, seed: int | None = None) -> CheckResult:
    """Check the writing half of a stream. Both streams of each pair are closed afterwards.

    Args:
        make_pair: As for `check_input_stream`. The buffers between the two streams must not hold more than a few megabytes.
        claims: The names of the claims to try (`CLAIMS` lists them); None means all that are about writing.
        seed: Repeats a check; None means a new one, which is printed.

    Returns:
        What was tried, and what was skipped.

    Raises:
        AssertionError: A claim does not hold, as in `check_input_stream`; ValueError and TypeError as there.
    """
    return _check(OUTPUT, make_pair, claims, seed)


def check_io_stream(make_pair: MakePair, *, claims: Iterable[str] | None = None, seed: int | None = None) -> CheckResult:
    """Check both halves of a stream, and that neither disturbs the other.

    Args:
        make_pair: As for `check_input_stream`. The buffers between the two streams must not hold more than a few megabytes.
        claims: The names of the claims to try (`CLAIMS` lists them); None means all.
        seed: Repeats a check; None means a new one, which is printed.

    Returns:
        What was tried, and what was skipped.

    Raises:
        AssertionError: A claim does not hold, as in `check_input_stream`; ValueError and TypeError as there.
    """
    return _check([*INPUT, *OUTPUT, *BOTH], make_pair, claims, seed)


class _Hangs(AssertionError):
    """A claim was not done in time."""


def _check(every: list[Claim], make_pair: MakePair, names: Iterable[str] | None, seed: int | None) -> CheckResult:
    if not isinstance(make_pair, Callable):  # type: ignore[arg-type]  # the one of collections.abc can be asked
        raise TypeError(f"make_pair must be callable, not {make_pair!r}")
    selected = every if names is None else _selected(every, names)
    if seed is None:
        seed = SystemRandom().randrange(10**6)
        print(f"seed={seed} repeats this check of a stream")
    elif isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an integer or None, not {seed!r}")
    skipped, untried = _lacking(selected, make_pair)
    if len(skipped) == len(selected):
        raise TypeError(f"no claim can be tried; {selected[0].name} needs {', '.join(skipped[selected[0].name])}")
    failures: list[AssertionError] = []
    held: list[str] = []
    for claim in selected:
        if claim.name not in skipped:
            try:
                _check_claim(claim, make_pair, seed)
                held.append(claim.name)
            except AssertionError as error:
                failures.append(error)
                if isinstance(error, _Hangs):
                    break
    if failures:
        raise AssertionError("\n".join(map(str, failures))) from failures[0].__cause__
    return CheckResult(seed, tuple(held), skipped, untried)


def _selected(every: list[Claim], names: Iterable[str]) -> list[Claim]:
    """Return the claims of these names, in the order of the list."""
    wanted = [names] if isinstance(names, str) else list(names)
    known = {claim.name: claim for claim in every}
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"the claims are {', '.join(known)}"
            raise ValueError(f"claims has no claim of this check in {name!r}; {hint}")
    if not wanted:
        raise ValueError("claims must name at least one claim, or be None for all")
    return [claim for claim in every if claim.name in wanted]


def _lacking(claims: list[Claim], make_pair: MakePair) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return the claims that the streams lack something for, and those that they hold without something, each with the names of it."""
    pair = make_pair()
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(f"make_pair must return a stream and the stream at its other end, not {pair!r}")
    try:
        skipped = {claim.name: tuple(missing) for claim in claims if (missing := claim.missing(*pair))}
        tried = [claim for claim in claims if claim.name not in skipped]
        untried = {claim.name: tuple(missing) for claim in tried if (missing := lacking(pair[0], claim.tries))}
    finally:
        for one in pair:
            discard(one)
    return skipped, untried


def _check_claim(claim: Claim, make_pair: MakePair, seed: int) -> None:
    """Try a claim. Raise AssertionError if it does not hold: what was promised, what happened, and the seed."""
    hanging = gevent.Timeout(LONGEST)
    kind: type[AssertionError] = AssertionError
    try:
        with hanging:
            claim(make_pair, seed)
            return
    except gevent.Timeout as error:
        cause: BaseException = error
        if error is hanging:
            kind, event = _Hangs, f"it did not end within {LONGEST:g} s"
        else:
            event = f"another timeout was raised: {error}"
    except AssertionError as error:
        cause, event = error, str(error)
    except Exception as error:  # noqa: BLE001 - the broken promise of a stream
        cause, event = error, f"{type(error).__name__}: {error}"
    raise kind(f"{claim.name}: promised: {claim.promise}; happened: {event} (seed={seed})") from cause
