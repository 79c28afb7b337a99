"""Mistakes with waiting; each marked line must be found, by mypy with the first code and by pyright with the second."""

import geventstreams
from geventstreams import SocketStream, WaitSet, noticed_socket_stream, process_wait, wait_for_input_streams


def wrong(stream: SocketStream, waiting: WaitSet[SocketStream]) -> None:
    WaitSet([1, 2, 3])  # wrong: type-var reportArgumentType
    wait_for_input_streams([1, 2, 3])  # wrong: type-var reportArgumentType
    wait_for_input_streams(stream)  # wrong: type-var reportArgumentType
    wait_for_input_streams([stream], timeout="5")  # wrong: arg-type reportArgumentType
    wait_for_input_streams([stream], wait_reason=5)  # wrong: arg-type reportArgumentType
    wait_for_input_streams([stream], lambda ready: ready)  # wrong: misc reportArgumentType
    wait_for_input_streams([stream]).close()  # wrong: attr-defined reportAttributeAccessIssue
    waiting.add(5)  # wrong: arg-type reportArgumentType
    waiting.wait("5")  # wrong: arg-type reportArgumentType
    waiting.wait()[0].readlnie()  # wrong: attr-defined reportAttributeAccessIssue
    noticed_socket_stream("stream")  # wrong: type-var reportArgumentType
    process_wait(stream.listen)  # wrong: call-arg reportCallIssue
    print(geventstreams.wait_for_nothing)  # wrong: attr-defined reportUnknownMemberType
    print(geventstreams.server.SocketStreamSrever)  # wrong: attr-defined reportUnknownMemberType
    process_wait("a reason", 5)  # wrong: arg-type reportArgumentType
