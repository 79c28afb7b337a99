"""A chat: what one member writes all others read. One greenlet waits for all members, by a WaitSet.

Try it with nc, and end it with Ctrl-C.
"""

import argparse
import signal
import sys

import gevent
from gevent.event import Event

from geventstreams import SocketStreamServer, StreamError, WaitSet

MOST_SAID = 1000
"""Bytes of a line; a longer one is cut into several."""

MOST_UNSENT = 32768
"""Bytes that a member may leave unread before it is sent away. A stream that holds less takes a line without waiting."""


class Member:
    """A name, and the beginning of the line that the member is typing."""

    def __init__(self, name):
        self.name = name
        self.begun = b""
        self.gone = Event()

    def lines(self, data):
        """Return the lines that are complete now."""
        *whole, self.begun = (self.begun + data).split(b"\n")
        if len(self.begun) > MOST_SAID:
            whole, self.begun = [*whole, self.begun], b""
        pieces = [line[at : at + MOST_SAID] for line in whole for at in range(0, len(line), MOST_SAID)]
        return [piece.rstrip(b"\r").decode("utf-8", "replace") for piece in pieces]


class Chat:
    """The members."""

    def __init__(self):
        self.members = {}
        self.waiting = WaitSet()

    def join(self, stream, address):
        """Ask for a name, then wait until the member leaves; `talk` does the rest. Runs in the connection's own greenlet."""
        stream.write_string("Your name? ")
        name, at_end = stream.read_line()
        if not at_end:
            member = self.members[stream] = Member(name.strip() or f"guest-{address[1]}")
            self.waiting.add(stream)
            self.say(f"* {member.name} comes in")
            member.gone.wait()

    def talk(self):
        """Pass on what members write, as it arrives. Nothing in here waits for one particular member."""
        while True:
            for stream in self.waiting.wait():
                member = self.members[stream]
                try:
                    data = stream.read_available()
                except StreamError:
                    data = b""
                for line in member.lines(data):
                    self.say(f"{member.name}: {line}", but=stream)
                if not data:
                    self.leave(stream)

    def say(self, text, but=None):
        """Send a line to all members except `but`."""
        for stream in list(self.members):
            if stream is not but:
                try:
                    stream.write_line(text)
                    stream.force_output()
                    keeps_up = stream.unsent <= MOST_UNSENT
                except StreamError:
                    keeps_up = False
                if not keeps_up:
                    self.leave(stream)

    def leave(self, stream):
        """Remove a member: the connection's greenlet returns, and the stream is closed."""
        member = self.members.pop(stream, None)
        if member is not None:
            self.waiting.discard(stream)
            member.gone.set()
            self.say(f"* {member.name} goes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, nargs="?", default=0)
    options = parser.parse_args()
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, ended.set)
    chat = Chat()
    gevent.spawn(chat.talk)
    server = SocketStreamServer(("127.0.0.1", options.port), chat.join, encoding="utf-8")
    server.start()
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    ended.wait()
    server.stop(timeout=1)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(str(error))
