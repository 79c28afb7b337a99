"""The table: every row by its name, its contenders and its goals.

The goals of a row are about its first contender.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.measures import Bulk, Echo, Import, Memory, ShortConnections, Sizes, Within, WithServer
from benchmarks.model import LEAST, Entry, Goal, Row

STREAM = "geventstreams:SocketStream"
TLS = "geventstreams:SocketStream.attach_ssl"
WAIT = "geventstreams:wait_for_input_streams"
WAIT_SET = "geventstreams:WaitSet"
MAKEFILE = "geventstreams:makefile"
MONKEY = "geventstreams.monkey:patch_makefile"
SERVER = "geventstreams:SocketStreamServer"
CALLBACKS = "geventstreams:tcp_server"
WITH_STREAMS = ("gevent-makefile", "uvloop", "asyncio", "trio", "anyio", "threads")
MICROSECONDS = "µs of CPU per request"
OF_A_CALL = "ns of CPU per call"
OF_A_BYTE = "ns of CPU per byte"
CL_ASYNC_PER_BYTE = 1e9 / (11 * 2**20)


def served(role: str, *peers: str, **options: object) -> tuple[Entry, ...]:
    """Return entries for these peers' servers of one role."""
    needs = ("trustme",) if options.get("tls") else ()
    ours = (TLS, *needs) if needs else ()
    return tuple(Entry(peer, peer, role, options, ours if peer == "geventstreams" else needs) for peer in peers)


def variant(label: str, peer: str, role: str, **options: object) -> Entry:
    """Return an entry for a peer's server under another label."""
    return Entry(label, peer, role, options)


def ours(function: str, file: str, label: str = "geventstreams", needs: str = STREAM, **options: object) -> Entry:
    """Return an entry for one of our operations within a process."""
    return Entry(label, "geventstreams", function, options, (needs,), module=f"benchmarks.operations.geventstreams_{file}")


def other(label: str, function: str, file: str, peer: str, largest: int | None = None) -> Entry:
    """Return an entry for a peer's operation within a process."""
    return Entry(label, peer, function, module=f"benchmarks.operations.{file}", largest=largest)


def least(role: str, label: str = LEAST, is_bound: bool = True, **options: object) -> Entry:
    """Return an entry for a least program in C and Python."""
    needs = ("trustme",) if options.get("tls") else ()
    return Entry(label, LEAST, role, options, needs, native="least", is_bound=is_bound)


def least_with_tls(role: str) -> tuple[Entry, Entry]:
    """Return entries for the two ways to have OpenSSL by the ssl module."""
    return least(role, "least, MemoryBIO", tls=True), least(role, "least, socket of ssl", tls=True, memory=False)


