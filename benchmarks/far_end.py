"""Many thousand connected socket pairs; another process holds the halves that are never written to.

One process has descriptors for about half of them only. It keeps both halves of some, spread evenly over all, so it can
make these readable without a switch to another process, which would cool its caches.
"""

from __future__ import annotations

import socket
import subprocess
import sys

PASSED_AT_ONCE = 200
KEPT = 1000


class FarEnd:
    """`near` are the sockets; `far` has the other halves, by index, of those that can be made readable."""

    def __init__(self, count: int) -> None:
        self._control, theirs = socket.socketpair()
        command = [sys.executable, "-m", "benchmarks.far_end", str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        self.near: list[socket.socket] = []
        self.far: dict[int, socket.socket] = {}
        while len(self.near) < count:
            self._add(min(PASSED_AT_ONCE, count - len(self.near)), -(-count // KEPT))

    def _add(self, count: int, step: int) -> None:
        passed = []
        for index in range(len(self.near), len(self.near) + count):
            near, far = socket.socketpair()
            self.near.append(near)
            if index % step == 0:
                self.far[index] = far
            else:
                passed.append(far)
        if passed:
            socket.send_fds(self._control, [b"p"], [far.fileno() for far in passed])
            self._control.recv(1)
        for far in passed:
            far.close()

    def close(self) -> None:
        """End the far process and close the halves that were kept. The caller closes the near sockets."""
        self._control.close()
        self._process.wait()
        for far in self.far.values():
            far.close()


def hold(control: socket.socket) -> None:
    """Keep the descriptors that come until the other side closes."""
    held: list[int] = []
    while True:
        chunk, descriptors, _, _ = socket.recv_fds(control, 1, PASSED_AT_ONCE)
        held.extend(descriptors)
        if not chunk:
            return
        control.sendall(b"k")


if __name__ == "__main__":
    hold(socket.socket(fileno=int(sys.argv[1])))
