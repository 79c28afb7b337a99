"""A server in a process of its own, for tests that take its descriptors away or load it: echoes lines, prints its port.

Arguments: how many descriptors it may have, how many of them it hoards until it gets SIGUSR1.
"""

import logging
import os
import resource
import signal
import sys

import gevent

from geventstreams.server.server import SocketStreamServer


def echo(stream, _address):
    for line in stream:
        stream.write(line)


def main(most: int, hoarded: int) -> None:
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = SocketStreamServer(("127.0.0.1", 0), echo)
    server.start()
    hoard = [os.open("/dev/null", os.O_RDONLY) for _ in range(hoarded)]

    def spend():
        while hoard:
            os.close(hoard.pop())

    gevent.signal_handler(signal.SIGUSR1, spend)
    gevent.signal_handler(signal.SIGTERM, server.stop)
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
