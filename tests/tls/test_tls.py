"""TLS on a stream: how it is asked for, what is checked, and what comes of it."""

import ipaddress
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import gevent.ssl
import pytest
import trustme
from kit.conditions import until
from kit.leftovers import descriptors_in_use, open_descriptor
from kit.pairs import Pairs
from kit.tls import NAME, VERSIONS, TLSKit, other, write_forever
from servers.certificates import Certificate, Certificates

from geventstreams import (
    SocketStream,
    SocketStreamServer,
    StreamBusy,
    StreamClosed,
    StreamError,
    TLSError,
    TLSVerificationError,
    open_tcp_stream,
)
from geventstreams._core.hub_hold import EventHandler
from geventstreams._streams.buffered import engine_of
from geventstreams.testing.claims import outcome


def failed_handshake(kit: TLSKit, peer: dict[str, Any] | None = None, **options: Any) -> tuple[TLSError, Any]:
    """What a client's handshake fails with, and what the server's does."""
    near, far = kit.pairs.sockets()
    number = near.fileno()
    server = gevent.spawn(outcome, kit.secure, far, "server", **(peer or {}))
    with pytest.raises(TLSError) as caught:
        kit.secure(near, "client", **options)
    assert near.fileno() == -1
    assert not open_descriptor(number)
    return caught.value, server.get()


# What it gives.


def test_bytes_pass_both_ways(tls: TLSKit, side: str) -> None:
    """A stream of either side exchanges lines, and says by `ssl` and `ssl_ctx` what protects them."""
    context = tls.context(side)
    stream, peer = tls.streams(side, ssl_ctx=context)
    stream.write(b"question\n")
    stream.flush()
    assert peer.readline() == b"question\n"
    peer.write_line("answer")
    peer.flush()
    assert stream.read_line() == ("answer", False)
    assert stream.ssl.version() == tls.version
    assert isinstance(stream.ssl, ssl.SSLObject)
    assert stream.ssl_ctx is context


def test_a_wait_does_not_pass_over_a_record_that_has_arrived(tls: TLSKit) -> None:
    """Where two records have come and one was taken, waiting for input, and watching it, finds the other."""
    stream, peer = tls.streams()
    transport = engine_of(stream).transport
    stream.read_available()  # a session ticket
    for data in (b"first", b"second"):
        peer.sendall(data)
    until(lambda: transport.unread() > 50)
    counts: list[int] = []
    assert transport.recv_into(memoryview(bytearray(5)), 0, counts) == 5
    assert not transport.unread()
    assert transport.wait_input(0.2)
    assert not transport.watch_input(EventHandler(), 0.2)
    assert transport.recv_into(memoryview(bytearray(9)), 0, counts) == 6


def test_a_plain_stream_has_no_ssl(pairs: Pairs) -> None:
    """Without TLS `ssl` and `ssl_ctx` are None."""
    stream, _ = pairs.streams()
    assert stream.ssl is None
    assert stream.ssl_ctx is None


def test_gevents_own_contexts_work(tls13: TLSKit, side: str) -> None:
    """A `gevent.ssl.SSLContext` serves as well as one of the standard library."""
    made = tls13.context(side)
    context = gevent.ssl.SSLContext(made.protocol)
    if side == "server":
        context.load_cert_chain(tls13.certificates.server.chain, tls13.certificates.server.key)
    else:
        context.load_verify_locations(tls13.certificates.ca)
    stream, peer = tls13.streams(side, ssl_ctx=context)
    stream.sendall(b"x")
    assert peer.read(1) == b"x"


def test_a_given_context_is_not_changed(tls13: TLSKit, side: str) -> None:
    """The settings of a given context are the same after streams were made with it."""
    context = tls13.context(side)
    names = ("minimum_version", "maximum_version", "options", "verify_mode", "check_hostname", "verify_flags")
    before = [getattr(context, name) for name in names]
    tls13.streams(side, ssl_ctx=context)
    assert [getattr(context, name) for name in names] == before


