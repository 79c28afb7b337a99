"""Waiting for input: which streams are ready, when a wait ends, and that nothing is left behind."""

from __future__ import annotations

import concurrent.futures
import gc
import itertools
import os
import socket as stdlib_socket
import struct
import sys
import threading
import time
import traceback
import weakref

import gevent
import gevent.socket
import pytest
from gevent import get_hub
from greenlet import settrace
from kit.conditions import until
from kit.forking import child
from kit.leftovers import descriptors, instances, running_timers
from kit.loops import ON_LIBUV

from geventstreams import (
    SocketStream,
    SocketStreamServer,
    StreamClosed,
    StreamError,
    WaitSet,
    noticed_socket_stream,
    open_tcp_stream,
    process_wait,
    wait_for_input_streams,
    wait_for_input_streams_returning_first,
)
from geventstreams._constants import SLICE
from geventstreams._core.fairness import pause
from geventstreams._streams.buffered import engine_of
from geventstreams.testing import virtual_time
from geventstreams.waiting.input_streams import RememberedList


def unix_pair(**options):
    ours, theirs = gevent.socket.socketpair()
    return SocketStream(ours, **options), SocketStream(theirs, **options)


def tcp_pair(**options):
    with gevent.socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ours = gevent.socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    return SocketStream(ours, **options), SocketStream(theirs, **options)


@pytest.fixture(params=[unix_pair, tcp_pair], ids=["unix", "tcp"])
def make_pair(request):
    made = []

    def make(**options):
        made.extend(request.param(**options))
        return made[-2:]

    yield make
    for stream in made:
        stream.close(abort=True)


@pytest.fixture
def pairs(make_pair):
    return [make_pair() for _ in range(5)]


@pytest.fixture
def inputs(pairs):
    return [ours for ours, _ in pairs]


@pytest.fixture
def peers(pairs):
    return [theirs for _, theirs in pairs]


def send(stream, data):
    stream.write(data)
    stream.flush()


class TestReady:
    def test_bytes_in_the_kernel(self, inputs, peers):
        """A stream is ready when bytes lie in the kernel, and the answer has the order of the argument."""
        send(peers[3], b"x")
        send(peers[1], b"y")
        assert wait_for_input_streams(inputs) == [inputs[1], inputs[3]]
        assert wait_for_input_streams(inputs[::-1]) == [inputs[3], inputs[1]]

    def test_bytes_in_the_buffer_and_in_the_kernel_together(self, inputs, peers):
        """The answer holds all streams ready at that moment: those with bytes in their buffer and those with bytes in the kernel."""
        send(peers[2], b"ab")
        assert inputs[2].read(1) == b"a"
        send(peers[4], b"x")
        assert wait_for_input_streams(inputs) == [inputs[2], inputs[4]]
        assert wait_for_input_streams(inputs, timeout=0) == [inputs[2], inputs[4]]

    def test_each_once(self, inputs, peers):
        """A stream that is listed twice is answered once, where it is listed first."""
        send(peers[0], b"x")
        assert wait_for_input_streams([inputs[0], inputs[1], inputs[0]]) == [inputs[0]]
        send(peers[2], b"x")
        assert wait_for_input_streams([inputs[2], inputs[0], inputs[1], inputs[2], inputs[0]]) == [inputs[2], inputs[0]]

    def test_end_of_file_is_ready(self, inputs, peers):
        """The end of the input is ready, before and after it was read."""
        peers[0].close()
        assert wait_for_input_streams(inputs) == [inputs[0]]
        assert inputs[0].read() == b""
        assert wait_for_input_streams(inputs, timeout=0) == [inputs[0]]

    def test_reset_is_ready(self):
        """A reset is ready, and the read then tells."""
        ours, theirs = tcp_pair()
        theirs.abort()
        assert wait_for_input_streams([ours]) == [ours]
        with pytest.raises(ConnectionResetError):
            ours.read(1)
        ours.close()

    def test_takes_no_input(self, inputs, peers):
        """A wait takes no input: neither from the kernel into the buffer nor from the buffer."""
        send(peers[0], b"hello")
        assert wait_for_input_streams(inputs) == [inputs[0]]
        assert inputs[0].buffered == 0
        assert inputs[0].read_available() == b"hello"

    def test_first_in_list_order(self, inputs, peers):
        """`..._returning_first` gives the first ready one in list order, or None."""
        assert wait_for_input_streams_returning_first(inputs, timeout=0) is None
        send(peers[4], b"x")
        send(peers[2], b"x")
        assert wait_for_input_streams_returning_first(inputs) is inputs[2]

    def test_many_at_once_are_all_answered(self):
        """Of 300 streams that become ready in one turn of the loop, all are in the answer."""
        pairs = [unix_pair() for _ in range(300)]
        inputs = [ours for ours, _ in pairs]
        assert wait_for_input_streams(inputs, timeout=0.001) == []

        def send_all():
            for _, theirs in pairs:
                send(theirs, b"x")

        sender = gevent.spawn(send_all)
        assert wait_for_input_streams(inputs) == inputs
        sender.join()
        for pair in pairs:
            for stream in pair:
                stream.close()

    def test_descriptors_above_1023(self):
        """Streams whose descriptors are above 1,023 are waited for like any other."""
        padding = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
        ours, theirs = unix_pair()
        for descriptor in padding:
            os.close(descriptor)
        assert ours.fileno() > 1023
        send(theirs, b"x")
        assert wait_for_input_streams([ours]) == [ours]
        ours.close()
        theirs.close()

    @pytest.mark.parametrize("wait", [wait_for_input_streams, lambda streams: WaitSet(streams).wait()], ids=["list", "set"])
    def test_a_descriptor_that_other_code_closed(self, inputs, wait):
        """A stream whose descriptor other code has closed is ready at once, and reading says why."""
        number = inputs[0].fileno()
        os.close(number)
        try:
            assert wait(inputs[:1]) == inputs[:1]
            with pytest.raises(StreamError, match="Bad file descriptor"):
                inputs[0].read(1)
        finally:
            os.dup2(inputs[1].fileno(), number)  # the stream's, to be closed

    def test_sends_first(self, inputs, peers):
        """What a stream holds unsent is sent before the wait, so a forgotten flush is no deadlock."""

        def answer():
            peers[0].write(peers[0].readline())
            peers[0].flush()

        answering = gevent.spawn(answer)
        inputs[0].write(b"question\n")
        assert wait_for_input_streams(inputs, timeout=5) == [inputs[0]]
        assert inputs[0].readline() == b"question\n"
        answering.join()


