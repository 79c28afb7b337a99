"""Deploy a new version without refusing or breaking a connection: N worker processes that SIGHUP replaces one by one.

    graceful_deploy.py --workers 2 --version-file version.txt 7000
    echo 2.0 > version.txt && kill -HUP PID

Each worker has a listening socket of its own on the same port, so the system spreads clients over the cores. The
supervisor keeps the sockets open: clients that arrive while a worker is replaced wait in the queue of its socket. The
old worker drains: it finishes its connections and accepts no new ones.
"""

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

import gevent
from gevent.event import Event

from geventstreams import SocketStreamServer
from geventstreams.workers import Supervisor


def work(options, version):
    """Be one worker: serve the inherited socket until SIGTERM, or until the supervisor has ended."""

    def answer(stream, address):
        for line in stream:
            stream.write(f"version {version}, process {os.getpid()}: ".encode() + line)

    ended = Event()
    gevent.signal_handler(signal.SIGTERM, ended.set)
    server = SocketStreamServer(socket.socket(fileno=options.descriptor), answer)
    server.start()
    print("ready", flush=True)  # tells the supervisor that the old worker may go

    def watch_supervisor():
        gevent.get_hub().threadpool.apply(sys.stdin.buffer.read)  # its end is the supervisor's
        ended.set()

    gevent.spawn(watch_supervisor)
    ended.wait()
    server.stop(timeout=30)
    os._exit(0)  # the thread that reads standard input may wait still


def supervise(options):
    """Run the workers until SIGINT or SIGTERM, and replace them at SIGHUP."""
    listeners = [socket.create_server(("127.0.0.1", options.port), reuse_port=True, backlog=1024)]
    port = listeners[0].getsockname()[1]
    while len(listeners) < options.workers:
        listeners.append(socket.create_server(("127.0.0.1", port), reuse_port=True, backlog=1024))

    def command(own):
        return [sys.executable, __file__, "--version-file", options.version_file, "--descriptor", str(own[0].fileno())]

    supervisor = Supervisor(command, [[listener] for listener in listeners])
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, ended.set)
    gevent.signal_handler(signal.SIGHUP, supervisor.replace_all)
    if not supervisor.start():
        sys.exit("a worker did not start")
    print(f"process {os.getpid()}, {options.workers} workers")
    print(f"listening on 127.0.0.1:{port}", flush=True)
    ended.wait()
    supervisor.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, nargs="?", default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--version-file", type=Path, required=True, help="what a new worker reads when it starts")
    parser.add_argument("--descriptor", type=int, help=argparse.SUPPRESS)  # a worker's listening socket
    options = parser.parse_args()
    if options.workers < 1:
        parser.error("--workers must be positive")
    version = options.version_file.read_text(encoding="utf-8").strip()
    if options.descriptor is None:
        supervise(options)
    else:
        work(options, version)


if __name__ == "__main__":
    try:
        main()
    except (OSError, OverflowError, ValueError) as error:
        sys.exit(str(error))
