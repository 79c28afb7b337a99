"""Tests of bytes and the hub: buffers, transports, threads, and systems that lack what Linux has."""
