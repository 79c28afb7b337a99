"""The fixtures of these tests; `certificates` and the real servers are in `servers.fixtures`."""

from kit.callbacks import calls, endpoints, reports
from kit.fed import piece
from kit.makefile import ends
from kit.pairs import kind, pairs, socket_kind, unsent_is_told
from kit.server import serve
from kit.tls import side, tls
from kit.virtual_time import virtual_clock

__all__ = [
    "calls", "endpoints", "ends", "kind", "pairs", "piece", "reports", "serve", "side", "socket_kind", "tls", "unsent_is_told",
    "virtual_clock",
]
