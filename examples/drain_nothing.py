"""A socket whose octets are left where they are, and a stream made for it: drain_nothing.py HOST PORT [PATH].

The first program of cl-async's page on TCP streams. It asks a web server for a page and prints the headers of the answer,
line by line, as they come.
"""

import sys

import gevent

from geventstreams import AsyncIOStream, tcp_connect


def main(host, port, path="/"):
    """Returns when the server has said everything."""

    def on_read(socket, stream):
        # Reading never waits: a line that is not whole yet is None, and we are called again when more has come.
        while not socket.data and (line := stream.readline()) is not None:
            if line.strip():
                print(line.decode("latin-1").rstrip())
            else:
                socket.data = "the headers have ended"
        if socket.data:
            stream.clear_input()

    def on_event(event):
        print(f"-- {event}")

    socket = tcp_connect(host, int(port), on_read, on_event, dont_drain_read_buffer=True, read_timeout=10)
    stream = AsyncIOStream(socket=socket)
    stream.write_string(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")
    gevent.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
