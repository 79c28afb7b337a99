"""The TLS options of the commands, and the contexts made of them. Certificates are checked unless `--insecure` is given."""

from __future__ import annotations

import argparse
import ssl
from typing import Any

from geventstreams.cli.options import host as host_option
from geventstreams.cli.options import readable_file
from geventstreams.cli.statuses import CommandError, Status, message_of

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def add_client_options(parser: argparse.ArgumentParser) -> None:
    """Add the TLS options of a client."""
    group = parser.add_argument_group("TLS")
    start = group.add_mutually_exclusive_group()
    start.add_argument("--tls", action="store_true", help="TLS from the start")
    start.add_argument(
        "--starttls",
        choices=("smtp", "imap", "pop3", "ftp"),
        help="plain text first, then TLS, as this protocol starts it",
    )
    _add_version(group)
    _add_client_side(group, "HOST")
    group.add_argument("--alpn", action="append", metavar="PROTOCOL", help="offer this application protocol, such as h2; may be repeated")
    group.add_argument("--allow-truncation", action="store_true", help="accept a connection that is cut off as one that has ended in order")
    group.add_argument("--show-certs", action="store_true", help="write the server's certificates to standard error")


def client_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    """Return the context that the options ask for, or None for plain text."""
    if not (options.tls or options.starttls):
        needing_tls = ("tls_version", "ca", "insecure", "server_name", "cert", "key", "alpn", "allow_truncation", "show_certs")
        _refuse_without_tls(options, needing_tls)
        return None
    if options.key and not options.cert:
        raise CommandError(Status.USAGE, "--key needs --cert")
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    if options.ca:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _trust(context, options.ca)
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.cert:
        _load(context, options.cert, options.key)
    return _restricted(context, options)


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the TLS options of a server."""
    group = parser.add_argument_group("TLS")
    _add_server_side(group, "--tls")
    _add_version(group)
    group.add_argument(
        "--alpn", action="append", metavar="PROTOCOL", help="agree to this application protocol; may be repeated, the best first"
    )


def server_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    """Return the context that the options ask for, or None for plain text."""
    if not options.tls:
        _refuse_without_tls(options, ("tls_version", "client_ca", "alpn"))
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, *options.tls)
    if options.client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, options.client_ca)
    return _restricted(context, options)


def add_relay_options(parser: argparse.ArgumentParser) -> None:
    """Add the TLS options of both sides of a relay."""
    group = parser.add_argument_group("TLS")
    _add_server_side(group, "--tls-in")
    group.add_argument("--tls-out", action="store_true", help="speak TLS to the server")
    _add_client_side(group, "the host of --to")


def _add_version(group: Any) -> None:
    group.add_argument("--tls-version", choices=VERSIONS, help="this version only (default: 1.2 or later)")


def _add_server_side(group: Any, name: str) -> None:
    group.add_argument(
        name, nargs=2, type=readable_file, metavar=("CERT", "KEY"), help="clients speak TLS; the server has this certificate chain and key"
    )
    group.add_argument(
        "--client-ca", type=readable_file, metavar="FILE", help="serve only clients with a certificate of an authority in FILE"
    )


def _add_client_side(group: Any, host: str) -> None:
    group.add_argument("--ca", type=readable_file, metavar="FILE", help="trust the authorities in FILE instead of the system's")
    group.add_argument("--insecure", action="store_true", help="accept any certificate: no protection from an attacker on the way")
    group.add_argument(
        "--server-name", type=host_option, metavar="NAME", help=f"ask for NAME, and expect a certificate for it (default: {host})"
    )
    group.add_argument("--cert", type=readable_file, metavar="FILE", help="the client's certificate, for servers that want one")
    group.add_argument("--key", type=readable_file, metavar="FILE", help="its key (default: in the same file)")


def relay_contexts(options: argparse.Namespace) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """Return the contexts for clients, and for the server, each None for plain text."""
    if not options.tls_in:
        _refuse_without_tls(options, ("client_ca",), "--tls-in")
    if not options.tls_out:
        _refuse_without_tls(options, ("ca", "insecure", "server_name", "cert", "key"), "--tls-out")
    inner = argparse.Namespace(tls=options.tls_in, tls_version=None, client_ca=options.client_ca, alpn=None)
    outer = argparse.Namespace(**{**vars(options), "tls": options.tls_out, "starttls": None, "tls_version": None, "alpn": None,
                                  "allow_truncation": False, "show_certs": False})
    return server_context(inner), client_context(outer)


def _refuse_without_tls(options: argparse.Namespace, names: tuple[str, ...], wanted: str = "--tls") -> None:
    for name in names:
        if getattr(options, name):
            raise CommandError(Status.USAGE, f"--{name.replace('_', '-')} needs {wanted}")


def _restricted(context: ssl.SSLContext, options: argparse.Namespace) -> ssl.SSLContext:
    context.minimum_version = VERSIONS[options.tls_version or "1.2"]
    if options.tls_version:
        context.maximum_version = VERSIONS[options.tls_version]
    if options.alpn:
        try:
            context.set_alpn_protocols(options.alpn)
        except (ssl.SSLError, UnicodeEncodeError):
            raise CommandError(Status.USAGE, f"--alpn: not names of protocols: {', '.join(options.alpn)}") from None
    return context


def _trust(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise CommandError(Status.USAGE, f"no certificates of authorities in {path!r}: {message_of(error)}") from None


def _load(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    def refuse_passphrase() -> Any:
        raise CommandError(Status.USAGE, f"the key in {key or certificate!r} is encrypted; passphrases are not asked for")

    try:
        context.load_cert_chain(certificate, key, refuse_passphrase)
    except (OSError, ssl.SSLError) as error:
        where = f"{certificate!r} and {key!r}" if key else repr(certificate)
        raise CommandError(Status.USAGE, f"no certificate with its key in {where}: {message_of(error)}") from None
