"""The cases that a stream must survive, the kinds of connection that each must survive over, and the tests that prove it."""

# Invariants: a claim is one that can fail, with its figures; a test that does not prove all of a claim gets company, or the claim is
# divided. Where the name of a test does not tell its kind of connection (see `faults.recording`), it is told here, behind "over".

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("TCP", "Unix", "TLS 1.2", "TLS 1.3", "memory")
TCP = ("TCP",)
UNIX = ("Unix",)
LOCAL = ("TCP", "Unix")
TLS = ("TLS 1.2", "TLS 1.3")
TLS13 = ("TLS 1.3",)
MEMORY = ("memory",)
NETWORK = ("TCP", *TLS)
SOCKETS = ("TCP", "Unix", *TLS)


@dataclass(frozen=True)
class Proof:
    """A test, and its kinds of connection where its name does not tell them."""

    test: str
    over: tuple[str, ...]

    @classmethod
    def parsed(cls, text: str) -> Proof:
        """`module.test`, or `module.test[parameters] over kind, kind`."""
        test, _, over = text.partition(" over ")
        return cls(test, tuple(filter(None, over.split(", "))))


@dataclass(frozen=True)
class Case:
    """Something that a stream must survive; the kinds of connection over which it must, and what proves it."""

    section: str
    id: str
    claim: str
    over: tuple[str, ...]
    proofs: tuple[Proof, ...]


def section(name: str, *cases: tuple[str, str, tuple[str, ...], list[str]]) -> list[Case]:
    """Cases that belong together."""
    return [Case(name, number, claim, over, tuple(map(Proof.parsed, tests))) for number, claim, over, tests in cases]


ENDS = section(
    "End, reset, close",
    ("end", 'lines, then the end: the lines, then `b""` ten times', KINDS, ["test_closing.test_the_end_is_sticky"]),
    ("end-inside", "the end inside a line is its tail; inside `read_exactly(20)` after 10 bytes IncompleteRead, and they stay", KINDS,
     ["test_ends.test_an_end_in_the_middle"]),
    ("peer-half-closes", "the peer half-closes: 1 MiB still goes to it", KINDS,
     ["test_closing.test_the_peers_half_close_leaves_ours_open"]),
    ("send-eof", "`send_eof`: 1 MiB still comes, a second one does nothing, a write is refused", KINDS,
     ["test_closing.test_the_peers_half_close_leaves_ours_open"]),
    ("reset", "5,001 bytes and a reset, read later: all 5,001, then StreamReset each time", NETWORK,
     ["test_closing.test_all_that_came_before_a_reset_is_read_first over TCP", "test_tls_endings.test_a_reset_is_a_reset"]),
    ("reset-by-write", "a reset that a write notices first: what had arrived is read, then StreamReset each time", NETWORK,
     ["test_closing.test_a_reset_that_a_write_notices_first over TCP",
      "test_closing.test_a_reset_with_unread_bytes_that_a_write_notices_first over TCP",
      "test_tls_endings.test_a_reset_noticed_by_a_write"]),
    ("close-unread", "2 MiB to a slow peer, then `close()` with a byte of its unread: all 2,097,152 arrive", NETWORK,
     ["test_closing.test_unread_input_does_not_cost_our_output over TCP", "test_tls_endings.test_a_close_loses_nothing_to_unread_input"]),
    ("close-spoken-to", "the same with a byte that comes 0.2 s after the close began", NETWORK,
     ["test_ends.test_an_byte_that_comes_late_does_not_cost_our_output"]),
    ("close-at-once", "an ordinary close does not linger", KINDS, ["test_closing.test_an_ordinary_close_does_not_wait"]),
    ("close-once", "close three times, after abort, after a reset, by `with` on an exception: one close(2)", SOCKETS,
     ["test_ends.test_the_descriptor_is_closed_exactly_once"]),
    ("gives-up", ("a close that gives up with output unsent (WriteTimeout, `gevent.Timeout`, kill, error, in the hub): the peer gets a "
                  "part and then a reset, never an end"), (*NETWORK, "memory"),
     ["test_unsent.test_a_close_that_gives_up_resets", "test_unsent.test_a_close_that_gives_up_resets_under_tls"]),
    ("gives-up-elsewhere", ("the same of a handler's stream, a relay, a connection that calls back, a dropped stream, a file closed with "
                            "its socket"), TCP,
     ["test_unsent.test_a_handler_whose_output_is_stuck_resets_its_client over TCP",
      "test_unsent.test_a_relay_that_is_ended_aborts_both over TCP",
      "test_unsent.test_a_graceful_close_that_gives_up_resets over TCP",
      "test_unsent.test_a_stream_that_is_dropped_with_output_left_resets over TCP",
      "test_unsent.test_a_file_that_is_closed_with_its_socket_resets[timeout-gevent] over TCP"]),
    ("send-eof-again", ("`send_eof` that was ended before its close_notify had left: a second call, a close, or a read that waits finishes "
                        "it, once"), TLS,
     ["test_unsent.test_an_end_that_was_interrupted_is_finished_by_the_next_call"]),
    ("closed", "everything after a close is StreamClosed, even of nothing", KINDS,
     ["test_stream.test_everything_after_close_is_refused"]),
)

