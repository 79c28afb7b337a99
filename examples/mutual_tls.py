"""TLS in which both sides show a certificate: a server that knows its clients by name, and a client for it.

    mutual_tls.py serve --cert server.pem --key server.key --ca ca.pem 7443
    mutual_tls.py ask --cert client.pem --key client.key --ca ca.pem localhost 7443
"""

import argparse
import signal
import ssl
import sys

import gevent
from gevent.event import Event

from geventstreams import SocketStreamServer, open_tcp_stream


def context(purpose, options):
    """Return a context that shows our certificate and accepts only peers whose certificate `--ca` signed."""
    files = options.ca
    try:
        made = ssl.create_default_context(purpose, cafile=files)
        files = f"{options.cert}, {options.key}"
        made.load_cert_chain(options.cert, options.key)
    except OSError as error:  # ssl.SSLError is one, too; neither names the file
        sys.exit(f"{files}: {error}")
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def names_of(certificate):
    """Return the names in a certificate."""
    return [value for _kind, value in certificate.get("subjectAltName", ())]


def greet(stream, address):
    """Answer one client. It has shown a valid certificate, or the handshake would have failed."""
    print(f"{address[0]} is {', '.join(names_of(stream.ssl.getpeercert()))}", flush=True)
    stream.write_line(f"Hello, {names_of(stream.ssl.getpeercert())[0]}")


def serve(options):
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, ended.set)
    server_context = context(ssl.Purpose.CLIENT_AUTH, options)
    server = SocketStreamServer(("127.0.0.1", options.port), greet, ssl_ctx=server_context, handshake_timeout=5)
    server.start()
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    ended.wait()
    server.stop(timeout=5)


def ask(options):
    client_context = context(ssl.Purpose.SERVER_AUTH, options)
    with open_tcp_stream(options.host, options.port, timeout=5, ssl_ctx=client_context, handshake_timeout=5, read_timeout=5) as stream:
        print(stream.read_line()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("serve", serve), ("ask", ask)):
        command = commands.add_parser(name)
        command.set_defaults(run=function)
        command.add_argument("--cert", required=True, help="our certificate, with the chain to the authority")
        command.add_argument("--key", required=True, help="the key of it")
        command.add_argument("--ca", required=True, help="the authority that signs the other side's certificates")
        if function is ask:
            command.add_argument("host")
        command.add_argument("port", type=int)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
