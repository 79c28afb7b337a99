"""The names of the package: what is there, and what is loaded when."""

import importlib
import subprocess
import sys

import pytest

import geventstreams


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement."""
    program = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("name", geventstreams.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """Each name of `__all__` is got from the package, and `dir` lists it."""
    assert getattr(geventstreams, name) is not None
    assert name in dir(geventstreams)


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
    """A client does not wait for servers, callbacks, logging and JSON to be loaded; each comes with its first name."""
    ours = {"geventstreams.server", "geventstreams.callbacks", "geventstreams._files.makefile"}
    costly = ours | {"gevent.pool", "logging", "json", "ipaddress"}
    assert not costly & loaded_by("from geventstreams import SocketStream, open_tcp_stream")
    assert "geventstreams.server" in loaded_by("from geventstreams import SocketStreamServer")
