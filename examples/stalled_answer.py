"""An answer that stalls for longer than its reader's timeout. With gevent's own `makefile` it is lost, and the file is
unusable; with ours the next read goes on.

The client is the standard library's http.client, unchanged. It asks a server that stops in the middle of its answer,
once with each kind of file.
"""

# ruff: noqa: E402  # what is patched is patched before anything else is imported

from gevent import monkey

monkey.patch_all()

import argparse
import http.client
from contextlib import closing

import gevent.event
from gevent.server import StreamServer

import geventstreams.monkey

HALF = b"x" * 1000
WHOLE = 2 * len(HALF)

go_on = gevent.event.Event()


def half_an_answer(client, _address):
    """Answer; the second half waits for `go_on`."""
    client.recv(10_000)
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % WHOLE + HALF)
    go_on.wait()
    client.sendall(HALF)


def ask(port):
    """Return what became of the answer."""
    go_on.clear()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/")
    with closing(connection), closing(connection.getresponse()) as answer:
        connection.sock.settimeout(0.1)
        for _ in range(2):
            try:
                answer.read(WHOLE)
            except OSError as error:
                print(f"  {error}")
        go_on.set()
        connection.sock.settimeout(20)
        try:
            return f"{len(answer.read(WHOLE))} bytes"
        except OSError as error:
            return f"lost: {error}"


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    server = StreamServer(("127.0.0.1", 0), half_an_answer)
    server.start()
    print("gevent's makefile")
    print(f"  {ask(server.server_port)}")
    geventstreams.monkey.patch_makefile()
    print("geventstreams' makefile")
    print(f"  {ask(server.server_port)}")
    server.stop()


if __name__ == "__main__":
    main()
