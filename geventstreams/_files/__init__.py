"""`makefile` for sockets that other code owns: the standard library's file objects, except that no data is lost.

The files of `stream.makefile` are here, too.
"""
