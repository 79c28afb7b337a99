"""`connect`: standard input and output over a stream, in plain text or TLS, as `nc` and `openssl s_client` do it."""

from __future__ import annotations

import argparse
import ssl
import sys
import time
from collections.abc import Sequence
from typing import Any

from geventstreams._core.transport import address_name
from geventstreams._net.connect import open_tcp_stream, open_unix_stream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli import notices, options, peer_certificates, proxies, starttls, tls, trace
from geventstreams.cli.conversation import SHORT_SILENCE, SILENCE, Conversation
from geventstreams.cli.outlets import finish_errors
from geventstreams.cli.parser import Commands
from geventstreams.cli.progress import Progress, size
from geventstreams.cli.signals import interruptible
from geventstreams.cli.standard import OutputFile, StandardInput
from geventstreams.cli.statuses import SEE_STATUSES, Status
from geventstreams.errors import StreamError, in_seconds

EXAMPLES = (
    ("talk to a server; Ctrl-D ends our half, Ctrl-C everything", "geventstreams connect localhost:7000"),
    ("send a request, save the answer", r"printf 'GET / HTTP/1.0\r\n\r\n' | geventstreams connect www.example.org:80 > answer"),
    ("see what TLS agrees on, and the server's certificates",
     "geventstreams connect --tls -v --show-certs www.example.org:443 </dev/null"),
    ("speak to a mail server, over TLS, in lines that end in CR LF",
     "geventstreams connect --starttls smtp --line-ending crlf mail.example.org:25"),
    ("trust an authority of your own, and show a certificate of your own",
     "geventstreams connect --tls --ca own-ca.pem --cert client.pem --key client.key db.internal:5433"),
    ("a Unix socket", "geventstreams connect unix:/run/app.sock"),
    ("through a proxy that looks the name up", "geventstreams connect --proxy socks5://localhost:1080 www.example.org:80"),
    ("see every byte", "geventstreams connect --hex localhost:7000"),
)

NOTES = f"""ADDRESS is HOST:PORT, [IPV6]:PORT, unix:PATH or @NAME (an abstract Unix socket of Linux). A host and its port may be two
words, and a port may be the name of a service.

When standard input has ended, our half of the connection is ended as soon as the peer has been silent for --wait seconds; what the peer
still sends is written. The silence matters because some servers, nginx among them, take a client that ends its half for one that is gone,
and cut their answer off. When the peer has ended its half, standard input is sent until it ends, too, or has been silent for --wait
seconds.

{SEE_STATUSES}"""


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "connect",
        help="standard input and output over a TCP, Unix or TLS connection",
        usage="%(prog)s [OPTION ...] ADDRESS",
        description="Connect to a server, send it standard input, and write what it sends to standard output.",
        examples=EXAMPLES,
        notes=NOTES,
    )
    parser.add_argument("address", metavar="ADDRESS", nargs="+", help="HOST:PORT, [IPV6]:PORT, unix:PATH, @NAME, or HOST PORT")
    family = parser.add_mutually_exclusive_group()
    family.add_argument("-4", "--ipv4", action="store_true", help="IPv4 only")
    family.add_argument("-6", "--ipv6", action="store_true", help="IPv6 only")
    parser.add_argument(
        "--proxy",
        type=proxies.proxy,
        metavar="URL",
        help="connect through http://[USER:PASSWORD@]HOST:PORT (CONNECT) or socks5://...; the proxy looks names up",
    )
    parser.add_argument(
        "--timeout",
        type=options.timeout,
        default=30.0,
        metavar="SECONDS",
        help="give up if connecting, the dialogue with the proxy or of STARTTLS, or the TLS handshake takes longer than this, each by "
        "itself (default: %(default)s)",
    )
    options.add_timeouts(parser)
    parser.add_argument(
        "--wait",
        type=options.seconds,
        metavar="SECONDS",
        help=f"the silence after which one side's end is passed on to the other (default: {SILENCE:g}, or {SHORT_SILENCE:g} after an "
        "answer from a near server that does not speak HTTP)",
    )
    parser.add_argument("--no-half-close", action="store_true", help="do not tell the peer that standard input has ended")
    parser.add_argument("--line-ending", choices=("crlf",), help="send CR LF at the end of each line of standard input")
    parser.add_argument("--trace", action="store_true", help="write what is sent and received to standard error, with the time, as text")
    parser.add_argument("--hex", action="store_true", help="the same as a hex dump")
    parser.add_argument("--trace-file", metavar="FILE", help="write it to FILE instead")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="say what is connected to, what TLS agreed on, and how much was sent and received"
    )
    options.add_common(parser)
    tls.add_client_options(parser)
    parser.set_defaults(run=run, finish=finish, outlets=("stderr",))


