"""A chat: chat_server.py [PORT]. What one says all others read; one greenlet waits for everybody, by a WaitSet."""

import sys

import gevent
from gevent.event import Event

from geventstreams import SocketStreamServer, StreamError, WaitSet

MOST_SAID = 1000
"""Octets of a line; what is longer is cut into several."""

MOST_UNSENT = 32768
"""Octets that a member may leave unread before it has to go. A stream that holds less takes a line without waiting."""


class Member:
    """Somebody with a name, and the beginning of what they are just typing."""

    def __init__(self, name):
        self.name = name
        self.begun = b""
        self.gone = Event()

    def lines(self, octets):
        """The lines that are whole now."""
        *whole, self.begun = (self.begun + octets).split(b"\n")
        if len(self.begun) > MOST_SAID:
            whole, self.begun = [*whole, self.begun], b""
        pieces = [line[at : at + MOST_SAID] for line in whole for at in range(0, len(line), MOST_SAID)]
        return [piece.rstrip(b"\r").decode("utf-8", "replace") for piece in pieces]


class Chat:
    """Who is in, and what is said."""

    def __init__(self):
        self.members = {}
        self.waiting = WaitSet()

    def join(self, stream, address):
        """The connection's own greenlet: asks for a name, then leaves the talking to `talk`, until the member goes."""
        stream.write_string("Your name? ")
        name, at_end = stream.read_line()
        if not at_end:
            member = self.members[stream] = Member(name.strip() or f"guest-{address[1]}")
            self.waiting.add(stream)
            self.say(f"* {member.name} comes in")
            member.gone.wait()

    def talk(self):
        """Serves all who have something to say, as they say it. Nothing in here waits for a single one of them."""
        while True:
            for stream in self.waiting.wait():
                member = self.members[stream]
                try:
                    octets = stream.read_available()
                except StreamError:
                    octets = b""
                for line in member.lines(octets):
                    self.say(f"{member.name}: {line}", but=stream)
                if not octets:
                    self.leave(stream)

    def say(self, text, but=None):
        """Sends a line to everybody but the one who said it."""
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
        """Lets a member go: the connection's greenlet returns, and the stream is closed."""
        member = self.members.pop(stream, None)
        if member is not None:
            self.waiting.discard(stream)
            member.gone.set()
            self.say(f"* {member.name} goes")


def main(port=0):
    """Serves until it is interrupted."""
    chat = Chat()
    gevent.spawn(chat.talk)
    server = SocketStreamServer(("127.0.0.1", int(port)), chat.join, encoding="utf-8")
    server.start()
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
