"""Tests of connecting, addresses, and Unix paths."""
