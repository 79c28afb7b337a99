"""The functions that exist twice, in C (`.pxd`) and in Python: memory, system calls, greenlets.

Read by the modules of `_core`, `_files` and `_streams`. Nothing here knows a buffer, a transport or a stream.
"""