class TestLimits:
    def test_poll(self, inputs):
        """`timeout=0` polls: it answers without letting another greenlet run."""
        ran = []
        other = gevent.spawn(ran.append, 1)
        assert wait_for_input_streams(inputs, timeout=0) == []
        assert ran == []
        other.join()

    @pytest.mark.parametrize("limit", [0.05, 0.2])
    def test_expiry(self, inputs, limit):
        """Expiry gives [], neither before the limit nor later."""
        with virtual_time(threshold=0.001) as clock:
            assert wait_for_input_streams(inputs, timeout=limit) == []
            assert clock.now == pytest.approx(limit)

    @pytest.mark.parametrize("wrong", [-1, float("nan"), True])
    def test_wrong_limit(self, inputs, wrong):
        """A negative, NaN or boolean limit is refused by name and value, and what is allowed is said."""
        with pytest.raises((ValueError, TypeError), match=r"timeout must be (positive, 0 or None|None or a number)"):
            wait_for_input_streams(inputs, timeout=wrong)

    def test_gevent_timeout_comes_out_itself(self, inputs, peers):
        """`gevent.Timeout` ends a wait as the very object that was started, and the next wait works."""
        timeout = gevent.Timeout(0.01)
        with pytest.raises(gevent.Timeout) as caught, timeout:
            wait_for_input_streams(inputs)
        assert caught.value is timeout
        send(peers[0], b"x")
        assert wait_for_input_streams(inputs) == [inputs[0]]


