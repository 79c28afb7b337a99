"""TLS: from the start, later, and away again."""

import ssl

from typing_extensions import assert_type

from geventstreams import HandshakeTimeout, SocketStream, SocketStreamServer, TLSError, TLSVerificationError, open_tcp_stream


def certified(context: ssl.SSLContext) -> None:
    context.load_cert_chain("server.pem")


def named(connection: ssl.SSLObject) -> None:
    print(connection.server_hostname)


def ask(host: str, secure: bool) -> str | None:
    try:
        with open_tcp_stream(host, 443, ssl_ctx=True, handshake_timeout=5, ssl_configure_callback=named) as stream:
            if stream.ssl is not None:
                assert_type(stream.ssl, ssl.SSLObject)
                return stream.ssl.version()
    except TLSVerificationError as error:
        print(error.verify_code, error.verify_message)
    except TLSError as error:
        print(error.reason, error.library)
    except HandshakeTimeout:
        pass
    open_tcp_stream(host, 443, ssl_ctx=ssl.create_default_context(), tlsext_host_name="example.com", allow_truncation=True).close()
    open_tcp_stream(host, 443, ssl_ctx="tls-v1.3" if secure else None).close()
    return None


def upgrade(stream: SocketStream) -> None:
    stream.attach_ssl(True, ssl_side="server", ctx_configure_callback=certified, prefetched="handshake")
    stream.detach_ssl(retry_count=3, retry_timeout=0.5)
    stream.attach_ssl("tls-v1.2", "both")
    assert_type(stream.handshake(timeout=5, side="client"), bool)
    assert_type(stream.ssl_ctx, ssl.SSLContext | None)


def serve(context: ssl.SSLContext) -> SocketStreamServer:
    def answer(stream: SocketStream, address: object) -> None:
        stream.write_line(str(address))

    return SocketStreamServer(("", 0), answer, ssl_ctx=context, handshake_timeout=3, ssl_side="server")
