"""Campaigns: random programs against a model, with a printed seed that repeats them. Each has a file of its own."""

# Invariants: a campaign is a function of its seed and its size, and never skips what it finds: it raises an AssertionError with the seed.
# What it looks for can be planted (the mutants in test_mutants.py), so it can fail. The short run is test_campaigns.py, the long one
# tests/soak/test_campaigns.py; both call the same functions.
