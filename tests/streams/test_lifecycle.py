"""What becomes of streams whose hub is destroyed or has died, whose thread ends, whose interpreter exits: no hang, no crash."""

import contextlib
import gc
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import greenlet
import pytest
from kit.command_line import LIMIT, Outcome, run
from kit.conditions import until
from kit.leftovers import open_descriptor
from kit.loops import ON_LIBUV
from servers import Certificates

from geventstreams import (
    SocketStream,
    SocketStreamServer,
    StreamError,
    WaitSet,
    makefile,
    noticed_socket_stream,
    open_tcp_stream,
    pipe_server,
    process_wait,
    tcp_connect,
    tcp_server,
    wait_for_input_streams,
)
from geventstreams.relay import relay
from geventstreams.testing.claims import outcome

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

CALLS: dict[str, Callable[[SocketStream, WaitSet], Any]] = {
    "read": lambda stream, members: stream.read(1),
    "readline": lambda stream, members: stream.readline(),
    "read_char": lambda stream, members: stream.read_char(),
    "write": lambda stream, members: stream.write(bytes(10**7)),
    "flush": lambda stream, members: stream.flush(),
    "send_eof": lambda stream, members: stream.send_eof(),
    "wait_for_input_streams": lambda stream, members: wait_for_input_streams([stream]),
    "WaitSet.wait": lambda stream, members: members.wait(),
    "close": lambda stream, members: stream.close(),
}