@pytest.mark.parametrize("name", ["tls-v1.2", "tls-v1.3"])
def test_a_version_name_means_that_version(certificates: Certificates, pairs: Pairs, name: str) -> None:
    """Streams with the name of a version speak that version, although both ends know the other too."""
    kit = TLSKit(certificates, pairs, "TLSv1.3")
    client_made: list[ssl.SSLContext] = []

    def trust(context: ssl.SSLContext) -> None:
        client_made.append(context)
        context.load_verify_locations(certificates.ca)

    def identify(context: ssl.SSLContext) -> None:
        context.load_cert_chain(certificates.server.chain, certificates.server.key)

    server = {"ssl_ctx": True, "ctx_configure_callback": identify}
    stream, _ = kit.streams("client", ssl_ctx=name, ctx_configure_callback=trust, peer=server)
    assert stream.ssl.version() == name.replace("tls-v", "TLSv")
    assert stream.ssl_ctx is client_made[0]
    assert stream.ssl_ctx.minimum_version == stream.ssl_ctx.maximum_version == VERSIONS[name.replace("tls-v", "TLSv")]


@pytest.mark.parametrize(("name", "version"), [("tls-v1.2", "TLSv1.3"), ("tls-v1.3", "TLSv1.2")])
def test_a_version_name_means_no_other_version(certificates: Certificates, pairs: Pairs, name: str, version: str) -> None:
    """A stream with the name of a version refuses a peer that has another one only."""
    kit = TLSKit(certificates, pairs, version)
    error, _ = failed_handshake(kit, ssl_ctx=name)
    assert error.reason


def test_true_is_secure(certificates: Certificates, pairs: Pairs) -> None:
    """A context made here knows nothing below TLS 1.2, and the client's checks certificate and name."""
    kit = TLSKit(certificates, pairs, "TLSv1.3")
    made: list[ssl.SSLContext] = []
    error, _ = failed_handshake(kit, ssl_ctx=True, ctx_configure_callback=made.append)
    assert isinstance(error, TLSVerificationError)
    (context,) = made
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


# Callbacks.


def test_the_context_callback_is_called_only_for_a_context_made_here(tls: TLSKit) -> None:
    """`ctx_configure_callback` gets the context that the stream makes; a given context is none of its business."""
    called: list[Any] = []

    def identify(context: ssl.SSLContext) -> None:
        called.append(context)
        context.load_cert_chain(tls.certificates.server.chain, tls.certificates.server.key)

    stream, _ = tls.streams("server", ssl_ctx=True, ctx_configure_callback=identify)
    assert called == [stream.ssl_ctx]
    tls.streams("server", ctx_configure_callback=identify)
    assert len(called) == 1


def test_the_object_callback_is_called_before_the_handshake(tls: TLSKit, side: str) -> None:
    """`ssl_configure_callback` gets every SSL object, which has no version yet."""
    called: list[tuple[Any, Any]] = []
    stream, _ = tls.streams(side, ssl_configure_callback=lambda made: called.append((made, made.version())))
    assert called == [(stream.ssl, None)]


@pytest.mark.parametrize("callback", ["ctx_configure_callback", "ssl_configure_callback"])
def test_an_error_in_a_callback_closes(tls13: TLSKit, side: str, callback: str) -> None:
    """An exception of a callback leaves the constructor as it is, with the socket closed."""
    def fail(_made: Any) -> None:
        raise KeyError("mine")

    near, _ = tls13.pairs.sockets()
    number = near.fileno()
    with pytest.raises(KeyError, match="mine"):
        SocketStream(near, ssl_ctx=True, ssl_side=side, tlsext_host_name=NAME,
                     **{"ctx_configure_callback": lambda made: None, callback: fail})
    assert near.fileno() == -1
    assert not open_descriptor(number)


