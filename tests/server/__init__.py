"""Tests of servers: start, limits, draining, load."""
