"""Print the headers of a web page as they arrive, by a socket that keeps its input, and a stream made for it.

The first program of cl-async's page on TCP streams (`dont_drain_read_buffer`).
"""

import argparse
import sys

import gevent

from geventstreams import AsyncIOStream, tcp_connect


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path", nargs="?", default="/")
    options = parser.parse_args()

    def on_read(socket, stream):
        # Reading never waits: an incomplete line is None, and this function is called again when more has arrived.
        while not socket.data and (line := stream.readline()) is not None:
            if line.strip():
                print(line.decode("latin-1").rstrip())
            else:
                socket.data = "the headers have ended"
        if socket.data:
            stream.clear_input()

    def on_event(event):
        print(f"-- {event}")

    socket = tcp_connect(options.host, options.port, on_read, on_event, dont_drain_read_buffer=True, read_timeout=10)
    stream = AsyncIOStream(socket=socket)
    stream.write_string(f"GET {options.path} HTTP/1.0\r\nHost: {options.host}\r\n\r\n")
    gevent.wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ValueError as error:
        sys.exit(str(error))
