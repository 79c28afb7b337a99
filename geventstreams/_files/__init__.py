"""`makefile` for sockets that other code owns: the standard library's file objects, except that no data is lost.

Read by `monkey` and the package itself, and by `_streams` for text files over a stream.
"""
