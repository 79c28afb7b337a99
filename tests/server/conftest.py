"""The fixtures of these tests; `certificates` and the real servers are in `servers.fixtures`."""

from kit.server import serve

__all__ = ["serve"]