# What is checked.


@pytest.mark.parametrize(
    ("kind", "code"), [("wrong_name", 62), ("expired", 10), ("unknown_ca", 20), ("self_signed", 18), ("wildcard", 62)]
)
def test_bad_certificates_are_refused(tls: TLSKit, kind: str, code: int) -> None:
    """A certificate for another name, an expired one, one of an unknown authority or of its own is TLSVerificationError on our side."""
    certificate: Certificate = getattr(tls.certificates, kind)
    error, _ = failed_handshake(tls, {"ssl_ctx": tls.context("server", certificate)})
    assert isinstance(error, TLSVerificationError)
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert error.verify_code == code
    assert error.verify_message
    assert error.reason == "CERTIFICATE_VERIFY_FAILED"
    assert "127.0.0.1" in str(error)


def test_the_server_learns_that_its_certificate_was_refused(tls: TLSKit) -> None:
    """The client's alert is the reason of the server's TLSError."""
    _, said = failed_handshake(tls, {"ssl_ctx": tls.context("server", tls.certificates.expired)})
    if isinstance(said, SocketStream):  # TLS 1.3: the server is done before the client looks
        with pytest.raises(TLSError) as caught:
            said.read(1)
        said = caught.value
    assert isinstance(said, TLSError)
    assert said.reason == "SSLV3_ALERT_CERTIFICATE_EXPIRED"


@pytest.mark.parametrize("name", ["one.example.test", "two.example.test"])
def test_wildcards_are_accepted(tls: TLSKit, name: str) -> None:
    """A certificate for *.example.test serves any name there."""
    stream, _ = tls.streams("client", tlsext_host_name=name, peer={"ssl_ctx": tls.context("server", tls.certificates.wildcard)})
    assert stream.ssl.server_hostname == name


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_addresses_are_checked_without_sni(tls: TLSKit, address: str) -> None:
    """An IP literal as name is looked for among the certificate's addresses, and not sent."""
    seen: list[Any] = []
    context = tls.context("server")
    context.sni_callback = lambda made, name, ctx: seen.append(name)
    tls.streams("client", tlsext_host_name=address, peer={"ssl_ctx": context})
    assert seen == [None]


@pytest.mark.parametrize("name", ["one.example.test.", "127.0.0.1.", "::1%lo", "fe80::1%eth0"])
def test_the_dot_of_the_root_and_a_zone_are_left_out(tls: TLSKit, name: str) -> None:
    """A trailing dot is neither asked for nor looked for in the certificate, nor is the zone of an address."""
    certificate = tls.certificates.wildcard if "example" in name else tls.certificates.server
    seen: list[Any] = []
    server = tls.context("server", certificate)
    server.sni_callback = lambda made, asked, context: seen.append(asked)
    if name.startswith("fe80"):
        error, _ = failed_handshake(tls, {"ssl_ctx": server}, tlsext_host_name=name)
        assert error.verify_code == 64  # an address that does not match; 62 would be a name
    else:
        tls.streams("client", tlsext_host_name=name, peer={"ssl_ctx": server})
    assert seen == ["one.example.test" if "example" in name else None]


