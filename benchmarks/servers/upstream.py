"""The server behind a relay that is measured: a process of its own, so that its CPU time is not the relay's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

from benchmarks.servers import threads

_running: list[subprocess.Popen[bytes]] = []


def start() -> tuple[str, int]:
    """Start one, which ends with this process; return its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "benchmarks.servers.upstream", str(listener.fileno())]
        _running.append(subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()]))
        address: tuple[str, int] = listener.getsockname()
        return address


def main(descriptor: int) -> None:
    """Receive until standard input ends."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))  # not the core of the relay
    arguments = (socket.socket(fileno=descriptor), {})
    threading.Thread(target=threads.receive, args=arguments, daemon=True).start()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