class TestWaitFunction:
    def test_true_before_waiting(self, inputs):
        """A wait function that is true at once ends the wait with the empty answer."""
        assert wait_for_input_streams(inputs, lambda: True) == []

    def test_called_at_least_every_50_ms(self, inputs):
        """The wait function is called at least every 50 ms."""
        moments = []

        def tell():
            moments.append(clock.now)
            return len(moments) > 4

        with virtual_time() as clock:
            assert wait_for_input_streams(inputs, tell) == []
        assert all(later - earlier <= 0.0501 for earlier, later in itertools.pairwise(moments))

    def test_ready_streams_win(self, inputs, peers):
        """Where a stream is ready in the same round, it wins over the wait function."""
        send(peers[0], b"x")
        assert wait_for_input_streams(inputs, lambda: True) == [inputs[0]]

    def test_reason_is_seen(self, inputs):
        """The wait reason is a frame of the waiting greenlet, as the run info of gevent prints it."""
        reason = "Waiting for godot"
        waiter = gevent.spawn(wait_for_input_streams, inputs, None, reason, 0.1)
        gevent.sleep(0)
        assert f"in {reason}" in "\n".join(traceback.format_stack(waiter.gr_frame))
        assert waiter.get() == []

    def test_reason_of_a_wrong_type(self, inputs):
        """A wait reason that is no string is a TypeError."""
        with pytest.raises(TypeError, match="wait_reason"):
            wait_for_input_streams(inputs, wait_reason=3, timeout=0.01)

    def test_function_of_a_wrong_type(self, inputs):
        """A timeout in the place of the wait function is a TypeError that names the argument."""
        with pytest.raises(TypeError, match="wait_function must be callable or None, not int 5"):
            wait_for_input_streams(inputs, 5)


class TestNothingAndClosed:
    def test_empty_list(self):
        """An empty list answers [] at once with neither limit nor wait function, else after them."""
        assert wait_for_input_streams([]) == []
        started = time.monotonic()
        assert wait_for_input_streams([], timeout=0.05) == []
        assert time.monotonic() - started >= 0.05
        calls = []
        assert wait_for_input_streams([], lambda: calls.append(1) or len(calls) > 2) == []
        assert len(calls) == 3

    def test_closed_before(self, inputs, peers):
        """A stream closed before the call is StreamClosed, and nothing was sent for the others."""
        inputs[1].close()
        inputs[0].write(b"held")
        with pytest.raises(StreamClosed) as caught:
            wait_for_input_streams(inputs)
        assert caught.value.stream is inputs[1]
        assert inputs[0].unsent == 4

    def test_closed_during(self, inputs):
        """A stream closed during the wait ends it within 5 ms, and is in the answer."""
        with virtual_time() as clock:
            assert wait_for_input_streams(inputs, timeout=0.001) == []
            began = clock.now
            gevent.spawn_later(0.02, inputs[2].close)
            assert wait_for_input_streams(inputs) == [inputs[2]]
            assert clock.now - began <= 0.025

    def test_no_stream(self, inputs):
        """What is no stream is refused by type and value."""
        with pytest.raises(TypeError, match="str 'x'"):
            wait_for_input_streams([*inputs, "x"])

    @pytest.mark.parametrize("wait", [wait_for_input_streams, wait_for_input_streams_returning_first, WaitSet])
    def test_a_stream_in_the_place_of_a_list(self, wait, inputs, peers):
        """A stream alone is refused, and its lines are not taken for streams: all input stays."""
        peers[0].sendall(b"a line\n")
        with gevent.Timeout(5), pytest.raises(TypeError, match=r"streams must be a list of streams, not SocketStream <SocketStream"):
            wait(inputs[0])
        assert inputs[0].readline() == b"a line\n"


