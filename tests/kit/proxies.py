"""Real proxies: tinyproxy for HTTP's CONNECT, microsocks for SOCKS5."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import find_program, free_port
from servers.base import listens

from kit.command_line import started
from kit.conditions import until


@contextmanager
def proxy(kind: str, folder: Path) -> Iterator[str]:
    """A real HTTP or SOCKS proxy, whose configuration is in the folder: its address."""
    port = free_port()
    if kind == "http":
        file = folder / "tinyproxy.conf"
        file.write_text(f"Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\n")
        command: list[object] = [find_program("tinyproxy"), "-d", "-c", file]
    else:
        command = [find_program("microsocks"), "-i", "127.0.0.1", "-p", port]
    with started(*command):
        until(lambda: listens(port))
        yield f"{kind}://127.0.0.1:{port}"
