import io
from typing import Any, BinaryIO

class BinaryFile(io.BufferedIOBase, BinaryIO):
    name: Any  # not there at run time; a subclass may have one, as a subclass of BytesIO may