TIMEOUTS = section(
    "Timeouts",
    ("half", ("half of `read(11)`, of `read_exactly`, of `readinto`, of `read()` to the end arrives, the limit passes: kept, and the "
              "same call completes"), KINDS, ["test_timeouts.test_what_came_is_kept"]),
    ("half-line", "the same of `readline` and `read_until`", KINDS, ["test_timeouts.test_half_a_line_is_kept"]),
    ("half-character", "the same of one UTF-8 character", KINDS, ["test_timeouts.test_half_a_character_is_kept"]),
    ("drip", "a peer that drips every quarter of the limit is no read timeout", KINDS, ["test_timeouts.test_dripping_is_no_timeout"]),
    ("write", ("4 MiB to a peer that does not read: `.accepted` and `.unsent` are exact, and so is a later flush; 512 KiB written after "
               "it come whole behind it"), KINDS, ["test_timeouts.test_a_write_timeout_is_exact"]),
    ("halves", "a blocked write does not disturb reads, nor a read that waits writes", KINDS,
     ["test_concurrency.test_a_blocked_half_leaves_the_other_alone"]),
    ("in-time", "limits of 1 ns to 1 s all fire, none early, none later than 1.5 T + 10 ms", KINDS,
     ["test_timeouts.test_every_limit_fires_in_time"]),
    ("wall-clock", "the wall clock is stepped by an hour: no effect", TCP,
     ["test_timeouts.test_the_wall_clock_has_no_part_in_it over TCP"]),
    ("close-bounded", "`close()` with 1 MiB unsent and a stopped peer: bounded, closed, raised once", KINDS,
     ["test_closing.test_a_close_to_a_stopped_peer_is_bounded"]),
)

CANCELLATION = section(
    "Cancellation",
    ("interrupted-reads", "100,000 `gevent.Timeout`s and kills in reads: no byte lost, doubled or moved", NETWORK,
     ["test_interruptions.test_a_hundred_thousand_interruptions_of_reads"]),
    ("interrupted-writes", "10,000 in writes and flushes: no byte lost, doubled or moved", NETWORK,
     ["test_interruptions.test_ten_thousand_interruptions_of_writes"]),
    ("every-read", "each call that takes input, ended in its wait by a Timeout, a kill, an error: nothing was taken", KINDS,
     ["test_cancellation.test_a_read_that_is_ended_takes_nothing"]),
    ("handshakes", "a handshake ended by Timeout, kill, bad certificate, end, 200 times with the exceptions kept: descriptors +0", TLS,
     ["test_tls_faults.test_ended_handshakes_leave_no_descriptor", "test_tls_faults.test_refused_certificates_leave_no_descriptor"]),
    ("close", "a Timeout, a kill, an error inside `close`: closed", KINDS, ["test_closing.test_an_interrupted_close_has_closed"]),
    ("nested", "of nested `gevent.Timeout`s the very object comes out whose time came", KINDS,
     ["test_timeouts.test_nested_timeouts_come_out_as_themselves"]),
    ("raising-handler", "a signal handler that raises costs no byte (plain: where it strikes in a wait or a system call)", SOCKETS,
     ["test_cancellation.test_signal_handlers_that_raise_cost_no_byte", "test_tls_faults.test_signal_handlers_that_raise_cost_no_input",
      "test_tls_faults.test_signal_handlers_that_raise_double_no_output"]),
    ("handler", "fifty signals whose handler does not raise do nothing", LOCAL,
     ["test_cancellation.test_signals_that_do_not_raise_do_nothing"]),
)

