"""An echo server, a greenlet for each connection. Try it with nc, and end it with Ctrl-C: no line is cut off.
"""

import argparse
import signal
import sys

import gevent
from gevent.event import Event

from geventstreams import SocketStreamServer


def echo(stream, address):
    """Serve one client, in a greenlet of its own, so it may wait. When it returns, the stream is flushed and closed."""
    print(f"{address[0]}:{address[1]} is here", flush=True)
    for line in stream:
        # No flush: a read that has to wait first sends what was written.
        stream.write(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, nargs="?", default=0)
    options = parser.parse_args()
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, ended.set)
    server = SocketStreamServer(("127.0.0.1", options.port), echo)
    server.start()
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    ended.wait()
    print(server.stop(timeout=5))


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(str(error))
