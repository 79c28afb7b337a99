"""STARTTLS: begin in plain text, switch to TLS on the same connection. Asks a mail server (SMTP) what it offers.

Nothing that arrived in plain text counts as protected: if the server (or an attacker between) sends anything behind its
answer to STARTTLS, `attach_ssl` raises TLSError and closes the connection.
"""

import argparse
import ssl
import sys

from geventstreams import StreamError, open_tcp_stream


def answer(stream):
    """Return the lines of one SMTP answer; raise ValueError if the server refuses."""
    lines = []
    while True:
        line, _ = stream.read_line()
        line = line.rstrip("\r")
        lines.append(line[4:])
        if line[:1] not in "23":
            raise ValueError(f"the server says {line!r}")
        if line[3:4] != "-":
            return lines


def command(stream, text):
    """Send one command and return its answer."""
    stream.write_string(f"{text}\r\n")
    return answer(stream)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int, nargs="?", default=25)
    parser.add_argument("--ca", help="trust the authorities in this file instead of the system's")
    options = parser.parse_args()

    try:
        context = ssl.create_default_context(cafile=options.ca)
    except OSError as error:  # which does not name the file
        sys.exit(f"{options.ca}: {error}")
    try:
        with open_tcp_stream(options.host, options.port, timeout=10, read_timeout=10) as stream:
            answer(stream)
            if "STARTTLS" not in command(stream, "EHLO localhost"):
                sys.exit("the server does not offer STARTTLS")
            command(stream, "STARTTLS")
            stream.attach_ssl(context, ssl_side="client", tlsext_host_name=options.host, handshake_timeout=10)
            print(f"{stream.ssl.version()}, {stream.ssl.cipher()[0]}")
            for line in command(stream, "EHLO localhost")[1:]:
                print(f"  {line}")
            command(stream, "QUIT")
    except (StreamError, EOFError, ValueError) as error:
        sys.exit(f"{options.host}: {error}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