class TestTogether:
    def test_overlapping_lists(self, inputs, peers):
        """Several greenlets may wait on overlapping lists: each is told."""
        waiters = [gevent.spawn(wait_for_input_streams, inputs[first:]) for first in range(3)]
        gevent.sleep(0)
        send(peers[3], b"x")
        assert [waiter.get(timeout=5) for waiter in waiters] == [[inputs[3]]] * 3

    def test_reading_while_another_waits(self, inputs, peers):
        """A stream may be read by one greenlet while another waits on it; what the reader leaves in the buffer is seen."""
        reader = gevent.spawn(inputs[0].readline)
        gevent.sleep(0)
        waiter = gevent.spawn(wait_for_input_streams, inputs)
        gevent.sleep(0)
        send(peers[0], b"line\nrest")
        assert reader.get(timeout=5) == b"line\n"
        assert waiter.get(timeout=5) == [inputs[0]]
        assert wait_for_input_streams(inputs, timeout=0) == [inputs[0]]
        assert inputs[0].buffered == 4

    @pytest.mark.parametrize("wait", [wait_for_input_streams, lambda inputs: WaitSet(inputs).wait()], ids=["streams", "set"])
    @pytest.mark.parametrize("read", [lambda stream: stream.readinto(bytearray(100_000)), lambda stream: stream.readlines()],
                             ids=["readinto", "readlines"])
    def test_what_an_ended_read_puts_back(self, inputs, peers, read, wait):
        """The bytes that a read puts back because it is killed wake those who wait for its stream, and are seen by later waits."""
        assert wait_for_input_streams(inputs, timeout=0) == []
        reader = gevent.spawn(read, inputs[0])
        gevent.sleep(0)
        send(peers[0], b"line\n")
        until(lambda: inputs[0].octets_in == 5)
        waiter = gevent.spawn(wait, inputs)
        gevent.sleep(0)
        reader.kill()
        assert waiter.get(timeout=5) == [inputs[0]]
        assert wait_for_input_streams(inputs, timeout=0) == [inputs[0]]
        assert inputs[0].readline() == b"line\n"

    def test_a_character_that_is_put_back(self, inputs, peers):
        """A character that is put back wakes those who wait for its stream, and is seen by later waits."""
        send(peers[0], b"x")
        assert inputs[0].read_char() == "x"
        assert wait_for_input_streams(inputs, timeout=0) == []
        waiters = [gevent.spawn(wait_for_input_streams, inputs), gevent.spawn(WaitSet(inputs).wait)]
        gevent.sleep(0)
        inputs[0].unread_char("x")
        assert [waiter.get(timeout=5) for waiter in waiters] == [[inputs[0]]] * 2
        assert wait_for_input_streams(inputs, timeout=0) == [inputs[0]]

    def test_no_stream_is_left_busy(self, inputs, peers):
        """A wait that ended, however it ended, leaves no stream busy."""
        victim = gevent.spawn(wait_for_input_streams, inputs)
        gevent.sleep(0)
        victim.kill()
        send(peers[0], b"x")
        assert inputs[0].read(1) == b"x"


class TestManyAtOnce:
    def test_each_waits_for_its_own(self, make_pair):
        """Of 50 greenlets that wait for a stream each at the same time every one is woken by its input, and by no other."""
        pairs = [make_pair() for _ in range(50)]
        waiting = [gevent.spawn(wait_for_input_streams, [ours]) for ours, _ in pairs]
        until(lambda: all(ours._is_idle() for ours, _ in pairs), seconds=20)
        for parity in (0, 1):
            for greenlet, (ours, theirs) in list(zip(waiting, pairs, strict=True))[parity::2]:
                assert not greenlet.ready()
                send(theirs, b"x")
                assert greenlet.get(timeout=20) == [ours]
        waiting = [gevent.spawn(wait_for_input_streams_returning_first, [theirs], timeout=20) for _, theirs in pairs]
        until(lambda: all(theirs._is_idle() for _, theirs in pairs), seconds=20)
        for ours, theirs in pairs:
            theirs.close(abort=True)
            ours.close(abort=True)
        assert [each.get(timeout=20) for each in waiting] == [theirs for _, theirs in pairs]

    def test_those_who_do_not_fit_leave_nothing(self, make_pair):
        """Where more lists are waited for than are remembered, the others leave no watcher behind: an event later finds no waiter."""
        pairs = [make_pair() for _ in range(30)]
        for _ in range(3):
            waiting = [gevent.spawn(wait_for_input_streams, [ours, *(other for other, _ in pairs[:2])]) for ours, _ in pairs]
            until(lambda: all(ours._is_idle() for ours, _ in pairs), seconds=20)
            for greenlet in waiting[::2]:
                greenlet.kill()
            for _, theirs in pairs[1::2]:
                send(theirs, b"x")
            gevent.joinall(waiting, timeout=20, raise_error=True)
            for ours, _ in pairs[1::2]:
                assert ours.read(1) == b"x"
        del waiting, greenlet  # a killed one holds the frames that it was in
        gc.collect()
        ours = {stream for stream, _ in pairs}
        readiness_callbacks = [bell for bell in gc.get_objects() if type(bell).__name__ == "ReadinessCallback" and bell.stream() in ours]
        assert 0 < len(readiness_callbacks) <= 8 * 3


