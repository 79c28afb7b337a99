"""Print the first thousand bytes of a web page, got in two ways: the two code forms of LispWorks' page on socket streams.

There: "character I/O in a binary stream" and "binary I/O in a base-char stream". The element type of a stream decides
what `read_byte` and lists make of a byte, and nothing else: every other method works on every stream. What a sequence
holds decides what it gets, bytes or characters.
"""

import argparse
import sys
from array import array

from geventstreams import StreamError, open_tcp_stream

REQUEST = "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n"
CHARACTERS = "w" if sys.version_info >= (3, 13) else "u"
"""The type code of an array of characters."""


def characters_on_a_binary_stream(host, port, path):
    """Write a string and read into an array of characters, though the elements of the stream are bytes."""
    with open_tcp_stream(host, port, element_type="unsigned-byte-8", read_timeout=10) as stream:
        stream.write_sequence(REQUEST.format(host=host, path=path))
        stream.force_output()
        answer = array(CHARACTERS, "\0" * 1000)
        end = stream.read_sequence(answer)
        return answer[:end].tounicode()


def bytes_on_a_character_stream(host, port, path):
    """Write bytes and read into an array of bytes, though the elements of the stream are characters."""
    with open_tcp_stream(host, port, element_type="base-char", read_timeout=10) as stream:
        stream.write_sequence(array("B", map(ord, REQUEST.format(host=host, path=path))))
        stream.force_output()
        answer = bytearray(1000)
        end = stream.read_sequence(answer)
        return "".join(map(chr, answer[:end]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path", nargs="?", default="/")
    options = parser.parse_args()
    try:
        text = characters_on_a_binary_stream(options.host, options.port, options.path)
        same = bytes_on_a_character_stream(options.host, options.port, options.path)
    except (StreamError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    if text.partition("\r\n\r\n")[2] != same.partition("\r\n\r\n")[2]:
        sys.exit("the two forms got different answers")
    print(text)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
