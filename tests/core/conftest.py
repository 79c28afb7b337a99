"""The fixtures of these tests; `certificates` and the real servers are in `servers.fixtures`."""

from kit.pairs import kind, pairs, socket_kind

__all__ = ["kind", "pairs", "socket_kind"]
