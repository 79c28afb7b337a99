"""`--show-certs`, `-v`: what TLS agreed on, and the certificates that the server sent."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import ssl
from collections.abc import Iterator
from datetime import datetime, timezone
from ipaddress import ip_address
from typing import Any

NAMES = 3
"""How many names of a certificate are in the line about it."""


def agreement(tls: Any, is_checked: bool) -> str:
    """Return in one line what TLS agreed on: version, cipher, application protocol, and whose certificate was accepted."""
    parts = [tls.version(), tls.cipher()[0]]
    if protocol := tls.selected_alpn_protocol():
        parts.append(f"ALPN {protocol}")
    if not is_checked:
        return ", ".join([*parts, "certificate not checked"])
    certificate = tls.getpeercert()
    parts += [f"certificate for {names(certificate)} accepted", f"issued by {of(certificate, 'issuer')}"]
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), timezone.utc)
    return ", ".join([*parts, f"valid until {until:%Y-%m-%d}"])


def names(certificate: dict[str, Any]) -> str:
    """Return what a certificate is for: its first names, and how many more there are."""
    found = [str(ip_address(name)) if kind == "IP Address" else name for kind, name in certificate.get("subjectAltName", ())]
    more = [f"{len(found) - NAMES} more"] if len(found) > NAMES else []
    return ", ".join([*found[:NAMES], *more]) or of(certificate, "subject")


def of(certificate: dict[str, Any], field: str) -> str:
    """Return the most telling part of a certificate's subject or issuer."""
    parts = {name: value for group in certificate.get(field, ()) for name, value in group}
    return str(next((parts[name] for name in ("commonName", "organizationName") if name in parts), "an unnamed authority"))


def sent_by(tls: Any) -> list[bytes]:
    """Return the certificates that the server sent, its own first, each in DER."""
    if hasattr(tls, "get_unverified_chain"):  # Python 3.13
        return list(tls.get_unverified_chain())
    return [certificate.public_bytes(ssl._ssl.ENCODING_DER) for certificate in tls._sslobj.get_unverified_chain() or ()]  # type: ignore[attr-defined]


def shown(tls: Any) -> str:
    """Return the server's certificates as text: what they say, where the library `cryptography` is installed, and as PEM."""
    chain = sent_by(tls)
    reader = importlib.import_module("cryptography.x509") if importlib.util.find_spec("cryptography") else None
    lines: list[str] = []
    for number, der in enumerate(chain, 1):
        lines.append(f"certificate {number} of {len(chain)}")
        if reader is not None:
            lines += facts(reader.load_der_x509_certificate(der), reader)
        lines.append(f"  SHA-256  {hashlib.sha256(der).hexdigest()}")
        lines += ssl.DER_cert_to_PEM_cert(der).splitlines()
    return "\n".join(lines)


def facts(certificate: Any, x509: Any) -> Iterator[str]:
    """Yield what a certificate says."""
    yield f"  subject  {certificate.subject.rfc4514_string() or '-'}"
    yield f"  issuer   {certificate.issuer.rfc4514_string()}"
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = ()
    for name in names:
        yield f"  name     {name.value}"
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    days = (until - datetime.now(timezone.utc)).days
    yield f"  valid    {since:%Y-%m-%d} to {until:%Y-%m-%d} ({f'days left: {days}' if days >= 0 else 'expired'})"