def in_a_thread(function: Callable[[], Any]) -> Any:
    """What a function gives in a thread of its own, with a hub of its own."""
    said: list[Any] = []
    thread = threading.Thread(target=lambda: said.append(outcome(function)), daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it waits for ever"
    gc.collect()  # the loop that it leaves has descriptors, which other tests count
    return said[0]


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("loop_too", [False, True], ids=["hub", "hub and loop"])
@pytest.mark.parametrize("name", CALLS)
def test_a_destroyed_hub_is_a_clear_error(name: str, loop_too: bool, used: bool) -> None:
    """A call that would wait on a hub that was destroyed is a StreamError that says so, and the stream can be closed, with one close(2)."""

    def go() -> tuple[Any, Any, bool]:
        near, far = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with far, contextlib.closing(WaitSet()) as members:
            stream = SocketStream(near, read_timeout=0.01 if used else None, write_timeout=0.01 if used else None, linger_timeout=0.1)
            members.add(stream)
            if used:  # watchers and timers are there, some of them armed
                outcome(stream.read, 1)
                members.wait(0.01)
            stream.write(bytes(60_000))
            if used:
                outcome(stream.flush)
            stream.read_timeout = stream.write_timeout = None
            number = stream.fileno()
            gevent.get_hub().destroy(destroy_loop=loop_too)
            said = outcome(CALLS[name], stream, members)
            closed = outcome(stream.close)
            return said, closed, stream.closed and not open_descriptor(number)

    said, closed, gone = in_a_thread(go)
    assert isinstance(said, StreamError), said
    assert "hub" in str(said)
    assert "destroyed" in str(said)
    assert closed is None or isinstance(closed, StreamError), closed
    assert gone


destroys_running_hub = pytest.mark.skipif(ON_LIBUV, reason="gevent's own destroy() never returns on libuv once the hub has run")


def ends_all(server: Any) -> Any:
    """Stop a server that has handlers, or close one that has none."""
    return server.stop(0) if hasattr(server, "stop") else server.close()


@pytest.mark.parametrize("loop_too", [False, True], ids=["hub", "hub and loop"])
@pytest.mark.parametrize(
    "kind", ["server", "server at a path", "stream server", pytest.param("connected stream server", marks=destroys_running_hub)]
)
def test_a_server_of_a_destroyed_hub_can_be_closed(tmp_path: Path, kind: str, loop_too: bool) -> None:
    """A server whose hub was destroyed is closed without an error: its descriptors are closed, and the file of its path is gone. Handlers,
    which nothing can run any more, count as killed."""
    path = tmp_path / "sock"

    def go() -> tuple[Any, bool, Any]:
        ended = threading.Event()
        peer = None
        server: Any
        if kind == "server":
            server = tcp_server("127.0.0.1", 0, print)
        elif kind == "server at a path":
            server = pipe_server(path, print)
        else:
            server = SocketStreamServer(("127.0.0.1", 0), lambda stream, _: (ended.set(), stream.read()))
            server.start()
        if kind == "connected stream server":
            peer = socket.create_connection(("127.0.0.1", server.port))
            until(ended.is_set)
        number = server._socket.fileno() if hasattr(server, "_socket") else server.fileno()
        gevent.get_hub().destroy(destroy_loop=loop_too)
        report = outcome(ends_all, server)
        again = outcome(ends_all, server)
        rest: Any = None
        if peer is not None:
            with peer:
                peer.settimeout(10)
                rest = outcome(peer.recv, 1)
        return (report, again), open_descriptor(number), rest

    reports, still_open, rest = in_a_thread(go)
    if kind == "connected stream server":
        assert reports == ((0, 0, 1), (0, 0, 0))
        assert isinstance(rest, ConnectionResetError)
    else:
        assert reports == ((0, 0, 0), (0, 0, 0)) if kind == "stream server" else (None, None)
    assert not still_open
    assert not path.exists()


@destroys_running_hub
@pytest.mark.parametrize("loop_too", [False, True], ids=["hub", "hub and loop"])
@pytest.mark.parametrize("closed", ["before", "after"])
@pytest.mark.parametrize("spawn", ["default", 1])
def test_a_closed_server_of_a_destroyed_hub_can_be_stopped(spawn: Any, closed: str, loop_too: bool) -> None:
    """`stop` of a server that was closed before or after its hub was destroyed resets the connections, also those of a full pool: nothing
    serves them any more. A second call finds none."""

    def go() -> tuple[Any, Any, Any, Any]:
        begun: list[SocketStream] = []
        server = SocketStreamServer(("127.0.0.1", 0), lambda stream, _: (begun.append(stream), stream.read()), spawn=spawn)
        server.start()
        with socket.create_connection(("127.0.0.1", server.port)) as peer, socket.create_connection(("127.0.0.1", server.port)):
            peer.settimeout(10)
            until(lambda: len(begun) == (1 if spawn == 1 else 2))
            gevent.sleep(0.01)  # a full pool has a greenlet that waits for room
            if closed == "before":
                server.close()
            gevent.get_hub().destroy(destroy_loop=loop_too)
            if closed == "after":
                assert outcome(server.close) is None
            report, again = outcome(server.stop), outcome(server.stop)
            return report, again, outcome(peer.recv, 1), [stream.closed for stream in begun]

    report, again, rest, states = in_a_thread(go)
    assert report == (0, 0, len(states))
    assert again == (0, 0, 0)
    assert isinstance(rest, ConnectionResetError)
    assert all(states)


@destroys_running_hub
@pytest.mark.parametrize("loop_too", [False, True], ids=["hub", "hub and loop"])
@pytest.mark.parametrize("ending", ["close", "close by force", "close with output"])
def test_a_connection_of_a_destroyed_hub_refuses_and_closes(ending: str, loop_too: bool) -> None:
    """A connection that calls back refuses to write once its hub was destroyed, each time and in both vocabularies, and can be closed:
    what it held is not sent in part as if it were whole."""

    def go() -> tuple[list[Any], Any, bool, bytes | BaseException]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            connection = tcp_connect("127.0.0.1", listener.getsockname()[1], None, stream=True)
            near = connection.socket
            until(lambda: near.peer_address is not None)
            peer, _ = listener.accept()
        with peer:
            if ending == "close with output":
                near.write(bytes(8_000_000))
                gevent.sleep(0)
            number = near.fileno()
            gevent.get_hub().destroy(destroy_loop=loop_too)
            said = [outcome(call) for call in (lambda: near.write(b"x"), lambda: connection.write(b"x"), lambda: near.write(b"y"))]
            closed = outcome(near.close, ending == "close by force")
            peer.settimeout(10)
            rest = outcome(lambda: b"".join(iter(lambda: peer.recv(65536), b"")))
            return said, closed, open_descriptor(number), rest

    said, closed, still_open, rest = in_a_thread(go)
    assert {(type(each), "destroyed" in str(each)) for each in said} == {(StreamError, True)}
    assert (closed, still_open) == (None, False)
    assert rest == b"" if ending == "close" else isinstance(rest, ConnectionResetError)


class Died(Exception):
    """What ends a hub's greenlet."""


def kill_hub() -> None:
    """End the greenlet of this thread's hub, as a signal handler that raises in its own code can."""
    hub = gevent.get_hub()
    outcome(hub.switch)  # it runs out of work, and is in its own code then, not in a callback's
    assert isinstance(outcome(hub.throw, Died), Died)
    assert hub.dead


def noticed(stream: SocketStream) -> None:
    """Wait for a condition within the notice of a stream."""
    with noticed_socket_stream(stream):
        process_wait("for ever", lambda: False)


def in_turn(stream: SocketStream) -> None:
    """Wait for a writer that holds the stream."""
    greenlet.greenlet(lambda: outcome(stream.flush)).switch()
    stream.write(b"behind it")
    stream.flush()


def in_file(call: Callable[[Any], Any], mode: str, buffering: int | None = None) -> Callable[[SocketStream, WaitSet], Any]:
    """A call on a file of makefile on a connection of its own, which stays open."""

    def use(_stream: SocketStream, _members: WaitSet) -> Any:
        near, far = socket.socketpair()
        with near, far, makefile(near, mode, buffering) as file:
            return call(file)

    return use


def accepting(_stream: SocketStream, _members: WaitSet) -> None:
    """Start a server."""
    server = SocketStreamServer(("127.0.0.1", 0), lambda stream, address: None)
    try:
        server.start()
    finally:
        server.close()


def called_back(_stream: SocketStream, _members: WaitSet) -> None:
    """Begin to connect."""
    tcp_connect("127.0.0.1", 1, lambda *_: None, lambda *_: None)


def related(stream: SocketStream, _members: WaitSet) -> None:
    """Relay to another connection."""
    near, far = socket.socketpair()
    with far, SocketStream(near) as other:
        relay(stream, other)


DEAD_CALLS: dict[str, Callable[[SocketStream, WaitSet], Any]] = {
    **CALLS, "noticed_socket_stream": lambda stream, members: noticed(stream),
    "process_wait": lambda stream, members: process_wait("for ever", lambda: False),
    "writers in a queue": lambda stream, members: in_turn(stream), "readline of a file": in_file(lambda file: file.readline(), "rb"),
    "read of a raw file": in_file(lambda file: file.read(1), "rb", 0),
    "write to a file": in_file(lambda file: file.write(bytes(10**7)), "wb"),
    "a text file": in_file(lambda file: file.readline(), "r"), "server": accepting, "tcp_connect": called_back,
    "open_tcp_stream": lambda stream, members: open_tcp_stream("127.0.0.1", 1), "relay": related,
    "looking up a name": lambda stream, members: open_tcp_stream("localhost", 1),
    "attach_ssl": lambda stream, members: stream.attach_ssl(ssl.create_default_context(), "client", tlsext_host_name="localhost"),
}  # fmt: skip


@pytest.mark.parametrize("where", ["the main greenlet", "another greenlet"])
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("name", DEAD_CALLS)
def test_a_hub_that_has_died_is_a_clear_error(name: str, used: bool, where: str) -> None:
    """A call that would wait on a hub whose greenlet has ended is a StreamError that says so, in no time, and the stream can be closed."""

    def go() -> tuple[Any, Any, bool, float]:
        near, far = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with far:
            members = WaitSet()
            stream = SocketStream(near, linger_timeout=0.1)
            members.add(stream)
            if used:  # watchers and timers are there, some of them armed
                stream.read_timeout = stream.write_timeout = 0.01
                outcome(stream.read, 1)
                members.wait(0.01)
                stream.read_timeout = stream.write_timeout = None
            if name != "attach_ssl":
                stream.write(bytes(60_000))
            number = stream.fileno()
            kill_hub()
            before = time.thread_time()
            if where == "the main greenlet":
                said = outcome(DEAD_CALLS[name], stream, members)
            else:
                told: list[Any] = []
                greenlet.greenlet(lambda: told.append(outcome(DEAD_CALLS[name], stream, members))).switch()
                said = told[0] if told else None
            closed = outcome(stream.close)
            return said, closed, stream.closed and not open_descriptor(number), time.thread_time() - before

    said, closed, gone, seconds = in_a_thread(go)
    assert isinstance(said, StreamError), said
    assert "hub" in str(said)
    assert "died" in str(said)
    assert closed is None or isinstance(closed, StreamError), closed
    assert gone
    assert seconds < 1


def test_a_hub_that_has_died_gets_no_server(tmp_path: Path) -> None:
    """A server that calls back is refused before anything is bound: no path and no listener is left, a descriptor stays its owner's."""
    path = str(tmp_path / "socket")

    def go() -> list[Any]:
        with socket.socket() as mine:
            mine.bind(("127.0.0.1", 0))
            mine.listen()
            kill_hub()
            return [
                outcome(pipe_server, path, None), outcome(tcp_server, "127.0.0.1", 0, None),
                outcome(lambda: tcp_server(None, 0, None, fd=mine.fileno())), open_descriptor(mine.fileno()),
            ]  # fmt: skip

    *said, still_open = in_a_thread(go)
    assert still_open
    assert {(type(each), "died" in str(each)) for each in said} == {(StreamError, True)}
    assert not Path(path).exists()


HANDLES = """
import gc, socket
import gevent
from geventstreams import SocketStream

def handles():
    return sum(not handle.closing for handle in gevent.get_hub().loop.debug())

before = handles()
for _ in range(5):
    SocketStream(socket.socketpair()[0]).listen()
    gevent.get_hub().destroy()  # which has not run yet
    gc.collect()
print(handles() - before)
"""


@pytest.mark.skipif(not ON_LIBUV, reason="only libuv's loop tells its handles")
def test_a_destroyed_hub_leaves_no_handle_in_the_loop() -> None:
    """The first thread's loop outlives its hub, and has as many handles as before: one that was freed crashes it, or a forked child."""
    assert run(sys.executable, "-c", HANDLES) == Outcome(0, b"0\n", "")


# The end of the interpreter.

ASLEEP = """
import threading, time
import gevent

def sleeping_thread(wait):
    def run():
        loops.append(gevent.get_hub().loop)
        wait()

    loops = []
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while not loops or system_call(thread)[1:2] != [hex(loops[0].fileno())]:
        time.sleep(0.001)

def system_call(thread):
    with open(f"/proc/self/task/{thread.native_id}/syscall") as file:
        return file.read().split()
"""
"""`sleeping_thread` starts a daemon thread, and returns when it sleeps in the system call of its hub's loop, on which it then waits."""

BEGINNING = """
import os, socket, ssl, sys, threading
import gevent
from geventstreams import SocketStream, SocketStreamServer, open_tcp_stream
ca, chain, key, secure = sys.argv[1:]
kept = []

def pair(**options):
    first, second = socket.socketpair()
    for one in (first, second):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    if secure == "TLS":
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(chain, key)
        shaking = gevent.spawn(SocketStream, second, ssl_ctx=server)
        client = ssl.create_default_context(cafile=ca)
        kept.append(SocketStream(first, ssl_ctx=client, ssl_side="client", tlsext_host_name="localhost", **options))
        kept.append(shaking.get())
    else:
        kept.extend((SocketStream(first, **options), SocketStream(second)))
    return kept[-2:]

def waits(function, *args):
    greenlet = gevent.spawn(function, *args)
    gevent.sleep(0.01)
    assert not greenlet.ready(), greenlet.value
    kept.append(greenlet)

stream, peer = pair(linger_timeout=50)
"""

EXITS = {
    "unsent output": "stream.write(b'x' * 50_000)",
    "a reader": "waits(stream.readline)",
    "a reader with a limit, and output": "stream.read_timeout = 50; stream.write(b'x' * 50_000); waits(stream.readline)",
    "a writer": "waits(stream.write, bytes(10**7))",
    "a flush": "stream.write(bytes(60_000)); waits(stream.flush)",
    "a close": "stream.write(bytes(60_000)); waits(stream.close)",
    "writers in a queue": "waits(stream.write, bytes(10**7)); waits(stream.write, b'y'); waits(stream.flush)",
    "a handshake": "ends = socket.socketpair(); kept.append(ends)\n"
    "plain = SocketStream(ends[0]); kept.append(plain)\n"
    "waits(lambda: plain.attach_ssl(ssl.create_default_context(cafile=ca), 'client', tlsext_host_name='localhost'))",
    "a background sender": "stream.write(bytes(60_000)); stream.force_output(); gevent.sleep(0)",
    "a server": "server = SocketStreamServer(('127.0.0.1', 0), lambda stream, address: stream.read()); server.start()\n"
    "client = open_tcp_stream('127.0.0.1', server.server_port); kept.append(client); waits(client.readline)",
    "a thread": "def run():\n    stream, _ = pair(); waits(stream.readline); kept.append(stream)\n"
    "thread = threading.Thread(target=run); thread.start(); thread.join()",
    "a thread that still waits": f"{ASLEEP}\nsleeping_thread(lambda: pair()[0].readline())",
}
ENDINGS = {
    "the end": ("", 0),
    "os._exit": ("sys.stdout.flush(); os._exit(4)", 4),
    "sys.exit in a greenlet": ("gevent.spawn(sys.exit, 5); gevent.sleep(9)", 5),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "secure"), [("the end", "plain"), ("the end", "TLS"), ("os._exit", "TLS"), ("sys.exit in a greenlet", "TLS")]
)
def test_an_interpreter_with_living_streams_ends_quietly(ending: str, secure: str, certificates: Certificates, tmp_path: Path) -> None:
    """A program that ends while greenlets and threads wait in streams ends at once, in each way to end, and prints nothing."""
    code, status = ENDINGS[ending]
    programs = {}
    for number, (name, body) in enumerate(EXITS.items()):
        path = tmp_path / f"{number}.py"
        path.write_text(f"{BEGINNING}\n{body}\nprint('done')\n{code}\n", encoding="utf-8")
        words = [sys.executable, path, certificates.ca, certificates.server.chain, certificates.server.key, secure]
        programs[name] = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said = {}
    for name, process in programs.items():
        try:
            output, errors = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
        said[name] = (process.returncode, output, errors.decode())
    assert said == dict.fromkeys(EXITS, (status, b"done\n", ""))


