"""`geventstreams.monkey`: what it replaces and puts back, and its command line. Patching happens in other processes."""

import sys
import textwrap
from pathlib import Path

import pytest
from kit.command_line import Outcome, run

MONKEY = [sys.executable, "-m", "geventstreams.monkey"]
REPORT = """
import socket, sys, threading
import gevent.monkey
from geventstreams import monkey
near, far = socket.socketpair()
with near, far, near.makefile("rb") as file:
    print(type(file).__name__, monkey.is_makefile_patched(), __name__, sys.argv[1:])
    print([gevent.monkey.is_module_patched(name) for name in ("socket", "threading", "ssl")])
"""


def program(code: str) -> Outcome:
    """Run a program."""
    return run(sys.executable, "-c", textwrap.dedent(code))


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script that tells what is patched, with a module beside it."""
    path = tmp_path / "script.py"
    path.write_text("import beside\n" + REPORT, encoding="utf-8")
    (tmp_path / "beside.py").touch()
    return path


@pytest.mark.parametrize("first", ["gevent", "ours"])
def test_every_kind_of_socket_gets_the_file_whatever_is_patched_first(first: str) -> None:
    """Sockets of gevent, TLS ones, and those made before patching give our file; unpatched, each gives what it did."""
    done = program(
        f"""
        import socket, ssl
        old = socket.socketpair()
        from gevent import monkey
        from geventstreams import monkey as ours
        kinds = [monkey.patch_all, ours.patch_makefile]
        for patch in kinds if {first!r} == "gevent" else reversed(kinds):
            patch()
        import gevent.socket, gevent.ssl
        new = socket.socketpair()
        secure = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT).wrap_socket(
            gevent.socket.socket(), server_hostname="x", do_handshake_on_connect=False)
        files = [one.makefile("rb") for one in (old[0], new[0], secure)]
        print([type(file).__name__ for file in files], ours.is_makefile_patched())
        ours.unpatch_makefile()
        files += [one.makefile("rb") for one in (old[0], new[0], secure)]
        print([type(file).__name__ for file in files[3:]], ours.is_makefile_patched())
        new[1].send(b"line")
        new[1].close()
        print(files[1].readline())
        for one in (*files, *old, *new, secure):
            one.close()
        """
    )
    assert (done.status, done.errors) == (0, "")
    assert done.output.decode().splitlines() == [
        "['SocketFile', 'SocketFile', 'SocketFile'] True",
        "['BufferedReader', 'BufferedReader', 'BufferedReader'] False",
        "b'line'",
    ]


def test_without_gevents_patch_blocking_sockets_stay_blocking() -> None:
    """As long as `patch_all` was not called, a standard-library socket gives the standard library's file."""
    done = program(
        """
        import socket
        from geventstreams import monkey
        monkey.patch_makefile()
        near, far = socket.socketpair()
        with near, far, near.makefile("rb") as file, near.makefile("w", encoding="ascii", newline="") as text:
            print(type(file).__name__, text.encoding)
        """
    )
    assert (done.status, done.errors, done.output) == (0, "", b"BufferedReader ascii\n")


def test_patching_twice_and_another_patch_on_top() -> None:
    """Patching again changes nothing; unpatching leaves alone what other code has patched on top."""
    done = program(
        """
        import gevent.socket
        from geventstreams import monkey
        before = gevent.socket.socket.makefile
        monkey.unpatch_makefile()
        monkey.patch_makefile()
        monkey.patch_makefile()
        monkey.unpatch_makefile()
        print(gevent.socket.socket.makefile is before)
        monkey.patch_makefile()
        gevent.socket.socket.makefile = print
        monkey.unpatch_makefile()
        print(gevent.socket.socket.makefile is print)
        """
    )
    assert (done.status, done.errors, done.output) == (0, "", b"True\nTrue\n")


def test_a_script_runs_patched(script: Path) -> None:
    """A script runs as `__main__` with its own arguments, finds what is beside it, and everything is patched."""
    done = run(*MONKEY, script, "--an", "argument")
    assert (done.status, done.errors) == (0, "")
    assert done.output.decode().splitlines() == [
        "SocketFile True __main__ ['--an', 'argument']",
        "[True, True, True]",
    ]


