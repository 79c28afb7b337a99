"""Waiting for input on many streams at once, and for conditions that such input may make true.

The names are those of `geventstreams`. `wait_for_input_streams` and `WaitSet` serve streams of all kinds and servers.
"""

from geventstreams.waiting.conditions import noticed_socket_stream, process_wait
from geventstreams.waiting.input_streams import WaitSet, wait_for_input_streams, wait_for_input_streams_returning_first

__all__ = ["WaitSet", "noticed_socket_stream", "process_wait", "wait_for_input_streams", "wait_for_input_streams_returning_first"]