LINES = (
    Row(
        "echo",
        "line echo server, 64-byte lines, 100 connections: readline, write, flush",
        MICROSECONDS,
        Echo(),
        (
            *served(
                "echo",
                *("geventstreams", "floor", "gevent", "gevent-makefile", "uvloop", "uvloop-protocol"),
                *("asyncio", "asyncio-protocol", "trio", "anyio", "threads"),
            ),
            least("echo"),
            least("echo_in_c", "least, handler in C", is_bound=False),
        ),
        (
            Goal(("floor",), 1.35),
            Goal(("gevent-makefile",), 0.35),
            Goal(("uvloop",), 0.60),
            Goal(WITH_STREAMS, 1.00, note="the best of all peers with streams"),
        ),
    ),
    Row(
        "echo-timeouts",
        "line echo server with read_timeout and write_timeout set",
        MICROSECONDS,
        Echo(),
        (
            variant("geventstreams+timeouts", "geventstreams", "echo", timeouts=True),
            variant("gevent-makefile+timeouts", "gevent-makefile", "echo", timeouts=True),
            variant("uvloop+timeouts", "uvloop", "echo", timeouts=True),
            variant("asyncio+timeouts", "asyncio", "echo", timeouts=True),
            variant("trio+timeouts", "trio", "echo", timeouts=True),
            *served("echo", "geventstreams", "gevent-makefile", "uvloop", "asyncio", "trio"),
        ),
        (
            Goal(("geventstreams",), 1.03),
            *(Goal((peer,), of=f"{peer}+timeouts") for peer in ("gevent-makefile", "uvloop", "asyncio", "trio")),
        ),
    ),
    Row(
        "echo-plain",
        "line echo server in plain Python, not compiled",
        MICROSECONDS,
        Echo(),
        (
            variant("geventstreams (plain)", "geventstreams", "echo", plain=True),
            *served("echo", "gevent-makefile", "geventstreams"),
            Entry("least (plain)", LEAST, "echo", module="benchmarks.servers.least_plain", is_bound=True),
        ),
        (Goal(("gevent-makefile",), 0.90), Goal(("geventstreams",))),
    ),
    Row(
        "crowd",
        "10,000 connections at once (--quick: 2,000), 100 of them busy, against 100 alone",
        "requests per second",
        Echo(per_second=True),
        (
            Entry("geventstreams, crowd", "geventstreams", "echo", crowd=True),
            *served("echo", "geventstreams"),
            Entry("gevent-makefile, crowd", "gevent-makefile", "echo", crowd=True),
            *served("echo", "gevent-makefile"),
            Entry("uvloop, crowd", "uvloop", "echo", crowd=True),
            *served("echo", "uvloop"),
        ),
        (
            Goal(("geventstreams",), 0.90, at_least=True),
            Goal(("gevent-makefile",), of="gevent-makefile, crowd"),
            Goal(("uvloop",), of="uvloop, crowd"),
        ),
        more_is_better=True,
    ),
    Row(
        "accept",
        "accept, stream, one line, close",
        "µs of CPU per connection",
        ShortConnections(),
        (
            Entry("geventstreams", "geventstreams", "one_line", needs=(SERVER,)),
            *served("one_line", "gevent-makefile", "uvloop", "asyncio", "threads"),
            least("one_line", spawns=True),
            least("one_line", "least, bare greenlet", is_bound=False),
        ),
        (Goal(("gevent-makefile",), 0.80),),
    ),
)

SMALL_READS = (
    Row(
        "readline",
        "a 64-byte line out of the buffer",
        OF_A_CALL,
        Within(together=True),
        (ours("ReadLine", "buffered"), other("BufferedReader.readline", "ReadLine", "buffered", "stdlib")),
        (Goal(("BufferedReader.readline",), 0.80),),
    ),
    Row(
        "readline-refills",
        "64-byte lines, with the receive calls that refill the buffer",
        OF_A_CALL,
        Within(together=True),
        (ours("Refills", "buffered"), other("makefile('rb', 65536)", "Refills", "buffered", "gevent-makefile")),
        (Goal(("makefile('rb', 65536)",), 0.65),),
    ),
    Row(
        "read-line-text",
        "a 64-byte line out of the buffer, as text: read_line",
        OF_A_CALL,
        Within(together=True),
        (ours("TextLine", "buffered"), other("TextIOWrapper.readline", "TextLine", "buffered", "stdlib")),
        (Goal(("TextIOWrapper.readline",), 0.85),),
    ),
    *(
        Row(
            name,
            f"{call} out of the buffer",
            OF_A_CALL,
            Within(together=True),
            (
                ours(function, "buffered", **options),
                other(f"BufferedReader.{rival}", rival_function, "buffered", "stdlib"),
            ),
            (Goal((f"BufferedReader.{rival}",), 1.00),),
        )
        for name, call, function, options, rival, rival_function in (
            ("read-byte", "read_byte", "ReadByte", {"element_type": "unsigned-byte-8"}, "read(1)", "ReadOne"),
            ("read-char", "read_char", "ReadChar", {}, "read(1)", "ReadOne"),
            ("read-exactly", "read_exactly(8)", "ReadEight", {}, "read(8)", "ReadEight"),
            ("read-sequence", "read_sequence into 64 bytes", "ReadSequence", {}, "readinto", "ReadInto"),
        )
    ),
    Row(
        "fairness",
        "read_byte out of the buffer, with looks at the clock that let other greenlets run",
        OF_A_CALL,
        Within(),
        (
            ours("ReadByte", "buffered", element_type="unsigned-byte-8"),
            ours("ReadByte", "buffered", "without looks", element_type="unsigned-byte-8", constants={"CALLS": 2**62, "SLICE": 1e9}),
        ),
        (Goal(("without looks",), 1.05),),
    ),
)

