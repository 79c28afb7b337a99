"""Get a web page by callbacks, as old servers still answer it: `GET /` without a version (HTTP/0.9).

The second program of cl-async's page on TCP streams: a stream, a read timeout, and an array of 4,096 bytes. nginx answers
it; many servers do not (`python -m http.server` says nothing, which ends in a timeout after five seconds).
"""

import argparse
import sys

import gevent

from geventstreams import tcp_connect


def on_read(_socket, stream):
    """Called when bytes have arrived: reading takes what is there, and never waits for more."""
    space = bytearray(4096)
    while count := stream.read_sequence(space, end=4096):
        sys.stdout.buffer.write(space[:count])


def on_event(event):
    """Called once, when the connection has ended, for any reason."""
    sys.stdout.flush()
    print(f"ev: {event!r}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    tcp_connect(options.host, options.port, on_read, on_event, data="GET /\r\n", stream=True, read_timeout=5)
    gevent.wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ValueError as error:
        sys.exit(str(error))
