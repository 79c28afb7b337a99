"""`connect`: standard input and output over a stream, in plain text or TLS, as nc and `openssl s_client` do it.

Rules for the next editor: two greenlets, one each way; an error is what a greenlet gives back, never what it dies of,
because only the other half knows what it means: a peer that is gone for our output may have sent its last words before.
"""

from __future__ import annotations

import argparse
import ssl
import sys
import time
from contextlib import suppress

import gevent
from gevent.event import Event

from geventstreams._constants import NEVER
from geventstreams._core.transport import address_name
from geventstreams._net.connect import open_tcp_stream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.cli import options, starttls, tls
from geventstreams.cli.progress import Progress
from geventstreams.cli.signals import interruptible
from geventstreams.cli.standard import StandardInput, StandardOutput
from geventstreams.cli.statuses import EXPLANATION, Status, guarded
from geventstreams.errors import StreamReset

TICK = 0.001
"""The shortest time, in seconds, that every event loop can wait for."""

EXAMPLES = f"""examples:
  geventstreams connect localhost 7                 talk to an echo server; Ctrl-D ends our half, Ctrl-C the whole
  printf 'GET / HTTP/1.0\\r\\n\\r\\n' | geventstreams connect www.example.org 80 > answer
  geventstreams connect --tls www.example.org 443 < request > answer
  geventstreams connect --starttls smtp mail.example.org 25
  geventstreams connect --tls --ca own-ca.pem --server-name db.internal 10.0.0.5 5433

When standard input has ended, and the peer has been silent for --wait seconds, our half of the connection is ended
(with --no-half-close it is not); what the peer still sends is written. The silence matters: nginx, for one, takes a
client that ends its half for one that has gone, and cuts its answer off. When the peer has ended its half, standard
input is sent on until it ends too, or has been silent for --wait seconds.

{EXPLANATION}"""


def add_parser(commands: options.Commands) -> None:
    """Makes the command known."""
    parser = commands.add_parser(
        "connect",
        help="standard input and output over a TCP or TLS connection",
        epilog=EXAMPLES,
        description="Connects to PORT on HOST, sends standard input there, and writes what comes to standard output.",
    )
    parser.add_argument("host", metavar="HOST", type=options.host, help="a name, an IPv4 or an IPv6 address")
    parser.add_argument("port", metavar="PORT", type=options.service, help="a number, or the name of a service")
    family = parser.add_mutually_exclusive_group()
    family.add_argument("-4", "--ipv4", action="store_true", help="IPv4 only")
    family.add_argument("-6", "--ipv6", action="store_true", help="IPv6 only")
    parser.add_argument(
        "--timeout",
        type=options.seconds,
        default=30.0,
        metavar="SECONDS",
        help="give up if connecting, the STARTTLS dialogue, or the TLS handshake takes longer than this, each by itself "
        "(default: %(default)s)",
    )
    options.add_timeouts(parser)
    parser.add_argument(
        "--wait",
        type=options.seconds,
        default=0.5,
        metavar="SECONDS",
        help="the silence after which one side's end is passed on to the other (default: %(default)s)",
    )
    parser.add_argument("--no-half-close", action="store_true", help="do not tell the peer that standard input has ended")
    options.add_common(parser)
    tls.add_client_options(parser)
    parser.set_defaults(run=run, outlets=("stderr",))


def run(given: argparse.Namespace) -> int:
    """Connects, and talks until both halves have ended."""
    context = tls.client_context(given)
    source, sink = StandardInput(), StandardOutput()
    with interruptible(), opened(given, context) as stream:
        notice(stream, given)
        with Progress("octets", shown=not given.quiet and not sink.isatty()) as progress:
            Conversation(stream, source, sink, progress, given).hold()
    return Status.DONE


def opened(given: argparse.Namespace, context: ssl.SSLContext | None) -> SocketStream:
    """The stream, in plain text or protected as the options say."""
    stream = open_tcp_stream(
        given.host,
        given.port,
        ipv6=True if given.ipv6 else False if given.ipv4 else "any",
        timeout=given.timeout,
        read_timeout=given.read_timeout,
        write_timeout=given.write_timeout,
        ssl_ctx=None if given.starttls else context,
        handshake_timeout=given.timeout,
        tlsext_host_name=given.server_name or True,
        allow_truncation=given.allow_truncation,
    )
    if given.starttls:
        try:
            starttls.agree(stream, given.starttls, given.timeout)
            stream.attach_ssl(
                ssl_ctx=context,
                ssl_side="client",
                tlsext_host_name=given.server_name or given.host,
                handshake_timeout=given.timeout,
                allow_truncation=given.allow_truncation,
            )
        except BaseException:
            stream.abort()
            raise
    return stream


def notice(stream: SocketStream, given: argparse.Namespace) -> None:
    """Tells somebody at a terminal what the connection is."""
    if given.quiet or sys.stderr is None or not sys.stderr.isatty():
        return
    how = ""
    if stream.ssl is not None:
        checked = "certificate not checked" if given.insecure else "certificate accepted"
        how = f", {stream.ssl.version()}, {stream.ssl.cipher()[0]}, {checked}"
    print(f"connected to {address_name(stream.peer_address)}{how}", file=sys.stderr)


class Conversation:
    """Both directions of one connection."""

    def __init__(
        self,
        stream: SocketStream,
        source: StandardInput,
        sink: StandardOutput,
        progress: Progress,
        given: argparse.Namespace,
    ) -> None:
        self._stream = stream
        self._source = source
        self._sink = sink
        self._progress = progress
        self._half_close = not given.no_half_close
        self._wait = given.wait
        self._sent = 0
        self._heard = 0.0
        self._peer_ended = Event()

    def hold(self) -> None:
        """Returns when both have said everything; raises what kept one of them from it."""
        sending = gevent.spawn(guarded, self._send)
        receiving = gevent.spawn(guarded, self._receive)
        try:
            gevent.wait([sending, receiving], count=1)
            if not receiving.ready() and (sending.value is None or isinstance(sending.value, StreamReset)):
                receiving.join()
            if receiving.ready() and receiving.value is None:
                self._let_finish(sending)
        except KeyboardInterrupt:
            self._stream.close()
            raise
        finally:
            gevent.killall([sending, receiving])
        for error in (receiving.value, sending.value):
            if isinstance(error, BaseException) and not isinstance(error, gevent.GreenletExit):
                raise error

    def _send(self) -> None:
        while octets := self._source.read():
            self._stream.write(octets)
            self._stream.flush()
            self._sent += len(octets)
            self._progress.add(len(octets))
        if self._half_close and self._silence_comes():
            # Where the connection broke in the meantime, the other half tells.
            with suppress(StreamReset):
                self._stream.send_eof()

    def _silence_comes(self) -> bool:
        """Waits until the peer has been silent for a while; False where it ends instead."""
        self._heard = max(self._heard, time.monotonic())
        while (left := self._heard + self._wait - time.monotonic()) > 0:
            if self._peer_ended.wait(max(TICK, min(left, self._wait))):
                return False
        return True

    def _receive(self) -> None:
        while octets := self._stream.read1():
            # Whoever is not listened to is not silent.
            self._heard = NEVER
            self._sink.write(octets)
            self._heard = time.monotonic()
            self._progress.add(len(octets))
        self._peer_ended.set()

    def _let_finish(self, sending: gevent.Greenlet) -> None:
        """After the peer's end: goes on while standard input gives something, and while the peer takes it."""
        sent = -1
        while not sending.ready() and not (self._source.asking and sent == self._sent):
            sent = self._sent
            sending.join(self._wait)