class TestFairness:
    @pytest.mark.parametrize("way", ["list", "first", "set"])
    def test_who_waits_for_what_another_reads_lets_it_read(self, make_pair, way):
        """A greenlet that waits again and again for a stream that has input lets the one run that reads it."""
        ours, theirs = make_pair()
        with WaitSet([ours]) as members:
            ask = {
                "list": lambda: wait_for_input_streams([ours]),
                "first": lambda: wait_for_input_streams_returning_first([ours]),
                "set": members.wait,
            }[way]
            reading = gevent.spawn(ours.readline)
            gevent.sleep(0)
            send(theirs, b"line\nrest")
            asked = []

            def insist():
                until = time.process_time() + 1  # time that the machine gave to others does not count
                while not reading.ready() and time.process_time() < until:
                    ask()
                asked.append(reading.ready())

            gevent.spawn(insist).join()
            assert asked == [True]
            assert reading.get() == b"line\n"

    def test_who_waits_for_a_function_that_is_true_lets_others_run(self, make_pair):
        """Calls that their function ends, one after another, and that never wait, let other greenlets run."""
        ours, _theirs = make_pair()
        ran = gevent.spawn(int)
        end = time.process_time() + 1
        while not ran.ready() and time.process_time() < end:
            assert wait_for_input_streams([ours], wait_function=lambda: True) == []
        assert ran.ready()

    def test_what_is_closed_while_others_run_is_in_the_answer(self, make_pair):
        """A stream that is closed while a call lets others run was closed during the call: it is in the answer."""
        ours, theirs = make_pair()
        send(theirs, b"input")
        gevent.spawn(ours.close, abort=True)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            was_closed = ours.closed
            try:
                assert wait_for_input_streams([ours]) == [ours]
            except StreamClosed:
                assert was_closed
                return
        pytest.fail("no other greenlet ran")


class TestNewLists:
    """Lists of streams that were not waited for before: what is ready is found without leaving anything on the streams."""

    def test_all_that_are_ready_in_their_order(self, make_pair):
        """Bytes in the buffer and in the system, an end, and a server with a client: all are returned, each once, in the list's order."""
        (buffered, first), (arrived, second), (ended, third), (silent, _) = (make_pair() for _ in range(4))
        server = SocketStreamServer(("127.0.0.1", 0), lambda stream, address: None)
        server.init_socket()
        send(first, b"two\nlines\n")
        buffered.readline()
        send(second, b"x")
        third.close()
        with open_tcp_stream("127.0.0.1", server.port):
            mixed = [server, silent, ended, arrived, buffered, arrived, server]
            assert wait_for_input_streams(mixed, timeout=5) == [server, ended, arrived, buffered]
        server.stop()

    @staticmethod
    def in_its_own_hub(check):
        """Call `check` with five streams and their peers in a thread, whose hub has seen no list before."""

        def run():
            made = [unix_pair() for _ in range(5)]
            try:
                check([ours for ours, _ in made], [theirs for _, theirs in made])
            finally:
                for stream in itertools.chain(*made):
                    stream.abort()
                gevent.get_hub().destroy(destroy_loop=True)

        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            threads.submit(run).result(20)

    def test_nothing_is_left_on_the_streams(self):
        """While each list is new and a stream of it ready, no readiness callback is made; a list that comes again has its callbacks."""

        def check(inputs, peers):
            send(peers[2], b"x")
            for length in range(3, 6):
                assert wait_for_input_streams(inputs[:length], timeout=5) == [inputs[2]]
            assert all(engine_of(stream).listeners is None for stream in inputs)
            assert wait_for_input_streams(inputs[:4], timeout=5) == [inputs[2]]
            kept = not ON_LIBUV  # on libuv callbacks are there only during a wait
            assert [engine_of(stream).listeners is not None for stream in inputs] == [kept] * 4 + [False]

        self.in_its_own_hub(check)

    def test_a_look_leaves_nothing(self):
        """A timeout of 0 on a new list finds nothing ready, and leaves no callback."""

        def check(inputs, _peers):
            assert wait_for_input_streams(inputs, timeout=0) == []
            assert all(engine_of(stream).listeners is None for stream in inputs)

        self.in_its_own_hub(check)

    def test_a_wait_begins_where_nothing_is_ready(self, inputs, peers):
        """A new list of which no stream is ready is waited for."""
        for number in range(5):
            gevent.spawn_later(0.001, send, peers[number], b"x")
            assert wait_for_input_streams(inputs[number:] + inputs[:number], timeout=5) == [inputs[number]]
            inputs[number].read(1)

    @pytest.mark.parametrize("error", [StreamClosed, TypeError])
    def test_what_cannot_be_waited_for_is_refused_before_a_byte_is_sent(self, inputs, peers, error):
        """A stream that is closed, or an object that is none, refuses the whole list, whatever else is ready."""
        send(peers[0], b"x")
        inputs[1].write(b"unsent")
        inputs[4].close()
        with pytest.raises(error):
            wait_for_input_streams([*inputs[:3], inputs[4] if error is StreamClosed else object()], timeout=5)
        assert inputs[1].unsent == 6


