"""A stream where the standard library takes a binary file."""

import csv
import gzip
import http.client
import io
import json
import pickle
import shutil
import tarfile
import zipfile
from typing import BinaryIO

from geventstreams import SocketStream


def read_rows(stream: SocketStream) -> list[list[str]]:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    return list(csv.reader(text))


def write_rows(stream: SocketStream, rows: list[list[str]]) -> None:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    csv.writer(text).writerows(rows)


def objects(stream: SocketStream) -> object:
    pickle.dump({"a": 1}, stream)
    stream.flush()
    return pickle.load(stream), json.load(stream)


def copies(stream: SocketStream, path: str) -> None:
    with open(path, "rb") as source:
        shutil.copyfileobj(source, stream)
    with open(path, "wb") as target:
        shutil.copyfileobj(stream, target)
    with gzip.GzipFile(fileobj=stream, mode="rb") as unpacked:
        print(unpacked.read(10))
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        archive.extractall("somewhere")
    with zipfile.ZipFile(stream, "w") as packed:
        packed.write(path)
    print(http.client.parse_headers(stream))


def first_line(file: BinaryIO) -> bytes:
    return file.readline()


def half(file: io.BufferedIOBase) -> bytes:
    return file.read1(10)


def both(stream: SocketStream) -> bytes:
    return first_line(stream) + half(stream)
