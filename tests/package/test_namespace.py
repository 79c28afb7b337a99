"""The names of the package: what is there, and what is loaded when."""

import ast
import importlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import geventstreams


def names(text: str) -> set[str]:
    """The names in a text, in which white space stands between them."""
    return set(text.split())


BINARY_FILE = names("""close closed detach fileno flush isatty peek read read1 readable readinto readinto1 readline readlines seek seekable
    tell truncate writable write writelines""")
STREAM = names("""abort accepted address at_eof buffered discard_line line_limit linger_timeout makefile octets_in octets_out peer_address
    read_available read_exactly read_timeout read_until send_eof sendall shutdown timed_out unsent write_timeout""")
LISP = names("""clear_input clear_output direction element_type encoding finish_output force_output fresh_line listen peek_char read_byte
    read_char read_char_no_hang read_line read_sequence read_string terpri unread_char write_byte write_char write_line write_sequence
    write_string""")
TLS = names("attach_ssl detach_ssl handshake ssl ssl_ctx")
ANY_STREAM = BINARY_FILE | STREAM | LISP | TLS
OF_GEVENT = names("backlog do_handle do_read fileno get_listener init_socket start_accepting stop_accepting")

MEMBERS: dict[str, set[str]] = {
    "BufferedStream": BINARY_FILE | STREAM,
    "SocketStream": ANY_STREAM | names("proxy replace_socket socket"),
    **dict.fromkeys(("AsyncStream", "AsyncInputStream", "AsyncOutputStream", "AsyncIOStream"), ANY_STREAM | {"socket"}),
    "AsyncSocket": names("address close closed drain fileno pause peer_address resume set_callbacks set_timeouts stream unsent write"),
    "AsyncServer": names("address close closed connections port"),
    "SocketStreamServer": OF_GEVENT | names("accept_pause close connections port stats stop stop_timeout"),
    "WaitSet": names("add close discard wait"),
}
"""What users may call of each class, without what `object` and gevent's own classes have."""