CONCURRENCY = section(
    "Concurrency",
    ("second-reader", "a second reader is StreamBusy within 1 ms in every call; the first is not disturbed", KINDS,
     ["test_concurrency.test_a_second_reader_is_refused"]),
    ("ten-writers", "ten greenlets write 1,000 framed messages each: all whole", KINDS,
     ["test_concurrency.test_ten_writers_of_a_thousand_messages"]),
    ("duplex", "full duplex in random pieces", KINDS, ["test_concurrency.test_full_duplex_in_random_pieces"]),
    ("close-wakes", "close and abort while a read, a write, a flush, a handshake, a detach waits: StreamClosed within 5 ms", SOCKETS,
     ["test_testing.test_every_claim_holds_for_every_kind", "test_tls_matrix.test_every_claim_holds",
      "test_tls_faults.test_closing_wakes_every_waiter"]),
    ("number-reused", "the same with the descriptor's number reused at once, 1,000 times: the old waiter gets nothing of it", SOCKETS,
     ["test_numbers.test_a_thousand_numbers_that_are_used_again"]),
    ("fork", "a fork with unflushed output: the child sends nothing, the parent all, once", SOCKETS,
     ["test_concurrency.test_a_forked_child_cannot_use_the_parents_stream",
      "test_concurrency.test_a_forked_child_sends_and_shuts_nothing over TCP",
      "test_tls_faults.test_a_forked_child_says_nothing"]),
    ("fork-waiting", ("a fork while greenlets read, write, flush, close, shake hands, wait for several, relay, and the child's hub runs: "
                      "StreamError there, +0/-0 bytes in the parent"), SOCKETS,
     ["test_forks.test_a_reader_that_waits_takes_nothing_in_the_child", "test_forks.test_a_writer_that_waits_sends_nothing_in_the_child",
      "test_forks.test_a_relay_belongs_to_the_parent", "test_forks.test_a_handshake_belongs_to_the_parent"]),
    ("fork-sending", "a fork with output that the hub is sending: the parent sends it, once", SOCKETS,
     ["test_forks.test_output_that_the_hub_sends_is_sent_once"]),
    ("fork-serving", "a fork with a client in the listener's queue, and with one that was accepted: the parent serves both", TCP,
     ["test_forks.test_the_copy_of_a_server_accepts_no_client over TCP",
      "test_forks.test_a_client_that_was_accepted_is_the_parents over TCP",
      "test_forks.test_no_callback_is_called_in_the_child over TCP"]),
    ("fork-files", "a fork while greenlets read and write files of `makefile`: StreamError in the child, and the parent's go on", LOCAL,
     ["test_forks.test_files_take_and_send_nothing_in_the_child"]),
    ("dead-hub", "a hub that has died: StreamError from every call that would wait, in no time, and the stream closes", UNIX,
     ["test_lifecycle.test_a_hub_that_has_died_is_a_clear_error over Unix"]),
    ("hooks", ("a greenlet of a class with `switch_out()` and its own `switch()` waits, in every call that can: both are called round each "
               "wait"), (*LOCAL, "memory"),
     ["test_switch_hooks.test_hooks_are_called_over_every_kind", "test_switch_hooks.test_hooks_are_called_round_every_wait over TCP"]),
    ("threads", ("eight threads read a line each from one file of `makefile` on a standard-library socket, others leave the queue by "
                 "timeouts and kills, one closes it: each line once and whole, no call waits forever"), LOCAL,
     ["test_threads.test_readers_of_one_file_queue",
      "test_threads.test_a_reader_that_leaves_the_queue_takes_no_turn_with_it over TCP",
      "test_threads.test_closing_wakes_those_who_wait_in_other_threads over TCP"]),
    ("thread-elsewhere", "another thread waits for a stream or server, or would wait or send in it: StreamError, and it goes on", TCP,
     ["test_threads.test_waiting_for_what_is_another_threads_is_refused over TCP",
      "test_threads.test_calls_on_another_threads_stream_are_refused over TCP",
      "test_threads.test_calls_on_another_threads_server_are_refused over TCP",
      "test_threads.test_calls_on_another_threads_connection_are_refused over TCP"]),
    ("thread-ended", "what an ended thread left, its hub destroyed or not, is dropped or closed by another: the descriptor is closed", TCP,
     ["test_threads.test_what_an_ended_thread_left_gives_its_descriptor_back over TCP",
      "test_threads.test_a_callback_connection_of_an_ended_thread over TCP", "test_threads.test_a_server_of_an_ended_thread over TCP"]),
    ("flood", "a flooding peer beside a ticker of 1 ms: no gap above 20 ms", KINDS,
     ["test_concurrency.test_a_flood_does_not_keep_others_from_running"]),
    ("flood-of-calls", "read(1), read_char, peek, list reads, small writes … that never wait, beside a ticker: no gap above 20 ms", MEMORY,
     ["test_fairness.test_no_call_keeps_others_from_running over memory",
      "test_fairness.test_data_in_the_buffer_keeps_no_greenlet_from_running over memory"]),
    ("flood-throughput", "letting others run costs at most 5 % of the throughput", MEMORY,
     ["test_fairness.test_letting_others_run_costs_little over memory"]),
)