def finish(args: argparse.Namespace, rest: Sequence[str]) -> None:
    """Check the address, whose port may stand behind options, and what it does not go together with."""
    words = [*args.address, *rest]
    for word in words:
        if word.startswith("-"):  # a number; other options are refused before
            raise argparse.ArgumentTypeError(f"there is no option {word}")
    args.to = options.destination(words)
    if args.to.path and (args.proxy or args.ipv4 or args.ipv6):
        raise argparse.ArgumentTypeError("a Unix socket has neither a proxy nor IPv4 or IPv6")
    options.check_certificate_name(args.to, args.tls or args.starttls, args)


def run(args: argparse.Namespace) -> int:
    """Connect, and return when both directions have ended."""
    context = tls.client_context(args)
    record = trace.opened(args)
    source, sink = StandardInput(), OutputFile("standard output", sys.stdout)
    with interruptible():
        began = time.monotonic()
        stream = connected(args)
        connecting = time.monotonic() - began
        with stream:
            protect(stream, context, args)
            introduce(stream, args)
            began = time.monotonic()
            with Progress("received", "sent", shown=not args.quiet and not sink.isatty()) as progress:
                conversation = Conversation(stream, source, sink, progress, record, args, connecting)
                conversation.hold()
            conclude(conversation, time.monotonic() - began, args)
    return Status.DONE


def connected(args: argparse.Namespace) -> SocketStream:
    """Return a stream to the destination, or to the proxy on the way there, in plain text."""
    first = args.proxy.address if args.proxy else args.to
    timeouts: Any = {"timeout": args.timeout, "read_timeout": args.read_timeout, "write_timeout": args.write_timeout}
    try:
        if first.path:
            stream: SocketStream = open_unix_stream(first.path, **timeouts)
        else:
            stream = open_tcp_stream(first.host, first.port, ipv6=True if args.ipv6 else False if args.ipv4 else "any", **timeouts)
    except StreamError as error:
        if args.proxy:
            raise proxies.refusal(args.proxy, args.to, str(error.strerror)) from None
        raise
    return stream


def protect(stream: SocketStream, context: ssl.SSLContext | None, args: argparse.Namespace) -> None:
    """Get through the proxy and start TLS, as the options say. An error aborts the stream."""
    try:
        if args.proxy:
            proxies.ask(stream, args.proxy, args.to, args.timeout)
        if args.starttls:
            starttls.agree(stream, args.starttls, args.timeout)
        if context is not None:
            stream.attach_ssl(
                context,
                "client",
                tlsext_host_name=args.server_name or args.to.host or None,
                handshake_timeout=args.timeout,
                allow_truncation=args.allow_truncation,
            )
    except BaseException:
        stream.abort()
        raise


def introduce(stream: SocketStream, args: argparse.Namespace) -> None:
    """Say what the connection is, to a terminal or with `--verbose`, and show the server's certificates with `--show-certs`."""
    if args.show_certs:
        notices.show(peer_certificates.shown(stream.ssl))
    if not is_talkative(args):
        return
    where = str(args.to) if args.to.path else address_name(stream.peer_address)
    line = f"connected to {args.to} through {args.proxy}" if args.proxy else f"connected to {where}"
    agreement = "" if stream.ssl is None else f", {peer_certificates.agreement(stream.ssl, not args.insecure)}"
    notices.tell(args, line + agreement)
    finish_errors()  # the trace comes after it, and writes by itself


def is_talkative(args: argparse.Namespace) -> bool:
    """Return whether to say what is not an error."""
    return not args.quiet and (args.verbose or (sys.stderr is not None and sys.stderr.isatty()))


def conclude(conversation: Conversation, seconds: float, args: argparse.Namespace) -> None:
    """Say how much was sent and received, with `--verbose`, and what to try where the server speaks TLS."""
    if args.verbose:
        notices.tell(args, f"sent {size(conversation.sent)}, received {size(conversation.received)}, {in_seconds(round(seconds, 3))}")
    if conversation.is_with_tls_server():
        notices.tell(args, "the server answered with an alert of TLS: --tls may be missing")
