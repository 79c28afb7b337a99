"""Virtual time for tests that talk over the system's sockets."""

from collections.abc import Iterator

import pytest

from geventstreams.testing import VirtualClock, virtual_time


@pytest.fixture
def virtual_clock() -> Iterator[VirtualClock]:
    """Virtual time during the test. Each jump gives a busy system a moment to deliver what one socket has sent to another."""
    with virtual_time(threshold=0.001) as clock:
        yield clock
