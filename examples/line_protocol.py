"""A small protocol to write tests for: a client sends numbers, one in a line, and gets their running total.

    line_protocol.py 7070

Its tests are in test_line_protocol.py. `serve` takes any stream, so they need neither a port nor a server.
"""

import argparse
import signal
import sys

import gevent
from gevent.event import Event

from geventstreams import LineTooLong, ReadTimeout, SocketStreamServer


def serve(stream):
    """Answer each number with the total so far, until the client ends its side or is silent for too long."""
    total = 0
    while True:
        try:
            line = stream.readline()
        except ReadTimeout:
            stream.write(b"timeout: closing\n")
            return
        except LineTooLong:
            stream.discard_line()
            stream.write(b"error: line too long\n")
            continue
        if not line:
            return
        try:
            total += int(line)
        except ValueError:
            stream.write(b"error: not a number\n")
        else:
            stream.write(b"%d\n" % total)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, nargs="?", default=0)
    options = parser.parse_args()
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, ended.set)
    server = SocketStreamServer(
        ("127.0.0.1", options.port), lambda stream, address: serve(stream), read_timeout=60, line_limit=100
    )
    server.start()
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    ended.wait()
    server.stop(timeout=5)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(str(error))
