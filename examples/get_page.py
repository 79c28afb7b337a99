"""The shortest way to a web page by callbacks: get_page.py HOST PORT.

The second program of cl-async's page on TCP streams: `GET /`, a stream, a limit on silence, an array of 4,096 octets.
"""

import sys

import gevent

from geventstreams import tcp_connect


def on_read(_socket, stream):
    """Called when octets have come: reading takes what is there, and never waits for more."""
    octets = bytearray(4096)
    while count := stream.read_sequence(octets, end=4096):
        sys.stdout.buffer.write(octets[:count])


def on_event(event):
    """Called once, when the connection has ended, in whatever way."""
    sys.stdout.flush()
    print(f"ev: {event!r}", file=sys.stderr)


def main(host, port):
    """Returns when the connection is over."""
    tcp_connect(host, int(port), on_read, on_event, data="GET /\r\n", stream=True, read_timeout=5)
    gevent.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
