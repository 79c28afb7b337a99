"""`import *` brings the public names, and none of the modules: a program may use those words for its own things."""

from geventstreams import *  # noqa: F403  # pyright: ignore[reportWildcardImportFromLibrary]


def serve() -> int:
    """Bind names that modules of the package have."""
    server = SocketStreamServer(("127.0.0.1", 0), print)  # noqa: F405  # as above
    server.start()
    return server.port


server = serve()
waiting: list[SocketStream] = []  # noqa: F405
errors = [str(StreamClosed("closed"))]  # noqa: F405
callbacks = {"line": tcp_connect}  # noqa: F405
