"""Tests that fail, each in its own way: the plugin's own tests read what it says of them."""

import socket

import gevent
import gevent.event
import pytest

from geventstreams import SocketStream

kept = []


def leave_a_stream():
    near, far = socket.socketpair()
    kept.append(SocketStream(near))
    kept.append(far)


@pytest.mark.leaves_nothing
def test_leaves_a_stream():
    leave_a_stream()


@pytest.mark.leaves_nothing
def test_leaves_a_greenlet():
    kept.append(gevent.spawn(gevent.sleep, 1000))
    gevent.sleep(0)


@pytest.mark.leaves_nothing
def test_leaves_a_watcher():
    watcher = gevent.get_hub().loop.timer(1000)
    watcher.start(print)
    kept.append(watcher)


@pytest.mark.leaves_nothing
@pytest.mark.may_leave
def test_may_leave():
    leave_a_stream()


def test_is_not_checked():
    leave_a_stream()


def waits_for_a_line(stream):
    stream.readline()


def test_hangs(stream_pair):
    near, _ = stream_pair()
    kept.append(gevent.spawn(waits_for_a_line, near))
    gevent.event.Event().wait()


def test_hangs_in_virtual_time(virtual_clock):
    gevent.sleep(3600)
    gevent.event.Event().wait()
