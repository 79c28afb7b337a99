"""Tests of TLS on streams: contexts, attaching and detaching, endings, faults, real peers."""