def test_a_module_runs_patched(script: Path) -> None:
    """`--module` runs a module by its name."""
    done = run(*MONKEY, "--module", "script", "argument", folder=script.parent)
    assert (done.status, done.errors) == (0, "")
    assert done.output.startswith(b"SocketFile True __main__ ['argument']\n")


@pytest.mark.parametrize(
    ("options", "kind", "parts"),
    [
        (["--no-thread"], b"SocketFile", b"[True, False, True]"),
        (["--socket"], b"SocketFile", b"[True, False, False]"),
        (["--socket", "--ssl"], b"SocketFile", b"[True, False, True]"),
        (["--thread"], b"BufferedReader", b"[False, True, False]"),
    ],
)
def test_parts_can_be_chosen(script: Path, options: list[str], kind: bytes, parts: bytes) -> None:
    """`--no-PART` leaves a part unpatched, `--PART` patches the named ones only, as `python -m gevent.monkey` has it."""
    done = run(*MONKEY, *options, script)
    assert (done.status, done.errors) == (0, "")
    first, second = done.output.splitlines()
    assert (first.split()[0], second) == (kind, parts)


def test_what_is_patched_can_be_told(script: Path) -> None:
    """`--verbose` says what is called before the script begins."""
    done = run(*MONKEY, "--verbose", "--no-thread", script)
    assert done.output.splitlines()[:2] == [
        b"gevent.monkey.patch_all(thread=False)",
        b"geventstreams.monkey.patch_makefile()",
    ]


def test_help_and_wrong_arguments(tmp_path: Path) -> None:
    """`--help` is status 0; no script, one that is not there, or an unknown option, also behind known ones, is status 2, and says which."""
    helped = run(*MONKEY, "--help")
    assert (helped.status, helped.errors) == (0, "")
    assert helped.output.startswith(b"usage: python -m geventstreams.monkey")
    for words, why in (([], "which script?"), (["no.py"], "there is no file 'no.py'"), (["--nonsense", tmp_path], "--nonsense"),
                       (["--verb", "--no-ssl", tmp_path], "--verb")):
        done = run(*MONKEY, *words)
        assert (done.status, done.output, why in done.errors.splitlines()[-1]) == (2, b"", True)


def test_the_status_is_the_scripts(tmp_path: Path) -> None:
    """What the script exits with is the status, and its errors are told."""
    path = tmp_path / "script.py"
    path.write_text("import sys\nsys.exit(7)\n", encoding="utf-8")
    assert run(*MONKEY, path).status == 7
    path.write_text("raise RuntimeError('its own')\n", encoding="utf-8")
    done = run(*MONKEY, path)
    assert done.status == 1
    assert done.errors.endswith("RuntimeError: its own\n")


def test_what_our_makefile_refuses_keeps_the_file_it_had() -> None:
    """A blocking `SSLSocket` older than `patch_all()`, and an object with less than our file needs, work as without the patch."""
    done = program(
        """
        import socket, ssl
        old, other = socket.socketpair()
        secure = ssl.create_default_context().wrap_socket(old, server_hostname="x", do_handshake_on_connect=False)
        from gevent import monkey
        monkey.patch_all()
        from geventstreams import makefile, monkey as ours
        ours.patch_makefile()

        class Least:
            makefile = socket.socket.makefile
            _io_refs = 0

            def __init__(self, inner):
                self.inner = inner

            def recv_into(self, space):
                return self.inner.recv_into(space)

            def _decref_socketios(self):
                self._io_refs -= 1

        near, far = socket.socketpair()
        far.sendall(b"line\\n")
        with near, far, Least(near).makefile("rb") as file:
            print(type(file).__name__, file.readline())
        print(type(secure.makefile("rb")).__name__)
        try:
            makefile(secure, "rb")
        except TypeError as error:
            print(type(error).__mro__[1].__name__)
        secure.close()
        other.close()
        """
    )
    assert (done.errors, done.status) == ("", 0)
    assert done.output.decode().splitlines() == ["BufferedReader b'line\\n'", "BufferedReader", "TypeError"]
