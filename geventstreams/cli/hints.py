"""What to try next after an error of TLS, whose own texts are OpenSSL's."""

from __future__ import annotations

from geventstreams.errors import HandshakeEnded, TLSError, TLSVerificationError

NOT_TLS = "does this port speak TLS from the start? Plain text needs no --tls; mail and FTP servers may need --starttls"
VERSION = "the server has no TLS version in common with --tls-version, or with the default: 1.2 or later"
CERTIFICATE = "the server may want a client certificate: --cert FILE --key FILE"

REASONS = {
    "WRONG_VERSION_NUMBER": NOT_TLS,
    "RECORD_LAYER_FAILURE": NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": NOT_TLS,
    "UNKNOWN_PROTOCOL": NOT_TLS,
    "HTTP_REQUEST": NOT_TLS,
    "UNSUPPORTED_PROTOCOL": VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": VERSION,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": CERTIFICATE,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": CERTIFICATE,
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server does not accept the certificate of --cert",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not know the authority of the certificate of --cert",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the server speaks none of the protocols of --alpn",
    "NO_APPLICATION_PROTOCOL": "the server speaks none of the protocols of --alpn",
    "TLSV1_UNRECOGNIZED_NAME": "the server has no certificate for this name: --server-name NAME",
}
"""A hint for each reason that OpenSSL gives."""

NAME_MISMATCH = (62, 64)
"""OpenSSL's codes for a certificate of another name, or of another address."""

EXPIRED = 10


def hint(error: BaseException) -> str:
    """Return what to try after an error, as the end of its line; "" where nothing is known."""
    text = ""
    if isinstance(error, TLSVerificationError):
        if error.verify_code in NAME_MISMATCH:
            text = "--server-name NAME expects another name"
        elif error.verify_code != EXPIRED:
            text = "--ca FILE trusts its authority"
        text = "; ".join(filter(None, [text, "--insecure --show-certs shows it"]))
    elif isinstance(error, TLSError):
        text = REASONS.get(error.reason or "", NOT_TLS if isinstance(error, HandshakeEnded) else "")
    return f" ({text})" if text else ""
