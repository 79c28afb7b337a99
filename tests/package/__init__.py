"""Tests of the project itself: documents, examples, benchmarks, names, imports, what is built and installed."""
