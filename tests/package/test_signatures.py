"""What `inspect.signature` and `help` show of the public names, in both builds."""

import importlib
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import geventstreams

MODULES = [
    geventstreams.__name__,
    *(f"geventstreams.{module.name}" for module in pkgutil.iter_modules(geventstreams.__path__) if not module.name.startswith("_")),
]
"""The modules that users may import, those of the command line and its programs included."""


def public_callables() -> Iterator[tuple[str, Any]]:
    """Each public function, class and method of the package, under its full name."""
    seen = set()
    for name in MODULES:
        module = importlib.import_module(name)
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == name and not key.startswith("_")]
        for attribute in getattr(module, "__all__", own):
            value = getattr(module, attribute)
            if callable(value) and value not in seen:
                seen.add(value)
                yield f"{value.__module__}.{attribute}", value
                if isinstance(value, type):
                    yield from methods_of(value, f"{value.__module__}.{attribute}")


def methods_of(kind: type, name: str) -> Iterator[tuple[str, Any]]:
    """The public methods that a class of the package, or one of its bases in the package, defines."""
    for base in kind.__mro__:
        if base.__module__.startswith("geventstreams"):
            for attribute, value in vars(base).items():
                if not attribute.startswith("_") and callable(getattr(kind, attribute)) and not isinstance(value, property):
                    yield f"{name}.{attribute}", getattr(kind, attribute)


def signature_of(value: Any) -> str:
    """The signature as text, without what only one build knows (annotations, and that `self` has no name)."""
    signature = inspect.signature(value)
    parameters = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    if parameters and parameters[0].name == "self":
        parameters[0] = parameters[0].replace(kind=inspect.Parameter.POSITIONAL_ONLY)
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def signatures() -> dict[str, str]:
    """All signatures by name; the error in place of one that is not there."""
    found = {}
    for name, value in public_callables():
        try:
            found[name] = signature_of(value)
        except (ValueError, TypeError) as error:
            found[name] = f"none: {error}"
    return found


def test_every_public_callable_has_a_signature() -> None:
    """`inspect.signature` knows the arguments of each public function, class and method."""
    missing = [name for name, signature in signatures().items() if signature.startswith("none")]
    assert not missing
    assert signature_of(geventstreams.SocketStream.readline) == "(self, /, size=-1)"


@pytest.mark.skipif(not geventstreams.compiled, reason="there is only one build to look at")
def test_both_builds_have_the_same_signatures() -> None:
    """Names, order, kinds and defaults of the arguments are the same, compiled as plain."""
    done = subprocess.run([sys.executable, __file__], env={**os.environ, "PURE_PYTHON": "1"}, capture_output=True, text=True, check=True)
    plain = json.loads(done.stdout)
    assert {name: value for name, value in signatures().items() if plain[name] != value} == {}


def docstring_of(value: Any) -> str:
    """The docstring, or that of the method which this one overrides: compiled ones have an empty one then."""
    bases = getattr(value, "__objclass__", type).__mro__ if hasattr(value, "__objclass__") else ()
    inherited = (getattr(getattr(base, value.__name__, None), "__doc__", None) for base in bases)
    return inspect.getdoc(value) or next(filter(None, inherited), "")


def parameters_of(value: Any) -> set[str]:
    """The names of the parameters, `**keywords` included for which the signature shows other names."""
    own = value.__init__ if isinstance(value, type) else value
    return {*inspect.signature(value).parameters, *inspect.signature(own, follow_wrapped=False).parameters}


def described(value: Any) -> list[str]:
    """The parameters that the `Args` section of a docstring names."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n|\n)*)", docstring_of(value) + "\n", re.MULTILINE)
    return re.findall(r"^    (?:\*\*)?(\w+):", section[1], re.MULTILINE) if section else []


def test_every_public_callable_has_a_docstring() -> None:
    """What an editor shows of each public function, class and method says what it does."""
    missing = [name for name, value in public_callables() if not docstring_of(value)]
    assert not missing


def test_docstrings_describe_parameters_that_there_are() -> None:
    """Each name in an `Args` section is a parameter of the function, or of the constructor of the class."""
    wrong = [f"{name}: {word}" for name, value in public_callables() for word in described(value) if word not in parameters_of(value)]
    assert not wrong


if __name__ == "__main__":
    print(json.dumps(signatures()))