LIMITS = section(
    "Limits and bad input",
    ("endless-line", "64 MiB without a newline: LineTooLong, memory at most 2 × `line_limit` + 256 KiB, then in step again", SOCKETS,
     ["test_bounds.test_a_line_without_end_costs_little", "test_limits.test_a_line_without_end_costs_little over Unix"]),
    ("exact-limit", "a line of limit - 1, limit and limit + 1 bytes, whole or in single bytes; then in step", KINDS,
     ["test_bounds.test_the_limit_of_a_line_is_exact", "test_limits.test_a_limit_of_a_line_is_exact over memory"]),
    ("unread-writes", "64 MiB written to a peer that never reads: the writer waits, memory +1 MiB", SOCKETS,
     ["test_limits.test_writing_to_a_peer_that_never_reads_waits", "test_tls_faults.test_a_peer_that_never_reads_costs_little_memory"]),
    ("large-size", "`read(2**40)` allocates only what arrives", KINDS, ["test_limits.test_a_large_size_allocates_only_what_arrives"]),
    ("sizes", 'sizes of -2, 1.5, "5" are refused and take nothing; None means to the end, where that is allowed', KINDS,
     ["test_bounds.test_sizes_that_are_none"]),
    ("invalid-text", "invalid UTF-8: the place is told, the good prefix delivered, the byte readable as such", KINDS,
     ["test_limits.test_invalid_text_stops_at_its_place"]),
    ("mixed", "text and bytes mixed: exact", KINDS, ["test_limits.test_text_and_bytes_mixed_over_a_real_connection"]),
)

SECURITY = section(
    "TLS",
    ("tls-ends", "close_notify, an end, a reset after 5 bytes: the end of file, StreamTruncated, StreamReset", TLS,
     ["test_tls_endings.test_close_notify_is_the_end", "test_tls_endings.test_a_connection_that_just_ends_is_truncated",
      "test_tls_endings.test_a_reset_is_a_reset"]),
    ("tls-write-only", "a client that only writes 2 MiB and closes, with session tickets unread: the slow server gets all", TLS13,
     ["test_tls_endings.test_a_write_only_client_loses_nothing_to_tickets"]),
    ("tls-wire", ("a recording middle man sees no plain byte after the hello: `send_eof` and a write, close, abort, shutdown, a "
                  "failed or aborted handshake"), TLS,
     ["test_tls_attach.test_the_wire_shows_records_only", "test_tls_attach.test_no_way_out_shows_plain_text",
      "test_tls_attach.test_a_handshake_that_fails_shows_no_plain_text"]),
    ("tls-injection", "`220 go\\r\\n250 INJECTED\\r\\n` in one segment, then `attach_ssl`: refused, never returned", TLS,
     ["test_tls_attach.test_injected_plain_text_is_refused"]),
    ("tls-prefetched", 'a PROXY header and the hello in one segment work with `prefetched="handshake"`', TLS,
     ["test_tls_attach.test_a_hello_behind_a_proxy_header_is_taken", "test_tls_attach.test_every_cut_of_a_hello_behind_a_header_is_taken"]),
    ("tls-certificates", "wrong name, expired, unknown authority, self-signed are refused", TLS,
     ["test_tls.test_bad_certificates_are_refused"]),
    ("tls-names", "IP addresses and wildcards in certificates count", TLS,
     ["test_tls.test_addresses_are_checked_without_sni", "test_tls.test_wildcards_are_accepted"]),
    ("tls-silent", "a silent peer, and one that drips the handshake: HandshakeTimeout after the limit in total", TLS,
     ["test_tls_attach.test_a_silent_peer_is_a_handshake_timeout", "test_tls_attach.test_a_dripping_peer_is_a_handshake_timeout"]),
    ("tls-plain-before", "plain text and an end before the handshake (CVE-2023-40217), on both sides: nothing of it is read", TLS,
     ["test_tls_faults.test_plain_text_and_an_end_before_the_handshake"]),
    ("tls-http", "HTTP to the TLS port, TLS to the plain port, 1,000 times each", TLS,
     ["test_tls_faults.test_http_to_the_tls_port", "test_tls_faults.test_tls_to_the_plain_port"]),
)