WAITING_THREADS = """
import ctypes, socket, sys
from geventstreams import SocketStream, SocketStreamServer, wait_for_input_streams

ends = [socket.socketpair() for _ in range(3)]
sleeping_thread(lambda: SocketStream(ends[0][0]).readline())
sleeping_thread(lambda: SocketStream(ends[1][0], read_timeout=50).read(1))
sleeping_thread(lambda: wait_for_input_streams([SocketStream(ends[2][0])]))
sleeping_thread(lambda: SocketStreamServer(("127.0.0.1", 0), print).serve_forever())
libc = ctypes.CDLL(None)
libc.on_exit(libc.sleep, None)  # which is called with the status, after Python has ended
sys.exit(1)
"""


def test_daemon_threads_that_wait_in_streams_sleep_while_the_process_ends() -> None:
    """A process that takes a second to end, after its interpreter, is not crashed by threads whose loops wake up meanwhile."""
    assert run(sys.executable, "-c", ASLEEP + WAITING_THREADS) == Outcome(1, b"", "")


SESSION = (
    BEGINNING
    + """
def serve(stream, address):
    for line in stream:
        stream.write(line)

server = SocketStreamServer(("127.0.0.1", 0), serve)
server.start()
with open_tcp_stream("127.0.0.1", server.server_port, read_timeout=20) as client:
    client.write_line("hello")
    print(client.read_line())
server.stop()
stream.write(b"to the peer\\n")
stream.flush()
print(peer.readline())
for one in (stream, peer):
    one.close()
"""
)


@pytest.mark.parametrize("secure", ["plain", "TLS"])
def test_a_session_under_the_strictest_interpreter_is_clean(secure: str, certificates: Certificates) -> None:
    """With PYTHONDEVMODE=1 and every warning an error, a session with a server, both ends and TLS prints nothing but its own words."""
    paths = (certificates.ca, certificates.server.chain, certificates.server.key)
    done = run(sys.executable, "-W", "error", "-c", SESSION, *paths, secure, PYTHONDEVMODE="1")
    assert (done.status, done.errors) == (0, "")
    assert done.output == b"('hello', False)\nb'to the peer\\n'\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["files_and_pickles.py", "stalled_answer.py", "the demo"])
def test_examples_under_the_strictest_interpreter_are_clean(name: str) -> None:
    """The examples that are whole by themselves, and the demo, complain of nothing with PYTHONDEVMODE=1 and -W error."""
    words = ["-m", "geventstreams", "demo"] if name == "the demo" else [EXAMPLES / name]
    done = run(sys.executable, "-W", "error", *words, PYTHONDEVMODE="1")
    assert (done.status, done.errors) == (0, ""), done
