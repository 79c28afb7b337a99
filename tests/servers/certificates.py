"""Certificates for tests, made on the spot: good ones for loopback addresses, and each kind that must be refused."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Certificate:
    """A certificate in PEM files: `chain` and `key` apart, and `both` in one file as HAProxy and socat want it."""

    chain: Path
    key: Path
    both: Path


@dataclass(frozen=True)
class Certificates:
    """The files of `make_certificates`. A peer that trusts `ca` accepts `server` and `client`, and refuses the others."""

    ca: Path
    server: Certificate
    #: Names tester@example.test; its signer is `ca` too.
    client: Certificate
    #: Right names and signer, expired in 2001.
    expired: Certificate
    #: Right signer, but for other.example.test.
    wrong_name: Certificate
    #: Right signer, for *.example.test.
    wildcard: Certificate
    #: Right names, self-signed.
    self_signed: Certificate
    #: Right names, signed by an authority that is not `ca`.
    unknown_ca: Certificate


def make_certificates(directory: Path) -> Certificates:
    """Make an authority and all the certificates, and write them into `directory`."""
    authority = trustme.CA()
    ca = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    # An authority is older than what it signs.
    start, end = datetime(2000, 6, 1), datetime(2001, 1, 1)
    expired = authority.issue_cert(*LOOPBACK_NAMES, not_before=start, not_after=end)
    return Certificates(
        ca=ca,
        server=_issue(directory, "server", authority.issue_cert(*LOOPBACK_NAMES)),
        client=_issue(directory, "client", authority.issue_cert("tester@example.test")),
        expired=_issue(directory, "expired", expired),
        wrong_name=_issue(directory, "wrong_name", authority.issue_cert("other.example.test")),
        wildcard=_issue(directory, "wildcard", authority.issue_cert("*.example.test")),
        self_signed=_self_sign(directory, "self_signed"),
        unknown_ca=_issue(directory, "unknown_ca", trustme.CA().issue_cert(*LOOPBACK_NAMES)),
    )


def _issue(directory: Path, name: str, leaf: trustme.LeafCert) -> Certificate:
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    return _write(directory, name, chain, leaf.private_key_pem.bytes())


def _self_sign(directory: Path, name: str) -> Certificate:
    # trustme has no certificate that signs itself, but for its authorities.
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    addresses = [x509.IPAddress(ip_address(address)) for address in LOOPBACK_NAMES[1:]]
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(LOOPBACK_NAMES[0]), *addresses]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return _write(directory, name, certificate.public_bytes(Encoding.PEM), key_pem)


def _write(directory: Path, name: str, chain: bytes, key: bytes) -> Certificate:
    result = Certificate(directory / f"{name}.pem", directory / f"{name}-key.pem", directory / f"{name}-both.pem")
    for path, content in ((result.chain, chain), (result.key, key), (result.both, key + chain)):
        path.write_bytes(content)
    return result
