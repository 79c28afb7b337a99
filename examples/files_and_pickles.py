"""A stream is a binary file, so code for files takes it: `pickle`, then `io.TextIOWrapper` and `csv` on one connection.

A small store: the client sends pickled commands, the server pickled answers; after the last command the connection
carries lines of text. Unpickle only what you trust as you trust your own code.
"""

import argparse
import csv
import io
import pickle

from geventstreams import SocketStreamServer, open_tcp_stream

STOCK = {"apples": 12, "pears": 7, "quinces": 1}


def serve(stream, _address):
    """Answer pickles with pickles, until the client asks for text."""
    while (command := pickle.load(stream)) != "as text":
        pickle.dump(STOCK.get(command), stream)
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    csv.writer(text).writerows(sorted(STOCK.items()))
    text.detach()


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    server = SocketStreamServer(("127.0.0.1", 0), serve)
    server.start()
    with open_tcp_stream("127.0.0.1", server.port, read_timeout=5) as stream:
        for name in ("apples", "plums"):
            pickle.dump(name, stream)
            print(f"{name}: {pickle.load(stream)}")
        pickle.dump("as text", stream)
        for name, count in csv.reader(io.TextIOWrapper(stream, encoding="utf-8", newline="")):
            print(f"{name}, of which there are {count}")
    server.stop()


if __name__ == "__main__":
    main()
