"""The fixtures of these tests; `certificates` and the real servers are in `servers.fixtures`."""

from kit.virtual_time import virtual_clock

__all__ = ["virtual_clock"]
