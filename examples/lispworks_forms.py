"""The two forms of LispWorks' page on socket streams, in Python, for a web server: lispworks_forms.py HOST PORT [PATH].

There: "character I/O in a binary stream" and "binary I/O in a base-char stream". The element type of a stream says what
`read_byte` and lists take an octet for, and nothing else: every other function works on every stream. What a sequence
holds decides what becomes of the octets.
"""

import sys
from array import array

from geventstreams import open_tcp_stream

REQUEST = "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n"
CHARACTERS = "w" if sys.version_info >= (3, 13) else "u"
"""The type code of an array of characters."""


def characters_on_a_binary_stream(host, port, path):
    """Writes a string and reads into an array of characters, though the elements of the stream are octets."""
    with open_tcp_stream(host, port, element_type="unsigned-byte-8", read_timeout=10) as stream:
        stream.write_sequence(REQUEST.format(host=host, path=path))
        stream.force_output()
        answer = array(CHARACTERS, "\0" * 1000)
        end = stream.read_sequence(answer)
        return answer[:end].tounicode()


def octets_on_a_character_stream(host, port, path):
    """Writes octets and reads into an array of octets, though the elements of the stream are characters."""
    with open_tcp_stream(host, port, element_type="base-char", read_timeout=10) as stream:
        stream.write_sequence(array("B", map(ord, REQUEST.format(host=host, path=path))))
        stream.force_output()
        answer = bytearray(1000)
        end = stream.read_sequence(answer)
        return "".join(map(chr, answer[:end]))


def main(host, port, path="/"):
    """Prints the first thousand octets of the answer, got in two ways, if they are the same."""
    text = characters_on_a_binary_stream(host, port, path)
    same = octets_on_a_character_stream(host, port, path)
    if text.partition("\r\n\r\n")[2] != same.partition("\r\n\r\n")[2]:
        sys.exit("the two forms got different answers")
    print(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
