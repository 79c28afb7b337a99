"""A server with a thousand clients in one process, all by callbacks: thousand_clients.py [CLIENTS [LINES]].

Every client says so many lines, each when the one before it was answered; the server answers each line with its length
and tells everybody at the end how many there were.
"""

import resource
import sys

import gevent

from geventstreams import TCPEOF, tcp_connect, tcp_server


def room_for(connections):
    """Allows this process as many descriptors as it needs."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * connections + 100), hard))


class Server:
    """Answers lines."""

    def __init__(self):
        self.lines = 0
        self.tcp = tcp_server("127.0.0.1", 0, self.on_read, self.on_event, stream=True, backlog=1024)

    def on_read(self, _socket, stream):
        """Answers the lines that are whole; the beginning of another one stays in the stream."""
        while line := stream.readline():
            self.lines += 1
            stream.write(b"%d\n" % len(line))

    def on_event(self, event):
        """Clients come and go."""
        if not isinstance(event, TCPEOF):
            print(f"server: {event}", file=sys.stderr)


class Client:
    """Says lines, and counts the answers that were wrong."""

    wrong = 0

    def __init__(self, port, number, lines):
        self.left = [b"%d: %s\n" % (number, b"x" * (index % 70)) for index in range(lines)]
        tcp_connect("127.0.0.1", port, self.on_read, self.on_event, stream=True, connect_cb=self.say, read_timeout=60)

    def say(self, stream):
        """Says the next line, or goodbye."""
        if self.left:
            stream.write(self.left[-1])
        else:
            stream.close()

    def on_read(self, _socket, stream):
        """The answer to the last line has come, or a part of it."""
        answer = stream.readline()
        if answer is not None:
            Client.wrong += int(answer) != len(self.left.pop())
            self.say(stream)

    def on_event(self, event):
        """No client should see an end: it is they who say goodbye."""
        Client.wrong += 1
        print(f"client: {event}", file=sys.stderr)


def main(clients=1000, lines=10):
    """Returns when the last client has gone."""
    room_for(int(clients))
    server = Server()
    for number in range(int(clients)):
        Client(server.tcp.port, number, int(lines))
    server_lines = int(clients) * int(lines)
    while server.lines < server_lines or server.tcp.connections:
        gevent.sleep(0.01)
    server.tcp.close()
    print(f"{clients} clients, {server.lines} lines, {Client.wrong} wrong")


if __name__ == "__main__":
    main(*sys.argv[1:])
