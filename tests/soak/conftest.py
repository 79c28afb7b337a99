"""The fixtures of these tests; `certificates` and the real servers are in `servers.fixtures`."""

from kit.pairs import pairs
from kit.tls import side, tls

__all__ = ["pairs", "side", "tls"]
