"""Reach a web server through a proxy: HTTP CONNECT or SOCKS5, with TLS inside the tunnel for https.

Behind the proxy's answer the stream is the target's: `attach_ssl` protects it from end to end, and the proxy sees only
encrypted bytes.
"""

import argparse
import ssl
import sys
from urllib.parse import urlsplit

from geventstreams import StreamError, open_tcp_stream


class ProxyRefused(Exception):
    """The proxy does not open the tunnel."""


def http_connect(stream, host, port):
    """Ask an HTTP proxy for a tunnel."""
    stream.write_string(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")
    head = stream.read_until(b"\r\n\r\n").decode("latin-1").splitlines()
    if head[0].split()[1] != "200":
        raise ProxyRefused(head[0])


def socks5(stream, host, port):
    """Ask a SOCKS5 proxy (RFC 1928, without a password) for a tunnel; the proxy looks the name up."""
    stream.write(b"\x05\x01\x00")
    if stream.read_exactly(2) != b"\x05\x00":
        raise ProxyRefused("it wants a password")
    name = host.encode("idna")
    stream.write(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
    _version, status, _reserved, kind = stream.read_exactly(4)
    if status:
        raise ProxyRefused(f"SOCKS status {status}")
    length = {1: 4, 4: 16}[kind] if kind != 3 else stream.read_exactly(1)[0]
    stream.read_exactly(length + 2)  # the address that the proxy connected from


TUNNELS = {"http": (http_connect, 8080), "socks5": (socks5, 1080)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proxy", type=urlsplit, metavar="{http,socks5}://HOST[:PORT]")
    parser.add_argument("url", type=urlsplit, metavar="{http,https}://HOST[:PORT]/PATH")
    parser.add_argument("--ca", help="trust the authorities in this file instead of the system's")
    options = parser.parse_args()
    proxy, url = options.proxy, options.url
    if proxy.scheme not in TUNNELS or url.scheme not in ("http", "https") or not (proxy.hostname and url.hostname):
        parser.error("the proxy is http://HOST or socks5://HOST, the page http://HOST or https://HOST")

    open_tunnel, proxy_port = TUNNELS[proxy.scheme]
    try:
        context = ssl.create_default_context(cafile=options.ca)
    except OSError as error:  # which does not name the file
        sys.exit(f"{options.ca}: {error}")
    try:
        port = (443 if url.scheme == "https" else 80) if url.port is None else url.port
        with open_tcp_stream(proxy.hostname, proxy_port if proxy.port is None else proxy.port, timeout=10, read_timeout=10) as stream:
            open_tunnel(stream, url.hostname, port)
            if url.scheme == "https":
                stream.attach_ssl(context, ssl_side="client", tlsext_host_name=url.hostname, handshake_timeout=10)
            stream.write_string(f"GET {url.path or '/'} HTTP/1.0\r\nHost: {url.hostname}\r\n\r\n")
            for line in stream:
                sys.stdout.buffer.write(line)
    except ProxyRefused as refusal:
        sys.exit(f"the proxy refuses: {refusal}")
    except (StreamError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
