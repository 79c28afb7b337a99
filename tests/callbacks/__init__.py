"""Tests of callbacks, as in cl-async."""
