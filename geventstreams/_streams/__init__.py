"""`SocketStream`, from the engine up to both vocabularies and TLS that is attached in mid-stream.

Read by `_net`, `callbacks`, `server` and the package itself; its public names are those of `geventstreams`.
"""