def test_a_host_with_the_dot_of_the_root(tls13: TLSKit, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that ends with a dot is looked up as it is, and its certificate checked without the dot."""
    looked_up: list[str] = []

    def look_up(host: str, *more: Any) -> list[Any]:
        looked_up.append(host)
        return socket.getaddrinfo("127.0.0.1", *more)

    monkeypatch.setattr(gevent.socket, "getaddrinfo", look_up)
    server = SocketStreamServer(("127.0.0.1", 0), lambda stream, address: stream.write(b"x"), ssl_ctx=tls13.context("server"))
    server.start()
    with open_tcp_stream("localhost.", server.port, ssl_ctx=tls13.context("client"), read_timeout=20, handshake_timeout=20) as stream:
        assert stream.read(1) == b"x"
        assert stream.ssl.server_hostname == "localhost"
    assert looked_up == ["localhost."]
    server.stop()


def test_the_longest_name(tls13: TLSKit) -> None:
    """A name of 253 bytes is asked for, with the dot of the root or without."""
    seen: list[Any] = []
    server = tls13.context("server")
    server.sni_callback = lambda made, asked, context: seen.append(asked)
    name = ".".join(["x" * 63, "x" * 63, "x" * 63, "x" * 61])
    for dot in ("", "."):
        failed_handshake(tls13, {"ssl_ctx": server}, tlsext_host_name=name + dot)
    assert seen == [name, name]


def test_names_in_other_alphabets_are_asked_for_in_ascii(tls13: TLSKit) -> None:
    """A name with letters beyond ASCII is sent as IDNA has it, whatever kind of dot ends it."""
    seen: list[Any] = []
    server = tls13.context("server")
    server.sni_callback = lambda made, asked, context: seen.append(asked)
    for name in ("bücher.test", "bücher.test.", "bücher。test。"):
        failed_handshake(tls13, {"ssl_ctx": server}, tlsext_host_name=name)
    assert seen == ["xn--bcher-kva.test"] * 3


def test_an_address_that_is_not_in_the_certificate_is_refused(tls13: TLSKit) -> None:
    """An IP literal that the certificate does not have is a verification error."""
    error, _ = failed_handshake(tls13, tlsext_host_name="127.0.0.2")
    assert isinstance(error, TLSVerificationError)
    assert error.verify_code == 64


def test_turning_verification_off_takes_a_deed(tls13: TLSKit) -> None:
    """`ctx_configure_callback` can turn the checks off, and then no name is needed."""
    def trust_anybody(context: ssl.SSLContext) -> None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

    server = {"ssl_ctx": tls13.context("server", tls13.certificates.self_signed)}
    stream, peer = tls13.streams("client", ssl_ctx=True, ctx_configure_callback=trust_anybody, tlsext_host_name=None, peer=server)
    stream.sendall(b"x")
    assert peer.read(1) == b"x"


# What works through the context.


def test_sni_chooses_the_context(tls: TLSKit) -> None:
    """The server sees the name asked for, and a context that its callback puts in place serves the connection."""
    first = tls.context("server", tls.certificates.wrong_name)
    second = tls.context("server")

    def choose(made: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        assert name == NAME
        made.context = second

    first.sni_callback = choose
    _, peer = tls.streams("client", peer={"ssl_ctx": first})
    assert peer.ssl_ctx is second


def test_alpn_is_agreed(tls: TLSKit) -> None:
    """Both ends see the protocol they agreed on."""
    server, client = tls.context("server"), tls.context("client")
    server.set_alpn_protocols(["h2", "http/1.1"])
    client.set_alpn_protocols(["http/1.1", "h2"])
    stream, peer = tls.streams("client", ssl_ctx=client, peer={"ssl_ctx": server})
    assert stream.ssl.selected_alpn_protocol() == peer.ssl.selected_alpn_protocol() == "h2"


def test_client_certificates_are_shown(tls: TLSKit) -> None:
    """A server that asks for it sees the client's certificate."""
    client = tls.context("client", tls.certificates.client)
    _, peer = tls.streams("client", ssl_ctx=client, peer={"ssl_ctx": tls.asking_context()})
    assert ("email", "tester@example.test") in peer.ssl.getpeercert()["subjectAltName"]


@pytest.mark.parametrize("way", ["read", "write", "do_handshake"])
def test_a_server_may_ask_for_a_certificate_later(tls13: TLSKit, way: str) -> None:
    """Post-handshake authentication: the request that a read, a write or `do_handshake` makes reaches the client at once."""
    asking = tls13.asking_context()
    asking.verify_mode = ssl.CERT_OPTIONAL
    willing = tls13.context("client", tls13.certificates.client, post_handshake_auth=True)
    asking.post_handshake_auth = True
    server, client = tls13.streams("server", ssl_ctx=asking, peer={"ssl_ctx": willing}, read_timeout=5)
    client.sendall(b"1")
    assert server.read(1) == b"1"
    server.ssl.verify_client_post_handshake()
    answering = gevent.spawn(client.read, 1)
    if way == "do_handshake":
        server.ssl.do_handshake()
        server.flush()
    elif way == "write":
        server.sendall(b"2")
    else:
        client.sendall(b"2")
        assert server.read(1) == b"2"
    until(lambda: server.listen() or server.ssl.getpeercert(), what="the client's certificate")
    server.sendall(b"3")
    assert answering.get() in (b"2", b"3")


def test_a_rejected_client_certificate_is_told_by_its_alert(tls: TLSKit) -> None:
    """A client without the certificate that the server wants gets TLSError with the alert's name, whether it reads or writes."""
    for writes_first in (False, True):
        near, far = tls.pairs.sockets()
        server = gevent.spawn(outcome, partial(tls.secure, far, "server", ssl_ctx=tls.asking_context()))
        said = outcome(tls.secure, near, "client")
        server.join()
        if isinstance(said, SocketStream):  # TLS 1.3: the client is done before the server looks
            said = outcome(write_forever if writes_first else SocketStream.readline, said)
        assert isinstance(said, TLSError)
        assert said.reason in ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE")
        assert isinstance(server.value, TLSError)
        assert server.value.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


class Keeping(ssl.SSLObject):
    """An SSL object that keeps what it is given to write."""

    kept: list[Any]

    def write(self, data: Any) -> int:
        self.kept.append(data)
        return super().write(data)


def test_an_ssl_object_may_keep_what_it_writes(tls13: TLSKit, side: str) -> None:
    """A class of its own for SSL objects finds the data as it was, after the memory of the stream serves something else."""
    context = tls13.context(side)
    context.sslobject_class = Keeping
    stream, peer = tls13.streams(side, ssl_ctx=context)
    kept = stream.ssl.kept = []
    for byte in (b"1", b"2"):
        stream.write(byte * 20_000)
        stream.write(byte * 20_000)
        stream.flush()
        assert peer.read_exactly(40_000) == byte * 40_000
    assert b"".join(bytes(data) for data in kept) == b"1" * 40_000 + b"2" * 40_000


def test_sessions_are_reused(tls: TLSKit) -> None:
    """A session of one connection, put into the next by `ssl_configure_callback`, is resumed."""
    client, server = tls.context("client"), tls.context("server")
    stream, peer = tls.streams("client", ssl_ctx=client, peer={"ssl_ctx": server})
    peer.sendall(b"x")
    assert stream.read(1) == b"x"  # TLS 1.3: the ticket comes with the first bytes
    session = stream.ssl.session
    assert not stream.ssl.session_reused

    def resume(made: ssl.SSLObject) -> None:
        made.session = session

    again, _ = tls.streams("client", ssl_ctx=client, ssl_configure_callback=resume, peer={"ssl_ctx": server})
    assert again.ssl.session_reused


def test_keys_are_logged(tls: TLSKit, tmp_path: Path) -> None:
    """A context's key log gets the secrets of the connection."""
    context = tls.context("client", keylog_filename=str(tmp_path / "keys"))
    tls.streams("client", ssl_ctx=context)
    assert "CLIENT_" in (tmp_path / "keys").read_text()


def test_two_names_two_certificates(pairs: Pairs, certificates: Certificates) -> None:
    """A certificate for an address and a name serves both."""
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", "name.test")
    kit = TLSKit(certificates, pairs, "TLSv1.3")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    for name in (str(ipaddress.ip_address("127.0.0.1")), "name.test"):
        kit.streams("client", ssl_ctx=client, tlsext_host_name=name, peer={"ssl_ctx": server})


# Both sides.


def test_both_waits_for_the_handshake(tls: TLSKit, side: str) -> None:
    """A stream for both sides is no side before `handshake(side=…)`; before it reading and writing are TLSError, and send nothing."""
    near, far = tls.pairs.sockets()
    stream = tls.pairs.keep(SocketStream(near, ssl_ctx=tls.context(side), ssl_side="both", tlsext_host_name=NAME))
    assert stream.ssl is None
    for call in (lambda: stream.write(b"x"), lambda: stream.read(1), stream.readline, stream.read_available, stream.send_eof):
        with pytest.raises(TLSError, match="handshake"):
            call()
    assert not stream.listen()
    shaking = gevent.spawn(tls.secure, far, other(side))
    assert stream.handshake(side=side) is True
    peer = shaking.get()
    assert stream.handshake() is True
    assert stream.handshake(side=side) is True
    with pytest.raises(ValueError, match="side"):
        stream.handshake(side=other(side))
    stream.sendall(b"after it\n")
    assert peer.readline() == b"after it\n"


def test_both_without_handshake_closes_silently(tls13: TLSKit) -> None:
    """A stream for both sides that is closed before its handshake has sent nothing."""
    near, far = tls13.pairs.sockets()
    stream = SocketStream(near, ssl_ctx=True, ssl_side="both")
    stream.close()
    assert far.recv(10) == b""


def test_handshake_needs_a_side(tls13: TLSKit) -> None:
    """A stream for both sides needs to know which; neither a missing nor a wrong side changes anything, nor the wrong side's context."""
    near, far = tls13.pairs.sockets()
    stream = tls13.pairs.keep(SocketStream(near, ssl_ctx=tls13.context("client"), ssl_side="both", tlsext_host_name=NAME))
    for side in (None, "both", "neither", 1):
        with pytest.raises(ValueError, match="side"):
            stream.handshake(side=side)
    with pytest.raises(TLSError, match="server"):
        stream.handshake(side="server")
    shaking = gevent.spawn(tls13.secure, far, "server")
    assert stream.handshake(side="client")
    shaking.get()


def test_handshake_of_a_plain_stream_is_refused(pairs: Pairs) -> None:
    """`handshake` without TLS is a TLSError and changes nothing."""
    stream, peer = pairs.streams()
    with pytest.raises(TLSError, match="attach_ssl"):
        stream.handshake()
    stream.sendall(b"x")
    assert peer.read(1) == b"x"


def test_handshake_again_is_true(tls: TLSKit, side: str) -> None:
    """A stream whose handshake the constructor made says True to `handshake`, of its own side only."""
    stream, _ = tls.streams(side)
    assert stream.handshake() is stream.handshake(side=side) is True
    with pytest.raises(ValueError, match=side):
        stream.handshake(side=other(side))


# Bad input.


BAD_ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"ssl_ctx": "tls-v1.1"}, ValueError, "tls-v1.1"),
    ({"ssl_ctx": "nonsense"}, ValueError, "nonsense"),
    ({"ssl_ctx": 13}, TypeError, "13"),
    ({"ssl_ctx": False}, TypeError, "ssl_ctx"),
    ({"ssl_side": "middle"}, ValueError, "middle"),
    ({"ssl_side": None}, ValueError, "ssl_side"),
    ({"ctx_configure_callback": 1}, TypeError, "ctx_configure_callback"),
    ({"ssl_configure_callback": "x"}, TypeError, "ssl_configure_callback"),
    ({"handshake_timeout": 0}, ValueError, "handshake_timeout"),
    ({"handshake_timeout": -1}, ValueError, "handshake_timeout"),
    ({"handshake_timeout": "1"}, TypeError, "handshake_timeout"),
    ({"tlsext_host_name": "x" * 64 + ".test"}, ValueError, "xxx"),
    ({"tlsext_host_name": "a..test"}, ValueError, "a..test"),
    ({"tlsext_host_name": ".test"}, ValueError, ".test"),
    ({"tlsext_host_name": ""}, ValueError, "tlsext_host_name"),
    ({"tlsext_host_name": "nul\0.test"}, ValueError, "nul"),
    ({"tlsext_host_name": "."}, ValueError, "host name"),
    ({"tlsext_host_name": "test.."}, ValueError, "test.."),
    ({"tlsext_host_name": "two words.test"}, ValueError, "two words"),
    ({"tlsext_host_name": "name.test:443"}, ValueError, "name.test:443"),
    ({"tlsext_host_name": "[::1]"}, ValueError, "host name"),
    ({"tlsext_host_name": "ü" * 60 + ".test"}, ValueError, "too long"),
    ({"tlsext_host_name": ".".join(5 * ["x" * 50])}, ValueError, "at most 253 bytes"),
    ({"tlsext_host_name": "x" * 100_000}, ValueError, "at most 253 bytes"),
    ({"tlsext_host_name": b"name"}, TypeError, "tlsext_host_name"),
    ({"ssl_ctx": True, "ssl_side": "client"}, ValueError, "tlsext_host_name"),
    ({"ssl_ctx": True, "ssl_side": "server"}, ValueError, "certificate"),
    ({"ssl_ctx": "tls-v1.3", "ssl_side": "server"}, ValueError, "certificate"),
]


