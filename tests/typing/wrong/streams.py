"""Mistakes with streams and openers; each marked line must be found, by mypy with the first code and by pyright with the second."""

from geventstreams import BufferedStream, SocketStream, open_tcp_stream, open_unix_stream


def wrong(stream: SocketStream, descriptor: int) -> None:
    stream.write("text")  # wrong: arg-type reportArgumentType
    stream.writelines(["text"])  # wrong: list-item reportArgumentType
    stream.sendall("text")  # wrong: arg-type reportArgumentType
    stream.write_string(b"bytes")  # wrong: arg-type reportArgumentType
    stream.write_char(10)  # wrong: arg-type reportArgumentType
    stream.read("10")  # wrong: arg-type reportArgumentType
    stream.read_exactly(None)  # wrong: arg-type reportArgumentType
    stream.read_until("\n")  # wrong: arg-type reportArgumentType
    stream.read_sequence("text is not written to")  # wrong: arg-type reportArgumentType
    stream.readlnie()  # wrong: attr-defined reportAttributeAccessIssue
    stream.read_timeout = "5"  # wrong: assignment reportAttributeAccessIssue
    stream.closed = True  # wrong: misc reportAttributeAccessIssue
    stream.shutdown("everything")  # wrong: arg-type reportArgumentType
    line: str = stream.readline()  # wrong: assignment reportAssignmentType
    text: bytes = stream.read_line()[0]  # wrong: assignment reportAssignmentType
    print(stream.ssl.version())  # wrong: union-attr reportOptionalMemberAccess
    SocketStream("localhost")  # wrong: arg-type reportArgumentType
    SocketStream(descriptor, direction="inputt")  # wrong: arg-type reportArgumentType
    SocketStream(descriptor, element_type="char")  # wrong: arg-type reportArgumentType
    SocketStream(descriptor, element_type=int)  # wrong: arg-type reportArgumentType
    SocketStream(descriptor, read_timeout="5")  # wrong: arg-type reportArgumentType
    SocketStream(descriptor, ssl_ctx=42)  # wrong: arg-type reportArgumentType
    SocketStream(descriptor, ssl_side="clinet")  # wrong: arg-type reportArgumentType
    SocketStream(descriptor, ssl_ctx="tls-v1.1")  # wrong: arg-type reportArgumentType
    SocketStream(descriptor, readtimeout=5)  # wrong: call-arg reportCallIssue
    stream.attach_ssl(1)  # wrong: arg-type reportArgumentType
    stream.attach_ssl(ssl_side="neither")  # wrong: arg-type reportArgumentType
    stream.attach_ssl(prefetched="maybe")  # wrong: arg-type reportArgumentType
    stream.handshake(side="both")  # wrong: arg-type reportArgumentType
    BufferedStream(stream)  # wrong: arg-type reportArgumentType
    print(line, text)


def wrong_openers() -> None:
    open_tcp_stream("localhost")  # wrong: call-overload reportCallIssue
    open_tcp_stream(None, 80)  # wrong: call-overload reportArgumentType
    open_tcp_stream("localhost", 80.5)  # wrong: call-overload reportArgumentType
    open_tcp_stream("localhost", 80, direction="inputt")  # wrong: call-overload reportArgumentType
    open_tcp_stream("localhost", 80, element_type="char")  # wrong: call-overload reportArgumentType
    open_tcp_stream("localhost", 80, ipv6="maybe")  # wrong: call-overload reportArgumentType
    open_tcp_stream("localhost", 80, ssl_ctx=42)  # wrong: call-overload reportArgumentType
    open_tcp_stream("localhost", 80, timeout="5")  # wrong: call-overload reportArgumentType
    open_tcp_stream("localhost", 80, stream_class=BufferedStream)  # wrong: type-var reportArgumentType
    open_tcp_stream("localhost", 80, ssl_side="client")  # wrong: call-overload reportCallIssue
    open_tcp_stream("localhost", 80, errorp=False).close()  # wrong: union-attr reportUnknownMemberType
    open_unix_stream(80)  # wrong: call-overload reportArgumentType
    open_unix_stream("/tmp/socket", nodelay=True)  # wrong: call-overload reportCallIssue
