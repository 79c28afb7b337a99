"""Names and addresses, connecting and listening: what happens before there is a stream.

Used by `callbacks`, `server` and the package itself. Its public names are those of `geventstreams`.
"""
