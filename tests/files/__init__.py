"""Tests of `makefile` for the sockets of other code."""
