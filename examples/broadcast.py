"""Send each line of standard input to all clients, and let no slow client hold up the others.

A client that does not keep up misses lines instead of filling the server's memory; when it reads on, it is told how many
it missed. A line of more than 32 KiB counts as several. Ends at the end of standard input, or with Ctrl-C: clients then
get what they are still owed.
"""

import argparse
import signal
import sys

import gevent
from gevent.event import Event
from gevent.fileobject import FileObjectThread

from geventstreams import SocketStreamServer, StreamError

MOST_UNSENT = 16 * 1024
"""Bytes that may wait for one client."""

MOST_AT_ONCE = 32 * 1024
"""Bytes of a line that are sent at a time. A stream holds 64 KiB, so it takes this many beside those that wait, and a write never waits."""


class Subscriber:
    """A client, and the lines that it missed."""

    def __init__(self, stream):
        self.stream = stream
        self.missed = 0

    def send(self, line):
        """Send a line without waiting, or count it as missed."""
        if self.stream.unsent > MOST_UNSENT:
            self.missed += 1
            return
        if self.missed:
            self.stream.write(b"(%d lines missed)\n" % self.missed)
            self.missed = 0
        self.stream.write(line)
        self.stream.force_output()


class Broadcast:
    """The clients of one server."""

    def __init__(self):
        self.subscribers = {}

    def handle(self, stream, address):
        """Keep a client until it ends its side of the connection; what it sends is ignored."""
        self.subscribers[stream] = Subscriber(stream)
        try:
            while stream.read1():
                pass
        finally:
            del self.subscribers[stream]

    def send(self, line):
        """Send a line to all clients; one whose connection broke is dropped."""
        for stream, subscriber in list(self.subscribers.items()):
            try:
                subscriber.send(line)
            except StreamError:
                stream.abort()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, nargs="?", default=0)
    options = parser.parse_args()

    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, ended.set)

    broadcast = Broadcast()
    server = SocketStreamServer(("127.0.0.1", options.port), broadcast.handle)
    server.start()
    print(f"listening on 127.0.0.1:{server.port}", flush=True)

    def read_lines():
        lines = FileObjectThread(sys.stdin.buffer, "rb", close=False)
        while line := lines.readline(MOST_AT_ONCE):
            broadcast.send(line)
        ended.set()

    gevent.spawn(read_lines)
    ended.wait()
    print(server.stop(timeout=5))


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(str(error))