WAITING = section(
    "Waiting",
    ("wait-buffered", "buffered and decrypted bytes: ready at once", (*LOCAL, *TLS),
     ["test_waiting.TestReady.test_bytes_in_the_buffer_and_in_the_kernel_together",
      "test_tls_endings.test_decrypted_bytes_are_ready_at_once"]),
    ("wait-ciphertext", "only a session ticket, half a record: not ready", TLS,
     ["test_tls_endings.test_ciphertext_is_not_readiness", "test_tls_endings.test_a_ticket_is_not_readiness"]),
    ("wait-end", "end, reset, truncation: ready", NETWORK,
     ["test_waiting.TestReady.test_end_of_file_is_ready", "test_waiting.TestReady.test_reset_is_ready over TCP",
      "test_tls_endings.test_ends_are_readiness"]),
    ("wait-closed", "closed during the wait: answered within 5 ms", KINDS,
     ["test_waits.test_a_stream_that_is_closed_during_the_wait_is_answered"]),
    ("wait-many", "4,000 streams with descriptors above 1,023", LOCAL, ["test_waits.test_four_thousand_streams"]),
    ("wait-often", "100,000 calls, half timing out, 1,000 killed: watchers, timers, memory +0", LOCAL,
     ["test_waits.test_a_hundred_thousand_waits_leave_nothing"]),
)

SERVERS = section(
    "Server",
    ("emfile", "64 descriptors, 150 clients: less than 2 % of the processor, one line a second, recovery within 0.25 s", TCP,
     ["test_storms.test_out_of_descriptors over TCP", "test_storms.test_descriptors_that_become_free_elsewhere over TCP"]),
    ("accept-errors", "errors of accept(2), injected", TCP,
     ["test_server.test_accepting_pauses_when_the_system_refuses over TCP",
      "test_server.test_clients_that_go_away_before_they_are_accepted over TCP",
      "test_server.test_clients_that_go_away_for_ever_do_not_keep_the_processor_busy over TCP"]),
    ("silent-clients", "two silent TLS clients on two places: an honest third is served", TLS13,
     ["test_server.test_silent_clients_take_no_place over TLS 1.3"]),
    ("stop", "`stop(timeout)` with 5 busy, 5 idle, 5 stuck handlers, in every spawn mode: the report is (5, 5, 5)", NETWORK,
     ["test_draining.test_five_of_each over TCP", "test_draining.test_tls_connections_are_told_apart_too"]),
    ("raising", "10,000 handlers that raise", TCP, ["test_storms.test_ten_thousand_handlers_that_raise over TCP"]),
    ("idle", "10,000 idle connections and 100 busy ones", TCP, ["test_storms.test_many_idle_connections over TCP"]),
    ("restart", "SIGTERM under load, and the same port bound again", TCP,
     ["test_cli_serve.test_signal_drains over TCP", "test_cli_serve.test_busy_connections_have_time_to_finish over TCP",
      "test_cli_serve.test_same_port_can_be_served_again_at_once over TCP", "test_storms.test_restarts_under_load over TCP"]),
)