def names_after(statement: str, mapping: str) -> set[str]:
    """The keys of a mapping in a fresh interpreter after a statement."""
    program = f"import sys; {statement}; print(*{mapping})"
    return set(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split())


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement."""
    return names_after(statement, "sys.modules")


@pytest.mark.parametrize("name", geventstreams.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """Each name of `__all__` is got from the package, and `dir` lists it."""
    assert getattr(geventstreams, name) is not None
    assert name in dir(geventstreams)


def test_the_list_of_names_is_whole() -> None:
    """`__all__`, a literal for the sake of type checkers, has the names that the package defines and those that it loads on demand."""
    at_start = names("BufferedStream ElementType SocketStream SocketTransport Transport compiled")
    assert geventstreams.__all__ == sorted(at_start.union(geventstreams.errors.__all__, *geventstreams._ON_DEMAND.values()))


def test_names_are_got_in_any_order() -> None:
    """A fresh interpreter imports all names by one `import *`, whichever module they come from."""
    program = "from geventstreams import *; import geventstreams as g; assert all(globals()[n] is getattr(g, n) for n in g.__all__)"
    assert not subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr


def test_an_unknown_name() -> None:
    """A name that is not there is an AttributeError that says so."""
    with pytest.raises(AttributeError, match="module 'geventstreams' has no attribute 'wait_for_nothing'"):
        _ = geventstreams.wait_for_nothing


@pytest.mark.parametrize("module", ["server", "callbacks", "waiting"])
def test_modules_are_attributes(module: str) -> None:
    """`import geventstreams` is enough for `geventstreams.server` and the others that are loaded on demand."""
    program = f"import geventstreams, sys; assert geventstreams.{module} is sys.modules['geventstreams.{module}']"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert getattr(geventstreams, module) is importlib.import_module(f"geventstreams.{module}")


def test_a_program_loads_what_it_uses() -> None:
    """A client does not wait for servers, callbacks, logging and JSON to be loaded; each comes with its first name.

    Neither does it for the standard library's `ssl` and `socket`, which take as long to load as all of this package.
    """
    ours = {"geventstreams.server", "geventstreams.callbacks", "geventstreams._files.makefile"}
    costly = ours | {"gevent.pool", "gevent.socket", "logging", "json", "ipaddress", "socket", "ssl"}
    assert not costly & loaded_by("from geventstreams import SocketStream, open_tcp_stream")
    assert "geventstreams.server" in loaded_by("from geventstreams import SocketStreamServer")


def test_connecting_and_tls_are_loaded_when_they_are_used() -> None:
    """`import geventstreams` loads nothing of them. All of TLS is loaded when its arguments are checked, not while a peer waits for it."""
    late = {f"geventstreams.{name}" for name in ("_net.connect", "_core.tls_context", "_core.tls_transport")}
    assert not late & loaded_by("import geventstreams")
    secure = loaded_by("from geventstreams._streams.options import StreamOptions; StreamOptions(tlsext_host_name='a.example')")
    assert secure & late == {"geventstreams._core.tls_context", "geventstreams._core.tls_transport"}
    program = (
        "import socket, geventstreams; address = (listener := socket.create_server(('127.0.0.1', 0))).getsockname(); "
        "geventstreams.open_tcp_stream(*address, timeout=5).close(); geventstreams.tcp_connect(*address, print, timeout=5).close()"
    )
    assert loaded_by(program) & late == {"geventstreams._net.connect"}


@pytest.mark.parametrize("server", ["SocketStreamServer(('127.0.0.1', 0), print).start()", "tcp_server('127.0.0.1', 0, print).close()"])
def test_a_server_in_plain_text_loads_no_tls(server: str) -> None:
    """A server has a `handshake_timeout` by default, and loads nothing of TLS for that."""
    tls = {f"geventstreams._core.{name}" for name in ("tls_context", "tls_records", "tls_transport")}
    assert not tls & loaded_by(f"import geventstreams; geventstreams.{server}")


@pytest.mark.parametrize("name", ["callbacks", "errors", "server", "waiting"])
def test_public_names_are_those_of_the_late(name: str) -> None:
    """Each name that a public room lists is a name of the package, and the same object."""
    room = importlib.import_module(f"geventstreams.{name}")
    assert {each: getattr(geventstreams, each) for each in room.__all__} == {each: getattr(room, each) for each in room.__all__}
    assert set(room.__all__) <= set(geventstreams.__all__)


def test_checkers_see_what_programs_see() -> None:
    """The names and modules that only type checkers import are those that are loaded on demand, and no others."""
    source = Path(geventstreams.__file__).read_text(encoding="utf-8")
    [checked] = [node for node in ast.parse(source).body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen: set[str] = set()
    for node in checked.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            seen |= set(importlib.import_module(str(node.module)).__all__) if alias.name == "*" else {alias.name}
    modules = {"callbacks", "server", "waiting"}
    assert seen == modules | set(geventstreams.__all__) - names_after("import geventstreams", "vars(geventstreams)")


def own_members(kind: type) -> set[str]:
    """The names without an underscore that the package's own classes give to a class."""
    bases = [base for base in kind.__mro__ if base.__module__.startswith("geventstreams")]
    return {name for base in bases for name in vars(base) if not name.startswith("_")}


@pytest.mark.parametrize("name", MEMBERS)
def test_members_of_a_class_are_for_users(name: str) -> None:
    """A public class shows what its users call, and nothing that only other modules of the package do."""
    assert own_members(getattr(geventstreams, name)) - {"data"} == MEMBERS[name]  # an attribute of AsyncSocket that its user may set


def test_a_stream_shows_nothing_more_than_its_class() -> None:
    """No buffer or engine is an attribute of a stream without an underscore, in either build."""
    near, far = socket.socketpair()
    with far, geventstreams.SocketStream(near) as stream:
        assert {name for name in dir(stream) if not name.startswith("_")} == MEMBERS["SocketStream"]
