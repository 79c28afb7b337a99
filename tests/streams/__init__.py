"""Tests of the streams that users make, over TCP, Unix sockets and memory."""