class TestNothingIsLeft:
    def test_loop_is_not_kept_alive(self):
        """After a wait `gevent.wait()` returns as if the wait had not been made."""
        has_ended = []

        def wait():
            inputs = [SocketStream(end) for end in gevent.socket.socketpair()]
            wait_for_input_streams(inputs, timeout=0.001)
            with WaitSet(inputs) as members:
                members.wait(0.001)
                gevent.sleep(0.002)  # libuv closes handles one round later, and gevent's own report of an idle loop stumbles over these
                has_ended.append(gevent.wait(timeout=5))
            for stream in inputs:
                stream.abort()
            gevent.get_hub().destroy(destroy_loop=True)

        thread = threading.Thread(target=wait)  # in a hub of its own: nothing that another test has left keeps that one's loop alive
        thread.start()
        thread.join(20)
        assert has_ended == [True]

    def test_a_thread_takes_its_remembered_lists_with_it(self):
        """A list that was waited for in another thread is forgotten when that thread has ended: a thread for each task fills no memory."""

        def wait():
            inputs = [SocketStream(end) for end in gevent.socket.socketpair()]
            assert wait_for_input_streams(inputs, timeout=0.001) == []
            for stream in inputs:
                stream.abort()

        before = instances(RememberedList)
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(20)
        assert instances(RememberedList) == before

    def test_streams_are_not_kept_alive(self):
        """A remembered list keeps no stream and no descriptor alive, and finds no new stream under an old address."""
        before = descriptors()
        gc.disable()
        try:
            for _ in range(20):
                ours, theirs = unix_pair()
                assert wait_for_input_streams([ours], timeout=0.0005) == []
                send(theirs, b"x")
                assert wait_for_input_streams([ours]) == [ours]
                trace = weakref.ref(ours)
                ours.close()
                theirs.close()
                del ours, theirs
                assert trace() is None
        finally:
            gc.enable()
        assert descriptors() == before

    @pytest.mark.slow
    def test_calls_leave_nothing_that_grows(self, inputs, peers):
        """3,000 calls, a third timing out and a third killed, leave watchers, timers, greenlets and objects as they were."""
        loop = get_hub().loop

        def calls(count):
            for number in range(count):
                if number % 3 == 0:
                    assert wait_for_input_streams(inputs, timeout=0.0001) == []
                elif number % 3 == 1:
                    victim = gevent.spawn(wait_for_input_streams, inputs)
                    gevent.sleep(0)
                    victim.kill()
                else:
                    send(peers[number % 5], b"x")
                    assert wait_for_input_streams(inputs) == [inputs[number % 5]]
                    assert inputs[number % 5].read(1) == b"x"

        calls(300)
        gc.collect()
        objects = len(gc.get_objects())
        watchers = loop.activecnt
        calls(3000)
        gc.collect()
        assert loop.activecnt == watchers
        assert len(gc.get_objects()) <= objects + 50


    def test_no_timer_is_left(self, inputs, peers):
        """The timer of a timeout ends with the wait, by an event or a kill."""
        before = running_timers()
        gevent.spawn_later(0.001, send, peers[2], b"x")
        assert wait_for_input_streams(inputs, timeout=60) == [inputs[2]]
        inputs[2].read(1)
        victim = gevent.spawn(wait_for_input_streams, inputs, timeout=60)
        gevent.sleep(0)
        victim.kill()
        assert running_timers(besides=before) == []

    @pytest.mark.parametrize("wait", [lambda: process_wait("nothing", lambda: False), lambda: pause(60)], ids=["round", "pause"])
    def test_a_wait_that_is_killed_leaves_no_timer(self, wait):
        """The timer of a condition's round, or of a pause, ends with the wait."""
        before = running_timers()
        victim = gevent.spawn(wait)
        gevent.sleep(0)
        victim.kill()
        assert running_timers(besides=before) == []

    def test_a_set_takes_no_stream_of_another_process(self, inputs):
        """In a forked child a set of its own refuses a stream of the parent each time, and has no member then."""

        def refuse():
            members = WaitSet()
            for _ in range(2):
                with pytest.raises(StreamError, match="parent of a forked process"):
                    members.add(inputs[0])
            assert len(members) == 0
            assert members.wait(0.001) == []

        child(refuse)

    @pytest.mark.parametrize("end", ["close", "close during a wait", "drop"])
    def test_a_set_has_one_timer(self, inputs, peers, end):
        """The waits of a set have one timer, which ends with the set."""
        before = running_timers()
        members = WaitSet(inputs)
        for number in range(5):
            gevent.spawn_later(0.001, send, peers[number], b"x")
            assert members.wait(60) == [inputs[number]]
            inputs[number].read(1)
            assert len(running_timers(besides=before)) == 1
        if end == "close during a wait":
            waiting = gevent.spawn(members.wait, 60)
            gevent.sleep(0)
            members.close()
            with pytest.raises(StreamClosed):
                waiting.get(timeout=5)
        elif end == "close":
            members.close()
        else:
            del members
        assert running_timers(besides=before) == []


