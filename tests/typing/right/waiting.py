"""Waiting for several streams: what one gives is what one gets back."""

from typing_extensions import assert_type

from geventstreams import (
    SocketStream,
    SocketStreamServer,
    WaitSet,
    noticed_socket_stream,
    process_wait,
    wait_for_input_streams,
    wait_for_input_streams_returning_first,
)


class Player(SocketStream):
    """A stream that knows whose it is."""

    name = "a name"


def play(players: list[Player], streams: tuple[SocketStream, ...]) -> None:
    ready = wait_for_input_streams(players, timeout=1)
    assert_type(ready, list[Player])
    print(ready[0].name)
    assert_type(wait_for_input_streams(streams, None, "a line"), list[SocketStream])
    first = wait_for_input_streams_returning_first(players, lambda: False, wait_reason="a move", timeout=0.5)
    assert_type(first, Player | None)
    with noticed_socket_stream(players[0]) as player:
        assert_type(player, Player)
        assert_type(process_wait("a line", lambda: player.listen() or player.at_eof, timeout=2), bool)
        assert_type(process_wait("a line", lambda number: number > 1, 2), bool)


def serve(server: SocketStreamServer, streams: list[SocketStream]) -> None:
    both: list[SocketStreamServer | SocketStream] = [server, *streams]
    for one in wait_for_input_streams(both):
        if isinstance(one, SocketStream):
            one.close()


def play_on(players: list[Player]) -> list[str]:
    with WaitSet(players) as waiting:
        assert_type(waiting, WaitSet[Player])
        for player in waiting:
            assert_type(player, Player)
        for player in waiting.wait(timeout=1):
            assert_type(player, Player)
            waiting.discard(player)
        waiting.add(players[0])
        print(len(waiting), players[0] in waiting)
    return [player.name for player in waiting.wait()]


def begin_empty() -> None:
    waiting: WaitSet[SocketStream] = WaitSet()
    print(waiting.wait(0))