BULK = (
    Row(
        "bulk-receive",
        "bulk receive, read_sequence into 64 KiB",
        OF_A_BYTE,
        Bulk("send", Sizes((65536,), (65536,))),
        (*served("receive", "geventstreams", "gevent", "stdlib", "gevent-makefile", "uvloop", "asyncio"), least("receive")),
        (Goal(("gevent",), 1.02), Goal(("stdlib",), 1.12)),
    ),
    Row(
        "bulk-send",
        "bulk send, write_sequence of 1 MiB",
        OF_A_BYTE,
        Bulk("fetch", Sizes((2**20,), (2**20,))),
        served("send", "geventstreams", "gevent", "stdlib", "gevent-makefile", "uvloop", "asyncio"),
        (Goal(("gevent",), 1.02),),
    ),
    Row(
        "bulk-send-pieces",
        "bulk send, write_sequence of 100-byte pieces",
        OF_A_BYTE,
        Bulk("fetch", Sizes((100,), (100,))),
        served("send", "geventstreams", "gevent-makefile", "uvloop", "asyncio"),
        (Goal(("gevent-makefile",), 0.80, note="a BufferedWriter over a gevent socket"),),
    ),
    Row(
        "relay",
        "relaying bytes to another server, two greenlets for each connection",
        OF_A_BYTE,
        Bulk("send", Sizes((65536,), (65536,))),
        served("relay", "geventstreams", "gevent"),
        (Goal(("gevent",), 1.11, note="0.9 of its throughput"),),
    ),
    Row(
        "tls-echo",
        "line echo under TLS, 64-byte lines, 100 connections",
        MICROSECONDS,
        Echo(),
        (
            *served("echo", "geventstreams", "gevent-makefile", "uvloop", "asyncio", tls=True),
            *least_with_tls("echo"),
            least("echo", "least, MemoryBIO, not counted", is_bound=False, tls=True, counted=False),
        ),
        (Goal(("gevent-makefile",), 0.55),),
    ),
    Row(
        "tls-receive",
        "bulk receive under TLS, read_sequence into 64 KiB",
        OF_A_BYTE,
        Bulk("send", Sizes((65536,), (65536,))),
        (*served("receive", "geventstreams", "gevent-makefile", "uvloop", "asyncio", tls=True), *least_with_tls("receive")),
        (Goal(("gevent-makefile",), 0.80),),
    ),
    Row(
        "tls-send",
        "bulk send under TLS, write_sequence of 1 MiB",
        OF_A_BYTE,
        Bulk("fetch", Sizes((2**20,), (2**20,))),
        (*served("send", "geventstreams", "gevent-makefile", "uvloop", "asyncio", tls=True), *least_with_tls("send")),
        (Goal(("gevent-makefile",), 0.80),),
    ),
)

WAITING_FOR = (
    ours("WaitForInputStreams", "waiting", "wait_for_input_streams", WAIT),
    ours("WaitSet", "waiting", "WaitSet.wait", WAIT_SET),
    other("gevent.select.poll", "Poll", "waiting", "gevent"),
    other("gevent.selectors", "Selector", "waiting", "gevent"),
    other("gevent.select.select", "Select", "waiting", "gevent", largest=100),
)

WAITING = (
    Row(
        "wait",
        "wait_for_input_streams on the same 4,000 streams, one ready",
        OF_A_CALL,
        Within(Sizes((4000,), (4000,))),
        (WAITING_FOR[0], WAITING_FOR[2]),
        (Goal(("gevent.select.poll",), 0.03),),
    ),
    Row(
        "wait-new-list",
        "wait_for_input_streams on 1,000 streams in an order that is new in each call, one ready",
        OF_A_CALL,
        Within(Sizes((1000,), (1000,))),
        (ours("NewList", "waiting", "wait_for_input_streams", WAIT), WAITING_FOR[2]),
        (Goal(("gevent.select.poll",), 0.25),),
    ),
    Row(
        "wait-set",
        "WaitSet.wait on 4,000 streams, one ready",
        OF_A_CALL,
        Within(Sizes((4000,), (4000,))),
        (WAITING_FOR[1], WAITING_FOR[3]),
        (Goal(("gevent.selectors",), 1.20),),
    ),
    Row(
        "wait-set-members",
        "WaitSet.wait, one ready: independent of the number of members",
        OF_A_CALL,
        Within(Sizes((100, 4000), (100, 4000))),
        (WAITING_FOR[1], WAITING_FOR[3]),
        (Goal(sizes=(4000, 100), bound=1.20, note="the bench's own reading of 'independent'"),),
        "streams",
    ),
)