@pytest.mark.parametrize(("bad", "kind", "named"), BAD_ARGUMENTS)
def test_bad_arguments_change_nothing(tls13: TLSKit, bad: dict[str, Any], kind: type[Exception], named: str) -> None:
    """A bad TLS argument is refused by name and value, and leaves socket or stream as it was, in the constructor and in attach_ssl."""
    near, far = tls13.pairs.sockets()
    good: dict[str, Any] = {"ssl_ctx": tls13.context("client"), "ssl_side": "client"}
    with pytest.raises(kind, match=named.replace(".", r"\.")):
        SocketStream(near, **{**good, **bad})
    assert near.fileno() >= 0
    stream = tls13.pairs.keep(SocketStream(near))
    with pytest.raises(kind, match=named.replace(".", r"\.")):
        stream.attach_ssl(**{**good, **bad})
    stream.sendall(b"plain")
    assert far.recv(10) == b"plain"


@pytest.mark.parametrize("name", ["handshake_timeout", "tlsext_host_name", "ssl_side", "ctx_configure_callback"])
def test_tls_arguments_are_checked_without_tls_too(tls13: TLSKit, name: str) -> None:
    """A bad TLS argument is refused even where ssl_ctx is None, and leaves the socket open."""
    near, _ = tls13.pairs.sockets()
    with pytest.raises((TypeError, ValueError), match=name):
        SocketStream(near, **{name: -1})
    assert near.fileno() >= 0