EVERYWHERE = " over TCP, Unix, TLS 1.2, TLS 1.3, memory"
CAMPAIGN = "test_campaigns.test_a_campaign_finds_nothing"

FUZZ = section(
    "Random programs",
    ("fuzz-reading", "1,000,000 random reads of both vocabularies, bytes coming 1 to n at a time, give what `io.BytesIO` gives", KINDS,
     [f"{CAMPAIGN}[reading]{EVERYWHERE}"]),
    ("fuzz-reading-faults", "the same with 50,000 faults and more: Timeouts, kills, spurious wake-ups, receive calls that fail", KINDS,
     [f"{CAMPAIGN}[reading with faults]{EVERYWHERE}"]),
    ("fuzz-writing", "130,000 random writes (an hour of them in the long run): the peer compares", KINDS,
     [f"{CAMPAIGN}[writing]{EVERYWHERE}"]),
    ("fuzz-writing-faults", "the same with at least 5,000 faults", KINDS, [f"{CAMPAIGN}[writing with faults]{EVERYWHERE}"]),
    ("fuzz-characters", "characters of all encodings against `codecs`", MEMORY, [f"{CAMPAIGN}[characters] over memory"]),
    ("fuzz-callbacks", ("340 random programs of connections that call back: every byte once and in order, callbacks one at a time, the "
                        "final event once, nothing left"), KINDS, [f"{CAMPAIGN}[callbacks]{EVERYWHERE}"]),
    ("fuzz-hooks", "hooks of 400 greenlets whose waits end or are ended: called in turn", KINDS, [f"{CAMPAIGN}[hooks]{EVERYWHERE}"]),
    ("fuzz-threads", ("four threads read 40 files and are interrupted, 200 wait for what is not theirs, 200 streams outlive their thread"),
     TCP, [f"{CAMPAIGN}[threads] over TCP"]),
    ("fuzz-system-calls", ("system calls that fail, each k-th of the first 200 with each error (every ninth in the short run): no hang, "
                           "one close for each descriptor"), ("TCP", "TLS 1.3"), [f"{CAMPAIGN}[system calls] over TCP, TLS 1.3"]),
    ("fuzz-forks", "200 forks while greenlets read and write and output is sent in the background: nothing lost or doubled", SOCKETS,
     [f"{CAMPAIGN}[forks] over TCP, Unix, TLS 1.2, TLS 1.3"]),
    ("fuzz-hubs", "200 hubs that die, 2,000 random calls in them: StreamError in no time, and what had arrived is still there", KINDS,
     [f"{CAMPAIGN}[hubs that die]{EVERYWHERE}"]),
)

LEAKS = section(
    "Leaks",
    ("connections", ("2,000 TCP and 300 TLS connections (100,000 and 20,000 in the long run), echo and close, the collector off: "
                     "descriptors, unreachable objects, watchers, threads +0, memory at most +5 MiB"), NETWORK,
     [f"{CAMPAIGN}[leaks] over TCP, TLS 1.2, TLS 1.3"]),
    ("errors-kept", "every error path 1,000 times with the exceptions kept: descriptors and watchers +0", ("TCP", "TLS 1.3"),
     ["test_errors_kept.test_errors_that_are_kept_keep_nothing_else"]),
    ("dies", "a stream dies by reference count alone", NETWORK,
     ["test_closing.test_a_dropped_stream_is_gone_at_once over TCP", "test_closing.test_no_state_of_a_stream_is_a_cycle over TCP",
      "test_tls_endings.test_streams_are_in_no_cycle"]),
)

INTERLEAVINGS = section(
    "Interleavings",
    ("interleavings", ("each of read, write, flush, close, attach_ssl, detach_ssl, wait_for_input_streams, at each of its waits, and each "
                       "of these, abort, replace_socket, a Timeout, a kill meanwhile: no hang, no loss, the documented class"), NETWORK,
     ["test_interleavings.test_what_comes_while_another_waits"]),
)

CASES = [*ENDS, *TIMEOUTS, *CANCELLATION, *CONCURRENCY, *LIMITS, *SECURITY, *WAITING, *SERVERS, *FUZZ, *LEAKS, *INTERLEAVINGS]
