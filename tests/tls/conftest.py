"""The fixtures of these tests; `certificates` and the real servers are in `servers.fixtures`."""

from kit.pairs import pairs
from kit.tls import side, tls, tls12, tls13
from kit.virtual_time import virtual_clock

__all__ = ["pairs", "side", "tls", "tls12", "tls13", "virtual_clock"]
