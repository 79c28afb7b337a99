"""Tests of `geventstreams.testing`."""
