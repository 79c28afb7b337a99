"""What tests share: connected ends, peers, and servers that close with the test; counts of what is left; lists of calls."""