MEMORY = tuple(
    Row(
        name,
        what,
        "KiB of private memory per connection",
        Memory(held, part=4 if "tls" in options else 1),
        served("echo", "geventstreams", "gevent", *peers, "gevent-makefile", "uvloop", "asyncio", **options),
        goals,
    )
    for name, what, held, peers, options, goals in (
        ("memory-idle", "an idle connection in a server", 0, ("uvloop-protocol",), {}, (Goal(("gevent",), 1.08),)),
        ("memory-tls", "an idle TLS connection in a server", 0, (), {"tls": True}, ()),
        ("memory-half-line", "a connection that has sent half a line, 32 bytes", 32, (), {}, ()),
    )
)

CALLBACK_ROWS = (
    Row(
        "callback-echo",
        "callbacks, line echo by read_cb with stream=True, 100 connections",
        MICROSECONDS,
        Echo(),
        served("echo", "callbacks", "uvloop-protocol", "asyncio-protocol", "floor"),
        (Goal(("uvloop-protocol",), 1.15), Goal(("asyncio-protocol",), 1.00)),
    ),
    Row(
        "callback-echo-chunks",
        "callbacks, read_cb that writes its data back, 100 connections",
        MICROSECONDS,
        Echo(),
        (*served("echo_chunks", "callbacks", "uvloop-protocol", "asyncio-protocol"), least("echo_chunks")),
        (Goal(("uvloop-protocol",), 1.00),),
    ),
    Row(
        "callback-drain",
        "callbacks, reading 4 MiB that have arrived in 64-byte reads",
        OF_A_BYTE,
        Within(together=True, lasting=True),
        (
            ours("Draining", "draining", "callbacks", CALLBACKS),
            other("BytesIO.readinto", "Drain", "buffered", "stdlib"),
            Entry("cl-async", "cl-async", "", fixed=CL_ASYNC_PER_BYTE),
        ),
        (
            Goal(("BytesIO.readinto",), 2.00),
            Goal(("cl-async",), 0.01, note="cl-async: 11 MiB/s, published, not measured here"),
        ),
    ),
)

LEAST_CLIENTS = (
    Entry(
        "Requests with the least file",
        LEAST,
        "Requests",
        needs=("requests",),
        module="benchmarks.operations.least_clients",
        native="least",
        is_bound=True,
    ),
)

MAKEFILE_USERS = (
    *(
        Row(
            f"makefile-{name}",
            f"makefile on 64-byte lines, with the receive calls: {call}",
            OF_A_CALL,
            Within(together=True),
            (
                ours(function, "files", needs=MAKEFILE),
                other("gevent's makefile", function, "files", "gevent-makefile"),
            ),
            (Goal(("gevent's makefile",), bound),),
        )
        for name, call, function, bound in (
            ("readline", "readline", "ReadLine", 0.80),
            ("text", "readline of a text file", "TextLine", 0.60),
            ("read", "read(64)", "Read", 1.00),
            ("readinto", "readinto 64 bytes", "ReadInto", 1.00),
            ("read-large", "read(65536)", "ReadLarge", 0.97),
        )
    ),
    Row(
        "pywsgi",
        "gevent.pywsgi and a page of 13 bytes on 100 kept connections",
        MICROSECONDS,
        Echo(pages=True),
        (
            Entry(
                "pywsgi with patch_makefile", "geventstreams", "page", {"patched": True}, (MONKEY,), module="benchmarks.servers.gevent_wsgi"
            ),
            Entry("pywsgi without", "gevent-makefile", "page", module="benchmarks.servers.gevent_wsgi"),
            Entry("pywsgi with the least file", LEAST, "page", module="benchmarks.servers.gevent_wsgi", native="least", is_bound=True),
        ),
        (Goal(("pywsgi without",), 0.95),),
    ),
    *(
        Row(
            name,
            f"{what}, under gevent's monkey-patching",
            unit,
            WithServer(server, Sizes(sizes[:1], sizes[1:]), lasting),
            (
                Entry(
                    f"{client} with patch_makefile",
                    "geventstreams",
                    client,
                    needs=(MONKEY, module),
                    module="benchmarks.operations.geventstreams_clients",
                ),
                Entry(
                    f"{client} without",
                    "gevent-makefile",
                    client,
                    needs=(module,),
                    module="benchmarks.operations.clients",
                ),
                *(entry for entry in LEAST_CLIENTS if entry.role == client),
            ),
            (Goal((f"{client} without",), bound),),
        )
        for name, what, unit, server, sizes, lasting, client, module, bound in (
            (
                *("requests", "requests and a page of 10 kB from nginx on a kept connection"),
                *("ns of CPU per request", "Nginx", (20, 20), False, "Requests", "requests", 0.97),
            ),
            (
                *("pymysql", "PyMySQL fetching 100,000 rows (--quick: 10,000) from MariaDB"),
                *("ns of CPU per row", "MariaDB", (10_000, 100_000), True, "PyMySQL", "pymysql", 1.00),
            ),
            (
                *("pg8000", "pg8000 fetching 100,000 rows (--quick: 10,000) from PostgreSQL"),
                *("ns of CPU per row", "PostgreSQL", (10_000, 100_000), True, "PG8000", "pg8000", 1.00),
            ),
        )
    ),
)

