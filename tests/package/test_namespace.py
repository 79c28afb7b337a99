"""The names of the package: what is there, and what is loaded when."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import geventstreams


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


@pytest.mark.parametrize("name", ["callbacks", "errors", "server", "waiting"])
def test_public_names_are_those_of_the_rooms(name: str) -> None:
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
