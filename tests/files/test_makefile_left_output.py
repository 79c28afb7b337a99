"""Output of files and streams that were not closed is sent at the end of the program or thread, as far as it needs no waiting."""

import socket
import sys
import textwrap
from pathlib import Path

import pytest
from kit.command_line import run

WORDS = b"last words\n"
HEAD = """
import gevent.monkey; gevent.monkey.patch_all()
import builtins, gevent.event, json, socket, sys
import geventstreams, geventstreams.monkey
geventstreams.monkey.patch_makefile()
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
"""
FILES = {
    "text": 'file = sock.makefile("w"); print("last words", file=file)',
    "binary": 'file = sock.makefile("wb"); file.write(b"last words\\n")',
    "pair": 'file = sock.makefile("rwb"); file.write(b"last words\\n")',
    "stream": 'file = geventstreams.SocketStream(sock); file.write(b"last words\\n")',
    "stream's file": 'file = geventstreams.SocketStream(sock).makefile("w"); print("last words", file=file)',
    "callbacks": "up = gevent.event.Event(); file = geventstreams.tcp_connect('127.0.0.1', int(sys.argv[1]), print, stream=True, "
                 "connect_cb=lambda _: up.set()); up.wait(); file.write(b'last words\\n')",
}
HOLDERS = {
    "global": "{file}",
    "function": "def main():\n    {file}\n\nmain()",
    "global beside functions": "def other(): return file\n\n{file}",
    "cycle": "class Holder: pass\n\nholder = Holder()\n{file}\nholder.file, holder.self = file, holder",
    "module": "{file}\njson.file = file",
    "builtins": "{file}\nbuiltins.file = file",
    "greenlet": "def main():\n    global file\n    {file}\n\ngevent.spawn(main).join()",
    "exit": "{file}\nsys.exit(0)",
}


def received(listener: socket.socket, program: str, connections: int = 1) -> tuple[bytes, str, int]:
    """What the last connection of a program brought, what the program said, and its status."""
    done = run(sys.executable, "-c", program, str(listener.getsockname()[1]))
    data = b""
    for _ in range(connections):
        near, _ = listener.accept()
        near.settimeout(5)
        with near:
            while content := near.recv(65536):
                data += content
    return data, done.errors, done.status


@pytest.fixture
def listener() -> socket.socket:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(5)
        yield made


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("file", FILES)
def test_output_is_sent_at_the_end_of_the_program(listener: socket.socket, file: str, holder: str) -> None:
    """The output of a file arrives, in each way to hold it, and nothing is printed."""
    if file == "callbacks" and holder == "function":
        pytest.skip("its connection is held by the loop, wherever the stream is")
    body = HOLDERS[holder].replace("{file}", FILES[file])
    assert received(listener, HEAD + body, 2 if file == "callbacks" else 1) == (WORDS, "", 0)


def test_output_that_needs_waiting_is_lost_with_the_program_without_a_word(listener: socket.socket) -> None:
    """What the system does not take at once at the end is lost; the program ends at once and prints nothing."""
    body = 'file = sock.makefile("wb", 10**8)\nfile.write(bytes(5 * 10**7))'
    data, errors, status = received(listener, HEAD + body)
    assert (errors, status) == ("", 0)
    assert 0 < len(data) < 5 * 10**7


THREAD = """
import os, socket, sys, time
pairs = [socket.socketpair() for _ in range(2)]
from gevent import monkey; monkey.patch_all()
import geventstreams
start, sleep = (monkey.get_original(*name) for name in (("_thread", "start_new_thread"), ("time", "sleep")))
done = []
def drop(sock):
    file = {make}
    file.write({data})
    del file, sock
def body():
    sock = pairs.pop(0)
    far.append(sock[1])
    drop(sock[0])
    if {waits}:
        import gevent
        gevent.sleep(0.01)
def thread():
    body()
    done.append(1)
far = []
for _ in range(2):
    start(thread, ())
    while not done: sleep(0.01)
    done.clear()
    far[-1].settimeout(5)
    data = b""
    while chunk := monkey.get_original("socket", "socket").recv(far[-1], 2**20): data += chunk
    print(len(data))
"""


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("make", ['geventstreams.makefile(sock, "wb", 10**7)', "geventstreams.SocketStream(sock.detach())"])
def test_a_thread_leaves_no_descriptor_open(make: str, waits: bool) -> None:
    """A file that a native thread drops, with or without a hub, is sent as far as possible and its descriptor closed at once."""
    done = run(sys.executable, "-c", THREAD.format(make=make, data='b"x" * 100', waits=waits))
    assert (done.output.split(), done.errors) == ([b"100"] * 2, "")


@pytest.mark.parametrize("waits", [False, True])
def test_a_thread_that_ends_with_too_much_output_closes_the_descriptor(waits: bool) -> None:
    """What the system does not take is lost when the thread ends, and the peer sees the end."""
    make = 'geventstreams.makefile(sock, "wb", 10**7)'
    done = run(sys.executable, "-c", THREAD.format(make=make, data="bytes(5 * 10**6)", waits=waits))
    assert done.errors == ""
    counts = [int(count) for count in done.output.split()]
    assert len(counts) == 2
    assert all(0 < count < 5 * 10**6 for count in counts)


def test_a_dropped_stream_is_closed_at_once_under_gevents_patching(tmp_path: Path) -> None:
    """The descriptor is gone when the destructor returns, though gevent's patched `os.close` waits for the hub."""
    done = run(
        sys.executable,
        "-c",
        textwrap.dedent(
            """
            import gevent.monkey; gevent.monkey.patch_all()
            import os, socket, geventstreams
            near, far = socket.socketpair()
            number = near.detach()
            stream = geventstreams.SocketStream(number)
            del stream
            try:
                print(os.fstat(number))
            except OSError as error:
                print(error.errno)
            """
        ),
    )
    assert (done.output.strip(), done.errors) == (b"9", "")


def test_a_forked_child_sends_nothing_of_its_parents_files(listener: socket.socket) -> None:
    """A child that ends in the usual way sends no output of the files and streams that its parent had made."""
    body = FILES["pair"] + '\nimport os\nif not os.fork(): sys.exit(0)\nos.wait()\n'
    assert received(listener, HEAD + body) == (WORDS, "", 0)
