"""The engine of a file or a stream, which has its buffers."""

import gc
from typing import Any

from geventstreams._core.reader import ByteSource


def engine_below(file: object) -> Any:
    """Return the engine of a file or a stream. Compiled ones show it to the collector only."""
    return next(each for each in (getattr(file, "_engine", None), *gc.get_referents(file)) if isinstance(each, ByteSource))
