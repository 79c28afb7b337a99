"""Bytes and the hub: buffers, wake-ups, transports, TLS. No vocabulary, no stream.

Read by every other room of the package; imports only `errors` and `_native`.
"""
