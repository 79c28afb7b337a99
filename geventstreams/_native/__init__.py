"""The functions that exist twice, in C (`.pxd`) and in Python: memory, system calls, greenlets, attributes, the interpreter.

Compiled modules use the C twin where there is one, plain modules the Python function. Read by every room that is compiled. Nothing here
knows a buffer, a transport or a stream.
"""

# Invariants:
# * A function that a `.pxd` defines, or gives a name without an underscore, has a twin of that name and the same arguments in the `.py`,
#   which does the same in every case (tests/package/test_twins.py compares names and arguments).
# * Where Python itself has the very function, that is the twin: a function of ours around it would cost as much again.