def test_a_context_of_the_wrong_side_is_refused(tls: TLSKit, side: str) -> None:
    """A client's context for the server's side, or the reverse, is a TLSError that leaves the socket open."""
    near, _ = tls.pairs.sockets()
    with pytest.raises(TLSError, match=side):
        SocketStream(near, ssl_ctx=tls.context(other(side)), ssl_side=side, tlsext_host_name=NAME)
    assert near.fileno() >= 0


def test_a_context_that_misses_a_name_on_the_servers_side(pairs: Pairs) -> None:
    """CPython 3.14 refuses a client's context on the server's side by ValueError: for streams that is a TLSError, too."""

    class Context:
        """A context as 3.14 has it."""

        def wrap_bio(self, *arguments: Any) -> None:
            raise ValueError("check_hostname requires server_hostname")

    near, _ = pairs.sockets()
    with pytest.raises(TLSError, match="server's: check_hostname requires"):
        SocketStream(near, ssl_ctx=Context(), ssl_side="server")
    assert near.fileno() >= 0


def test_a_missing_certificate_is_told(tls: TLSKit) -> None:
    """A server whose given context has no certificate fails with TLSError; where OpenSSL can tell, the text asks for one."""
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _, said = failed_handshake(tls, {"ssl_ctx": bare})
    assert isinstance(said, TLSError)
    assert "certificate" in str(said) or tls.version == "TLSv1.3"


