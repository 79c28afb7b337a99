"""Every case that a stream must survive: the list, the tests that prove it, and the table of what ran where."""