IMPORT = Row(
    "import",
    "import geventstreams",
    "ms of CPU per import",
    Import(),
    (
        Entry("geventstreams", "geventstreams", "", {"modules": "geventstreams"}),
        Entry("gevent", "gevent", "", {"modules": "gevent.server, gevent.ssl"}),
        Entry("least", LEAST, "", {"modules": "benchmarks.operations.least_import"}, is_bound=True),
        Entry("asyncio", "asyncio", "", {"modules": "asyncio"}),
        Entry("trio", "trio", "", {"modules": "trio"}),
    ),
    (Goal(("gevent",), 1.05, note="import gevent.server, gevent.ssl"),),
)

GROWTH = (
    Row(
        "growth-connections",
        "line echo, all connections busy",
        MICROSECONDS,
        Echo(Sizes((1, 10, 100, 1000), (1, 10, 100, 1000, 10000))),
        served("echo", "geventstreams", "floor", "gevent-makefile", "uvloop", "asyncio"),
        size_name="connections",
    ),
    Row(
        "growth-waiting",
        "waiting for streams of which one is ready",
        OF_A_CALL,
        Within(Sizes((10, 100, 1000), (10, 100, 1000, 4000, 16000))),
        WAITING_FOR,
        size_name="streams",
    ),
    Row(
        "growth-lines",
        "receiving lines: readline",
        OF_A_BYTE,
        Bulk("lines", Sizes((1, 64, 4096, 2**20), (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 2**20))),
        served("lines", "geventstreams", "gevent-makefile", "uvloop", "asyncio"),
        size_name="bytes in a line",
    ),
    Row(
        "growth-reads",
        "receiving in pieces: read_sequence, recv_into, readinto, read",
        OF_A_BYTE,
        Bulk("send", Sizes((1, 64, 4096, 2**20), (1, 8, 64, 512, 4096, 32768, 65536, 262144, 2**20))),
        served("receive", "geventstreams", "gevent", "gevent-makefile", "uvloop", "asyncio"),
        size_name="bytes in a read",
    ),
    Row(
        "growth-dripped-line",
        "a line that arrives in single bytes (with the cost of sending them)",
        OF_A_BYTE,
        Within(Sizes((1024, 16384), (64, 1024, 16384, 65536)), lasting=True),
        (ours("Dripped", "dripping"), other("gevent-makefile", "Dripped", "dripping", "gevent-makefile")),
        (Goal(sizes=(16384, 1024), bound=1.10, note="the bench's own reading of 'no more per byte'"),),
        size_name="bytes in the line",
    ),
)

ROWS: dict[str, Row] = {
    row.name: row for row in (*LINES, *SMALL_READS, *BULK, *WAITING, *MEMORY, *CALLBACK_ROWS, *MAKEFILE_USERS, IMPORT, *GROWTH)
}


def beside_least(row: Row) -> Row:
    """Return this row with its first contender, its least programs, and the peers of its goals, each goal about one peer."""
    goals = tuple(goal for goal in row.goals if goal.bound is not None and len(goal.against) == 1)
    rivals = {label for goal in goals for label in goal.against}
    kept = tuple(entry for entry in row.entries if entry is row.entries[0] or entry.peer == LEAST or entry.label in rivals)
    return replace(row, entries=kept, goals=goals)


BESIDE_LEAST: dict[str, Row] = {name: beside_least(row) for name, row in ROWS.items() if any(entry.is_bound for entry in row.entries)}
"""The rows that `--least` measures, by their names."""
