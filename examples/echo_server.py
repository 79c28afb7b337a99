"""An echo server, a greenlet for each connection: echo_server.py [PORT]. Try it with nc, and end it with Ctrl-C."""

import signal
import sys

import gevent
from gevent.event import Event

from geventstreams import SocketStreamServer


def echo(stream, address):
    """Runs in the connection's own greenlet, so it may wait. When it returns, the stream is flushed and closed."""
    print(f"{address[0]}:{address[1]} is here", flush=True)
    for line in stream:
        # No flush: a read that has to wait sends first what was written.
        stream.write(line)


def main(port=0):
    """Serves until SIGINT or SIGTERM comes, then drains: nobody is cut off in the middle of a line."""
    over = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, over.set)
    server = SocketStreamServer(("127.0.0.1", int(port)), echo)
    server.start()
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    over.wait()
    print(server.stop(timeout=5))


if __name__ == "__main__":
    main(*sys.argv[1:])
