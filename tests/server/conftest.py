"""The fixtures of these tests; `certificates` and the real servers are in `servers.fixtures`."""

from kit.server import serve
from kit.virtual_time import virtual_clock

serve_in_real_time = serve

__all__ = ["serve", "serve_in_real_time", "virtual_clock"]
