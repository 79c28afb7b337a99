"""A server that systemd starts with its first client (socket activation), with the units systemd/echo.socket and echo.service.

systemd listens, and passes the listening socket on as descriptor 3. While the service restarts, clients wait in the
queue of that socket, and none is refused. Try it without systemd:

    systemd-socket-activate --listen 127.0.0.1:7007 python activated_server.py
"""

import argparse
import signal
import socket
import sys

import gevent
from gevent.event import Event

from geventstreams import SocketStreamServer
from geventstreams.workers import descriptors_given


def echo(stream, address):
    for line in stream:
        stream.write(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    servers = [SocketStreamServer(socket.socket(fileno=number), echo) for number in descriptors_given()]
    if not servers:
        sys.exit("no listening socket was passed on: start this by systemd, or by systemd-socket-activate")

    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, ended.set)
    for server in servers:
        server.start()
    ended.wait()
    for server in servers:
        print(server.stop(timeout=30))


if __name__ == "__main__":
    main()
