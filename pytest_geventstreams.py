"""A pytest plugin: streams, servers and virtual time as fixtures, a check for what a test leaves behind, and a report of what hangs.

pytest loads it by its entry point. It does nothing, and imports neither gevent nor geventstreams, until a test asks for a fixture or an
option turns a check on. It works with pytest-xdist, with and without gevent's monkey patching.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from geventstreams import SocketStream, SocketStreamServer, Transport
    from geventstreams._streams.lisp import LispStream
    from geventstreams.testing import MemoryNetwork, VirtualClock

CHECK_MARK = "leaves_nothing"
ALLOW_MARK = "may_leave"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("geventstreams", "geventstreams")
    group.addoption(
        "--leaves-nothing", action="store_true", help="fail each test that leaves open streams, running greenlets or active watchers"
    )
    group.addoption(
        "--hang-timeout", type=float, metavar="SECONDS",
        help="end a test that waits in the hub for longer, and report what each greenlet waits for",
    )
    parser.addini("leaves_nothing", "the same as --leaves-nothing", type="bool", default=False)
    parser.addini("hang_timeout", "the same as --hang-timeout, in seconds", default="")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{CHECK_MARK}: fail if the test leaves open streams, running greenlets or active watchers")
    config.addinivalue_line("markers", f"{ALLOW_MARK}: do not check what the test leaves behind")
    value = config.getini("hang_timeout")
    try:
        seconds = float(value) if value else None
    except ValueError:
        raise pytest.UsageError(f"hang_timeout must be a number of seconds, not {value!r}") from None
    if config.getoption("--hang-timeout") is not None:
        seconds = config.getoption("--hang-timeout")
    if seconds is not None and not seconds > 0:
        raise pytest.UsageError(f"hang_timeout must be positive, not {seconds!r}")
    config.stash[SECONDS] = seconds


SECONDS = pytest.StashKey["float | None"]()
LEFT_BEFORE = pytest.StashKey["_Left"]()


# Fixtures.


@pytest.fixture
def virtual_clock() -> Iterator[VirtualClock]:
    """Virtual time for the test: its `VirtualClock`. The other fixtures of this plugin work in it."""
    from geventstreams.testing import virtual_time

    with virtual_time() as clock:
        yield clock


@pytest.fixture
def stream_pair() -> Iterator[Callable[..., tuple[SocketStream, SocketStream]]]:
    """A function that returns two connected streams; its keyword arguments are those of the first. They are closed after the test."""
    import socket

    from geventstreams import SocketStream

    made: list[SocketStream] = []

    def make(**options: Any) -> tuple[SocketStream, SocketStream]:
        near, far = socket.socketpair()
        made.append(SocketStream(far))
        made.append(SocketStream(near, **options))
        return made[-1], made[-2]

    yield make
    for stream in made:
        stream.abort()


@pytest.fixture
def faulty_link() -> Iterator[Callable[..., tuple[LispStream, LispStream]]]:
    """A function that returns two streams over memory, the first with a fault in its way.

    `faulty_link(lambda transport: PiecemealTransport(transport, 1), read_timeout=5)`: the first argument puts one of the transports of
    `geventstreams.testing` in the way, the keyword arguments are the stream's.
    """
    from geventstreams._streams.lisp import LispStream
    from geventstreams.testing import memory_pair

    made: list[LispStream] = []

    def make(fault: Callable[[Transport], Transport] = lambda transport: transport, **options: Any) -> tuple[LispStream, LispStream]:
        near, far = memory_pair()
        made.append(LispStream(far))
        made.append(LispStream(fault(near), **options))
        return made[-1], made[-2]

    yield make
    for stream in made:
        stream.abort()


@pytest.fixture
def memory_network() -> Iterator[Callable[..., MemoryNetwork]]:
    """A function that puts a `MemoryNetwork` in the place of the system's network until the test ends, and returns it.

    `memory_network(latency=0.05, to_client={"reset_after": 1000})`: the arguments are the network's. Code under test, and the fixture
    `stream_server` behind the call, connect and listen in it. Its seed is printed: pytest shows it when the test fails.
    """
    from geventstreams.testing import MemoryNetwork

    with contextlib.ExitStack() as stack:

        def use(**options: Any) -> MemoryNetwork:
            network = stack.enter_context(MemoryNetwork(**options))
            print(f"memory_network: seed={network.seed} repeats what was random")
            return network

        yield use


class Served:
    """A running server and its clients."""

    def __init__(self, server: SocketStreamServer) -> None:
        self.server = server
        self._clients: list[SocketStream] = []

    @property
    def port(self) -> int:
        return int(self.server.server_port)

    def connect(self, **options: Any) -> SocketStream:
        """Return a new client's stream; the arguments are those of `open_tcp_stream`."""
        from geventstreams import open_tcp_stream

        self._clients.append(open_tcp_stream("127.0.0.1", self.port, **options))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.abort()
        self.server.stop(timeout=0)


