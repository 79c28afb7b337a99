"""The peak of memory in a block of a test: that of Python objects, so that other threads and the system do not count."""

import contextlib
import gc
import tracemalloc
from collections.abc import Iterator


class Peak:
    """The most memory that Python objects had at a time, beyond what there was before."""

    size = 0


@contextlib.contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the block; the result is there after it."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    peak = Peak()
    try:
        yield peak
    finally:
        peak.size = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
