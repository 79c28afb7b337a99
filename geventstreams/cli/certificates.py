"""A certificate for this machine talking to itself, made by the library `trustme`, which the extra `cli` installs."""

from __future__ import annotations

import importlib
import ssl
from typing import NamedTuple

NAME = "localhost"
ADDRESS = "127.0.0.1"


class Contexts(NamedTuple):
    """Two sides that trust each other."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def make_contexts() -> Contexts:
    """Return a server's context with a new certificate, and a client's that trusts it and no other. Raise ImportError without `trustme`."""
    try:
        trustme = importlib.import_module("trustme")
    except ImportError:
        raise ImportError("certificates need the library trustme: pip install 'geventstreams[cli]'") from None
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (server, client):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    authority = trustme.CA()
    authority.issue_cert(NAME, ADDRESS).configure_cert(server)
    authority.configure_trust(client)
    return Contexts(server, client)