class TestWaitSet:
    def test_its_public_names(self):
        """A WaitSet has the methods that users call, and none of what makes it work."""
        assert {name for name in dir(WaitSet()) if not name.startswith("_")} == {"add", "close", "discard", "wait"}

    def test_level(self, inputs, peers):
        """A member is reported as long as a read would not wait."""
        with WaitSet(inputs) as members:
            send(peers[1], b"xy")
            assert members.wait() == [inputs[1]]
            assert members.wait() == [inputs[1]]
            assert inputs[1].read(1) == b"x"
            assert members.wait(0) == [inputs[1]]
            assert inputs[1].read(1) == b"y"
            assert members.wait(0) == []
            assert members.wait(0.01) == []

    def test_a_busy_member_hides_no_other(self, inputs, peers):
        """While one member stays ready, another that becomes ready is reported too."""
        with WaitSet(inputs) as members:
            send(peers[0], b"never read")
            assert members.wait() == [inputs[0]]
            send(peers[4], b"x")
            until(lambda: set(members.wait()) == {inputs[0], inputs[4]})

    def test_a_wait_goes_through_what_is_ready_only(self, make_pair):
        """After a wait the set keeps room for the members that are ready, not for all that it once asked."""
        if ON_LIBUV:
            pytest.skip("on libuv each wait asks all members")
        pairs = [make_pair() for _ in range(40)]
        with WaitSet(ours for ours, _ in pairs) as members:
            send(pairs[7][1], b"x")
            assert members.wait() == [pairs[7][0]]
            assert sys.getsizeof(members._ready_set.signals) <= sys.getsizeof(dict.fromkeys(range(5)))

    def test_add_and_discard_while_waiting(self, inputs, peers):
        """Members may come and go while another greenlet waits."""
        with WaitSet(inputs[:1]) as members:
            waiter = gevent.spawn(members.wait)
            gevent.sleep(0)
            members.discard(inputs[0])
            members.add(inputs[1])
            send(peers[0], b"not watched")
            send(peers[1], b"x")
            assert waiter.get(timeout=5) == [inputs[1]]
            assert inputs[1] in members
            assert inputs[0] not in members
            assert list(members) == [inputs[1]]
            assert len(members) == 1

    def test_closed_member(self, inputs):
        """A closed member is reported once and leaves by itself."""
        with WaitSet(inputs) as members:
            gevent.spawn_later(0.01, inputs[3].close)
            assert members.wait() == [inputs[3]]
            assert len(members) == 4
            assert members.wait(0.01) == []

    def test_close_wakes(self, inputs):
        """Closing the set wakes its waiters with StreamClosed and leaves the members open."""
        members = WaitSet(inputs)
        waiter = gevent.spawn(members.wait)
        gevent.sleep(0)
        members.close()
        with pytest.raises(StreamClosed):
            waiter.get(timeout=5)
        with pytest.raises(StreamClosed):
            members.wait(0)
        assert not inputs[0].closed

    def test_what_a_reader_left_is_seen(self, inputs, peers):
        """What a reader left in the buffer of a member is seen, though the kernel has nothing."""
        with WaitSet(inputs) as members:
            assert members.wait(0) == []
            reader = gevent.spawn(inputs[0].readline)
            gevent.sleep(0)
            send(peers[0], b"line\nrest")
            reader.join()
            assert members.wait(0) == [inputs[0]]

    def test_dropped_set(self, inputs):
        """A set that is dropped leaves its members as they were, without the collector."""
        gc.disable()
        try:
            members = WaitSet(inputs)
            members.wait(0)
            trace = weakref.ref(members)
            del members
            assert trace() is None
        finally:
            gc.enable()

    def test_refusals(self, inputs):
        """A closed stream and what is no stream are refused before anything is added."""
        inputs[1].close()
        with pytest.raises(StreamClosed):
            WaitSet(inputs)
        members = WaitSet()
        with pytest.raises(TypeError, match="int 3"):
            members.add(3)
        assert len(members) == 0


