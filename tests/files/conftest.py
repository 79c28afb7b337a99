"""The fixtures of these tests; `certificates` and the real servers are in `servers.fixtures`."""

from kit.makefile import ends
from kit.pairs import pairs
from kit.virtual_time import virtual_clock

__all__ = ["ends", "pairs", "virtual_clock"]