def test_an_ssl_socket_is_refused(tls13: TLSKit) -> None:
    """An `ssl.SSLSocket` given as socket is a TypeError that names what to do instead."""
    near, _ = tls13.pairs.sockets()
    wrapped = tls13.context("client").wrap_socket(near, server_hostname=NAME, do_handshake_on_connect=False)
    with wrapped, pytest.raises(TypeError, match=r"ssl_ctx.*attach_ssl"):
        SocketStream(wrapped)


def test_after_closing_all_is_refused(tls: TLSKit, side: str) -> None:
    """After `close` the TLS methods and properties are StreamClosed like everything else."""
    stream, _ = tls.streams(side)
    stream.abort()
    for call in (lambda: stream.ssl, lambda: stream.ssl_ctx, stream.handshake, stream.detach_ssl, lambda: stream.attach_ssl(True, "both")):
        with pytest.raises(StreamClosed):
            call()


def test_the_socket_stays_under_tls(tls: TLSKit, side: str) -> None:
    """Under TLS the socket can be looked at and not be replaced, which would send plain text; nothing is changed by the attempt."""
    stream, peer = tls.streams(side)
    socket = stream.socket
    assert socket.fileno() == stream.fileno()
    spare, _ = tls.pairs.sockets()
    for call in (lambda: stream.replace_socket(spare), lambda: stream.replace_socket(None), lambda: setattr(stream, "socket", spare)):
        with pytest.raises(StreamError, match="TLS"):
            call()
    assert spare.fileno() >= 0
    stream.socket = socket
    stream.sendall(b"still here")
    assert peer.read(10) == b"still here"


