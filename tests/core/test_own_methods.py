"""The methods that a compiled class inherits are its own as well: the interpreter calls these faster."""

import inspect
import types

import pytest

import geventstreams
from geventstreams._files.buffered_file import SocketFile, TwoWaySocketFile
from geventstreams.callbacks.stream import AsyncInputStream, AsyncIOStream, AsyncOutputStream, AsyncStream

CLASSES = [geventstreams.SocketStream, SocketFile, TwoWaySocketFile, AsyncStream, AsyncInputStream, AsyncOutputStream, AsyncIOStream]


@pytest.mark.skipif(not geventstreams.compiled, reason="the plain build has functions, which cost the same in every class")
@pytest.mark.parametrize("kind", CLASSES)
def test_inherited_methods_are_the_class_s_own(kind: type) -> None:
    """Each public method of C belongs to the class itself."""
    methods = [method for method in vars(kind).values() if isinstance(method, types.MethodDescriptorType)]
    assert {"readline", "write", "flush"} <= {method.__name__ for method in methods}
    assert {method.__objclass__ for method in methods} == {kind}
    inherited = inspect.getmembers(kind, lambda member: isinstance(member, types.MethodDescriptorType) and member not in methods)
    assert not [name for name, _ in inherited if not name.startswith("_")]


def test_the_nearest_class_counts() -> None:
    """A method that a base replaces stays replaced: `readline` of the callback half gives None where that of a stream waits."""
    assert AsyncIOStream.readline.__doc__ == AsyncStream.readline.__doc__ != geventstreams.SocketStream.readline.__doc__