class TestProcessWait:
    def test_already_true(self):
        """A condition that is true is not waited for, and its arguments are given."""
        assert process_wait("sum", lambda a, b: a + b == 3, 1, 2) is True

    def test_timeout(self):
        """False when the limit has passed, not before it."""
        started = time.monotonic()
        assert process_wait("never", lambda: False, timeout=0.06) is False
        assert time.monotonic() - started >= 0.06

    def test_noticed_input(self, inputs, peers):
        """New input on a noticed stream makes the condition tested at once, not after 50 ms; unread input does not spin."""
        tests = []

        def listens():
            tests.append(time.monotonic())
            return inputs[0].listen() or inputs[0].at_eof

        with noticed_socket_stream(inputs[0]) as stream:
            assert stream is inputs[0]
            gevent.spawn_later(0.01, send, peers[0], b"line\n")
            assert process_wait("Waiting for a line", listens, timeout=5)
        assert len(tests) <= 3
        calls = []
        with noticed_socket_stream(inputs[0]):
            process_wait("spin", lambda: calls.append(1), timeout=0.12)
        assert len(calls) < 8

    def test_noticed_end(self, inputs, peers):
        """The end of a noticed stream is such a wake-up too, and what it holds unsent is sent first."""
        inputs[0].write(b"bye\n")

        def leave():
            assert peers[0].readline() == b"bye\n"
            peers[0].close()

        leaving = gevent.spawn(leave)
        with noticed_socket_stream(inputs[0]):
            assert process_wait("the end", lambda: inputs[0].listen() or inputs[0].at_eof, timeout=5)
        assert inputs[0].at_eof
        leaving.get()

    def test_a_stream_that_cannot_be_noticed_disturbs_no_wait(self, inputs):
        """The refusal of a parent's stream in a forked child is told once: later waits for conditions there go on."""

        def refuse():
            with pytest.raises(StreamError), noticed_socket_stream(inputs[0]):
                pass
            assert not process_wait("nothing", lambda: False, timeout=0.001)

        child(refuse)

    def test_a_condition_that_changes_by_itself(self):
        """A condition that nothing announces is seen within a round of 50 ms."""
        truth = []
        gevent.spawn_later(0.02, truth.append, 1)
        assert process_wait("truth", lambda: bool(truth), timeout=5)


def test_a_call_that_waits_lets_nothing_run_before(inputs, pairs):
    """A call whose streams are not ready waits at once, even if calls before it found what was ready for longer than a slice."""
    pairs[0][1].write(b"x")
    pairs[0][1].flush()
    for _ in range(3):
        assert wait_for_input_streams(inputs[:1]) == inputs[:1]
    time.sleep(2 * SLICE)
    waiting = gevent.spawn(wait_for_input_streams, inputs[1:], timeout=20)
    resumed = []
    settrace(lambda event, ends: resumed.append(ends[1] is waiting))
    try:
        gevent.sleep(0.02)
        assert sum(resumed) == 1
        pairs[1][1].write(b"x")
        pairs[1][1].flush()
        assert waiting.get() == [inputs[1]]
    finally:
        settrace(None)
    assert sum(resumed) == 2


def test_rst_of_a_linger_peer_is_ready_without_being_consumed():
    """Asking whether a reset stream is ready does not consume the reset: the read tells it after any number of questions."""
    ours, theirs = tcp_pair()
    descriptor = theirs.replace_socket(None)
    descriptor.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, struct.pack("ii", 1, 0))
    descriptor.close()
    for _ in range(5):
        assert wait_for_input_streams([ours]) == [ours]
    with pytest.raises(ConnectionResetError):
        ours.read(1)
    ours.close()
    theirs.close()
