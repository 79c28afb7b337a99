"""Runs the standard library's tests of buffered files, on these or with streams in their place.

`python io_suite.py gevent|ours SECONDS NAME...`, the rest as for suite.py.
"""

import sys
import unittest

import suite
from streams import IN_PLACE_OF
from test import test_io


def main() -> None:
    """The command line."""
    whose = sys.argv.pop(1)
    test_io.load_tests(unittest.defaultTestLoader, unittest.TestSuite(), None)  # it completes its classes there
    if whose == "ours":
        for name, stream_class in IN_PLACE_OF.items():
            getattr(test_io, name).tp = stream_class
    suite.main()


if __name__ == "__main__":
    main()
