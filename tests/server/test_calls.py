"""How many calls, in how many files, a connection costs: from `accept` over a handler that does nothing to the closed descriptor."""

import os
import subprocess
import sys

PROGRAM = """
import os, sys
import gevent
from gevent import socket
import geventstreams

assert not geventstreams.compiled
package = os.path.dirname(geventstreams.__file__) + os.sep
served, calls, files = [], 0, set()

def profile(frame, event, arg):
    global calls
    if event == "call" and frame.f_code.co_filename.startswith(package):
        calls += 1
        files.add(frame.f_code.co_filename)

server = geventstreams.SocketStreamServer(("127.0.0.1", 0), lambda stream, address: served.append(None))
server.start()
port = server.port

def connect(times):
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert client.recv(1) == b""
        gevent.sleep(0.001)

connect(4)
sys.setprofile(profile)
connect(8)
sys.setprofile(None)
server.stop(0)
assert len(served) == 12
print(calls / 8, len(files))
"""


def test_a_connection_costs_few_calls() -> None:
    """In the plain build a connection is accepted, served and closed with at most 58 calls, in at most 12 files."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, "PURE_PYTHON": "1"}, capture_output=True, text=True, check=True
    )
    calls, files = map(float, done.stdout.split())
    assert 40 <= calls <= 58
    assert 10 <= files <= 12