def test_tls_calls_need_both_halves(tls: TLSKit, side: str) -> None:
    """attach_ssl and detach_ssl while a greenlet reads are StreamBusy at once, and leave the reader alone."""
    plain, far = tls.pairs.streams()
    reader = gevent.spawn(plain.readline)
    gevent.sleep(0)
    with pytest.raises(StreamBusy):
        plain.attach_ssl(tls.context("server"))
    far.sendall(b"line\n")
    assert reader.get() == b"line\n"
    stream, peer = tls.streams(side)
    reader = gevent.spawn(stream.readline)
    gevent.sleep(0)
    with pytest.raises(StreamBusy):
        stream.detach_ssl()
    peer.sendall(b"line\n")
    assert reader.get() == b"line\n"


def test_a_reader_during_the_handshake_is_busy(tls13: TLSKit) -> None:
    """While attach_ssl waits for the handshake a reader is StreamBusy, a writer waits for its turn, and its bytes are protected."""
    stream, far = tls13.pairs.streams()
    attaching = gevent.spawn(stream.attach_ssl, **tls13.arguments("client"))
    gevent.sleep(0)
    with pytest.raises(StreamBusy):
        stream.read(1)
    writing = gevent.spawn(stream.sendall, b"secret")
    gevent.sleep(0)
    assert not writing.ready()
    far.attach_ssl(**tls13.arguments("server"))
    attaching.get()
    writing.get()
    assert far.read(6) == b"secret"


def test_descriptors_are_not_left_behind(tls: TLSKit, side: str) -> None:
    """Twenty connections made and closed leave no descriptor."""
    stream, peer = tls.streams(side)
    before = descriptors_in_use()
    for _ in range(20):
        near, far = tls.streams(side)
        near.close()
        far.close()
    assert descriptors_in_use() == before
    assert stream.fileno() >= 0
    assert peer.fileno() >= 0
