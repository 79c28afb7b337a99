"""Names, addresses, connecting and listening: everything before the first byte.

Read by `callbacks`, `server` and the package itself; its public names are those of `geventstreams`.
"""
