"""Where TLS records end, in any pieces they arrive in, and how much memory a buffer of them holds."""

import contextlib
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.certificates import Certificates

from geventstreams._core.tls_records import RecordBuffer, Records, overhead_of

LARGEST = 5 + 2**14 + 2048
"""Bytes of the largest record that any version of TLS allows."""

KINDS = st.integers(20, 24)
BODIES = st.binary(max_size=40) | st.integers(0, LARGEST - 5).map(bytes)


def record_of(kind: int, body: bytes) -> bytes:
    return bytes([kind, 3, 3]) + len(body).to_bytes(2, "big") + body


def receive(buffer: RecordBuffer, data: bytes) -> int:
    """Put some of the data into a buffer as a transport does. Return how much there was room for."""
    space = buffer.space()
    count = min(len(data), len(space) - buffer.end)
    space[buffer.end : buffer.end + count] = data[:count]
    buffer.counts.append(count)
    buffer.absorb()
    return count


def taken(buffer: RecordBuffer) -> bytes:
    """Take the next record, if all of it is there."""
    return buffer.take(buffer.record())


@settings(deadline=None)
@given(st.lists(st.tuples(KINDS, BODIES), max_size=12), st.data())
def test_records_come_out_whole_and_in_order(records: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """Records that arrive in any pieces, with waits in between, come out whole, in order, and as early as they are whole."""
    sent = [record_of(kind, body) for kind, body in records]
    wire, received = b"".join(sent), 0
    buffer, came = RecordBuffer(), []
    while received < len(wire):
        size = data.draw(st.integers(1, 30) | st.integers(1, 200_000))
        received += receive(buffer, wire[received : received + size])
        while record := taken(buffer):
            came.append(record)
            assert buffer.kind == record[0]
        if data.draw(st.booleans()):
            buffer.settle()
        assert len(buffer) == received - sum(map(len, came))
        assert sum(map(len, sent[: len(came) + 1])) > received or came == sent
    assert came == sent
    assert buffer.store is None


@pytest.mark.parametrize("junk", [b"HTTP/1.1 400 Bad Request\r\n", b"\x16\x04\x04\x00\x01a", b"\x16\x03\x03\xff\xffab"])
def test_bytes_that_are_no_record_are_handed_on_at_once(junk: bytes) -> None:
    """What cannot be a record counts as one: OpenSSL refuses it, and nothing waits for the rest of it."""
    buffer = RecordBuffer()
    receive(buffer, junk)
    assert buffer.record() == len(junk)
    buffer.skip(len(junk))
    receive(buffer, b"\x17")
    assert buffer.record() == 1


@pytest.mark.parametrize("held", [1, 100, LARGEST - 1])
def test_a_part_of_a_record_holds_little_over_a_wait(held: int) -> None:
    """Before a wait the wide block is given back, and a part of a record stays in memory at most twice its size."""
    buffer = RecordBuffer()
    receive(buffer, record_of(23, bytes(LARGEST - 5))[:held])
    buffer.settle()
    assert not buffer.leased
    assert held <= len(buffer.store) <= 2 * held


@pytest.mark.parametrize("sizes", [[3], [1, 2, 3], [5, 0, 5]])
def test_pieces_are_forgotten_as_they_are_sent(sizes: list[int]) -> None:
    """After a call that sends any number of bytes, the next one begins at the first byte that was not sent."""
    pieces = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    for step in range(1, sum(sizes) + 1):
        records, sent = Records(), b""
        for piece in pieces:
            source = ssl.MemoryBIO()
            source.write(piece)
            records.begin(source, False)
            records.take(2 * len(piece))
        while records.left():
            left = b"".join(records.pieces)[records.start :]
            assert len(left) == records.left()
            count = min(step, records.left())
            sent += left[:count]
            records.skip(count)
            assert records.contents == [2 * len(piece) for piece in records.pieces]
        assert sent == b"".join(pieces)
        assert records.pieces == [] or sizes[-1] == 0


def ciphers() -> list[str]:
    """The names of TLS 1.2's ciphers that this OpenSSL has; those of TLS 1.3 cannot be chosen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    return [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"]


def shaken_hands(certificates: Certificates, cipher: str | None) -> tuple[ssl.SSLObject, ssl.MemoryBIO]:
    """A client behind its handshake, and what it writes to. ssl.SSLError where the server cannot use the cipher."""
    contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    contexts[0].check_hostname, contexts[0].verify_mode = False, ssl.CERT_NONE
    contexts[1].load_cert_chain(certificates.server.both)
    if cipher is not None:
        for context in contexts:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    upwards, downwards = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = contexts[0].wrap_bio(downwards, upwards), contexts[1].wrap_bio(upwards, downwards, server_side=True)
    for side in 2 * (client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    upwards.read()
    return client, upwards


def test_the_length_of_a_record_tells_that_of_its_text(certificates: Certificates) -> None:
    """With each cipher that is said to add the same number of bytes to each record, records of any length are so much longer."""
    found = set()
    for cipher in (None, *ciphers()):
        with contextlib.suppress(ssl.SSLError):  # one that needs another certificate
            client, written = shaken_hands(certificates, cipher)
            chosen = client.cipher()
            assert chosen is not None
            overhead = overhead_of(client.version() or "", chosen[0])
            for length in (1, 15, 16, 17, 100, 16384):
                client.write(bytes(length))
                assert overhead in (0, len(written.read()) - length), chosen
            found.add(overhead)
    assert found == {0, 21, 22, 29}


def test_common_ciphers_are_known() -> None:
    """The ciphers that OpenSSL chooses by default add the same number of bytes to each record."""
    names = "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES128-CCM8"
    assert [overhead_of("TLSv1.2", name) for name in (*names, "ECDHE-RSA-AES256-SHA384")] == [29, 21, 29, 21, 0]
    assert [overhead_of("TLSv1.3", f"TLS_{name}") for name in ("AES_256_GCM_SHA384", "AES_128_CCM_8_SHA256")] == [22, 14]
