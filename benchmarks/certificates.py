"""Make a key and a certificate for a server on this machine, as a program, so that only rows with TLS need trustme."""

from __future__ import annotations

import sys

import trustme


def main() -> None:
    """Write both to the file that the first argument names."""
    issued = trustme.CA().issue_cert("127.0.0.1", "localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(sys.argv[1])


if __name__ == "__main__":
    main()
