"""Streams over memory whose whole input is known, at once or in pieces."""

from collections.abc import Callable
from typing import Any

import pytest

from geventstreams._streams.lisp import LispStream
from geventstreams.testing import PiecemealTransport, memory_pair
from kit.pairs import Pairs


class Fed:
    """Makes such streams, all closed after the test; `far` is the stream at the other end of the last one."""

    def __init__(self, pairs: Pairs, make: Callable[..., Any]) -> None:
        self.far: LispStream
        self._pairs = pairs
        self._make = make

    def __call__(self, data: bytes, *, ended: bool = True, piece: int = 0, **options: Any) -> Any:
        """Return a stream that has these bytes to read, and then the end unless `ended` is false; `piece` bytes per receive call."""
        near, far = memory_pair(max(len(data), 10**6))
        self.far = self._pairs.keep(LispStream(far))
        self.far.sendall(data)
        if ended:
            self.far.send_eof()
        return self._pairs.keep(self._make(PiecemealTransport(near, piece) if piece else near, **options))


@pytest.fixture(params=[0, 1, 3], ids=["whole", "single bytes", "threes"])
def piece(request: pytest.FixtureRequest) -> int:
    """Return how many bytes one receive call gives; 0 is all at once."""
    return int(request.param)
