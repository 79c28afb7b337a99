"""What type checkers take every file and stream for: `binary_file.pyi`, beside this, says that it is an `io.BufferedIOBase`.

At run time the readable ones register as that: a compiled class cannot inherit from it.
"""


class BinaryFile:
    """The base of every binary file on a socket."""