@pytest.fixture
def stream_server() -> Iterator[Callable[..., Served]]:
    """A function that starts a `SocketStreamServer` with a handler: `stream_server(handle, read_timeout=5).connect()` is a client's stream.

    Servers are stopped and clients closed after the test.
    """
    from geventstreams import SocketStreamServer

    made: list[Served] = []

    def serve(handle: Callable[..., object], **options: Any) -> Served:
        server = SocketStreamServer(("127.0.0.1", 0), handle, **options)
        server.start()
        made.append(Served(server))
        return made[-1]

    yield serve
    for served in made:
        served.close()


# What a test leaves behind.


class _Left:
    """What is there at one moment: open streams, greenlets that have begun and not ended, and the number of active watchers."""

    def __init__(self) -> None:
        self.streams: dict[int, Any] = {}
        self.greenlets: dict[int, Any] = {}
        self.watchers = 0
        if "gevent" not in sys.modules:
            return
        import gevent
        from greenlet import greenlet

        hub = gevent.get_hub()
        kinds: tuple[Any, ...] = ()
        if "geventstreams" in sys.modules:
            from geventstreams import BufferedStream

            kinds = (BufferedStream,)
        for thing in gc.get_objects():
            if isinstance(thing, greenlet):
                if thing and thing is not hub and thing.parent is not None:
                    self.greenlets[id(thing)] = thing
            elif kinds and isinstance(thing, kinds) and not thing.closed:
                self.streams[id(thing)] = thing
        self.watchers = _active_watchers(hub.loop)

    def since(self, before: _Left) -> list[str]:
        """Describe what is there now and was not there before."""
        found = [f"an open stream: {thing!r}" for key, thing in self.streams.items() if key not in before.streams]
        found += [f"a greenlet that runs: {thing!r}" for key, thing in self.greenlets.items() if key not in before.greenlets]
        if not found and self.watchers > before.watchers:
            found.append(f"{self.watchers - before.watchers} active watchers more than before")
        return found


def _active_watchers(loop: Any) -> int:
    """Return how many watchers of a loop are active and keep it running. That of libuv does not count them itself."""
    if "libuv" in type(loop).__module__:
        return sum(bool(handle.active and handle.ref) for handle in loop.debug())
    return int(loop.activecnt)


def _is_checked(item: pytest.Item) -> bool:
    if item.get_closest_marker(ALLOW_MARK) is not None:
        return False
    wanted = item.config.getoption("--leaves-nothing") or item.config.getini("leaves_nothing")
    return bool(wanted) or item.get_closest_marker(CHECK_MARK) is not None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    if _is_checked(item):
        gc.collect()
        item.stash[LEFT_BEFORE] = _Left()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    result = yield
    before = item.stash.get(LEFT_BEFORE, None)
    if before is not None:
        del item.stash[LEFT_BEFORE]
        left = _what_stays(before)
        if left:
            pytest.fail(f"the test left {len(left)} things behind:\n  " + "\n  ".join(left), pytrace=False)
    return result


def _what_stays(before: _Left) -> list[str]:
    """What is left once greenlets that are about to end have ended, and garbage is collected."""
    left: list[str] = []
    for _ in range(3):
        left = _Left().since(before)
        if not left or "gevent" not in sys.modules:
            break
        import gevent

        gevent.sleep(0.001)
        gc.collect()
    return left


# What hangs.


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    seconds = item.config.stash[SECONDS]
    if seconds is None:
        return (yield)
    import gevent

    loop = gevent.get_hub().loop
    timer = getattr(loop, "real_loop", loop).timer(seconds)  # virtual time is no wait
    timer.start(gevent.getcurrent().throw, Hang(f"the test waited in the hub for more than {seconds:g} s"))
    try:
        return (yield)
    finally:
        timer.close()


class Hang(BaseException):
    """A test's time is over while it waits in the hub. No `except Exception` of the tested code stops it."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and "gevent" in sys.modules and _is_of_time(call.excinfo):
        import gevent.util

        report.sections.append(("what each greenlet waits for", "\n".join(gevent.util.format_run_info(thread_stacks=False))))
    return report


def _is_of_time(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    """Whether a test's time was over: by `--hang-timeout`, a `gevent.Timeout`, or pytest-timeout."""
    import gevent

    return isinstance(excinfo.value, (Hang, gevent.Timeout)) or (
        isinstance(excinfo.value, pytest.fail.Exception) and "Timeout (>" in str(excinfo.value)
    )
