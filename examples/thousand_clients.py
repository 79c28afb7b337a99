"""A server and a thousand clients in one process, all by callbacks.

Each client sends its lines one by one, the next when the one before was answered; the server answers each line with its
length. The last line of output says how many answers there were, and how many were wrong.
"""

import argparse
import resource
import sys

import gevent

from geventstreams import TCPEOF, tcp_connect, tcp_server


def room_for(connections):
    """Allow this process as many descriptors as it needs, or end it."""
    needed = 2 * connections + 100
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if needed > hard != resource.RLIM_INFINITY:
        sys.exit(f"{connections} clients need {needed} descriptors, and a process may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class Server:
    """Answers lines with their length."""

    def __init__(self):
        self.lines = 0
        self.tcp = tcp_server("127.0.0.1", 0, self.on_read, self.on_event, stream=True, backlog=1024)

    def on_read(self, _socket, stream):
        """Answer the complete lines; the beginning of another one stays in the stream."""
        while line := stream.readline():
            self.lines += 1
            stream.write(b"%d\n" % len(line))

    def on_event(self, event):
        """Report what is not an ordinary end."""
        if not isinstance(event, TCPEOF):
            print(f"server: {event}", file=sys.stderr)


class Client:
    """Sends lines, and counts the answers that are wrong."""

    active = 0
    wrong = 0

    def __init__(self, port, number, lines):
        self.left = [b"%d: %s\n" % (number, b"x" * (index % 70)) for index in range(lines)]
        tcp_connect("127.0.0.1", port, self.on_read, self.on_event, stream=True, connect_cb=self.send, read_timeout=60)
        Client.active += 1

    def send(self, stream):
        """Send the next line, or close."""
        if self.left:
            stream.write(self.left[-1])
        else:
            stream.close()
            Client.active -= 1

    def on_read(self, _socket, stream):
        """Check the answer to the last line, if it is complete."""
        answer = stream.readline()
        if answer is not None:
            Client.wrong += int(answer) != len(self.left.pop())
            self.send(stream)

    def on_event(self, event):
        """Report an end: no client should see one, because clients close first."""
        Client.active -= 1
        Client.wrong += 1
        print(f"client: {event}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clients", type=int, nargs="?", default=1000)
    parser.add_argument("lines", type=int, nargs="?", default=10, help="lines that each client sends")
    options = parser.parse_args()
    if options.clients < 1 or options.lines < 1:
        parser.error("clients and lines must be positive")
    room_for(options.clients)
    server = Server()
    for number in range(options.clients):
        Client(server.tcp.port, number, options.lines)
    while Client.active or server.tcp.connections:
        gevent.sleep(0.01)
    server.tcp.close()
    print(f"{options.clients} clients, {server.lines} lines, {Client.wrong} wrong")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
